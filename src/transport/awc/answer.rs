//! Conversion of awc's answers and errors to this crate's types.

use std::io;

use actix_http::error::ParseError;
use awc::ClientResponse;
use awc::error::{ConnectError, PayloadError, SendRequestError};
use awc::http::header::{DATE, HeaderName, LOCATION, RETRY_AFTER};
use futures_util::StreamExt as _;

use super::stream::WEBHOOK_DELIVERY;
use crate::domain::deliveries::answer::{Answer, Directive};
use crate::domain::deliveries::outcome::Failure;
use crate::transport::answer::{Excerpt, Reading};
use crate::transport::line::Broken;

/// Reads the body of an answer whose head awc has parsed.
///
/// The stream has already normalised the head: each header that counts is there once.
pub(super) async fn read(mut response: ClientResponse, reading: Reading) -> Result<Answer, Broken> {
    let mut answer = Answer::new(response.status().as_u16());
    let text = |name: &HeaderName| {
        let value = response.headers().get(name)?;
        String::from_utf8(value.as_bytes().to_vec()).ok()
    };
    if !response.headers().is_empty() {
        answer.location = text(&LOCATION);
        answer.retry_after = text(&RETRY_AFTER);
        if answer.retry_after.is_some() {
            answer.date = text(&DATE);
        }
        answer.directive =
            text(&WEBHOOK_DELIVERY).and_then(|directive| Directive::parse(directive.as_bytes()));
    }
    if answer.status == 101 {
        // The bytes after a 101 are not HTTP.
        return Ok(answer);
    }
    let mut excerpt = Excerpt::new(reading);
    while let Some(data) = response.next().await {
        let data = data.map_err(cut_short)?;
        if !excerpt.take(&data) {
            // Dropping the response closes its connection.
            break;
        }
    }
    answer.excerpt = excerpt.into_bytes();
    Ok(answer)
}

/// Converts an awc error, which nearly always wraps a [`Broken`] of the stream.
pub(super) fn broken(error: SendRequestError) -> Broken {
    use awc::error::SendRequestError as E;

    match error {
        E::Send(error)
        | E::Connect(ConnectError::Io(error))
        | E::Response(ParseError::Io(error)) => said(error),
        E::Url(_) | E::Http(_) | E::Custom(..) | E::Body(_) => Failure::Unsendable.into(),
        E::Response(_) => Failure::Malformed.into(),
        E::Connect(_) | E::H2(_) | E::Timeout | E::TunnelNotSupported | _ => {
            Failure::ConnectionClosed.into()
        }
    }
}

fn cut_short(error: PayloadError) -> Broken {
    match error {
        PayloadError::Io(error) | PayloadError::Incomplete(Some(error)) => said(error),
        PayloadError::EncodingCorrupted => Failure::Malformed.into(),
        PayloadError::Incomplete(_)
        | PayloadError::Overflow
        | PayloadError::UnknownLength
        | PayloadError::Http2Payload(_)
        | _ => Failure::ConnectionClosed.into(),
    }
}

fn said(error: io::Error) -> Broken {
    match error.downcast::<Broken>() {
        Ok(broken) => broken,
        Err(_) => Failure::ConnectionClosed.into(),
    }
}
