//! The credentials of rules and clients, shared by the router, which changes them, and the subscribers, which look them up for
//! every attempt.

use parking_lot::RwLock;

use crate::domain::credentials::{Authorization, CredentialBook};
use crate::domain::deliveries::alert::Alert;
use crate::domain::value::url::WebhookUrl;

/// What rules and clients give.
#[derive(Debug, Default)]
pub(crate) struct Credentials(RwLock<CredentialBook>);

impl Credentials {
    pub(crate) fn new(book: CredentialBook) -> Self {
        Self(RwLock::new(book))
    }

    /// Returns how a call with this alert is authorised; `endpoint` is what the endpoint itself says.
    pub(crate) fn authorization(
        &self,
        alert: &Alert,
        url: &WebhookUrl,
        endpoint: &Authorization,
    ) -> Authorization {
        self.read(|book| book.authorization(alert, url, endpoint))
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&CredentialBook) -> T) -> T {
        look(&self.0.read())
    }

    pub(crate) fn write<T>(&self, change: impl FnOnce(&mut CredentialBook) -> T) -> T {
        change(&mut self.0.write())
    }
}
