//! Entry points for fuzzers: what must hold whatever a receiver, a caller or a damaged file says. Not for applications; it may change at any time.
//!
//! Each takes bytes, does with them what the crate would do, and panics when a property does not hold. `fuzz/` calls them with what libFuzzer finds,
//! `tests/corpus.rs` with what was found before. A further target is a function here, a line in [`TARGETS`], a file in `fuzz/fuzz_targets` with
//! its `[[bin]]`, and a folder in `fuzz/corpus`.

mod redirect;
mod retry_after;
mod routing;
#[cfg(feature = "verify")]
mod signature;
mod source;

pub use self::redirect::redirect;
pub use self::retry_after::retry_after;
pub use self::routing::routing;
#[cfg(feature = "verify")]
pub use self::signature::signature;

/// Reads an answer from the bytes of a receiver.
///
/// # Panics
/// When a property does not hold: the answer depends neither on how its bytes are cut nor on the
/// transport, and a connection that is used again gives the next exchange its own answer.
pub fn answer(data: &[u8]) {
    crate::transport::fuzzing::answer(data);
}

/// Reads the records of the durable store from columns that may hold anything.
///
/// # Panics
/// When a property does not hold: what is written is read back equal, and what cannot be read is an error that says so.
#[cfg(feature = "sqlite")]
pub fn stored(data: &[u8]) {
    crate::store::sqlite_fuzzing::stored(data);
}

/// An entry point.
pub type Target = fn(&[u8]);

/// Every entry point by the name of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("answer", answer),
    ("redirect", redirect),
    ("retry_after", retry_after),
    ("routing", routing),
    #[cfg(feature = "verify")]
    ("signature", signature),
    #[cfg(feature = "sqlite")]
    ("stored", stored),
];
