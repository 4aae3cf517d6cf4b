//! A disk that can be full, and that loses power: what was written and not synced is gone.
//!
//! A small library, loaded into the child before the system's, copies a file whenever the child has synced it. When the child has been killed, its
//! files are replaced by those copies: the worst that a disk that keeps its promises can do. The same library refuses to write while a flag is set.

use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) struct Disk {
    shim: PathBuf,
}

impl Disk {
    /// Builds the library; `None` where it cannot work.
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

    /// Has a child's files watched.
    pub(crate) fn watch(&self, child: &mut Command) {
        child.env("LD_PRELOAD", &self.shim);
    }

    /// Lets nothing be written to the store from now on, or again.
    pub(crate) fn set_full(file: &Path, full: bool) {
        let flag = with_suffix(file, ".full");
        if full {
            std::fs::write(flag, "").expect("the flag is no file of the store");
        } else {
            std::fs::remove_file(flag).expect("it was full");
        }
    }

    /// Takes away what was not synced, and returns how many files that changed.
    pub(crate) fn cut(file: &Path) -> usize {
        let mut cut = 0;
        for suffix in ["", "-wal"] {
            let path = with_suffix(file, suffix);
            let synced = with_suffix(&path, ".synced");
            let before = std::fs::read(&path).unwrap_or_default();
            match std::fs::copy(&synced, &path) {
                Ok(_) => cut += usize::from(std::fs::read(&path).unwrap_or_default() != before),
                // Never synced: it need not be there at all.
                Err(_) => {
                    cut += usize::from(std::fs::remove_file(&path).is_ok());
                }
            }
        }
        // The index of the log lives in memory and is built again.
        let _ = std::fs::remove_file(with_suffix(file, "-shm"));
        cut
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
