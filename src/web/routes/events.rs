//! Publishing: one event, or a batch as a stream of lines.

use std::collections::VecDeque;
use std::convert::Infallible;

use actix_web::dev::Payload;
use actix_web::http::header::HeaderName;
use actix_web::web::Path;
use actix_web::{FromRequest, HttpRequest, HttpResponse, get, post};
use bytes::{Bytes, BytesMut};
use futures_util::future::{Ready, ready};
use futures_util::{StreamExt as _, stream};
use utoipa_actix_web::scope::Scope;

use super::{Answer, Routing, State};
use crate::actor::message::{ListRefused, Receipt};
use crate::domain::events::event::Event;
use crate::engine::Engine;
use crate::store::DeliveryQuery;
use crate::web::model::event::{
    EventGiven, EventView, LineResult, OutboxView, ReceiptView, RefusedView,
};
use crate::web::model::page::List;
use crate::web::problems::{Code, Problem};
use crate::web::read::{Body, body_limit, media, parse, too_large};

pub(super) fn add<T: Routing>(scope: Scope<T>) -> Scope<T> {
    let scope = scope.service(publish).service(publish_batch);
    scope.service(show).service(outbox).service(refused)
}

/// Show an event: when each client published it, also if no rule matched.
#[utoipa::path(
    tag = "events",
    params(("id" = String, Path, description = "The event's id.")),
    responses((status = 200, description = "The event.", body = EventView)),
    security(("token" = ["read"]))
)]
#[get("/events/{id}")]
async fn show(web: State, id: Path<String>) -> Answer {
    let events = web.engine.events(id.as_str()).await?;
    let query = DeliveryQuery {
        event_id: Some(id.as_str().into()),
        ..DeliveryQuery::default()
    };
    let deliveries = web.engine.deliveries(query).await?;
    if events.is_empty() && deliveries.is_empty() {
        let detail = "no event has this id, or it is forgotten; ask why for more";
        return Err(Problem::new(Code::UnknownEvent, detail));
    }
    Ok(HttpResponse::Ok().json(EventView::new(&id, &events, &deliveries)?))
}

/// How many events wait in the outbox, counted up to 10,000, and since when? None without one.
#[utoipa::path(
    tag = "events",
    responses((status = 200, description = "The outbox.", body = OutboxView)),
    security(("token" = ["read"]))
)]
#[get("/outbox")]
async fn outbox(web: State) -> Answer {
    let outbox = web.engine.outbox().await?;
    Ok(HttpResponse::Ok().json(OutboxView::new(&outbox)?))
}

/// List the events that were set aside in the outbox, oldest first, at most 1,000.
#[utoipa::path(
    tag = "events",
    responses((status = 200, description = "The events.", body = List<RefusedView>)),
    security(("token" = ["read"]))
)]
#[get("/outbox/refused")]
async fn refused(web: State) -> Answer {
    let refused = web
        .engine
        .refused_events(ListRefused::new(0, 1_000))
        .await?;
    let shown = refused.into_iter().map(RefusedView::from).collect();
    Ok(HttpResponse::Ok().json(List::new(shown, None)))
}

/// Publish an event.
#[utoipa::path(
    tag = "events",
    params((
        "Idempotency-Key" = Option<String>,
        Header,
        description = "The event's id, if it has none of its own."
    )),
    request_body(content = EventGiven),
    responses(
        (status = 202, description = "It is stored.", body = ReceiptView),
        (status = 200, description = "It was published before.", body = ReceiptView)
    ),
    security(("token" = ["publish"]))
)]
#[post("/events")]
async fn publish(web: State, request: HttpRequest, Body(given): Body<EventGiven>) -> Answer {
    let event = given.event(key(&request)?)?;
    let receipt = web.engine.publish(event).await?;
    let mut answer = if receipt.duplicate {
        HttpResponse::Ok()
    } else {
        HttpResponse::Accepted()
    };
    Ok(answer.json(ReceiptView::from(receipt)))
}

fn key(request: &HttpRequest) -> Result<Option<&str>, Problem> {
    let Some(key) = request.headers().get(&IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let text = key
        .to_str()
        .map_err(|_| Problem::parameter("Idempotency-Key", "must be visible ASCII"))?;
    // The draft of the IETF writes it as a quoted string.
    let bare = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    Ok(Some(bare.unwrap_or(text)))
}

/// Publish a batch: an event on each line, at most 1,000. Each is accepted or refused on its own.
#[utoipa::path(
    tag = "events",
    request_body(
        content = EventGiven,
        content_type = "application/x-ndjson",
        description = "An event on each line."
    ),
    responses((
        status = 200,
        description = "A result on each line, in the order of the events.",
        body = LineResult,
        content_type = "application/x-ndjson"
    )),
    security(("token" = ["publish"]))
)]
#[post("/events/batch")]
async fn publish_batch(web: State, lines: Lines) -> Answer {
    let results = stream::unfold((web, lines), async |(web, mut lines)| {
        let chunk = lines.next_chunk().await?;
        let results = publish_lines(&web.engine, chunk).await;
        Some((Ok::<Bytes, Infallible>(written(results)), (web, lines)))
    });
    Ok(HttpResponse::Ok().content_type(NDJSON).streaming(results))
}

/// Publishes the events of some lines in one step, and returns a result for each line.
async fn publish_lines(
    engine: &Engine,
    lines: Vec<Result<Bytes, Problem>>,
) -> Vec<Result<Receipt, Problem>> {
    let read = |line: Result<Bytes, Problem>| parse::<EventGiven>(&line?)?.event(None);
    let read: Vec<Result<Event, Problem>> = lines.into_iter().map(read).collect();
    let events: Vec<Event> = read
        .iter()
        .filter_map(|event| event.as_ref().ok().cloned())
        .collect();
    let mut receipts = if events.is_empty() {
        VecDeque::new()
    } else {
        match engine.publish_all(events).await {
            Ok(receipts) => receipts.into(),
            Err(_) => VecDeque::new(),
        }
    };
    let result = |event: Result<Event, Problem>| {
        event?;
        let receipt = receipts.pop_front();
        receipt
            .unwrap_or(Err(crate::error::PublishError::ShuttingDown))
            .map_err(Problem::from)
    };
    read.into_iter().map(result).collect()
}

fn written(results: Vec<Result<Receipt, Problem>>) -> Bytes {
    let mut text = Vec::new();
    for result in results {
        // A result is made of texts and numbers, which can always be written.
        text.extend(serde_json::to_vec(&LineResult::from(result)).unwrap_or_default());
        text.push(b'\n');
    }
    text.into()
}

/// The lines of a batch, read as they arrive.
struct Lines {
    payload: Payload,
    buffer: BytesMut,
    /// The largest line, in bytes.
    limit: usize,
    /// Number of lines read.
    count: usize,
    ended: bool,
}

impl FromRequest for Lines {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let checked = media(request, &[NDJSON]).and_then(|_| body_limit(request));
        ready(checked.map(|limit| Self {
            payload: payload.take(),
            buffer: BytesMut::new(),
            limit,
            count: 0,
            ended: false,
        }))
    }
}

impl Lines {
    /// Returns the lines that have arrived, at most `CHUNK`, waiting for one at least. `None` after
    /// the last. A problem of the whole batch is the last line.
    async fn next_chunk(&mut self) -> Option<Vec<Result<Bytes, Problem>>> {
        let mut lines = Vec::new();
        loop {
            while lines.len() < CHUNK
                && let Some(line) = self.take_line()
            {
                if line.trim_ascii().is_empty() {
                    continue;
                }
                self.count += 1;
                if self.count > MAX_LINES {
                    let detail =
                        format!("batch has more than {MAX_LINES} lines; the rest was not read");
                    lines.push(Err(self.end(Problem::new(Code::BodyTooLarge, detail))));
                    return Some(lines);
                }
                lines.push(Ok(line));
            }
            if !lines.is_empty() {
                return Some(lines);
            }
            if self.ended {
                return None;
            }
            match self.payload.next().await {
                Some(Ok(part)) => self.buffer.extend_from_slice(&part),
                Some(Err(_)) => {
                    let problem = Problem::new(Code::InvalidBody, "body is incomplete");
                    return Some(vec![Err(self.end(problem))]);
                }
                None => self.ended = true,
            }
            if self.buffer.len() > self.limit && !self.buffer.contains(&b'\n') {
                let problem = too_large(self.limit);
                return Some(vec![Err(self.end(problem))]);
            }
        }
    }

    /// Removes and returns the first line of the buffer; the rest of it after the end.
    fn take_line(&mut self) -> Option<Bytes> {
        match self.buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => Some(self.buffer.split_to(at + 1).freeze()),
            None if self.ended && !self.buffer.is_empty() => Some(self.buffer.split().freeze()),
            None => None,
        }
    }

    /// Stops reading, and returns the reason.
    fn end(&mut self, problem: Problem) -> Problem {
        self.ended = true;
        self.buffer.clear();
        problem
    }
}

/// The most lines published in one step.
const CHUNK: usize = 64;

/// The most lines of a batch.
const MAX_LINES: usize = 1_000;

const NDJSON: &str = "application/x-ndjson";
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
