//! Credentials that are given no longer: what ends with a change, and forgetting what nothing can need any more.

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

    /// Forgets some of the credentials that ended so long ago that no dead letter is left of their time, unless something is
    /// still open where they went.
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

    /// Forgets a credential, unless it has ended once more meanwhile.
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
                log::warn!(error:? = error; "a credential of the past could not be forgotten ({error}); tried again in an hour");
            }
        });
        ctx.wait(forgotten);
    }
}

/// For how long a store that does not say for how long it keeps things needs credentials of the past.
const KEPT_WITHOUT_RETENTION: Duration = Duration::from_hours(30 * 24);

/// How many of them are looked at in one go.
const FORGOTTEN_AT_ONCE: usize = 1_000;
