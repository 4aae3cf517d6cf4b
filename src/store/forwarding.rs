//! Stores that wrap another store. One method forwards every call, so that a wrapper defines its
//! behaviour once.

use std::sync::Arc;

use super::{Store, StoreFuture};

/// The kind of a call, for wrappers that treat some kinds differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// A call on the path of a delivery.
    Hot,
    /// A change or a sweep, which is rare.
    Rare,
    /// A call by an operator or at startup.
    Other,
}

/// A store that wraps another one.
pub(crate) trait StoreLayer: Send + Sync + 'static {
    /// Returns the wrapped store.
    fn behind(&self) -> &dyn Store;

    /// Calls the wrapped store.
    fn around<T: Send + 'static>(
        &self,
        kind: CallKind,
        call: impl FnOnce(&dyn Store) -> StoreFuture<T> + Send + 'static,
    ) -> StoreFuture<T>;
}

/// Implements [`Store`] for a [`StoreLayer`].
macro_rules! forward_store {
    (impl [$($generics:tt)*] for $layer:ty) => {
        impl<$($generics)*> $crate::store::DeliveryStore for $layer {
            fn take_given_up(&self) -> Vec<$crate::store::GivenUp> {
                self.behind().take_given_up()
            }

            forward_store! { @methods
                Hot append(batch: ::std::sync::Arc<[$crate::store::NewEvent]>)
                    -> Vec<$crate::store::Appended>;
                Hot record(batch: ::std::sync::Arc<[$crate::store::AttemptRecord]>) -> ();
                Rare open_summaries(after: Option<$crate::domain::value::url::WebhookUrl>, limit: usize)
                    -> Vec<$crate::store::OpenSummary>;
                Rare resting_endpoints(after: Option<$crate::domain::value::url::WebhookUrl>, limit: usize)
                    -> Vec<($crate::domain::value::url::WebhookUrl, $crate::store::StoredEndpoint)>;
            }

            forward_store! { @of_url
                Hot queued(after: $crate::domain::value::id::DeliveryId, limit: usize)
                    -> Vec<$crate::store::OpenDelivery>;
                Hot waiting(limit: usize) -> Vec<$crate::store::WaitingDelivery>;
                Hot load(ids: Vec<$crate::domain::value::id::DeliveryId>) -> Vec<$crate::store::OpenDelivery>;
                Hot queued_within(after: $crate::domain::value::id::DeliveryId, limit: $crate::store::PageLimit)
                    -> $crate::store::OpenPage;
                Hot load_within(ids: Vec<$crate::domain::value::id::DeliveryId>, bytes: usize)
                    -> $crate::store::Loaded;
                Hot agree(agreed: $crate::store::Agreed) -> ();
                Hot endpoint_summary() -> $crate::store::StoredEndpoint;
            }
        }

        impl<$($generics)*> $crate::store::RecordStore for $layer {
            fn retention(&self) -> Option<$crate::store::Retention> {
                self.behind().retention()
            }

            forward_store! { @methods
                Other attempts(id: $crate::domain::value::id::DeliveryId) -> Vec<$crate::domain::deliveries::attempt::Attempt>;
                Other deliveries(query: $crate::store::DeliveryQuery)
                    -> $crate::store::Page<$crate::domain::deliveries::delivery::Delivery>;
                Other count(query: $crate::store::DeliveryQuery, at_most: u64) -> $crate::store::Count;
                Other delivery(id: $crate::domain::value::id::DeliveryId)
                    -> Option<$crate::store::DeliveryDetails>;
                Other events(id: $crate::domain::value::id::EventId) -> Vec<$crate::store::StoredEvent>;
                Other dead_letters(query: $crate::store::DeadLetterQuery)
                    -> $crate::store::Page<$crate::domain::deliveries::dead_letter::DeadLetter>;
                Other count_dead_letters(query: $crate::store::DeadLetterQuery) -> u64;
                Other count_dead_letters_to(query: $crate::store::DeadLetterQuery, at_most: u64)
                    -> $crate::store::Count;
                Other discard(query: $crate::store::DeadLetterQuery) -> u64;
                Other redeliver(which: $crate::store::Redelivery, now: $crate::domain::value::time::Timestamp)
                    -> Vec<($crate::domain::value::id::DeliveryId, $crate::domain::value::url::WebhookUrl)>;
                Other begin_redelivery(which: $crate::store::Redelivery, now: $crate::domain::value::time::Timestamp)
                    -> $crate::store::RedeliveryJob;
                Other survey(which: $crate::store::Redelivery, at_most: u64) -> $crate::store::Survey;
                Other go_on_redelivering(
                    id: $crate::store::RedeliveryId,
                    limit: usize,
                    now: $crate::domain::value::time::Timestamp
                ) -> Option<$crate::store::RedeliveryStep>;
                Other stop_redelivery(
                    id: $crate::store::RedeliveryId,
                    now: $crate::domain::value::time::Timestamp
                ) -> Option<$crate::store::RedeliveryJob>;
                Other redeliveries() -> Vec<$crate::store::RedeliveryJob>;
                Rare prune(now: $crate::domain::value::time::Timestamp, keep: $crate::store::Retention) -> u64;
                Other open_total() -> u64;
            }

            forward_store! { @of_url
                Other attempts_of(query: $crate::store::AttemptQuery) -> $crate::store::AttemptPage;
                Rare open_of(
                    which: $crate::store::OpenQuery,
                    after: $crate::domain::value::id::DeliveryId,
                    limit: usize
                ) -> Vec<$crate::domain::value::id::DeliveryId>;
                Rare make_due(
                    id: $crate::domain::value::id::DeliveryId,
                    now: $crate::domain::value::time::Timestamp
                ) -> Option<$crate::store::WaitingDelivery>;
                Rare end(
                    ids: Vec<$crate::domain::value::id::DeliveryId>,
                    reason: $crate::domain::deliveries::outcome::DeadLetterReason,
                    now: $crate::domain::value::time::Timestamp
                ) -> Vec<$crate::store::EndedDelivery>;
            }
        }

        impl<$($generics)*> $crate::store::SettingsStore for $layer {
            forward_store! { @methods
                Rare apply(change: $crate::store::Change) -> ();
                Other configuration() -> $crate::store::Configuration;
                Other readable() -> $crate::store::Readable;
                Other removed() -> Vec<$crate::domain::value::url::WebhookUrl>;
                Other past_credentials() -> Vec<$crate::store::PastCredential>;
            }

            forward_store! { @of_url
                Rare remove_endpoint(now: $crate::domain::value::time::Timestamp) -> u64;
            }
        }

        impl<$($generics)*> $crate::store::OutboxStore for $layer {
            fn has_outbox(&self) -> bool {
                self.behind().has_outbox()
            }

            forward_store! { @methods
                Other outbox(after: u64, limit: usize) -> Vec<$crate::store::OutboxEntry>;
                Other reject_outbox(seq: u64, reason: String) -> ();
                Other refused(after: u64, limit: usize) -> Vec<$crate::store::RefusedEntry>;
                Other outbox_summary(at_most: u64) -> $crate::store::OutboxSummary;
            }
        }

        impl<$($generics)*> $crate::store::Store for $layer {
            fn condition(&self) -> Option<::std::sync::Arc<str>> {
                self.behind().condition()
            }

            forward_store! { @methods
                Other claim() -> $crate::store::StoreClaim;
                Other clock() -> $crate::store::StoredClock;
                Other keep_clock(wall_ahead_ms: i64) -> ();
                Rare flush() -> ();
            }
        }
    };
    (@methods $($kind:ident $method:ident($($name:ident: $type:ty),*) -> $answer:ty;)*) => {$(
        fn $method(&self $(, $name: $type)*) -> $crate::store::StoreFuture<$answer> {
            let kind = $crate::store::forwarding::CallKind::$kind;
            self.around(kind, move |store| store.$method($($name),*))
        }
    )*};
    (@of_url $($kind:ident $method:ident($($name:ident: $type:ty),*) -> $answer:ty;)*) => {$(
        fn $method(
            &self,
            url: &$crate::domain::value::url::WebhookUrl
            $(, $name: $type)*
        ) -> $crate::store::StoreFuture<$answer> {
            let (kind, url) = ($crate::store::forwarding::CallKind::$kind, url.clone());
            self.around(kind, move |store| store.$method(&url $(, $name)*))
        }
    )*};
}
#[cfg(feature = "test-util")]
pub(crate) use forward_store;

impl<S: Store> StoreLayer for Arc<S> {
    fn behind(&self) -> &dyn Store {
        &**self
    }

    fn around<T: Send + 'static>(
        &self,
        _: CallKind,
        call: impl FnOnce(&dyn Store) -> StoreFuture<T> + Send + 'static,
    ) -> StoreFuture<T> {
        call(self.behind())
    }
}

forward_store!(impl [S: Store] for Arc<S>);
