//! The process-wide limit on attempts in flight, shared by all subscribers of an engine.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Waker};

use crate::domain::places::{PlaceBook, PlaceClass, Turn};

/// The places for attempts in flight.
#[derive(Debug)]
pub(crate) struct Places(Mutex<PlaceBook<Arc<Waiter>>>);

/// Where one subscriber is reached when its turn for a place has come, or when something has arrived.
#[derive(Debug, Default)]
pub(crate) struct Waiter {
    /// Set with the book locked, so that a waiter is either in the book or was granted a place.
    granted: AtomicBool,
    /// Set in the subscriber's first turn, before it looks.
    waker: OnceLock<Waker>,
}

impl Waiter {
    /// Has the task of `cx`, which is always the same one, woken from now on.
    pub(crate) fn listen(&self, cx: &Context<'_>) {
        self.waker.get_or_init(|| cx.waker().clone());
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }
}

/// What was claimed for a subscriber between its turns.
#[must_use]
#[derive(Debug)]
pub(crate) enum Claim {
    Place(Place),
    Waits(PlaceClass, Turn),
}

impl Places {
    pub(crate) fn new(limit: u32) -> Arc<Self> {
        Arc::new(Self(Mutex::new(PlaceBook::new(limit))))
    }

    fn book(&self) -> MutexGuard<'_, PlaceBook<Arc<Waiter>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands free places to those whose turn it is.
    fn grant(&self) {
        loop {
            let mut book = self.book();
            let Some((_, waiter)) = book.next_grant() else {
                return;
            };
            waiter.granted.store(true, Ordering::Release);
            drop(book);
            waiter.wake();
        }
    }

    /// Takes a place for a subscriber that holds `held` of them, or joins the queue for one in its stead: then it is woken when its turn has come.
    pub(crate) fn claim(
        self: &Arc<Self>,
        class: PlaceClass,
        held: u32,
        waiter: &Arc<Waiter>,
    ) -> Claim {
        match self.take_or_wait(class, held, waiter) {
            Ok(()) => Claim::Place(Place {
                class,
                places: Some(Arc::clone(self)),
            }),
            Err(turn) => Claim::Waits(class, turn),
        }
    }

    fn take_or_wait(&self, class: PlaceClass, held: u32, waiter: &Arc<Waiter>) -> Result<(), Turn> {
        let mut book = self.book();
        if book.take(class, held) {
            return Ok(());
        }
        let turn = book.wait(class, held, Arc::clone(waiter));
        drop(book);
        // A place may have become free for this very waiter: nobody would tell it.
        self.grant();
        Err(turn)
    }

    fn give_back(&self, class: PlaceClass) {
        self.book().give_back(class);
        self.grant();
    }
}

/// A place that nobody uses yet. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Place {
    class: PlaceClass,
    /// `None` once it is in use.
    places: Option<Arc<Places>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(places) = self.places.take() {
            places.give_back(self.class);
        }
    }
}

/// The places that one subscriber holds for its attempts. Dropping it gives them all back, however the subscriber ends.
#[derive(Debug)]
pub(crate) struct Holdings {
    places: Arc<Places>,
    waiter: Arc<Waiter>,
    prompt: u32,
    sick: u32,
    spare: Option<Place>,
    /// How many more deliveries this turn lasts.
    turn_left: u32,
    /// What it waits for, until a place is granted.
    waiting: Option<(PlaceClass, Turn)>,
}

impl Holdings {
    pub(crate) fn new(places: Arc<Places>, waiter: Arc<Waiter>) -> Self {
        Self {
            places,
            waiter,
            prompt: 0,
            sick: 0,
            spare: None,
            turn_left: 0,
            waiting: None,
        }
    }

    /// Takes a place for an attempt, or joins the queue for one: then the subscriber is woken when its turn has come.
    pub(crate) fn take(&mut self, class: PlaceClass) -> bool {
        if let Some(mut spare) = self.spare.take() {
            spare.places = None;
            if spare.class == class {
                self.add(class);
                return true;
            }
            self.put_back(spare.class);
        }
        match self.waiting {
            // It waits among those it no longer belongs to.
            Some((other, turn)) if other != class && self.places.book().leave(other, turn) => {}
            Some(_) => return false,
            None => {}
        }
        let taken = self.places.take_or_wait(class, self.held(), &self.waiter);
        self.waiting = taken.err().map(|turn| (class, turn));
        if self.waiting.is_none() {
            self.turn_left = TURN_LENGTH - 1;
            self.add(class);
        }
        self.waiting.is_none()
    }

    /// Takes over what was claimed for the subscriber since its last turn.
    pub(crate) fn adopt(&mut self, claim: Claim) {
        match claim {
            Claim::Place(place) => self.begin_turn(place),
            Claim::Waits(class, turn) => self.waiting = Some((class, turn)),
        }
    }

    /// Takes a place that was granted since the last turn, if there is one.
    pub(crate) fn accept(&mut self) {
        let granted = &self.waiter.granted;
        if let Some((class, _)) = self.waiting
            && granted.load(Ordering::Acquire)
            && granted.swap(false, Ordering::Acquire)
        {
            self.waiting = None;
            let places = Some(Arc::clone(&self.places));
            self.begin_turn(Place { class, places });
        }
    }

    fn begin_turn(&mut self, place: Place) {
        self.turn_left = TURN_LENGTH - 1;
        self.spare = Some(place);
    }

    /// Returns how many places it holds.
    pub(crate) fn held(&self) -> u32 {
        self.prompt + self.sick
    }

    /// Says whether its turn for a place is still to come.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Gives back a place that was granted and is not needed.
    pub(crate) fn drop_spare(&mut self) {
        if let Some(mut spare) = self.spare.take() {
            spare.places = None;
            self.put_back(spare.class);
        }
    }

    /// Gives a place back that is counted as held no longer. A waiter's turn follows what it holds: it might never come otherwise.
    fn put_back(&mut self, class: PlaceClass) {
        let mut book = self.places.book();
        book.give_back(class);
        if let Some((class, turn)) = &mut self.waiting {
            // One whose turn has come already stays granted.
            *turn = book.hold_instead(*class, *turn, self.prompt + self.sick);
        }
        drop(book);
        self.places.grant();
    }

    /// Gives back the place of an attempt that has ended. While a turn lasts, the place is kept for the endpoint's next delivery: to tell another
    /// endpoint of every single place would cost more than the turns are worth.
    pub(crate) fn give_back(&mut self, class: PlaceClass) {
        let held = match class {
            PlaceClass::Prompt => &mut self.prompt,
            PlaceClass::Sick => &mut self.sick,
        };
        *held = held.saturating_sub(1);
        if class == PlaceClass::Prompt && self.turn_left > 0 && self.spare.is_none() {
            self.turn_left -= 1;
            self.spare = Some(Place {
                class,
                places: Some(Arc::clone(&self.places)),
            });
            return;
        }
        self.put_back(class);
    }

    /// Counts so many places to the sick from now on.
    pub(crate) fn count_as_sick(&mut self, attempts: u32) {
        // Those taken as sick already stay what they are.
        let moved = attempts.min(self.prompt);
        self.prompt -= moved;
        self.sick += moved;
        let mut book = self.places.book();
        (0..moved).for_each(|_| book.count_as_sick());
    }

    fn add(&mut self, class: PlaceClass) {
        match class {
            PlaceClass::Prompt => self.prompt += 1,
            PlaceClass::Sick => self.sick += 1,
        }
    }
}

impl Drop for Holdings {
    fn drop(&mut self) {
        if let Some((class, turn)) = self.waiting.take()
            && !self.places.book().leave(class, turn)
        {
            self.places.give_back(class);
        }
        let (prompt, sick) = (self.prompt, self.sick);
        (0..prompt).for_each(|_| self.places.give_back(PlaceClass::Prompt));
        (0..sick).for_each(|_| self.places.give_back(PlaceClass::Sick));
    }
}

/// How many prompt deliveries one after another a turn for a place lasts.
const TURN_LENGTH: u32 = 8;

#[cfg(test)]
mod tests {
    use super::PlaceClass::{Prompt, Sick};
    use super::*;

    /// A waiter that is said to hold more than it does might wait for ever.
    #[test]
    fn a_waiter_that_gives_back_what_it_kept_for_its_turn_holds_nothing() {
        let places = Places::new(8);
        let taking = |class| {
            let mut holdings = Holdings::new(Arc::clone(&places), Arc::default());
            assert!(holdings.take(class));
            holdings
        };
        let mut sick = [Sick, Sick].map(taking);
        let mut waiter = taking(Prompt);
        let _others = [Prompt; 5].map(taking);
        assert!(!waiter.take(Sick), "a quarter is taken");
        waiter.give_back(Prompt);
        waiter.drop_spare();
        let _last = taking(Prompt);
        assert!(waiter.is_waiting());
        sick[0].give_back(Sick);
        waiter.accept();
        assert!(
            !waiter.is_waiting(),
            "one place is free, for one that holds none"
        );
    }
}
