//! The credentials that a delivery carries after changes of rules and clients, and after a restart.

use std::time::Duration;

use actix_webhooks::store::SqliteOptions;
use actix_webhooks::testing::{Reply, SimClock};
use actix_webhooks::{
    Auth, Client, Engine, ListDeadLetters, PutClient, PutRule, Redeliver, RemoveRule, Rule,
};

use super::support::{HOOK, Life, crash, event};

const OTHER: &str = "http://other.test/hook";

fn rule(auth: Option<Auth>, url: &str) -> Rule {
    let rule = Rule::new("given", "*").webhook(url).unwrap();
    match auth {
        Some(auth) => rule.auth(auth),
        None => rule,
    }
}

/// Returns the credentials in each request to a URL.
fn shown(life: &Life, url: &str) -> Vec<Option<String>> {
    let requests = life.receivers.requests();
    let to_url = requests
        .iter()
        .filter(|sent| sent.request.url.as_str() == url);
    to_url
        .map(|sent| Some(sent.request.authorization.as_ref()?.expose().to_owned()))
        .collect()
}

async fn put_client(engine: &Engine, token: &str) {
    let client = Client::new("client").auth(Auth::raw(token));
    engine
        .router()
        .send(PutClient::new(client))
        .await
        .unwrap()
        .unwrap();
}

/// A delivery waited, its rule was removed, and the engine was restarted. The retry carried the
/// client's token to a receiver that was never to see it.
#[test]
fn a_removed_rules_deliveries_show_what_it_gave_after_a_restart() {
    for (auth, expected) in [
        (Some(Auth::None), None),
        (Some(Auth::raw("of the rule")), Some("of the rule")),
        (None, Some("first of the client")),
    ] {
        let life = Life::new();
        life.receivers.on(HOOK, [Reply::status(200)]);
        life.receivers.on(OTHER, [Reply::status(503)]);
        SimClock::run(async |clock| {
            let engine = life.start(&clock).await;
            put_client(&engine, "first of the client").await;
            let put = engine.router().send(PutRule::new(rule(auth, OTHER)));
            put.await.unwrap().unwrap();
            engine.publish(event("e")).await.unwrap();
            clock.sleep(Duration::from_secs(5)).await;
            let removed = engine.router().send(RemoveRule::new("given")).await;
            assert!(removed.unwrap().unwrap());
            put_client(&engine, "second of the client").await;
            crash(engine).await;

            let engine = life.start(&clock).await;
            clock.sleep(Duration::from_mins(3)).await;
            let expected = expected.map(str::to_owned);
            assert_eq!(shown(&life, OTHER), vec![expected.clone(); 4]);
            // A redelivery has the same alert and carries the same credentials.
            let letters = engine.supervisor().send(ListDeadLetters::default());
            let letter = letters.await.unwrap().unwrap()[0].delivery_id;
            crash(engine).await;

            let engine = life.start(&clock).await;
            let again = engine.supervisor().send(Redeliver::one(letter)).await;
            again.unwrap().unwrap();
            clock.sleep(Duration::from_secs(1)).await;
            assert_eq!(shown(&life, OTHER).last(), Some(&expected));
            // The other rule still names its URL, so its delivery carries the client's current
            // token.
            engine.publish(event("later")).await.unwrap();
            clock.sleep(Duration::from_secs(1)).await;
            let last = shown(&life, HOOK).pop().unwrap();
            assert_eq!(last.as_deref(), Some("second of the client"));
            crash(engine).await;
        });
    }
}

/// `PutRule` gave a rule another URL and another token while a delivery to the old URL waited. The
/// old URL got the new token. The same happened when the builder of the next engine changed the
/// rule.
#[test]
fn a_rule_that_goes_elsewhere_does_not_show_its_new_token_where_it_went_before() {
    for by_builder in [false, true] {
        let life = Life::new();
        life.receivers.on(HOOK, [Reply::status(200)]);
        life.receivers.on(OTHER, [Reply::status(503)]);
        SimClock::run(async |clock| {
            let old = rule(Some(Auth::raw("old")), OTHER);
            let new = rule(Some(Auth::raw("new")), HOOK);
            let engine = life.start_with(&clock, |builder| builder.rule(old)).await;
            engine.publish(event("e")).await.unwrap();
            clock.sleep(Duration::from_secs(5)).await;
            if !by_builder {
                let put = engine.router().send(PutRule::new(new.clone()));
                put.await.unwrap().unwrap();
                clock.sleep(Duration::from_secs(15)).await;
            }
            crash(engine).await;

            let engine = life.start_with(&clock, |builder| builder.rule(new)).await;
            clock.sleep(Duration::from_mins(3)).await;
            assert_eq!(shown(&life, OTHER), vec![Some("old".to_owned()); 4]);
            engine.publish(event("later")).await.unwrap();
            clock.sleep(Duration::from_secs(1)).await;
            assert!(shown(&life, HOOK).contains(&Some("new".to_owned())));
            crash(engine).await;
        });
    }
}

/// As long as a rule names a URL, a changed token is used from the next attempt on, because the
/// receiver may no longer accept the old one.
#[test]
fn a_changed_token_reaches_what_waits_where_the_rule_still_goes() {
    let life = Life::new();
    life.receivers.on(HOOK, [Reply::status(200)]);
    life.receivers.on(OTHER, [Reply::status(503)]);
    SimClock::run(async |clock| {
        let old = rule(Some(Auth::raw("old")), OTHER);
        let engine = life.start_with(&clock, |builder| builder.rule(old)).await;
        engine.publish(event("e")).await.unwrap();
        clock.sleep(Duration::from_secs(5)).await;
        crash(engine).await;

        let new = rule(Some(Auth::raw("new")), OTHER);
        let engine = life.start_with(&clock, |builder| builder.rule(new)).await;
        clock.sleep(Duration::from_secs(15)).await;
        let expected = ["old", "new"].map(|token| Some(token.to_owned()));
        assert_eq!(shown(&life, OTHER), expected);
        crash(engine).await;
    });
}

/// Past credentials are forgotten once no dead letter of their time is left, not earlier, and not
/// while a delivery is open there.
#[test]
fn a_credential_of_the_past_is_kept_as_long_as_dead_letters_are() {
    let life = Life::new();
    life.receivers.on(HOOK, [Reply::status(200)]);
    life.receivers.on(OTHER, [Reply::status(503)]);
    SimClock::run(async |clock| {
        let options = SqliteOptions {
            keep_ended: Duration::from_mins(30),
            keep_dead_letters: Duration::from_hours(2),
            ..SqliteOptions::default()
        };
        let engine = life.start_on(options, &clock).await;
        let old = PutRule::new(rule(Some(Auth::raw("old")), OTHER));
        engine.router().send(old).await.unwrap().unwrap();
        let removed = engine.router().send(RemoveRule::new("given")).await;
        assert!(removed.unwrap().unwrap());
        let kept = || {
            let file = rusqlite::Connection::open(life.file()).unwrap();
            let sql = "SELECT COUNT(*) FROM webhook_past";
            file.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
        };
        clock.sleep(Duration::from_mins(119)).await;
        assert_eq!(kept(), 1);
        clock.sleep(Duration::from_mins(62)).await;
        assert_eq!(kept(), 0);
        crash(engine).await;
    });
}
