//! Settings of the durable store.

use std::time::Duration;

use super::seal::Encryption;
use crate::store::BacklogLimits;

/// Settings of a [`SqliteStore`](super::SqliteStore).
///
/// ```
/// use std::time::Duration;
/// use actix_webhooks::store::{SqliteOptions, SqliteStore};
///
/// # fn main() -> Result<(), actix_webhooks::store::StoreError> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("webhooks.db");
/// let options = SqliteOptions {
///     keep_ended: Duration::from_hours(24),
///     max_bytes: 1 << 30,
///     ..SqliteOptions::default()
/// };
/// let store = SqliteStore::open_with(&path, options)?;
/// # drop(store);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    /// How much may be open.
    pub backlog: BacklogLimits,
    /// For how long deliveries are kept, with their attempts, to be listed and redelivered: those delivered, and dead letters that were redelivered or
    /// discarded. Defaults to 7 days.
    pub keep_ended: Duration,
    /// For how long dead letters are kept that nobody redelivered or discarded. Defaults to 30 days.
    pub keep_dead_letters: Duration,
    /// For how long the ids of events are remembered at least, so that publishing one again delivers nothing. Defaults to 24 h; those whose
    /// deliveries are kept longer are remembered longer.
    pub keep_event_ids: Duration,
    /// How large the file may become before something is forgotten earlier; what is open is always kept. The application's own tables in the file count too.
    /// Then goes, in this order: ids of events, as far as they take up more than a quarter of it, even those younger than
    /// `keep_event_ids`; the oldest deliveries that have ended, with the ids of events that are older than those that are left and than `keep_event_ids`; the
    /// oldest dead letters of the endpoints that have the most of them, so that one receiver cannot push out the dead letters of the others. Ids that were younger
    /// and dead letters are counted ([`SqliteStore::forgotten_early`](super::SqliteStore::forgotten_early)), with a warning in the log. Defaults to 8 GiB.
    pub max_bytes: u64,
    /// How long a question of an operator may take (lists of deliveries, dead letters and attempts, and which of them a filter finds); then it fails with
    /// [`StoreError::TookTooLong`](crate::store::StoreError::TookTooLong). While one is being answered, the write-ahead log grows. Defaults to 5 s.
    pub longest_question: Duration,
    /// From which length on the write-ahead log is moved into the file, in bytes. While nobody else reads for long it becomes little longer; its own file stays at up to
    /// a quarter more while the store is open. Defaults to 64 MiB; less than 32 KiB is as good as that.
    pub log_bytes: u64,
    /// With what rules, clients and endpoints are sealed in the file, with all their secrets. Bodies, URLs, ids and answers are not: for those, put the
    /// file on an encrypted disk. The first opening with a key seals what is plain, and rewrites the whole file once, so that nothing plain is left in it;
    /// this takes time, and for a moment up to twice the file's room. A store that was sealed is not opened without a key. Defaults to `None`, with which secrets are in the file
    /// as they are.
    pub encryption: Option<Encryption>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            backlog: BacklogLimits::default(),
            keep_ended: Duration::from_hours(7 * 24),
            keep_dead_letters: Duration::from_hours(30 * 24),
            keep_event_ids: Duration::from_hours(24),
            max_bytes: 8 * 1_024 * 1_024 * 1_024,
            longest_question: Duration::from_secs(5),
            log_bytes: 64 * 1_024 * 1_024,
            encryption: None,
        }
    }
}
