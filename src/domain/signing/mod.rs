//! Standard Webhooks signatures.
//!
//! The secrets and the bytes that are signed; which endpoint has which is not known here.

pub(crate) mod signature;
pub(crate) mod signer;
