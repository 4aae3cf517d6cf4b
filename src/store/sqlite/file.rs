//! The store's file: one store has it open, under any of its names, and it stays at its path.
//!
//! A path is never a URI: text that looks like a URI names a file. Links are followed before the
//! lock is taken, so that every name leads to one lock. Hard links have no common name; they are
//! told apart by device and inode (on Unix, and within this process).

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::store::StoreError;

/// A file that only this store has open. Dropping it releases the file.
#[derive(Debug)]
pub(super) struct Taken {
    /// The path with all links followed.
    path: PathBuf,
    identity: Identity,
    _lock: File,
}

impl Taken {
    /// Creates the file if there is none, and takes the lock that keeps everybody else from opening
    /// it.
    pub(super) fn take(given: &Path) -> Result<Self, StoreError> {
        let refused = |error| refused(given, error);
        // To SQLite these are not files: each connection would have a database of its own.
        if given.as_os_str().is_empty() || given == Path::new(":memory:") {
            return Err(refused(ErrorKind::InvalidInput.into()));
        }
        let path = follow(given).map_err(refused)?;
        // Check before anything is created beside it.
        if path.is_dir() {
            return Err(refused(ErrorKind::IsADirectory.into()));
        }
        let in_use = || StoreError::InUse(given.display().to_string());
        let lock = private().open(beside(&path, "-lock")).map_err(refused)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use()),
            Err(TryLockError::Error(error)) => return Err(refused(error)),
        }
        // SQLite gives its other files the same permissions as this one. An existing file must not
        // be opened here: closing it would drop the POSIX advisory locks that other connections of
        // this process hold.
        match private().create_new(true).open(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(refused(error)),
            Ok(_) | Err(_) => {}
        }
        let identity = Identity::of(&path).map_err(refused)?;
        let mut open = OPEN.lock();
        if !open.insert(identity.clone()) {
            return Err(in_use());
        }
        Ok(Self {
            path,
            identity,
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the watch over the file and its log. All connections must be open, so that the log
    /// exists.
    pub(super) fn watch(&self) -> Watch {
        let log = beside(&self.path, "-wal");
        let log = Identity::of(&log).ok().map(|identity| (log, identity));
        let file = (self.path.clone(), self.identity.clone());
        Watch {
            files: [Some(file), log].into_iter().flatten().collect(),
            gone: AtomicBool::new(false),
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut open = OPEN.lock();
        open.remove(&self.identity);
    }
}

/// Watches that the open files are still the ones at their paths.
#[derive(Debug)]
pub(super) struct Watch {
    files: Vec<(PathBuf, Identity)>,
    gone: AtomicBool,
}

impl Watch {
    /// Checks the paths, which takes about a microsecond for each of the two files.
    ///
    /// # Errors
    /// [`StoreError::Replaced`] if a file was removed, moved or replaced.
    pub(super) fn look(&self) -> Result<(), StoreError> {
        let other = |(path, identity): &&(PathBuf, Identity)| {
            Identity::of(path).map_or_else(
                // With any other error the file may still be there.
                |error| error.kind() == ErrorKind::NotFound,
                |now| now != *identity,
            )
        };
        let gone = self.files.iter().find(other);
        let was_gone = self.gone.swap(gone.is_some(), Ordering::Relaxed);
        let Some((path, _)) = gone else {
            if was_gone {
                log::warn!("delivery store's file is back in place; the store continues");
            }
            return Ok(());
        };
        let path = path.display().to_string();
        if !was_gone {
            log::error!(
                path = path.as_str();
                "delivery store's file {path} was removed or replaced while open; nothing is accepted or recorded \
                 until you put it back or restart with the file to use"
            );
        }
        Err(StoreError::Replaced(path))
    }

    /// Returns `true` if the last check found a file missing or replaced.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Returns the error of the last check, for statuses.
    pub(super) fn error(&self) -> Option<StoreError> {
        let (path, _) = self.files.first().filter(|_| self.is_gone())?;
        Some(StoreError::Replaced(path.display().to_string()))
    }
}

/// The system's identity of a file, the same for all its names.
#[cfg(unix)]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    device: u64,
    inode: u64,
}

#[cfg(unix)]
impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt as _;

        let found = fs::metadata(path)?;
        Ok(Self {
            device: found.dev(),
            inode: found.ino(),
        })
    }
}

/// The identity of a file where the standard library exposes no system identity: its path and
/// creation time.
#[cfg(not(unix))]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    path: PathBuf,
    made: Option<std::time::SystemTime>,
}

#[cfg(not(unix))]
impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_path_buf(),
            made: fs::metadata(path)?.created().ok(),
        })
    }
}

/// The files that stores of this process have open.
static OPEN: Mutex<BTreeSet<Identity>> = Mutex::new(BTreeSet::new());

/// Follows the links of a path to the file, which need not exist. The result is absolute, and so is
/// never taken for a URI.
fn follow(given: &Path) -> io::Result<PathBuf> {
    let mut path = std::path::absolute(given)?;
    for _ in 0..MOST_LINKS {
        let Ok(target) = fs::read_link(&path) else {
            return in_its_folder(&path);
        };
        // An absolute target replaces the whole path.
        path = path.parent().unwrap_or(Path::new("/")).join(target);
    }
    Err(io::Error::other("path has too many symbolic links"))
}

/// Follows the links of the folder that contains a file, or will.
fn in_its_folder(path: &Path) -> io::Result<PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(ErrorKind::IsADirectory.into());
    };
    if !cfg!(unix) {
        // On Windows a canonical path has a form (`\\?\…`) that not every program understands.
        return Ok(path.to_path_buf());
    }
    Ok(fs::canonicalize(folder)?.join(name))
}

/// Returns the options to open a file that only its owner may read, creating it if there is none.
fn private() -> OpenOptions {
    let mut options = File::options();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "there are many, and most may pass"
)]
fn refused(path: &Path, error: io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreError::read_only(error),
        ErrorKind::StorageFull => StoreError::no_space(error),
        ErrorKind::NotFound
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::InvalidInput
        | ErrorKind::InvalidFilename => StoreError::BadPath {
            path: path.display().to_string(),
            source: Arc::new(error),
        },
        _ => StoreError::unavailable(error),
    }
}

/// Returns the path of a file that belongs to another one.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The most links followed one after the other: as many as Linux follows.
const MOST_LINKS: usize = 40;
