//! The order of those who wait for a permit of one class.
//!
//! Waiters stand by client, within a client by host, and within a host by what their endpoint
//! holds. Only the first of each host and of each client is compared with others, so that a client
//! with ten thousand waiters costs the others nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::sites::{ClientKey, SiteId};

/// How a waiter compares with all others of its class: the least goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// How many permits of the class its client holds.
    pub(super) client_holds: u32,
    /// When its client had its last turn, or began to wait. Else a client with thousands of old
    /// tickets would go before one with a single new one whenever both hold none.
    pub(super) client_since: u64,
    /// How many permits its endpoint holds, of any class.
    pub(super) endpoint_holds: u32,
    /// How many permits of the class its client holds at its host.
    pub(super) site_holds: u32,
    /// When its host had its last turn among those of its client, or began to wait.
    pub(super) site_since: u64,
    /// When it began to wait: whoever came later has a greater one.
    pub(super) ticket: u64,
}

/// The waiters of one class.
#[derive(Debug)]
pub(super) struct Queue<W> {
    clients: BTreeMap<ClientKey, ClientQueue<W>>,
    /// The first waiter of each client.
    firsts: BTreeSet<(Rank, ClientKey)>,
    /// How many of those there are whose endpoints hold so many permits.
    by_endpoint_holds: BTreeMap<u32, u32>,
}

#[derive(Debug)]
struct ClientQueue<W> {
    sites: BTreeMap<SiteId, SiteQueue<W>>,
    /// The first waiter of each site, without what all have in common.
    firsts: BTreeSet<(Standing, SiteId)>,
    since: u64,
    rank: Option<Rank>,
}

#[derive(Debug)]
struct SiteQueue<W> {
    /// By what the endpoint holds, then by ticket.
    waiters: BTreeMap<(u32, u64), W>,
    since: u64,
    standing: Option<Standing>,
}

/// Where a waiter stands among those of its client: what its endpoint holds, what its site holds
/// and since when that waits, its ticket.
type Standing = (u32, u32, u64, u64);

/// What the client and the site of a waiter hold.
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
        }
    }
}

impl<W> Queue<W> {
    pub(super) fn is_empty(&self) -> bool {
        self.firsts.is_empty()
    }

    /// Adds a waiter whose endpoint holds so many permits.
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
        self.settle((client, site), holds);
    }

    /// Takes a waiter out; `None` if it is not in here any more.
    pub(super) fn remove(
        &mut self,
        (client, site): (ClientKey, SiteId),
        key: (u32, u64),
        holds: Holds,
    ) -> Option<W> {
        let queue = self.clients.get_mut(&client)?.sites.get_mut(&site)?;
        let waiter = queue.waiters.remove(&key)?;
        self.settle((client, site), holds);
        Some(waiter)
    }

    /// Takes the first waiter of a client out, whose turn comes with this ticket, and returns it
    /// with its site.
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
        self.settle((client, site), holds(site));
        Some((site, waiter))
    }

    /// Moves a site and its client to where they belong now that they hold so many permits.
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

    /// Returns the least that any endpoint of a first waiter holds: if there is no permit for that
    /// one, there is for none.
    pub(super) fn least_endpoint_holds(&self) -> Option<u32> {
        self.by_endpoint_holds.keys().next().copied()
    }
}

impl<W> ClientQueue<W> {
    /// Moves a site to where it belongs, and returns the rank of the client's first waiter.
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
