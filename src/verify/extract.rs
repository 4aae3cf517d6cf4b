//! A verified webhook as an argument of an actix-web handler.

use std::time::SystemTime;

use actix_http::error::PayloadError;
use actix_http::{Payload, StatusCode};
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::{FromRequest, HttpRequest, ResponseError, web};
use bytes::{Bytes, BytesMut};
use futures_util::future::LocalBoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use serde::de::DeserializeOwned;

use super::{Verified, Verifier, VerifyError};
use crate::domain::value::time::Timestamp;

/// A webhook with a verified signature, for actix-web handlers.
///
/// Reads the body, up to [`Verifier::body_limit`], and checks it with the [`Verifier`] in
/// `App::app_data`, stored there directly or in a `web::Data`. If the check fails, the handler is
/// not called; see [`WebhookRejection`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VerifiedWebhook {
    /// The alert's id, the same on every attempt. If the id was seen before, answer with success
    /// and do nothing.
    pub id: String,
    /// The time of the attempt, in whole seconds.
    pub timestamp: Timestamp,
    /// The body, byte for byte as received and signed.
    pub body: Bytes,
}

impl VerifiedWebhook {
    /// Parses the body as JSON.
    ///
    /// # Errors
    /// The error of `serde_json`, if the body does not match the type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }
}

/// The reason why a handler was not called. The answer's body is the reason as text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookRejection {
    /// The call cannot be trusted. Answered with 400 if a header is missing or malformed, otherwise
    /// with 401.
    #[error(transparent)]
    NotVerified(#[from] VerifyError),
    /// The body is larger than [`Verifier::body_limit`]. Answered with 413.
    #[error("body is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The body did not arrive completely. Answered with 400.
    #[error("body could not be read")]
    Unreadable(#[source] PayloadError),
    /// The application has no [`Verifier`] in its data. Answered with 500, and logged as an error.
    #[error("webhooks cannot be verified here")]
    NoVerifier,
}

impl ResponseError for WebhookRejection {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::NotVerified(
                VerifyError::MissingHeader(_)
                | VerifyError::MalformedHeader(_)
                | VerifyError::BadTimestamp(_),
            )
            | Self::Unreadable(_) => StatusCode::BAD_REQUEST,
            Self::NotVerified(
                VerifyError::TooOld | VerifyError::TooNew | VerifyError::NoMatchingSignature,
            ) => StatusCode::UNAUTHORIZED,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoVerifier => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl FromRequest for VerifiedWebhook {
    type Error = WebhookRejection;
    type Future = LocalBoxFuture<'static, Result<Self, WebhookRejection>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        extract(request, payload).boxed_local()
    }
}

async fn extract(
    request: HttpRequest,
    payload: Payload,
) -> Result<VerifiedWebhook, WebhookRejection> {
    let Some(verifier) = verifier(&request) else {
        log::error!(
            "no Verifier in the application's data, so webhooks are answered with 500; add one with App::app_data"
        );
        return Err(WebhookRejection::NoVerifier);
    };
    // The time of arrival counts, because a slow body does not make a call old. Calls that no body
    // could make valid are refused before the body is read.
    let now = now();
    verifier.claim(&request.headers(), now)?;
    let body = read(&request, payload, verifier.body_limit).await?;
    let Verified { id, timestamp } = verifier.verify(request.headers(), &body, now)?;
    Ok(VerifiedWebhook {
        id,
        timestamp,
        body,
    })
}

fn verifier(request: &HttpRequest) -> Option<&Verifier> {
    let shared = request.app_data::<web::Data<Verifier>>();
    shared
        .map(web::Data::get_ref)
        .or_else(|| request.app_data())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a receiver has no engine, and so no engine's clock"
)]
fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

async fn read(
    request: &HttpRequest,
    mut payload: Payload,
    limit: usize,
) -> Result<Bytes, WebhookRejection> {
    let announced = request.headers().get(CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit))
    {
        return Err(WebhookRejection::TooLarge { limit });
    }
    let mut body = BytesMut::new();
    while let Some(part) = payload.next().await {
        let part = part.map_err(WebhookRejection::Unreadable)?;
        if part.len() > limit - body.len() {
            return Err(WebhookRejection::TooLarge { limit });
        }
        body.extend_from_slice(&part);
    }
    Ok(body.freeze())
}
