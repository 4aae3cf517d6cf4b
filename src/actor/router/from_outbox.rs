//! Taking events out of the outbox.
//!
//! The outbox is read page by page, and each page is stored in one append, so that no event
//! overtakes another for the same endpoint.

use std::sync::Arc;
use std::task::Context as TaskContext;

use futures_util::FutureExt as _;

use super::publisher::Publisher;
use super::{MAX_APPENDS, MAX_BATCH, RouterActor, Waiting};
use crate::actor::clock::Clock;
use crate::actor::message::Receipt;
use crate::actor::outbox::Scan;
use crate::domain::value::url::WebhookUrl;
use crate::error::PublishError;
use crate::store::{NewEvent, OutboxEntry};

impl RouterActor {
    /// Takes a page of events out of the outbox.
    ///
    /// Returns `true` if there is more to do.
    pub(super) fn read_outbox(&mut self, cx: &mut TaskContext<'_>) -> bool {
        if self.closed || self.appending.len() >= MAX_APPENDS {
            return false;
        }
        let moment = Clock::instant();
        let store = Arc::clone(&self.shared.store);
        let Some((scan, entries)) = self.outbox.read(&*store, MAX_BATCH, moment, cx) else {
            return false;
        };
        let mut batch = Vec::with_capacity(entries.len());
        for entry in entries {
            self.take_entry(&scan, entry, &mut batch);
        }
        if batch.is_empty() {
            self.outbox.end_page(moment);
        } else {
            self.append(batch, cx);
        }
        true
    }

    fn take_entry(
        &mut self,
        scan: &Scan,
        OutboxEntry { seq, event }: OutboxEntry,
        batch: &mut Vec<(NewEvent, Waiting)>,
    ) {
        let now = self.shared.clock.now();
        let prepared = event.and_then(|event| {
            let prepared = self.prepare(&event, now);
            let prepared = prepared.map_err(|error| error.to_string())?;
            Ok((prepared, event))
        });
        let (prepared, event) = match prepared {
            Ok(prepared) => prepared,
            // The reason lies in the event itself, so waiting would not help.
            Err(reason) => return self.set_aside(seq, reason),
        };
        if self.outbox.passes_over(scan, urls(&prepared)) {
            return;
        }
        let waiting = Waiting::new(Publisher::Outbox(seq), &prepared, event);
        let prepared = NewEvent {
            outbox: Some(seq),
            ..prepared
        };
        self.outbox.begin();
        self.taken += 1;
        batch.push((prepared, waiting));
    }

    /// Notes the result of storing an event of the outbox.
    pub(super) fn on_outbox_answer(
        &mut self,
        seq: u64,
        event: &NewEvent,
        answer: Result<Receipt, PublishError>,
    ) {
        let now = Clock::instant();
        match answer {
            Ok(_) => self.outbox.on_accepted(now),
            Err(error @ PublishError::Overloaded(_)) => {
                if self.outbox.on_full(seq, urls(event), now) {
                    let first = urls(event).next().map(WebhookUrl::without_query);
                    log::warn!(
                        endpoint = first, seq, error:% = error;
                        "event {seq} stays in the outbox for now, and so do later events for the same endpoints: {error}"
                    );
                }
            }
            Err(error) if error.is_transient() || matches!(error, PublishError::Store(_)) => {
                if self.outbox.on_failed(seq, now) {
                    log::warn!(seq, error:? = error; "event {seq} and all later ones stay in the outbox for now, because the store failed: {error}");
                }
            }
            Err(error) => {
                self.set_aside(seq, error.to_string());
                self.outbox.on_accepted(now);
            }
        }
    }

    /// Marks an event of the outbox that can never be routed. A marked event is not read again.
    fn set_aside(&mut self, seq: u64, reason: String) {
        log::error!(seq, reason; "event {seq} in the outbox cannot be routed; it is set aside: {reason}");
        let store = Arc::clone(&self.shared.store);
        let marked = self.shared.call(|_| store.reject_outbox(seq, reason));
        self.marking
            .push(marked.map(move |result| (seq, result)).boxed_local());
    }

    /// Notes the result of setting an event aside.
    pub(super) fn on_marked(&mut self, seq: u64, result: Result<(), crate::store::StoreError>) {
        if let Err(error) = result {
            self.outbox.come_back_to(seq);
            log::error!(seq, error:? = error; "event {seq} in the outbox could not be set aside and will be read again: {}", error.with_causes());
        }
    }
}

/// Returns the webhook URLs that an event goes to.
fn urls(event: &NewEvent) -> impl Iterator<Item = &WebhookUrl> {
    event.alerts.iter().flat_map(|new| new.urls.iter())
}
