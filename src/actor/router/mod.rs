//! The router: it finds the rules of an event, encodes the alerts, stores them, and hands on the
//! deliveries.
//!
//! All events that arrived since the last poll are stored in one call (group commit), up to
//! `MAX_BATCH`. Appends are answered in the order in which they were made, so that a subscriber
//! receives its deliveries in the order of their ids.

mod append;
mod client_status;
mod finding;
mod from_outbox;
mod handlers;
mod line;
mod past;
mod publisher;
mod reaching;
mod test_event;

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::fut::ActorFuture;
use actix::{Actor, Addr, AsyncContext, Context, Handler};
use bytes::Bytes;
use foldhash::{HashMap, HashMapExt as _};
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesOrdered, FuturesUnordered};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::oneshot;

use self::line::Line;
use self::publisher::Publisher;
use self::reaching::Route;
use super::message::RuleError;
use super::outbox::Outbox;
use super::reply::{Answerer, Deferred};
use super::shared::EngineContext;
use super::subscriber::SubscriberActor;
use super::supervisor::SupervisorActor;
use crate::domain::deliveries::alert::Alert;
use crate::domain::events::content::ContentDigest;
use crate::domain::events::event::{Event, InvalidEvent};
use crate::domain::routing::client::Client;
use crate::domain::routing::rule::Rule;
use crate::domain::routing::table::RoutingTable;
use crate::domain::value::id::{AlertId, ClientId};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::error::{Overload, PublishError};
use crate::store::{Appended, Change, NewAlert, NewEvent, PastCredential, StoreError, Unmatched};

/// The actor that applications publish to: it accepts events and keeps the rules.
///
/// It answers [`Publish`](crate::Publish), [`PublishBatch`](crate::PublishBatch),
/// [`PutRule`](crate::PutRule), [`RemoveRule`](crate::RemoveRule), [`ListRules`](crate::ListRules),
/// [`FindRules`](crate::FindRules), [`GetRule`](crate::GetRule),
/// [`ExplainRouting`](crate::ExplainRouting), [`PutClient`](crate::PutClient),
/// [`RemoveClient`](crate::RemoveClient), [`ListClients`](crate::ListClients),
/// [`FindClients`](crate::FindClients), [`GetClient`](crate::GetClient) and
/// [`GetClientStatus`](crate::GetClientStatus), and those that change something also inside
/// [`By`](crate::By).
pub struct RouterActor {
    pub(super) shared: Arc<EngineContext>,
    supervisor: Addr<SupervisorActor>,
    rules: RoutingTable,
    clients: BTreeMap<ClientId, Client>,
    routes: HashMap<WebhookUrl, Route>,
    // Both buffers are kept to reuse their allocations.
    matches: Vec<Arc<Rule>>,
    encoded: Vec<u8>,
    inbox: VecDeque<Incoming>,
    /// Publishers that wait for room in the inbox.
    line: Line,
    appending: FuturesOrdered<LocalBoxFuture<'static, AppendEnded>>,
    /// Unanswered messages to the supervisor.
    calls: FuturesUnordered<LocalBoxFuture<'static, Answered>>,
    outbox: Outbox,
    /// Events of the outbox that are being set aside, by position.
    marking: FuturesUnordered<LocalBoxFuture<'static, (u64, Result<(), StoreError>)>>,
    closing: Vec<Answerer<()>>,
    closed: bool,
    /// The number of events taken, and the number of those answered.
    taken: u64,
    answered: u64,
    /// Each sender is notified once the number of answered events reaches its count.
    barriers: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// An answer of the supervisor.
enum Answered {
    Woken(WebhookUrl, Option<Addr<SubscriberActor>>),
    Noted,
}

/// An event that is ready to be stored, and its publisher.
type Incoming = (NewEvent, Waiting);

/// The publisher of an event, and the event itself if it may have to be prepared again.
struct Waiting {
    publisher: Publisher,
    again: Option<Box<Event>>,
}

/// The parts that make up the ids of an event's alerts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AlertIds {
    /// The event id and the rule id.
    OfEvent,
    /// Also the client id, if the rule does not name a client.
    OfClient,
}

impl Waiting {
    /// Keeps the event if it may have to be prepared again, because another client may have used
    /// its id.
    fn new(publisher: Publisher, prepared: &NewEvent, event: Event) -> Self {
        let again = !event.has_an_id_of_its_own() && !prepared.alerts_are_its_own;
        Self {
            publisher,
            again: again.then(|| Box::new(event)),
        }
    }
}

/// An append that has ended, with its events and their publishers.
struct AppendEnded {
    events: Arc<[NewEvent]>,
    waiting: Vec<Waiting>,
    result: Result<Vec<Appended>, StoreError>,
}

impl RouterActor {
    pub(crate) fn new(
        shared: Arc<EngineContext>,
        supervisor: Addr<SupervisorActor>,
        rules: Vec<Rule>,
        clients: Vec<Client>,
    ) -> Self {
        let mut router = Self {
            shared,
            supervisor,
            rules: RoutingTable::default(),
            clients: BTreeMap::new(),
            routes: HashMap::new(),
            matches: Vec::new(),
            encoded: Vec::new(),
            inbox: VecDeque::new(),
            line: Line::default(),
            appending: FuturesOrdered::new(),
            calls: FuturesUnordered::new(),
            outbox: Outbox::default(),
            marking: FuturesUnordered::new(),
            closing: Vec::new(),
            closed: false,
            taken: 0,
            answered: 0,
            barriers: VecDeque::new(),
        };
        // Credentials are not entered here: merging the configuration has already entered them.
        let clients = clients.into_iter();
        router.clients = clients.map(|client| (client.id.clone(), client)).collect();
        for rule in rules {
            router.rules.put(rule);
        }
        router
    }

    /// Refuses a message of events if the router is closed or has no room. A batch is accepted as a
    /// whole, because it is in memory already.
    fn admit(&self) -> Result<(), PublishError> {
        if self.closed {
            return Err(PublishError::ShuttingDown);
        }
        // Nothing overtakes the events that wait for room.
        if !self.line.is_empty() || !self.has_room() {
            return Err(self.overloaded());
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.inbox.len() < self.shared.mailbox
    }

    fn overloaded(&self) -> PublishError {
        let waiting = self.inbox.len();
        PublishError::Overloaded(Overload::Waiting { waiting })
    }

    /// Prepares an event and puts it in the inbox.
    fn take_in(&mut self, event: Event, publisher: Publisher) {
        match self.prepare(&event, self.shared.clock.now()) {
            Ok(prepared) => {
                let waiting = Waiting::new(publisher, &prepared, event);
                self.taken += 1;
                self.inbox.push_back((prepared, waiting));
            }
            Err(error) => {
                event.discard();
                publisher.answer(Err(error));
            }
        }
    }

    /// Returns a receiver that is notified once every event prepared so far is stored or refused.
    fn barrier(&mut self) -> oneshot::Receiver<()> {
        let (done, waited) = oneshot::channel();
        self.barriers.push_back((self.taken, done));
        self.pass_barriers();
        waited
    }

    fn pass_barriers(&mut self) {
        while let Some((taken, _)) = self.barriers.front()
            && *taken <= self.answered
        {
            if let Some((_, done)) = self.barriers.pop_front() {
                // A receiver that no longer waits is no error.
                let _ = done.send(());
            }
        }
    }

    /// Finds the rules that an event matches, and encodes its alerts.
    fn prepare(&mut self, event: &Event, now: Timestamp) -> Result<NewEvent, PublishError> {
        event.check()?;
        // No other event can have an id made by the engine, so there is nothing to compare with.
        let content =
            (!event.has_an_id_of_its_own()).then(|| ContentDigest::of(event, &mut self.encoded));
        self.prepare_with(event, now, content, AlertIds::OfEvent)
    }

    /// Prepares an event again, with alert ids of its own, because another client has used its id.
    fn prepare_again(&mut self, event: &Event, first: &NewEvent) -> Result<NewEvent, PublishError> {
        let prepared = self.prepare_with(event, first.at, first.content, AlertIds::OfClient)?;
        Ok(NewEvent {
            outbox: first.outbox,
            ..prepared
        })
    }

    fn prepare_with(
        &mut self,
        event: &Event,
        now: Timestamp,
        content: Option<ContentDigest>,
        ids: AlertIds,
    ) -> Result<NewEvent, PublishError> {
        let mut matches = std::mem::take(&mut self.matches);
        self.rules.matches(event.into(), &mut matches);
        let are_its_own =
            ids == AlertIds::OfClient || matches.iter().all(|rule| rule.client_id.is_some());
        let alerts: Result<Vec<NewAlert>, PublishError> = matches
            .drain(..)
            .map(|rule| self.alert(event, &rule, ids))
            .collect();
        self.matches = matches;
        let alerts = alerts?;
        let unmatched = alerts
            .is_empty()
            .then(|| Unmatched::new(event.rule_type.as_str(), event.company_id.clone()));
        Ok(NewEvent {
            id: event.id.clone(),
            client_id: event.client_id.clone(),
            content,
            alerts_are_its_own: are_its_own,
            at: now,
            alerts,
            unmatched,
            outbox: None,
        })
    }

    fn alert(
        &mut self,
        event: &Event,
        rule: &Rule,
        ids: AlertIds,
    ) -> Result<NewAlert, PublishError> {
        let id = match (ids, &rule.client_id) {
            (AlertIds::OfClient, None) => AlertId::of_client(&event.id, &rule.id, &event.client_id),
            // A rule for one client never matches another client's event with the same id.
            (AlertIds::OfEvent, _) | (AlertIds::OfClient, Some(_)) => {
                AlertId::new(&event.id, &rule.id)
            }
        };
        let client_name = self
            .clients
            .get(&event.client_id)
            .and_then(|client| client.name.as_deref());
        let data = rule.sent_of(event);
        let body = &mut self.encoded;
        body.clear();
        let encoded = rule
            .format
            .encode(event, data.as_ref(), id, &rule.id, client_name, body);
        encoded.map_err(|error| InvalidEvent::not_json(&error))?;
        let (size, limit) = (self.encoded.len(), self.shared.max_body_bytes);
        if size > limit {
            return Err(PublishError::TooLarge { size, limit });
        }
        let alert = Alert {
            id,
            event_id: event.id.clone(),
            rule_id: rule.id.clone(),
            rule_type: event.rule_type.clone(),
            client_id: event.client_id.clone(),
            company_id: event.company_id.clone(),
            format: rule.format,
            // One allocation of the exact size.
            body: Bytes::copy_from_slice(&self.encoded),
        };
        Ok(NewAlert {
            alert: Arc::new(alert),
            urls: Arc::clone(&rule.webhooks),
        })
    }

    /// Stores arrived events and hands on deliveries, in rounds until there is nothing more to do.
    fn poll_all(&mut self, cx: &mut TaskContext<'_>) {
        for _ in 0..ROUNDS_PER_POLL {
            let mut worked = false;
            while let Poll::Ready(Some(ended)) = self.appending.poll_next_unpin(cx) {
                self.on_appended(ended);
                worked = true;
            }
            while let Poll::Ready(Some(answered)) = self.calls.poll_next_unpin(cx) {
                if let Answered::Woken(url, address) = answered {
                    self.on_woken(url, address);
                }
            }
            while let Poll::Ready(Some((seq, marked))) = self.marking.poll_next_unpin(cx) {
                self.on_marked(seq, marked);
            }
            worked |= self.read_outbox(cx);
            worked |= self.serve_line(cx);
            if !self.inbox.is_empty() && self.appending.len() < MAX_APPENDS {
                self.append_arrived(cx);
                worked = true;
            }
            if !worked {
                self.answer_close();
                return;
            }
        }
        // Other tasks on this arbiter need a turn too.
        cx.waker().wake_by_ref();
    }

    /// Sends a message that must not get lost: it waits for a place in the supervisor's mailbox.
    fn tell_supervisor<M>(&mut self, message: M)
    where
        M: actix::Message<Result = ()> + Send + 'static,
        SupervisorActor: Handler<M>,
    {
        // An error can be ignored: the supervisor ends after the router, or with the whole system.
        let sent = self.supervisor.send(message).map(|_| Answered::Noted);
        self.calls.push(sent.boxed_local());
    }

    fn answer_close(&mut self) {
        if self.inbox.is_empty() && self.appending.is_empty() {
            self.closing
                .drain(..)
                .for_each(|answerer| answerer.send(()));
        }
    }

    /// Stores a change of the configuration, applies it and answers.
    ///
    /// The change is stored once `checked` succeeds, after the credentials that it ends. No other
    /// message is handled meanwhile, so the credentials in `ending` are still the right ones when
    /// the change is applied.
    fn change<T: 'static>(
        &self,
        ctx: &mut Context<Self>,
        checked: impl Future<Output = Result<(), RuleError>> + 'static,
        ending: Vec<PastCredential>,
        change: Change,
        apply: impl FnOnce(&mut Self) -> T + 'static,
    ) -> Deferred<Result<T, RuleError>> {
        let (answerer, deferred) = Deferred::new();
        self.change_then(ctx, checked, ending, change, move |router, _, kept| {
            answerer.send(kept.map(|()| apply(router)));
        });
        deferred
    }

    /// Stores a change like `change` does, and then calls `then` with the result.
    fn change_then(
        &self,
        ctx: &mut Context<Self>,
        checked: impl Future<Output = Result<(), RuleError>> + 'static,
        ending: Vec<PastCredential>,
        change: Change,
        then: impl FnOnce(&mut Self, &mut Context<Self>, Result<(), RuleError>) + 'static,
    ) {
        let shared = Arc::clone(&self.shared);
        let changes = ending.iter().cloned().map(Change::KeepPast);
        let changes: Vec<Change> = changes.chain([change]).collect();
        let keep = actix::fut::wrap_future::<_, Self>(async move {
            checked.await?;
            // All changes are requested at once, so that a store can write them together. It
            // applies them in this order.
            let calls = changes.into_iter();
            let calls: Vec<_> = calls
                .map(|change| shared.call(|store| store.apply(change)))
                .collect();
            for kept in calls {
                kept.await.map_err(RuleError::Store)?;
            }
            Ok(())
        });
        ctx.wait(actix::fut::ActorFutureExt::map(
            keep,
            move |result: Result<(), RuleError>, router, ctx| {
                if result.is_ok() {
                    let credentials = &router.shared.credentials;
                    credentials.write(|book| ending.into_iter().for_each(|past| book.keep(past)));
                }
                then(router, ctx, result);
            },
        ));
    }
}

/// Polls everything whenever the actor is woken.
struct Drive;

impl ActorFuture<RouterActor> for Drive {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut RouterActor,
        _: &mut Context<RouterActor>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        actor.poll_all(cx);
        Poll::Pending
    }
}

impl std::fmt::Debug for RouterActor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RouterActor")
            .field("rules", &self.rules.iter().count())
            .finish_non_exhaustive()
    }
}

impl Actor for RouterActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.spawn(Drive);
        ctx.run_interval(FORGET_EVERY, Self::forget_past);
        if self.shared.store.has_outbox() {
            self.outbox.sweep_every(SWEEP_EVERY);
        }
    }
}

/// The interval at which credentials that are no longer needed are forgotten.
const FORGET_EVERY: Duration = Duration::from_hours(1);

/// The interval at which the outbox is read without a request.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The maximum number of events in one append.
const MAX_BATCH: usize = 256;

/// The maximum number of appends under way.
const MAX_APPENDS: usize = 64;

/// The maximum number of rounds in one poll, so that other tasks get their turn.
const ROUNDS_PER_POLL: usize = 8;
