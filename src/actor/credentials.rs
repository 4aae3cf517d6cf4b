//! The credentials of rules and clients. The router changes them; subscribers look them up for
//! every attempt.

use parking_lot::RwLock;

use crate::domain::credentials::{Authorization, CredentialBook};
use crate::domain::deliveries::alert::Alert;
use crate::domain::value::url::WebhookUrl;

/// The credentials of all rules and clients.
#[derive(Debug, Default)]
pub(crate) struct Credentials(RwLock<CredentialBook>);

impl Credentials {
    pub(crate) fn new(book: CredentialBook) -> Self {
        Self(RwLock::new(book))
    }

    /// Returns the authorisation of a call with this alert; `endpoint` is the endpoint's own.
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
