//! Access tokens: one per set of client credentials, shared by all attempts that need it, on any
//! thread.
//!
//! Fetches are single-flight. An attempt that finds no token fetches one itself, and the fetch ends
//! with the attempt. Other attempts wait for it; if it is given up, one of them takes over.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use foldhash::HashMap;
use parking_lot::{Mutex, MutexGuard};

use super::clock::Clock;
use super::shared::EngineContext;
use zeroize::Zeroizing;

use crate::domain::authorisation::oauth2::ClientCredentials;
use crate::domain::authorisation::token_answer::{IssuedToken, NoToken, read_token};
use crate::domain::authorisation::token_cache::{TokenCache, TokenStep};
use crate::domain::deliveries::outcome::Failure;
use crate::domain::value::secret::Secret;
use crate::domain::value::time::Timestamp;
use crate::transport::TokenRequest;

/// The tokens of one engine.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Mutex<Slots>);

#[derive(Debug, Default)]
struct Slots {
    slots: HashMap<Arc<ClientCredentials>, Arc<Slot>>,
    /// The number of slots at which unused ones are removed.
    enough: usize,
}

/// The token of one set of credentials.
#[derive(Debug, Default)]
struct Slot(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    cache: TokenCache,
    /// Attempts that wait for the fetch under way. Some may have ended meanwhile.
    wakers: Vec<Waker>,
}

/// Returns the `Authorization` header for an attempt, fetching a token if needed.
///
/// `refused` is the header that the receiver answered with 401. `None` means that no other token
/// can be obtained.
pub(crate) async fn token_header(
    shared: &EngineContext,
    credentials: &Arc<ClientCredentials>,
    connect_timeout: Duration,
    refused: Option<&Secret>,
) -> Result<Option<Secret>, Failure> {
    let slot = shared.tokens.slot(credentials, shared.clock.now());
    loop {
        match slot.next_step(&shared.clock, refused).await {
            TokenStep::Use(header) => return Ok(Some(header)),
            TokenStep::Fail(failure) => return Err(failure),
            TokenStep::Refused => return Ok(None),
            // Never returned: `next_step` stays pending instead.
            TokenStep::Wait => {}
            TokenStep::Fetch => {
                let fetch = Fetch::begin(&slot, &shared.clock);
                let fetched = fetch_token(shared, credentials, connect_timeout).await;
                fetch.end(fetched);
            }
        }
    }
}

async fn fetch_token(
    shared: &EngineContext,
    credentials: &ClientCredentials,
    connect_timeout: Duration,
) -> Result<IssuedToken, Failure> {
    let request = TokenRequest {
        url: credentials.token_url.clone(),
        authorization: credentials.authorization(),
        form: wiped(credentials.form()),
        connect_timeout,
    };
    let told = |reason: &dyn std::fmt::Display| {
        let token_url = credentials.token_url.without_query();
        log::warn!(token_url, reason:% = reason; "access token could not be fetched from {token_url}: {reason}");
    };
    match shared.transport.request_token(request).await {
        Ok(answer) => read_token(answer.status, &answer.body).map_err(|problem: NoToken| {
            told(&problem);
            Failure::Token
        }),
        Err(failure) => {
            told(&failure);
            // These failures are permanent: the transport cannot make the request, or the address
            // is forbidden.
            let for_good = matches!(failure, Failure::Unsendable | Failure::Blocked);
            Err(if for_good { failure } else { Failure::Token })
        }
    }
}

/// Returns the form as bytes that are wiped when the request is dropped.
fn wiped(form: Zeroizing<String>) -> Bytes {
    struct Form(Zeroizing<String>);

    impl AsRef<[u8]> for Form {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }

    Bytes::from_owner(Form(form))
}

impl Tokens {
    fn slot(&self, credentials: &Arc<ClientCredentials>, now: Timestamp) -> Arc<Slot> {
        let mut slots = self.0.lock();
        if let Some(slot) = slots.slots.get(credentials) {
            return Arc::clone(slot);
        }
        slots.make_room(now);
        let slot = Arc::default();
        slots
            .slots
            .insert(Arc::clone(credentials), Arc::clone(&slot));
        slot
    }
}

impl Slots {
    /// Removes unused slots once their number has doubled since the last time.
    fn make_room(&mut self, now: Timestamp) {
        if self.slots.len() < self.enough {
            return;
        }
        self.slots.retain(|_, slot| {
            Arc::strong_count(slot) > 1 || slot.lock().cache.is_worth_keeping(now)
        });
        self.enough = self.slots.len().saturating_mul(2).max(FEW_SLOTS);
    }
}

impl Slot {
    /// Returns the next step, waiting while another attempt fetches.
    async fn next_step(&self, clock: &Clock, refused: Option<&Secret>) -> TokenStep {
        poll_fn(|cx| {
            let mut waiting = self.lock();
            let step = waiting.cache.ask(clock.now(), refused);
            if step == TokenStep::Wait {
                waiting.wakers.push(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(step)
        })
        .await
    }

    /// Changes the cache and wakes all waiting attempts.
    fn change(&self, change: impl FnOnce(&mut TokenCache)) {
        let mut waiting = self.lock();
        change(&mut waiting.cache);
        let wakers = std::mem::take(&mut waiting.wakers);
        drop(waiting);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock()
    }
}

/// A fetch under way. Dropping it ends the fetch, so that no attempt waits forever.
struct Fetch<'a> {
    slot: &'a Slot,
    clock: &'a Clock,
    ended: bool,
}

impl<'a> Fetch<'a> {
    fn begin(slot: &'a Slot, clock: &'a Clock) -> Self {
        Self {
            slot,
            clock,
            ended: false,
        }
    }

    fn end(mut self, fetched: Result<IssuedToken, Failure>) {
        self.ended = true;
        // Rounded so that no token is used after it expires, and no retry comes early.
        let (now, at_latest) = (self.clock.now(), self.clock.at_latest(Clock::instant()));
        self.slot.change(|cache| match fetched {
            Ok(token) => cache.on_issued(now, token),
            Err(failure) => cache.on_failed(at_latest, failure),
        });
    }
}

impl Drop for Fetch<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let now = self.clock.now();
            self.slot.change(|cache| cache.on_given_up(now));
        }
    }
}

/// Below this number of slots, a search for unused ones is not worthwhile.
const FEW_SLOTS: usize = 64;
