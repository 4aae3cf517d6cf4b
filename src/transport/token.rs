//! One request to a token endpoint: a form out, an answer in. It uses a new connection, which is
//! not kept, and follows no redirects.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::StatusSeen;
use super::answer::Reading;
use super::connect::{Authority, Connector};
use super::http::Connection;
use super::request::{AGENT, host, push, target};
use crate::domain::authorisation::token_answer::MAX_TOKEN_ANSWER_BYTES;
use crate::domain::deliveries::outcome::Failure;
use crate::domain::value::secret::Secret;
use crate::domain::value::url::WebhookUrl;

/// A request for an access token: a form POST. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenRequest {
    /// The URL of the token endpoint.
    pub url: WebhookUrl,
    /// The `Authorization` header; `None` if the client secret is in the form.
    pub authorization: Option<Secret>,
    /// The form, `application/x-www-form-urlencoded`. It may contain secrets.
    pub form: Bytes,
    /// The maximum time for connecting.
    pub connect_timeout: Duration,
}

/// The answer of a token endpoint. `Debug` does not show the body.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenAnswer {
    /// The status.
    pub status: u16,
    /// The body as far as it was read. A body longer than
    /// [`MAX_TOKEN_ANSWER_BYTES`](crate::limits::MAX_TOKEN_ANSWER_BYTES) is refused.
    pub body: Bytes,
}

impl TokenAnswer {
    /// Returns an answer with a status and a body.
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            body: body.into(),
        }
    }
}

impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRequest")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TokenAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenAnswer")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Makes a request to a token endpoint on a new connection.
pub(super) async fn request_token(
    connector: Connector,
    request: TokenRequest,
) -> Result<TokenAnswer, Failure> {
    let authority = Rc::new(Authority::of(&request.url.to_url())?);
    let wire = connector.connect(&authority).await?;
    let mut connection = Connection::new(authority, wire);
    let head = |head: &mut Vec<u8>| write_head(head, &request);
    let seen = StatusSeen::default();
    let exchange = connection.exchange(head, &request.form, READING, &seen);
    let answer = exchange.await.map_err(|broken| broken.failure)?.answer;
    Ok(TokenAnswer::new(answer.status, answer.excerpt))
}

fn write_head(head: &mut Vec<u8>, request: &TokenRequest) -> Result<(), Failure> {
    let url = request.url.to_url();
    for part in ["POST ", target(&url)?, " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    push(head, "Host", host(&url))?;
    push(head, "User-Agent", AGENT)?;
    push(head, "Accept", "application/json")?;
    push(head, "Content-Type", "application/x-www-form-urlencoded")?;
    if let Some(authorization) = &request.authorization {
        push(head, "Authorization", authorization.expose())?;
    }
    push(head, "Connection", "close")?;
    let mut number = itoa::Buffer::new();
    push(head, "Content-Length", number.format(request.form.len()))?;
    head.extend_from_slice(b"\r\n");
    Ok(())
}

/// Keeps one byte more than is accepted, so that a truncated answer is not mistaken for a whole
/// one.
const READING: Reading = Reading {
    limit: MAX_TOKEN_ANSWER_BYTES,
    kept: MAX_TOKEN_ANSWER_BYTES + 1,
    until_close: true,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_no_secret() {
        let request = TokenRequest {
            url: WebhookUrl::parse("https://issuer.test/?key=hush").unwrap(),
            authorization: Some(Secret::from("hush")),
            form: Bytes::from("client_secret=hush"),
            connect_timeout: Duration::ZERO,
        };
        let shown = format!("{request:?} {:?}", TokenAnswer::new(200, "hush"));
        assert!(!shown.contains("hush"), "{shown}");
    }

    #[test]
    fn nothing_can_be_smuggled_into_the_head() {
        let request = TokenRequest {
            url: WebhookUrl::parse("https://issuer.test/").unwrap(),
            authorization: Some(Secret::from("a\r\nX-Evil: 1")),
            form: Bytes::new(),
            connect_timeout: Duration::ZERO,
        };
        let refused = write_head(&mut Vec::new(), &request);
        assert_eq!(refused, Err(Failure::Unsendable));
    }
}
