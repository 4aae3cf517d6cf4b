//! Counts of open deliveries, in all and per endpoint, checked against the limits.

use std::hash::Hash;

use foldhash::{HashMap, HashMapExt as _};

use super::{BacklogLimits, BacklogUnit, Overflow, WhenFull};
use crate::domain::value::url::WebhookUrl;

/// Open deliveries and the bytes of their bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) deliveries: u64,
    pub(crate) bytes: u64,
}

/// Open deliveries in all and per endpoint; `K` is the store's key of an endpoint.
#[derive(Debug)]
pub(crate) struct Ledger<K> {
    limits: BacklogLimits,
    total: Open,
    endpoints: HashMap<K, Open>,
    // Kept to reuse its allocation.
    new: HashMap<K, Open>,
}

/// The answer to whether an event may be stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Room<K> {
    Enough,
    /// The event may be stored, but its deliveries to these endpoints are given up.
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

    /// Returns the limit that one more delivery would exceed, if any.
    pub(crate) fn overflow(&self, endpoint: K, url: &WebhookUrl, bytes: u64) -> Option<Overflow> {
        let limits = &self.limits;
        let open = self.endpoints.get(&endpoint).copied().unwrap_or_default();
        let one = Open {
            deliveries: 1,
            bytes,
        };
        let of_endpoint = exceeds(open, one, limits.endpoint_deliveries, limits.endpoint_bytes);
        let of_endpoint = of_endpoint.map(|overflow| Overflow {
            endpoint: Some(url.clone()),
            ..overflow
        });
        let in_all = || exceeds(self.total, one, limits.total_deliveries, limits.total_bytes);
        of_endpoint.or_else(in_all)
    }

    /// Checks whether there is room for an event with these deliveries, each given by its endpoint
    /// and the size of its body.
    pub(crate) fn room<'a>(
        &mut self,
        deliveries: impl Iterator<Item = (K, &'a WebhookUrl, u64)>,
    ) -> Room<K> {
        let limits = &self.limits;
        self.new.clear();
        let mut full = Vec::new();
        let mut first = None;
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
            if let Some(overflow) = exceeded {
                added.deliveries -= 1;
                added.bytes -= bytes;
                if !full.contains(&endpoint) {
                    full.push(endpoint);
                }
                first.get_or_insert_with(|| Overflow {
                    endpoint: Some(url.clone()),
                    ..overflow
                });
            } else {
                all.deliveries += 1;
                all.bytes += bytes;
            }
        }
        // Endpoints with room get the event even if others are full.
        if limits.when_full == WhenFull::Refuse
            && full.len() == self.new.len()
            && let Some(overflow) = first
        {
            return Room::None(overflow);
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
    // An event that adds nothing fits even if the limit is exceeded already.
    if new.deliveries > 0 && open.deliveries + new.deliveries > deliveries {
        return Some(overflow(
            BacklogUnit::Deliveries,
            open.deliveries,
            deliveries,
        ));
    }
    (new.bytes > 0 && open.bytes.saturating_add(new.bytes) > bytes)
        .then(|| overflow(BacklogUnit::Bytes, open.bytes, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(number: u64) -> WebhookUrl {
        WebhookUrl::parse(&format!("http://{number}.test/")).unwrap()
    }

    /// Checks for room for deliveries to these endpoints, each of which may have two open.
    fn room(when_full: WhenFull, open: &[u64], new: &[u64]) -> Room<u64> {
        let mut ledger = Ledger::new(BacklogLimits {
            endpoint_deliveries: 2,
            total_deliveries: 5,
            when_full,
            ..BacklogLimits::default()
        });
        for endpoint in open {
            ledger.add(*endpoint, 1, 10);
        }
        let urls: Vec<WebhookUrl> = new.iter().copied().map(url).collect();
        let new = new.iter().zip(&urls);
        ledger.room(new.map(|(endpoint, url)| (*endpoint, url, 10)))
    }

    #[test]
    fn whoever_has_room_gets_an_event_and_without_anybody_it_is_refused() {
        let overflow = |endpoint: Option<u64>, open, limit| {
            Room::None(Overflow {
                endpoint: endpoint.map(url),
                unit: BacklogUnit::Deliveries,
                open,
                limit,
            })
        };
        let refuse = WhenFull::Refuse;
        assert_eq!(room(refuse, &[1], &[1, 2]), Room::Enough);
        assert_eq!(room(refuse, &[1, 1], &[1, 2]), Room::NotFor(vec![1]));
        assert_eq!(room(refuse, &[1, 1], &[2, 1]), Room::NotFor(vec![1]));
        assert_eq!(room(refuse, &[1, 1], &[1]), overflow(Some(1), 2, 2));
        assert_eq!(
            room(refuse, &[1, 1, 2, 2], &[2, 1]),
            overflow(Some(2), 2, 2)
        );
        assert_eq!(
            room(refuse, &[1, 1, 2, 3], &[1, 2, 3]),
            overflow(None, 4, 5)
        );
        assert_eq!(room(refuse, &[1, 1, 2, 3, 4], &[]), Room::Enough);
        let given_up = room(WhenFull::DeadLetter, &[1, 1, 2, 2], &[2, 1]);
        assert_eq!(given_up, Room::NotFor(vec![2, 1]));
    }
}
