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
#[expect(
    clippy::exhaustive_structs,
    reason = "written with `..default()`, which goes on working with a further field"
)]
pub struct SqliteOptions {
    /// The limits of open deliveries.
    pub backlog: BacklogLimits,
    /// The time for which ended deliveries are kept, with their attempts, to be listed and
    /// redelivered: delivered ones, and dead letters that were redelivered or discarded. Defaults
    /// to 7 days.
    pub keep_ended: Duration,
    /// The time for which dead letters are kept that were neither redelivered nor discarded.
    /// Defaults to 30 days.
    pub keep_dead_letters: Duration,
    /// The shortest time for which event ids are remembered, so that publishing an event again
    /// delivers nothing. Defaults to 24 h; an id is remembered longer if its deliveries are kept
    /// longer.
    pub keep_event_ids: Duration,
    /// The size of the file beyond which data is forgotten early, in bytes. Open deliveries are
    /// always kept. The application's own tables in the file count too. Data is forgotten in this
    /// order:
    /// - event ids, even those younger than `keep_event_ids`, as far as they take up more than a
    ///   quarter of the size;
    /// - the oldest ended deliveries, with the event ids that are older than both `keep_event_ids`
    ///   and the deliveries left;
    /// - the oldest dead letters of the endpoints that have the most, so that one receiver cannot
    ///   push out the dead letters of the others.
    ///
    /// Younger ids and dead letters forgotten early are counted
    /// ([`SqliteStore::forgotten_early`](super::SqliteStore::forgotten_early)), with a warning in
    /// the log. Defaults to 8 GiB.
    pub max_bytes: u64,
    /// The longest time that an operator's query may take: listing deliveries, dead letters or
    /// attempts, and finding those that a filter matches. Beyond it the query fails with
    /// [`StoreError::TookTooLong`](crate::store::StoreError::TookTooLong). The write-ahead log
    /// grows while a query runs. Defaults to 5 s.
    pub longest_question: Duration,
    /// The length of the write-ahead log from which it is moved into the file (WAL checkpoint), in
    /// bytes. Unless another reader takes long, the log grows little beyond this. While the store
    /// is open, the log's own file keeps up to a quarter more. Defaults to 64 MiB; less than 32 KiB
    /// counts as 32 KiB.
    pub log_bytes: u64,
    /// The key that seals rules, clients and endpoints in the file, with all their secrets.
    ///
    /// Bodies, URLs, ids and answers are not sealed: for those, put the file on an encrypted disk.
    /// The first opening with a key seals what is plain and rewrites the whole file once, so that
    /// nothing plain is left in it. This takes time, and temporarily up to twice the space of the
    /// file. A sealed store cannot be opened without its key. Defaults to `None`: secrets are in
    /// the file in plain text.
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
