//! Authorisation of calls: Basic, Bearer, OAuth 2.0 access tokens.
//!
//! `credentials` decides which receiver sees which credential.

pub(crate) mod auth;
pub(crate) mod oauth2;
pub(crate) mod token_answer;
pub(crate) mod token_cache;
