//! How much is open, in all and for each endpoint, against the limits.

use std::hash::Hash;

use foldhash::{HashMap, HashMapExt as _};

use super::{BacklogLimits, Overflow, WhenFull};
use crate::domain::url::WebhookUrl;

/// How much is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) deliveries: u64,
    pub(crate) bytes: u64,
}

/// What is open in all and for each endpoint; `K` is how a store knows an endpoint.
#[derive(Debug)]
pub(crate) struct Ledger<K> {
    limits: BacklogLimits,
    total: Open,
    endpoints: HashMap<K, Open>,
    // Kept for its room.
    new: HashMap<K, Open>,
}

/// Whether an event may be stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Room<K> {
    Enough,
    /// It may, but its deliveries to these endpoints are given up.
    NotFor(Vec<K>),
    None(Overflow),
}

impl<K: Copy + Eq + Hash> Ledger<K> {
    pub(crate) fn new(limits: BacklogLimits) -> Self {
        Self {
            limits,
            total: Open::default(),
            endpoints: HashMap::new(),
            new: HashMap::new(),
        }
    }

    #[cfg(feature = "sqlite")]
    pub(crate) fn total(&self) -> Open {
        self.total
    }

    pub(crate) fn add(&mut self, endpoint: K, deliveries: u64, bytes: u64) {
        for open in [&mut self.total, self.endpoints.entry(endpoint).or_default()] {
            open.deliveries += deliveries;
            open.bytes += bytes;
        }
    }

    pub(crate) fn take(&mut self, endpoint: K, deliveries: u64, bytes: u64) {
        let subtract = |open: &mut Open| {
            open.deliveries = open.deliveries.saturating_sub(deliveries);
            open.bytes = open.bytes.saturating_sub(bytes);
        };
        subtract(&mut self.total);
        if let Some(open) = self.endpoints.get_mut(&endpoint) {
            subtract(open);
            if open.deliveries == 0 {
                self.endpoints.remove(&endpoint);
            }
        }
    }

    /// Says whether there is room for an event with these deliveries, each given by its endpoint and the size of its body.
    pub(crate) fn room<'a>(
        &mut self,
        deliveries: impl Iterator<Item = (K, &'a WebhookUrl, u64)>,
    ) -> Room<K> {
        let limits = &self.limits;
        self.new.clear();
        let mut full = Vec::new();
        let mut all = Open::default();
        for (endpoint, url, bytes) in deliveries {
            let open = self.endpoints.get(&endpoint).copied().unwrap_or_default();
            let added = self.new.entry(endpoint).or_default();
            added.deliveries += 1;
            added.bytes += bytes;
            let exceeded = exceeds(
                open,
                *added,
                limits.endpoint_deliveries,
                limits.endpoint_bytes,
            );
            match (exceeded, limits.when_full) {
                (Some(overflow), WhenFull::Refuse) => {
                    return Room::None(Overflow {
                        endpoint: Some(url.clone()),
                        ..overflow
                    });
                }
                (Some(_), WhenFull::DeadLetter) => {
                    added.deliveries -= 1;
                    added.bytes -= bytes;
                    if !full.contains(&endpoint) {
                        full.push(endpoint);
                    }
                }
                (None, _) => {
                    all.deliveries += 1;
                    all.bytes += bytes;
                }
            }
        }
        match exceeds(self.total, all, limits.total_deliveries, limits.total_bytes) {
            Some(overflow) => Room::None(overflow),
            None if full.is_empty() => Room::Enough,
            None => Room::NotFor(full),
        }
    }
}

fn exceeds(open: Open, new: Open, deliveries: u64, bytes: u64) -> Option<Overflow> {
    let overflow = |unit, open, limit| Overflow {
        endpoint: None,
        unit,
        open,
        limit,
    };
    // Nothing new is always possible, whatever is open.
    if new.deliveries > 0 && open.deliveries + new.deliveries > deliveries {
        return Some(overflow("deliveries", open.deliveries, deliveries));
    }
    (new.bytes > 0 && open.bytes.saturating_add(new.bytes) > bytes)
        .then(|| overflow("bytes", open.bytes, bytes))
}
