//! Tests of the engine's promises, in simulated time with scripted receivers.

mod engine {
    mod acting;
    mod agreed;
    mod answers;
    mod asking;
    mod attention;
    mod bad_input;
    mod bodies;
    mod bound;
    mod client_status;
    mod clocks;
    mod ending;
    mod facade;
    mod fairness;
    mod ids;
    mod isolation;
    mod json;
    mod oauth2;
    mod operators;
    mod ordering;
    mod overload;
    mod polite;
    mod read_ahead;
    mod redirects;
    mod removal;
    mod respawn;
    mod retire;
    mod retries;
    mod room;
    mod routing;
    mod shards;
    mod shutdown;
    mod store_faults;
    pub(crate) mod support;
    mod test_events;
    mod unwatched;
}
