//! Standard Webhooks signatures.
//!
//! The secrets and the bytes that are signed. Which endpoint has which secret is not known here.

pub(crate) mod signature;
pub(crate) mod signer;
