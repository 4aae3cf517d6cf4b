use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

use futures_util::future::{LocalBoxFuture, join_all};

use super::*;
use crate::transport::look_up::cache::{AFTER_ERROR, MAX_NAMES};

/// A scripted name server. Names that contain `sick` are never answered. Other names are found
/// after 20 ms, are valid for a minute, and have one address per lookup so far.
#[derive(Clone, Default)]
struct Scripted {
    begun: Rc<RefCell<Vec<String>>>,
}

impl Scripted {
    fn times(&self, name: &str) -> usize {
        let begun = self.begun.borrow();
        begun.iter().filter(|begun| *begun == name).count()
    }
}

impl LookUp for Scripted {
    fn look_up(&self, name: &str) -> LocalBoxFuture<'static, io::Result<LookUpFound>> {
        self.begun.borrow_mut().push(name.to_owned());
        let (name, times) = (name.to_owned(), self.times(name));
        Box::pin(async move {
            let after = match zone_of(&name) {
                zone if zone.contains("sick") => Duration::MAX,
                "slow.test" => Duration::from_millis(1_200),
                _ => Duration::from_millis(20),
            };
            let _ = timeout(after, std::future::pending::<()>()).await;
            if name == "unknown.test" {
                return Err(io::Error::from(io::ErrorKind::NotFound));
            }
            let last = u8::try_from(times).unwrap();
            Ok(LookUpFound {
                addresses: vec![IpAddr::from([9, 9, 9, last])],
                ttl: Duration::from_mins(1),
            })
        })
    }
}

/// Lookups in simulated time, and the script that they follow.
#[derive(Clone)]
struct Bed {
    questions: mpsc::UnboundedSender<Question>,
    script: Scripted,
    start: Instant,
}

impl Bed {
    /// Asks for a name, and returns the answer and its arrival time in ms.
    fn ask(&self, name: &str) -> impl Future<Output = (Answer, u128)> + use<> {
        let (answer, answered) = oneshot::channel();
        let name = name.to_owned();
        self.questions.send(Question { name, answer }).unwrap();
        let start = self.start;
        async move { (answered.await.unwrap(), start.elapsed().as_millis()) }
    }

    fn ask_sick(&self, count: usize) -> Vec<impl Future<Output = (Answer, u128)> + use<>> {
        (0..count)
            .map(|number| self.ask(&format!("{number}.sick.test")))
            .collect()
    }
}

fn run<F: Future<Output = ()>>(test: impl FnOnce(Bed) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(async {
        let (questions, asked) = mpsc::unbounded_channel();
        let script = Scripted::default();
        let flights = Flights::new(script.clone()).run(asked);
        let bed = Bed {
            questions,
            script,
            start: now(),
        };
        futures_util::future::join(flights, test(bed)).await;
    });
}

#[expect(clippy::disallowed_methods, reason = "the simulated clock")]
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

fn is_found(answer: &Answer, last: u8) -> bool {
    answer
        .as_ref()
        .is_ok_and(|found| **found == [IpAddr::from([9, 9, 9, last])])
}

fn is_error(answer: &Answer, kind: io::ErrorKind) -> bool {
    answer.as_ref().is_err_and(|error| error.kind() == kind)
}

/// Each of 800 endpoints in a zone that does not answer used to hold a thread, and the others got
/// none.
#[test]
fn eight_hundred_look_ups_in_a_sick_zone_hold_up_no_other() {
    run(async |bed: Bed| {
        let sick = bed.ask_sick(800);
        let (answer, after_ms) = bed.ask("a.healthy.test").await;
        assert!(is_found(&answer, 1));
        assert_eq!(after_ms, 20, "as if it were alone");
        assert_eq!(bed.script.begun.borrow().len(), MAX_YOUNG_OF_ZONE + 1);
        drop(sick);
    });
}

#[test]
fn what_is_not_answered_is_given_up_and_the_next_has_its_turn() {
    run(async |bed: Bed| {
        let ended = join_all(bed.ask_sick(40)).await;
        assert!(
            ended
                .iter()
                .all(|(answer, _)| is_error(answer, io::ErrorKind::TimedOut))
        );
        let at = |ms| ended.iter().filter(|(_, after_ms)| *after_ms == ms).count();
        // Of the first 16, four continue. The later ones have no room to continue.
        assert_eq!((at(1_000), at(2_000), at(3_000), at(5_000)), (12, 16, 8, 4));
    });
}

#[test]
fn names_that_were_found_before_need_not_wait_for_many_sick_zones() {
    run(async |bed: Bed| {
        bed.ask("a.healthy.test").await.0.unwrap();
        pass(Duration::from_mins(2)).await;
        let start_ms = bed.start.elapsed().as_millis();
        let zones = (0..800).map(|zone| bed.ask(&format!("a.sick{zone}")));
        let sick: Vec<_> = zones.collect();
        let (answer, after_ms) = bed.ask("a.healthy.test").await;
        assert!(is_found(&answer, 2), "it was looked up again");
        assert_eq!(after_ms - start_ms, 20);
        drop(sick);
    });
}

/// The zone with the fewest young lookups goes first, and each other one takes a second at most.
#[test]
fn a_name_that_is_asked_for_first_waits_for_few_sick_zones_no_longer_than_a_second() {
    run(async |bed: Bed| {
        let names = (0..800).map(|number| bed.ask(&format!("{number}.sick{}.test", number % 5)));
        let sick: Vec<_> = names.collect();
        let (answer, after_ms) = bed.ask("a.healthy.test").await;
        assert!(is_found(&answer, 1));
        assert!(after_ms <= 1_020, "after {after_ms} ms");
        drop(sick);
    });
}

#[test]
fn a_slow_answer_is_waited_for() {
    run(async |bed: Bed| {
        let (answer, after_ms) = bed.ask("a.slow.test").await;
        assert!(is_found(&answer, 1));
        assert_eq!(after_ms, 1_200);
    });
}

#[test]
fn one_look_up_answers_all_who_wait_for_a_name() {
    run(async |bed: Bed| {
        let all = join_all((0..50).map(|_| bed.ask("a.healthy.test"))).await;
        assert!(all.iter().all(|(answer, _)| is_found(answer, 1)));
        assert_eq!(bed.script.times("a.healthy.test"), 1);
    });
}

#[test]
fn an_answer_holds_for_its_time_to_live_and_no_longer() {
    run(async |bed: Bed| {
        for (at_ms, last) in [(0, 1), (59_900, 1), (60_100, 2)] {
            pass(Duration::from_millis(at_ms).saturating_sub(bed.start.elapsed())).await;
            let (answer, _) = bed.ask("a.healthy.test").await;
            assert!(is_found(&answer, last), "after {at_ms} ms");
        }
    });
}

#[test]
fn that_a_name_is_unknown_holds_for_a_few_seconds() {
    run(async |bed: Bed| {
        for (after, times) in [
            (Duration::ZERO, 1),
            (Duration::from_secs(2), 1),
            (AFTER_ERROR, 2),
        ] {
            pass(after).await;
            let (answer, _) = bed.ask("unknown.test").await;
            assert!(is_error(&answer, io::ErrorKind::NotFound));
            assert_eq!(bed.script.times("unknown.test"), times);
        }
    });
}

#[test]
fn what_nobody_waits_for_any_more_does_not_begin() {
    run(async |bed: Bed| {
        drop(bed.ask_sick(800));
        bed.ask("a.healthy.test").await.0.unwrap();
        pass(Duration::from_secs(10)).await;
        assert_eq!(bed.script.times("0.sick.test"), 0, "the caller had gone");
    });
}

#[test]
fn what_is_under_way_is_there_for_who_comes_back() {
    run(async |bed: Bed| {
        let given_up = timeout(Duration::from_millis(5), bed.ask("a.slow.test")).await;
        assert!(given_up.is_err());
        pass(Duration::from_secs(2)).await;
        let (answer, _) = bed.ask("a.slow.test").await;
        assert!(is_found(&answer, 1));
        assert_eq!(bed.script.times("a.slow.test"), 1);
    });
}

#[test]
fn nothing_is_kept_of_a_zone_with_nothing_under_way() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(async {
        let mut flights = Flights::new(Scripted::default());
        let (answer, answered) = oneshot::channel();
        let name = "a.healthy.test".to_owned();
        flights.asked(Question { name, answer });
        let name = flights.next_to_begin().unwrap();
        flights.begin(name);
        let step = flights.under_way.next().await;
        let Some(FlightStep::Ended { name, result, slow }) = step else {
            panic!("it is answered")
        };
        flights.ended_under_way(name, result, slow);
        assert!(flights.zones.is_empty() && flights.callers.is_empty());
        assert_eq!(flights.total.young + flights.total.slow, 0);
        answered.await.unwrap().unwrap();
    });
}

#[test]
fn a_zone_is_the_last_two_labels_or_three() {
    for (name, zone) in [
        ("a.b.example.com", "example.com"),
        ("example.com", "example.com"),
        ("a.example.com.", "example.com"),
        ("hooks.example.co.uk", "example.co.uk"),
        ("example.co.uk", "example.co.uk"),
        ("a.b.com.au", "b.com.au"),
        ("a.example.de", "example.de"),
        ("localhost", "localhost"),
        ("", ""),
    ] {
        assert_eq!(zone_of(name), zone);
    }
}

#[test]
fn only_so_many_names_are_remembered() {
    let (mut cache, start) = (Cache::default(), now());
    let found: Answer = Ok([IpAddr::from([9, 9, 9, 9])].into());
    let minute = Duration::from_mins(1);
    for number in 0..=MAX_NAMES {
        let now = start + Duration::from_millis(u64::try_from(number).unwrap());
        cache.put(number.to_string(), found.clone(), minute, now);
    }
    assert!(cache.get("0", start).is_none(), "it would have ended first");
    assert!(cache.get("1", start).is_some());
    let later = start + 2 * minute;
    cache.put("new".to_owned(), found, minute, later);
    assert!(!cache.was_found("1"), "what has ended goes first");
}
