//! A door into the rows of a file, for the properties in `fuzz/`: every query, on any connection.

use rusqlite::Connection;
use serde::Serialize;
use zeroize::Zeroizing;

use super::alerts::Alerts;
use super::query;
use super::{outbox, rows, schema, search, settings};
use crate::domain::deliveries::dead_letter::DeadLetter;
use crate::domain::deliveries::delivery::Delivery;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::url::WebhookUrl;
use crate::store::{
    Attempt, Configuration, DeadLetterQuery, DeliveryQuery, OpenDelivery, OpenSummary, OutboxEntry,
    PageLimit, Readable, StoreError, StoredEndpoint, WaitingDelivery,
};

/// Creates the tables of the store.
///
/// # Errors
/// [`StoreError`] if they cannot be created.
pub fn create_tables(file: &mut Connection) -> Result<(), StoreError> {
    schema::migrate(file, |_| Ok(()))
}

type Read<T> = Result<T, StoreError>;

/// The rows of a file, as the store reads them.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "it holds the file and nothing else"
)]
pub struct Rows<'c>(pub &'c Connection);

#[expect(missing_docs, reason = "each forwards to the query of its name")]
#[expect(
    clippy::missing_errors_doc,
    reason = "each forwards to the query of its name"
)]
impl Rows<'_> {
    pub fn queued(self, url: &WebhookUrl, limit: PageLimit) -> Read<Vec<OpenDelivery>> {
        let page = query::queued(
            self.0,
            &Alerts::default(),
            url,
            DeliveryId::default(),
            limit,
        );
        page.map(|page| page.rows)
    }

    pub fn waiting(self, url: &WebhookUrl, limit: usize) -> Read<Vec<WaitingDelivery>> {
        query::waiting(self.0, url, limit).map(|page| page.rows)
    }

    pub fn load(
        self,
        url: &WebhookUrl,
        ids: &[DeliveryId],
        bytes: usize,
    ) -> Read<Vec<OpenDelivery>> {
        let loaded = query::load(self.0, &Alerts::default(), url, ids, bytes);
        loaded.map(|(page, _)| page.rows)
    }

    pub fn endpoint(self, url: &WebhookUrl) -> Read<StoredEndpoint> {
        query::endpoint(self.0, url)
    }

    pub fn open_summaries(self, limit: usize) -> Read<Vec<OpenSummary>> {
        query::open_summaries(self.0, None, limit)
    }

    pub fn attempts(self, id: DeliveryId) -> Read<Vec<Attempt>> {
        query::attempts(self.0, id)
    }

    pub fn deliveries(self, query: &DeliveryQuery) -> Read<Vec<Delivery>> {
        Ok(search::deliveries(self.0, query)?.items)
    }

    pub fn dead_letters(self, query: &DeadLetterQuery) -> Read<Vec<DeadLetter>> {
        Ok(search::dead_letters(self.0, query)?.items)
    }

    pub fn configuration(self) -> Read<Configuration> {
        settings::configuration(self.0, None)
    }

    pub fn readable(self) -> Read<Readable> {
        settings::readable(self.0, None)
    }

    pub fn removed(self) -> Read<Vec<WebhookUrl>> {
        settings::removed(self.0)
    }

    pub fn outbox(self, limit: usize) -> Read<Vec<OutboxEntry>> {
        outbox::outbox(self.0, 0, limit)
    }

    /// Returns a setting as it is written, secrets included.
    pub fn setting(setting: &impl Serialize) -> Read<Zeroizing<String>> {
        settings::json(setting)
    }

    /// Returns a value without a column type of its own as it is written.
    pub fn value(value: &impl Serialize) -> rusqlite::Result<String> {
        rows::json(value)
    }
}
