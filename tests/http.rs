//! Tests of `HttpTransport` on real loopback sockets, with receivers that write raw bytes.

pub(crate) use actix_webhooks::transport::HttpTransport as Tested;

#[path = "http/suite.rs"]
mod suite;
