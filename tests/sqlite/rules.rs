//! Rules from the code and rules from the file.

use std::time::Duration;

use actix_webhooks::testing::SimClock;
use actix_webhooks::{
    Auth, DeadLetterReason, Endpoint, Engine, EngineBuilder, ListDeadLetters, ListRules,
    PutEndpoint, RemoveEndpoint, Rule,
};

use super::support::{Life, crash, event};

const OTHER: &str = "http://other.test/hook";

fn other() -> Rule {
    Rule::new("other", "*").webhook(OTHER).unwrap()
}

async fn rules(engine: &Engine) -> Vec<String> {
    let rules = engine.router().send(ListRules).await.unwrap();
    rules.iter().map(|rule| rule.id.to_string()).collect()
}

/// A rule that was deleted from the code stayed in use after the deploy.
#[test]
fn stored_rules_that_the_builder_does_not_name_stay_or_go_as_it_says() {
    let life = Life::new();
    SimClock::run(async |clock| {
        let engine = life
            .start_with(&clock, |builder| builder.rule(other()))
            .await;
        let put = Rule::new("put", "*").webhook(OTHER).unwrap();
        engine.put_rule(put).await.unwrap();
        crash(engine).await;
        let file = rusqlite::Connection::open(life.file()).unwrap();
        let sql = "INSERT INTO webhook_rule VALUES ('unreadable', 'nonsense')";
        file.execute(sql, []).unwrap();

        let engine = life.start(&clock).await;
        assert_eq!(rules(&engine).await, ["other", "put", "rule"]);
        crash(engine).await;
        let engine = life
            .start_with(&clock, EngineBuilder::exactly_these_rules)
            .await;
        assert_eq!(rules(&engine).await, ["rule"]);
        crash(engine).await;
        let engine = life.start(&clock).await;
        assert_eq!(rules(&engine).await, ["rule"], "they are gone for good");
        let left = "SELECT COUNT(*) FROM webhook_rule";
        let left: i64 = file.query_row(left, [], |row| row.get(0)).unwrap();
        assert_eq!(left, 1);
        crash(engine).await;
    });
}

/// Open deliveries of a rule that the builder dropped keep that rule's credentials.
#[test]
fn what_is_open_under_a_rule_that_the_builder_dropped_goes_out_as_it_said() {
    let life = Life::new();
    SimClock::run(async |clock| {
        let rule = other().auth(Auth::bearer("of the rule"));
        let engine = life.start_with(&clock, |builder| builder.rule(rule)).await;
        life.receivers.on(
            OTHER,
            [503, 200].map(actix_webhooks::testing::Reply::status),
        );
        engine.publish(event("e")).await.unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        crash(engine).await;
        let engine = life
            .start_with(&clock, EngineBuilder::exactly_these_rules)
            .await;
        clock.sleep(Duration::from_mins(1)).await;
        let sent = life.receivers.requests();
        let sent: Vec<_> = sent.iter().filter(|sent| sent.endpoint == OTHER).collect();
        assert_eq!(sent.len(), 2);
        for sent in sent {
            let header = sent.request.authorization.as_ref().unwrap();
            assert_eq!(header.expose(), "Bearer of the rule");
        }
        crash(engine).await;
    });
}

/// A rule that the builder names at every start does not restore an endpoint that was removed.
#[test]
fn an_endpoint_stays_removed_until_somebody_asks_for_it_anew() {
    let life = Life::new();
    SimClock::run(async |clock| {
        let dead = async |engine: &Engine| {
            let letters = engine.supervisor().send(ListDeadLetters::default()).await;
            let letters = letters.unwrap().unwrap();
            let removed = DeadLetterReason::EndpointRemoved;
            assert!(letters.iter().all(|letter| letter.reason == removed));
            letters.len()
        };
        let engine = life
            .start_with(&clock, |builder| builder.rule(other()))
            .await;
        let supervisor = engine.supervisor();
        let endpoint = Endpoint::new(OTHER).unwrap().auth(Auth::bearer("token"));
        supervisor
            .send(PutEndpoint::new(endpoint))
            .await
            .unwrap()
            .unwrap();
        let remove = RemoveEndpoint::new(OTHER);
        supervisor.send(remove).await.unwrap().unwrap();
        crash(engine).await;

        let engine = life
            .start_with(&clock, |builder| builder.rule(other()))
            .await;
        engine.publish(event("meanwhile")).await.unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        assert_eq!(dead(&engine).await, 1);
        crash(engine).await;
        let sent = life.receivers.requests();
        assert!(sent.iter().all(|sent| sent.endpoint != OTHER));

        let changed = other().company("company");
        let engine = life
            .start_with(&clock, |builder| builder.rule(changed))
            .await;
        engine
            .publish(event("after").company("company"))
            .await
            .unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        assert_eq!(dead(&engine).await, 1);
        let sent = life.receivers.requests();
        assert!(sent.iter().any(|sent| sent.endpoint == OTHER));
        crash(engine).await;
    });
}
