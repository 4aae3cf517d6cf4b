//! A wall clock that can be set, for one process.
//!
//! A small library, loaded into the child before the system's, adds the parent's offset to the
//! system's wall clock. No other clock is changed. With `CLOCK_FAKETIME=<path of libfaketime.so.1>`
//! that library is loaded instead.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) enum Wall {
    Ours { library: PathBuf, file: PathBuf },
    Faketime { library: PathBuf, file: PathBuf },
}

impl Wall {
    pub(crate) fn prepare(folder: &Path) -> Self {
        let wall = if let Ok(library) = std::env::var("CLOCK_FAKETIME") {
            println!("clock test: with {library}");
            Self::Faketime {
                library: library.into(),
                file: folder.join("faketime"),
            }
        } else {
            Self::Ours {
                library: build(folder),
                file: folder.join("ahead"),
            }
        };
        wall.set(0);
        wall
    }

    /// Makes a child use this clock.
    pub(crate) fn give_to(&self, child: &mut Command) {
        match self {
            Self::Ours { library, file } => {
                child.env("LD_PRELOAD", library).env("CLOCK_AHEAD", file);
            }
            Self::Faketime { library, file } => {
                child
                    .env("LD_PRELOAD", library)
                    .env("FAKETIME_TIMESTAMP_FILE", file)
                    .env("FAKETIME_NO_CACHE", "1")
                    .env("DONT_FAKE_MONOTONIC", "1")
                    .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
            }
        }
    }

    /// Sets it `ahead_ms` milliseconds ahead of the system's clock, or behind it if negative.
    pub(crate) fn set(&self, ahead_ms: i64) {
        match self {
            Self::Ours { file, .. } => {
                // Writes in place, because the child has the file mapped.
                let options = File::options()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(file);
                let written =
                    options.and_then(|file| file.write_all_at(&ahead_ms.to_ne_bytes(), 0));
                written.expect("the file can be written");
            }
            Self::Faketime { file, .. } => {
                let part = file.with_extension("part");
                std::fs::write(&part, format!("{:+}\n", ahead_ms / 1_000))
                    .expect("the file can be written");
                std::fs::rename(part, file).expect("the file can be replaced");
            }
        }
    }
}

fn build(folder: &Path) -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clock/clock.c");
    let library = folder.join("clock.so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([library.as_os_str(), source.as_ref()])
        .status();
    assert!(
        built.is_ok_and(|status| status.success()),
        "the C compiler builds {source}"
    );
    library
}
