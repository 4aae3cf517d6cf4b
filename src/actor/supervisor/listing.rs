//! Answers about all endpoints together, from what is counted and ordered already.

use std::ops::Bound;
use std::time::Duration;

use actix::{Addr, AsyncContext as _, Context, Handler, MessageResult, ResponseFuture};
use futures_util::future::join_all;

use super::SupervisorActor;
use super::operators::Known;
use crate::actor::message::{
    EndpointCursor, EndpointPage, EndpointSort, GetOverview, GetSeries, ListEndpoints,
};
use crate::domain::value::url::WebhookUrl;
use crate::domain::value::wall::OnWall as _;
use crate::domain::watch::overview::{EndpointAttention, ListedEndpoint, Overview, Rates};
use crate::domain::watch::rank::Rank;
use crate::domain::watch::series::SeriesWindow;
use crate::store::page_limit;

/// The endpoints chosen for a page.
pub(super) struct Chosen {
    pub(super) urls: Vec<WebhookUrl>,
    examined: usize,
    pub(super) next: Option<EndpointCursor>,
}

impl SupervisorActor {
    /// Chooses the endpoints of a page, and examines a bounded number for it.
    pub(super) fn choose(&self, query: &ListEndpoints) -> Chosen {
        let limit = page_limit(query.limit);
        let (mut urls, mut examined, mut last) = (Vec::new(), 0, query.after.clone());
        loop {
            let most = AT_ONCE.min(MOST_EXAMINED - examined);
            let chunk = self.chunk(query, last.as_ref(), most);
            let ended = chunk.len() < most;
            for cursor in chunk {
                examined += 1;
                if self.matches(query, &cursor.url) {
                    urls.push(cursor.url.clone());
                }
                last = Some(cursor);
                if urls.len() == limit {
                    break;
                }
            }
            let full = urls.len() == limit || examined == MOST_EXAMINED;
            if full {
                let more = !self.chunk(query, last.as_ref(), 1).is_empty();
                last = last.filter(|_| more);
            } else if ended {
                last = None;
            } else {
                continue;
            }
            return Chosen {
                urls,
                examined,
                next: last,
            };
        }
    }

    /// Returns the next endpoints in the order of a query, at most `most`, whether they match or
    /// not.
    fn chunk(
        &self,
        query: &ListEndpoints,
        last: Option<&EndpointCursor>,
        most: usize,
    ) -> Vec<EndpointCursor> {
        let by_url = |url: &WebhookUrl| EndpointCursor {
            rank: Rank::default(),
            url: url.clone(),
        };
        let last_url = last.map(|last| &last.url);
        if query.sort == EndpointSort::Attention {
            let last = last.map(|last| (last.rank, last.url.clone()));
            let attention = self.shared.board.attention();
            let next = attention.after(last.as_ref()).take(most).cloned();
            next.map(|(rank, url)| EndpointCursor { rank, url })
                .collect()
        } else if query.is_of_unwell() {
            let attention = self.shared.board.attention();
            attention
                .urls_after(last_url)
                .take(most)
                .map(by_url)
                .collect()
        } else {
            let from = last_url.map_or(Bound::Unbounded, Bound::Excluded);
            let range = self.endpoints.range((from, Bound::Unbounded));
            range.take(most).map(|(url, _)| by_url(url)).collect()
        }
    }

    fn matches(&self, query: &ListEndpoints, url: &WebhookUrl) -> bool {
        let entry = self.endpoints.get(url);
        let Some(standing) = entry.and_then(|entry| entry.counted.standing()) else {
            return false;
        };
        let of_state = query.states.is_empty() || query.states.contains(&standing.kind);
        let part = query.url_contains.as_deref().unwrap_or_default();
        of_state && (standing.failing || !query.failing) && url.contains(part)
    }

    /// Returns a future of the endpoints with their statuses.
    fn listed(
        &self,
        urls: Vec<WebhookUrl>,
        known: Known,
        this: &Addr<Self>,
    ) -> impl Future<Output = Vec<ListedEndpoint>> + use<> {
        let offset = self.shared.clock.offset();
        let mut described = Vec::with_capacity(urls.len());
        for url in urls {
            let trouble = self.shared.board.attention().of(&url);
            let attention = trouble
                .map(|(_, trouble)| EndpointAttention::from(trouble))
                .map(|attention| attention.on_wall(offset));
            if let Some(entry) = self.endpoints.get(&url) {
                let status = self.describe(&url, entry, known, this.clone());
                described.push(async move {
                    ListedEndpoint {
                        status: status.await,
                        attention,
                    }
                });
            }
        }
        join_all(described)
    }
}

impl Handler<ListEndpoints> for SupervisorActor {
    type Result = ResponseFuture<EndpointPage>;

    fn handle(&mut self, query: ListEndpoints, ctx: &mut Context<Self>) -> Self::Result {
        let now = self.shared.clock.now();
        self.shared.board.attention().pass(now, AT_ONCE);
        let Chosen {
            urls,
            examined,
            next,
        } = self.choose(&query);
        let listed = self.listed(urls, Known::FromStore, &ctx.address());
        Box::pin(async move {
            EndpointPage {
                endpoints: listed.await,
                examined,
                next,
            }
        })
    }
}

impl Handler<GetOverview> for SupervisorActor {
    type Result = ResponseFuture<Overview>;

    fn handle(&mut self, _: GetOverview, ctx: &mut Context<Self>) -> Self::Result {
        let (board, now) = (&self.shared.board, self.shared.clock.now());
        let mut late_endpoints = 0;
        board.each_waits(|waits| late_endpoints += waits.longer_than(LATE, now));
        let ended = board.series(SeriesWindow::Minute, now);
        let ended = ended.last(RATE_SECONDS);
        let mut overview = Overview {
            at: now.on_wall(self.shared.clock.offset()),
            endpoints: board.counts(),
            open: board.open(),
            dead_lettered: board.dead_lettered(),
            permits: self.shared.permits.in_use(),
            lag: board.lag(now),
            late_endpoints,
            rates: Rates::of(&ended, u32::try_from(RATE_SECONDS).unwrap_or(1)),
            store_error: self.shared.store.condition(),
            attention: Vec::new(),
        };
        board.attention().pass(now, AT_ONCE);
        let first = ListEndpoints {
            sort: EndpointSort::Attention,
            limit: IN_OVERVIEW,
            ..ListEndpoints::default()
        };
        let urls = self.choose(&first).urls;
        let listed = self.listed(urls, Known::InMemory, &ctx.address());
        Box::pin(async move {
            overview.attention = listed.await;
            overview
        })
    }
}

impl Handler<GetSeries> for SupervisorActor {
    type Result = MessageResult<GetSeries>;

    fn handle(
        &mut self,
        GetSeries { window }: GetSeries,
        _: &mut Context<Self>,
    ) -> MessageResult<GetSeries> {
        let now = self.shared.clock.now();
        let series = self.shared.board.series(window, now).series();
        MessageResult(series.on_wall(self.shared.clock.offset()))
    }
}

/// The maximum number of endpoints examined for one page.
const MOST_EXAMINED: usize = 20_000;

/// The maximum number of endpoints taken from the board with its lock held.
const AT_ONCE: usize = 1_000;

/// The number of endpoints in an overview.
const IN_OVERVIEW: usize = 10;

/// The number of seconds over which rates are measured.
const RATE_SECONDS: usize = 10;

/// The wait after which an endpoint counts as late.
const LATE: Duration = Duration::from_secs(1);
