//! An actor that is told how every endpoint does and how every attempt ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Recipient};
use actix_webhooks::{DeliveryReport, EndpointState, EndpointStatus, Outcome};
use tokio::sync::Notify;

/// How the deliveries of one endpoint ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ended {
    pub(crate) delivered: usize,
    pub(crate) dead_lettered: usize,
}

/// A running watcher.
pub(crate) struct Watch {
    addr: Addr<Watcher>,
    notes: Notes,
}

#[derive(Clone, Default)]
struct Notes {
    ended: Arc<Mutex<BTreeMap<String, Ended>>>,
    news: Arc<Notify>,
}

impl Notes {
    fn ended(&self) -> MutexGuard<'_, BTreeMap<String, Ended>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Watcher {
    notes: Notes,
    shown: BTreeMap<String, EndpointStatus>,
}

impl Watch {
    pub(crate) fn start() -> Self {
        let notes = Notes::default();
        let addr = Watcher {
            notes: notes.clone(),
            shown: BTreeMap::new(),
        }
        .start();
        Self { addr, notes }
    }

    pub(crate) fn statuses(&self) -> Recipient<EndpointStatus> {
        self.addr.clone().recipient()
    }

    pub(crate) fn reports(&self) -> Recipient<DeliveryReport> {
        self.addr.clone().recipient()
    }

    pub(crate) fn ended(&self) -> BTreeMap<String, Ended> {
        self.notes.ended().clone()
    }

    /// Waits until so many deliveries have ended, or for so long.
    pub(crate) async fn all_ended(&self, deliveries: usize, at_most: Duration) {
        let count = || {
            self.notes
                .ended()
                .values()
                .map(|ended| ended.delivered + ended.dead_lettered)
                .sum::<usize>()
        };
        let all = async {
            while count() < deliveries {
                self.notes.news.notified().await;
            }
        };
        if tokio::time::timeout(at_most, all).await.is_err() {
            println!(
                "gave up waiting: {} of {deliveries} deliveries have ended",
                count()
            );
        }
    }
}

impl Actor for Watcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(1_024);
    }
}

impl Handler<EndpointStatus> for Watcher {
    type Result = ();

    fn handle(&mut self, status: EndpointStatus, _: &mut Context<Self>) {
        let before = self
            .shown
            .insert(status.url.as_str().to_owned(), status.clone());
        if before.is_none_or(|before| {
            before.state != status.state || before.delivered != status.delivered
        }) {
            let state = match status.state {
                EndpointState::BackingOff { until } => format!("backing off until {until}"),
                EndpointState::RateLimited { until } => format!("rate limited until {until}"),
                other => format!("{other:?}").to_lowercase(),
            };
            println!(
                "{:<34} {:>3} queued {:>2} in flight {:>3} delivered {:>2} dead  {state}",
                status.url.as_str(),
                status.queued,
                status.in_flight,
                status.delivered,
                status.dead_lettered
            );
        }
    }
}

impl Handler<DeliveryReport> for Watcher {
    type Result = ();

    fn handle(&mut self, report: DeliveryReport, _: &mut Context<Self>) {
        let mut ended = self.notes.ended();
        let ended = ended.entry(report.url.as_str().to_owned()).or_default();
        match report.outcome {
            Outcome::Delivered => ended.delivered += 1,
            Outcome::DeadLettered { .. } => ended.dead_lettered += 1,
            _ => return,
        }
        self.notes.news.notify_one();
    }
}
