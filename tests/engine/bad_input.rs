//! Unusable input is refused at the call, and nothing is half-applied.

use std::time::Duration;

use actix_webhooks::store::{BacklogLimits, DeadLetterQuery, MemoryLimits, MemoryStore, WhenFull};
use actix_webhooks::testing::{Reply, SimClock};
use actix_webhooks::{
    Auth, BuildError, Client, DeadLetterReason, Endpoint, EndpointError, Engine, EngineBuilder,
    Event, GetStatus, InvalidEvent, InvalidSetting, InvalidUrl, ListRules, PauseEndpoint,
    PublishBatch, PublishError, PutClient, PutEndpoint, PutRule, RemoveEndpoint, RemoveRule, Rule,
    RuleError, WebhookUrl,
};
use serde_json::{Value, json};

use super::support::{HOOK, event, simulate, simulate_with};

fn rule(id: &str) -> Rule {
    Rule::new(id, "*").webhook(HOOK).unwrap()
}

#[track_caller]
fn build_error(settings: impl FnOnce(EngineBuilder) -> EngineBuilder) -> BuildError {
    SimClock::run(async |clock| {
        settings(Engine::builder().simulated(&clock, 1))
            .start()
            .await
            .unwrap_err()
    })
}

#[test]
fn urls_that_cannot_be_called_are_refused_when_they_are_given() {
    assert!(matches!(
        Rule::new("r", "*").webhook("not a url"),
        Err(InvalidUrl::Malformed(_))
    ));
    assert!(matches!(
        Rule::new("r", "*").webhook("ftp://receiver.test/"),
        Err(InvalidUrl::Scheme(_))
    ));
    assert!(matches!(
        Endpoint::new("http://user:pw@receiver.test/"),
        Err(InvalidUrl::Credentials)
    ));
    for control in ["\r\nX-Evil: 1", "\n", "a\tb", "\u{7f}"] {
        for url in [
            format!("http://receiver.test/{control}"),
            format!("ht{control}tp://receiver.test/"),
        ] {
            assert_eq!(WebhookUrl::parse(&url), Err(InvalidUrl::Control), "{url:?}");
            assert!(Rule::new("r", "*").webhook(&url).is_err());
        }
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    SimClock::run(async |clock| {
        let rule = || Rule::new("same", "*").webhook(HOOK).unwrap();
        let builder = Engine::builder().simulated(&clock, 1);
        let builder = builder.rule(rule()).rule(rule()).client(Client::new(""));
        let wrong = builder.max_in_flight(1).mailbox_capacity(0).start().await;
        let error = wrong.expect_err("it does not start");
        let BuildError::Several(errors) = &error else {
            panic!("{error}");
        };
        assert!(
            matches!(
                &errors[..],
                [
                    BuildError::DuplicateRule(_),
                    BuildError::Client(_),
                    BuildError::Setting(InvalidSetting::MaxInFlight),
                    BuildError::Setting(InvalidSetting::MailboxCapacity),
                ]
            ),
            "{errors:?}"
        );
        let text = error.to_string();
        assert!(text.starts_with("4 problems: two rules"), "{text}");
        assert!(text.contains("; max_in_flight must be from 4"), "{text}");
    });
}

#[test]
fn an_engine_does_not_start_with_settings_that_cannot_work() {
    assert!(
        matches!(build_error(|builder| builder.rule(rule("r")).rule(rule("r"))), BuildError::DuplicateRule(id) if id == "r")
    );
    let clients =
        |builder: EngineBuilder| builder.client(Client::new("c")).client(Client::new("c"));
    assert!(matches!(
        build_error(clients),
        BuildError::DuplicateClient(_)
    ));
    let endpoint = |spelling: &str| Endpoint::new(spelling).unwrap();
    let endpoints = |builder: EngineBuilder| {
        builder
            .endpoint(endpoint("http://a.test"))
            .endpoint(endpoint("HTTP://A.test:80/"))
    };
    assert!(matches!(
        build_error(endpoints),
        BuildError::DuplicateEndpoint(_)
    ));
    assert!(matches!(
        build_error(|builder| builder.rule(Rule::new("r", "*"))),
        BuildError::Rule { .. }
    ));
    assert!(matches!(
        build_error(|builder| builder.rule(rule(""))),
        BuildError::Rule { .. }
    ));
    let injected = Client::new("c").auth(Auth::bearer("t\r\nX-Evil: 1"));
    assert!(matches!(
        build_error(|builder| builder.client(injected)),
        BuildError::Client(_)
    ));
    let header = endpoint(HOOK).header("X-Team", "a\nb");
    assert!(matches!(
        build_error(|builder| builder.endpoint(header)),
        BuildError::Endpoint { .. }
    ));
    assert!(matches!(
        build_error(|builder| builder.client_id_header("X Client\r\n")),
        BuildError::Setting(InvalidSetting::ClientIdHeader(_))
    ));
    for owned in ["Content-Length", "host", "webhook-id", "User-Agent"] {
        assert!(matches!(
            build_error(|builder| builder.client_id_header(owned)),
            BuildError::Setting(InvalidSetting::HeaderOfEngine(name)) if name.eq_ignore_ascii_case(owned)
        ));
    }
    let misspelt = serde_json::from_str::<DeadLetterQuery>(r#"{"clientID":"c"}"#);
    assert!(misspelt.is_err(), "it would find everything");
    assert!(matches!(
        build_error(|builder| builder.max_in_flight(0)),
        BuildError::Setting(InvalidSetting::MaxInFlight)
    ));
    assert!(matches!(
        build_error(|builder| builder.mailbox_capacity(0)),
        BuildError::Setting(InvalidSetting::MailboxCapacity)
    ));
    assert!(matches!(
        build_error(|builder| builder.arbiters(257)),
        BuildError::Setting(InvalidSetting::Arbiters)
    ));
    let a_day_and_more = Duration::from_secs(86_401);
    assert!(matches!(
        build_error(|builder| builder.publish_timeout(a_day_and_more)),
        BuildError::Setting(InvalidSetting::PublishTimeout)
    ));
}

#[test]
fn an_engine_needs_an_actix_system() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let error = runtime.block_on(Engine::builder().start()).unwrap_err();
    assert!(matches!(error, BuildError::NoSystem));
}

#[test]
fn events_that_cannot_be_sent_are_refused_and_not_remembered() {
    simulate(async |sim| {
        let publish = async |event: Event| sim.engine.publish(event).await;
        let invalid = |result| matches!(result, Err(PublishError::Invalid(_)));
        assert!(invalid(publish(Event::new("", "client")).await));
        assert!(invalid(publish(Event::new("type", "")).await));
        assert!(invalid(
            publish(Event::new("type", "client\r\nX-Evil: 1")).await
        ));
        assert!(invalid(publish(event("a\nb")).await));
        let deep = (0..10_000).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        let deep = publish(event("e").data(deep)).await;
        assert!(matches!(
            deep,
            Err(PublishError::Invalid(InvalidEvent::DataTooDeep))
        ));
        let large = publish(event("e").data(json!({ "text": "x".repeat(2_000_000) }))).await;
        let limit = 1_024 * 1_024;
        assert!(
            matches!(large, Err(PublishError::TooLarge { size, limit: at }) if size > 2_000_000 && at == limit)
        );
        assert_eq!(
            publish(event("e")).await.unwrap().deliveries,
            1,
            "the id of a refused event is free"
        );
        sim.sleep(1).await;
        assert_eq!(sim.receivers.requests().len(), 1);
    });
}

/// Returns data nested in `depth` arrays or objects.
fn nested(depth: usize, around: fn(Value) -> Value) -> Value {
    (0..depth).fold(Value::Null, |inner, _| around(inner))
}

fn in_array(inner: Value) -> Value {
    Value::Array(vec![inner])
}

fn in_object(inner: Value) -> Value {
    Value::Object([("a".to_owned(), inner)].into_iter().collect())
}

/// Dropping refused data recursed once per level, and overflowed the stack and ended the process
/// when there were too many.
#[test]
fn data_nested_without_end_is_refused_and_dropped() {
    simulate(async |sim| {
        let router = sim.engine.router();
        for around in [in_array, in_object] {
            for depth in [10_000, 100_000] {
                let deep = || event("e").data(nested(depth, around));
                let too_deep = |answer: &Result<_, PublishError>| {
                    let invalid = InvalidEvent::DataTooDeep;
                    matches!(answer, Err(PublishError::Invalid(error)) if *error == invalid)
                };
                assert!(too_deep(&sim.engine.publish(deep()).await));
                let batch = PublishBatch::new([deep(), event("other"), deep()]);
                let answers = router.send(batch).await.unwrap();
                let refused: Vec<bool> = answers.iter().map(too_deep).collect();
                assert_eq!(refused, [true, false, true]);
            }
        }
    });
}

#[test]
fn json_nested_without_end_is_no_event() {
    let text = |begin: &str, end: &str, depth| {
        let data = begin.repeat(depth) + "1" + &end.repeat(depth);
        let fields =
            r#""id":"1","ruleType":"t","clientId":"c","occurredAt":"2026-01-01T00:00:00Z""#;
        format!("{{{fields},\"data\":{data}}}")
    };
    for (begin, end) in [("[", "]"), (r#"{"a":"#, "}")] {
        assert!(serde_json::from_str::<Event>(&text(begin, end, 100)).is_ok());
        for depth in [1_000, 10_000, 1_000_000] {
            assert!(serde_json::from_str::<Event>(&text(begin, end, depth)).is_err());
            assert!(serde_json::from_str::<Event>(&text(begin, "", depth)).is_err());
        }
    }
}

/// Every control character, C1 controls included, which only some receivers treat as such.
fn control_characters() -> impl Iterator<Item = String> {
    let controls = ('\0'..='\u{9f}').filter(|character| character.is_control());
    controls.map(|control| format!("a{control}b"))
}

#[test]
fn control_characters_are_refused_in_every_text_but_the_message() {
    simulate(async |sim| {
        let router = sim.engine.router();
        let supervisor = sim.engine.supervisor();
        for (number, text) in control_characters().enumerate() {
            let text = text.as_str();
            for bad in [
                event(text),
                Event::new(text, "client"),
                Event::new("type", text),
                event("e").company(text),
                event("e").data_connection(text),
            ] {
                let answer = sim.engine.publish(bad).await;
                let invalid = matches!(answer, Err(PublishError::Invalid(InvalidEvent::Text(_))));
                assert!(invalid, "{text:?}: {answer:?}");
            }
            for bad in [
                rule(text),
                Rule::new("r", text).webhook(HOOK).unwrap(),
                rule("r").client(text),
                rule("r").company(text),
                rule("r").auth(Auth::basic(text, "password")),
                rule("r").auth(Auth::basic("user", text)),
                rule("r").auth(Auth::bearer(text)),
                rule("r").auth(Auth::raw(text)),
            ] {
                let answer = router.send(PutRule::new(bad)).await.unwrap();
                assert!(matches!(answer, Err(RuleError::InvalidRule(_))), "{text:?}");
            }
            for bad in [
                Client::new(text),
                Client::new("c").name(text),
                Client::new("c").auth(Auth::bearer(text)),
            ] {
                let answer = router.send(PutClient::new(bad)).await.unwrap();
                assert!(
                    matches!(answer, Err(RuleError::InvalidClient(_))),
                    "{text:?}"
                );
            }
            let endpoint = || Endpoint::new(HOOK).unwrap();
            for bad in [
                endpoint().header(text, "value"),
                endpoint().header("X-Team", text),
                endpoint().secret_header("X-Team", text),
                endpoint().auth(Auth::raw(text)),
            ] {
                let answer = supervisor.send(PutEndpoint::new(bad)).await.unwrap();
                assert!(matches!(answer, Err(EndpointError::Invalid(_))), "{text:?}");
            }
            // A message and data are not sent in headers, and JSON can carry any text.
            let id = number.to_string();
            let told = event(&id).message(text).data(json!({ text: text }));
            sim.engine.publish(told).await.unwrap();
            sim.sleep(1).await;
            let sent = sim.receivers.requests().pop().unwrap();
            let body: Value = serde_json::from_slice(&sent.request.alert.body).unwrap();
            assert_eq!(body["Message"], text);
            assert_eq!(body["Data"][text], text);
        }
        assert_eq!(router.send(ListRules).await.unwrap(), [rule("rule")]);
    });
}

#[test]
fn no_url_carries_a_control_character() {
    for text in control_characters() {
        for url in [
            format!("http://receiver.test/{text}"),
            format!("http://receiver.test/?{text}"),
            format!("http://{text}.test/"),
            format!("{text}://receiver.test/"),
        ] {
            let printable = |byte: u8| (0x21..0x7f).contains(&byte);
            if let Ok(url) = WebhookUrl::parse(&url) {
                assert!(url.as_str().bytes().all(printable), "{text:?}: {url}");
            }
        }
    }
}

#[test]
fn a_batch_larger_than_any_mailbox_is_taken_as_a_whole() {
    simulate(async |sim| {
        let events = (0..5_000).map(|number| event(&number.to_string()));
        let answers = sim.engine.router().send(PublishBatch::new(events)).await;
        let answers = answers.unwrap();
        assert_eq!(answers.len(), 5_000);
        assert!(answers.iter().all(Result::is_ok));
        sim.sleep(60).await;
        assert_eq!(sim.status(HOOK).await.delivered, 5_000);
    });
}

#[test]
fn a_batch_is_judged_event_by_event() {
    simulate(async |sim| {
        let batch = PublishBatch::new([event("a"), event(""), event("b")]);
        let answers = sim.engine.router().send(batch).await.unwrap();
        let deliveries: Vec<_> = answers
            .iter()
            .map(|answer| answer.as_ref().ok().map(|receipt| receipt.deliveries))
            .collect();
        assert_eq!(deliveries, [Some(1), None, Some(1)]);
        assert!(
            sim.engine
                .router()
                .send(PublishBatch::new([]))
                .await
                .unwrap()
                .is_empty()
        );
    });
}

#[test]
fn rules_and_clients_that_cannot_work_change_nothing() {
    simulate(async |sim| {
        let router = sim.engine.router();
        let put = async |rule: Rule| router.send(PutRule::new(rule)).await.unwrap();
        assert!(matches!(
            put(Rule::new("rule", "*")).await,
            Err(RuleError::InvalidRule(_))
        ));
        assert!(matches!(
            put(rule("rule").auth(Auth::raw("a\nb"))).await,
            Err(RuleError::InvalidRule(_))
        ));
        let client = Client::new("c").name("a\r\nb");
        assert!(matches!(
            router.send(PutClient::new(client)).await.unwrap(),
            Err(RuleError::InvalidClient(_))
        ));
        assert!(
            !router
                .send(RemoveRule::new("nobody"))
                .await
                .unwrap()
                .unwrap()
        );
        assert_eq!(
            router.send(ListRules).await.unwrap(),
            [rule("rule")],
            "the rule is as it was"
        );
    });
}

#[test]
fn unknown_endpoints_are_named_in_the_error() {
    simulate(async |sim| {
        let supervisor = sim.engine.supervisor();
        let unknown = "http://nobody.test/";
        let pause = supervisor.send(PauseEndpoint::new(unknown)).await.unwrap();
        assert!(matches!(pause, Err(EndpointError::Unknown(url)) if url == unknown));
        let remove = supervisor
            .send(RemoveEndpoint::new("no url"))
            .await
            .unwrap();
        assert!(matches!(remove, Err(EndpointError::Unknown(_))));
        assert!(
            supervisor
                .send(GetStatus::new(unknown))
                .await
                .unwrap()
                .is_none()
        );
        assert!(
            supervisor
                .send(GetStatus::new(HOOK.to_uppercase()))
                .await
                .unwrap()
                .is_none(),
            "paths are case-sensitive"
        );
        let known = supervisor
            .send(GetStatus::new("HTTP://Receiver.TEST:80/hook#x"))
            .await
            .unwrap();
        assert!(
            known.is_some(),
            "any spelling of a known URL will do, even before its first event"
        );
        let endpoint = Endpoint::new(HOOK).unwrap().timeout(Duration::ZERO);
        assert!(matches!(
            supervisor.send(PutEndpoint::new(endpoint)).await.unwrap(),
            Err(EndpointError::Invalid(_))
        ));
    });
}

#[test]
fn more_than_may_be_open_is_refused_and_nothing_is_lost() {
    let limits = MemoryLimits {
        backlog: BacklogLimits {
            total_deliveries: 2,
            ..BacklogLimits::default()
        },
        ..MemoryLimits::default()
    };
    simulate_with(
        |builder| {
            builder
                .rule(rule("r"))
                .store(MemoryStore::with_limits(limits))
        },
        async |sim| {
            sim.receivers
                .on(HOOK, [Reply::status(200).after(Duration::from_secs(1))]);
            sim.publish("a").await;
            sim.publish("b").await;
            let third = sim.engine.publish(event("c")).await;
            assert!(
                matches!(&third, Err(error @ PublishError::Overloaded(_)) if error.is_transient()),
                "{third:?}"
            );
            sim.sleep(5).await;
            sim.publish("c").await;
            sim.sleep(5).await;
            assert_eq!(sim.status(HOOK).await.delivered, 3);
        },
    );
}

fn limited(when_full: WhenFull) -> MemoryStore {
    MemoryStore::with_limits(MemoryLimits {
        backlog: BacklogLimits {
            endpoint_deliveries: 2,
            when_full,
            ..BacklogLimits::default()
        },
        ..MemoryLimits::default()
    })
}

const OTHER: &str = "http://other.test/hook";

/// A rule that sends events "a" to [`HOOK`], and one that sends all events to another endpoint.
fn two_endpoints(builder: EngineBuilder) -> EngineBuilder {
    builder
        .rule(Rule::new("one", "a").webhook(HOOK).unwrap())
        .rule(Rule::new("other", "*").webhook(OTHER).unwrap())
}

fn of_type(rule_type: &str, id: &str) -> Event {
    Event::new(rule_type, "client").id(id)
}

#[test]
fn an_endpoint_with_too_much_open_refuses_its_events_and_no_others() {
    simulate_with(
        |builder| two_endpoints(builder).store(limited(WhenFull::Refuse)),
        async |sim| {
            sim.receivers.on(HOOK, [Reply::hang(), Reply::hang()]);
            for id in ["0", "1"] {
                sim.engine.publish(of_type("a", id)).await.unwrap();
                sim.sleep(1).await;
            }
            let only = Rule::new("only", "only").webhook(HOOK).unwrap();
            let put = sim.engine.router().send(PutRule::new(only)).await;
            put.unwrap().unwrap();
            let remove = RemoveRule::new("other");
            let batch = [of_type("a", "2"), of_type("b", "3"), of_type("a", "2")];
            let answers = sim.engine.router().send(PublishBatch::new(batch)).await;
            let answers = answers.unwrap();
            assert!(
                answers.iter().all(Result::is_ok),
                "the other takes them: {answers:?}"
            );
            let removed = sim.engine.router().send(remove).await;
            removed.unwrap().unwrap();
            let refused = sim.engine.publish(of_type("only", "4")).await;
            assert!(
                matches!(&refused, Err(PublishError::Overloaded(why)) if why.to_string().contains(HOOK) && why.to_string().contains("limit is 2")),
                "{refused:?}"
            );
            sim.sleep(1).await;
            assert_eq!(sim.status(OTHER).await.delivered, 4);
            assert_eq!(sim.dead_letters().await.len(), 1);
        },
    );
}

#[test]
fn what_exceeds_an_endpoints_backlog_can_be_given_up_instead() {
    simulate_with(
        |builder| two_endpoints(builder).store(limited(WhenFull::DeadLetter)),
        async |sim| {
            sim.receivers
                .on(HOOK, [Reply::hang(), Reply::hang(), Reply::status(200)]);
            for number in 0..4 {
                sim.engine
                    .publish(of_type("a", &number.to_string()))
                    .await
                    .unwrap();
                sim.sleep(1).await;
            }
            sim.sleep(1).await;
            assert_eq!(
                sim.status(OTHER).await.delivered,
                4,
                "the other delivery of the same event is not touched"
            );
            let given_up = sim.dead_letters().await;
            let given_up: Vec<_> = given_up
                .iter()
                .map(|letter| (letter.event_id.as_str(), letter.reason))
                .collect();
            let full = DeadLetterReason::BacklogFull;
            assert_eq!(given_up, [("3", full), ("2", full)]);
            sim.sleep(60).await;
            assert_eq!(sim.status(HOOK).await.delivered, 2, "after their timeouts");
        },
    );
}

/// A rule read from JSON, or with its field set directly, could name one URL in three spellings.
/// One event then became three deliveries.
#[test]
fn one_url_in_three_spellings_gets_one_delivery() {
    let spellings = [
        HOOK,
        "HTTP://RECEIVER.test:80/hook",
        "http://receiver.test/./hook#x",
    ];
    let json = serde_json::json!({ "id": "json", "ruleType": "*", "webhooks": spellings });
    let read: Rule = serde_json::from_value(json).unwrap();
    let mut set = Rule::new("set", "*").webhook(HOOK).unwrap();
    let urls = spellings.map(|url| WebhookUrl::parse(url).unwrap());
    set.webhooks = urls.into();
    let given = set.clone();
    simulate_with(
        |builder| builder.rule(given),
        async |sim| {
            let receipt = sim.engine.publish(event("given")).await.unwrap();
            assert_eq!(receipt.deliveries, 1);
            for rule in [read, set] {
                sim.engine.put_rule(rule).await.unwrap();
            }
            let receipt = sim.engine.publish(event("put")).await.unwrap();
            assert_eq!(receipt.deliveries, 2);
            sim.sleep(1).await;
            assert_eq!(sim.receivers.requests().len(), 3);
        },
    );
}
