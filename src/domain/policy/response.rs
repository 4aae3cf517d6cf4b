//! The meaning of an answer's status.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The meaning of a status for the delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResponseClass {
    /// The receiver has accepted the delivery.
    Delivered,
    /// The delivery belongs to another URL, named in `Location`.
    ///
    /// For receivers that use a redirect as a receipt, see [`ResponsePolicy::with`].
    Redirected,
    /// A later attempt may succeed: retried according to the [`RetryPolicy`](crate::RetryPolicy).
    Transient,
    /// No attempt will ever succeed: a dead letter at once.
    Permanent,
}

/// The class of each status. Defaults to [`ResponsePolicy::alert_service`].
///
/// ```
/// use actix_webhooks::{ResponseClass, ResponsePolicy};
///
/// let policy = ResponsePolicy::alert_service().with(500, ResponseClass::Transient);
/// assert_eq!(policy.classify(500), ResponseClass::Transient);
/// assert_eq!(policy.classify(400), ResponseClass::Permanent);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResponsePolicy {
    moved: BTreeMap<u16, ResponseClass>,
}

impl ResponsePolicy {
    /// Returns the alert service's table.
    ///
    /// 2xx is delivered and 3xx redirected. 408, 420, 429, 460, 502, 503, 504, 522 and 524 are
    /// transient. Everything else is permanent.
    pub fn alert_service() -> Self {
        Self::default()
    }

    /// Returns a policy in which every 5xx and 408, 425 and 429 are transient, as receivers of
    /// Standard Webhooks expect.
    pub fn server_errors_are_transient() -> Self {
        (500..600)
            .chain([408, 425, 429])
            .fold(Self::default(), |policy, status| {
                policy.with(status, ResponseClass::Transient)
            })
    }

    /// Moves one status to another class.
    ///
    /// A status from 100 to 199 is never a final answer, so moving one has no effect.
    ///
    /// Some receivers execute the POST and then redirect to a page that only supports GET. Google
    /// Apps Script, for example, answers an executed POST with 302, and the redirected POST gets a
    /// 405. For such an endpoint, count the 302 as the receipt:
    ///
    /// ```
    /// use actix_webhooks::{Endpoint, ResponseClass, ResponsePolicy};
    ///
    /// # let url = "https://script.example/macros/s/1/exec";
    /// let endpoint = Endpoint::new(url)?
    ///     .responses(ResponsePolicy::alert_service().with(302, ResponseClass::Delivered));
    /// # drop(endpoint);
    /// # Ok::<(), actix_webhooks::InvalidUrl>(())
    /// ```
    #[must_use]
    pub fn with(mut self, status: u16, class: ResponseClass) -> Self {
        self.moved.insert(status, class);
        self
    }

    /// Returns the class of a status.
    ///
    /// Interim statuses (1xx) are transient: they are not an answer (RFC 9110 §15.2).
    pub fn classify(&self, status: u16) -> ResponseClass {
        if (100..200).contains(&status) {
            return ResponseClass::Transient;
        }
        if !self.moved.is_empty()
            && let Some(class) = self.moved.get(&status)
        {
            return *class;
        }
        match status {
            200..=299 => ResponseClass::Delivered,
            300..=399 => ResponseClass::Redirected,
            408 | 420 | 429 | 460 | 502 | 503 | 504 | 522 | 524 => ResponseClass::Transient,
            _ => ResponseClass::Permanent,
        }
    }
}

/// Returns `true` if a status concerns the whole endpoint, so that its `Retry-After` holds all
/// deliveries (RFC 6585 §4, RFC 9110 §15.6.4).
pub(crate) fn holds_endpoint(status: u16) -> bool {
    matches!(status, 429 | 503)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_final_status_is_classified_as_the_table_says() {
        let policy = ResponsePolicy::alert_service();
        let transient = [408, 420, 429, 460, 502, 503, 504, 522, 524];
        for status in 200..=999 {
            let expected = match status {
                200..=299 => ResponseClass::Delivered,
                300..=399 => ResponseClass::Redirected,
                status if transient.contains(&status) => ResponseClass::Transient,
                _ => ResponseClass::Permanent,
            };
            assert_eq!(policy.classify(status), expected, "{status}");
        }
    }

    #[test]
    fn an_interim_status_is_never_an_answer() {
        let policy = ResponsePolicy::alert_service().with(102, ResponseClass::Delivered);
        assert!((100..200).all(|status| policy.classify(status) == ResponseClass::Transient));
    }

    #[test]
    fn any_status_can_be_moved() {
        let policy = ResponsePolicy::alert_service()
            .with(404, ResponseClass::Delivered)
            .with(200, ResponseClass::Permanent);
        assert_eq!(policy.classify(404), ResponseClass::Delivered);
        assert_eq!(policy.classify(200), ResponseClass::Permanent);
        assert_eq!(policy.classify(201), ResponseClass::Delivered);
        assert_eq!(
            ResponsePolicy::server_errors_are_transient().classify(500),
            ResponseClass::Transient
        );
    }
}
