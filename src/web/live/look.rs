//! Looking at a topic.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::topic::Topic;
use crate::actor::message::ListActions;
use crate::domain::value::url::WebhookUrl;
use crate::engine::Engine;
use crate::web::model::delivery::DeliveryDetail;
use crate::web::model::overview::{ActionView, OverviewView};
use crate::web::model::redelivery::RedeliveryView;
use crate::web::model::status::StatusView;
use crate::web::problems::{Code, Problem};
use crate::web::refusals::unknown_endpoint;
use crate::web::routes::redeliveries;

/// The state of a topic.
pub(super) struct Seen {
    /// The state as it is shown; `None` for a topic of attempts alone.
    pub(super) state: Option<Arc<Value>>,
    /// The endpoint's URL, for a topic of one endpoint.
    pub(super) url: Option<WebhookUrl>,
}

/// Looks at a topic. The bodies of answers are left out.
pub(super) async fn look(engine: &Engine, topic: Topic) -> Result<Seen, Problem> {
    let mut url = None;
    let state = match topic {
        Topic::Overview => Some(value(&OverviewView::new(&engine.overview().await?)?)?),
        Topic::Actions => {
            let actions = engine.actions(ListActions::default()).await?;
            let shown = actions.iter().map(ActionView::new);
            Some(value(&shown.collect::<Result<Vec<_>, _>>()?)?)
        }
        Topic::Attempts => None,
        Topic::Endpoint(id) => {
            let found = engine.find_endpoint(id).await?;
            let found = url.insert(found.ok_or_else(unknown_endpoint)?);
            let status = engine.endpoint(&*found).status().await?;
            Some(value(&StatusView::new(
                &status.ok_or_else(unknown_endpoint)?,
            )?)?)
        }
        Topic::Delivery(id) => {
            let details = engine.delivery(id).await?;
            let unknown = || Problem::new(Code::UnknownDelivery, "no delivery has this id");
            let details = details.ok_or_else(unknown)?;
            let attempts = engine.attempts(id).await?;
            Some(value(&DeliveryDetail::new(&details, &attempts, false)?)?)
        }
        Topic::Redelivery(id) => {
            let job = redeliveries::find(engine, id).await?;
            Some(value(&RedeliveryView::new(&job)?)?)
        }
    };
    Ok(Seen { state, url })
}

fn value(shown: &impl Serialize) -> Result<Arc<Value>, Problem> {
    let value = serde_json::to_value(shown).map_err(|error| {
        let detail = format!("value cannot be shown: {error}");
        Problem::new(Code::Internal, detail)
    });
    value.map(Arc::new)
}
