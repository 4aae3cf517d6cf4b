//! Past credentials: those that a change ends, and forgetting those that are no longer needed.

use std::time::Duration;

use actix::fut::{ActorFutureExt as _, wrap_future};
use actix::{AsyncContext as _, Context};

use super::RouterActor;
use crate::domain::credentials::CredentialOwner;
use crate::domain::routing::rule::Rule;
use crate::domain::value::id::RuleId;
use crate::domain::value::time::Timestamp;
use crate::store::{Change, PastCredential};

impl RouterActor {
    /// Returns the credentials that end when a rule is put, or removed (`None`).
    pub(super) fn before_rule(&self, id: &RuleId, put: Option<&Rule>) -> Vec<PastCredential> {
        let now = self.shared.clock.now();
        let credentials = &self.shared.credentials;
        credentials.read(|book| book.before_rule(id, put, now))
    }

    /// Forgets credentials that ended longer ago than the store keeps ended deliveries and dead
    /// letters.
    ///
    /// Forgets at most `FORGOTTEN_AT_ONCE` per run. A rule's credential is kept while its endpoint
    /// has open deliveries.
    pub(super) fn forget_past(&mut self, ctx: &mut Context<Self>) {
        let retention = self.shared.store.retention();
        let kept_for = retention.map_or(KEPT_WITHOUT_RETENTION, |retention| {
            retention.ended.max(retention.dead_letters)
        });
        let cut = self.shared.clock.now().before(kept_for);
        let credentials = &self.shared.credentials;
        let mut old = credentials.read(|book| book.older_than(cut));
        old.truncate(FORGOTTEN_AT_ONCE);
        if old.is_empty() {
            return;
        }
        let store = std::sync::Arc::clone(&self.shared.store);
        let unneeded = async move {
            let mut unneeded = Vec::new();
            for (owner, url) in old {
                let open = match url {
                    Some(url) => store
                        .endpoint_summary(&url)
                        .await
                        .map_or(u64::MAX, |known| known.open),
                    None => 0,
                };
                unneeded.extend((open == 0).then_some(owner));
            }
            unneeded
        };
        ctx.spawn(
            wrap_future::<_, Self>(unneeded).map(move |unneeded, router, ctx| {
                for owner in unneeded {
                    router.forget(owner, cut, ctx);
                }
            }),
        );
    }

    /// Forgets a credential, unless it has ended a second time meanwhile.
    fn forget(&mut self, owner: CredentialOwner, cut: Timestamp, ctx: &mut Context<Self>) {
        let credentials = &self.shared.credentials;
        if !credentials.read(|book| book.ended_before(&owner, cut)) {
            return;
        }
        let change = Change::ForgetPast(owner.key());
        let kept = self.shared.call(|store| store.apply(change));
        let forgotten = wrap_future::<_, Self>(kept).map(move |kept, router, _| match kept {
            Ok(()) => router.shared.credentials.write(|book| book.forget(&owner)),
            Err(error) => {
                log::warn!(error:? = error; "a past credential could not be forgotten; retrying in an hour: {error}");
            }
        });
        ctx.wait(forgotten);
    }
}

/// The time for which past credentials are kept if the store has no retention times.
const KEPT_WITHOUT_RETENTION: Duration = Duration::from_hours(30 * 24);

/// The maximum number of credentials checked in one run.
const FORGOTTEN_AT_ONCE: usize = 1_000;
