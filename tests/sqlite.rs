//! Tests of the durable store, under an engine and on its own.

mod sqlite {
    mod acting;
    mod agreed;
    mod bounds;
    mod broken;
    mod clocks;
    mod given;
    mod ids;
    mod migrated;
    mod oauth2;
    mod one_engine;
    mod order;
    mod outbox;
    mod redelivering;
    mod restart;
    mod retention;
    mod rules;
    mod sealed;
    mod searching;
    pub(crate) mod support;
    mod unreadable;
    mod written;
}
