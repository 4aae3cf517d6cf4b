//! Remembered event ids, so that an event published again delivers nothing.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};

use foldhash::{HashMap, HashMapExt as _};
use uuid::Uuid;

use crate::domain::events::content::ContentDigest;
use crate::domain::value::id::{ClientId, EventId};
use crate::domain::value::time::Timestamp;
use crate::store::{NewEvent, StoredEvent, Unmatched};

/// Event ids in order of arrival, each with its client and its number of deliveries.
#[derive(Debug)]
pub(super) struct Remembered {
    /// Nearly all ids are UUIDs. Stored as bytes they need no allocation, and there may be very
    /// many.
    uuids: HashMap<[u8; 16], Seen>,
    texts: HashMap<EventId, Seen>,
    /// Ids that another client had used first.
    shared: HashMap<(EventId, u64), Seen>,
    in_order: VecDeque<(Timestamp, EventKey)>,
    clients: RandomState,
}

/// The record of one event.
#[derive(Debug)]
struct Seen {
    deliveries: u32,
    /// A hash of the client's id, which itself would take more memory than the rest of the record.
    client: u64,
    content: Option<Box<ContentDigest>>,
    /// Set if no rule matched the event, which also shows its client.
    unmatched: Option<Box<(ClientId, Unmatched)>>,
}

/// An event id in the form in which it is looked up.
#[derive(Debug)]
pub(super) enum EventKey {
    Uuid([u8; 16]),
    Text(EventId),
    /// The id and a hash of the client, if another client had used the id first.
    Shared(EventId, u64),
}

/// The result of looking up an event id.
#[derive(Debug)]
pub(super) enum EventIdFound {
    /// The id is new.
    Nothing(EventKey),
    /// Only another client has used it.
    UsedByAnother(EventKey),
    /// The client has published this event before, with this number of deliveries.
    Same(usize),
    /// The client has published a different event under this id.
    Different,
}

impl EventKey {
    fn of(id: &EventId) -> Self {
        let text = id.as_str();
        let uuid = Uuid::try_parse(text).ok();
        // Only the canonical spelling counts as a UUID: other spellings are other ids.
        let same = |uuid: &Uuid| {
            let mut buffer = Uuid::encode_buffer();
            uuid.hyphenated().encode_lower(&mut buffer) == text
        };
        match uuid.filter(same) {
            Some(uuid) => Self::Uuid(uuid.into_bytes()),
            None => Self::Text(id.clone()),
        }
    }
}

impl Seen {
    fn compare(&self, content: Option<ContentDigest>) -> EventIdFound {
        let differs = |(one, other): (&ContentDigest, ContentDigest)| *one != other;
        if self.content.as_deref().zip(content).is_some_and(differs) {
            return EventIdFound::Different;
        }
        EventIdFound::Same(usize::try_from(self.deliveries).unwrap_or(usize::MAX))
    }
}

impl Remembered {
    pub(super) fn new() -> Self {
        Self {
            uuids: HashMap::new(),
            texts: HashMap::new(),
            shared: HashMap::new(),
            in_order: VecDeque::new(),
            clients: RandomState::new(),
        }
    }

    /// Looks up an event.
    pub(super) fn find(
        &self,
        id: &EventId,
        client: &ClientId,
        content: Option<ContentDigest>,
    ) -> EventIdFound {
        let client = self.clients.hash_one(client);
        if !self.shared.is_empty()
            && let Some(seen) = self.shared.get(&(id.clone(), client))
        {
            return seen.compare(content);
        }
        let key = EventKey::of(id);
        match self.get(&key) {
            None => EventIdFound::Nothing(key),
            Some(seen) if seen.client == client => seen.compare(content),
            Some(_) => EventIdFound::UsedByAnother(EventKey::Shared(id.clone(), client)),
        }
    }

    fn get(&self, key: &EventKey) -> Option<&Seen> {
        match key {
            EventKey::Uuid(uuid) => self.uuids.get(uuid),
            EventKey::Text(text) => self.texts.get(text),
            EventKey::Shared(text, client) => self.shared.get(&(text.clone(), *client)),
        }
    }

    /// Remembers an event under the key that `find` returned, and forgets the oldest beyond
    /// `limit`.
    pub(super) fn put(&mut self, event: &NewEvent, key: EventKey, deliveries: usize, limit: usize) {
        let unmatched = event.unmatched.clone();
        let unmatched = unmatched.map(|unmatched| (event.client_id.clone(), unmatched));
        let seen = Seen {
            deliveries: u32::try_from(deliveries).unwrap_or(u32::MAX),
            client: self.clients.hash_one(&event.client_id),
            content: event.content.map(Box::new),
            unmatched: unmatched.map(Box::new),
        };
        match &key {
            EventKey::Uuid(uuid) => self.uuids.insert(*uuid, seen),
            EventKey::Text(text) => self.texts.insert(text.clone(), seen),
            EventKey::Shared(text, client) => self.shared.insert((text.clone(), *client), seen),
        };
        self.in_order.push_back((event.at, key));
        if self.in_order.len() > limit {
            self.forget_oldest();
        }
    }

    /// Returns the events with this id, of any client, oldest first.
    pub(super) fn look(&self, id: &EventId) -> Vec<StoredEvent> {
        let key = EventKey::of(id);
        let is_it = |other: &EventKey| match (other, &key) {
            (EventKey::Uuid(one), EventKey::Uuid(other)) => one == other,
            (EventKey::Text(one), EventKey::Text(other)) => one == other,
            (EventKey::Shared(one, _), _) => one == id,
            (EventKey::Uuid(_) | EventKey::Text(_), _) => false,
        };
        let found = self.in_order.iter().filter(|(_, other)| is_it(other));
        let found = found.filter_map(|(at, key)| {
            let seen = self.get(key)?;
            let (client_id, unmatched) = seen.unmatched.as_deref().cloned().unzip();
            Some(StoredEvent {
                client_id,
                unmatched,
                ..StoredEvent::new(id.clone(), *at, seen.deliveries.into())
            })
        });
        found.collect()
    }

    /// Forgets the ids of events accepted before `at`.
    pub(super) fn forget_before(&mut self, at: Timestamp) {
        while self.in_order.front().is_some_and(|(then, _)| *then < at) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        match self.in_order.pop_front() {
            Some((_, EventKey::Uuid(uuid))) => self.uuids.remove(&uuid),
            Some((_, EventKey::Text(text))) => self.texts.remove(&text),
            Some((_, EventKey::Shared(text, client))) => self.shared.remove(&(text, client)),
            None => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    /// Publishes an event, and returns the number of deliveries if it is a repetition. At most
    /// `limit` ids are remembered.
    fn publish(
        remembered: &mut Remembered,
        (id, client): (&str, &str),
        number: i64,
        limit: usize,
    ) -> Option<usize> {
        let event = NewEvent {
            id: id.into(),
            client_id: client.into(),
            content: None,
            alerts_are_its_own: true,
            at: at(number),
            alerts: Vec::new(),
            unmatched: None,
            outbox: None,
        };
        let deliveries = usize::try_from(number).unwrap();
        match remembered.find(&event.id, &event.client_id, None) {
            EventIdFound::Nothing(key) | EventIdFound::UsedByAnother(key) => {
                remembered.put(&event, key, deliveries, limit);
                None
            }
            EventIdFound::Same(deliveries) => Some(deliveries),
            EventIdFound::Different => unreachable!("there is no content"),
        }
    }

    #[test]
    fn two_spellings_of_a_uuid_are_two_ids() {
        let lower = "5c27631d-3b63-4b50-8228-ee502fd113eb";
        let spellings = [
            lower.to_owned(),
            lower.to_uppercase(),
            lower.replace('-', ""),
            format!("{{{lower}}}"),
            format!("urn:uuid:{lower}"),
        ];
        let mut remembered = Remembered::new();
        for (number, spelling) in (0..).zip(&spellings) {
            let mut publish = |number| publish(&mut remembered, (spelling, "c"), number, 10);
            assert_eq!(publish(number), None, "{spelling}");
            assert_eq!(publish(7), usize::try_from(number).ok());
        }
        assert_eq!((remembered.uuids.len(), remembered.texts.len()), (1, 4));
    }

    #[test]
    fn the_oldest_are_forgotten_first_whatever_they_look_like() {
        let mut remembered = Remembered::new();
        let ids = [
            ("a", "c1"),
            ("5c27631d-3b63-4b50-8228-ee502fd113eb", "c1"),
            ("b", "c1"),
            ("b", "c2"),
        ];
        for (number, id) in (0..).zip(ids) {
            assert_eq!(publish(&mut remembered, id, number, 3), None);
        }
        let known = |remembered: &Remembered| {
            ids.map(|(id, client)| {
                let found = remembered.find(&id.into(), &client.into(), None);
                matches!(found, EventIdFound::Same(_))
            })
        };
        assert_eq!(known(&remembered), [false, true, true, true]);
        remembered.forget_before(at(3));
        assert_eq!(known(&remembered), [false, false, false, true]);
        assert!(remembered.uuids.is_empty() && remembered.texts.is_empty());
        assert_eq!(publish(&mut remembered, ("b", "c1"), 4, 3), None);
        assert_eq!(known(&remembered), [false, false, true, true]);
        remembered.forget_before(at(5));
        assert!(remembered.shared.is_empty() && remembered.in_order.is_empty());
    }
}
