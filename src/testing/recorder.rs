//! A watcher that records everything.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::{Actor, Addr, Context, Handler, Message};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::actor::message::{WatchDeliveries, WatchStatus};
use crate::domain::endpoint::status::{DeliveryReport, EndpointStatus};
use crate::domain::value::url::WebhookUrl;
use crate::engine::{Engine, OperateError};

/// An actor that records the statuses and reports of engines. Clones share the records.
///
/// ```
/// use actix_webhooks::testing::{Recorder, ScriptedTransport};
/// use actix_webhooks::{Engine, Event, Outcome, Rule};
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Engine::builder()
///     .transport(ScriptedTransport::new())
///     .rule(Rule::new("r", "*").webhook("https://example.com/hooks")?)
///     .start()
///     .await?;
/// let recorder = Recorder::new();
/// recorder.watch(&engine).await?;
/// engine.publish(Event::new("invoice.paid", "client-1")).await?;
/// let reports = recorder.reports_once(1).await;
/// assert_eq!(reports[0].outcome, Outcome::Delivered);
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Recorder {
    notes: Arc<Notes>,
    actor: Addr<NoteTaker>,
}

#[derive(Debug, Default)]
struct Notes {
    reports: Mutex<Vec<DeliveryReport>>,
    statuses: Mutex<Vec<EndpointStatus>>,
    more: Notify,
}

#[derive(Debug)]
struct NoteTaker(Arc<Notes>);

impl Recorder {
    /// Starts a recorder on this thread, which must run an actix system.
    #[expect(
        clippy::new_without_default,
        reason = "it starts an actor, which a default value should not"
    )]
    pub fn new() -> Self {
        let notes = Arc::<Notes>::default();
        let actor = NoteTaker(Arc::clone(&notes)).start();
        Self { notes, actor }
    }

    /// Records the statuses and reports of an engine from now on.
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn watch(&self, engine: &Engine) -> Result<(), OperateError> {
        self.watch_deliveries(engine).await?;
        self.watch_statuses(engine).await
    }

    /// Records the reports of an engine from now on.
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn watch_deliveries(&self, engine: &Engine) -> Result<(), OperateError> {
        let watch = WatchDeliveries::new(self.actor.clone().recipient());
        let watched = engine.supervisor().send(watch).await;
        watched.map_err(|_| OperateError::Stopped)
    }

    /// Records the statuses of an engine from now on.
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn watch_statuses(&self, engine: &Engine) -> Result<(), OperateError> {
        let watch = WatchStatus::new(self.actor.clone().recipient());
        let watched = engine.supervisor().send(watch).await;
        watched.map_err(|_| OperateError::Stopped)
    }

    /// Returns all reports, in order of arrival.
    pub fn reports(&self) -> Vec<DeliveryReport> {
        lock(&self.notes.reports).clone()
    }

    /// Waits until there are at least `count` reports, and returns all.
    pub async fn reports_once(&self, count: usize) -> Vec<DeliveryReport> {
        loop {
            let more = self.notes.more.notified();
            let reports = self.reports();
            if reports.len() >= count {
                return reports;
            }
            more.await;
        }
    }

    /// Returns all statuses, in order of arrival.
    pub fn statuses(&self) -> Vec<EndpointStatus> {
        lock(&self.notes.statuses).clone()
    }

    /// Returns the last status of each endpoint.
    pub fn latest_statuses(&self) -> BTreeMap<WebhookUrl, EndpointStatus> {
        let statuses = self.statuses().into_iter();
        statuses
            .map(|status| (status.url.clone(), status))
            .collect()
    }

    /// Waits until everything sent before is recorded.
    pub async fn catch_up(&self) {
        // An actor that ended with its system records nothing more.
        let _ = self.actor.send(CatchUp).await;
    }
}

fn lock<T>(notes: &Mutex<T>) -> MutexGuard<'_, T> {
    notes.lock()
}

/// Answered once everything before it is recorded: recorder → its actor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct CatchUp;

impl Actor for NoteTaker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<DeliveryReport> for NoteTaker {
    type Result = ();

    fn handle(&mut self, report: DeliveryReport, _: &mut Context<Self>) {
        lock(&self.0.reports).push(report);
        self.0.more.notify_waiters();
    }
}

impl Handler<EndpointStatus> for NoteTaker {
    type Result = ();

    fn handle(&mut self, status: EndpointStatus, _: &mut Context<Self>) {
        lock(&self.0.statuses).push(status);
    }
}

impl Handler<CatchUp> for NoteTaker {
    type Result = ();

    fn handle(&mut self, _: CatchUp, _: &mut Context<Self>) {}
}

/// Large, so that nothing is lost.
const MAILBOX: usize = 1_000_000;
