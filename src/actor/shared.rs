//! The state that all actors of one engine share.

use std::sync::Arc;
use std::time::Duration;

use super::acting::Actions;
use super::board::Board;
use super::bodies::Bodies;
use super::clock::Clock;
use super::credentials::Credentials;
use super::permits::Permits;
use super::set_aside::SetAside;
use super::store_call::StoreCall;
use super::tokens::Tokens;
use super::watchers::Watchers;
use crate::store::{Store, StoreClaim, StoreFuture};
use crate::transport::Transport;

/// Handles and limits that every actor of an engine receives.
pub(crate) struct EngineContext {
    /// The engine's exclusive claim on the store, held while one of its actors lives. Declared
    /// before `store`, because the claim must be free when the store is dropped.
    pub(crate) _claim: StoreClaim,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) clock: Clock,
    pub(crate) permits: Arc<Permits>,
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) watchers: Watchers,
    pub(crate) board: Board,
    pub(crate) credentials: Credentials,
    pub(crate) tokens: Tokens,
    pub(crate) set_aside: SetAside,
    pub(crate) actions: Actions,
    /// The name of the header that carries the client id.
    pub(crate) client_id_header: String,
    /// The largest body, in bytes.
    pub(crate) max_body_bytes: usize,
    /// The capacity of the router's and the supervisor's mailboxes, and of the router's inbox.
    pub(crate) mailbox: usize,
    /// The maximum number of idle endpoints without settings that are remembered.
    pub(crate) endpoints_at_rest: usize,
    /// The time that publishers wait for room.
    pub(crate) publish_timeout: Duration,
    /// `true` if subscribers run on several arbiters. These share the processors with each other
    /// and with receivers on the same machine.
    pub(crate) several_arbiters: bool,
    /// The seed of the random number generators.
    pub(crate) seed: u64,
}

impl EngineContext {
    /// Makes a call to the store. A panic in the store does not reach the caller.
    pub(crate) fn call<T>(&self, call: impl FnOnce(&dyn Store) -> StoreFuture<T>) -> StoreCall<T> {
        StoreCall::begin(|| call(&*self.store))
    }
}

impl std::fmt::Debug for EngineContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineContext")
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}
