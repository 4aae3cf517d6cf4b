//! Tests of `AwcTransport` on real loopback sockets, with receivers that write raw bytes.

#![cfg(feature = "awc")]

pub(crate) use actix_webhooks::transport::AwcTransport as Tested;

#[path = "http/suite.rs"]
mod suite;
