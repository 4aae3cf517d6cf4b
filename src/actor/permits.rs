//! The limit on attempts in flight, shared by all subscribers of an engine.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Waker};

use parking_lot::{Mutex, MutexGuard};

use crate::domain::machine::permits::{Charge, PermitBook, PermitClass, PermitUse, SiteId, Ticket};
use crate::domain::value::id::ClientId;

/// The permits for attempts in flight.
#[derive(Debug)]
pub(crate) struct Permits(Mutex<PermitBook<Arc<Waiter>>>);

type Book<'a> = MutexGuard<'a, PermitBook<Arc<Waiter>>>;

/// Wakes one subscriber when its turn for a permit has come, or when a message has arrived.
#[derive(Debug, Default)]
pub(crate) struct Waiter {
    /// Set while the book is locked, so that a waiter is either in the queue or was granted a
    /// permit.
    granted: AtomicBool,
    /// Set in the subscriber's first poll, before it checks `granted`.
    waker: OnceLock<Waker>,
}

impl Waiter {
    /// Wakes the task of `cx` from now on. It must be the same task on every call.
    pub(crate) fn listen(&self, cx: &Context<'_>) {
        self.waker.get_or_init(|| cx.waker().clone());
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }
}

impl Permits {
    pub(crate) fn new(limit: u32) -> Arc<Self> {
        Arc::new(Self(Mutex::new(PermitBook::new(limit))))
    }

    fn book(&self) -> Book<'_> {
        self.0.lock()
    }

    /// Returns the permits taken, the limits, and the number of waiters.
    pub(crate) fn in_use(&self) -> PermitUse {
        self.book().in_use()
    }

    /// Grants free permits to the waiters whose turn it is.
    fn grant<'a>(&'a self, mut book: Book<'a>) {
        while let Some(waiter) = book.next_grant() {
            waiter.granted.store(true, Ordering::Release);
            drop(book);
            waiter.wake();
            book = self.book();
        }
    }

    /// Takes a permit or joins the queue.
    ///
    /// After joining, the caller must grant free permits: one may be free for this waiter, and
    /// nothing else would notify it.
    fn take_or_wait(
        book: &mut Book<'_>,
        charge: Charge,
        held: u32,
        waiter: &Arc<Waiter>,
    ) -> Result<Charge, Ticket> {
        if book.take(charge, held) {
            Ok(charge)
        } else {
            Err(book.wait(charge, held, Arc::clone(waiter)))
        }
    }

    fn give_back(&self, charge: Charge) {
        let mut book = self.book();
        book.give_back(charge);
        self.grant(book);
    }
}

/// An unused permit. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Permit {
    charge: Charge,
    /// `None` once it is in use.
    permits: Option<Arc<Permits>>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(permits) = self.permits.take() {
            permits.give_back(self.charge);
        }
    }
}

/// The permits of one subscriber's attempts. Dropping this gives them all back, however the
/// subscriber ends.
#[derive(Debug)]
pub(crate) struct Holdings {
    permits: Arc<Permits>,
    waiter: Arc<Waiter>,
    /// The hash of its host.
    host: u64,
    /// The site that its last permit was charged to.
    site: Option<SiteId>,
    /// The number of permits held, per charge. There is usually one entry.
    held: Vec<(Charge, u32)>,
    in_all: u32,
    spare: Option<Permit>,
    /// The number of deliveries left in this turn.
    turn_left: u32,
    /// Its ticket, until a permit is granted.
    waiting: Option<Ticket>,
}

impl Holdings {
    /// Returns the holdings of a subscriber whose host has this hash.
    pub(crate) fn new(permits: Arc<Permits>, waiter: Arc<Waiter>, host: u64) -> Self {
        Self {
            permits,
            waiter,
            host,
            site: None,
            held: Vec::new(),
            in_all: 0,
            spare: None,
            turn_left: 0,
            waiting: None,
        }
    }

    /// Takes a permit for an attempt at a client's delivery.
    ///
    /// Returns `None` if it joined the queue instead. The subscriber is woken when its turn has
    /// come.
    pub(crate) fn take(&mut self, class: PermitClass, client: &ClientId) -> Option<Charge> {
        if let Some(mut spare) = self.spare.take() {
            spare.permits = None;
            if spare.charge.class == class {
                // This holds for another client's delivery too: a turn is charged to the client
                // with which it began.
                self.add(spare.charge);
                return Some(spare.charge);
            }
            self.put_back(spare.charge);
        }
        if let Some(ticket) = self.waiting {
            // Otherwise it would stay in the queue of a class that it no longer belongs to.
            if ticket.charge.class == class || !self.permits.book().leave(ticket) {
                return None;
            }
        }
        let mut book = self.permits.book();
        let site = book.site(self.site, client, self.host);
        if self.site != Some(site)
            && let Some(before) = self.site.replace(site)
        {
            book.leave_site(before);
        }
        let taken =
            Permits::take_or_wait(&mut book, Charge { class, site }, self.in_all, &self.waiter);
        self.waiting = taken.err();
        if taken.is_err() {
            self.permits.grant(book);
            return None;
        }
        drop(book);
        self.turn_left = TURN_LENGTH - 1;
        self.add(Charge { class, site });
        taken.ok()
    }

    /// Takes a permit that was granted since the last poll, if there is one.
    pub(crate) fn accept(&mut self) {
        let granted = &self.waiter.granted;
        if let Some(Ticket { charge, .. }) = self.waiting
            && granted.load(Ordering::Acquire)
            && granted.swap(false, Ordering::Acquire)
        {
            self.waiting = None;
            let permits = Some(Arc::clone(&self.permits));
            self.begin_turn(Permit { charge, permits });
        }
    }

    fn begin_turn(&mut self, permit: Permit) {
        let site = permit.charge.site;
        if self.site != Some(site) {
            let mut book = self.permits.book();
            book.return_to_site(site);
            if let Some(before) = self.site.replace(site) {
                book.leave_site(before);
            }
        }
        self.turn_left = TURN_LENGTH - 1;
        self.spare = Some(permit);
    }

    /// Returns `true` if its turn for a permit is still to come.
    #[cfg(test)]
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Gives back a granted permit that is not needed.
    pub(crate) fn drop_spare(&mut self) {
        if let Some(mut spare) = self.spare.take() {
            spare.permits = None;
            self.put_back(spare.charge);
        }
    }

    /// Gives back a permit that is no longer counted as held.
    ///
    /// A waiter's position depends on the number of permits that its endpoint holds. Without the
    /// update, its turn might never come.
    fn put_back(&mut self, charge: Charge) {
        let mut book = self.permits.book();
        book.give_back(charge);
        if let Some(ticket) = &mut self.waiting {
            // A waiter whose turn has come stays granted.
            *ticket = book.hold_instead(*ticket, self.in_all);
        }
        self.permits.grant(book);
    }

    /// Gives back the permit of an attempt that has ended.
    ///
    /// While a turn lasts, the permit is kept for the endpoint's next delivery: waking another
    /// endpoint for every single permit would cost more than the turns are worth.
    pub(crate) fn give_back(&mut self, charge: Charge) {
        self.remove(charge);
        if charge.class == PermitClass::Prompt && self.turn_left > 0 && self.spare.is_none() {
            self.turn_left -= 1;
            self.spare = Some(Permit {
                charge,
                permits: Some(Arc::clone(&self.permits)),
            });
            return;
        }
        self.put_back(charge);
    }

    /// Counts the permits of prompt attempts at these sites as late from now on.
    pub(crate) fn count_as_late(&mut self, sites: &[SiteId]) {
        for site in sites.iter().copied() {
            let charge = |class| Charge { class, site };
            self.remove(charge(PermitClass::Prompt));
            self.add(charge(PermitClass::Late));
        }
        let mut book = self.permits.book();
        let sites = sites.iter().copied();
        sites.for_each(|site| book.count_as_late(site));
    }

    /// Releases memory and the site, which are needed only while there are deliveries.
    pub(crate) fn rest(&mut self) {
        if self.held.iter().all(|(_, count)| *count == 0) {
            self.held = Vec::new();
        }
        if let Some(site) = self.site.take() {
            self.permits.book().leave_site(site);
        }
    }

    fn add(&mut self, charge: Charge) {
        self.in_all += 1;
        if let Some((_, count)) = self.held.iter_mut().find(|(held, _)| *held == charge) {
            *count += 1;
            return;
        }
        // A site that was forgotten and entered again may have another id, so unused entries are
        // dropped.
        self.held.retain(|(_, count)| *count > 0);
        self.held.push((charge, 1));
    }

    fn remove(&mut self, charge: Charge) {
        if let Some((_, count)) = self.held.iter_mut().find(|(held, _)| *held == charge) {
            *count = count.saturating_sub(1);
            self.in_all = self.in_all.saturating_sub(1);
        }
    }
}

impl Drop for Holdings {
    fn drop(&mut self) {
        if let Some(ticket) = self.waiting.take()
            && !self.permits.book().leave(ticket)
        {
            self.permits.give_back(ticket.charge);
        }
        for (charge, count) in std::mem::take(&mut self.held) {
            (0..count).for_each(|_| self.permits.give_back(charge));
        }
        self.rest();
    }
}

/// The number of prompt deliveries in a row for which a turn lasts.
const TURN_LENGTH: u32 = 8;

#[cfg(test)]
mod tests {
    use super::PermitClass::{Hanging, Prompt};
    use super::*;

    /// A waiter counted as holding more than it does might wait forever.
    #[test]
    fn a_waiter_that_gives_back_what_it_kept_for_its_turn_holds_nothing() {
        let permits = Permits::new(8);
        let client = ClientId::from("client");
        let taking = |class| {
            let mut holdings = Holdings::new(Arc::clone(&permits), Arc::default(), 0);
            let permit = holdings.take(class, &client).unwrap();
            (holdings, permit)
        };
        let mut hanging = [Hanging, Hanging].map(taking);
        let (mut waiter, permit) = taking(Prompt);
        let _others = [Prompt; 5].map(taking);
        assert_eq!(waiter.take(Hanging, &client), None, "a quarter is taken");
        waiter.give_back(permit);
        waiter.drop_spare();
        let _last = taking(Prompt);
        assert!(waiter.is_waiting());
        let (holdings, permit) = &mut hanging[0];
        holdings.give_back(*permit);
        waiter.accept();
        assert!(
            !waiter.is_waiting(),
            "one permit is free, for one that holds none"
        );
    }

    #[test]
    fn an_endpoint_that_ends_gives_back_every_place_however_it_counts() {
        let permits = Permits::new(16);
        let clients = ["a", "b"].map(ClientId::from);
        let mut holdings = Holdings::new(Arc::clone(&permits), Arc::default(), 0);
        for client in &clients {
            let permit = holdings.take(Prompt, client).unwrap();
            holdings.take(Prompt, client).unwrap();
            holdings.count_as_late(&[permit.site]);
        }
        assert_eq!(holdings.in_all, 4);
        let waiter = Arc::<Waiter>::default();
        let mut other = Holdings::new(Arc::clone(&permits), Arc::clone(&waiter), 0);
        while other.take(Prompt, &clients[0]).is_some() {}
        assert!(other.is_waiting());
        drop(holdings);
        other.accept();
        assert!(!other.is_waiting());
        drop(other);
        let mut last = Holdings::new(permits, Arc::default(), 0);
        let taken = (0..).take_while(|_| last.take(Prompt, &clients[0]).is_some());
        assert_eq!(taken.count(), 8, "half of all, alone");
    }
}
