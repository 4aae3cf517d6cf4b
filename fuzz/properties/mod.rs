//! Properties that hold for any input.
//!
//! Each function takes bytes as a receiver, a caller or a damaged file may supply them, processes
//! them as the crate would, and panics if a property does not hold. `fuzz_targets/` calls them with
//! inputs from libFuzzer, `tests/corpus.rs` with earlier finds. To add a target: a function here, a
//! line in [`TARGETS`], a file in `fuzz_targets` with its `[[bin]]`, and a folder in `corpus`.

pub(crate) mod answer;
mod redirect;
mod retry_after;
mod routing;
pub(crate) mod script;
mod signature;
mod source;
mod stored;

pub use self::answer::answer;
pub use self::redirect::redirect;
pub use self::retry_after::retry_after;
pub use self::routing::routing;
pub use self::signature::signature;
pub use self::stored::stored;

/// A property.
pub type Target = fn(&[u8]);

/// Every property with the name of its target and its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("answer", answer),
    ("redirect", redirect),
    ("retry_after", retry_after),
    ("routing", routing),
    ("signature", signature),
    ("stored", stored),
];
