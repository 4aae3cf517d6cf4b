//! The order of the waiters for a permit of one class.
//!
//! Waiters are grouped by client, then by host, and ordered within a host by the permits that their
//! endpoint holds. Only the first waiter of each host and of each client is compared with others,
//! so that a client with ten thousand waiters costs the others nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::sites::{ClientKey, SiteId};

/// The order of a waiter among all others of its class: the least goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// Number of permits of the class that its client holds.
    pub(super) client_holds: u32,
    /// Ticket of its client's last turn, or of the start of its wait. Without this, a client with
    /// thousands of old tickets would go before one with a single new ticket whenever both hold
    /// none.
    pub(super) client_since: u64,
    /// Number of permits that its endpoint holds, of any class.
    pub(super) endpoint_holds: u32,
    /// Number of permits of the class that its client holds at its host.
    pub(super) site_holds: u32,
    /// Ticket of its host's last turn within the client, or of the start of its wait.
    pub(super) site_since: u64,
    /// Its ticket; a waiter that came later has a greater one.
    pub(super) ticket: u64,
}

/// The waiters of one class.
#[derive(Debug)]
pub(super) struct Queue<W> {
    clients: BTreeMap<ClientKey, ClientQueue<W>>,
    /// The first waiter of each client.
    firsts: BTreeSet<(Rank, ClientKey)>,
    /// Number of first waiters by the permits that their endpoint holds.
    by_endpoint_holds: BTreeMap<u32, u32>,
    /// Number of waiters.
    len: u64,
}

#[derive(Debug)]
struct ClientQueue<W> {
    sites: BTreeMap<SiteId, SiteQueue<W>>,
    /// The first waiter of each site, by the parts of the rank that the client's waiters do not
    /// share.
    firsts: BTreeSet<(Standing, SiteId)>,
    since: u64,
    rank: Option<Rank>,
}

#[derive(Debug)]
struct SiteQueue<W> {
    /// Keyed by the permits that the endpoint holds, then by ticket.
    waiters: BTreeMap<(u32, u64), W>,
    since: u64,
    standing: Option<Standing>,
}

/// The order of a waiter within its client: permits of its endpoint, permits of its site, the
/// site's `since`, ticket.
type Standing = (u32, u32, u64, u64);

/// Permits held by the client and by the site of a waiter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holds {
    pub(super) client: u32,
    pub(super) site: u32,
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self {
            clients: BTreeMap::new(),
            firsts: BTreeSet::new(),
            by_endpoint_holds: BTreeMap::new(),
            len: 0,
        }
    }
}

impl<W> Queue<W> {
    pub(super) fn is_empty(&self) -> bool {
        self.firsts.is_empty()
    }

    /// Returns the number of waiters.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Adds a waiter whose endpoint holds `endpoint_holds` permits.
    pub(super) fn insert(
        &mut self,
        (client, site): (ClientKey, SiteId),
        (endpoint_holds, ticket): (u32, u64),
        holds: Holds,
        waiter: W,
    ) {
        let queue = self.clients.entry(client).or_insert_with(|| ClientQueue {
            sites: BTreeMap::new(),
            firsts: BTreeSet::new(),
            since: ticket,
            rank: None,
        });
        let queue = queue.sites.entry(site).or_insert_with(|| SiteQueue {
            waiters: BTreeMap::new(),
            since: ticket,
            standing: None,
        });
        queue.waiters.insert((endpoint_holds, ticket), waiter);
        self.len += 1;
        self.settle((client, site), holds);
    }

    /// Removes a waiter; `None` if it is no longer in the queue.
    pub(super) fn remove(
        &mut self,
        (client, site): (ClientKey, SiteId),
        key: (u32, u64),
        holds: Holds,
    ) -> Option<W> {
        let queue = self.clients.get_mut(&client)?.sites.get_mut(&site)?;
        let waiter = queue.waiters.remove(&key)?;
        self.len -= 1;
        self.settle((client, site), holds);
        Some(waiter)
    }

    /// Removes the first waiter of a client, whose turn comes with `ticket`, and returns it with
    /// its site.
    pub(super) fn pop_first_of(
        &mut self,
        client: ClientKey,
        ticket: u64,
        holds: impl FnOnce(SiteId) -> Holds,
    ) -> Option<(SiteId, W)> {
        let queue = self.clients.get_mut(&client)?;
        queue.since = ticket;
        let site = queue.firsts.first()?.1;
        let queue = queue.sites.get_mut(&site)?;
        queue.since = ticket;
        let (_, waiter) = queue.waiters.pop_first()?;
        self.len -= 1;
        self.settle((client, site), holds(site));
        Some((site, waiter))
    }

    /// Moves a site and its client to their positions after the number of permits that they hold
    /// changed.
    pub(super) fn settle(&mut self, (client, site): (ClientKey, SiteId), holds: Holds) {
        let Some(queue) = self.clients.get_mut(&client) else {
            return;
        };
        let rank = queue.settle(site, holds);
        if rank == queue.rank {
            return;
        }
        if let Some(before) = queue.rank {
            self.firsts.remove(&(before, client));
            count_down(&mut self.by_endpoint_holds, before.endpoint_holds);
        }
        queue.rank = rank;
        if let Some(rank) = rank {
            self.firsts.insert((rank, client));
            *self
                .by_endpoint_holds
                .entry(rank.endpoint_holds)
                .or_default() += 1;
        } else {
            self.clients.remove(&client);
        }
    }

    /// Returns the first waiter of each client, in the order of their turns.
    pub(super) fn firsts(&self) -> impl Iterator<Item = (Rank, ClientKey)> {
        self.firsts.iter().copied()
    }

    /// Returns the fewest permits that any first waiter's endpoint holds. If there is no permit for
    /// that endpoint, there is none for any.
    pub(super) fn least_endpoint_holds(&self) -> Option<u32> {
        self.by_endpoint_holds.keys().next().copied()
    }
}

impl<W> ClientQueue<W> {
    /// Moves a site to its position, and returns the rank of the client's first waiter.
    fn settle(&mut self, site: SiteId, holds: Holds) -> Option<Rank> {
        if let Some(queue) = self.sites.get_mut(&site) {
            let first = queue.waiters.keys().next();
            let since = queue.since;
            let standing = first.map(|(endpoint, ticket)| (*endpoint, holds.site, since, *ticket));
            if standing != queue.standing {
                if let Some(before) = queue.standing {
                    self.firsts.remove(&(before, site));
                }
                queue.standing = standing;
                if let Some(standing) = standing {
                    self.firsts.insert((standing, site));
                } else {
                    self.sites.remove(&site);
                }
            }
        }
        let ((endpoint_holds, site_holds, site_since, ticket), _) = *self.firsts.first()?;
        Some(Rank {
            client_holds: holds.client,
            client_since: self.since,
            endpoint_holds,
            site_holds,
            site_since,
            ticket,
        })
    }
}

fn count_down(counts: &mut BTreeMap<u32, u32>, key: u32) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}
