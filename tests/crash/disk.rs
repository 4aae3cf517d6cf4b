//! A disk that can be full, and that can lose power: writes that were not synced are gone.
//!
//! A small library, loaded into the child before the system's, copies a file whenever the child has
//! synced it. After the child is killed, its files are replaced by those copies, with any part of
//! the later writes applied: a disk that keeps its promises may have written all of them, none, or
//! any sectors in any order. The same library refuses writes while a flag is set.

use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) struct Disk {
    shim: PathBuf,
}

impl Disk {
    /// Builds the library. Returns `None` where it cannot work.
    pub(crate) fn prepare(folder: &Path) -> Option<Self> {
        if !cfg!(target_os = "linux") {
            println!("crash test: no full disk and no loss of power on this system");
            return None;
        }
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/crash/disk.c");
        let shim = folder.join("disk.so");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([shim.as_os_str(), source.as_ref(), "-ldl".as_ref()])
            .status();
        assert!(
            built.is_ok_and(|status| status.success()),
            "the C compiler builds {source}"
        );
        Some(Self { shim })
    }

    /// Loads the library into a child.
    pub(crate) fn watch(&self, child: &mut Command) {
        child.env("LD_PRELOAD", &self.shim);
    }

    /// Makes all writes to the store fail, or allows them again.
    pub(crate) fn set_full(file: &Path, full: bool) {
        let flag = with_suffix(file, ".full");
        if full {
            std::fs::write(flag, "").expect("the flag is no file of the store");
        } else {
            std::fs::remove_file(flag).expect("it was full");
        }
    }

    /// Removes all or part of the writes that were not synced, and returns the number of changed
    /// files.
    pub(crate) fn cut(file: &Path, rng: &mut fastrand::Rng) -> usize {
        let mut cut = 0;
        // The share of these writes that had already reached the disk.
        let written = *rng
            .choice(&[0.0, 0.0, 0.1, 0.5, 0.9])
            .expect("there are some");
        for suffix in ["", "-wal"] {
            let path = with_suffix(file, suffix);
            let synced = std::fs::read(with_suffix(&path, ".synced"));
            let Ok(found) = std::fs::read(&path) else {
                continue;
            };
            if synced.is_err() && written == 0.0 {
                // A file that was never synced need not exist.
                cut += usize::from(std::fs::remove_file(&path).is_ok());
                continue;
            }
            let left = partly(&synced.unwrap_or_default(), &found, written, rng);
            cut += usize::from(left != found);
            std::fs::write(&path, left).expect("the file can be written");
        }
        // The index of the log is in memory and is rebuilt.
        let _ = std::fs::remove_file(with_suffix(file, "-shm"));
        cut
    }
}

/// Returns the synced file with some of the sectors that have changed since.
fn partly(synced: &[u8], found: &[u8], written: f64, rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut left = synced.to_vec();
    if rng.f64() < written {
        left.resize(found.len(), 0);
    }
    for (number, sector) in left.chunks_mut(SECTOR).enumerate() {
        let at = number * SECTOR;
        let new = found.get(at..at + sector.len());
        if let Some(new) = new
            && sector != new
            && rng.f64() < written
        {
            sector.copy_from_slice(new);
        }
    }
    left
}

/// A disk writes a sector as a whole or not at all.
const SECTOR: usize = 512;

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
