//! The suite over the default transport.

pub(crate) use actix_webhooks::transport::AwcTransport as Tested;

#[path = "suite.rs"]
mod suite;
