//! The steps of a world: actions of the application and of operators, and restarts.

use std::rc::Rc;
use std::time::Duration;

use actix_webhooks::testing::Recorder;
use actix_webhooks::{
    Endpoint, Engine, Event, PauseEndpoint, PublishBatch, PublishError, Receipt, Redeliver,
    RemoveEndpoint, ResumeEndpoint, WebhookUrl,
};
use futures_util::future::join_all;

use super::ledger::{Bounds, Ledger};
use super::run::{Life, Published};
use super::watch::{Heard, start};
use super::world::{HEALED, Step, default_policy};

impl Life<'_> {
    pub(crate) async fn take(&mut self, step: &Step) {
        match step {
            Step::Publish { events, as_batch } => self.publish(events.clone(), *as_batch),
            Step::Pause(place) => self.pause(&self.world.places[*place].url).await,
            Step::Resume(place) => self.resume(&self.world.places[*place].url).await,
            Step::Put(endpoint) => self.put(endpoint).await,
            Step::Redeliver(draw) => self.redeliver(*draw).await,
            Step::Remove(place) => self.remove(&self.world.places[*place].url).await,
            Step::Heal => self.store.set(HEALED),
            Step::Restart(deadline) => self.restart(*deadline).await,
        }
    }

    fn publish(&mut self, events: Vec<Event>, as_batch: bool) {
        self.ledger.line(&format!(
            "publish {:?}",
            events
                .iter()
                .map(|event| event.id.as_str())
                .collect::<Vec<_>>()
        ));
        let (engine, published, ledger) = (
            self.engine.clone(),
            Rc::clone(&self.published),
            self.ledger.clone(),
        );
        let (faulty, narrow) = (self.world.is_faulty(), self.world.mailbox < 256);
        self.tasks.push(actix_rt::spawn(async move {
            let results = publish(&engine, &events, as_batch).await;
            for (event, result) in events.into_iter().zip(results) {
                match result {
                    Ok(receipt) => published.borrow_mut().accept(event, &receipt, &ledger),
                    Err(PublishError::Store(_)) if faulty => {
                        published.borrow_mut().refused.push(event);
                    }
                    Err(PublishError::Overloaded(_)) if narrow => {
                        published.borrow_mut().refused.push(event);
                    }
                    Err(PublishError::ShuttingDown) => published.borrow_mut().refused.push(event),
                    Err(error) => ledger.problem(format!("{} is refused: {error:?}", event.id)),
                }
            }
        }));
    }

    pub(crate) fn publish_refused(&mut self) {
        let refused = std::mem::take(&mut self.published.borrow_mut().refused);
        if !refused.is_empty() {
            self.publish(refused, true);
        }
    }

    async fn pause(&self, url: &str) {
        self.ledger.line(&format!("pause {url}"));
        if self
            .engine
            .supervisor()
            .send(PauseEndpoint::new(url))
            .await
            .unwrap()
            .is_ok()
        {
            self.bounds(url, |bounds| bounds.paused = true);
        }
    }

    pub(crate) async fn resume(&self, url: &str) {
        self.ledger.line(&format!("resume {url}"));
        let parsed = WebhookUrl::parse(url).unwrap();
        let now = self.ledger.now();
        self.ledger.notes().resume(&parsed, now);
        // An endpoint is unknown if it was removed and has had no event since.
        drop(
            self.engine
                .supervisor()
                .send(ResumeEndpoint::new(url))
                .await
                .unwrap(),
        );
    }

    async fn put(&self, endpoint: &Endpoint) {
        let (url, max) = (endpoint.url.as_str(), endpoint.policy.max_in_flight);
        self.ledger.line(&format!("put {url} max {max}"));
        self.bounds(url, |bounds| {
            bounds.max_in_flight = bounds.max_in_flight.max(max);
        });
        self.engine.put_endpoint(endpoint.clone()).await.unwrap();
        self.bounds(url, |bounds| bounds.max_in_flight = max);
    }

    async fn redeliver(&mut self, draw: usize) {
        let all = self.deliveries().await;
        let Some(delivery) = all.get(draw % all.len().max(1)) else {
            return;
        };
        self.ledger.line(&format!(
            "redeliver {} of {} to {}",
            delivery.id, delivery.event_id, delivery.url
        ));
        self.ledger
            .notes()
            .keys
            .entry((delivery.url.clone(), delivery.alert_id))
            .or_default()
            .redelivered += 1;
        match self
            .engine
            .supervisor()
            .send(Redeliver::one(delivery.id))
            .await
            .unwrap()
        {
            Ok(fresh) => self.fresh.extend(fresh),
            Err(error) => self.ledger.problem(format!(
                "delivery {} cannot be redelivered: {error}",
                delivery.id
            )),
        }
        self.again.insert(delivery.id);
    }

    async fn remove(&self, url: &str) {
        self.ledger.line(&format!("remove {url}"));
        self.ledger
            .notes()
            .removed
            .insert(WebhookUrl::parse(url).unwrap());
        // The endpoint loses its settings, its hold and its pause, and its attempts in flight are
        // broken off.
        self.bounds(url, |bounds| {
            (bounds.paused, bounds.max_in_flight) = (false, default_policy().max_in_flight);
        });
        self.bounds(url, Bounds::release);
        drop(
            self.engine
                .supervisor()
                .send(RemoveEndpoint::new(url))
                .await
                .unwrap(),
        );
        self.bounds(url, Bounds::release);
    }

    async fn restart(&mut self, deadline: Duration) {
        self.ledger.line("restart");
        let report = self.engine.shutdown(deadline).await;
        self.ledger.line(&format!("stopped: {report:?}"));
        self.finish_tasks().await;
        if self.transport.receivers.in_flight() > 0 {
            self.ledger.problem("attempts outlive their engine");
        }
        let recorded = self.recorded();
        let lost = self.ledger.notes().forget_unrecorded(&recorded);
        let removed = !self.ledger.notes().removed.is_empty();
        if u64::from(lost) != report.aborted && !self.world.is_faulty() && !removed {
            self.ledger.problem(format!(
                "{lost} attempts are not on record, {} were broken off",
                report.aborted
            ));
        }
        self.heard = Heard {
            reports: self.heard.reports.clone(),
            statuses: Recorder::new(),
        };
        let seed = self.world.seed + (self.engines << 32);
        self.engine = start(
            self.world,
            &self.clock,
            &self.store,
            &self.transport,
            (seed, &self.heard),
            Vec::new(),
        )
        .await;
        self.engines += 1;
    }

    pub(crate) async fn finish_tasks(&mut self) {
        for task in self.tasks.drain(..) {
            if !matches!(
                tokio::time::timeout(Duration::from_hours(1), task).await,
                Ok(Ok(()))
            ) {
                self.ledger.problem("a publisher never gets its answer");
            }
        }
        // Lets watchers read what they were sent meanwhile.
        self.clock.sleep(Duration::from_millis(1)).await;
    }

    fn bounds(&self, url: &str, change: impl FnOnce(&mut Bounds)) {
        change(
            self.ledger
                .notes()
                .endpoints
                .get_mut(&WebhookUrl::parse(url).unwrap())
                .unwrap(),
        );
    }
}

impl Published {
    fn accept(&mut self, event: Event, receipt: &Receipt, ledger: &Ledger) {
        let before = self
            .accepted
            .insert(event.id.clone(), (event, receipt.deliveries));
        if let Some((event, deliveries)) =
            before.filter(|(_, deliveries)| *deliveries != receipt.deliveries)
        {
            ledger.problem(format!(
                "{} has receipts for {deliveries} and {} deliveries",
                event.id, receipt.deliveries
            ));
        }
    }
}

async fn publish(
    engine: &Engine,
    events: &[Event],
    as_batch: bool,
) -> Vec<Result<Receipt, PublishError>> {
    if !as_batch {
        return join_all(events.iter().map(|event| engine.publish(event.clone()))).await;
    }
    match engine
        .router()
        .send(PublishBatch::new(events.iter().cloned()))
        .await
    {
        Ok(results) => results,
        Err(_) => events
            .iter()
            .map(|_| Err(PublishError::ShuttingDown))
            .collect(),
    }
}
