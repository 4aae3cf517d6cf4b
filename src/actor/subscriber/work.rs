//! Start of attempts and store calls: the actor owns them and collects their results when polled.

use std::future::ready;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures_util::future::LocalBoxFuture;
use futures_util::{FutureExt as _, TryFutureExt as _};

use super::{Completed, SubscriberActor};
use crate::actor::clock::Clock;
use crate::actor::store_call::StoreCall;
use crate::actor::tokens::token_header;
use crate::domain::authorisation::oauth2::ClientCredentials;
use crate::domain::credentials::Authorization;
use crate::domain::deliveries::attempt::Exchange;
use crate::domain::deliveries::outcome::Failure;
use crate::domain::endpoint::settings::Endpoint;
use crate::domain::machine::read::{Found, Read};
use crate::domain::machine::{Action, AttemptOrder};
use crate::domain::value::id::DeliveryId;
use crate::domain::value::secret::Secret;
use crate::domain::value::time::Timestamp;
use crate::domain::value::wall::OnWall as _;
use crate::store::{PageLimit, StoreError};
use crate::transport::{Channel, Request, StatusSeen, exchange, exchange_with_token};

impl SubscriberActor {
    /// Starts attempts while the endpoint allows them and the process has permits. Returns `true`
    /// if any was started.
    pub(super) fn start_attempts(&mut self, now: Timestamp) -> bool {
        let mut started = false;
        while let Some(client) = self.machine.next_client(now) {
            let class = self.machine.permit_class();
            let Some(permit) = self.holdings.take(class, client) else {
                break;
            };
            let begun = Clock::instant();
            let Some(order) = self
                .machine
                .start(self.shared.clock.at_latest(begun), permit)
            else {
                self.holdings.give_back(permit);
                break;
            };
            let attempt = self.attempt(order, now);
            self.active.get_or_insert_default().running.push(attempt);
            started = true;
        }
        started
    }

    pub(super) fn attempt(
        &mut self,
        order: AttemptOrder,
        now: Timestamp,
    ) -> LocalBoxFuture<'static, Completed> {
        let AttemptOrder {
            delivery_id,
            alert,
            number,
        } = order;
        let endpoint = self.endpoint.as_deref();
        if endpoint.is_some_and(|endpoint| !endpoint.is_for(Some(&alert.client_id))) {
            return contained(delivery_id, ready(Exchange::failed(Failure::OtherClient)));
        }
        let credentials = &self.shared.credentials;
        let is_past = || credentials.read(|book| book.is_past(&alert, &self.url));
        if self.shared.set_aside.withholds(&alert, is_past) {
            return contained(delivery_id, ready(Exchange::failed(Failure::Unreadable)));
        }
        let authorization = credentials.authorization(&alert, &self.url, &self.authorization);
        let (authorization, token) = match authorization {
            Authorization::Header(header) => (header, None),
            Authorization::Token(credentials) => (None, Some(credentials)),
        };
        let endpoint = self.endpoint.as_deref();
        let request = Request {
            shows_credentials: authorization.is_some()
                || token.is_some()
                || endpoint.is_some_and(Endpoint::shows_credentials),
            url: self.url.clone(),
            alert,
            attempt: number,
            sent_at: self.shared.clock.offset().to_wall(now),
            authorization,
            left_origin: false,
            seen: StatusSeen::default(),
        };
        match token {
            None => {
                let attempt = exchange(self.channel(), request, Arc::clone(&self.policy));
                contained(delivery_id, attempt)
            }
            Some(credentials) => {
                let attempt = self.attempt_with_token(request, credentials);
                contained(delivery_id, attempt)
            }
        }
    }

    fn attempt_with_token(
        &mut self,
        request: Request,
        credentials: Arc<ClientCredentials>,
    ) -> impl Future<Output = Exchange> + 'static {
        let shared = Arc::clone(&self.shared);
        let connect_timeout = self.policy.connect_timeout;
        let token = async move |refused: Option<&Secret>| {
            token_header(&shared, &credentials, connect_timeout, refused).await
        };
        exchange_with_token(self.channel(), request, Arc::clone(&self.policy), token)
    }

    pub(super) fn channel(&mut self) -> Rc<dyn Channel> {
        let active = self.active.get_or_insert_default();
        let open = || {
            let header = &self.shared.client_id_header;
            if let Some(endpoint) = &self.endpoint {
                self.shared.transport.open(endpoint, header)
            } else {
                let endpoint = Endpoint::at(self.url.clone()).policy((*self.policy).clone());
                self.shared.transport.open(&endpoint, header)
            }
        };
        Rc::clone(active.channel.get_or_insert_with(|| Rc::from(open())))
    }

    /// Performs the machine's actions. Returns `true` if there were any.
    pub(super) fn perform(&mut self, now: Timestamp, cx: &mut TaskContext<'_>) -> bool {
        if self.actions.is_empty() {
            return false;
        }
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Record(record) => self.records.push(record),
                Action::Read(read) => self.read(now, cx, read),
                Action::Agree(agreed) => {
                    let (store, url) = (&self.shared.store, &self.url);
                    let call = StoreCall::begin(|| store.agree(url, agreed));
                    self.submit(now, cx, call, Completed::Agreed);
                }
                Action::CountAsLate(permits) => self.holdings.count_as_late(&permits),
                Action::TellCircuitOpen { until } => {
                    let until = until.on_wall(self.shared.clock.offset());
                    let url = self.url.without_query();
                    log::warn!(
                        endpoint = url, until:% = until;
                        "circuit of endpoint {url} opened; attempts wait until {until}"
                    );
                }
                Action::TellDisabled(reason) => self.tell_disabled(reason),
                Action::Rest => self.rest(),
            }
        }
        self.write_records(now);
        if self.actions.is_empty() && self.active.is_some() {
            // No action was added meanwhile, so the allocation is reused. At rest it is freed.
            self.actions = actions;
        } else {
            self.records = Vec::new();
        }
        true
    }

    fn read(&mut self, now: Timestamp, cx: &mut TaskContext<'_>, read: Read) {
        let (store, url) = (&self.shared.store, &self.url);
        let bytes = if read.brings_bodies() {
            self.bodies.begin_read(self.machine.bytes_wanted())
        } else {
            0
        };
        let call = StoreCall::begin(|| match &read {
            Read::Endpoint => store.endpoint_summary(url).map_ok(Found::Endpoint).boxed(),
            Read::Queued { after, limit } => {
                let limit = PageLimit {
                    deliveries: *limit,
                    bytes,
                };
                let page = store.queued_within(url, *after, limit);
                page.map_ok(Found::Queued).boxed()
            }
            Read::Waiting { limit } => store.waiting(url, *limit).map_ok(Found::Waiting).boxed(),
            Read::Due(ids) => {
                let loaded = store.load_within(url, ids.clone(), bytes);
                loaded.map_ok(Found::Due).boxed()
            }
        });
        self.submit(now, cx, call, move |found| {
            Completed::Read(read, bytes, found)
        });
    }

    /// Polls a store call once, because an in-memory store answers at once. Keeps a call that is
    /// still pending.
    pub(super) fn submit<T: 'static>(
        &mut self,
        now: Timestamp,
        cx: &mut TaskContext<'_>,
        mut call: StoreCall<T>,
        done: impl FnOnce(Result<T, StoreError>) -> Completed + 'static,
    ) {
        match call.poll_unpin(cx) {
            Poll::Ready(result) => self.on_completed(now, done(result)),
            Poll::Pending => self
                .active
                .get_or_insert_default()
                .running
                .push(call.map(done).boxed_local()),
        }
    }
}

/// Makes an attempt, and turns a panic in it into a failure of this attempt alone.
fn contained(
    id: DeliveryId,
    attempt: impl Future<Output = Exchange> + 'static,
) -> LocalBoxFuture<'static, Completed> {
    let panicked = |_| Exchange::failed(Failure::Panicked);
    let attempt = AssertUnwindSafe(attempt).catch_unwind();
    attempt
        .map(move |ended| Completed::Attempt(id, ended.unwrap_or_else(panicked)))
        .boxed_local()
}
