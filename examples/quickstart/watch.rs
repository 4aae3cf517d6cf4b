//! Counts how the deliveries of every endpoint end, and prints the endpoints' statuses meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_webhooks::{
    DeliveryReport, EndpointState, EndpointStatus, Engine, OperateError, Outcome, Updates,
};

/// The numbers of ended deliveries of one endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ended {
    pub(crate) delivered: usize,
    pub(crate) dead_lettered: usize,
}

/// The updates of an engine.
pub(crate) struct Watch {
    statuses: Updates<EndpointStatus>,
    reports: Updates<DeliveryReport>,
    shown: BTreeMap<String, EndpointStatus>,
    pub(crate) ended: BTreeMap<String, Ended>,
}

impl Watch {
    pub(crate) async fn of(engine: &Engine) -> Result<Self, OperateError> {
        Ok(Self {
            statuses: engine.watch_statuses(1_024).await?,
            reports: engine.watch_deliveries(1_024).await?,
            shown: BTreeMap::new(),
            ended: BTreeMap::new(),
        })
    }

    /// Waits up to `at_most` until `deliveries` have ended.
    pub(crate) async fn all_ended(&mut self, deliveries: usize, at_most: Duration) {
        if tokio::time::timeout(at_most, self.until(deliveries))
            .await
            .is_err()
        {
            let count = self.count();
            println!("gave up waiting: {count} of {deliveries} deliveries have ended");
        }
    }

    async fn until(&mut self, deliveries: usize) {
        while self.count() < deliveries {
            tokio::select! {
                Some(status) = self.statuses.next() => self.show(status),
                Some(report) = self.reports.next() => self.note(&report),
                else => return,
            }
        }
    }

    fn count(&self) -> usize {
        let ended = self.ended.values();
        ended
            .map(|ended| ended.delivered + ended.dead_lettered)
            .sum()
    }

    fn note(&mut self, report: &DeliveryReport) {
        let ended = self.ended.entry(report.url.as_str().to_owned());
        let ended = ended.or_default();
        match report.outcome {
            Outcome::Delivered => ended.delivered += 1,
            Outcome::DeadLettered { .. } => ended.dead_lettered += 1,
            // The delivery will be retried.
            _ => {}
        }
    }

    /// Prints a status if its state or its count of delivered alerts has changed.
    fn show(&mut self, status: EndpointStatus) {
        let url = status.url.as_str().to_owned();
        let before = self.shown.insert(url, status.clone());
        if before.is_some_and(|before| {
            before.state == status.state && before.delivered == status.delivered
        }) {
            return;
        }
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
