//! Things of every kind that a text finds.
//!
//! Parts of texts are looked for in memory, whole ids by their indexes.

use actix_web::{HttpResponse, get};
use utoipa_actix_web::scope::Scope;

use super::{Answer, Routing, State};
use crate::actor::message::FindEndpoints;
use crate::domain::endpoint::id::EndpointId;
use crate::domain::routing::query::{ClientQuery, RuleQuery};
use crate::domain::value::id::{AlertId, DeliveryId, EventId};
use crate::domain::value::text::MAX_TEXT_BYTES;
use crate::domain::value::url::MAX_URL_BYTES;
use crate::engine::{Engine, OperateError};
use crate::store::{DeliveryQuery, StoreError};
use crate::web::model::page::List;
use crate::web::model::search::{Hit, HitKind, Searched};
use crate::web::problems::Problem;
use crate::web::read::Query;

pub(super) fn add<T: Routing>(scope: Scope<T>) -> Scope<T> {
    scope.service(search)
}

/// Find endpoints, clients and rules by a part of a text, and events, deliveries and alerts by
/// their ids.
#[utoipa::path(
    tag = "overview",
    params(Searched),
    responses((status = 200, description = "What was found, on one page.", body = List<Hit>)),
    security(("token" = ["read"]))
)]
#[get("/search")]
async fn search(web: State, Query(searched): Query<Searched>) -> Answer {
    let (q, limit) = (&*searched.q, searched.limit.get());
    if q.is_empty() || q.len() > MAX_URL_BYTES {
        let why = format!("must have 1 to {MAX_URL_BYTES} bytes");
        return Err(Problem::parameter("q", why));
    }
    let engine = &web.engine;
    let found = vec![
        delivery(engine, q).await?,
        alert(engine, q).await?,
        event(engine, q).await?,
        endpoints(engine, q, limit).await?,
        clients(engine, q, limit).await?,
        rules(engine, q, limit).await?,
    ];
    Ok(HttpResponse::Ok().json(List::new(fair(found, limit), None)))
}

async fn delivery(engine: &Engine, q: &str) -> Result<Vec<Hit>, Problem> {
    let plain = q.bytes().all(|byte| byte.is_ascii_digit());
    let id: Option<DeliveryId> = q.parse().ok().filter(|_| plain);
    let Some(id) = id else {
        return Ok(Vec::new());
    };
    let found = supported(engine.delivery(id).await)?;
    let hit = found.map(|found| {
        let delivery = found.delivery;
        let text = format!("event {} to {}", delivery.event_id, delivery.url);
        Hit::new(HitKind::Delivery, &id, text)
    });
    Ok(hit.into_iter().collect())
}

async fn alert(engine: &Engine, q: &str) -> Result<Vec<Hit>, Problem> {
    let Ok(id) = q.parse().map(AlertId::from_uuid) else {
        return Ok(Vec::new());
    };
    let query = DeliveryQuery {
        alert_id: Some(id),
        limit: 1,
        ..DeliveryQuery::default()
    };
    let found = engine.deliveries(query).await?;
    let hits = found.iter().map(|delivery| {
        let text = format!("event {} by rule {}", delivery.event_id, delivery.rule_id);
        Hit::new(HitKind::Alert, &id, text)
    });
    Ok(hits.collect())
}

async fn event(engine: &Engine, q: &str) -> Result<Vec<Hit>, Problem> {
    if q.len() > MAX_TEXT_BYTES {
        return Ok(Vec::new());
    }
    let id = EventId::from(q);
    let published = supported(engine.events(id.clone()).await)?;
    if let Some(newest) = published.last() {
        let at = newest.accepted_at;
        let text = match &newest.client_id {
            Some(client) => format!("of client {client}, accepted at {at}"),
            None => format!("accepted at {at}"),
        };
        return Ok(vec![Hit::new(HitKind::Event, &id, text)]);
    }
    // The ids of events may be forgotten before their deliveries are.
    let query = DeliveryQuery {
        event_id: Some(id.clone()),
        limit: 1,
        ..DeliveryQuery::default()
    };
    let found = engine.deliveries(query).await?;
    let hits = found.iter().map(|delivery| {
        let (client, at) = (&delivery.client_id, delivery.accepted_at);
        let text = format!("of client {client}, accepted at {at}");
        Hit::new(HitKind::Event, &id, text)
    });
    Ok(hits.collect())
}

async fn endpoints(engine: &Engine, q: &str, limit: usize) -> Result<Vec<Hit>, Problem> {
    collect(limit, async |after, limit| {
        let mut query = FindEndpoints::new(q);
        (query.after, query.limit) = (after, limit);
        let page = engine.find_endpoints(query).await?;
        let hits = page.urls.iter();
        let hits = hits.map(|url| Hit::new(HitKind::Endpoint, &EndpointId::of(url), url.as_str()));
        Ok((hits.collect(), page.next))
    })
    .await
}

async fn clients(engine: &Engine, q: &str, limit: usize) -> Result<Vec<Hit>, Problem> {
    collect(limit, async |after, limit| {
        let contains = Some(q.to_owned());
        let query = ClientQuery {
            contains,
            after,
            limit,
        };
        let page = engine.find_clients(query).await?;
        let hits = page.clients.iter().map(|client| {
            let text = client.name.as_deref().unwrap_or(client.id.as_str());
            Hit::new(HitKind::Client, &client.id, text)
        });
        Ok((hits.collect(), page.next))
    })
    .await
}

async fn rules(engine: &Engine, q: &str, limit: usize) -> Result<Vec<Hit>, Problem> {
    collect(limit, async |after, limit| {
        let query = RuleQuery {
            contains: Some(q.to_owned()),
            after,
            limit,
            ..RuleQuery::default()
        };
        let page = engine.find_rules(query).await?;
        let hits = page.rules.iter().map(|rule| {
            let text = match &rule.client_id {
                Some(client) => format!("{} of client {client}", rule.rule_type),
                None => rule.rule_type.clone(),
            };
            Hit::new(HitKind::Rule, &rule.id, text)
        });
        Ok((hits.collect(), page.next))
    })
    .await
}

/// Collects up to `limit` hits from pages. Each page begins after the place that the one before
/// returned with its hits.
async fn collect<P>(
    limit: usize,
    page: impl AsyncFn(Option<P>, usize) -> Result<(Vec<Hit>, Option<P>), Problem>,
) -> Result<Vec<Hit>, Problem> {
    let (mut hits, mut after) = (Vec::new(), None);
    for _ in 0..PAGES {
        let (found, next) = page(after, limit - hits.len()).await?;
        hits.extend(found);
        after = next;
        if after.is_none() || hits.len() >= limit {
            break;
        }
    }
    Ok(hits)
}

/// Leaves out what the store cannot look up.
fn supported<T: Default>(found: Result<T, OperateError>) -> Result<T, Problem> {
    match found {
        Err(OperateError::Store(StoreError::Unsupported(_))) => Ok(T::default()),
        other => Ok(other?),
    }
}

/// Takes up to `limit` hits, in turn one of each kind, and keeps their order.
fn fair(found: Vec<Vec<Hit>>, limit: usize) -> Vec<Hit> {
    let mut room = limit;
    let mut taken = vec![0; found.len()];
    let longest = found.iter().map(Vec::len).max().unwrap_or_default();
    for turn in 0..longest {
        for (taken, hits) in taken.iter_mut().zip(&found) {
            if hits.len() > turn && room > 0 {
                *taken += 1;
                room -= 1;
            }
        }
    }
    let found = found.into_iter().zip(taken);
    found
        .flat_map(|(hits, taken)| hits.into_iter().take(taken))
        .collect()
}

/// The most pages of each kind that are looked at, 20,000 things each.
const PAGES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_kind_crowds_out_another() {
        let hits = |kind, count: usize| -> Vec<Hit> {
            (0..count)
                .map(|number| Hit::new(kind, &number, ""))
                .collect()
        };
        let found = || {
            vec![
                hits(HitKind::Event, 1),
                hits(HitKind::Endpoint, 9),
                hits(HitKind::Client, 0),
                hits(HitKind::Rule, 2),
            ]
        };
        let counts = |limit| {
            let taken = fair(found(), limit);
            let of = |kind| taken.iter().filter(|hit| hit.kind == kind).count();
            assert!(taken.is_sorted_by_key(|hit| hit.kind), "{taken:?}");
            [HitKind::Event, HitKind::Endpoint, HitKind::Rule].map(of)
        };
        assert_eq!(counts(20), [1, 9, 2]);
        assert_eq!(counts(5), [1, 2, 2]);
        assert_eq!(counts(2), [1, 1, 0]);
    }
}
