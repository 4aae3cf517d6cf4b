//! Lookups on a thread of their own.
//!
//! A name server that does not answer must delay only the lookups that need it. It must not block
//! an actor's thread, the shared blocking pool or the end of the process. So one thread with its
//! own runtime does all lookups. It survives the end of any arbiter, and nothing joins it. On that
//! thread, [`Flights`] schedules the lookups.

mod cache;
mod dns;
mod flights;
mod system;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

pub(super) use self::dns::DnsLookUp;
use self::flights::Flights;
pub(super) use self::system::SystemLookUp;
use super::resolve::Resolving;

/// Looks up the addresses of one name, on the lookup thread.
pub(super) trait LookUp: 'static {
    /// Starts a lookup. Dropping the future cancels it.
    fn look_up(&self, name: &str) -> LocalBoxFuture<'static, io::Result<LookUpFound>>;
}

/// The addresses of a name.
#[derive(Clone, Debug)]
pub(super) struct LookUpFound {
    /// In order of preference; at least one.
    addresses: Vec<IpAddr>,
    /// How long the addresses are valid.
    ttl: Duration,
}

/// A name to look up, and the channel for its answer.
struct Question {
    name: String,
    answer: oneshot::Sender<Answer>,
}

/// The result of a lookup, shared by all its callers.
type Answer = Result<Arc<[IpAddr]>, Arc<io::Error>>;

/// A lookup thread. It starts with the first question and ends when this value is dropped.
pub(super) struct LookUpThread<M> {
    make: M,
    /// `None` until the first question.
    questions: Mutex<Option<mpsc::UnboundedSender<Question>>>,
}

impl<M, L> LookUpThread<M>
where
    M: Fn() -> L + Clone + Send + 'static,
    L: LookUp,
{
    /// Returns a thread that is not yet started. `make` builds its [`LookUp`] on that thread.
    pub(super) const fn new(make: M) -> Self {
        Self {
            make,
            questions: Mutex::new(None),
        }
    }

    /// Looks a name up.
    ///
    /// The question is sent at once. Dropping the future does not cancel the lookup: its answer
    /// still serves other callers and the cache.
    pub(super) fn resolve(&self, name: &str) -> Resolving {
        let (answer, answered) = oneshot::channel();
        let name = name.to_owned();
        let asked = self.ask(Question { name, answer });
        Box::pin(async move {
            asked?;
            match answered.await {
                Ok(Ok(addresses)) => Ok(addresses.to_vec()),
                Ok(Err(error)) => Err(io::Error::new(error.kind(), error)),
                Err(_) => Err(io::Error::other("the lookup thread ended")),
            }
        })
    }

    fn ask(&self, question: Question) -> io::Result<()> {
        let mut questions = self.questions.lock();
        let question = match &*questions {
            Some(running) => match running.send(question) {
                Ok(()) => return Ok(()),
                // A lookup panicked and ended the thread. Another one replaces it.
                Err(mpsc::error::SendError(question)) => question,
            },
            None => question,
        };
        let started = questions.insert(self.start()?);
        let sent = started.send(question);
        sent.map_err(|_| io::Error::other("the lookup thread ended"))
    }

    fn start(&self) -> io::Result<mpsc::UnboundedSender<Question>> {
        // Unbounded, because there is at most one question per attempt that waits for its answer.
        let (sender, questions) = mpsc::unbounded_channel();
        let make = self.make.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(system::MAX_THREADS)
            .build()?;
        let thread = std::thread::Builder::new().name("webhook-look-ups".to_owned());
        // Not joined, so that no shutdown waits for a name server.
        thread.spawn(move || {
            runtime.block_on(async { Flights::new(make()).run(questions).await });
            runtime.shutdown_background();
        })?;
        Ok(sender)
    }
}

#[cfg(test)]
mod tests;
