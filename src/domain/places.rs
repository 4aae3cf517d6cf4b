//! Who may start an attempt when the whole process is near its limit.
//!
//! There is one hard limit on attempts in flight. Endpoints that are failing, or that have an attempt in flight for more than a
//! second, are *sick*: they start attempts only while sick attempts hold less than a quarter of the limit.
//!
//! In its first second a hanging endpoint looks like any other. So an endpoint takes another place only while more are free than it
//! holds already: however many attempts it may have, it leaves as many places free as it takes, and n endpoints that begin to hang
//! at once leave one place in n + 1. Where places are short, endpoints take turns: the one that holds fewest goes first, then the
//! one that has waited longest.

use std::collections::BTreeMap;

/// How an endpoint counts against the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlaceClass {
    /// It answers, as far as anyone knows.
    Prompt,
    /// It is failing, or keeps an attempt waiting for more than [`LATE_AFTER`](super::endpoint_state::LATE_AFTER).
    Sick,
}

/// The places for attempts in flight, and who waits for one. `W` is how a waiter is told.
#[derive(Debug)]
pub(crate) struct PlaceBook<W> {
    limit: u32,
    sick_limit: u32,
    taken: u32,
    taken_by_sick: u32,
    prompt_waiters: BTreeMap<Turn, W>,
    sick_waiters: BTreeMap<Turn, W>,
    next_ticket: u64,
}

/// The order of waiters: how many places they hold, then how long they have waited.
pub(crate) type Turn = (u32, u64);

impl<W> PlaceBook<W> {
    /// Returns a book of `limit` places (at least four), a quarter of them for the sick.
    pub(crate) fn new(limit: u32) -> Self {
        let limit = limit.max(4);
        Self {
            limit,
            sick_limit: limit / 4,
            taken: 0,
            taken_by_sick: 0,
            prompt_waiters: BTreeMap::new(),
            sick_waiters: BTreeMap::new(),
            next_ticket: 0,
        }
    }

    /// Takes a place for an endpoint that holds `held`, if more are free than that and nobody waits whose turn comes first.
    pub(crate) fn take(&mut self, class: PlaceClass, held: u32) -> bool {
        let first = self.waiters(class).first_key_value();
        let is_first = first.is_none_or(|((holds, _), _)| *holds > held);
        is_first && self.take_regardless(class, held)
    }

    /// Joins the queue for a place; [`next_grant`](Self::next_grant) hands the waiter out when its turn comes.
    pub(crate) fn wait(&mut self, class: PlaceClass, held: u32, waiter: W) -> Turn {
        let turn = (held, self.next_ticket);
        self.next_ticket += 1;
        self.waiters(class).insert(turn, waiter);
        turn
    }

    /// Moves a waiter that now holds another number of places to where that puts it, and returns its turn. One whose turn has come already is
    /// not in the queue any more.
    pub(crate) fn hold_instead(&mut self, class: PlaceClass, turn: Turn, held: u32) -> Turn {
        let now = (held, turn.1);
        if let Some(waiter) = self.waiters(class).remove(&turn) {
            self.waiters(class).insert(now, waiter);
        }
        now
    }

    /// Leaves the queue. Says whether the waiter was still in it.
    pub(crate) fn leave(&mut self, class: PlaceClass, turn: Turn) -> bool {
        self.waiters(class).remove(&turn).is_some()
    }

    /// Gives a place back.
    pub(crate) fn give_back(&mut self, class: PlaceClass) {
        debug_assert!(self.taken > 0, "a place is given back once");
        self.taken = self.taken.saturating_sub(1);
        if class == PlaceClass::Sick {
            self.taken_by_sick = self.taken_by_sick.saturating_sub(1);
        }
    }

    /// Counts a place taken as prompt to the sick from now on, even past their quarter: then no sick endpoint starts more.
    pub(crate) fn count_as_sick(&mut self) {
        self.taken_by_sick += 1;
        debug_assert!(
            self.taken_by_sick <= self.taken,
            "only a taken place can change sides"
        );
    }

    /// Takes a free place for the waiter whose turn it is, if there is one.
    pub(crate) fn next_grant(&mut self) -> Option<(PlaceClass, W)> {
        // The first of each queue holds fewest: where it may not take a place, nobody behind it may.
        let prompt = self.prompt_waiters.keys().next();
        let prompt = prompt.filter(|turn| self.may_take(PlaceClass::Prompt, turn.0));
        let sick = self.sick_waiters.keys().next();
        let sick = sick.filter(|turn| self.may_take(PlaceClass::Sick, turn.0));
        let class = match (prompt, sick) {
            (None, None) => return None,
            (Some(prompt), Some(sick)) if sick < prompt => PlaceClass::Sick,
            (Some(_), _) => PlaceClass::Prompt,
            (None, Some(_)) => PlaceClass::Sick,
        };
        let ((held, _), waiter) = self.waiters(class).pop_first()?;
        self.take_regardless(class, held).then_some((class, waiter))
    }

    fn take_regardless(&mut self, class: PlaceClass, held: u32) -> bool {
        let may = self.may_take(class, held);
        if may {
            self.taken += 1;
            self.taken_by_sick += u32::from(class == PlaceClass::Sick);
        }
        may
    }

    /// Says whether there is a place for an endpoint that holds `held`.
    fn may_take(&self, class: PlaceClass, held: u32) -> bool {
        let free = self.limit.saturating_sub(self.taken);
        free > held && (class == PlaceClass::Prompt || self.taken_by_sick < self.sick_limit)
    }

    fn waiters(&mut self, class: PlaceClass) -> &mut BTreeMap<Turn, W> {
        match class {
            PlaceClass::Prompt => &mut self.prompt_waiters,
            PlaceClass::Sick => &mut self.sick_waiters,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PlaceClass::{Prompt, Sick};
    use super::*;

    fn take_all(book: &mut PlaceBook<&str>, class: PlaceClass) -> u32 {
        let mut taken = 0;
        while book.take(class, 0) {
            taken += 1;
        }
        taken
    }

    /// Has an endpoint that starts with none take as many as it may.
    fn fill(book: &mut PlaceBook<&str>) -> u32 {
        let mut held = 0;
        while book.take(Prompt, held) {
            held += 1;
        }
        held
    }

    #[test]
    fn an_endpoint_takes_a_place_only_while_more_are_free_than_it_holds() {
        let mut book = PlaceBook::<&str>::new(512);
        assert_eq!(fill(&mut book), 256, "alone");
        for (endpoints, free) in [(1, 256), (16, 30), (40, 12), (300, 1), (511, 1)] {
            let mut book = PlaceBook::<&str>::new(512);
            let mut held = vec![0; endpoints];
            loop {
                let before = book.taken;
                for held in &mut held {
                    *held += u32::from(book.take(Prompt, *held));
                }
                if book.taken == before {
                    break;
                }
            }
            let left = book.limit - book.taken;
            assert!(left >= free, "{endpoints} leave {left}");
            assert!(book.take(Prompt, 0), "one that holds none can go");
        }
    }

    #[test]
    fn whoever_holds_fewer_passes_a_waiter_that_may_not_take_what_is_free() {
        let mut book = PlaceBook::new(8);
        assert_eq!(fill(&mut book), 4);
        book.wait(Prompt, 4, "holds four");
        assert_eq!(book.next_grant(), None);
        assert!(book.take(Prompt, 0));
        assert!(!book.take(Prompt, 4));
        book.give_back(Prompt);
        assert_eq!(
            book.next_grant(),
            None,
            "four are free, as many as it holds"
        );
        book.give_back(Prompt);
        assert_eq!(book.next_grant(), Some((Prompt, "holds four")));
    }

    #[test]
    fn the_sick_get_a_quarter_and_the_limit_is_hard() {
        let mut book = PlaceBook::<&str>::new(16);
        assert_eq!(take_all(&mut book, Sick), 4);
        assert_eq!(take_all(&mut book, Prompt), 12);
        assert_eq!(book.taken, 16);
    }

    #[test]
    fn attempts_that_turn_sick_count_from_then_on() {
        let mut book = PlaceBook::<&str>::new(16);
        for _ in 0..6 {
            assert!(book.take(Prompt, 0));
            book.count_as_sick();
        }
        assert!(
            !book.take(Sick, 0),
            "six late attempts fill the quarter of four"
        );
        assert_eq!(take_all(&mut book, Prompt), 10);
        for _ in 0..3 {
            book.give_back(Sick);
        }
        assert!(book.take(Sick, 0), "three late ones are left");
    }

    #[test]
    fn waiters_take_turns_by_what_they_hold_then_by_how_long_they_wait() {
        let mut book = PlaceBook::new(8);
        assert_eq!(take_all(&mut book, Prompt), 8);
        book.wait(Prompt, 2, "holds two");
        book.wait(Prompt, 0, "first with none");
        book.wait(Prompt, 0, "second with none");
        assert_eq!(book.next_grant(), None);
        let mut order = Vec::new();
        for _ in 0..5 {
            book.give_back(Prompt);
            order.extend(book.next_grant().map(|(_, waiter)| waiter));
        }
        assert_eq!(order, ["first with none", "second with none", "holds two"]);
    }

    #[test]
    fn a_waiter_that_gives_a_place_back_moves_forward() {
        let mut book = PlaceBook::new(4);
        assert_eq!(take_all(&mut book, Prompt), 4);
        book.wait(Prompt, 1, "hangs");
        let turn = book.wait(Prompt, 1, "answers");
        book.give_back(Prompt);
        assert_eq!(book.hold_instead(Prompt, turn, 0).0, 0);
        assert_eq!(book.next_grant(), Some((Prompt, "answers")));
        book.hold_instead(Prompt, turn, 0);
        book.give_back(Prompt);
        book.give_back(Prompt);
        assert_eq!(book.next_grant(), Some((Prompt, "hangs")));
    }

    #[test]
    fn nobody_overtakes_a_waiter() {
        let mut book = PlaceBook::new(4);
        assert_eq!(take_all(&mut book, Prompt), 4);
        book.wait(Prompt, 0, "waiter");
        book.give_back(Prompt);
        assert!(!book.take(Prompt, 0));
        assert_eq!(book.next_grant(), Some((Prompt, "waiter")));
    }

    #[test]
    fn a_sick_waiter_does_not_block_the_prompt_ones() {
        let mut book = PlaceBook::new(4);
        assert!(book.take(Sick, 0));
        book.wait(Sick, 0, "sick");
        book.wait(Prompt, 1, "prompt");
        assert_eq!(book.next_grant(), Some((Prompt, "prompt")));
        assert_eq!(book.next_grant(), None);
        book.give_back(Sick);
        assert_eq!(book.next_grant(), Some((Sick, "sick")));
    }
}
