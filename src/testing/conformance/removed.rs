//! Removed endpoints, which are not called without their settings.

use std::sync::Arc;

use super::fixtures::{A, B, append, at, event, url};
use crate::domain::authorisation::auth::Auth;
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::routing::rule::Rule;
use crate::domain::value::id::DeliveryId;
use crate::store::{Appended, Change, DeadLetterQuery, Redelivery, Store, StoreError};

/// Appends an event for both endpoints. Returns its two deliveries, and those that were given up.
async fn publish(store: &impl Store, id: &str) -> (Vec<DeliveryId>, Vec<DeliveryId>) {
    let appended = store.append(Arc::new([event(id, &["r"], &[A, B])])).await;
    match appended.unwrap().pop() {
        Some(Appended::Stored(ids)) => (ids, Vec::new()),
        Some(Appended::StoredInPart { ids, dead }) => {
            let removed = DeadLetterReason::EndpointRemoved;
            assert!(
                dead.iter().all(|(_, reason)| *reason == removed),
                "{dead:?}"
            );
            (ids, dead.into_iter().map(|(id, _)| id).collect())
        }
        other => panic!("the event is new: {other:?}"),
    }
}

/// Returns the ids of all dead letters, newest first. Each must be for a removed endpoint.
async fn letters(store: &impl Store) -> Vec<DeliveryId> {
    let letters = store.dead_letters(DeadLetterQuery::default()).await;
    let ids = letters.unwrap().into_iter().map(|letter| {
        assert_eq!(letter.reason, DeadLetterReason::EndpointRemoved);
        assert_eq!(letter.url, A);
        letter.delivery_id
    });
    ids.collect()
}

pub(super) async fn gives_up_what_comes_for_a_removed_endpoint(store: &impl Store) {
    let signed = || Endpoint::new(A).unwrap().auth(Auth::bearer("token"));
    let plain = Endpoint::new(B).unwrap().max_in_flight(1);
    let keep = async |change| store.apply(change).await.unwrap();
    keep(Change::PutEndpoint(signed())).await;
    keep(Change::PutEndpoint(plain)).await;
    // These arrive while the endpoint is being removed.
    let late = append(store, 1, A).await;
    for url in [A, B].map(url) {
        keep(Change::RemoveEndpoint(url)).await;
    }
    assert_eq!(store.removed().await.unwrap(), [url(A)]);
    assert_eq!(letters(store).await, late);
    let told = store.take_given_up().into_iter();
    let told: Vec<_> = told
        .map(|one| (one.url, one.delivery.id, one.reason))
        .collect();
    let removed = DeadLetterReason::EndpointRemoved;
    assert_eq!(told, [(url(A), late[0], removed)], "nobody else reports it");
    assert_eq!(store.take_given_up(), []);
    let (ids, dead) = publish(store, "e").await;
    assert_eq!(
        dead,
        ids[..1],
        "the other one had nothing that requests carry"
    );
    assert_eq!(letters(store).await, [ids[0], late[0]]);
    assert_eq!(store.open_total().await.unwrap(), 1);

    let one = store.redeliver(Redelivery::One(ids[0]), at(9)).await;
    assert!(matches!(one, Err(StoreError::EndpointRemoved(of)) if of == A));
    let all = Redelivery::DeadLetters(DeadLetterQuery::default());
    assert_eq!(store.redeliver(all.clone(), at(9)).await.unwrap(), []);
    assert_eq!(letters(store).await.len(), 2, "they stay listed");

    // Changes that do not name the endpoint leave it removed.
    keep(Change::RemoveRule("r".into())).await;
    keep(Change::Resume(url(A))).await;
    keep(Change::PutRule(Rule::new("other", "*").webhook(B).unwrap())).await;
    assert_eq!(publish(store, "f").await.1.len(), 1);
    for (id, asked_for) in [
        ("g", Change::PutEndpoint(signed())),
        (
            "h",
            Change::PutRule(Rule::new("r", "*").webhook(A).unwrap()),
        ),
    ] {
        keep(asked_for).await;
        assert!(store.removed().await.unwrap().is_empty());
        assert_eq!(publish(store, id).await.1, []);
        keep(Change::PutEndpoint(signed())).await;
        keep(Change::RemoveEndpoint(url(A))).await;
    }
    keep(Change::PutEndpoint(signed())).await;
    let again = store.redeliver(all, at(9)).await.unwrap();
    assert_eq!(again.len(), 3 + 2, "two were open when it was removed");
}
