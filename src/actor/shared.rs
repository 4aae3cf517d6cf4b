//! What all actors of one engine share.

use std::sync::Arc;
use std::time::Duration;

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

/// Handles and limits that every actor of an engine is given.
pub(crate) struct EngineContext {
    /// That this engine alone works on the store: as long as one of its actors lives. Before the store, which is to be free when it is dropped.
    pub(crate) _claim: StoreClaim,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) clock: Clock,
    pub(crate) permits: Arc<Permits>,
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) watchers: Watchers,
    pub(crate) credentials: Credentials,
    pub(crate) tokens: Tokens,
    pub(crate) set_aside: SetAside,
    /// The name of the header that carries the client id.
    pub(crate) client_id_header: String,
    /// The largest body, in bytes.
    pub(crate) max_body_bytes: usize,
    /// How many messages a mailbox holds.
    pub(crate) mailbox: usize,
    /// How many endpoints without settings are remembered that have nothing to do.
    pub(crate) endpoints_at_rest: usize,
    /// How long publishers wait for room.
    pub(crate) publish_timeout: Duration,
    /// Whether subscribers live on several arbiters, which then share the processors with each other and with receivers on the same machine.
    pub(crate) several_arbiters: bool,
    /// Where chance comes from.
    pub(crate) seed: u64,
}

impl EngineContext {
    /// Makes a call to the store that cannot take its caller down.
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
