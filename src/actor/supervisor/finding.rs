//! Finding endpoints by a text, without asking any of them.

use actix::{Context, Handler, MessageResult};

use super::SupervisorActor;
use crate::actor::message::{EndpointCursor, FindEndpoints, ListEndpoints, UrlPage};
use crate::domain::value::url::WebhookUrl;
use crate::domain::watch::rank::Rank;
use crate::store::page_limit;

impl Handler<FindEndpoints> for SupervisorActor {
    type Result = MessageResult<FindEndpoints>;

    fn handle(&mut self, asked: FindEndpoints, _: &mut Context<Self>) -> Self::Result {
        let limit = page_limit(asked.limit);
        let mut urls = Vec::new();
        if asked.after.is_none() {
            urls = self.with_id_like(&asked.text, limit);
        }
        if urls.len() == limit {
            // A text that so many ids begin with is part of hardly any URL.
            let next = None;
            return MessageResult(UrlPage { urls, next });
        }
        let of_url = ListEndpoints {
            url_contains: Some(asked.text),
            after: asked.after.map(|url| EndpointCursor {
                rank: Rank::default(),
                url,
            }),
            limit: limit - urls.len(),
            ..ListEndpoints::default()
        };
        let chosen = self.choose(&of_url);
        let fresh = chosen.urls.into_iter().filter(|url| !urls.contains(url));
        let fresh: Vec<_> = fresh.collect();
        urls.extend(fresh);
        let next = chosen.next.map(|next| next.url);
        MessageResult(UrlPage { urls, next })
    }
}

impl SupervisorActor {
    /// Returns known endpoints whose ids begin with a text.
    fn with_id_like(&mut self, text: &str, limit: usize) -> Vec<WebhookUrl> {
        let urls = self.endpoints.with_id_like(text).take(limit);
        let urls: Vec<_> = urls.cloned().collect();
        // One that is being removed is known no longer.
        let known = urls.into_iter();
        known
            .filter(|url| self.entry(url.as_str()).is_ok())
            .collect()
    }
}
