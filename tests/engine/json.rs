//! All states and outcomes have one JSON shape, and JSON written by earlier versions is still read.

use std::fmt::Debug;
use std::time::Duration;

use actix_webhooks::store::Hold;
use actix_webhooks::{
    ActionResult, AttemptNowAnswer, By, CircuitBreaker, DeadLetterReason, DeliveryReport,
    DeliveryState, DisablePolicy, DisabledReason, EndpointPolicy, EndpointState, EndpointStatus,
    FailingRule, Failure, ListActions, Note, Operator, OperatorAction, Outcome, PauseEndpoint,
    RateLimit, RedirectRefusal, RemoveEndpoint, RetryPolicy, SendTest, Stopped, Timestamp,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::support::{HOOK, plain, simulate};

const UNTIL: Timestamp = Timestamp::from_unix_millis(1_614_265_330_250);
const WRITTEN: &str = "2021-02-25T15:02:10.250Z";

/// Checks that a value is written like this, and is read from this and from the earlier forms.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "they are made for it")]
fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, new: Value, old: Value) {
    assert_eq!(serde_json::to_value(value).unwrap(), new);
    let text = serde_json::to_string(value).unwrap();
    assert_eq!(serde_json::from_str::<T>(&text).unwrap(), *value);
    assert_eq!(serde_json::from_value::<T>(new).unwrap(), *value);
    assert_eq!(serde_json::from_str::<T>(&old.to_string()).unwrap(), *value);
}

#[test]
fn states_of_endpoints() {
    let name = |name: &str| json!({ "state": name });
    check(&EndpointState::Idle, name("idle"), json!("idle"));
    check(
        &EndpointState::Delivering,
        name("delivering"),
        json!("delivering"),
    );
    check(&EndpointState::Paused, name("paused"), json!("paused"));
    for (state, name) in [
        (EndpointState::BackingOff { until: UNTIL }, "backing_off"),
        (EndpointState::RateLimited { until: UNTIL }, "rate_limited"),
        (EndpointState::CircuitOpen { until: UNTIL }, "circuit_open"),
    ] {
        let new = json!({ "state": name, "until": WRITTEN });
        check(&state, new, json!({ name: { "until": WRITTEN } }));
    }
    let disabled = EndpointState::Disabled {
        reason: DisabledReason::Gone,
    };
    let old = json!({ "disabled": { "reason": "gone" } });
    check(
        &disabled,
        json!({ "state": "disabled", "reason": "gone" }),
        old,
    );
    check(
        &DisabledReason::ReceiverAsked,
        json!("receiver_asked"),
        json!("receiver_asked"),
    );
}

#[test]
fn failures_reasons_and_outcomes() {
    check(
        &Failure::Timeout,
        json!({ "kind": "timeout" }),
        json!("timeout"),
    );
    let status = json!({ "kind": "status", "status": 503 });
    check(
        &Failure::Status(503),
        status.clone(),
        json!({ "status": 503 }),
    );
    check(
        &Failure::CredentialsDropped(401),
        json!({ "kind": "credentials_dropped", "status": 401 }),
        json!({ "credentials_dropped": 401 }),
    );
    check(
        &Failure::Redirect(RedirectRefusal::TooMany),
        json!({ "kind": "redirect", "refusal": "too_many" }),
        json!({ "redirect": "too_many" }),
    );
    let reason = DeadLetterReason::AttemptsExhausted(Failure::Status(503));
    let shown = json!({ "kind": "attempts_exhausted", "failure": status });
    check(
        &reason,
        shown.clone(),
        json!({ "attempts_exhausted": { "status": 503 } }),
    );
    check(
        &DeadLetterReason::EndpointRemoved,
        json!({ "kind": "endpoint_removed" }),
        json!("endpoint_removed"),
    );
    check(
        &Outcome::Delivered,
        json!({ "outcome": "delivered" }),
        json!("delivered"),
    );
    check(
        &Outcome::Failed {
            failure: Failure::Dns,
        },
        json!({ "outcome": "failed", "failure": { "kind": "dns" } }),
        json!({ "failed": { "failure": "dns" } }),
    );
    check(
        &Outcome::DeadLettered { reason },
        json!({ "outcome": "dead_lettered", "reason": shown }),
        json!({ "dead_lettered": { "reason": { "attempts_exhausted": { "status": 503 } } } }),
    );
}

#[test]
fn states_of_deliveries() {
    check(
        &DeliveryState::Queued,
        json!({ "state": "queued" }),
        json!("queued"),
    );
    check(
        &DeliveryState::Waiting { due_at: UNTIL },
        json!({ "state": "waiting", "dueAt": WRITTEN }),
        json!({ "waiting": { "due_at": WRITTEN } }),
    );
    check(
        &DeliveryState::DeadLettered {
            at: UNTIL,
            reason: DeadLetterReason::BacklogFull,
        },
        json!({ "state": "dead_lettered", "at": WRITTEN, "reason": { "kind": "backlog_full" } }),
        json!({ "dead_lettered": { "at": WRITTEN, "reason": "backlog_full" } }),
    );
}

#[test]
fn what_is_none_of_them_is_refused() {
    for wrong in [
        json!({ "state": "asleep" }),
        json!({ "state": "backing_off" }),
        json!({ "until": WRITTEN, "other": 1 }),
        json!("asleep"),
        json!(7),
        json!(null),
    ] {
        let read = serde_json::from_value::<EndpointState>(wrong.clone());
        assert!(read.is_err(), "{wrong}: {read:?}");
    }
    assert!(serde_json::from_value::<Failure>(json!({ "kind": "status" })).is_err());
}

#[test]
fn lengths_of_policies_are_milliseconds_and_older_ones_are_read() {
    let mut policy = EndpointPolicy::alert_service();
    policy.timeout = Duration::from_micros(1_500_500);
    policy.circuit_breaker = Some(CircuitBreaker::after(5));
    policy.rate_limit = Some(RateLimit::new(3, Duration::from_secs(2)));
    policy.retry = RetryPolicy::custom([Duration::from_secs(1)]).within(Duration::from_mins(1));
    policy.disable = DisablePolicy::never();
    policy.disable.when_failing = vec![FailingRule::new(Duration::from_hours(1), 7)];
    let new = json!({
        "timeoutMs": 1_500.5, "connectTimeoutMs": 5_000, "maxInFlight": 32, "ordering": "unordered",
        "retry": { "waitsMs": [1_000], "jitter": true, "windowMs": 60_000, "maxRetryAfterMs": 86_400_000 },
        "responses": {}, "httpsOnly": false,
        "circuitBreaker": { "failures": 5, "firstWaitMs": 5_000, "longestWaitMs": 60_000 },
        "rateLimit": { "attempts": 3, "perMs": 2_000 },
        "disable": { "onGone": false, "whenFailing": [{ "lastingMs": 3_600_000, "failures": 7 }] },
        "honoursDirectives": false,
    });
    let length = |secs: u64, nanos: u32| json!({ "secs": secs, "nanos": nanos });
    let old = json!({
        "timeout": length(1, 500_500_000), "connectTimeout": length(5, 0), "maxInFlight": 32, "ordering": "unordered",
        "retry": { "waits": [length(1, 0)], "jitter": true, "window": length(60, 0), "maxRetryAfter": length(86_400, 0) },
        "responses": {}, "httpsOnly": false,
        "circuitBreaker": { "failures": 5, "firstWait": length(5, 0), "longestWait": length(60, 0) },
        "rateLimit": { "attempts": 3, "per": length(2, 0) },
        "disable": { "onGone": false, "whenFailing": [{ "lasting": length(3_600, 0), "failures": 7 }] },
        "honoursWishes": false,
    });
    check(&policy, new, old);
    let none = RetryPolicy::none();
    let old =
        json!({ "waits": [], "jitter": true, "window": null, "maxRetryAfter": length(86_400, 0) });
    let new =
        json!({ "waitsMs": [], "jitter": true, "windowMs": null, "maxRetryAfterMs": 86_400_000 });
    check(&none, new, old);
}

#[test]
fn statuses_reports_and_deliveries_have_their_states_fields_among_their_own() {
    simulate(async |sim| {
        let busy = actix_webhooks::transport::Answer::new(503).retry_after("30");
        sim.receivers
            .on(HOOK, [actix_webhooks::testing::Reply::answer(busy)]);
        sim.publish("e").await;
        sim.sleep(1).await;
        let status = sim.status(HOOK).await;
        let shown = serde_json::to_value(&status).unwrap();
        let until = shown["until"].clone();
        assert_eq!(
            (&shown["state"], until.is_string()),
            (&json!("rate_limited"), true)
        );
        assert_eq!(shown["lastAttempt"]["durationMs"], 0);
        assert_eq!(
            shown["lastAttempt"]["failure"],
            json!({ "kind": "status", "status": 503 })
        );
        assert_eq!(
            (&shown["held"]["until"], &shown["held"]["askedMs"]),
            (&until, &json!(30_000))
        );
        let mut old = shown.clone();
        old["state"] = json!({ "rate_limited": { "until": until } });
        old["lastAttempt"]["duration"] = json!({ "secs": 0, "nanos": 0 });
        old["lastAttempt"]["failure"] = json!({ "status": 503 });
        let fields = old.as_object_mut().unwrap();
        fields.remove("until");
        fields["lastAttempt"]
            .as_object_mut()
            .unwrap()
            .remove("durationMs");
        check::<EndpointStatus>(&status, shown, old);

        let report = sim.reports()[0].clone();
        let shown = serde_json::to_value(&report).unwrap();
        assert_eq!(
            (&shown["outcome"], &shown["durationMs"]),
            (&json!("failed"), &json!(0))
        );
        let mut old = shown.clone();
        old["outcome"] = json!({ "failed": { "failure": { "status": 503 } } });
        old["duration"] = json!({ "secs": 0, "nanos": 0 });
        let fields = old.as_object_mut().unwrap();
        fields.remove("failure");
        fields.remove("durationMs");
        check::<DeliveryReport>(&report, shown, old);

        let deliveries = actix_webhooks::ListDeliveries::default();
        let deliveries = sim.engine.supervisor().send(deliveries).await;
        let delivery = deliveries.unwrap().unwrap()[0].clone();
        let shown = serde_json::to_value(&delivery).unwrap();
        assert_eq!(
            (&shown["state"], shown["dueAt"].is_string()),
            (&json!("waiting"), true)
        );
        let mut old = shown.clone();
        old["state"] = json!({ "waiting": { "due_at": shown["dueAt"] } });
        old.as_object_mut().unwrap().remove("dueAt");
        check(&delivery, shown, old);
    });
}

#[test]
fn who_did_what() {
    let stopped = json!({ "at": WRITTEN, "by": "alice", "note": "flooding us" });
    let read: Stopped = serde_json::from_value(stopped.clone()).unwrap();
    let by = Operator::new("alice").ok();
    let expected = Stopped::at(UNTIL)
        .by(by)
        .note(Note::new("flooding us").ok());
    assert_eq!(read, expected);
    assert_eq!(serde_json::to_value(&read).unwrap(), stopped);
    assert_eq!(serde_json::to_value(Stopped::default()).unwrap(), json!({}));
    assert!(serde_json::from_value::<Stopped>(json!({ "by": "" })).is_err());

    let action = json!({
        "at": WRITTEN, "operator": "alice", "action": "end_rule", "target": "r", "count": 2,
        "result": "failed", "error": "why",
    });
    let read: OperatorAction = serde_json::from_value(action.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), action);
    let done = json!({ "at": WRITTEN, "action": "send_test", "target": "u", "result": "done" });
    let read: OperatorAction = serde_json::from_value(done.clone()).unwrap();
    assert_eq!((&read.operator, &read.result), (&None, &ActionResult::Done));
    assert_eq!(serde_json::to_value(&read).unwrap(), done);

    let held = EndpointState::RateLimited { until: UNTIL };
    let blocked = AttemptNowAnswer::Blocked { by: held };
    let shown = json!({ "answer": "blocked", "by": { "state": "rate_limited", "until": WRITTEN } });
    assert_eq!(serde_json::to_value(&blocked).unwrap(), shown);
    assert_eq!(
        serde_json::from_value::<AttemptNowAnswer>(shown).unwrap(),
        blocked
    );
    let under_way = json!({ "answer": "under_way" });
    let read: AttemptNowAnswer = serde_json::from_value(under_way).unwrap();
    assert_eq!(read, AttemptNowAnswer::UnderWay);
}

#[test]
fn messages_of_operators() {
    let pause = json!({ "url": HOOK, "by": "alice", "note": "why" });
    let read: PauseEndpoint = serde_json::from_value(pause.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), pause);
    let earlier: PauseEndpoint = serde_json::from_value(json!({ "url": HOOK })).unwrap();
    assert_eq!(earlier, PauseEndpoint::new(HOOK));
    assert_eq!(
        serde_json::to_value(earlier).unwrap(),
        json!({ "url": HOOK })
    );
    let by = json!({ "operator": "alice", "message": { "url": HOOK } });
    let read: By<RemoveEndpoint> = serde_json::from_value(by).unwrap();
    let alice = Operator::new("alice").unwrap();
    assert_eq!(read, By::new(alice, RemoveEndpoint::new(HOOK)));
    let test = json!({ "url": HOOK, "ruleType": "a.b", "data": { "n": 1 }, "client": "c" });
    let read: SendTest = serde_json::from_value(test.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), test);
    let list = json!({ "target": HOOK, "limit": 3 });
    let read: ListActions = serde_json::from_value(list).unwrap();
    assert_eq!(read, ListActions::about(HOOK).limit(3));
    let misspelt = json!({ "targets": HOOK });
    assert!(serde_json::from_value::<ListActions>(misspelt).is_err());
}

#[test]
fn a_hold_and_settings_are_read_as_they_were_written() {
    let hold = json!({ "until": WRITTEN, "status": 429, "at": WRITTEN, "askedMs": 1_500 });
    let read: Hold = serde_json::from_value(hold.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), hold);
    let endpoint = plain(HOOK).rate_limit(RateLimit::per_second(3));
    let json = serde_json::to_string(&endpoint).unwrap();
    assert_eq!(
        serde_json::from_str::<actix_webhooks::Endpoint>(&json).unwrap(),
        endpoint
    );
}

#[test]
fn an_overview_a_page_and_a_series_are_read_as_they_were_written() {
    use actix_webhooks::{
        EndpointCursor, EndpointPage, EndpointSort, ListEndpoints, Overview, Series, SeriesWindow,
        StateKind,
    };

    simulate(async |sim| {
        let replies = [200, 404].map(actix_webhooks::testing::Reply::status);
        sim.receivers.on(HOOK, replies);
        sim.publish("a").await;
        sim.publish("b").await;
        sim.sleep(1).await;
        let overview = sim.engine.overview().await.unwrap();
        let shown = serde_json::to_value(&overview).unwrap();
        assert_eq!(shown["endpoints"]["failing"], 1);
        assert_eq!(shown["endpoints"]["backingOff"], 0);
        assert_eq!(
            (&shown["lagMs"], &shown["lateEndpoints"]),
            (&json!(0), &json!(0))
        );
        assert_eq!(shown["permits"]["limitOfUnproven"], 256);
        assert_eq!(shown["rates"]["failedPerSecond"], json!(0.1));
        let first = &shown["attention"][0];
        assert_eq!(first["attention"]["givenUpInHour"], 1);
        assert_eq!(
            first["status"]["recent"],
            json!(["delivered", "dead_lettered"])
        );
        assert_eq!(serde_json::from_value::<Overview>(shown).unwrap(), overview);

        let query = json!({ "states": ["idle", "rate_limited"], "urlContains": "R", "limit": 1 });
        let query: ListEndpoints = serde_json::from_value(query).unwrap();
        assert_eq!(query.states, [StateKind::Idle, StateKind::RateLimited]);
        assert_eq!(query.sort, EndpointSort::Url);
        let page = sim.engine.endpoints_by(query).await.unwrap();
        let shown = serde_json::to_value(&page).unwrap();
        assert_eq!((&shown["examined"], shown.get("next")), (&json!(1), None));
        assert_eq!(serde_json::from_value::<EndpointPage>(shown).unwrap(), page);

        let series = sim.engine.series(SeriesWindow::Hour).await.unwrap();
        let shown = serde_json::to_value(&series).unwrap();
        assert_eq!(shown["stepMs"], 60_000);
        let last = &shown["points"][59];
        assert_eq!(
            (&last["attempts"], &last["failed"]["clientError"]),
            (&json!(2), &json!(1))
        );
        assert!(last["p99Ms"].is_number() && shown["points"][0].get("p99Ms").is_none());
        assert_eq!(serde_json::from_value::<Series>(shown).unwrap(), series);
    });
    for wrong in ["", "x", "0-", "0-ftp://a.test/", "zz-http://a.test/"] {
        assert!(wrong.parse::<EndpointCursor>().is_err(), "{wrong}");
        assert!(serde_json::from_value::<EndpointCursor>(json!(wrong)).is_err());
    }
    let unknown = serde_json::from_value::<ListEndpoints>(json!({ "state": "idle" }));
    assert!(
        unknown.is_err(),
        "a misspelt filter must not match everything"
    );
}
