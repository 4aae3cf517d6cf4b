//! Look-ups on a thread of their own.
//!
//! A name server that does not answer must hold up nothing but the look-ups that need it: not the
//! thread of an actor, not the blocking pool that everything else uses, not the end of the process.
//! So look-ups have one thread with a runtime of its own, which no arbiter's end takes along and
//! which nobody waits for. On it, [`Flights`] decides which of them are under way.

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

/// Finds the addresses of one name, on the thread of look-ups.
pub(super) trait LookUp: 'static {
    /// Begins a look-up. Dropping the future gives it up.
    fn look_up(&self, name: &str) -> LocalBoxFuture<'static, io::Result<LookUpFound>>;
}

/// The addresses of a name.
#[derive(Clone, Debug)]
pub(super) struct LookUpFound {
    /// The preferred one first; at least one.
    addresses: Vec<IpAddr>,
    /// For how long they hold.
    ttl: Duration,
}

/// A question and who asks it.
struct Question {
    name: String,
    answer: oneshot::Sender<Answer>,
}

/// What became of a look-up, for all who wait for it.
type Answer = Result<Arc<[IpAddr]>, Arc<io::Error>>;

/// A thread of look-ups, which starts with the first question and ends when this is dropped.
pub(super) struct LookUpThread<M> {
    make: M,
    /// `None` as long as nobody has asked.
    questions: Mutex<Option<mpsc::UnboundedSender<Question>>>,
}

impl<M, L> LookUpThread<M>
where
    M: Fn() -> L + Clone + Send + 'static,
    L: LookUp,
{
    /// Returns a thread yet to be started, on which `make` says how names are looked up.
    pub(super) const fn new(make: M) -> Self {
        Self {
            make,
            questions: Mutex::new(None),
        }
    }

    /// Looks a name up. The question is asked at once; dropping the answer leaves the look-up to
    /// others, and to the cache.
    pub(super) fn resolve(&self, name: &str) -> Resolving {
        let (answer, answered) = oneshot::channel();
        let name = name.to_owned();
        let asked = self.ask(Question { name, answer });
        Box::pin(async move {
            asked?;
            match answered.await {
                Ok(Ok(addresses)) => Ok(addresses.to_vec()),
                Ok(Err(error)) => Err(io::Error::new(error.kind(), error)),
                Err(_) => Err(io::Error::other("the thread of look-ups ended")),
            }
        })
    }

    fn ask(&self, question: Question) -> io::Result<()> {
        let mut questions = self.questions.lock();
        let question = match &*questions {
            Some(running) => match running.send(question) {
                Ok(()) => return Ok(()),
                // A look-up panicked and took the thread along: another takes its place.
                Err(mpsc::error::SendError(question)) => question,
            },
            None => question,
        };
        let started = questions.insert(self.start()?);
        let sent = started.send(question);
        sent.map_err(|_| io::Error::other("the thread of look-ups ended"))
    }

    fn start(&self) -> io::Result<mpsc::UnboundedSender<Question>> {
        // Not bounded: there are no more questions than attempts that wait for an answer.
        let (sender, questions) = mpsc::unbounded_channel();
        let make = self.make.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(system::MAX_THREADS)
            .build()?;
        let thread = std::thread::Builder::new().name("webhook-look-ups".to_owned());
        // Not joined: whoever ends does not wait for a name server.
        thread.spawn(move || {
            runtime.block_on(async { Flights::new(make()).run(questions).await });
            runtime.shutdown_background();
        })?;
        Ok(sender)
    }
}

#[cfg(test)]
mod tests;
