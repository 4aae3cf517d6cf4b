//! Ids of events in a file: their scope after a restart, and in the outbox.

use std::time::Duration;

use actix_webhooks::store::SqliteStore;
use actix_webhooks::testing::SimClock;
use actix_webhooks::{Event, PublishError};
use rusqlite::Connection;

use super::support::{Life, crash};

fn invoice(client: &str) -> Event {
    Event::new("invoice.paid", client).id("invoice-1")
}

/// `invoice-1` of the second customer, and a different event of the first one under the same id,
/// were deleted from the outbox as if they had been published.
#[test]
fn what_has_the_id_of_another_event_is_set_aside_and_what_is_of_another_client_goes_out() {
    let life = Life::new();
    SimClock::run(async |clock| {
        let engine = life.start(&clock).await;
        let mut shop = Connection::open(life.file()).unwrap();
        let order = shop.transaction().unwrap();
        for event in [
            invoice("client-1"),
            invoice("client-2"),
            Event::new("invoice.sent", "client-1").id("invoice-1"),
            invoice("client-1"),
            invoice("client-2"),
            Event::new("invoice.sent", "client-1").id("invoice-2"),
        ] {
            SqliteStore::publish_in(&order, &event).unwrap();
        }
        order.commit().unwrap();
        clock.sleep(Duration::from_secs(3)).await;
        let sent = life.receivers.requests();
        let mut sent: Vec<_> = sent
            .iter()
            .map(|sent| {
                let alert = &sent.request.alert;
                (
                    alert.event_id.as_str(),
                    alert.client_id.as_str(),
                    alert.rule_type.as_str(),
                )
            })
            .collect();
        sent.sort_unstable();
        let expected = [
            ("invoice-1", "client-1", "invoice.paid"),
            ("invoice-1", "client-2", "invoice.paid"),
            ("invoice-2", "client-1", "invoice.sent"),
        ];
        assert_eq!(sent, expected);
        let left: Vec<String> = shop
            .prepare("SELECT refused FROM webhook_outbox ORDER BY seq")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(
            left[0].contains("invoice-1") && left[0].contains("client-1"),
            "{left:?}"
        );
        crash(engine).await;
    });
}

#[test]
fn ids_of_clients_are_known_apart_after_a_restart() {
    let life = Life::new();
    SimClock::run(async |clock| {
        for round in 0..3 {
            let engine = life.start(&clock).await;
            for client in ["client-1", "client-2", "client-3"] {
                let receipt = engine.publish(invoice(client)).await.unwrap();
                assert_eq!((receipt.deliveries, receipt.duplicate), (1, round > 0));
                let other = engine.publish(invoice(client).message("other")).await;
                assert!(
                    matches!(other, Err(PublishError::IdTaken { .. })),
                    "{other:?}"
                );
            }
            clock.sleep(Duration::from_secs(1)).await;
            crash(engine).await;
        }
        assert_eq!(life.receivers.requests().len(), 3);
    });
}
