//! Test events for one endpoint: stored like any other, without asking the rules where they go.

use std::sync::Arc;

use actix::{Context, Handler};
use serde_json::json;
use uuid::Uuid;

use super::publisher::Publisher;
use super::{AlertIds, RouterActor, Waiting};
use crate::actor::message::{PublishTest, SendTest};
use crate::actor::reply::Deferred;
use crate::domain::events::event::Event;
use crate::domain::routing::rule::Rule;
use crate::domain::value::id::{ClientId, DeliveryId, EventId};
use crate::domain::value::url::WebhookUrl;
use crate::domain::value::wall::OnWall as _;
use crate::error::PublishError;
use crate::store::{NewAlert, NewEvent};

impl RouterActor {
    /// Prepares a test event for one endpoint.
    fn prepare_test(
        &mut self,
        url: WebhookUrl,
        event: &Event,
        rule: &Rule,
    ) -> Result<NewEvent, PublishError> {
        event.check_content()?;
        let alert = self.alert(event, rule, AlertIds::OfEvent)?;
        Ok(NewEvent {
            id: event.id.clone(),
            client_id: event.client_id.clone(),
            content: None,
            alerts_are_its_own: true,
            at: self.shared.clock.now(),
            alerts: vec![NewAlert {
                urls: Arc::from([url]),
                ..alert
            }],
            unmatched: None,
            outbox: None,
        })
    }

    /// Returns the first enabled rule, by id, that names the URL for this client or for every
    /// client, or for any if none is asked for. If there is none: a rule that no one has put, under
    /// which a call carries the endpoint's own credentials.
    fn rule_of_test(&self, url: &WebhookUrl, client: Option<&ClientId>) -> Arc<Rule> {
        let of_client = |rule: &Rule| match (client, &rule.client_id) {
            (Some(asked), Some(only)) => asked == only,
            (None, _) | (_, None) => true,
        };
        let mut rules = self.rules.iter();
        let found = rules
            .find(|rule| rule.enabled && of_client(rule) && rule.webhooks.contains(url))
            .cloned();
        found.unwrap_or_else(|| Arc::new(Rule::new(TEST, "*")))
    }
}

impl Handler<PublishTest> for RouterActor {
    type Result = Deferred<Result<DeliveryId, PublishError>>;

    fn handle(&mut self, asked: PublishTest, _: &mut Context<Self>) -> Self::Result {
        let PublishTest { url, test, client } = asked;
        let SendTest {
            rule_type,
            data,
            client: asked,
            ..
        } = test;
        let client = asked.or(client);
        let rule = self.rule_of_test(&url, client.as_ref());
        let client = client.or_else(|| rule.client_id.clone());
        let at = self.shared.clock.now().on_wall(self.shared.clock.offset());
        let id = EventId::of_test(Uuid::now_v7());
        let rule_type = rule_type.unwrap_or_else(|| TEST.to_owned());
        let client = client.unwrap_or_else(|| TEST.into());
        let event = Event::identified(id, at, rule_type, client)
            .message("This is a test.")
            .data(data.unwrap_or_else(|| json!({ "test": true })));
        let (answerer, deferred) = Deferred::new();
        let publisher = Publisher::Test(answerer, None);
        let admitted = self.admit();
        let prepared = admitted.and_then(|()| self.prepare_test(url, &event, &rule));
        event.discard();
        match prepared {
            Ok(prepared) => {
                let again = None;
                self.taken += 1;
                self.inbox
                    .push_back((prepared, Waiting { publisher, again }));
            }
            Err(error) => publisher.answer(Err(error)),
        }
        deferred
    }
}

/// The type of a test event, and the ids of its rule and its client, where nothing else is known.
const TEST: &str = "webhook.test";
