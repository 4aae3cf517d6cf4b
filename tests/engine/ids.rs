//! Ids of events: the scope of an id, and the answer to a repetition.

use actix_webhooks::{
    DeliveryId, Event, ListDeliveries, PublishBatch, PublishError, Rule, Timestamp,
    store::DeliveryQuery,
};
use serde_json::json;

use super::support::{HOOK, simulate};

fn invoice(client: &str) -> Event {
    let paid = Event::new("invoice.paid", client).id("invoice-1");
    paid.company("company")
        .message("Paid.")
        .data(json!({ "amount": 3 }))
}

/// Each customer numbers its own invoices. `invoice-1` of the second customer, and a different
/// event of the first one under the same id, were swallowed with a receipt that looked like any
/// other.
#[test]
fn an_event_id_is_its_clients_own_and_means_one_event() {
    simulate(async |sim| {
        let publish = async |event| sim.engine.publish(event).await;
        let first = publish(invoice("client-1")).await.unwrap();
        let second = publish(invoice("client-2")).await.unwrap();
        assert_eq!((first.deliveries, first.duplicate), (1, false));
        assert_eq!((second.deliveries, second.duplicate), (1, false));
        let third = publish(invoice("client-1")).await.unwrap();
        assert_eq!((third.deliveries, third.duplicate), (1, true));
        for other in [
            Event::new("invoice.sent", "client-2").id("invoice-1"),
            invoice("client-2").message("Paid at last."),
            invoice("client-2").company("another"),
            invoice("client-2").data_connection("connection"),
            invoice("client-2").data(json!({ "amount": 4 })),
        ] {
            let refused = publish(other).await.unwrap_err();
            assert!(!refused.is_transient());
            let PublishError::IdTaken {
                event_id,
                client_id,
            } = &refused
            else {
                panic!("{refused:?}");
            };
            assert_eq!(
                (event_id, client_id),
                (&"invoice-1".into(), &"client-2".into())
            );
            let text = refused.to_string();
            assert!(
                text.contains("invoice-1") && text.contains("client-2"),
                "{text}"
            );
        }
        let later = invoice("client-2").occurred_at(Timestamp::from_unix_millis(1));
        assert!(
            publish(later).await.unwrap().duplicate,
            "made again, it has another time"
        );
        sim.sleep(1).await;
        let sent = sim.receivers.requests();
        let clients: Vec<_> = sent
            .iter()
            .map(|sent| sent.request.alert.client_id.as_str())
            .collect();
        assert_eq!(clients, ["client-1", "client-2"]);
        // A receiver treats a second request with the same webhook-id as a repetition.
        assert_ne!(sent[0].request.alert.id, sent[1].request.alert.id);
        let body = str::from_utf8(&sent[1].request.alert.body).unwrap();
        assert!(
            body.contains(&sent[1].request.alert.id.to_string()),
            "{body}"
        );
        let query = DeliveryQuery {
            event_id: Some("invoice-1".into()),
            ..DeliveryQuery::default()
        };
        let listed = sim
            .engine
            .supervisor()
            .send(ListDeliveries::new(query))
            .await;
        let listed: Vec<DeliveryId> = listed.unwrap().unwrap().iter().map(|one| one.id).collect();
        assert_eq!(listed.len(), 2);
    });
}

#[test]
fn a_batch_may_hold_one_id_of_several_clients_and_of_one_twice() {
    simulate(async |sim| {
        let rule = Rule::new("own", "invoice.*")
            .client("client-2")
            .webhook(HOOK);
        sim.engine
            .router()
            .send(actix_webhooks::PutRule::new(rule.unwrap()))
            .await
            .unwrap()
            .unwrap();
        let batch = PublishBatch::new([
            invoice("client-1"),
            invoice("client-2"),
            invoice("client-1"),
            invoice("client-1").message("no"),
            invoice("client-3"),
            invoice("client-2"),
        ]);
        let answers = sim.engine.router().send(batch).await.unwrap();
        let answers: Vec<_> = answers
            .iter()
            .map(|answer| {
                answer
                    .as_ref()
                    .ok()
                    .map(|receipt| (receipt.deliveries, receipt.duplicate))
            })
            .collect();
        let expected = [
            (1, false),
            (2, false),
            (1, true),
            (0, false),
            (1, false),
            (2, true),
        ];
        let expected = expected.map(|answer| (answer.0 > 0).then_some(answer));
        assert_eq!(answers, expected);
        sim.sleep(1).await;
        let mut ids: Vec<_> = sim
            .receivers
            .requests()
            .iter()
            .map(|sent| sent.request.alert.id)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 4, "every alert has its own id");
    });
}

/// An event that is made once and published for every client, with the same id.
#[test]
fn an_event_that_is_copied_for_another_client_is_that_ones() {
    simulate(async |sim| {
        let first = Event::new("maintenance", "client-1").message("Tonight.");
        let mut second = first.clone();
        second.client_id = "client-2".into();
        for event in [&first, &second, &first, &second] {
            sim.engine.publish(event.clone()).await.unwrap();
        }
        sim.sleep(1).await;
        let sent = sim.receivers.requests();
        assert_eq!(sent.len(), 2);
        assert_ne!(sent[0].request.alert.id, sent[1].request.alert.id);
    });
}
