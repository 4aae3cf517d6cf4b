use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::PermitClass::{Hanging, Late, Prompt, Unproven};
use super::*;

type Book = PermitBook<&'static str>;

/// Returns the charge for a permit of a client at a host.
fn at<W>(book: &mut PermitBook<W>, class: PermitClass, client: &str, host: u64) -> Charge {
    let site = book.site(None, &client.into(), host);
    Charge { class, site }
}

/// Takes as many permits as possible for endpoints that hold none, and returns their number.
fn take_all<W>(book: &mut PermitBook<W>, charge: Charge) -> u32 {
    let taken = (0_u32..).take_while(|_| book.take(charge, 0));
    taken.fold(0, |count, _| count + 1)
}

/// Takes as many permits as possible for one endpoint that starts with none, and returns their
/// number.
fn fill(book: &mut Book, charge: Charge) -> u32 {
    let taken = (0_u32..).take_while(|held| book.take(charge, *held));
    taken.fold(0, |count, _| count + 1)
}

fn free<W>(book: &PermitBook<W>) -> u32 {
    let [all, ..] = book.shares(Prompt);
    all.unwrap().free
}

#[test]
fn an_endpoint_takes_a_place_only_while_more_are_free_than_it_holds() {
    let mut book = Book::new(512);
    let prompt = at(&mut book, Prompt, "client", 0);
    assert_eq!(fill(&mut book, prompt), 256, "alone");
    for (endpoints, least) in [(1, 256), (16, 30), (40, 12), (300, 4), (508, 4)] {
        let mut book = Book::new(512);
        let mut held = vec![0; endpoints];
        let mut before = free(&book) + 1;
        while free(&book) < before {
            before = free(&book);
            for held in &mut held {
                let prompt = at(&mut book, Prompt, "client", 0);
                *held += u32::from(book.take(prompt, *held));
            }
        }
        assert!(free(&book) >= least, "{endpoints} leave {}", free(&book));
        let other = at(&mut book, Prompt, "other", 0);
        assert!(
            book.take(other, 0),
            "another client's that holds none can go"
        );
    }
}

#[test]
fn whoever_holds_fewer_passes_a_waiter_that_may_not_take_what_is_free() {
    let mut book = Book::new(8);
    let prompt = at(&mut book, Prompt, "client", 0);
    assert_eq!(fill(&mut book, prompt), 4);
    book.wait(prompt, 4, "holds four");
    assert_eq!(book.next_grant(), None);
    assert!(book.take(prompt, 0));
    assert!(!book.take(prompt, 4));
    book.give_back(prompt);
    assert_eq!(
        book.next_grant(),
        None,
        "four are free, as many as it holds"
    );
    book.give_back(prompt);
    assert_eq!(book.next_grant(), Some("holds four"));
}

/// Ten clients, so that none of them holds much.
#[test]
fn those_that_may_hang_get_a_half_those_that_do_a_quarter_and_the_limit_is_hard() {
    let mut book = Book::new(512);
    let mut taken = |class| -> u32 {
        let each = |client| {
            let charge = at(
                &mut book,
                class,
                ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"][client],
                0,
            );
            take_all(&mut book, charge)
        };
        (0..10).map(each).sum()
    };
    assert_eq!(taken(Hanging), 128);
    assert_eq!(taken(Unproven), 128);
    assert_eq!(taken(Prompt), 256);
}

#[test]
fn attempts_that_are_late_count_to_the_hanging_from_then_on() {
    let mut book = Book::new(16);
    let [prompt, hanging, unproven] =
        [Prompt, Hanging, Unproven].map(|class| at(&mut book, class, "client", 0));
    for _ in 0..8 {
        assert!(book.take(prompt, 0));
        book.count_as_late(prompt.site);
    }
    assert!(!book.take(hanging, 0), "late attempts fill the quarter");
    assert!(!book.take(unproven, 0), "and the half");
    assert!(book.take(prompt, 0), "prompt ones start all the same");
    let other = at(&mut book, Hanging, "other", 0);
    assert!(book.take(other, 0), "a client that has none gets one");
    assert!(!book.take(other, 0));
    let late = Charge {
        class: Late,
        ..prompt
    };
    for _ in 0..6 {
        book.give_back(late);
    }
    assert!(
        book.take(hanging, 0),
        "two late ones are left, and one that hangs"
    );
}

#[test]
fn waiters_take_turns_by_what_they_hold_then_by_how_long_they_wait() {
    let mut book = Book::new(8);
    let prompt = at(&mut book, Prompt, "client", 0);
    assert_eq!(take_all(&mut book, prompt), 8);
    book.wait(prompt, 2, "holds two");
    book.wait(prompt, 0, "first with none");
    book.wait(prompt, 0, "second with none");
    assert_eq!(book.next_grant(), None);
    let mut order = Vec::new();
    for _ in 0..5 {
        book.give_back(prompt);
        order.extend(book.next_grant());
    }
    assert_eq!(order, ["first with none", "second with none", "holds two"]);
}

#[test]
fn turns_go_by_client_then_by_endpoint_then_by_host_then_by_time() {
    let mut book = Book::new(64);
    let [big, elsewhere] = [0, 1].map(|host| at(&mut book, Unproven, "big", host));
    let small = at(&mut book, Unproven, "small", 0);
    assert_eq!(take_all(&mut book, big), 28, "the last four are for others");
    assert_eq!(take_all(&mut book, small), 4);
    let names = ["big, holds one", "big, first", "big, second"];
    for (held, name) in [1, 0, 0].into_iter().zip(names) {
        book.wait(big, held, name);
    }
    book.wait(elsewhere, 0, "big, at a host that is called little");
    book.wait(small, 0, "small");
    let mut order = Vec::new();
    for _ in 0..12 {
        book.give_back(big);
        order.extend(book.next_grant());
    }
    let expected = [
        "small",
        "big, at a host that is called little",
        "big, first",
        "big, second",
        "big, holds one",
    ];
    assert_eq!(order, expected);
}

/// Ten thousand waiters belong to one client, yet the next free permit goes to another client.
#[test]
fn a_client_whose_endpoints_hang_leaves_places_to_others() {
    let mut book = Book::new(512);
    let hanging: Vec<Charge> = (0..1_000)
        .map(|host| at(&mut book, Hanging, "many", host % 50))
        .collect();
    for charge in &hanging {
        if !book.take(*charge, 0) {
            book.wait(*charge, 0, "many");
        }
    }
    let others: Vec<String> = (0..16).map(|number| format!("client {number}")).collect();
    for client in &others {
        let other = at(&mut book, Hanging, client, 7);
        assert!(book.take(other, 0), "at once: {client}");
    }
    let late = at(&mut book, Hanging, "late", 7);
    assert!(!book.take(late, 0), "all 128 are taken");
    book.wait(late, 0, "late");
    book.give_back(hanging[0]);
    assert_eq!(book.next_grant(), Some("late"));
}

/// A client may hold one permit at a time, and ten thousand of its endpoints wait at one host. A
/// waiter at another host has the next turn but one.
#[test]
fn hosts_take_turns_however_many_wait_at_each() {
    let mut book = Book::new(4);
    let [many, one] = [0, 1].map(|host| at(&mut book, Hanging, "client", host));
    assert!(book.take(many, 0));
    for _ in 0..10_000 {
        book.wait(many, 0, "many");
    }
    book.give_back(many);
    assert_eq!(book.next_grant(), Some("many"));
    book.wait(one, 0, "one");
    book.give_back(many);
    assert_eq!(book.next_grant(), Some("many"), "its host waits longer");
    book.give_back(many);
    assert_eq!(book.next_grant(), Some("one"));
}

/// There are more clients than permits, each with many waiters. No client has two turns before
/// every other has had one.
#[test]
fn clients_take_turns_however_many_of_theirs_wait() {
    let mut book = PermitBook::new(16);
    let clients: Vec<Charge> = (0..10)
        .map(|client| at(&mut book, Hanging, &client.to_string(), 0))
        .collect();
    for (client, charge) in clients.iter().enumerate() {
        for _ in 0..100 {
            book.wait(*charge, 0, client);
        }
    }
    let late = at(&mut book, Hanging, "late", 0);
    book.wait(late, 0, 10);
    let mut in_flight = VecDeque::new();
    let mut turns = Vec::new();
    for _ in 0..11 {
        while let Some(client) = book.next_grant() {
            in_flight.push_back(client);
            turns.push(client);
        }
        let client = in_flight.pop_front().expect("somebody has a permit");
        book.give_back(clients.get(client).copied().unwrap_or(late));
    }
    turns.truncate(11);
    assert_eq!(turns, (0..11).collect::<Vec<_>>());
}

/// Clients with hundreds of endpoints each, all of which begin to hang in the same second, look
/// prompt. They leave the last permits to clients that hold little.
#[test]
fn clients_that_begin_to_hang_as_a_whole_leave_places_to_others() {
    for clients in 1..=7 {
        let mut book = Book::new(512);
        let names = (0..clients).map(|client: usize| client.to_string());
        let prompt: Vec<Charge> = names
            .map(|client| at(&mut book, Prompt, &client, 0))
            .collect();
        while prompt
            .iter()
            .fold(false, |any, charge| book.take(*charge, 0) | any)
        {}
        for charge in &prompt {
            for _ in 0..*book.sites.held_by_site(charge.site).of(Prompt) {
                book.count_as_late(charge.site);
            }
        }
        let other = at(&mut book, Prompt, "other", 0);
        assert_eq!(take_all(&mut book, other), 4, "{clients} hang");
    }
}

#[test]
fn a_waiter_that_gives_a_place_back_moves_forward() {
    let mut book = Book::new(4);
    let prompt = at(&mut book, Prompt, "client", 0);
    assert_eq!(take_all(&mut book, prompt), 4);
    book.wait(prompt, 1, "hangs");
    let turn = book.wait(prompt, 1, "answers");
    book.give_back(prompt);
    let turn = book.hold_instead(turn, 0);
    assert_eq!(book.next_grant(), Some("answers"));
    book.hold_instead(turn, 0);
    book.give_back(prompt);
    book.give_back(prompt);
    assert_eq!(book.next_grant(), Some("hangs"));
}

#[test]
fn nobody_overtakes_a_waiter() {
    let mut book = Book::new(4);
    let prompt = at(&mut book, Prompt, "client", 0);
    assert_eq!(take_all(&mut book, prompt), 4);
    book.wait(prompt, 0, "waiter");
    book.give_back(prompt);
    assert!(!book.take(prompt, 0));
    assert_eq!(book.next_grant(), Some("waiter"));
}

#[test]
fn a_waiter_that_hangs_does_not_block_the_prompt_ones() {
    let mut book = Book::new(4);
    let [prompt, hanging] = [Prompt, Hanging].map(|class| at(&mut book, class, "client", 0));
    assert!(book.take(hanging, 0));
    book.wait(hanging, 0, "hanging");
    book.wait(prompt, 1, "prompt");
    assert_eq!(book.next_grant(), Some("prompt"));
    assert_eq!(book.next_grant(), None);
    book.give_back(hanging);
    assert_eq!(book.next_grant(), Some("hanging"));
}

#[test]
fn a_site_is_forgotten_when_nobody_uses_it() {
    let mut book = Book::new(4);
    let prompt = at(&mut book, Prompt, "client", 0);
    assert_eq!(
        book.site(Some(prompt.site), &"client".into(), 0),
        prompt.site
    );
    assert!(book.take(prompt, 0));
    let turn = book.wait(prompt, 1, "waiter");
    book.leave_site(prompt.site);
    book.give_back(prompt);
    assert_eq!(book.sites.count(), 2, "somebody waits there");
    assert!(book.leave(turn));
    assert_eq!(book.sites.count(), 0);
    let other = at(&mut book, Prompt, "other", 0);
    assert_ne!(book.site(Some(other.site), &"client".into(), 0), other.site);
}

/// An endpoint of the model.
#[derive(Clone, Debug)]
struct Modelled {
    client: u64,
    host: u64,
    held: Vec<Charge>,
    waits: Option<Ticket>,
    /// Number of permits that went to others of its class since it began to wait.
    passed: u32,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Want(usize, PermitClass),
    End(usize),
    Late(usize),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let class = prop_oneof![Just(Prompt), Just(Unproven), Just(Hanging)];
    let step = prop_oneof![
        5 => (0..24_usize, class).prop_map(|(who, class)| Step::Want(who, class)),
        4 => (0..24_usize).prop_map(Step::End),
        1 => (0..24_usize).prop_map(Step::Late),
        1 => (0..24_usize).prop_map(Step::Leave),
    ];
    prop::collection::vec(step, 1..400)
}

struct Model {
    book: PermitBook<usize>,
    endpoints: Vec<Modelled>,
}

impl Model {
    fn new(limit: u32) -> Self {
        let endpoint = |number: u64| Modelled {
            client: number % 5,
            host: number % 3,
            held: Vec::new(),
            waits: None,
            passed: 0,
        };
        Self {
            book: PermitBook::new(limit),
            endpoints: (0..24).map(endpoint).collect(),
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Want(who, class) => self.want(who, class),
            Step::End(who) => {
                if let Some(charge) = self.endpoints[who].held.pop() {
                    self.book.give_back(charge);
                    self.held_changed(who);
                }
            }
            Step::Late(who) => {
                let mut held = self.endpoints[who].held.iter_mut();
                if let Some(charge) = held.find(|charge| charge.class == Prompt) {
                    charge.class = Late;
                    self.book.count_as_late(charge.site);
                }
            }
            Step::Leave(who) => {
                if let Some(turn) = self.endpoints[who].waits.take() {
                    assert!(self.book.leave(turn), "a waiter is in the queue");
                }
            }
        }
        self.grant();
    }

    fn want(&mut self, who: usize, class: PermitClass) {
        let endpoint = &mut self.endpoints[who];
        if endpoint.waits.is_some() {
            return;
        }
        let held = u32::try_from(endpoint.held.len()).unwrap();
        let client = endpoint.client.to_string();
        let charge = at(&mut self.book, class, &client, endpoint.host);
        if self.book.take(charge, held) {
            endpoint.held.push(charge);
        } else {
            endpoint.waits = Some(self.book.wait(charge, held, who));
            endpoint.passed = 0;
        }
        self.book.leave_site(charge.site);
    }

    fn held_changed(&mut self, who: usize) {
        let endpoint = &mut self.endpoints[who];
        let held = u32::try_from(endpoint.held.len()).unwrap();
        if let Some(turn) = endpoint.waits {
            endpoint.waits = Some(self.book.hold_instead(turn, held));
        }
    }

    fn grant(&mut self) {
        while let Some(who) = self.book.next_grant() {
            let turn = self.endpoints[who].waits.take();
            let turn = turn.expect("only a waiter is granted a permit");
            self.endpoints[who].held.push(turn.charge);
        }
    }

    /// The book's counts match those of the endpoints, and no limit is exceeded.
    fn check(&self) {
        let mut held = BTreeMap::new();
        for charge in self.endpoints.iter().flat_map(|endpoint| &endpoint.held) {
            *held.entry(charge.class as u8).or_insert(0) += 1;
        }
        let taken = self.book.taken;
        for class in [Prompt, Unproven, Hanging, Late] {
            let held = held.get(&(class as u8)).copied().unwrap_or(0);
            assert_eq!(*taken.of(class), held, "{class:?}");
        }
        let all = taken.prompt + taken.late + may_hang(&taken);
        assert!(all <= self.book.limit, "the limit is hard");
        assert!(may_hang(&taken) <= self.book.limit / 2);
        assert!(taken.hanging <= self.book.limit / 4);
    }

    /// An endpoint that still waits after everything has ended would wait for ever.
    fn end(mut self) {
        for _ in 0..1_000 {
            for who in 0..self.endpoints.len() {
                self.take(Step::End(who));
            }
        }
        for endpoint in &self.endpoints {
            assert!(endpoint.waits.is_none(), "left over: {endpoint:?}");
        }
        assert_eq!(free(&self.book), self.book.limit);
        assert_eq!(self.book.sites.count(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn no_place_is_lost_and_no_limit_passed_whatever_happens(limit in 4..40_u32, steps in steps()) {
        let mut model = Model::new(limit);
        for step in steps {
            model.take(step);
            model.check();
        }
        model.end();
    }

    /// Attempts end in the order in which they began, as if each had timed out. An endpoint that
    /// has had a permit wants the next one at once.
    #[test]
    fn a_turn_takes_no_longer_than_is_stated(
        limit in 4..64_u32,
        class in prop_oneof![Just(Prompt), Just(Unproven), Just(Hanging)],
        sizes in prop::collection::vec(1..30_usize, 2..8),
    ) {
        fair_turns(limit, class, &sizes);
    }
}

/// Runs clients with `sizes` endpoints each, and checks how long any endpoint waits, in permits
/// that end.
fn fair_turns(limit: u32, class: PermitClass, sizes: &[usize]) {
    let mut book = PermitBook::new(limit);
    let mut endpoints = Vec::new();
    for (client, size) in sizes.iter().enumerate() {
        for number in 0..*size {
            endpoints.push((
                client,
                at(&mut book, class, &client.to_string(), number as u64 % 3),
            ));
        }
    }
    let permits = match class {
        Prompt => limit,
        Unproven => limit / 2,
        Hanging | Late => limit / 4,
    } as usize;
    let (mut in_flight, mut waits_since) = (VecDeque::new(), BTreeMap::new());
    let wants = |book: &mut PermitBook<usize>, who: usize| {
        let charge = endpoints[who].1;
        let taken = book.take(charge, 0);
        if !taken {
            book.wait(charge, 0, who);
        }
        taken
    };
    for who in 0..endpoints.len() {
        if wants(&mut book, who) {
            in_flight.push_back(who);
        } else {
            waits_since.insert(who, 0);
        }
    }
    for ended in 1..600 {
        let who = in_flight.pop_front().expect("somebody has a permit");
        book.give_back(endpoints[who].1);
        if wants(&mut book, who) {
            in_flight.push_back(who);
        } else {
            waits_since.insert(who, ended);
        }
        while let Some(next) = book.next_grant() {
            in_flight.push_back(next);
            let waited = ended - waits_since.remove(&next).unwrap_or(ended);
            // Per full turnover of the permits, a client gets as many as any other, or one.
            let its_own = sizes[endpoints[next].0];
            let rounds = 2 + its_own.div_ceil((permits / sizes.len()).max(1));
            let most = rounds * permits.max(sizes.len());
            assert!(waited <= most, "one of {its_own} waited for {waited}");
        }
    }
}
