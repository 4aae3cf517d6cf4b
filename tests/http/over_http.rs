//! The suite over the transport with connections of its own.

pub(crate) use actix_webhooks::transport::HttpTransport as Tested;

#[path = "suite.rs"]
mod suite;
