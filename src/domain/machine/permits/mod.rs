//! Who may start an attempt when the whole process is near its limit.
//!
//! There is one hard limit on attempts in flight, and there are three kinds of endpoints
//! ([`PermitClass`]). Those that answer promptly have half of the permits for themselves. Those of
//! which nobody knows yet how they answer share the other half with those that hang, and those that
//! hang start attempts only while such attempts hold less than a quarter.
//!
//! In its first second an endpoint that begins to hang looks like any other. So an endpoint takes
//! another permit only while more are free than it holds already: however many attempts it may have,
//! it leaves as many permits free as it takes, and n endpoints that begin to hang at once leave one
//! permit in n + 1. For the same reason a client that holds more than an eighth of the permits leaves
//! the last of them to others: 4 of 512, and an eighth of what is there for attempts that may hang.
//! And a client that has nothing in flight gets its permit among those that may hang, however many
//! prompt endpoints of others have begun to.
//!
//! Where permits are short, there are turns: first comes the client that holds fewest, of several
//! the one whose last turn was longest ago; within it the endpoint that holds fewest, then the host
//! where the client holds fewest, of several the one whose last turn was longest ago, then the
//! endpoint that has waited longest. Nobody starves: what somebody holds ends within a timeout, and
//! of those that hold as little, everyone else has a turn before anyone has two.

mod queue;
mod sites;
#[cfg(test)]
mod tests;

use self::queue::{Holds, Queue, Rank};
use self::sites::{ClientKey, Sites};
use crate::domain::value::id::ClientId;

pub(crate) use self::sites::SiteId;

/// How an endpoint counts against the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PermitClass {
    /// It answers within [`LATE_AFTER`](crate::domain::machine::LATE_AFTER), with whatever status.
    Prompt,
    /// Nobody knows yet whether it answers, or it does, but takes longer than that.
    #[default]
    Unproven,
    /// It keeps an attempt waiting for longer than that, or has kept the last one waiting in vain.
    Hanging,
    /// As `Hanging`, of a permit that was taken as `Prompt`: nothing starts as this.
    Late,
}

/// As what a permit counts, and on whose account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(crate) class: PermitClass,
    pub(crate) site: SiteId,
}

/// Where a waiter is found until its turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) charge: Charge,
    /// How many permits its endpoint holds.
    held: u32,
    number: u64,
}

/// The permits for attempts in flight, and who waits for one. `W` is how a waiter is told.
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

    /// Returns the site of a client at the host with this hash: the known one if it is that, or
    /// another, which is in use from now on until it is [left](Self::leave_site).
    pub(crate) fn site(&mut self, known: Option<SiteId>, client: &ClientId, host: u64) -> SiteId {
        let known = known.filter(|site| self.sites.is_of(*site, client));
        known.unwrap_or_else(|| self.sites.enter(client, host))
    }

    /// Begins to use a site that is in use already.
    pub(crate) fn return_to_site(&mut self, site: SiteId) {
        self.sites.use_once_more(site);
    }

    /// Ends a use of a site.
    pub(crate) fn leave_site(&mut self, site: SiteId) {
        self.sites.leave(site);
    }

    /// Takes a permit for an endpoint that holds `held`, if there is one for it and nobody waits
    /// whose turn comes first.
    pub(crate) fn take(&mut self, charge: Charge, held: u32) -> bool {
        let client = self.sites.client_of(charge.site);
        let may = self.has_permit(charge.class, client, held) && self.goes_first(charge, held);
        if may {
            self.hold(charge);
        }
        may
    }

    /// Joins the queue for a permit; [`next_grant`](Self::next_grant) hands the waiter out when its
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

    /// Moves a waiter whose endpoint now holds another number of permits to where that puts it, and
    /// returns its turn. One whose turn has come already is not in the queue any more.
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

    /// Gives a permit back.
    pub(crate) fn give_back(&mut self, charge: Charge) {
        let taken = self.taken.of_mut(charge.class);
        debug_assert!(*taken > 0, "a permit is given back once");
        *taken = taken.saturating_sub(1);
        let client = self.sites.client_of(charge.site);
        self.sites.release(charge);
        self.settle(charge.class, client, charge.site);
    }

    /// Counts a permit of a prompt endpoint to those of the hanging from now on, even past their
    /// quarter: then none of them starts more, but for the first of a client that has none.
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

    /// Takes a free permit for the waiter whose turn it is, if there is one.
    pub(crate) fn next_grant(&mut self) -> Option<W> {
        let first = |class| Some((self.first_with_a_permit(class)?, class));
        let first = PermitClass::ALL.into_iter().filter_map(first).min_by_key(
            // The first of two that are equal, which is the prompt one.
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

    /// Returns `true` if nobody waits whose turn would come before that of an endpoint which has
    /// just begun to want a permit.
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

    /// Returns the first waiter of a class for which there is a permit, by its client.
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

    /// Returns the shares out of which a class takes its permits: all, the half of those that may
    /// hang, the quarter of those that do.
    fn shares(&self, class: PermitClass) -> [Option<Share>; 3] {
        let (limit, taken) = (self.limit, &self.taken);
        let free = limit.saturating_sub(taken.prompt + taken.late + may_hang(taken));
        let all = Share {
            free,
            free_to_begin: free,
            much: limit / 8,
            last: limit / 128,
            // If all else is taken by those that begin to hang, a little is left for the prompt.
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

/// Permits that classes have in common.
struct Share {
    free: u32,
    /// The same for a client that holds none of them: late permits of others are not counted.
    free_to_begin: u32,
    /// A client that holds more than this leaves the last ones to others.
    much: u32,
    last: u32,
    /// How many are left to others by everyone.
    very_last: u32,
    /// How many of them somebody holds, late permits apart.
    of: fn(&PerClass<u32>) -> u32,
}

impl Share {
    /// Returns `true` if there is a permit for an endpoint that holds `held`, and whose client holds
    /// so many.
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
    /// Those as which attempts start.
    const ALL: [Self; 3] = [Self::Prompt, Self::Unproven, Self::Hanging];
}

/// One of a kind for each class.
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
