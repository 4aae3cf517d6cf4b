//! A receiver that closes each kept connection shortly after its answer, so that any request may
//! meet the closing.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_webhooks::Outcome;

use super::support::{Bed, Connection, Receiver, endpoint, event, run_for};

#[test]
fn connections_that_are_closed_after_each_answer_cost_no_delivery() {
    const EVENTS: usize = 10_000;
    run_for(Duration::from_mins(2), async {
        let receiver = Receiver::start(async |mut connection: Connection| {
            while connection.request_within(Duration::from_millis(1)).await {
                connection.answer(200).await;
            }
        })
        .await;
        let mut bed = Bed::to(endpoint(&receiver.url("/"))).await;
        let (mut delivered, mut twice) = (0, 0);
        for batch in 0..EVENTS / 100 {
            for number in 0..100 {
                let id = (batch * 100 + number).to_string();
                bed.engine.publish(event(&id)).await.unwrap();
            }
            for _ in 0..100 {
                let report = bed.report().await;
                assert_eq!(report.outcome, Outcome::Delivered, "{report:?}");
                delivered += 1;
                twice += usize::from(report.sent_twice);
            }
        }
        assert_eq!(delivered, EVENTS);
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for request in receiver.requests() {
            *times.entry(request.event_id()).or_default() += 1;
        }
        assert_eq!(times.len(), EVENTS, "each arrived");
        let again = times.values().filter(|times| **times > 1).count();
        assert!(
            again <= twice,
            "what arrived twice was reported as sent twice"
        );
        println!(
            "{EVENTS} events over {} connections: {twice} sent twice, {again} arrived twice",
            receiver.connections()
        );
        bed.end().await;
    });
}
