//! Counting every endpoint once: by its subscriber while one runs, otherwise by the state that the
//! last one left behind.

use std::sync::Arc;

use actix::{Context, Handler, MessageResult};

use super::{Subscriber, SupervisorActor};
use crate::actor::board::Place;
use crate::actor::message::CountEndpoints;
use crate::domain::endpoint::standing::{EndpointCounts, Standing};
use crate::domain::value::url::WebhookUrl;
use crate::domain::watch::attention::Note;

/// How an endpoint is counted.
#[derive(Debug, Default)]
pub(super) enum Counted {
    #[default]
    Not,
    /// It has no subscriber.
    Resting(Standing),
    /// Its subscriber shows how it is counted.
    Running(Arc<Place>),
}

impl Counted {
    pub(super) fn standing(&self) -> Option<Standing> {
        match self {
            Self::Not => None,
            Self::Resting(standing) => Some(*standing),
            Self::Running(place) => place.standing(),
        }
    }
}

impl SupervisorActor {
    /// Counts an endpoint by the state that its last subscriber left behind, unless one runs.
    ///
    /// Called after every change of an entry; a superfluous call does nothing.
    pub(super) fn recount(&mut self, url: &WebhookUrl) {
        let Some(entry) = self.endpoints.get(url) else {
            return;
        };
        let (standing, failing_since) = match &entry.subscriber {
            Subscriber::Running { .. }
            | Subscriber::Leaving { .. }
            | Subscriber::Removing {
                ending: Some(_), ..
            } => return,
            Subscriber::NotStarted(run) => (run.standing(entry.unreadable), None),
            Subscriber::Retired { past, .. }
            | Subscriber::Restarting(past)
            | Subscriber::Removing { past, .. } => (
                past.standing(entry.unreadable),
                past.tally.health.failing_since,
            ),
        };
        if matches!(entry.counted, Counted::Resting(before) if before == standing) {
            return;
        }
        let before = self.count_as(url, Counted::Resting(standing));
        if !standing.is_well() || before.is_some_and(|before| !before.is_well()) {
            let note = Note::default().with(standing, 0);
            let now = self.shared.clock.now();
            let mut attention = self.shared.board.attention();
            attention.note(url, note, failing_since, now);
        }
    }

    /// Returns the place in which the next subscriber of an endpoint counts, on this arbiter.
    pub(super) fn open_place(&mut self, url: &WebhookUrl, arbiter: usize) -> Arc<Place> {
        self.recount(url);
        let entry = self.endpoints.get(url);
        let standing = entry.and_then(|entry| entry.counted.standing());
        let gauges = self.shared.board.of_arbiter(arbiter);
        let place = Place::open(gauges, standing.unwrap_or_default());
        self.count_as(url, Counted::Running(Arc::clone(&place)));
        place
    }

    /// Counts an endpoint no more, because it is forgotten.
    pub(super) fn uncount(&mut self, url: &WebhookUrl) {
        self.count_as(url, Counted::Not);
        self.shared.board.attention().remove(url);
    }

    /// Counts an endpoint in another way, and returns its standing until now.
    fn count_as(&mut self, url: &WebhookUrl, counted: Counted) -> Option<Standing> {
        let others = self.shared.board.of_others();
        if let Counted::Resting(standing) = counted {
            others.count(standing);
        }
        let entry = self.endpoints.get_mut(url)?;
        let before = std::mem::replace(&mut entry.counted, counted);
        let standing = before.standing();
        match before {
            Counted::Not => {}
            Counted::Resting(standing) => others.uncount(standing),
            Counted::Running(place) => place.close(),
        }
        standing
    }
}

impl Handler<CountEndpoints> for SupervisorActor {
    type Result = MessageResult<CountEndpoints>;

    fn handle(
        &mut self,
        CountEndpoints(urls): CountEndpoints,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let mut counts = EndpointCounts::default();
        let entries = urls.iter().filter_map(|url| self.endpoints.get(url));
        for standing in entries.filter_map(|entry| entry.counted.standing()) {
            counts.add(standing, 1);
        }
        MessageResult(counts)
    }
}
