//! Searches that cannot look at everything, and the index that makes them fast.

use std::sync::Arc;
use std::time::Duration;

use actix_webhooks::rusqlite::Connection;
use actix_webhooks::store::prelude::*;
use actix_webhooks::store::{
    Alert, DeliveryQuery, NewAlert, NewEvent, Retention, SqliteOptions, SqliteStore,
};
use actix_webhooks::{AlertId, DeliveryId, Timestamp, WebhookUrl};

fn new(number: i64, client: &str) -> NewEvent {
    let id = format!("e-{number}");
    let at = Timestamp::from_unix_millis(number * 1_000);
    let url = WebhookUrl::parse("http://a.test/").unwrap();
    let alert = Alert::new(
        id.as_str().into(),
        "r".into(),
        "t",
        client.into(),
        "{}".into(),
    );
    let alerts = vec![NewAlert::new(Arc::new(alert), vec![url])];
    NewEvent::new(id.as_str().into(), client.into(), at, alerts)
}

async fn append(store: &SqliteStore, count: i64) {
    for first in (0..count).step_by(1_000) {
        let client = |number| if number == 5 { "rare" } else { "c" };
        let batch: Vec<_> = (first..count.min(first + 1_000))
            .map(|number| new(number, client(number)))
            .collect();
        store.append(batch.into()).await.unwrap();
    }
}

fn query() -> DeliveryQuery {
    DeliveryQuery::default()
}

#[actix_rt::test]
async fn a_rare_client_is_found_and_a_rare_type_says_how_far_it_looked() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("webhooks.db")).unwrap();
    append(&store, 25_000).await;
    let rare = DeliveryQuery {
        client_id: Some("rare".into()),
        ..query()
    };
    let page = store.deliveries(rare).await.unwrap();
    assert_eq!(
        (page.len(), page[0].id, page.next),
        (1, DeliveryId::new(6), None)
    );
    let alert_id = AlertId::new(&"e-17".into(), &"r".into());
    let one = DeliveryQuery {
        alert_id: Some(alert_id),
        ..query()
    };
    assert_eq!(store.deliveries(one).await.unwrap()[0].event_id, "e-17");
    // There is no index by type.
    let mut unknown = DeliveryQuery {
        rule_type: Some("unknown".into()),
        ..query()
    };
    let page = store.deliveries(unknown.clone()).await.unwrap();
    assert!(page.is_empty());
    assert_eq!(
        page.searched_to,
        Some(Timestamp::from_unix_millis(15_000_000))
    );
    assert_eq!(page.next, Some(DeliveryId::new(15_001)));
    let mut pages = 1;
    unknown.before = page.next;
    while unknown.before.is_some() {
        let page = store.deliveries(unknown.clone()).await.unwrap();
        unknown.before = page.next;
        pages += 1;
    }
    assert_eq!(pages, 3, "10,000 at a time");
    let since = DeliveryQuery {
        rule_type: Some("unknown".into()),
        since: Some(Timestamp::from_unix_millis(24_000_000)),
        ..query()
    };
    let page = store.deliveries(since).await.unwrap();
    assert_eq!(
        page.searched_to, None,
        "only the time asked for is looked at"
    );
}

#[actix_rt::test]
async fn the_index_is_forgotten_with_its_deliveries() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("webhooks.db");
    let store = SqliteStore::open_with(&path, SqliteOptions::default()).unwrap();
    append(&store, 3_000).await;
    let url = WebhookUrl::parse("http://a.test/").unwrap();
    let terms = |path: &std::path::Path| -> (i64, i64) {
        let sql = "SELECT COUNT(DISTINCT block), COUNT(*) FROM webhook_term";
        let file = Connection::open(path).unwrap();
        file.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
    };
    assert_eq!(terms(&path), (3, 12_000), "four of each delivery");
    let now = Timestamp::from_unix_millis(4_000_000);
    store.remove_endpoint(&url, now).await.unwrap();
    let mut keep: Retention = store.retention().unwrap();
    (keep.ended, keep.dead_letters) = (Duration::ZERO, Duration::ZERO);
    let later = Timestamp::from_unix_millis(5_000_000);
    assert_eq!(store.prune(later, keep).await.unwrap(), 3_000);
    let (blocks, _) = terms(&path);
    assert_eq!(blocks, 1, "the newest block may still grow");
}
