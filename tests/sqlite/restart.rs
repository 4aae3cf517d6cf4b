//! State that an engine restores when it starts on the file of another.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use actix_webhooks::store::prelude::*;
use actix_webhooks::store::{DeliveryQuery, PageLimit, SqliteStore, StoreError};
use actix_webhooks::testing::{Blocking, Reply, SimClock};
use actix_webhooks::transport::Answer;
use actix_webhooks::verify::Verifier;
use actix_webhooks::{
    Auth, Client, DeadLetterReason, DeliveryId, DisablePolicy, DisabledReason, Endpoint,
    EndpointState, Engine, FailingRule, Failure, ListAttempts, ListRules, ResumeEndpoint, Rule,
    WebhookUrl,
};

use super::retention::new_event;
use super::support::{HOOK, Life, crash, event, status};

#[test]
fn what_was_accepted_is_delivered_after_a_restart() {
    let life = Life::new();
    life.receivers.on(HOOK, [Reply::hang(), Reply::status(200)]);
    SimClock::run(async |clock| {
        let engine = life.start(&clock).await;
        for number in 0..600 {
            engine.publish(event(&number.to_string())).await.unwrap();
        }
        let report = engine.shutdown(Duration::ZERO).await;
        assert_eq!((report.pending, report.aborted), (600, 1));
        drop(engine);

        let engine = life.start(&clock).await;
        clock.sleep(Duration::from_secs(10)).await;
        let after = status(&engine).await;
        assert_eq!((after.delivered, after.queued), (600, 0));
        let sent = life.receivers.requests().len();
        assert_eq!(sent, 601, "the one that was in flight is sent again");
        let again = engine.publish(event("599")).await.unwrap();
        assert_eq!(again.deliveries, 1, "the first receipt");
        clock.sleep(Duration::from_secs(10)).await;
        assert_eq!(life.receivers.requests().len(), 601);
        crash(engine).await;
    });
}

#[test]
fn a_retry_keeps_its_time_and_its_count() {
    let life = Life::new();
    life.receivers.on(HOOK, [Reply::status(502)]);
    SimClock::run(async |clock| {
        let engine = life.start(&clock).await;
        engine.publish(event("e")).await.unwrap();
        clock.sleep(Duration::from_secs(20)).await;
        assert_eq!(life.receivers.requests().len(), 2, "at 0 and 15 s");
        crash(engine).await;

        let engine = life.start(&clock).await;
        clock.sleep(Duration::from_secs(20)).await;
        assert_eq!(life.receivers.requests().len(), 2, "not before 45 s");
        clock.sleep(Duration::from_secs(10)).await;
        assert_eq!(life.receivers.requests().len(), 3);
        let attempts: Vec<u32> = life
            .receivers
            .requests()
            .iter()
            .map(|sent| sent.request.attempt)
            .collect();
        assert_eq!(attempts, [1, 2, 3]);
        clock.sleep(Duration::from_mins(2)).await;
        assert_eq!(life.receivers.requests().len(), 4, "four in all");
        let shown = status(&engine).await;
        assert_eq!((shown.dead_lettered, shown.queued), (1, 0));
        let letters = engine
            .supervisor()
            .send(actix_webhooks::ListDeadLetters::default())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            letters[0].reason,
            DeadLetterReason::AttemptsExhausted(Failure::Status(502))
        );
        let id = letters[0].delivery_id;
        let attempts = engine.supervisor().send(ListAttempts::new(id)).await;
        let numbers: Vec<u32> = attempts
            .unwrap()
            .unwrap()
            .iter()
            .map(|attempt| attempt.summary.number)
            .collect();
        assert_eq!(numbers, [1, 2, 3, 4], "those before the restart too");
        crash(engine).await;
    });
}

#[test]
fn a_hold_and_a_pause_survive() {
    let life = Life::new();
    let held = Answer::new(503).retry_after("3600");
    life.receivers
        .on(HOOK, [Reply::answer(held), Reply::status(200)]);
    SimClock::run(async |clock| {
        let engine = life.start(&clock).await;
        engine.publish(event("held")).await.unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        let EndpointState::RateLimited { until } = status(&engine).await.state else {
            panic!("a 503 with Retry-After holds the endpoint");
        };
        crash(engine).await;

        let engine = life.start(&clock).await;
        engine.publish(event("later")).await.unwrap();
        clock.sleep(Duration::from_mins(1)).await;
        assert_eq!(
            status(&engine).await.state,
            EndpointState::RateLimited { until }
        );
        assert_eq!(life.receivers.requests().len(), 1, "nothing is sent");
        engine.endpoint(HOOK).pause().await.unwrap();
        crash(engine).await;

        let engine = life.start(&clock).await;
        clock.sleep(Duration::from_hours(2)).await;
        assert_eq!(status(&engine).await.state, EndpointState::Paused);
        assert_eq!(life.receivers.requests().len(), 1);
        engine.endpoint(HOOK).resume().await.unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        assert_eq!(status(&engine).await.delivered, 2);
        crash(engine).await;
    });
}

#[test]
fn the_configuration_is_kept_and_what_the_builder_is_given_wins() {
    let life = Life::new();
    SimClock::run(async |clock| {
        let other = "http://other.test/";
        let engine = life
            .start_with(&clock, |builder| {
                builder
                    .client(Client::new("client").auth(Auth::bearer("secret")))
                    .rule(Rule::new("kept", "*").webhook(other).unwrap())
            })
            .await;
        crash(engine).await;
        let engine = life
            .start_with(&clock, |builder| {
                let moved = Rule::new("kept", "*")
                    .webhook("http://moved.test/")
                    .unwrap();
                builder.rule(moved).endpoint(Endpoint::new(other).unwrap())
            })
            .await;
        let rules = engine.router().send(ListRules).await.unwrap();
        let kept = rules.iter().find(|rule| rule.id.as_str() == "kept");
        assert_eq!(kept.unwrap().webhooks[0].as_str(), "http://moved.test/");
        engine.publish(event("e")).await.unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        let sent = life.receivers.requests();
        let authorization = sent[0].request.authorization.as_ref().unwrap();
        assert_eq!(authorization.expose(), "Bearer secret");
        crash(engine).await;
    });
}

#[test]
fn signing_secrets_survive() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let other = "http://other.test/";
    let life = Life::new();
    SimClock::run(async |clock| {
        let engine = life
            .start_with(&clock, |builder| {
                let signed = Endpoint::new(other).unwrap().secret(secret).unwrap();
                let rule = Rule::new("signed", "*").webhook(other).unwrap();
                builder.rule(rule).endpoint(signed)
            })
            .await;
        crash(engine).await;
        let engine = life.start(&clock).await;
        engine.publish(event("e")).await.unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        let requests = life.receivers.requests();
        let sent = requests.iter().find(|sent| sent.endpoint.as_str() == other);
        let sent = sent.unwrap();
        let id = sent.request.alert.id.to_string();
        let seconds = sent.request.sent_at.unix_seconds().to_string();
        let headers = [
            ("webhook-id", &id),
            ("webhook-timestamp", &seconds),
            ("webhook-signature", sent.signature.as_ref().unwrap()),
        ];
        let verifier = Verifier::new(secret).unwrap();
        let body = &sent.request.alert.body;
        let verified = verifier.verify(&headers, body, sent.request.sent_at);
        assert_eq!(verified.unwrap().id, id);
        crash(engine).await;
    });
}

#[actix_rt::test]
async fn a_second_opening_of_the_same_file_is_refused() {
    let life = Life::new();
    let first = SqliteStore::open(life.file()).unwrap();
    let second = SqliteStore::open(life.file());
    assert!(
        matches!(&second, Err(StoreError::InUse(path)) if path.ends_with("webhooks.db")),
        "{second:?}"
    );
    let clone = first.clone();
    drop(first);
    assert!(SqliteStore::open(life.file()).is_err(), "a clone is left");
    drop(clone);
    let again = SqliteStore::open(life.file()).unwrap();
    let nothing = again.deliveries(DeliveryQuery::default()).await.unwrap();
    assert!(nothing.is_empty());
}

/// A process has one set of locks on a file, and closing the file anywhere releases all of them.
#[cfg(target_os = "linux")]
#[test]
fn opening_leaves_the_locks_of_the_applications_own_connection() {
    use std::os::unix::fs::MetadataExt as _;

    let life = Life::new();
    drop(SqliteStore::open(life.file()).unwrap());
    let shop = rusqlite::Connection::open(life.file()).unwrap();
    let read = "SELECT COUNT(*) FROM webhook_open";
    shop.query_row(read, [], |_| Ok(())).unwrap();
    let file = std::fs::metadata(life.file()).unwrap();
    let (process, inode) = (std::process::id(), file.ino());
    let (process, inode) = (format!(" {process} "), format!(":{inode} "));
    let found = |_| {
        let all = std::fs::read_to_string("/proc/locks").unwrap();
        let ours = all.lines().filter_map(|line| line.split_once("POSIX"));
        let ours = ours.filter(|(_, lock)| lock.contains(&process) && lock.contains(&inode));
        ours.map(|(_, lock)| lock.to_owned()).collect::<Vec<_>>()
    };
    // The kernel's list covers the whole system and is read in pieces. While other locks come and
    // go, one of ours may be missed or found twice.
    let locks = || (0..100).flat_map(found).collect::<BTreeSet<_>>().len();
    let before = locks();
    assert!(before > 0, "SQLite holds a lock as long as it is connected");
    let store = SqliteStore::open(life.file()).unwrap();
    assert!(locks() >= before);
    drop(store);
    drop(shop);
}

#[test]
fn a_disabled_endpoint_stays_so_and_failures_are_counted_on() {
    let life = Life::new();
    let mut policy = DisablePolicy::never();
    policy.on_gone = true;
    policy.when_failing = vec![FailingRule::new(Duration::from_hours(4), 4)];
    let endpoint = Endpoint::new(HOOK).unwrap().disable(policy);
    let start = async |clock: &SimClock| {
        let builder = Engine::builder()
            .simulated(clock, 1)
            .store(Blocking(SqliteStore::open(life.file()).unwrap()))
            .transport(life.receivers.clone())
            .rule(Rule::new("rule", "*").webhook(HOOK).unwrap())
            .endpoint(endpoint.clone());
        builder.start().await.unwrap()
    };
    SimClock::run(async |clock| {
        life.receivers.on(HOOK, [Reply::status(500)]);
        let mut since = None;
        for hour in 0..4 {
            let engine = start(&clock).await;
            engine.publish(event(&hour.to_string())).await.unwrap();
            clock.sleep(Duration::from_hours(1)).await;
            let now = status(&engine).await;
            since = since.or(now.failing_since);
            assert_eq!(
                (now.failing_since, now.warned_at.is_some()),
                (since, hour >= 2),
                "{hour}"
            );
            crash(engine).await;
        }
        let engine = start(&clock).await;
        engine.publish(event("last")).await.unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        let reason = DisabledReason::Failing;
        assert_eq!(
            status(&engine).await.state,
            EndpointState::Disabled { reason }
        );
        crash(engine).await;

        life.receivers.on(HOOK, [Reply::status(410)]);
        let engine = start(&clock).await;
        engine.publish(event("kept")).await.unwrap();
        clock.sleep(Duration::from_secs(10)).await;
        let now = status(&engine).await;
        assert!(
            matches!(now.state, EndpointState::Disabled { .. }),
            "{now:?}"
        );
        assert_eq!((now.queued, life.receivers.requests().len()), (1, 5));
        let resume = engine.supervisor().send(ResumeEndpoint::new(HOOK));
        resume.await.unwrap().unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        let reason = DisabledReason::Gone;
        assert_eq!(
            status(&engine).await.state,
            EndpointState::Disabled { reason }
        );
        crash(engine).await;
    });
}

/// When a shutdown is answered, the engine's threads have ended and no longer hold the file.
#[test]
fn a_file_can_be_opened_again_as_soon_as_its_engine_has_shut_down() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("webhooks.db");
    actix_rt::System::new().block_on(async {
        for round in 0..20 {
            let store =
                SqliteStore::open(&file).unwrap_or_else(|error| panic!("round {round}: {error}"));
            let rule = Rule::new("rule", "*")
                .webhook("https://receiver.invalid/")
                .unwrap();
            let builder = Engine::builder().store(store).rule(rule).arbiters(2);
            let engine = builder.start().await.unwrap();
            engine.publish(event(&round.to_string())).await.unwrap();
            engine.shutdown(Duration::ZERO).await;
        }
    });
}

/// One event of a mebibyte for a thousand new endpoints took 969 MiB, because each endpoint read
/// its own copy.
#[actix_rt::test]
async fn an_alert_that_many_endpoints_read_is_in_memory_once() {
    let life = Life::new();
    let store = SqliteStore::open(life.file()).unwrap();
    let urls: Vec<WebhookUrl> = (0..1_000)
        .map(|number| WebhookUrl::parse(&format!("http://{number}.test/")).unwrap())
        .collect();
    let mut event = new_event("large", 1, 1_024 * 1_024);
    event.alerts[0].urls = urls.clone().into();
    store.append(vec![event].into()).await.unwrap();
    let limit = PageLimit::new(10, 1_024);
    let mut read = Vec::new();
    for url in &urls {
        let page = store.queued_within(url, DeliveryId::new(0), limit).await;
        let page = page.unwrap().deliveries;
        let ids = page.iter().map(|open| open.id).collect();
        let loaded = store.load_within(url, ids, 1_024).await.unwrap();
        read.extend(page.into_iter().chain(loaded.deliveries));
    }
    assert_eq!(read.len(), 2_000);
    let first = &read[0].alert;
    assert!(read.iter().all(|open| Arc::ptr_eq(&open.alert, first)));
    assert_eq!(first.body.len(), 1_024 * 1_024);
}
