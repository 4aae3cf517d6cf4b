//! Permits: which endpoint may start an attempt when the process is near its limit.
//!
//! One hard limit bounds the attempts in flight, and endpoints come in three classes
//! ([`PermitClass`]). Prompt endpoints have half of the permits to themselves. Unproven ones share
//! the other half with hanging ones. Hanging endpoints start attempts only while such attempts hold
//! less than a quarter.
//!
//! In its first second, an endpoint that begins to hang looks like any other. An endpoint therefore
//! takes another permit only while more permits are free than it already holds. However many
//! attempts it may have in flight, it leaves as many permits free as it takes, and n endpoints that
//! begin to hang at once leave one permit in n + 1. For the same reason, a client that holds more
//! than an eighth of the permits leaves the last ones to others: 4 of 512, and an eighth of the
//! share for attempts that may hang. A client with nothing in flight gets its permit from that
//! share, however many prompt endpoints of others have begun to hang.
//!
//! When permits are short, waiters take turns. First comes the client that holds the fewest
//! permits, and of several the one whose last turn was longest ago. Within the client comes the
//! endpoint that holds the fewest, then the host at which the client holds the fewest, then the
//! host whose last turn was longest ago, then the endpoint that has waited longest. No endpoint
//! starves: every permit held ends within a timeout, and among waiters that hold equally few,
//! everyone has a turn before anyone has two.

mod queue;
mod sites;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::queue::{Holds, Queue, Rank};
use self::sites::{ClientKey, Sites};
use crate::domain::value::id::ClientId;

pub(crate) use self::sites::SiteId;

/// The class in which an endpoint counts against the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PermitClass {
    /// Answers within [`LATE_AFTER`](crate::domain::machine::LATE_AFTER), with any status.
    Prompt,
    /// Not known to answer yet, or answers later than that.
    #[default]
    Unproven,
    /// Keeps an attempt waiting for longer than that, or kept the last one waiting in vain.
    Hanging,
    /// Like `Hanging`, for a permit that was taken as `Prompt`. No attempt starts in this class.
    Late,
}

/// The class and the site that a permit is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(crate) class: PermitClass,
    pub(crate) site: SiteId,
}

/// The use of the permits for attempts in flight, by the class of the endpoints.
///
/// Half of all permits are for prompt endpoints alone. Unproven and hanging endpoints share the
/// other half with late attempts, and hanging ones start none while such attempts hold a quarter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PermitUse {
    /// The limit on all attempts in flight.
    pub limit: u32,
    /// The limit on attempts of unproven and hanging endpoints.
    pub limit_of_unproven: u32,
    /// The limit at which hanging endpoints start no attempt.
    pub limit_of_hanging: u32,
    /// Attempts of endpoints that answer within a second.
    pub prompt: u32,
    /// Attempts of endpoints that have not answered yet, or answer later.
    pub unproven: u32,
    /// Attempts of endpoints that keep attempts waiting in vain.
    pub hanging: u32,
    /// Attempts of prompt endpoints that have not been answered within a second.
    pub late: u32,
    /// Endpoints that wait for a permit.
    pub waiting: u64,
}

impl PermitUse {
    /// Returns the number of permits taken.
    pub fn taken(&self) -> u32 {
        self.prompt + self.unproven + self.hanging + self.late
    }
}

/// The position of a waiter until its turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) charge: Charge,
    /// Number of permits that its endpoint holds.
    held: u32,
    number: u64,
}

/// The permits for attempts in flight, and the waiters for one. `W` notifies a waiter.
#[derive(Debug)]
pub(crate) struct PermitBook<W> {
    limit: u32,
    taken: PerClass<u32>,
    sites: Sites,
    queues: PerClass<Queue<W>>,
    next_ticket: u64,
}

impl<W> PermitBook<W> {
    /// Returns a book of `limit` permits (at least four).
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            limit: limit.max(4),
            taken: PerClass::default(),
            sites: Sites::new(),
            queues: PerClass::default(),
            next_ticket: 0,
        }
    }

    /// Returns the permits taken, the limits, and the number of waiters.
    pub(crate) fn in_use(&self) -> PermitUse {
        let waiting = PermitClass::ALL.map(|class| self.queues.of(class).len());
        PermitUse {
            limit: self.limit,
            limit_of_unproven: self.limit / 2,
            limit_of_hanging: self.limit / 4,
            prompt: self.taken.prompt,
            unproven: self.taken.unproven,
            hanging: self.taken.hanging,
            late: self.taken.late,
            waiting: waiting.into_iter().sum(),
        }
    }

    /// Returns the site of `client` at the host with this hash. `known` is kept if it belongs to
    /// the client. Otherwise a site is entered, and stays in use until it is
    /// [left](Self::leave_site).
    pub(crate) fn site(&mut self, known: Option<SiteId>, client: &ClientId, host: u64) -> SiteId {
        let known = known.filter(|site| self.sites.is_of(*site, client));
        known.unwrap_or_else(|| self.sites.enter(client, host))
    }

    /// Adds a use of a site that is already in use.
    pub(crate) fn return_to_site(&mut self, site: SiteId) {
        self.sites.use_once_more(site);
    }

    /// Ends one use of a site.
    pub(crate) fn leave_site(&mut self, site: SiteId) {
        self.sites.leave(site);
    }

    /// Takes a permit for an endpoint that holds `held`, if there is one for it and no waiter's
    /// turn comes first.
    pub(crate) fn take(&mut self, charge: Charge, held: u32) -> bool {
        let client = self.sites.client_of(charge.site);
        let may = self.has_permit(charge.class, client, held) && self.goes_first(charge, held);
        if may {
            self.hold(charge);
        }
        may
    }

    /// Joins the queue for a permit; [`next_grant`](Self::next_grant) returns the waiter when its
    /// turn comes.
    pub(crate) fn wait(&mut self, charge: Charge, held: u32, waiter: W) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.sites.use_once_more(charge.site);
        self.enqueue(charge, (held, ticket), waiter);
        Ticket {
            charge,
            held,
            number: ticket,
        }
    }

    /// Moves a waiter to its new position after its endpoint's number of permits changed, and
    /// returns its ticket. A waiter whose turn has come is no longer in the queue.
    pub(crate) fn hold_instead(&mut self, ticket: Ticket, held: u32) -> Ticket {
        if let Some(waiter) = self.dequeue(ticket) {
            self.enqueue(ticket.charge, (held, ticket.number), waiter);
        }
        Ticket { held, ..ticket }
    }

    /// Leaves the queue. Returns `true` if the waiter was still in it.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> bool {
        let was_in_it = self.dequeue(ticket).is_some();
        if was_in_it {
            self.sites.leave(ticket.charge.site);
        }
        was_in_it
    }

    /// Returns a permit.
    pub(crate) fn give_back(&mut self, charge: Charge) {
        let taken = self.taken.of_mut(charge.class);
        debug_assert!(*taken > 0, "a permit is given back once");
        *taken = taken.saturating_sub(1);
        let client = self.sites.client_of(charge.site);
        self.sites.release(charge);
        self.settle(charge.class, client, charge.site);
    }

    /// Counts a permit of a prompt endpoint as late from now on, even past the quarter of hanging
    /// ones. No hanging endpoint then starts another attempt, except the first of a client that has
    /// none.
    pub(crate) fn count_as_late(&mut self, site: SiteId) {
        let class = PermitClass::Prompt;
        debug_assert!(
            self.taken.prompt > 0,
            "only a taken permit can change sides"
        );
        self.taken.prompt = self.taken.prompt.saturating_sub(1);
        self.taken.late += 1;
        self.sites
            .reclassify(Charge { class, site }, PermitClass::Late);
        let client = self.sites.client_of(site);
        self.settle(PermitClass::Prompt, client, site);
    }

    /// Takes a free permit for the waiter whose turn it is, if there is one, and returns the
    /// waiter.
    pub(crate) fn next_grant(&mut self) -> Option<W> {
        let first = |class| Some((self.first_with_a_permit(class)?, class));
        let first = PermitClass::ALL.into_iter().filter_map(first).min_by_key(
            // Of two equal ranks the first wins, which is the prompt one.
            |((rank, _), _)| *rank,
        );
        let ((_, client), class) = first?;
        let sites = &self.sites;
        let holds = |site| holds(sites, class, client, site);
        let queue = self.queues.of_mut(class);
        let (site, waiter) = queue.pop_first_of(client, self.next_ticket, holds)?;
        self.next_ticket += 1;
        self.hold(Charge { class, site });
        self.sites.leave(site);
        Some(waiter)
    }

    fn hold(&mut self, charge: Charge) {
        *self.taken.of_mut(charge.class) += 1;
        self.sites.hold(charge);
        let client = self.sites.client_of(charge.site);
        self.settle(charge.class, client, charge.site);
    }

    /// Returns `true` if no waiter's turn comes before that of an endpoint that has just begun to
    /// want a permit.
    fn goes_first(&self, Charge { class, site }: Charge, held: u32) -> bool {
        if self.queues.of(class).is_empty() {
            return true;
        }
        let client = self.sites.client_of(site);
        let holds = holds(&self.sites, class, client, site);
        let rank = Rank {
            client_holds: holds.client,
            client_since: self.next_ticket,
            endpoint_holds: held,
            site_holds: holds.site,
            site_since: self.next_ticket,
            ticket: self.next_ticket,
        };
        let first = self.first_with_a_permit(class);
        first.is_none_or(|(first, _)| rank < first)
    }

    /// Returns the first waiter of a class for which there is a permit, with its client.
    fn first_with_a_permit(&self, class: PermitClass) -> Option<(Rank, ClientKey)> {
        let queue = self.queues.of(class);
        let least = queue.least_endpoint_holds()?;
        let free = |share: Share| share.free_to_begin;
        let free = self.shares(class).into_iter().flatten().map(free).min();
        if free <= Some(least) {
            return None;
        }
        let mut firsts = queue.firsts();
        firsts.find(|(rank, client)| self.has_permit(class, *client, rank.endpoint_holds))
    }

    /// Returns `true` if there is a permit for an endpoint that holds `held`.
    fn has_permit(&self, class: PermitClass, client: ClientKey, held: u32) -> bool {
        let client = self.sites.held_by_client(client);
        let has_permit = |share: Share| share.has_permit_beside(held, client);
        self.shares(class).into_iter().flatten().all(has_permit)
    }

    /// Returns the shares that a class takes its permits from: all permits, the half for attempts
    /// that may hang, the quarter for hanging ones.
    fn shares(&self, class: PermitClass) -> [Option<Share>; 3] {
        let (limit, taken) = (self.limit, &self.taken);
        let free = limit.saturating_sub(taken.prompt + taken.late + may_hang(taken));
        let all = Share {
            free,
            free_to_begin: free,
            much: limit / 8,
            last: limit / 128,
            // If endpoints that begin to hang take everything else, a few permits remain for prompt
            // ones.
            very_last: if class == PermitClass::Prompt {
                0
            } else {
                limit / 256
            },
            of: |held| held.prompt + held.late + may_hang(held),
        };
        let share = |size: u32, of: fn(&PerClass<u32>) -> u32| {
            Some(Share {
                free: size.saturating_sub(of(taken) + taken.late),
                free_to_begin: size.saturating_sub(of(taken)),
                much: size / 8,
                last: size / 8,
                very_last: 0,
                of,
            })
        };
        let may_hang = || share(limit / 2, may_hang);
        match class {
            PermitClass::Prompt | PermitClass::Late => [Some(all), None, None],
            PermitClass::Unproven => [Some(all), may_hang(), None],
            PermitClass::Hanging => [Some(all), may_hang(), share(limit / 4, |held| held.hanging)],
        }
    }

    fn settle(&mut self, class: PermitClass, client: ClientKey, site: SiteId) {
        let queue = self.queues.of_mut(class);
        if !queue.is_empty() {
            let holds = holds(&self.sites, class, client, site);
            queue.settle((client, site), holds);
        }
    }

    fn enqueue(&mut self, Charge { class, site }: Charge, key: (u32, u64), waiter: W) {
        let client = self.sites.client_of(site);
        let holds = holds(&self.sites, class, client, site);
        let queue = self.queues.of_mut(class);
        queue.insert((client, site), key, holds, waiter);
    }

    fn dequeue(&mut self, ticket: Ticket) -> Option<W> {
        let Charge { class, site } = ticket.charge;
        let client = self.sites.client_of(site);
        let holds = holds(&self.sites, class, client, site);
        let queue = self.queues.of_mut(class);
        queue.remove((client, site), (ticket.held, ticket.number), holds)
    }
}

fn holds(sites: &Sites, class: PermitClass, client: ClientKey, site: SiteId) -> Holds {
    Holds {
        client: *sites.held_by_client(client).of(class),
        site: *sites.held_by_site(site).of(class),
    }
}

fn may_hang(held: &PerClass<u32>) -> u32 {
    held.unproven + held.hanging
}

/// Permits that several classes share.
struct Share {
    free: u32,
    /// The free permits for a client that holds none of them: late permits of others are not
    /// counted.
    free_to_begin: u32,
    /// A client that holds more than `much` leaves the last `last` permits to others.
    much: u32,
    last: u32,
    /// Number of permits that every client leaves to others.
    very_last: u32,
    /// Number of these permits that a holder has, late permits excluded.
    of: fn(&PerClass<u32>) -> u32,
}

impl Share {
    /// Returns `true` if there is a permit for an endpoint that holds `held` and whose client holds
    /// `client`.
    fn has_permit_beside(&self, held: u32, client: PerClass<u32>) -> bool {
        let by_client = (self.of)(&client);
        let free = if by_client + client.late == 0 {
            self.free_to_begin
        } else {
            self.free
        };
        let left = if by_client > self.much {
            self.last
        } else {
            self.very_last
        };
        free > held.max(left)
    }
}

impl PermitClass {
    /// The classes in which attempts start.
    const ALL: [Self; 3] = [Self::Prompt, Self::Unproven, Self::Hanging];
}

/// One value per class.
#[derive(Clone, Copy, Debug, Default)]
struct PerClass<T> {
    prompt: T,
    unproven: T,
    hanging: T,
    late: T,
}

impl<T> PerClass<T> {
    fn of(&self, class: PermitClass) -> &T {
        match class {
            PermitClass::Prompt => &self.prompt,
            PermitClass::Unproven => &self.unproven,
            PermitClass::Hanging => &self.hanging,
            PermitClass::Late => &self.late,
        }
    }

    fn of_mut(&mut self, class: PermitClass) -> &mut T {
        match class {
            PermitClass::Prompt => &mut self.prompt,
            PermitClass::Unproven => &mut self.unproven,
            PermitClass::Hanging => &mut self.hanging,
            PermitClass::Late => &mut self.late,
        }
    }
}
