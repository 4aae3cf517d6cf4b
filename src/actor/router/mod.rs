//! The actor that takes events in: it finds the rules, encodes the alerts, has them stored, and hands the deliveries on.
//!
//! Whatever arrived since the last poll is stored in one call. Appends are answered in the order in which they were made,
//! so that a subscriber is told of its deliveries in the order of their ids.

mod append;
mod from_outbox;
mod handlers;
mod line;
mod past;
mod publisher;
mod reaching;

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
use crate::error::PublishError;
use crate::store::{Appended, Change, NewAlert, NewEvent, PastCredential, StoreError};

/// Takes events in and keeps the rules: the actor that applications publish to.
///
/// It answers [`Publish`](crate::Publish), [`PublishBatch`](crate::PublishBatch), [`PutRule`](crate::PutRule), [`RemoveRule`](crate::RemoveRule),
/// [`ListRules`](crate::ListRules), [`PutClient`](crate::PutClient) and [`RemoveClient`](crate::RemoveClient).
pub struct RouterActor {
    shared: Arc<EngineContext>,
    supervisor: Addr<SupervisorActor>,
    rules: RoutingTable,
    clients: BTreeMap<ClientId, Client>,
    routes: HashMap<WebhookUrl, Route>,
    // Kept for their room.
    matches: Vec<Arc<Rule>>,
    encoded: Vec<u8>,
    inbox: VecDeque<Incoming>,
    /// Publishers that wait for room in the inbox.
    line: Line,
    appending: FuturesOrdered<LocalBoxFuture<'static, AppendEnded>>,
    /// Messages to the supervisor that are not answered yet.
    calls: FuturesUnordered<LocalBoxFuture<'static, Answered>>,
    outbox: Outbox,
    /// Events of the outbox that are being set aside, by their places.
    marking: FuturesUnordered<LocalBoxFuture<'static, (u64, Result<(), StoreError>)>>,
    closing: Vec<Answerer<()>>,
    closed: bool,
    /// How many events were taken in, and how many of them were answered.
    taken: u64,
    answered: u64,
    /// Who waits until so many are answered.
    barriers: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// What the supervisor has answered.
enum Answered {
    Woken(WebhookUrl, Option<Addr<SubscriberActor>>),
    Noted,
}

/// An event that is ready to be stored, and who waits for the receipt.
type Incoming = (NewEvent, Waiting);

/// Who waits for a receipt, and the event if it may have to be prepared again.
struct Waiting {
    publisher: Publisher,
    again: Option<Box<Event>>,
}

/// What the ids of an event's alerts are made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AlertIds {
    /// The ids of event and rule.
    OfEvent,
    /// Also that of the client, where the rule does not name one.
    OfClient,
}

impl Waiting {
    /// Keeps an event that may have to be prepared again: under an id that another client may have used too.
    fn new(publisher: Publisher, prepared: &NewEvent, event: Event) -> Self {
        let again = !event.has_an_id_of_its_own() && !prepared.alerts_are_its_own;
        Self {
            publisher,
            again: again.then(|| Box::new(event)),
        }
    }
}

/// An append that has ended, with what it was about.
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
        // What they give is known already: it was looked through before they were kept.
        let clients = clients.into_iter();
        router.clients = clients.map(|client| (client.id.clone(), client)).collect();
        for rule in rules {
            router.rules.put(rule);
        }
        router
    }

    /// Refuses a message with events that cannot be taken. A batch is taken as a whole: it is in memory already.
    fn admit(&self) -> Result<(), PublishError> {
        if self.closed {
            return Err(PublishError::ShuttingDown);
        }
        // Nobody passes those that wait.
        if !self.line.is_empty() || !self.has_room() {
            return Err(self.overloaded());
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.inbox.len() < self.shared.mailbox
    }

    fn overloaded(&self) -> PublishError {
        PublishError::Overloaded(format!("{} events wait to be stored", self.inbox.len()))
    }

    /// Prepares an event and has it wait to be stored.
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

    /// Returns a future that is ready once what was prepared until now is stored or refused.
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
                // One that no longer waits is no error.
                let _ = done.send(());
            }
        }
    }

    /// Finds what an event leads to and encodes it.
    fn prepare(&mut self, event: &Event, now: Timestamp) -> Result<NewEvent, PublishError> {
        event.check()?;
        // What nobody else can have needs no comparing.
        let content =
            (!event.has_an_id_of_its_own()).then(|| ContentDigest::of(event, &mut self.encoded));
        self.prepare_with(event, now, content, AlertIds::OfEvent)
    }

    /// Prepares an event again whose id another client has used before: as one whose alerts have ids of their own.
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
        self.rules.matches(event, &mut matches);
        let are_its_own =
            ids == AlertIds::OfClient || matches.iter().all(|rule| rule.client_id.is_some());
        let alerts: Result<Vec<NewAlert>, PublishError> = matches
            .drain(..)
            .map(|rule| self.alert(event, &rule, ids))
            .collect();
        self.matches = matches;
        Ok(NewEvent {
            id: event.id.clone(),
            client_id: event.client_id.clone(),
            content,
            alerts_are_its_own: are_its_own,
            at: now,
            alerts: alerts?,
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
            // A rule for one client never sees the same id of another.
            (AlertIds::OfEvent, _) | (AlertIds::OfClient, Some(_)) => {
                AlertId::new(&event.id, &rule.id)
            }
        };
        let client_name = self
            .clients
            .get(&event.client_id)
            .and_then(|client| client.name.as_deref());
        self.encoded.clear();
        let encoded = rule
            .format
            .encode(event, id, &rule.id, client_name, &mut self.encoded);
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
            // As large as it is, in one allocation.
            body: Bytes::copy_from_slice(&self.encoded),
        };
        Ok(NewAlert {
            alert: Arc::new(alert),
            urls: Arc::clone(&rule.webhooks),
        })
    }

    /// Stores what has arrived and hands on what was stored, in rounds until there is nothing more to do.
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
        // Others on this arbiter want their turn too.
        cx.waker().wake_by_ref();
    }

    /// Sends a message that must not get lost: it waits for a place in the supervisor's mailbox.
    fn tell_supervisor<M>(&mut self, message: M)
    where
        M: actix::Message<Result = ()> + Send + 'static,
        SupervisorActor: Handler<M>,
    {
        // The supervisor ends after the router, or with the whole system.
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

    /// Has a change of the configuration kept once it was `checked`, after the credentials that it ends; then applies it and
    /// answers. Nothing else is done meanwhile, so that what ends now is what ends then.
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

    /// The same, and goes on with `then` in whatever way.
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
            // Asked for all at once, so that a store can write them together; it does so in this order.
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

/// How often it is looked for credentials that nothing can need any more.
const FORGET_EVERY: Duration = Duration::from_hours(1);

/// How often the outbox is looked into without being told.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How many events one append stores at most.
const MAX_BATCH: usize = 256;

/// How many appends are under way at most.
const MAX_APPENDS: usize = 64;

/// How many rounds one poll has before others get theirs.
const ROUNDS_PER_POLL: usize = 8;
