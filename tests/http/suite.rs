//! What both transports are tested for.

mod broken;
mod crowd;
mod endless;
mod guarded;
mod handshakes;
mod hostile;
mod oauth2;
mod reuse;
mod secured;
mod signed;
mod sloppy;
mod split;
pub(crate) mod support;
mod upload;
mod wire;
