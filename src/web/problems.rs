//! The errors of the API: problem details (RFC 9457), with a closed list of codes.
//!
//! Each answer with an error has the type `application/problem+json`. `code` is one of those below,
//! and `type` points at its paragraph here. `detail` is a sentence for people and may change.
//! `errors` names each wrong part: by `pointer` in the body, or by `parameter`. `requestId` is also
//! in the header `X-Request-Id` and in the audit record. If trying again can help, there are a
//! `Retry-After` and `retryAfterMs`.
//!
//! # Codes
//!
//! ## invalid-parameter
//!
//! **400.** A parameter of the path or the query is unknown, repeated or malformed. `errors` names
//! it.
//!
//! ## cursor-of-another-query
//!
//! **400.** The filter has changed since the cursor was given. Ask for the first page again.
//!
//! ## invalid-body
//!
//! **400.** The body is not JSON, or not of the documented shape. `errors` points at the part.
//!
//! ## credentials-missing
//!
//! **401.** The request has no credentials of the kind that the application asks for.
//!
//! ## credentials-wrong
//!
//! **401.** The credentials are not known. The detail is the same as for missing ones.
//!
//! ## not-allowed
//!
//! **403.** The operator lacks the capability that `detail` names.
//!
//! ## cross-site
//!
//! **403.** A browser sent the request for a page of another site, so nothing was done.
//!
//! ## unknown-path
//!
//! **404.** No route has this path.
//!
//! ## unknown-endpoint
//!
//! **404.** No endpoint has this id, or it was removed.
//!
//! ## unknown-rule
//!
//! **404.** No rule has this id.
//!
//! ## unknown-client
//!
//! **404.** No client has this id.
//!
//! ## unknown-delivery
//!
//! **404.** No delivery has this id, or it is no longer stored.
//!
//! ## unknown-event
//!
//! **404.** No event has this id, or it is forgotten. Ask why for more.
//!
//! ## unknown-redelivery
//!
//! **404.** No redelivery by filter has this id, or it is forgotten.
//!
//! ## unknown-secret
//!
//! **404.** No secret of the endpoint has this fingerprint.
//!
//! ## method-not-allowed
//!
//! **405.** The path has no such method. `Allow` lists those that it has.
//!
//! ## not-representable
//!
//! **406.** The rule has several webhooks, and the form asked for holds one.
//!
//! ## endpoint-exists
//!
//! **409.** The URL is already known. `detail` has its id; change it by PATCH.
//!
//! ## rule-exists
//!
//! **409.** A rule has this id already. Change it by PUT or PATCH.
//!
//! ## endpoint-unreadable
//!
//! **409.** The endpoint's stored settings are damaged or sealed with another key. Put them again
//! in the application.
//!
//! ## endpoint-removed
//!
//! **409.** Nothing is sent to the endpoint until it, or a rule that names it, is put again.
//!
//! ## still-open
//!
//! **409.** The delivery will be attempted anyway. To send it a second time, force it.
//!
//! ## changed-since
//!
//! **409.** More deliveries match than were expected. Look at the number again.
//!
//! ## endpoint-stopped
//!
//! **409.** The endpoint is paused, disabled, on hold, or behind an open circuit. Resume it first.
//!
//! ## not-open
//!
//! **409.** The delivery was delivered or given up. Redeliver it instead.
//!
//! ## last-secret
//!
//! **409.** Without this secret, calls go out unsigned. Confirm with `unsigned=true`.
//!
//! ## too-many-secrets
//!
//! **409.** Eight secrets sign already. Delete old ones first.
//!
//! ## id-taken
//!
//! **409.** The client has published another event under this id.
//!
//! ## changed-meanwhile
//!
//! **412.** The thing is no longer what `If-Match` names. Read it again.
//!
//! ## body-too-large
//!
//! **413.** The body, or the event, is larger than the limit that `detail` names.
//!
//! ## content-type
//!
//! **415.** The body has another media type than those that `detail` names.
//!
//! ## invalid-event
//!
//! **422.** The engine refuses the event. `errors` points at the part.
//!
//! ## invalid-rule
//!
//! **422.** The engine refuses the rule. `errors` points at the part.
//!
//! ## invalid-client
//!
//! **422.** The engine refuses the client. `errors` points at the part.
//!
//! ## invalid-endpoint
//!
//! **422.** The engine refuses the endpoint's settings. `errors` points at the part.
//!
//! ## too-many-listeners
//!
//! **429.** As many streams of `/live` are open as may be. Close one, or try again.
//!
//! ## internal
//!
//! **500.** A bug in this crate. Report it with the request id.
//!
//! ## store-damaged
//!
//! **500.** The store cannot be used until it is repaired. `detail` says how.
//!
//! ## not-supported
//!
//! **501.** The application's store lacks an ability that the request needs.
//!
//! ## overloaded
//!
//! **503.** There is no room for more events or deliveries. Try again later.
//!
//! ## store-unavailable
//!
//! **503.** The store could not answer. Try again later.
//!
//! ## shutting-down
//!
//! **503.** The engine is stopping or has stopped.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{
    ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use actix_web::{HttpResponse, ResponseError};

use super::credentials::Scheme;
use super::model::problem::{ProblemDocument, Wrong};

macro_rules! codes {
    ($($name:ident = $code:literal, $status:literal, $title:literal;)*) => {
        /// The code of a problem. The list is closed: it is in the `OpenAPI` document and at
        /// `GET /problems`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(
                #[doc = concat!("`", $code, "`: ", $title, ".")]
                $name,
            )*
        }

        impl Code {
            /// All codes, ordered by status.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the code as text.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// Returns the status of answers with this code.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// Returns the title, the same for every problem with this code.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    InvalidParameter = "invalid-parameter", 400, "Parameter is not valid";
    CursorOfAnotherQuery = "cursor-of-another-query", 400, "Cursor is of another query";
    InvalidBody = "invalid-body", 400, "Body is not valid";
    CredentialsMissing = "credentials-missing", 401, "Credentials are missing";
    CredentialsWrong = "credentials-wrong", 401, "Credentials are wrong";
    NotAllowed = "not-allowed", 403, "Not allowed";
    CrossSite = "cross-site", 403, "Request came from another site";
    UnknownPath = "unknown-path", 404, "Path is unknown";
    UnknownEndpoint = "unknown-endpoint", 404, "Endpoint is unknown";
    UnknownRule = "unknown-rule", 404, "Rule is unknown";
    UnknownClient = "unknown-client", 404, "Client is unknown";
    UnknownDelivery = "unknown-delivery", 404, "Delivery is unknown";
    UnknownEvent = "unknown-event", 404, "Event is unknown";
    UnknownRedelivery = "unknown-redelivery", 404, "Redelivery is unknown";
    UnknownSecret = "unknown-secret", 404, "Secret is unknown";
    MethodNotAllowed = "method-not-allowed", 405, "Method is not allowed";
    NotRepresentable = "not-representable", 406, "Not representable in this form";
    EndpointExists = "endpoint-exists", 409, "Endpoint exists";
    RuleExists = "rule-exists", 409, "Rule exists";
    EndpointUnreadable = "endpoint-unreadable", 409, "Stored settings cannot be read";
    EndpointRemoved = "endpoint-removed", 409, "Endpoint was removed";
    StillOpen = "still-open", 409, "Delivery is still open";
    ChangedSince = "changed-since", 409, "Changed since it was shown";
    EndpointStopped = "endpoint-stopped", 409, "Endpoint attempts nothing at present";
    NotOpen = "not-open", 409, "Delivery is not open";
    LastSecret = "last-secret", 409, "Last secret";
    TooManySecrets = "too-many-secrets", 409, "Too many secrets";
    IdTaken = "id-taken", 409, "Event id is taken";
    ChangedMeanwhile = "changed-meanwhile", 412, "Changed meanwhile";
    BodyTooLarge = "body-too-large", 413, "Body is too large";
    ContentType = "content-type", 415, "Content type is not accepted";
    InvalidEvent = "invalid-event", 422, "Event is not valid";
    InvalidRule = "invalid-rule", 422, "Rule is not valid";
    InvalidClient = "invalid-client", 422, "Client is not valid";
    InvalidEndpoint = "invalid-endpoint", 422, "Endpoint is not valid";
    TooManyListeners = "too-many-listeners", 429, "Too many live streams";
    Internal = "internal", 500, "Internal error";
    StoreDamaged = "store-damaged", 500, "Delivery store is damaged";
    NotSupported = "not-supported", 501, "Store does not support this";
    Overloaded = "overloaded", 503, "Overloaded";
    StoreUnavailable = "store-unavailable", 503, "Delivery store is unavailable";
    ShuttingDown = "shutting-down", 503, "Engine is shutting down";
}

impl Code {
    /// Returns the URI of the code's paragraph in this crate's documentation.
    pub fn uri(self) -> String {
        format!(
            "https://docs.rs/actix-webhooks/{}/actix_webhooks/web/problems/index.html#{}",
            env!("CARGO_PKG_VERSION"),
            self.as_str()
        )
    }

    /// Returns the code that fits an answer of actix-web's own.
    pub(super) fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            404 => Self::UnknownPath,
            405 => Self::MethodNotAllowed,
            413 => Self::BodyTooLarge,
            415 => Self::ContentType,
            400..=499 => Self::InvalidBody,
            _ => Self::Internal,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error that is answered as problem details. Boxed, because most calls have none.
#[derive(Clone, Debug)]
pub(super) struct Problem(Box<Content>);

#[derive(Clone, Debug)]
struct Content {
    code: Code,
    detail: Cow<'static, str>,
    errors: Vec<Wrong>,
    retry_after: Option<Duration>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Content {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            header: None,
        }))
    }

    /// Returns the problem of a parameter of the path or the query.
    pub(super) fn parameter(name: &str, why: impl fmt::Display) -> Self {
        let detail = format!("parameter {name:?}: {why}");
        Self::new(Code::InvalidParameter, detail).wrong(Wrong::parameter(name, why))
    }

    /// Returns the problem of a part of the body; `pointer` is a JSON Pointer (RFC 6901).
    pub(super) fn part(code: Code, pointer: &str, why: impl fmt::Display) -> Self {
        Self::new(code, why.to_string()).wrong(Wrong::pointer(pointer, why))
    }

    pub(super) fn wrong(mut self, wrong: Wrong) -> Self {
        self.0.errors.push(wrong);
        self
    }

    /// Asks the caller to try again after `wait`.
    pub(super) fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    pub(super) fn challenge(mut self, scheme: Scheme) -> Self {
        self.0.header = Some((WWW_AUTHENTICATE, scheme.challenge()));
        self
    }

    /// Lists the methods that a path has.
    pub(super) fn allow(mut self, methods: &str) -> Self {
        self.0.header = HeaderValue::from_str(methods)
            .ok()
            .map(|list| (ALLOW, list));
        self
    }

    pub(super) fn code(&self) -> Code {
        self.0.code
    }

    /// Returns the document of the answer.
    pub(super) fn document(&self, request_id: Option<&str>) -> ProblemDocument {
        ProblemDocument {
            r#type: self.0.code.uri(),
            title: self.0.code.title().to_owned(),
            status: self.0.code.status(),
            detail: self.0.detail.to_string(),
            code: self.0.code,
            errors: self.0.errors.clone(),
            retry_after_ms: self
                .0
                .retry_after
                .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            request_id: request_id.map(str::to_owned),
        }
    }

    /// Returns the answer.
    pub(super) fn respond(&self, request_id: Option<&str>) -> HttpResponse {
        let mut answer = HttpResponse::build(self.status_code());
        if let Some((name, value)) = &self.0.header {
            answer.insert_header((name.clone(), value.clone()));
        }
        if let Some(wait) = self.0.retry_after {
            let seconds = wait.as_millis().div_ceil(1_000);
            answer.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        answer.insert_header((CONTENT_TYPE, "application/problem+json"));
        answer.json(self.document(request_id))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        self.respond(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `type` points at these headings.
    #[test]
    fn every_code_has_a_paragraph_in_the_documentation_of_this_module() {
        let source = include_str!("problems.rs");
        let headings = source
            .lines()
            .filter_map(|line| line.strip_prefix("//! ## "));
        let codes = Code::ALL.iter().map(|code| code.as_str());
        assert_eq!(headings.collect::<Vec<_>>(), codes.collect::<Vec<_>>());
        assert!(
            Code::Internal
                .uri()
                .ends_with("/web/problems/index.html#internal")
        );
    }

    #[test]
    fn codes_are_ordered_by_status_and_those_of_the_server_say_when_to_try_again() {
        assert!(Code::ALL.is_sorted_by_key(|code| code.status()));
        let wait = Duration::from_millis(1_500);
        let answer = Problem::new(Code::Overloaded, "later")
            .retry_after(wait)
            .respond(Some("id"));
        assert_eq!(answer.status().as_u16(), 503);
        assert_eq!(answer.headers().get("retry-after").unwrap(), "2");
        assert_eq!(
            answer.headers().get("content-type").unwrap(),
            "application/problem+json"
        );
    }
}
