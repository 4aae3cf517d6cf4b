//! The durable store: one SQLite file.

mod alerts;
mod append;
mod attempts;
mod checkpointer;
mod clock;
mod error;
mod event_ids;
mod file;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod jobs;
mod manifest;
mod options;
mod outbox;
mod prepared;
mod prune;
mod query;
mod reader;
mod record;
mod redeliver;
mod rows;
mod schema;
mod seal;
mod sealing;
mod search;
mod settings;
mod survey;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use self::alerts::Alerts;
use self::checkpointer::{Checkpointer, Log, keep};
use self::file::{Taken, Watch};
pub use self::options::SqliteOptions;
pub use self::outbox::OutboxError;
pub use self::prune::ForgottenEarly;
use self::prune::{Forgotten, PruneCut};
use self::query::{Damaged, ReadRows};
use self::reader::{Deadline, Question};
use self::schema::{Role, connect, migrate};
pub use self::seal::{Encryption, EncryptionKey};
use self::writer::{Job, Task, Writer, WriterState};
use super::claim::Claimed;
use super::given_up::GivenUps;
use super::{
    Agreed, Appended, Attempt, AttemptPage, AttemptQuery, AttemptRecord, Change, Configuration,
    Count, DeadLetterQuery, DeliveryDetails, DeliveryQuery, EndedDelivery, GivenUp, Loaded,
    NewEvent, OpenDelivery, OpenPage, OpenQuery, OpenSummary, OutboxEntry, OutboxSummary, Page,
    PageLimit, PastCredential, Readable, Redelivery, RedeliveryId, RedeliveryJob, RedeliveryStep,
    RefusedEntry, Retention, Store, StoreClaim, StoreError, StoreFuture, StoredClock,
    StoredEndpoint, StoredEvent, Survey, WaitingDelivery,
};
use crate::domain::deliveries::dead_letter::DeadLetter;
use crate::domain::deliveries::delivery::Delivery;
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::value::id::{DeliveryId, EventId};
use crate::domain::value::time::Timestamp;
use crate::domain::value::url::WebhookUrl;
use crate::store::prelude::*;
use crate::store::search::Search;

/// Keeps everything in one SQLite file, and acknowledges nothing before it is on the disk.
///
/// Everything acknowledged with `Ok` survives a crash of the process or of the system and a loss of
/// power, as far as the disk keeps what it has confirmed. The store uses a write-ahead log with
/// `synchronous=FULL` and group commit: jobs that arrive while one commit is syncing go into the
/// next one, and otherwise nothing waits.
///
/// **Secrets.** The file holds bodies and the secrets of rules, clients and endpoints; on Unix it
/// is created so that only its owner can read it. With a key ([`SqliteOptions::encryption`]) rules,
/// clients and endpoints are sealed, no matter who can read the file.
///
/// **One owner.** The file is open once at a time, in one process, and one engine works on it. A
/// lock on a file beside it (`<name>-lock`) ensures this, even through symbolic links. Hard links
/// are noticed only on Unix and within one process: give each file one name. Neither the file nor
/// its log (`<name>-wal`) may be moved, removed or replaced while the store is open. The next call
/// notices this and fails with [`StoreError::Replaced`]; statuses and the log report it too.
///
/// **Your own tables.** The application may keep tables in the file whose names do not begin with
/// `webhook_`, and use [`publish_in`](Self::publish_in). Clones are handles to the same store.
///
/// ```
/// use actix_webhooks::Engine;
/// use actix_webhooks::store::SqliteStore;
///
/// # #[actix_rt::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("webhooks.db");
/// let engine = Engine::builder().store(SqliteStore::open(&path)?).start().await?;
/// # engine.shutdown(std::time::Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SqliteStore {
    shared: Arc<StoreContext>,
}

struct StoreContext {
    options: SqliteOptions,
    /// Separate from the other options: jobs and questions share it, and must not keep the store
    /// alive.
    encryption: Option<Arc<Encryption>>,
    /// The path as given.
    path: PathBuf,
    claimed: Claimed,
    alerts: Arc<Alerts>,
    forgotten: Forgotten,
    given_up: Arc<GivenUps>,
    /// The number of the last endpoint that the sweep for unused ones has looked at.
    swept: AtomicI64,
    watch: Arc<Watch>,
    log: Arc<Log>,
    /// `None` once the store is being dropped.
    senders: Option<Senders>,
    threads: Vec<JoinHandle<()>>,
    // Released when the threads have ended.
    _taken: Taken,
}

struct Senders {
    jobs: Sender<Box<dyn Job>>,
    /// Reads of subscribers.
    reads: Sender<Question>,
    /// Queries of operators. They may take long, so they have a thread of their own and no
    /// subscriber waits for them.
    inquiries: Sender<Question>,
}

impl SqliteStore {
    /// Opens a store on a file with the default options, creating the file if there is none.
    ///
    /// It blocks while it migrates the file to the newest schema and reads what is open: about a
    /// second for a million deliveries. Dropping the last handle, the handles of engines included,
    /// waits until everything handed to the store is written. Only then can the file be opened
    /// again.
    ///
    /// # Errors
    /// - [`StoreError::BadPath`] if there can be no file at the path.
    /// - [`StoreError::InUse`] if the file is open already.
    /// - [`StoreError::NewerSchema`] if a newer version of this crate wrote it.
    /// - [`StoreError::Sealed`] if it is sealed with a key that was not given.
    /// - [`StoreError::Damaged`] if it is not a database or cannot be read.
    /// - [`StoreError::ReadOnly`] if it may not be written, and [`StoreError::NoSpace`] if the disk
    ///   is full.
    /// - [`StoreError::Unavailable`] for any other refusal of the system.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path, SqliteOptions::default())
    }

    /// Opens a store on a file with these options.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open).
    pub fn open_with(
        path: impl AsRef<Path>,
        mut options: SqliteOptions,
    ) -> Result<Self, StoreError> {
        let given = path.as_ref().to_path_buf();
        let encryption = options.encryption.take().map(Arc::new);
        let taken = Taken::take(&given)?;
        let path = taken.path();
        let mut connection = connect(path, Role::Writer)?;
        prepare(&mut connection, encryption.as_deref())?;
        let (wake, woken) = sync_channel(1);
        let log = Arc::<Log>::default();
        let checkpointer =
            Checkpointer::new(&mut connection, wake, Arc::clone(&log), options.log_bytes)?;
        let found = WriterState::look(&connection, options.backlog)?;
        let watch = Arc::new(taken.watch());
        let given_up = Arc::new(GivenUps::default());
        let (jobs, job_queue) = channel();
        let (reads, read_queue) = channel();
        let (inquiries, inquiry_queue) = channel();
        let read_queue = Arc::new(Mutex::new(read_queue));
        let mut threads = vec![
            start_writer(
                connection,
                found,
                checkpointer,
                Arc::clone(&watch),
                Arc::clone(&given_up),
                job_queue,
            )?,
            start_checkpointer(path, woken, Arc::clone(&log))?,
            start_reader(
                path,
                Arc::new(Mutex::new(inquiry_queue)),
                Some(options.longest_question),
            )?,
        ];
        for _ in 0..READERS {
            threads.push(start_reader(path, Arc::clone(&read_queue), None)?);
        }
        let shared = StoreContext {
            options,
            encryption,
            path: given,
            claimed: Claimed::default(),
            alerts: Arc::default(),
            forgotten: Forgotten::default(),
            given_up,
            swept: AtomicI64::new(0),
            watch,
            log,
            senders: Some(Senders {
                jobs,
                reads,
                inquiries,
            }),
            threads,
            _taken: taken,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Sends a job to the writer; the future is ready when the job is on the disk.
    fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnMut(&mut Writer<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreFuture<T> {
        let (answer, answered) = oneshot::channel();
        let task = Task {
            work,
            bytes,
            result: None,
            answer,
        };
        if let Some(senders) = &self.shared.senders {
            // Without a writer, the answer below reports it.
            let _ = senders.jobs.send(Box::new(task));
        }
        Box::pin(async move { answered.await.unwrap_or_else(|_| Err(stopped())) })
    }

    /// Reads for a subscriber.
    fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreFuture<T> {
        self.look(|senders| &senders.reads, look)
    }

    /// Reads for an operator.
    fn inquire<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreFuture<T> {
        self.look(|senders| &senders.inquiries, look)
    }

    fn look<T: Send + 'static>(
        &self,
        queue: impl FnOnce(&Senders) -> &Sender<Question>,
        look: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreFuture<T> {
        let (answer, answered) = oneshot::channel();
        let watch = Arc::clone(&self.shared.watch);
        let question = move |connection: &Connection| {
            let found = watch.look().and_then(|()| look(connection));
            // The caller may have stopped waiting.
            let _ = answer.send(found);
        };
        if let Some(senders) = &self.shared.senders {
            let _ = queue(senders).send(Box::new(question));
        }
        Box::pin(async move { answered.await.unwrap_or_else(|_| Err(stopped())) })
    }
}

impl Drop for StoreContext {
    fn drop(&mut self) {
        self.senders = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has logged it, and nothing more can be done.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.shared.path)
            .finish_non_exhaustive()
    }
}

impl DeliveryStore for SqliteStore {
    fn take_given_up(&self) -> Vec<GivenUp> {
        self.shared.given_up.take()
    }

    fn append(&self, batch: Arc<[NewEvent]>) -> StoreFuture<Vec<Appended>> {
        let alerts = batch.iter().flat_map(|event| &event.alerts);
        let bytes = alerts.map(|new| new.alert.body.len()).sum();
        self.write(bytes, move |writer| writer.append(&batch))
    }

    fn queued(
        &self,
        url: &WebhookUrl,
        after: DeliveryId,
        limit: usize,
    ) -> StoreFuture<Vec<OpenDelivery>> {
        let limit = PageLimit {
            deliveries: limit,
            bytes: usize::MAX,
        };
        let read = self.queued_within(url, after, limit);
        Box::pin(async move { Ok(read.await?.deliveries) })
    }

    fn queued_within(
        &self,
        url: &WebhookUrl,
        after: DeliveryId,
        limit: PageLimit,
    ) -> StoreFuture<OpenPage> {
        let (alerts, wanted) = (Arc::clone(&self.shared.alerts), url.clone());
        let read =
            self.read(move |connection| query::queued(connection, &alerts, &wanted, after, limit));
        let aside = SetAside::new(self, url);
        Box::pin(async move {
            let ReadRows {
                rows: deliveries,
                damaged,
                more,
            } = read.await?;
            aside.all(damaged).await?;
            Ok(OpenPage { deliveries, more })
        })
    }

    fn waiting(&self, url: &WebhookUrl, limit: usize) -> StoreFuture<Vec<WaitingDelivery>> {
        let read = move |store: &Self, url: &WebhookUrl| {
            let url = url.clone();
            store.read(move |connection| query::waiting(connection, &url, limit))
        };
        let (mut page, aside) = (read(self, url), SetAside::new(self, url));
        Box::pin(async move {
            loop {
                let ReadRows { rows, damaged, .. } = page.await?;
                if damaged.is_empty() {
                    return Ok(rows);
                }
                aside.all(damaged).await?;
                // A short page counts as the last one, so read again without the damaged rows.
                page = read(&aside.store, &aside.url);
            }
        })
    }

    fn load(&self, url: &WebhookUrl, ids: Vec<DeliveryId>) -> StoreFuture<Vec<OpenDelivery>> {
        let read = self.load_within(url, ids, usize::MAX);
        Box::pin(async move { Ok(read.await?.deliveries) })
    }

    fn load_within(
        &self,
        url: &WebhookUrl,
        mut ids: Vec<DeliveryId>,
        bytes: usize,
    ) -> StoreFuture<Loaded> {
        let (alerts, wanted) = (Arc::clone(&self.shared.alerts), url.clone());
        let read = self.read(move |connection| {
            let (page, looked_at) = query::load(connection, &alerts, &wanted, &ids, bytes)?;
            let rest = ids.split_off(looked_at.min(ids.len()));
            Ok((page, rest))
        });
        let aside = SetAside::new(self, url);
        Box::pin(async move {
            let (page, rest) = read.await?;
            aside.all(page.damaged).await?;
            let deliveries = page.rows;
            Ok(Loaded { deliveries, rest })
        })
    }

    fn record(&self, batch: Arc<[AttemptRecord]>) -> StoreFuture<()> {
        let bytes = batch.iter().map(|record| record.excerpt.len()).sum();
        self.write(bytes, move |writer| writer.record(&batch))
    }

    fn agree(&self, url: &WebhookUrl, agreed: Agreed) -> StoreFuture<()> {
        let url = url.clone();
        self.write(0, move |writer| writer.agree(&url, &agreed))
    }

    fn open_summaries(
        &self,
        after: Option<WebhookUrl>,
        limit: usize,
    ) -> StoreFuture<Vec<OpenSummary>> {
        self.read(move |connection| query::open_summaries(connection, after.as_ref(), limit))
    }

    fn resting_endpoints(
        &self,
        after: Option<WebhookUrl>,
        limit: usize,
    ) -> StoreFuture<Vec<(WebhookUrl, StoredEndpoint)>> {
        self.read(move |connection| query::resting_endpoints(connection, after.as_ref(), limit))
    }

    fn endpoint_summary(&self, url: &WebhookUrl) -> StoreFuture<StoredEndpoint> {
        let url = url.clone();
        self.read(move |connection| query::endpoint(connection, &url))
    }
}

impl RecordStore for SqliteStore {
    fn attempts(&self, id: DeliveryId) -> StoreFuture<Vec<Attempt>> {
        self.inquire(move |connection| query::attempts(connection, id))
    }

    fn attempts_of(&self, url: &WebhookUrl, query: AttemptQuery) -> StoreFuture<AttemptPage> {
        let url = url.clone();
        self.inquire(move |connection| attempts::attempts_of(connection, &url, &query))
    }

    fn deliveries(&self, query: DeliveryQuery) -> StoreFuture<Page<Delivery>> {
        self.inquire(move |connection| search::deliveries(connection, &query))
    }

    fn count(&self, query: DeliveryQuery, at_most: u64) -> StoreFuture<Count> {
        self.inquire(move |connection| search::count(connection, &Search::from(&query), at_most))
    }

    fn delivery(&self, id: DeliveryId) -> StoreFuture<Option<DeliveryDetails>> {
        self.inquire(move |connection| search::details(connection, id))
    }

    fn events(&self, id: EventId) -> StoreFuture<Vec<StoredEvent>> {
        self.inquire(move |connection| event_ids::events(connection, &id))
    }

    fn dead_letters(&self, query: DeadLetterQuery) -> StoreFuture<Page<DeadLetter>> {
        self.inquire(move |connection| search::dead_letters(connection, &query))
    }

    fn redeliver(
        &self,
        which: Redelivery,
        now: Timestamp,
    ) -> StoreFuture<Vec<(DeliveryId, WebhookUrl)>> {
        Box::pin(self.clone().deliver_again(which, now))
    }

    fn discard(&self, query: DeadLetterQuery) -> StoreFuture<u64> {
        Box::pin(self.clone().take_off_list(query))
    }

    fn begin_redelivery(&self, which: Redelivery, now: Timestamp) -> StoreFuture<RedeliveryJob> {
        Box::pin(self.clone().begin(which, now))
    }

    fn survey(&self, which: Redelivery, at_most: u64) -> StoreFuture<Survey> {
        self.inquire(move |connection| survey::survey(connection, &which, at_most))
    }

    fn go_on_redelivering(
        &self,
        id: RedeliveryId,
        limit: usize,
        now: Timestamp,
    ) -> StoreFuture<Option<RedeliveryStep>> {
        Box::pin(self.clone().go_on(id, limit, now))
    }

    fn stop_redelivery(
        &self,
        id: RedeliveryId,
        now: Timestamp,
    ) -> StoreFuture<Option<RedeliveryJob>> {
        self.write(0, move |writer| writer.stop_redelivery(id, now))
    }

    fn redeliveries(&self) -> StoreFuture<Vec<RedeliveryJob>> {
        self.inquire(jobs::jobs)
    }

    fn open_of(
        &self,
        url: &WebhookUrl,
        which: OpenQuery,
        after: DeliveryId,
        limit: usize,
    ) -> StoreFuture<Vec<DeliveryId>> {
        let url = url.clone();
        self.inquire(move |connection| query::open_of(connection, &url, &which, after, limit))
    }

    fn end(
        &self,
        url: &WebhookUrl,
        ids: Vec<DeliveryId>,
        reason: DeadLetterReason,
        now: Timestamp,
    ) -> StoreFuture<Vec<EndedDelivery>> {
        let url = url.clone();
        self.write(0, move |writer| writer.end(&url, &ids, reason, now))
    }

    fn make_due(
        &self,
        url: &WebhookUrl,
        id: DeliveryId,
        now: Timestamp,
    ) -> StoreFuture<Option<WaitingDelivery>> {
        let url = url.clone();
        self.write(0, move |writer| writer.make_due(&url, id, now))
    }

    fn count_dead_letters(&self, query: DeadLetterQuery) -> StoreFuture<u64> {
        self.inquire(move |connection| query::count_dead_letters(connection, &query))
    }

    fn count_dead_letters_to(&self, query: DeadLetterQuery, at_most: u64) -> StoreFuture<Count> {
        self.inquire(move |connection| search::count(connection, &Search::from(&query), at_most))
    }

    fn retention(&self) -> Option<Retention> {
        Some(Retention {
            ended: self.shared.options.keep_ended,
            dead_letters: self.shared.options.keep_dead_letters,
            event_ids: self.shared.options.keep_event_ids,
        })
    }

    fn prune(&self, now: Timestamp, keep: Retention) -> StoreFuture<u64> {
        let ended = now.before(keep.ended);
        let cut = PruneCut {
            now,
            ended,
            dead: now.before(keep.dead_letters),
            young_events: now.before(keep.event_ids),
            through: 0,
        };
        Box::pin(self.clone().prune_all(cut))
    }

    fn open_total(&self) -> StoreFuture<u64> {
        self.write(0, |writer| Ok(writer.ledger.total().deliveries))
    }
}

impl SettingsStore for SqliteStore {
    fn remove_endpoint(&self, url: &WebhookUrl, now: Timestamp) -> StoreFuture<u64> {
        let (store, url) = (self.clone(), url.clone());
        Box::pin(async move {
            let mut dead_lettered = 0;
            loop {
                let url = url.clone();
                let work = move |writer: &mut Writer<'_>| {
                    writer.dead_letter_open(&url, now, DEAD_LETTERED_AT_ONCE)
                };
                let some = store.write(0, work).await?;
                dead_lettered += u64::try_from(some).unwrap_or(u64::MAX);
                if some < DEAD_LETTERED_AT_ONCE {
                    return Ok(dead_lettered);
                }
            }
        })
    }

    fn apply(&self, change: Change) -> StoreFuture<()> {
        let encryption = self.shared.encryption.clone();
        self.write(0, move |writer| writer.keep(&change, encryption.as_deref()))
    }

    fn configuration(&self) -> StoreFuture<Configuration> {
        let encryption = self.shared.encryption.clone();
        self.read(move |connection| settings::configuration(connection, encryption.as_deref()))
    }

    fn readable(&self) -> StoreFuture<Readable> {
        let encryption = self.shared.encryption.clone();
        self.read(move |connection| settings::readable(connection, encryption.as_deref()))
    }

    fn removed(&self) -> StoreFuture<Vec<WebhookUrl>> {
        self.read(settings::removed)
    }

    fn past_credentials(&self) -> StoreFuture<Vec<PastCredential>> {
        let encryption = self.shared.encryption.clone();
        self.read(move |connection| settings::past_credentials(connection, encryption.as_deref()))
    }
}

impl OutboxStore for SqliteStore {
    fn outbox(&self, after: u64, limit: usize) -> StoreFuture<Vec<OutboxEntry>> {
        self.read(move |connection| outbox::outbox(connection, after, limit))
    }

    fn reject_outbox(&self, seq: u64, reason: String) -> StoreFuture<()> {
        self.write(0, move |writer| writer.reject_outbox(seq, &reason))
    }

    fn refused(&self, after: u64, limit: usize) -> StoreFuture<Vec<RefusedEntry>> {
        self.inquire(move |connection| outbox::refused(connection, after, limit))
    }

    fn outbox_summary(&self, at_most: u64) -> StoreFuture<OutboxSummary> {
        self.inquire(move |connection| outbox::summary(connection, at_most))
    }

    fn has_outbox(&self) -> bool {
        true
    }
}

impl Store for SqliteStore {
    fn claim(&self) -> StoreFuture<StoreClaim> {
        let name = || self.shared.path.display().to_string();
        Box::pin(std::future::ready(self.shared.claimed.claim(name)))
    }

    fn condition(&self) -> Option<Arc<str>> {
        let gone = self.shared.watch.error().map(|gone| gone.to_string());
        gone.or_else(|| self.shared.log.trouble()).map(Arc::from)
    }

    fn clock(&self) -> StoreFuture<StoredClock> {
        self.read(clock::clock)
    }

    fn keep_clock(&self, wall_ahead_ms: i64) -> StoreFuture<()> {
        self.write(0, move |writer| writer.keep_clock(wall_ahead_ms))
    }

    fn flush(&self) -> StoreFuture<()> {
        // Jobs run in order, so everything before this one is on the disk when it is.
        self.write(0, |_| Ok(()))
    }
}

/// Makes unreadable rows dead letters, on behalf of readers, which cannot write.
struct SetAside {
    store: SqliteStore,
    url: WebhookUrl,
}

impl SetAside {
    fn new(store: &SqliteStore, url: &WebhookUrl) -> Self {
        let (store, url) = (store.clone(), url.clone());
        Self { store, url }
    }

    async fn all(&self, damaged: Vec<Damaged>) -> Result<(), StoreError> {
        if damaged.is_empty() {
            return Ok(());
        }
        let url = self.url.clone();
        let set_aside = move |writer: &mut Writer<'_>| writer.set_aside(&url, &damaged);
        self.store.write(0, set_aside).await
    }
}

/// Migrates the file to the newest schema and seals it with the key. Both happen in one
/// transaction: if either fails, nothing is changed.
fn prepare(connection: &mut Connection, encryption: Option<&Encryption>) -> Result<(), StoreError> {
    let seal = |connection: &Connection| sealing::seal_all(connection, encryption);
    if encryption.is_none() {
        return migrate(connection, seal);
    }
    sealing::overwrite_deleted(connection, true)?;
    migrate(connection, seal)?;
    sealing::clean(connection)?;
    sealing::overwrite_deleted(connection, false)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    let spawned = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work);
    spawned.map_err(StoreError::unavailable)
}

fn start_writer(
    connection: Connection,
    found: WriterState,
    checkpointer: Checkpointer,
    watch: Arc<Watch>,
    given_up: Arc<GivenUps>,
    jobs: Receiver<Box<dyn Job>>,
) -> Result<JoinHandle<()>, StoreError> {
    spawn("webhooks-write", move || {
        Writer::new(&connection, found, checkpointer, watch, given_up).serve(&jobs);
    })
}

fn start_checkpointer(
    path: &Path,
    woken: Receiver<()>,
    log: Arc<Log>,
) -> Result<JoinHandle<()>, StoreError> {
    let connection = connect(path, Role::Writer)?;
    spawn("webhooks-log", move || keep(&connection, &woken, &log))
}

fn start_reader(
    path: &Path,
    questions: Arc<Mutex<Receiver<Question>>>,
    longest: Option<Duration>,
) -> Result<JoinHandle<()>, StoreError> {
    let mut connection = connect(path, Role::Reader)?;
    let deadline = longest.map(|longest| Deadline::new(&mut connection, longest));
    let deadline = deadline.transpose()?;
    spawn("webhooks-read", move || {
        reader::serve(&connection, &questions, deadline.as_ref());
    })
}

fn stopped() -> StoreError {
    StoreError::unavailable("the store has stopped")
}

/// The number of threads that read for subscribers.
const READERS: usize = 2;

/// The number of deliveries of a removed endpoint that one transaction ends.
const DEAD_LETTERED_AT_ONCE: usize = 500;
