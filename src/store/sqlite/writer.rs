//! The one thread that writes, with group commit: jobs that arrive while a commit is syncing go
//! into the next one. No job waits for others to arrive, and the more jobs there are, the less each
//! costs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::oneshot;

use super::checkpointer::Checkpointer;
use super::clock::Latest;
use super::error::store_error;
use super::event_ids;
use super::file::Watch;
use super::prepared::HotStatements;
use super::settings::removed;
use crate::domain::value::url::WebhookUrl;
use crate::store::given_up::{GivenUps, MAX_GIVEN_UP};
use crate::store::ledger::Ledger;
use crate::store::{BacklogLimits, GivenUp, StoreError};

/// A unit of writing.
pub(super) trait Job: Send {
    /// Does the work inside a transaction. It may run again in another one if the first was rolled
    /// back.
    fn run(&mut self, writer: &mut Writer<'_>) -> Result<(), StoreError>;

    /// Sends the answer once the transaction has ended.
    fn finish(self: Box<Self>, committed: Result<(), StoreError>);

    /// The approximate number of bytes that it writes.
    fn bytes(&self) -> usize;
}

/// A job that answers with a value.
pub(super) struct Task<T, F> {
    pub(super) work: F,
    pub(super) bytes: usize,
    pub(super) result: Option<T>,
    pub(super) answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Task<T, F>
where
    T: Send,
    F: FnMut(&mut Writer<'_>) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, writer: &mut Writer<'_>) -> Result<(), StoreError> {
        self.result = Some((self.work)(writer)?);
        Ok(())
    }

    fn finish(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self { result, answer, .. } = *self;
        let gone = || StoreError::unavailable("the store's writer gave no result");
        let result = committed.and_then(|()| result.ok_or_else(gone));
        // The caller may have stopped waiting; the work is done all the same.
        let _ = answer.send(result);
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The writer's connection and its in-memory view of the file.
pub(super) struct Writer<'c> {
    pub(super) connection: &'c Connection,
    pub(super) hot: HotStatements<'c>,
    pub(super) ledger: Ledger<i64>,
    pub(super) endpoints: HashMap<WebhookUrl, i64>,
    /// Removed endpoints, which are not called until a rule or a setting names them again.
    pub(super) removed: HashSet<WebhookUrl>,
    pub(super) last: LastIds,
    /// Whether several clients use the same event id.
    pub(super) ids_are_shared: bool,
    pub(super) latest: Latest,
    /// Notes of the transaction, to be undone if it is rolled back.
    noted: TransactionNotes,
    checkpointer: Checkpointer,
    watch: Arc<Watch>,
    given_up: Arc<GivenUps>,
}

/// The highest ids assigned so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LastIds {
    pub(super) delivery: i64,
    pub(super) alert: i64,
}

#[derive(Default)]
struct TransactionNotes {
    endpoints: Vec<WebhookUrl>,
    /// Deliveries that the store has given up by itself.
    given_up: Vec<GivenUp>,
    opened: Vec<(i64, u64)>,
    ended: Vec<(i64, u64)>,
    /// The removed endpoints before the transaction, if it changes them.
    removed: Option<HashSet<WebhookUrl>>,
    last: LastIds,
}

/// The initial state of a writer, read from the file.
pub(super) struct WriterState {
    ledger: Ledger<i64>,
    removed: HashSet<WebhookUrl>,
    last: LastIds,
    ids_are_shared: bool,
    latest: Latest,
}

impl WriterState {
    pub(super) fn look(connection: &Connection, limits: BacklogLimits) -> Result<Self, StoreError> {
        let mut found = Self {
            ledger: Ledger::new(limits),
            removed: removed(connection)?.into_iter().collect(),
            last: LastIds::default(),
            ids_are_shared: event_ids::are_shared(connection)?,
            latest: Latest::default(),
        };
        found.load(connection).map_err(store_error)?;
        Ok(found)
    }

    fn load(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        (self.last, self.latest) = connection.query_row(
            "SELECT last_delivery, last_alert, latest_at FROM webhook_store",
            [],
            |row| {
                let last = LastIds {
                    delivery: row.get(0)?,
                    alert: row.get(1)?,
                };
                let (noted, saved) = (row.get(2)?, row.get(2)?);
                Ok((last, Latest { noted, saved }))
            },
        )?;
        let mut open = connection.prepare(
            "SELECT endpoint, COUNT(*), CAST(SUM(CAST(bytes AS INTEGER)) AS INTEGER) \
                 FROM webhook_open GROUP BY endpoint",
        )?;
        let mut rows = open.query([])?;
        while let Some(row) = rows.next()? {
            // A damaged row does not keep the file from opening; it is set aside when it is read.
            let bytes = row.get(2).unwrap_or_default();
            self.ledger.add(row.get(0)?, row.get(1)?, bytes);
        }
        Ok(())
    }
}

impl<'c> Writer<'c> {
    pub(super) fn new(
        connection: &'c Connection,
        found: WriterState,
        checkpointer: Checkpointer,
        watch: Arc<Watch>,
        given_up: Arc<GivenUps>,
    ) -> Self {
        Self {
            checkpointer,
            watch,
            given_up,
            connection,
            hot: HotStatements::new(),
            ledger: found.ledger,
            endpoints: HashMap::new(),
            removed: found.removed,
            last: found.last,
            ids_are_shared: found.ids_are_shared,
            latest: found.latest,
            noted: TransactionNotes::default(),
        }
    }

    /// Runs jobs until the last sender is dropped.
    pub(super) fn serve(mut self, jobs: &Receiver<Box<dyn Job>>) {
        while let Ok(first) = jobs.recv() {
            let mut batch = vec![first];
            let done = self.transaction(|writer| writer.fill(&mut batch, jobs));
            match done {
                Ok(()) => finish(batch, &Ok(())),
                // Every job would fail, and the commit may have succeeded: do not run them again.
                Err(error @ StoreError::Replaced(_)) => finish(batch, &Err(error)),
                // One failed job must not fail the others.
                Err(_) if batch.len() > 1 => self.one_by_one(batch),
                Err(error) => finish(batch, &Err(error)),
            }
            self.checkpointer.after_commit(self.connection);
        }
    }

    /// Runs the first job and the ones that queue up meanwhile.
    fn fill(
        &mut self,
        batch: &mut Vec<Box<dyn Job>>,
        jobs: &Receiver<Box<dyn Job>>,
    ) -> Result<(), StoreError> {
        let mut bytes = 0;
        let mut next = 0;
        while let Some(job) = batch.get_mut(next) {
            bytes += job.bytes();
            job.run(self)?;
            next += 1;
            if next >= MAX_JOBS || bytes >= MAX_BYTES {
                break;
            }
            batch.extend(jobs.try_recv());
        }
        Ok(())
    }

    fn one_by_one(&mut self, batch: Vec<Box<dyn Job>>) {
        for mut job in batch {
            let done = self.transaction(|writer| job.run(writer));
            job.finish(done);
        }
    }

    fn transaction(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if self.watch.is_gone() {
            // The file may be back.
            self.watch.look()?;
        }
        self.noted.last = self.last;
        let begun = self.hot.begin.get(self.connection);
        let begun = begun.and_then(|begin| begin.execute([]));
        begun.map_err(store_error)?;
        let done = work(self).and_then(|()| self.commit().map_err(store_error));
        match done {
            Ok(saved) => self.latest.saved = saved,
            Err(_) => self.roll_back(),
        }
        let noted = std::mem::take(&mut self.noted);
        if !noted.given_up.is_empty() {
            self.given_up.add(noted.given_up);
        }
        // Checked last: an acknowledged commit must be in the file that is at the path.
        done.and_then(|_| self.watch.look())
    }

    /// Commits, and returns the time that is then saved in the file.
    fn commit(&mut self) -> rusqlite::Result<Option<i64>> {
        let mut saved = self.latest.saved;
        if self.last != self.noted.last || self.latest.is_worth_saving() {
            let save = self.hot.save_last_ids.get(self.connection)?;
            saved = self.latest.noted;
            save.execute(params![self.last.delivery, self.last.alert, saved])?;
        }
        self.hot.commit.get(self.connection)?.execute([])?;
        Ok(saved)
    }

    /// Undoes what the transaction has noted. SQLite may have rolled back the transaction already.
    fn roll_back(&mut self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            log::error!(error:? = error; "transaction of the delivery store could not be rolled back: {error}");
        }
        let noted = std::mem::take(&mut self.noted);
        for url in noted.endpoints {
            self.endpoints.remove(&url);
        }
        if let Some(removed) = noted.removed {
            self.removed = removed;
        }
        // Deliveries opened and ended in the same transaction must be added back before they are
        // taken.
        for (endpoint, bytes) in noted.ended {
            self.ledger.add(endpoint, 1, bytes);
        }
        for (endpoint, bytes) in noted.opened {
            self.ledger.take(endpoint, 1, bytes);
        }
        self.last = noted.last;
    }

    /// Queues a delivery that the store gave up by itself, for the engine to report after the
    /// commit.
    pub(super) fn note_given_up(&mut self, given_up: GivenUp) {
        if self.noted.given_up.len() < MAX_GIVEN_UP {
            self.noted.given_up.push(given_up);
        }
    }

    /// Returns the number of an endpoint, assigning one if it has none.
    pub(super) fn endpoint(&mut self, url: &WebhookUrl) -> rusqlite::Result<i64> {
        if let Some(number) = self.endpoints.get(url) {
            return Ok(*number);
        }
        let known = self.known_endpoint(url)?;
        let number = match known {
            Some(number) => number,
            None => self
                .connection
                .prepare_cached("INSERT INTO webhook_endpoint (url) VALUES (?1)")?
                .insert([url.as_str()])?,
        };
        if self.endpoints.len() >= MOST_KNOWN {
            // URLs may come and go without end. Those in use are cached again after one look-up
            // each.
            self.endpoints.clear();
        }
        self.endpoints.insert(url.clone(), number);
        self.noted.endpoints.push(url.clone());
        Ok(number)
    }

    /// Forgets the cached number of an endpoint that was deleted.
    pub(super) fn forget_endpoint(&mut self, url: &WebhookUrl) {
        self.endpoints.remove(url);
    }

    /// Returns the number of an endpoint, if it has one.
    pub(super) fn known_endpoint(&self, url: &WebhookUrl) -> rusqlite::Result<Option<i64>> {
        if let Some(number) = self.endpoints.get(url) {
            return Ok(Some(*number));
        }
        self.connection
            .prepare_cached("SELECT id FROM webhook_endpoint WHERE url = ?1")?
            .query_row([url.as_str()], |row| row.get(0))
            .optional()
    }

    /// Returns `true` if an endpoint was removed and not named again since.
    pub(super) fn is_removed(&self, url: &WebhookUrl) -> bool {
        !self.removed.is_empty() && self.removed.contains(url)
    }

    /// Marks an endpoint as removed: it is not called until [`ask_for`](Self::ask_for).
    pub(super) fn mark_removed(&mut self, url: &WebhookUrl) -> rusqlite::Result<()> {
        let sql = "INSERT OR IGNORE INTO webhook_removed VALUES (?1)";
        self.connection
            .prepare_cached(sql)?
            .execute([url.as_str()])?;
        self.note_removed();
        self.removed.insert(url.clone());
        Ok(())
    }

    /// Allows calls to an endpoint, even if it was removed.
    pub(super) fn ask_for(&mut self, url: &WebhookUrl) -> rusqlite::Result<()> {
        if !self.is_removed(url) {
            return Ok(());
        }
        let sql = "DELETE FROM webhook_removed WHERE url = ?1";
        self.connection
            .prepare_cached(sql)?
            .execute([url.as_str()])?;
        self.note_removed();
        self.removed.remove(url);
        Ok(())
    }

    fn note_removed(&mut self) {
        let before = &self.removed;
        self.noted.removed.get_or_insert_with(|| before.clone());
    }

    /// Requests a checkpoint of the write-ahead log soon.
    pub(super) fn move_log(&mut self) {
        self.checkpointer.ask();
    }

    pub(super) fn note_opened(&mut self, endpoint: i64, bytes: u64) {
        self.ledger.add(endpoint, 1, bytes);
        self.noted.opened.push((endpoint, bytes));
    }

    pub(super) fn note_ended(&mut self, endpoint: i64, bytes: u64) {
        self.ledger.take(endpoint, 1, bytes);
        self.noted.ended.push((endpoint, bytes));
    }
}

fn finish(batch: Vec<Box<dyn Job>>, committed: &Result<(), StoreError>) {
    for job in batch {
        let result = match committed {
            Ok(()) => Ok(()),
            Err(error) => Err(error.clone()),
        };
        job.finish(result);
    }
}

/// The most endpoint numbers in the cache.
const MOST_KNOWN: usize = 32_768;

/// The most jobs in one transaction.
const MAX_JOBS: usize = 1_024;

/// The number of bytes of bodies after which a transaction takes no further job.
const MAX_BYTES: usize = 8 * 1_024 * 1_024;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::store::sqlite::file::Taken;
    use crate::store::sqlite::schema::{Role, connect, migrate};

    fn url(text: &str) -> WebhookUrl {
        WebhookUrl::parse(text).unwrap()
    }

    fn connection(folder: &tempfile::TempDir) -> Connection {
        let file = file(folder);
        let mut connection = connect(&file, Role::Writer).unwrap();
        migrate(&mut connection, |_| Ok(())).unwrap();
        connection
    }

    fn file(folder: &tempfile::TempDir) -> std::path::PathBuf {
        folder.path().join("webhooks.db")
    }

    fn writer<'c>(folder: &tempfile::TempDir, connection: &'c mut Connection) -> Writer<'c> {
        let (wake, _) = sync_channel(1);
        let checkpointer = Checkpointer::new(connection, wake, Arc::default(), 1 << 26).unwrap();
        let found = WriterState::look(connection, BacklogLimits::default()).unwrap();
        let watch = Taken::take(&file(folder)).unwrap().watch();
        Writer::new(
            connection,
            found,
            checkpointer,
            Arc::new(watch),
            Arc::default(),
        )
    }

    #[test]
    fn what_fails_does_not_take_the_others_of_its_transaction_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut connection = connection(&folder);
        let mut writer = writer(&folder, &mut connection);
        let a = writer.endpoint(&url("http://a.test/")).unwrap();
        let (jobs, queue) = std::sync::mpsc::channel::<Box<dyn Job>>();
        let mut answers = Vec::new();
        for number in 0..9 {
            let (answer, answered) = oneshot::channel();
            let work = move |writer: &mut Writer<'_>| {
                writer.note_opened(a, 1);
                if number % 3 == 1 {
                    return Err(StoreError::unavailable("scripted"));
                }
                Ok(writer.ledger.total().deliveries)
            };
            let task = Task {
                work,
                bytes: 0,
                result: None,
                answer,
            };
            jobs.send(Box::new(task)).unwrap();
            answers.push(answered);
        }
        drop(jobs);
        writer.serve(&queue);
        let counts: Vec<Option<u64>> = answers
            .into_iter()
            .map(|mut answered| answered.try_recv().unwrap().ok())
            .collect();
        let (one, two, three) = (
            [Some(1), None, Some(2)],
            [Some(3), None, Some(4)],
            [Some(5), None, Some(6)],
        );
        assert_eq!(counts, [one, two, three].concat());
    }

    #[test]
    fn a_transaction_that_is_rolled_back_leaves_nothing_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let mut connection = connection(&folder);
        let mut writer = writer(&folder, &mut connection);
        let kept = writer.transaction(|writer| {
            let a = writer.endpoint(&url("http://a.test/")).unwrap();
            writer.note_opened(a, 10);
            Ok(())
        });
        kept.unwrap();
        let before = (writer.ledger.total(), writer.last);
        let gone = url("http://gone.test/");

        let undone = writer.transaction(|writer| {
            let a = writer.endpoint(&url("http://a.test/")).unwrap();
            let b = writer.endpoint(&url("http://b.test/")).unwrap();
            // Opened and ended in the same transaction, and only opened.
            writer.note_opened(b, 7);
            writer.note_ended(b, 7);
            writer.note_opened(a, 5);
            writer.last.delivery += 3;
            writer.mark_removed(&gone).unwrap();
            Err(StoreError::unavailable("the disk went away"))
        });
        assert!(undone.is_err());
        assert_eq!((writer.ledger.total(), writer.last), before);
        assert!(!writer.is_removed(&gone));
        assert_eq!(writer.known_endpoint(&url("http://b.test/")).unwrap(), None);
        let again = writer.transaction(|writer| {
            let b = writer.endpoint(&url("http://b.test/")).unwrap();
            writer.note_opened(b, 1);
            writer.note_ended(b, 1);
            Ok(())
        });
        again.unwrap();
        assert_eq!(writer.ledger.total(), before.0, "one delivery of ten bytes");
    }
}
