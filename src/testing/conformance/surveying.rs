//! What a redelivery by filter would redeliver.

use crate::store::{
    Count, DeadLetterQuery, DeliveryQuery, DeliveryStage, Redelivery, Store, StoreError, Survey,
};

use super::fixtures::{A, B, append, at, dead, delivered, failed, url};

pub(super) async fn surveys_what_a_redelivery_finds(store: &impl Store) {
    let to_a = append(store, 5, A).await;
    let to_b = append(store, 2, B).await;
    let mut batch = vec![
        dead(to_a[0], A),
        dead(to_a[1], A),
        dead(to_b[0], B),
        delivered(to_a[2], A),
        failed(to_a[3], A, 1, 30),
    ];
    for (place, record) in (10..).zip(&mut batch) {
        record.summary.at = at(place);
    }
    store.record(batch.into()).await.unwrap();
    let letters = |query| Redelivery::DeadLetters(query);
    let all = letters(DeadLetterQuery::default());
    let found = match store.survey(all.clone(), 100).await {
        // A store may leave this out, if its documentation says so.
        Err(StoreError::Unsupported(_)) => return,
        found => found.unwrap(),
    };
    let survey = |count, endpoints: &[(&str, u64)], times: Option<(i64, i64)>| Survey {
        count,
        endpoints: endpoints.iter().map(|(to, of)| (url(to), *of)).collect(),
        oldest: times.map(|(oldest, _)| at(oldest)),
        newest: times.map(|(_, newest)| at(newest)),
    };
    let exactly = |count| Count::new(count, false);
    assert_eq!(found, survey(exactly(3), &[(A, 2), (B, 1)], Some((10, 12))));
    let some = store.survey(all, 2).await.unwrap();
    let at_least = Count::new(2, true);
    assert_eq!(some, survey(at_least, &[(A, 1), (B, 1)], Some((11, 12))));
    let of_b = letters(DeadLetterQuery {
        url: Some(url(B)),
        // Both are ignored.
        limit: 1,
        before: Some(to_a[0]),
        ..DeadLetterQuery::default()
    });
    let found = store.survey(of_b, 100).await.unwrap();
    assert_eq!(found, survey(exactly(1), &[(B, 1)], Some((12, 12))));
    // By the times of acceptance, and without what is open.
    for (stage, expected) in [
        (None, survey(exactly(4), &[(A, 3), (B, 1)], Some((0, 0)))),
        (
            Some(DeliveryStage::Delivered),
            survey(exactly(1), &[(A, 1)], Some((0, 0))),
        ),
        (Some(DeliveryStage::Open), survey(exactly(0), &[], None)),
    ] {
        let query = DeliveryQuery {
            stage,
            ..DeliveryQuery::default()
        };
        let found = store.survey(Redelivery::Ended(query), 100).await;
        assert_eq!(found.unwrap(), expected, "{stage:?}");
    }
    // What was redelivered is listed no more, but it has ended.
    let one = Redelivery::One(to_a[0]);
    store.redeliver(one.clone(), at(20)).await.unwrap();
    let left = store.survey(letters(DeadLetterQuery::default()), 100).await;
    assert_eq!(left.unwrap().count, exactly(2));
    let ended = Redelivery::Ended(DeliveryQuery::default());
    let ended = store.survey(ended, 3).await.unwrap();
    assert_eq!(ended.count, Count::new(3, true));
    let single = store.survey(one, 100).await;
    assert!(matches!(single, Err(StoreError::Unsupported(_))));
}
