//! The holders of permits: clients, and within each client the hosts that it calls.
//!
//! A client at one host is a *site*. Clients and hosts are texts. They are resolved to small
//! numbers once, when an endpoint becomes active, so that taking or returning a permit hashes
//! nothing.

use foldhash::{HashMap, HashMapExt as _};

use super::{Charge, PerClass, PermitClass};
use crate::domain::value::id::ClientId;

/// A client's endpoints at one host. The id stays the same while the site is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SiteId(u32);

/// A client, while any of its sites is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ClientKey(u32);

/// All sites in use, and the number of permits that each holds.
#[derive(Debug)]
pub(super) struct Sites {
    clients: Slots<Client>,
    known: Slots<Site>,
    client_keys: HashMap<ClientId, ClientKey>,
    site_ids: HashMap<(u32, u64), SiteId>,
}

#[derive(Debug)]
struct Client {
    id: ClientId,
    sites: u32,
    held: PerClass<u32>,
}

#[derive(Debug)]
struct Site {
    client: ClientKey,
    host: u64,
    /// Number of endpoints, permits and waiters that refer to it.
    uses: u32,
    held: PerClass<u32>,
}

impl Sites {
    pub(super) fn new() -> Self {
        Self {
            clients: Slots::default(),
            known: Slots::default(),
            client_keys: HashMap::new(),
            site_ids: HashMap::new(),
        }
    }

    /// Adds a use of the site of a client at the host with this hash.
    pub(super) fn enter(&mut self, client: &ClientId, host: u64) -> SiteId {
        let client = self.client_keys.get(client).copied().unwrap_or_else(|| {
            let key = ClientKey(self.clients.add(Client {
                id: client.clone(),
                sites: 0,
                held: PerClass::default(),
            }));
            self.client_keys.insert(client.clone(), key);
            key
        });
        let site = self.site_ids.get(&(client.0, host)).copied();
        let site = site.unwrap_or_else(|| {
            let site = SiteId(self.known.add(Site {
                client,
                host,
                uses: 0,
                held: PerClass::default(),
            }));
            self.site_ids.insert((client.0, host), site);
            if let Some(client) = self.clients.get_mut(client.0) {
                client.sites += 1;
            }
            site
        });
        self.use_once_more(site);
        site
    }

    pub(super) fn use_once_more(&mut self, site: SiteId) {
        if let Some(site) = self.known.get_mut(site.0) {
            site.uses += 1;
        }
    }

    /// Ends one use of a site, and drops the site with the last one.
    pub(super) fn leave(&mut self, id: SiteId) {
        let Some(site) = self.known.get_mut(id.0) else {
            debug_assert!(false, "a site is left once for each time it was entered");
            return;
        };
        site.uses -= 1;
        if site.uses > 0 {
            return;
        }
        let (key, host) = (site.client, site.host);
        self.known.remove(id.0);
        self.site_ids.remove(&(key.0, host));
        let Some(client) = self.clients.get_mut(key.0) else {
            return;
        };
        client.sites -= 1;
        if client.sites == 0
            && let Some(client) = self.clients.remove(key.0)
        {
            self.client_keys.remove(&client.id);
        }
        self.shrink();
    }

    /// Frees memory once nothing is in use, so that a burst over many endpoints leaves no trace.
    fn shrink(&mut self) {
        if self.site_ids.is_empty() && self.site_ids.capacity() > FEW {
            *self = Self::new();
        }
    }

    /// Returns `true` if the site belongs to this client.
    pub(super) fn is_of(&self, site: SiteId, client: &ClientId) -> bool {
        let site = self.known.get(site.0);
        let owner = site.and_then(|site| self.clients.get(site.client.0));
        owner.is_some_and(|owner| owner.id == *client)
    }

    /// Counts a permit that was taken.
    pub(super) fn hold(&mut self, Charge { class, site }: Charge) {
        self.change(site, |held| *held.of_mut(class) += 1);
        self.use_once_more(site);
    }

    /// Discounts a permit that was returned.
    pub(super) fn release(&mut self, Charge { class, site }: Charge) {
        self.change(site, |held| *held.of_mut(class) -= 1);
        self.leave(site);
    }

    /// Moves a permit's count to another class.
    pub(super) fn reclassify(&mut self, Charge { class, site }: Charge, to: PermitClass) {
        self.change(site, |held| {
            *held.of_mut(class) -= 1;
            *held.of_mut(to) += 1;
        });
    }

    fn change(&mut self, site: SiteId, change: impl Fn(&mut PerClass<u32>)) {
        if let Some(site) = self.known.get_mut(site.0) {
            change(&mut site.held);
            if let Some(client) = self.clients.get_mut(site.client.0) {
                change(&mut client.held);
            }
        }
    }

    pub(super) fn client_of(&self, site: SiteId) -> ClientKey {
        let site = self.known.get(site.0);
        site.map_or(ClientKey(u32::MAX), |site| site.client)
    }

    pub(super) fn held_by_client(&self, client: ClientKey) -> PerClass<u32> {
        let client = self.clients.get(client.0);
        client.map_or_else(PerClass::default, |client| client.held)
    }

    pub(super) fn held_by_site(&self, site: SiteId) -> PerClass<u32> {
        let site = self.known.get(site.0);
        site.map_or_else(PerClass::default, |site| site.held)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.site_ids.len() + self.client_keys.len()
    }
}

/// Entries keyed by small numbers, which are reused.
#[derive(Debug)]
struct Slots<T> {
    entries: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slots<T> {
    fn add(&mut self, entry: T) -> u32 {
        if let Some(key) = self.free.pop() {
            if let Some(slot) = self.entries.get_mut(key as usize) {
                *slot = Some(entry);
            }
            return key;
        }
        // At most one entry per endpoint, and each endpoint is an actor.
        let key = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        self.entries.push(Some(entry));
        key
    }

    fn remove(&mut self, key: u32) -> Option<T> {
        let entry = self.entries.get_mut(key as usize)?.take()?;
        self.free.push(key);
        Some(entry)
    }

    fn get(&self, key: u32) -> Option<&T> {
        self.entries.get(key as usize)?.as_ref()
    }

    fn get_mut(&mut self, key: u32) -> Option<&mut T> {
        self.entries.get_mut(key as usize)?.as_mut()
    }
}

/// Up to this capacity freeing memory is not worthwhile.
const FEW: usize = 256;
