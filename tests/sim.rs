//! The whole engine in simulated time, in worlds drawn from a seed: receivers of every kind,
//! operators, a failing store, restarts.
//!
//! `SIM_SEED=n` runs that world alone and prints its trace; `SIM_SEEDS=n` sets how many worlds are
//! run. A failure names its seeds.

mod sim {
    mod check;
    mod given;
    mod ledger;
    mod run;
    mod seeds;
    mod settings;
    mod steps;
    mod watch;
    mod world;
}
