//! All states and outcomes have one JSON shape, and JSON written by earlier versions is still read.

use std::fmt::Debug;
use std::time::Duration;

use actix_webhooks::store::Hold;
use actix_webhooks::{
    CircuitBreaker, DeadLetterReason, DeliveryReport, DeliveryState, DisablePolicy, DisabledReason,
    EndpointPolicy, EndpointState, EndpointStatus, FailingRule, Failure, Outcome, RateLimit,
    RedirectRefusal, RetryPolicy, Timestamp,
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
