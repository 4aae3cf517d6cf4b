//! Questions about rules and clients. Only what is asked for is copied.

use std::ops::Bound;

use actix::{Context, Handler, MessageResult};

use super::RouterActor;
use crate::actor::message::{
    ClientPage, ExplainRouting, FindClients, FindRules, GetClient, GetRule, ListClients, ListRules,
    RulePage,
};
use crate::domain::events::event::discard;
use crate::domain::routing::client::Client;
use crate::domain::routing::query::Found;
use crate::domain::routing::rule::Rule;
use crate::domain::value::id::ClientId;
use crate::store::page_limit;

impl Handler<ListRules> for RouterActor {
    type Result = Vec<Rule>;

    fn handle(&mut self, _: ListRules, _: &mut Context<Self>) -> Vec<Rule> {
        self.rules.iter().map(|rule| Rule::clone(rule)).collect()
    }
}

impl Handler<FindRules> for RouterActor {
    type Result = MessageResult<FindRules>;

    fn handle(&mut self, FindRules(query): FindRules, _: &mut Context<Self>) -> Self::Result {
        let found = self.rules.find(&query, page_limit(query.limit));
        let rules = found.items.into_iter();
        MessageResult(RulePage {
            rules: rules.map(|rule| Rule::clone(rule)).collect(),
            next: found.more_after.map(|rule| rule.id.clone()),
        })
    }
}

impl Handler<GetRule> for RouterActor {
    type Result = Option<Rule>;

    fn handle(&mut self, GetRule { id }: GetRule, _: &mut Context<Self>) -> Self::Result {
        self.rules.get(&id).map(|rule| Rule::clone(rule))
    }
}

impl Handler<ListClients> for RouterActor {
    type Result = Vec<Client>;

    fn handle(&mut self, _: ListClients, _: &mut Context<Self>) -> Vec<Client> {
        self.clients.values().cloned().collect()
    }
}

impl Handler<FindClients> for RouterActor {
    type Result = MessageResult<FindClients>;

    fn handle(&mut self, FindClients(query): FindClients, _: &mut Context<Self>) -> Self::Result {
        let from = query.after.as_ref();
        let from = from.map_or(Bound::Unbounded, Bound::Excluded);
        let clients = self.clients.range::<ClientId, _>((from, Bound::Unbounded));
        let clients = clients.map(|(_, client)| client);
        let limit = page_limit(query.limit);
        let found = Found::among(clients, limit, |client| query.finds(client));
        MessageResult(ClientPage {
            clients: found.items.into_iter().cloned().collect(),
            next: found.more_after.map(|client| client.id.clone()),
        })
    }
}

impl Handler<GetClient> for RouterActor {
    type Result = Option<Client>;

    fn handle(&mut self, GetClient { id }: GetClient, _: &mut Context<Self>) -> Self::Result {
        self.clients.get(&id).cloned()
    }
}

impl Handler<ExplainRouting> for RouterActor {
    type Result = MessageResult<ExplainRouting>;

    fn handle(&mut self, asked: ExplainRouting, _: &mut Context<Self>) -> Self::Result {
        let explanation = self.rules.explain(asked.traits());
        // It is not checked like an event, so its data may be nested without limit.
        asked.data.into_iter().for_each(discard);
        MessageResult(explanation)
    }
}
