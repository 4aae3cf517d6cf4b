//! A watcher that notes everything.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::{Actor, Addr, Context, Handler, Message};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::actor::message::{WatchDeliveries, WatchStatus};
use crate::domain::endpoint::status::{DeliveryReport, EndpointStatus};
use crate::domain::value::url::WebhookUrl;
use crate::engine::{Engine, OperateError};

/// An actor that notes what engines tell. Clones have the same notes.
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

    /// Notes the statuses and reports of an engine from now on.
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn watch(&self, engine: &Engine) -> Result<(), OperateError> {
        self.watch_deliveries(engine).await?;
        self.watch_statuses(engine).await
    }

    /// Notes the reports of an engine from now on.
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn watch_deliveries(&self, engine: &Engine) -> Result<(), OperateError> {
        let watch = WatchDeliveries::new(self.actor.clone().recipient());
        let watched = engine.supervisor().send(watch).await;
        watched.map_err(|_| OperateError::Stopped)
    }

    /// Notes the statuses of an engine from now on.
    ///
    /// # Errors
    /// [`OperateError::Stopped`].
    pub async fn watch_statuses(&self, engine: &Engine) -> Result<(), OperateError> {
        let watch = WatchStatus::new(self.actor.clone().recipient());
        let watched = engine.supervisor().send(watch).await;
        watched.map_err(|_| OperateError::Stopped)
    }

    /// Returns all reports, in the order in which they came.
    pub fn reports(&self) -> Vec<DeliveryReport> {
        lock(&self.notes.reports).clone()
    }

    /// Waits until there are so many reports, and returns all.
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

    /// Returns all statuses, in the order in which they came.
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

    /// Waits until everything that was told before is noted.
    pub async fn catch_up(&self) {
        // An actor that has ended with its system will note nothing more.
        let _ = self.actor.send(CatchUp).await;
    }
}

fn lock<T>(notes: &Mutex<T>) -> MutexGuard<'_, T> {
    notes.lock()
}

/// Answered once everything before it is noted: recorder → its actor.
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

/// Nothing is to be lost.
const MAILBOX: usize = 1_000_000;
