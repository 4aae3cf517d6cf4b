//! Tests of the API for operators, over real engines in simulated time.

mod web {
    mod access;
    mod answers;
    mod changes;
    mod clients;
    mod deliveries;
    mod document;
    mod finding;
    mod headers;
    mod hostile;
    mod live;
    mod overview;
    mod publishing;
    mod rules;
    mod search;
    mod support;
    mod table;
    mod why;
}
