//! Overloaded receivers: they are sent what they accept, and nothing is given up because of the
//! overload.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_webhooks::testing::{Reply, SimClock};
use actix_webhooks::transport::Answer;
use actix_webhooks::{Endpoint, Event, PublishBatch, Rule, Timestamp};

use super::support::{HOOK, Sim, event, plain, simulate_with};

fn simulate(endpoint: Endpoint, test: impl AsyncFnOnce(Sim)) {
    let rule = Rule::new("rule", "*").webhook(HOOK).unwrap();
    simulate_with(|builder| builder.rule(rule).endpoint(endpoint), test);
}

async fn publish_many(sim: &Sim, count: usize) {
    let events: Vec<Event> = (0..count)
        .map(|number| event(&number.to_string()))
        .collect();
    for events in events.chunks(200) {
        let answers = sim.engine.router().send(PublishBatch::new(events.to_vec()));
        assert!(answers.await.unwrap().iter().all(Result::is_ok));
    }
}

/// Waits until everything is delivered, and returns the number of seconds that took.
async fn delivered(sim: &Sim, at_most: u64) -> u64 {
    for seconds in 1..=at_most {
        sim.sleep(1).await;
        if sim.status(HOOK).await.queued == 0 && sim.receivers.in_flight() == 0 {
            return seconds;
        }
    }
    panic!("not after {at_most} s: {:?}", sim.status(HOOK).await);
}

fn refuses(status: u16, rest: Option<Duration>) -> Reply {
    let answer = Answer::new(status);
    Reply::answer(match rest {
        Some(rest) => answer.retry_after(format!("{:.3}", rest.as_secs_f64())),
        None => answer,
    })
}

/// A bucket of `calls` calls that is refilled after each `per`.
fn bucket(calls: u32, per: Duration, clock: SimClock) -> impl Fn() -> Result<(), Duration> {
    let state = Mutex::new((clock.now(), 0));
    move || {
        let now = clock.now();
        let mut state = state.lock().unwrap();
        if now.since(state.0) >= per {
            *state = (now, 0);
        }
        state.1 += 1;
        if state.1 <= calls {
            Ok(())
        } else {
            Err(per.saturating_sub(now.since(state.0)))
        }
    }
}

/// A bucket that is refilled one call at a time.
fn leaking(calls: u32, each: Duration, clock: SimClock) -> impl Fn() -> Result<(), Duration> {
    let full_at = Mutex::new(Timestamp::from_unix_millis(0));
    move || {
        let now = clock.now();
        let mut full_at = full_at.lock().unwrap();
        let missing = full_at.since(now);
        if missing > each * (calls - 1) {
            return Err(missing.saturating_sub(each * (calls - 1)));
        }
        *full_at = (*full_at).max(now) + each;
        Ok(())
    }
}

/// Sends 2,000 events at once to a receiver with a bucket. Checks that little was refused, nothing
/// was given up, and little time was lost.
fn check_bucket<B: Fn() -> Result<(), Duration> + Send + Sync + 'static>(
    bucket: impl FnOnce(SimClock) -> B,
    own_pace: u64,
    took: Duration,
    names_a_time: bool,
) {
    simulate(plain(HOOK), async |sim| {
        let bucket = bucket(sim.clock.clone());
        sim.receivers.decide(move |_| match bucket() {
            Ok(()) => Reply::status(200).after(took),
            Err(rest) => refuses(429, names_a_time.then_some(rest)),
        });
        publish_many(&sim, 2_000).await;
        let seconds = delivered(&sim, own_pace * 2).await;
        let requests = sim.receivers.requests().len();
        println!("{requests} requests in {seconds} s, own pace {own_pace} s");
        assert_eq!(sim.dead_letters().await, []);
        assert!(requests <= 2_600, "{requests} requests for 2,000 events");
        assert!(
            seconds * 2 <= own_pace * 3,
            "{seconds} s instead of {own_pace} s"
        );
    });
}

/// There used to be 180 dead letters, and two requests per event.
#[test]
fn five_calls_in_two_seconds() {
    let five = |clock| bucket(5, Duration::from_secs(2), clock);
    check_bucket(five, 800, Duration::ZERO, true);
    check_bucket(five, 800, Duration::from_millis(50), true);
}

#[test]
fn a_hundred_calls_a_second() {
    let hundred = |clock| bucket(100, Duration::from_secs(1), clock);
    check_bucket(hundred, 20, Duration::ZERO, true);
    check_bucket(hundred, 20, Duration::from_millis(50), true);
}

#[test]
fn a_bucket_that_is_filled_call_by_call() {
    let five = |clock| leaking(5, Duration::from_millis(400), clock);
    check_bucket(five, 800, Duration::from_millis(20), true);
}

#[test]
fn a_429_that_names_no_time() {
    let five = |clock| bucket(5, Duration::from_secs(2), clock);
    check_bucket(five, 800, Duration::from_millis(20), false);
}

#[test]
fn a_receiver_that_takes_three_at_a_time_and_names_no_time() {
    let took = Duration::from_millis(100);
    simulate(plain(HOOK), async |sim| {
        let clock = sim.clock.clone();
        let busy = Arc::new(Mutex::new(Vec::<Timestamp>::new()));
        sim.receivers.decide(move |_| {
            let now = clock.now();
            let mut busy = busy.lock().unwrap();
            busy.retain(|begun| now.since(*begun) < took);
            if busy.len() >= 3 {
                return refuses(503, None);
            }
            busy.push(now);
            Reply::status(200).after(took)
        });
        publish_many(&sim, 2_000).await;
        let seconds = delivered(&sim, 300).await;
        let requests = sim.receivers.requests().len();
        println!("{requests} requests in {seconds} s");
        assert_eq!(sim.dead_letters().await, []);
        assert!(requests <= 2_600, "{requests} requests for 2,000 events");
        assert!(seconds <= 100, "{seconds} s instead of 67 s");
    });
}

/// The receiver's operator has bought a higher limit.
#[test]
fn a_receiver_that_becomes_generous_gets_full_speed_again() {
    simulate(plain(HOOK), async |sim| {
        let five = bucket(5, Duration::from_secs(2), sim.clock.clone());
        let (clock, generous) = (sim.clock.clone(), sim.clock.now() + Duration::from_mins(2));
        let took = Duration::from_millis(20);
        sim.receivers.decide(move |_| {
            if clock.now() >= generous {
                return Reply::status(200).after(took);
            }
            match five() {
                Ok(()) => Reply::status(200).after(took),
                Err(rest) => refuses(429, Some(rest)),
            }
        });
        publish_many(&sim, 20_000).await;
        sim.sleep(120).await;
        assert!(sim.status(HOOK).await.delivered < 320);
        delivered(&sim, 120).await;
        let status = sim.status(HOOK).await;
        assert_eq!((status.window, status.dead_lettered), (32, 0));
        let sent_at = sim.sent_at();
        let last = &sent_at[sent_at.len() - 1_000..];
        assert!(last[999] - last[0] < 1.0, "32 at once, each for 20 ms");
    });
}

/// A refused delivery goes before new ones, so that none is refused again and again.
#[test]
fn what_was_refused_goes_first() {
    simulate(plain(HOOK), async |sim| {
        let refused = refuses(429, Some(Duration::from_secs(3)));
        sim.receivers.on(HOOK, [refused, Reply::status(200)]);
        publish_many(&sim, 20).await;
        sim.sleep(60).await;
        let attempts: Vec<u32> = sim
            .receivers
            .requests()
            .iter()
            .map(|sent| sent.request.attempt)
            .collect();
        assert_eq!(attempts[..3], [1, 2, 1]);
    });
}

/// A receiver that was down answers 503 to everything, which says nothing about the rate that it
/// accepts.
#[test]
fn a_receiver_that_was_out_of_order_is_not_spared_for_long() {
    simulate(plain(HOOK), async |sim| {
        let took = Duration::from_millis(20);
        let (clock, begun) = (sim.clock.clone(), sim.clock.now());
        sim.receivers.decide(move |_| {
            let down = (5..35).contains(&clock.now().since(begun).as_secs());
            Reply::status(if down { 503 } else { 200 }).after(took)
        });
        publish_many(&sim, 200).await;
        sim.sleep(5).await;
        for number in 0..5 {
            sim.publish(&format!("down {number}")).await;
            sim.sleep(1).await;
        }
        sim.sleep(30).await;
        publish_many_more(&sim, 2_000).await;
        sim.sleep(2).await;
        let status = sim.status(HOOK).await;
        // Failed deliveries wait for their own retries.
        assert_eq!((status.window, status.delivered), (32, 2_200), "{status:?}");
    });
}

async fn publish_many_more(sim: &Sim, count: usize) {
    let more = (0..count).map(|number| event(&format!("more {number}")));
    let more: Vec<Event> = more.collect();
    for events in more.chunks(200) {
        let answers = sim.engine.router().send(PublishBatch::new(events.to_vec()));
        assert!(answers.await.unwrap().iter().all(Result::is_ok));
    }
}
