//! How calls show who makes them: Basic, Bearer, OAuth 2.0 access tokens.
//!
//! Who is shown which is decided in `credentials`.

pub(crate) mod auth;
pub(crate) mod oauth2;
pub(crate) mod token_answer;
pub(crate) mod token_cache;
