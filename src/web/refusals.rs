//! What the engine refuses, as problems.

use std::time::Duration;

use super::problems::{Code, Problem};
use crate::actor::message::{EndpointError, RuleError};
use crate::domain::endpoint::invalid::InvalidEndpoint;
use crate::domain::events::event::InvalidEvent;
use crate::domain::routing::rule::InvalidRule;
use crate::domain::value::text::InvalidText;
use crate::engine::OperateError;
use crate::error::PublishError;
use crate::store::StoreError;

/// The wait before a request that failed for now is worth repeating.
const SOON: Duration = Duration::from_secs(1);

impl From<OperateError> for Problem {
    fn from(error: OperateError) -> Self {
        match error {
            OperateError::Endpoint(error) => error.into(),
            OperateError::Rule(error) => error.into(),
            OperateError::Store(error) => error.into(),
            OperateError::Event(error) => error.into(),
            OperateError::Text(error) => Self::new(Code::NotAllowed, error.to_string()),
            OperateError::Stopped => shutting_down(),
        }
    }
}

impl From<EndpointError> for Problem {
    fn from(error: EndpointError) -> Self {
        match error {
            EndpointError::Unknown(_) => unknown_endpoint(),
            EndpointError::Unreadable(_) => Self::new(Code::EndpointUnreadable, error.to_string()),
            EndpointError::Invalid(error) => error.into(),
            EndpointError::Store(error) => error.into(),
        }
    }
}

impl From<InvalidEndpoint> for Problem {
    fn from(error: InvalidEndpoint) -> Self {
        Self::part(Code::InvalidEndpoint, pointer_to(&error), &error)
    }
}

impl From<RuleError> for Problem {
    fn from(error: RuleError) -> Self {
        match error {
            RuleError::InvalidRule(error) => {
                let pointer = match &error {
                    InvalidRule::Text(error) => part_of(error),
                    InvalidRule::NoWebhook => "/webhooks",
                    InvalidRule::Pattern(_) => "/ruleType",
                    InvalidRule::CompanyNeverGiven(_) => "/companyId",
                    InvalidRule::Filter(_) => "/filter",
                    InvalidRule::Projection(_) => "/projection",
                };
                Self::part(Code::InvalidRule, pointer, error)
            }
            RuleError::Endpoint { .. } => Self::part(Code::InvalidRule, "/webhooks", error),
            RuleError::InvalidClient(error) => {
                let pointer = match error.field {
                    "client id" => "/id",
                    "client name" => "/name",
                    _ => "/auth",
                };
                Self::part(Code::InvalidClient, pointer, error)
            }
            RuleError::Store(error) => error.into(),
            RuleError::ShuttingDown => shutting_down(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::Unavailable(_) | StoreError::NoSpace(_) | StoreError::ReadOnly(_) => {
                Self::new(Code::StoreUnavailable, text).retry_after(SOON)
            }
            StoreError::TookTooLong => Self::new(Code::StoreUnavailable, text).retry_after(SOON),
            StoreError::Full(_) => Self::new(Code::Overloaded, text).retry_after(SOON),
            StoreError::EndpointRemoved(_) => Self::new(Code::EndpointRemoved, text),
            StoreError::UnknownDelivery(_) => Self::new(Code::UnknownDelivery, text),
            StoreError::Unsupported(_) => Self::new(Code::NotSupported, text),
            StoreError::Damaged(_) | StoreError::Sealed(_) | StoreError::NewerSchema { .. } => {
                Self::new(Code::StoreDamaged, text)
            }
            // The text names a file of this machine.
            StoreError::InUse(_) | StoreError::Replaced(_) | StoreError::BadPath { .. } => {
                let text = "delivery store's file cannot be used; see the log";
                Self::new(Code::StoreDamaged, text)
            }
        }
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Invalid(error) => {
                let pointer = match &error {
                    InvalidEvent::Text(error) => part_of(error),
                    InvalidEvent::MessageTooLong => "/message",
                    InvalidEvent::DataTooDeep | InvalidEvent::NotJson(_) => "/data",
                };
                Self::part(Code::InvalidEvent, pointer, error)
            }
            PublishError::TooLarge { .. } => Self::new(Code::BodyTooLarge, error.to_string()),
            PublishError::Overloaded(_) => {
                Self::new(Code::Overloaded, error.to_string()).retry_after(SOON)
            }
            PublishError::Store(error) => error.into(),
            PublishError::IdTaken { .. } => Self::part(Code::IdTaken, "/id", error),
            PublishError::ShuttingDown => shutting_down(),
        }
    }
}

pub(super) fn unknown_endpoint() -> Problem {
    Problem::new(
        Code::UnknownEndpoint,
        "no endpoint has this id; list them at /endpoints",
    )
}

fn shutting_down() -> Problem {
    Problem::new(Code::ShuttingDown, "engine is shutting down or has stopped").retry_after(SOON)
}

/// Returns a JSON Pointer to the part of an endpoint that is refused.
fn pointer_to(error: &InvalidEndpoint) -> &'static str {
    match error {
        InvalidEndpoint::Url(_) | InvalidEndpoint::ForbiddenAddress | InvalidEndpoint::NotHttps => {
            "/url"
        }
        InvalidEndpoint::Text(error) => part_of(error),
        InvalidEndpoint::HeaderName(_)
        | InvalidEndpoint::OwnedHeader(_)
        | InvalidEndpoint::RepeatedHeader(_)
        | InvalidEndpoint::TooManyHeaders => "/headers",
        InvalidEndpoint::ContentType(_) => "/contentType",
        InvalidEndpoint::Secret(_) => "/secrets",
        InvalidEndpoint::SignatureHeader(_) => "/signatureHeaders",
        InvalidEndpoint::OtherClient => "/clientId",
        InvalidEndpoint::Timeout => "/policy/timeoutMs",
        InvalidEndpoint::Tls(_) => "/rootCertificates",
        InvalidEndpoint::MaxInFlight => "/policy/maxInFlight",
    }
}

/// Returns a JSON Pointer to the part that a text belongs to.
fn part_of(error: &InvalidText) -> &'static str {
    match error.field {
        "event id" | "rule id" => "/id",
        "rule type" => "/ruleType",
        "client id" => "/clientId",
        "company id" => "/companyId",
        "data connection id" => "/dataConnectionId",
        "header name" | "header value" => "/headers",
        _ => "/auth",
    }
}
