//! Runs inputs found by fuzzers, and mutations of them, through the properties that the fuzzers
//! check; `corpus/answers.rs`: also answers from `tests/fixtures`.
//!
//! `CORPUS_SEED=n` draws other mutations, `CORPUS_ROUNDS=n` sets how many are made of each corpus.

#[path = "corpus/answers.rs"]
mod answers;
#[path = "../fuzz/properties/mod.rs"]
pub mod properties;

use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;

use self::properties::{TARGETS, Target};

/// Limits on the number of files in a corpus and on the size of each. People read the corpus, and
/// every test run uses it.
const MOST_FILES: usize = 60;
const MOST_BYTES: usize = 1_024;

/// Number of mutations made of each corpus.
const ROUNDS: usize = 400;

fn fuzz(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz")
        .join(below)
}

/// Returns the sorted names of the files in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = fuzz("corpus").join(target);
    let files = names(&folder).into_iter().map(|name| {
        let bytes = fs::read(folder.join(&name)).unwrap();
        (name, bytes)
    });
    files.collect()
}

/// Prints the input that a target was given when it panicked.
struct Told<'a> {
    what: String,
    input: &'a [u8],
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} fails: b\"{}\"", self.what, self.input.escape_ascii());
        }
    }
}

fn run(target: Target, what: String, input: &[u8]) {
    let _told = Told { what, input };
    target(input);
}

#[test]
fn what_was_found_before_still_holds() {
    for (name, target) in TARGETS {
        for (file, input) in corpus(name) {
            run(*target, format!("fuzz/corpus/{name}/{file}"), &input);
        }
    }
}

#[test]
fn what_comes_close_to_it_holds_too() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let seed = number("CORPUS_SEED").unwrap_or(1);
    let rounds = number("CORPUS_ROUNDS").map_or(ROUNDS, |rounds| usize::try_from(rounds).unwrap());
    println!("CORPUS_SEED={seed}");
    for (name, target) in TARGETS {
        let mut rng = Rng::with_seed(seed);
        let inputs: Vec<_> = corpus(name).into_iter().map(|(_, input)| input).collect();
        for round in 0..rounds {
            let input = mutated(&inputs, &mut rng);
            run(*target, format!("{name}, round {round}"), &input);
        }
    }
}

/// Returns one of the inputs with one to four random changes.
fn mutated(inputs: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = rng.choice(inputs).unwrap().clone();
    for _ in 0..rng.usize(1..=4) {
        let at = rng.usize(0..=input.len());
        let end = (at + rng.usize(0..=8)).min(input.len());
        match rng.u8(0..5) {
            0 => input.insert(at, rng.u8(..)),
            1 => drop(input.drain(at..end)),
            2 if at < input.len() => input[at] ^= 1 << rng.u8(0..8),
            3 => {
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            _ => {
                let other = rng.choice(inputs).unwrap();
                let from = rng.usize(0..=other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
    }
    input.truncate(2 * MOST_BYTES);
    input
}

#[test]
fn every_target_has_a_corpus_and_is_built() {
    let targets: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names(&fuzz("corpus")), targets);
    let manifest = fs::read_to_string(fuzz("Cargo.toml")).unwrap();
    for name in targets {
        let files = corpus(name);
        assert!(!files.is_empty(), "{name} has no corpus");
        assert!(files.len() <= MOST_FILES, "{name} has {}", files.len());
        for (file, input) in files {
            let length = input.len();
            assert!(length <= MOST_BYTES, "{name}/{file} has {length} bytes");
        }
        assert!(fuzz("fuzz_targets").join(format!("{name}.rs")).is_file());
        assert!(manifest.contains(&format!("[[bin]]\nname = \"{name}\"\n")));
    }
}
