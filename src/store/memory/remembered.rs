//! The event ids that are remembered, so that an event that is published again delivers nothing.

use std::collections::VecDeque;

use foldhash::{HashMap, HashMapExt as _};
use uuid::Uuid;

use crate::domain::id::EventId;
use crate::domain::time::Timestamp;

/// Event ids, each with how many deliveries it led to, in the order in which they came.
#[derive(Debug)]
pub(super) struct Remembered {
    /// Nearly all are UUIDs. As such they need no memory of their own, and there may be very many.
    uuids: HashMap<[u8; 16], u32>,
    texts: HashMap<EventId, u32>,
    in_order: VecDeque<(Timestamp, Key)>,
}

/// An event id as it is looked up.
#[derive(Debug)]
pub(super) enum Key {
    Uuid([u8; 16]),
    Text(EventId),
}

impl Key {
    pub(super) fn of(id: &EventId) -> Self {
        let text = id.as_str();
        let uuid = Uuid::try_parse(text).ok();
        // Other spellings of a UUID are other ids.
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

impl Remembered {
    pub(super) fn new() -> Self {
        Self {
            uuids: HashMap::new(),
            texts: HashMap::new(),
            in_order: VecDeque::new(),
        }
    }

    /// Returns to how many deliveries an event has led; `None` when it is not remembered.
    pub(super) fn get(&self, key: &Key) -> Option<usize> {
        let found = match key {
            Key::Uuid(uuid) => self.uuids.get(uuid),
            Key::Text(text) => self.texts.get(text),
        };
        found.and_then(|deliveries| usize::try_from(*deliveries).ok())
    }

    /// Remembers an event, and forgets the oldest beyond `limit`.
    pub(super) fn put(&mut self, at: Timestamp, key: Key, deliveries: usize, limit: usize) {
        let deliveries = u32::try_from(deliveries).unwrap_or(u32::MAX);
        match &key {
            Key::Uuid(uuid) => self.uuids.insert(*uuid, deliveries),
            Key::Text(text) => self.texts.insert(text.clone(), deliveries),
        };
        self.in_order.push_back((at, key));
        if self.in_order.len() > limit {
            self.forget_oldest();
        }
    }

    /// Forgets those from before `at`.
    pub(super) fn forget_before(&mut self, at: Timestamp) {
        while self.in_order.front().is_some_and(|(then, _)| *then < at) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        match self.in_order.pop_front() {
            Some((_, Key::Uuid(uuid))) => self.uuids.remove(&uuid),
            Some((_, Key::Text(text))) => self.texts.remove(&text),
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
        for (number, spelling) in spellings.iter().enumerate() {
            let key = || Key::of(&EventId::from(spelling.as_str()));
            assert_eq!(remembered.get(&key()), None, "{spelling}");
            remembered.put(at(0), key(), number, 10);
            assert_eq!(remembered.get(&key()), Some(number));
        }
        assert_eq!((remembered.uuids.len(), remembered.texts.len()), (1, 4));
    }

    #[test]
    fn the_oldest_are_forgotten_first_whatever_they_look_like() {
        let mut remembered = Remembered::new();
        let ids = ["a", "5c27631d-3b63-4b50-8228-ee502fd113eb", "b", "c"].map(EventId::from);
        for (number, id) in (0..).zip(&ids) {
            remembered.put(at(number), Key::of(id), 1, 3);
        }
        let known = |remembered: &Remembered| {
            ids.clone()
                .map(|id| remembered.get(&Key::of(&id)).is_some())
        };
        assert_eq!(known(&remembered), [false, true, true, true]);
        remembered.forget_before(at(3));
        assert_eq!(known(&remembered), [false, false, false, true]);
        assert!(remembered.uuids.is_empty() && remembered.texts.len() == 1);
    }
}
