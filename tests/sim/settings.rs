//! The wall clock of a world is set again and again, and nothing else changes: the same requests
//! are sent in the same milliseconds as in the same world with an unchanged clock.

use std::time::Duration;

use actix_webhooks::store::SqliteStore;
use actix_webhooks::store::prelude::*;
use actix_webhooks::testing::{Blocking, SimClock};
use fastrand::Rng;

use super::seeds::{DEFAULT_FILE_SEEDS, in_all_threads, memory_store, number, story, told};
use super::world::{Step, World};

/// The moments at which the clock of a world is set, and the changes in milliseconds. They have a
/// random generator of their own, so that every seed still draws the same world.
pub(crate) struct Settings {
    moments: Vec<(Duration, i64)>,
    takes_effect: bool,
}

impl Settings {
    fn draw(world: &World, takes_effect: bool) -> Self {
        let mut rng = Rng::with_seed(world.seed ^ 0xc10c);
        let wait = |step: &(Duration, Step)| step.0;
        // Retries and other waits continue for a while after the last step.
        let total = world.steps.iter().map(wait).sum::<Duration>() * 2 + Duration::from_mins(5);
        let total = u64::try_from(total.as_millis()).unwrap();
        let mut moments = Vec::new();
        for _ in 0..rng.usize(1..=8) {
            let at = Duration::from_millis(rng.u64(..total));
            let by = rng.choice(BY).unwrap();
            moments.push((at, by));
            if by == MONTH || rng.bool() {
                moments.push((at + Duration::from_mins(1), -by));
            }
        }
        moments.sort_unstable();
        Self {
            moments,
            takes_effect,
        }
    }

    /// Sets the clock at each moment.
    pub(crate) async fn apply(&self, clock: &SimClock) {
        for (at, by) in &self.moments {
            let wait = at.saturating_sub(clock.elapsed());
            clock.sleep(wait).await;
            let length = Duration::from_millis(by.unsigned_abs());
            match by {
                _ if !self.takes_effect => {}
                ..0 => clock.set_back(length),
                _ => clock.set_forward(length),
            }
        }
    }
}

#[test]
fn a_clock_that_is_set_changes_nothing() {
    let seeds = number("SIM_SEEDS").unwrap_or(DEFAULT_SEEDS);
    let failed = in_all_threads(seeds, |seed| compare(seed, |_| memory_store()));
    assert!(failed.is_empty(), "{}", told(&failed));
}

#[test]
fn a_clock_that_is_set_changes_nothing_over_a_store_on_a_file() {
    let seeds = number("SIM_FILE_SEEDS").unwrap_or(DEFAULT_FILE_SEEDS);
    let folder = tempfile::tempdir().unwrap();
    let failed = in_all_threads(seeds, |seed| {
        compare(seed, |takes_effect| {
            let file = folder.path().join(format!("{seed}-{takes_effect}"));
            Blocking(SqliteStore::open(file).unwrap())
        })
    });
    assert!(failed.is_empty(), "{}", told(&failed));
}

/// Runs a world once with an unchanged clock and once with its clock set, and returns the
/// differences.
fn compare<S: Store>(seed: u64, store: impl Fn(bool) -> S) -> Vec<String> {
    let [alone, set] = [false, true].map(|takes_effect| {
        let mut world = World::draw(seed);
        world.settings = Some(Settings::draw(&world, takes_effect));
        story(&world, store(takes_effect))
    });
    if alone.lines == set.lines {
        return alone.problems;
    }
    let mut pairs = alone.lines.iter().zip(&set.lines);
    let first = pairs.find(|(one, other)| one != other);
    vec![format!(
        "setting the clock changed something, first {first:?}; {} and {} lines",
        alone.lines.len(),
        set.lines.len()
    )]
}

const MONTH: i64 = 31 * 24 * 3_600_000;

/// The changes of a clock, in milliseconds.
const BY: [i64; 6] = [3_600_000, -3_600_000, 2_000, -2_000, 600_000, MONTH];

/// Number of worlds that are run twice, unless `SIM_SEEDS` is set.
const DEFAULT_SEEDS: u64 = 40;
