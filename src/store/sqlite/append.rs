//! Storing new events with their alerts and deliveries.

use rusqlite::params;

use super::error::store_error;
use super::record::Ending;
use super::rows::{self, int, uint};
use super::search::Terms;
use super::writer::Writer;
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::value::id::{CompanyId, DeliveryId};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::store::ledger::Room;
use crate::store::{Alert, Appended, NewEvent, Overflow, StoreError};

impl Writer<'_> {
    pub(super) fn append(&mut self, batch: &[NewEvent]) -> Result<Vec<Appended>, StoreError> {
        // The endpoints of refused outbox events: no later event may overtake them there.
        let mut refused: Vec<(&WebhookUrl, Overflow)> = Vec::new();
        let mut answers = Vec::with_capacity(batch.len());
        for event in batch {
            let answer = match overtaken(event, &refused) {
                Some(overflow) => Appended::Full(overflow),
                None => self.append_one(event).map_err(store_error)?,
            };
            if let (Some(_), Appended::Full(overflow)) = (event.outbox, &answer) {
                refused.extend(urls(event).map(|url| (url, overflow.clone())));
            }
            answers.push(answer);
        }
        Ok(answers)
    }

    fn append_one(&mut self, event: &NewEvent) -> rusqlite::Result<Appended> {
        self.note_time(event.at);
        let (targets, room) = self.room(event)?;
        let full = match room {
            Room::Enough => Vec::new(),
            Room::NotFor(full) => full,
            Room::None(overflow) => {
                let found = self.find_event(event)?;
                return match found.answer(event) {
                    Some(answer) => self.answer_known(event, answer),
                    None => Ok(Appended::Full(overflow)),
                };
            }
        };
        if let Some(answer) = self.remember(event, targets.len())? {
            return self.answer_known(event, answer);
        }
        let mut ids = Vec::with_capacity(targets.len());
        let mut dead = Vec::new();
        let removed = self.removed_among(event);
        let mut endpoints = targets.into_iter();
        for new in &event.alerts {
            let alert = self.insert_alert(&new.alert, event.at, new.urls.len())?;
            let first = self.last.delivery + 1;
            for endpoint in endpoints.by_ref().take(new.urls.len()) {
                let reason = if removed.contains(&endpoint) {
                    Some(DeadLetterReason::EndpointRemoved)
                } else if full.contains(&endpoint) {
                    Some(DeadLetterReason::BacklogFull)
                } else {
                    None
                };
                let id = match reason {
                    Some(reason) => self.give_up(endpoint, alert, event.at, reason)?,
                    None => self.insert_open(endpoint, alert, event.at, rows::size(&new.alert))?,
                };
                ids.push(id);
                dead.extend(reason.map(|reason| (id, reason)));
            }
            self.index(&Terms::of(&new.alert), first, new.urls.len())?;
        }
        self.take_from_outbox(event)?;
        Ok(if dead.is_empty() {
            Appended::Stored(ids)
        } else {
            Appended::StoredInPart { ids, dead }
        })
    }

    /// Answers for an event that is not stored because its id is known. A repetition leaves the
    /// outbox.
    fn answer_known(&self, event: &NewEvent, answer: Appended) -> rusqlite::Result<Appended> {
        if matches!(answer, Appended::Remembered { .. }) {
            self.take_from_outbox(event)?;
        }
        Ok(answer)
    }

    /// Returns the endpoint of each delivery, and whether there is room for the deliveries.
    fn room(&mut self, event: &NewEvent) -> rusqlite::Result<(Vec<i64>, Room<i64>)> {
        let deliveries = event
            .alerts
            .iter()
            .flat_map(|new| new.urls.iter().map(|url| (&new.alert, url)));
        let endpoints: Vec<i64> = deliveries
            .clone()
            .map(|(_, url)| self.endpoint(url))
            .collect::<rusqlite::Result<_>>()?;
        let removed = &self.removed;
        let sizes = deliveries
            .zip(&endpoints)
            .filter(|((_, url), _)| removed.is_empty() || !removed.contains(*url))
            .map(|((alert, url), endpoint)| (*endpoint, url, rows::size(alert)));
        let room = self.ledger.room(sizes);
        Ok((endpoints, room))
    }

    /// Returns the endpoints of an event that were removed and not named again since.
    fn removed_among(&self, event: &NewEvent) -> Vec<i64> {
        if self.removed.is_empty() {
            return Vec::new();
        }
        let urls = event.alerts.iter().flat_map(|new| new.urls.iter());
        let removed = urls.filter(|url| self.is_removed(url));
        // `room` has just looked up and cached all of them.
        removed
            .filter_map(|url| self.endpoints.get(url).copied())
            .collect()
    }

    fn insert_alert(&mut self, alert: &Alert, at: Timestamp, refs: usize) -> rusqlite::Result<i64> {
        self.last.alert += 1;
        let insert = self.hot.insert_alert.get(self.connection)?;
        insert.execute(params![
            self.last.alert,
            alert.id.as_uuid().as_bytes(),
            alert.event_id.as_str(),
            alert.rule_id.as_str(),
            alert.rule_type,
            alert.client_id.as_str(),
            alert.company_id.as_ref().map(CompanyId::as_str),
            rows::format_name(alert.format),
            at.unix_millis(),
            refs,
            &alert.body[..],
        ])?;
        Ok(self.last.alert)
    }

    pub(super) fn insert_open(
        &mut self,
        endpoint: i64,
        alert: i64,
        at: Timestamp,
        bytes: u64,
    ) -> rusqlite::Result<DeliveryId> {
        self.last.delivery += 1;
        let insert = self.hot.insert_open.get(self.connection)?;
        insert.execute(params![
            endpoint,
            self.last.delivery,
            alert,
            at.unix_millis(),
            int(bytes),
        ])?;
        self.note_opened(endpoint, bytes);
        Ok(DeliveryId::new(uint(self.last.delivery)))
    }

    fn give_up(
        &mut self,
        endpoint: i64,
        alert: i64,
        at: Timestamp,
        reason: DeadLetterReason,
    ) -> rusqlite::Result<DeliveryId> {
        self.last.delivery += 1;
        let ending = Ending {
            alert,
            accepted_at: at.unix_millis(),
            attempts_made: 0,
            bytes: 0,
        };
        let id = self.last.delivery;
        self.insert_given_up(endpoint, id, &ending, at, reason)?;
        Ok(DeliveryId::new(uint(id)))
    }

    fn take_from_outbox(&self, event: &NewEvent) -> rusqlite::Result<()> {
        let Some(seq) = event.outbox else {
            return Ok(());
        };
        let sql = "DELETE FROM webhook_outbox WHERE seq = ?1";
        let deleted = self.connection.prepare_cached(sql)?.execute([int(seq)]);
        deleted.map(drop)
    }
}

fn urls(event: &NewEvent) -> impl Iterator<Item = &WebhookUrl> {
    event.alerts.iter().flat_map(|new| new.urls.iter())
}

/// Returns why an outbox event must wait: each of its endpoints is held up by an earlier event that
/// was refused.
fn overtaken(event: &NewEvent, refused: &[(&WebhookUrl, Overflow)]) -> Option<Overflow> {
    if refused.is_empty() || event.outbox.is_none() {
        return None;
    }
    let mut why = None;
    let all = urls(event).all(|url| {
        why = refused.iter().find(|(refused, _)| *refused == url);
        why.is_some()
    });
    why.filter(|_| all).map(|(_, overflow)| overflow.clone())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::{Alert, BacklogUnit, NewAlert};

    #[test]
    fn an_outbox_event_waits_if_all_its_endpoints_are_held_up() {
        let url = |text| WebhookUrl::parse(text).unwrap();
        let (a, b) = (url("http://a.test/"), url("http://b.test/"));
        let event = |urls: &[&WebhookUrl], outbox| {
            let urls: Vec<WebhookUrl> = urls.iter().copied().cloned().collect();
            let alert = Alert::new("e".into(), "r".into(), "t", "c".into(), Bytes::new());
            let alerts = vec![NewAlert::new(alert, urls)];
            let mut event = NewEvent::new("e".into(), "c".into(), Timestamp::default(), alerts);
            event.outbox = outbox;
            event
        };
        let why = Overflow::new(Some(a.clone()), BacklogUnit::Deliveries, 1, 1);
        let refused = [(&a, why.clone())];
        assert_eq!(overtaken(&event(&[&a], Some(1)), &refused), Some(why));
        assert_eq!(overtaken(&event(&[&a, &b], Some(1)), &refused), None);
        assert_eq!(overtaken(&event(&[&b], Some(1)), &refused), None);
        assert_eq!(
            overtaken(&event(&[&a], None), &refused),
            None,
            "it comes from elsewhere"
        );
        assert_eq!(overtaken(&event(&[&a], Some(1)), &[]), None);
    }
}
