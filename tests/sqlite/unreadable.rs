//! Unreadable settings in the file: each is set aside, and nothing else is held back.

use std::time::Duration;

use actix_webhooks::store::{Setting, SqliteStore, UnreadableSetting};
use actix_webhooks::testing::{Reply, SimClock};
use actix_webhooks::{
    Auth, Client, DeadLetterReason, DisabledReason, Endpoint, EndpointError, EndpointState,
    EndpointStatus, Engine, Event, Failure, GetStatus, ListDeadLetters, ListUnreadable,
    PauseEndpoint, PutClient, PutEndpoint, PutRule, Redeliver, RemoveRule, ResumeEndpoint, Rule,
    Timestamp, WebhookUrl,
};

use super::support::{HOOK, Life, crash, event, status};

const OTHER: &str = "http://other.test/hook";

fn damage(life: &Life, sql: &str) {
    let file = rusqlite::Connection::open(life.file()).unwrap();
    assert_eq!(file.execute(sql, []).unwrap(), 1, "{sql}");
}

async fn unreadable(engine: &Engine) -> Vec<Setting> {
    let listed = engine.supervisor().send(ListUnreadable).await.unwrap();
    let why = |one: &UnreadableSetting| !one.reason.is_empty() && !one.reason.contains("hush");
    assert!(listed.iter().all(why), "{listed:?}");
    listed.into_iter().map(|one| one.setting).collect()
}

async fn of_other(engine: &Engine) -> EndpointStatus {
    let status = engine.supervisor().send(GetStatus::new(OTHER)).await;
    status.unwrap().unwrap()
}

fn token(life: &Life, event: &str) -> Option<String> {
    let sent = life.receivers.requests();
    let to = |id: &str| id == event;
    let sent = sent
        .iter()
        .find(|sent| to(sent.request.alert.event_id.as_str()))?;
    let header = sent.request.authorization.as_ref()?;
    Some(header.expose().to_owned())
}

/// One such row was enough for `Damaged`, and no engine could start on the file.
#[test]
fn an_endpoint_whose_settings_cannot_be_read_is_disabled_until_they_are_put_again() {
    let life = Life::new();
    let endpoint = || Endpoint::new(OTHER).unwrap().auth(Auth::bearer("hush"));
    for damaged in [
        "'hush'",
        "'{\"url\":\"http://elsewhere.test/\"}'",
        "x'01'",
        "''",
    ] {
        SimClock::run(async |clock| {
            let rule = || Rule::new("other", "*").webhook(OTHER).unwrap();
            let settings = |with: bool| {
                move |builder: actix_webhooks::EngineBuilder| {
                    let builder = builder.rule(rule());
                    if with {
                        builder.endpoint(endpoint())
                    } else {
                        builder
                    }
                }
            };
            crash(life.start_with(&clock, settings(true)).await).await;
            let sql = format!("UPDATE webhook_setting SET json = {damaged} WHERE url = '{OTHER}'");
            damage(&life, &sql);

            let engine = life.start_with(&clock, settings(false)).await;
            let supervisor = engine.supervisor();
            let url = WebhookUrl::parse(OTHER).unwrap();
            assert_eq!(unreadable(&engine).await, [Setting::Endpoint { url }]);
            let id = format!("{damaged}-{}", clock.elapsed().as_nanos());
            engine.publish(event("e").id(&*id)).await.unwrap();
            clock.sleep(Duration::from_mins(1)).await;
            assert_eq!(status(&engine).await.delivered, 1, "the others go on");
            let EndpointState::Disabled { reason } = of_other(&engine).await.state else {
                panic!("{:?}", of_other(&engine).await);
            };
            assert_eq!(reason, DisabledReason::Unreadable);
            let counts = async || engine.overview().await.unwrap().endpoints;
            assert_eq!((counts().await.disabled, counts().await.total), (1, 2));
            supervisor
                .send(PauseEndpoint::new(OTHER))
                .await
                .unwrap()
                .unwrap();
            let refused = supervisor.send(ResumeEndpoint::new(OTHER)).await.unwrap();
            assert!(
                matches!(refused, Err(EndpointError::Unreadable(_))),
                "{refused:?}"
            );

            let put = supervisor.send(PutEndpoint::new(endpoint())).await;
            put.unwrap().unwrap();
            assert_eq!(unreadable(&engine).await, []);
            assert_eq!(of_other(&engine).await.state, EndpointState::Paused);
            assert_eq!((counts().await.disabled, counts().await.paused), (0, 1));
            let resumed = supervisor.send(ResumeEndpoint::new(OTHER)).await;
            resumed.unwrap().unwrap();
            clock.sleep(Duration::from_secs(1)).await;
            assert_eq!(of_other(&engine).await.delivered, 1);
            let sent = life.receivers.requests();
            let last = sent.iter().rfind(|sent| sent.endpoint == OTHER).unwrap();
            assert_eq!(
                last.request.authorization.as_ref().unwrap().expose(),
                "Bearer hush"
            );
            crash(engine).await;
        });
    }
}

#[test]
fn what_depends_on_a_rule_or_a_client_that_cannot_be_read_is_not_sent() {
    let life = Life::new();
    let rule = || {
        let rule = Rule::new("other", "*").webhook(OTHER).unwrap();
        rule.client("poor").auth(Auth::bearer("hush rule"))
    };
    let client = || Client::new("client").auth(Auth::bearer("hush client"));
    let of = |client: &str, id: &str| Event::new("thing.happened", client).id(id);
    SimClock::run(async |clock| {
        let engine = life
            .start_with(&clock, |builder| builder.rule(rule()).client(client()))
            .await;
        life.receivers.on(HOOK, [Reply::hang()]);
        life.receivers.on(OTHER, [Reply::hang()]);
        engine
            .publish(of("client", "open for the client"))
            .await
            .unwrap();
        engine
            .publish(of("poor", "open under the rule"))
            .await
            .unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        crash(engine).await;
        let known = life.receivers.requests().len();
        life.receivers.on(HOOK, [Reply::status(200)]);
        life.receivers.on(OTHER, [Reply::status(200)]);
        damage(
            &life,
            "UPDATE webhook_rule SET json = '{\"auth\":\"hush\"' WHERE id = 'other'",
        );
        damage(
            &life,
            "UPDATE webhook_client SET json = '{\"id\":1}' WHERE id = 'client'",
        );

        let engine = life.start(&clock).await;
        let (router, supervisor) = (engine.router(), engine.supervisor());
        let expected = [
            Setting::Rule { id: "other".into() },
            Setting::Client {
                id: "client".into(),
            },
        ];
        assert_eq!(unreadable(&engine).await, expected);
        engine
            .publish(of("client", "new for the client"))
            .await
            .unwrap();
        engine.publish(of("healthy", "for another")).await.unwrap();
        let unmatched = engine.publish(of("poor", "not matched")).await.unwrap();
        assert_eq!(unmatched.deliveries, 1, "the other rule for everything");
        clock.sleep(Duration::from_mins(1)).await;
        let sent: Vec<_> = life.receivers.requests();
        let sent = sent.iter().skip(known);
        let sent: Vec<_> = sent
            .map(|sent| sent.request.alert.event_id.to_string())
            .collect();
        assert_eq!(
            sent,
            ["open under the rule", "for another", "not matched"],
            "to HOOK"
        );
        let letters = supervisor.send(ListDeadLetters::default()).await.unwrap();
        let letters: Vec<_> = letters
            .unwrap()
            .into_iter()
            .map(|letter| {
                let reason = DeadLetterReason::Permanent(Failure::Unreadable);
                assert_eq!(letter.reason, reason);
                (letter.event_id.to_string(), letter.delivery_id)
            })
            .collect();
        let ids: Vec<_> = letters.iter().map(|(event, _)| &**event).collect();
        let expected = [
            "new for the client",
            "open under the rule",
            "open for the client",
        ];
        assert_eq!(ids, expected);

        router
            .send(PutClient::new(client()))
            .await
            .unwrap()
            .unwrap();
        let again = Redeliver::one(letters[0].1);
        supervisor.send(again).await.unwrap().unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        let header = token(&life, "new for the client");
        assert_eq!(header.as_deref(), Some("Bearer hush client"));
        router.send(PutRule::new(rule())).await.unwrap().unwrap();
        assert_eq!(unreadable(&engine).await, []);
        let receipt = engine.publish(of("poor", "matched")).await.unwrap();
        assert_eq!(receipt.deliveries, 2);
        crash(engine).await;
    });
}

#[test]
fn a_rule_that_cannot_be_read_can_be_removed() {
    let life = Life::new();
    SimClock::run(async |clock| {
        let other = Rule::new("other", "*").webhook(OTHER).unwrap();
        crash(life.start_with(&clock, |builder| builder.rule(other)).await).await;
        damage(
            &life,
            "UPDATE webhook_rule SET json = '[]' WHERE id = 'other'",
        );
        for expected in [true, false] {
            let engine = life.start(&clock).await;
            assert_eq!(unreadable(&engine).await.is_empty(), !expected);
            let removed = engine.router().send(RemoveRule::new("other")).await;
            assert_eq!(removed.unwrap().unwrap(), expected);
            assert_eq!(unreadable(&engine).await, []);
            crash(engine).await;
        }
    });
}

/// A filter that was read in part would let through events that nobody asked for.
#[test]
fn a_rule_whose_filter_is_not_understood_or_out_of_bounds_sends_nothing() {
    let life = Life::new();
    SimClock::run(async |clock| {
        for wrong in [
            r#"{"pointer":"/a","equal":1}"#,
            r#"{"pointer":"/a","equals":1,"unless":2}"#,
            r#"{"all":[]}"#,
            r#"{"pointer":"a","exists":true}"#,
        ] {
            let other = Rule::new("other", "*").webhook(OTHER).unwrap();
            let engine = life.start_with(&clock, |builder| builder.rule(other)).await;
            crash(engine).await;
            let filter = format!("json_set(json, '$.filter', json('{wrong}'))");
            damage(
                &life,
                &format!("UPDATE webhook_rule SET json = {filter} WHERE id = 'other'"),
            );
            let engine = life.start(&clock).await;
            let expected = [Setting::Rule { id: "other".into() }];
            assert_eq!(unreadable(&engine).await, expected, "{wrong}");
            let receipt = engine.publish(event(wrong)).await.unwrap();
            assert_eq!(receipt.deliveries, 1, "of the other rule");
            crash(engine).await;
        }
    });
}

#[test]
fn a_key_that_cannot_be_read_hides_nothing_else() {
    let life = Life::new();
    SimClock::run(async |clock| {
        let engine = life.start(&clock).await;
        engine.publish(event("e")).await.unwrap();
        crash(engine).await;
        damage(&life, "INSERT INTO webhook_paused (url) VALUES ('no url')");
        damage(&life, "INSERT INTO webhook_removed VALUES ('')");
        damage(&life, "INSERT INTO webhook_setting VALUES ('hush', '{}')");
        damage(&life, "INSERT INTO webhook_rule VALUES (x'00', '{}')");
        damage(&life, "UPDATE webhook_endpoint SET disabled = 'hush'");
        let engine = life.start(&clock).await;
        let tables = [
            "webhook_paused",
            "webhook_removed",
            "webhook_rule",
            "webhook_setting",
        ];
        let tables = tables.map(|table| Setting::Unnamed {
            table: table.into(),
        });
        assert_eq!(unreadable(&engine).await, tables);
        let state = status(&engine).await.state;
        assert!(matches!(state, EndpointState::Disabled { .. }), "{state:?}");
        crash(engine).await;
    });
}

/// Such secrets were accepted, and the next start failed with `Damaged` for the whole file.
#[test]
fn a_secret_that_ends_at_the_end_of_time_is_read_again() {
    let life = Life::new();
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let json = r#"{"url":"http://json.test/","secrets":[{"secret":"SECRET","until":"9999-12-31T23:59:59Z"}]}"#;
    let json = serde_json::from_str(&json.replace("SECRET", secret)).unwrap();
    let until = |at| {
        Endpoint::new(OTHER)
            .unwrap()
            .secret_until(secret, at)
            .unwrap()
    };
    SimClock::run(async |clock| {
        for put in [
            until(Timestamp::from_unix_millis(i64::MAX)),
            until(Timestamp::MAX),
            json,
        ] {
            let engine = life.start(&clock).await;
            let answer = engine.supervisor().send(PutEndpoint::new(put)).await;
            answer.unwrap().unwrap();
            crash(engine).await;
            let engine = life.start(&clock).await;
            assert_eq!(unreadable(&engine).await, []);
            crash(engine).await;
        }
        drop(SqliteStore::open(life.file()).unwrap());
    });
}
