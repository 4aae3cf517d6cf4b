//! The tests that both transports must pass.

mod broken;
mod closing;
mod crowd;
mod endless;
mod guarded;
mod handshakes;
mod headers;
mod hostile;
mod kinds;
mod oauth2;
mod reuse;
mod secured;
mod signed;
mod sloppy;
mod smuggled;
mod split;
pub(crate) mod support;
mod traced;
mod upload;
mod wire;
