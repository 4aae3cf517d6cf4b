//! What is known of one client: its rules, its endpoints by state, and its deliveries.

use actix_webhooks::store::Count;
use actix_webhooks::testing::Reply;
use actix_webhooks::{Event, Rule};

use super::support::{HOOK, plain, simulate_with};

const OTHER: &str = "http://other.test/hook";

#[test]
fn a_client_is_counted_apart_from_all_others() {
    let rule = |id: &str, url: &str| Rule::new(id, "*").webhook(url).unwrap();
    simulate_with(
        |builder| {
            builder
                .rule(rule("a", HOOK).client("dave"))
                .rule(rule("b", OTHER).client("dave"))
                .rule(rule("c", OTHER).client("dave").disabled())
                .rule(rule("of eve", HOOK).client("eve"))
                .endpoint(plain(HOOK))
                .endpoint(plain(OTHER))
        },
        async |sim| {
            let status = async |id: &str| sim.engine.client_status(id).await.unwrap();
            let count = |count| Count::new(count, false);
            let first = status("dave").await;
            assert_eq!((first.rules, first.open), (count(3), count(0)));
            assert_eq!((first.endpoints.total, first.endpoints.idle), (2, 2));
            assert_eq!(first.last_delivered_at, None);
            sim.engine.endpoint(OTHER).pause().await.unwrap();
            sim.receivers
                .on(HOOK, [Reply::status(400), Reply::status(200)]);
            for (number, client) in ["dave", "dave", "eve", "eve"].into_iter().enumerate() {
                let event = Event::new("t", client).id(number.to_string());
                sim.engine.publish(event).await.unwrap();
                sim.sleep(1).await;
            }
            let dave = status("dave").await;
            assert_eq!((dave.id.as_str(), dave.rules), ("dave", count(3)));
            assert_eq!((dave.open, dave.dead_letters), (count(2), count(1)));
            let by_state = dave.endpoints;
            assert_eq!((by_state.total, by_state.paused, by_state.idle), (2, 1, 1));
            let reports = sim.reports();
            let second = reports.iter().find(|report| report.event_id == "1");
            assert_eq!(dave.last_delivered_at, Some(second.unwrap().at));
            let eve = status("eve").await;
            assert_eq!((eve.rules, eve.endpoints.total), (count(1), 1));
            assert_eq!((eve.open, eve.dead_letters), (count(0), count(0)));
            assert!(eve.last_delivered_at > dave.last_delivered_at);
            // One that was redelivered is a dead letter no longer.
            let letter = sim.dead_letters().await[0].delivery_id;
            sim.engine.redeliver(letter).await.unwrap();
            sim.sleep(1).await;
            let dave = status("dave").await;
            assert_eq!(dave.dead_letters, count(0));
            assert!(dave.last_delivered_at > eve.last_delivered_at);
            let nobody = status("nobody").await;
            assert_eq!((nobody.rules, nobody.endpoints.total), (count(0), 0));
        },
    );
}
