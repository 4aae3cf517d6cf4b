use super::*;

const START: Timestamp = Timestamp::from_unix_millis(1_767_225_600_000);
const HOUR_MS: i64 = 3_600_000;

/// A clock and its wall clock, which can be set.
fn clock() -> (Clock, Wall) {
    let wall = Wall::simulated(START);
    let clock = Clock::starting(wall.clone(), StoredClock::default());
    (clock, wall)
}

#[actix_rt::test]
async fn it_advances_with_tokios_paused_clock() {
    tokio::time::pause();
    let (clock, _) = clock();
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(clock.now(), START.moved(3_000));
    tokio::time::sleep_until(clock.moment(START.moved(9_500))).await;
    // Tokio rounds up to its own milliseconds, which began before this test paused it.
    let late = clock.now().since(START.moved(9_500));
    assert!(
        clock.now() >= START.moved(9_500) && late <= Duration::from_millis(1),
        "{late:?}"
    );
}

/// Setting the clock by an hour used to move every deadline: a retry due in 8 s came an hour later,
/// and a hold of a minute ended at once.
#[actix_rt::test]
async fn a_wall_clock_that_is_set_moves_what_is_shown_and_nothing_else() {
    tokio::time::pause();
    for set_by in [HOUR_MS, -HOUR_MS, 2_000, -2_000] {
        let (clock, wall) = clock();
        let (before, due) = (clock.now(), clock.now() + Duration::from_secs(8));
        let moment = clock.moment(due);
        wall.set_by(set_by);
        assert_eq!(clock.look_at_wall(), WallOffset::from_millis(set_by));
        assert_eq!((clock.now(), clock.moment(due)), (before, moment));
        assert_eq!(clock.offset().to_wall(before), before.moved(set_by));
        assert_eq!(clock.not_kept(), Some(clock.offset()));
        clock.note_kept(clock.offset());
        assert_eq!(clock.not_kept(), None);
    }
    let (clock, _) = clock();
    assert!(
        clock.moment(Timestamp::NEVER) > Clock::instant(),
        "it is far away"
    );
}

#[actix_rt::test]
async fn the_next_engine_goes_on_with_the_time_of_the_one_before() {
    tokio::time::pause();
    let (clock, wall) = clock();
    wall.set_by(-HOUR_MS);
    clock.look_at_wall();
    let stored = StoredClock {
        wall_ahead_ms: clock.offset().millis(),
        latest: Some(clock.now()),
    };
    tokio::time::advance(Duration::from_secs(10)).await;
    let next = Clock::starting(wall.clone(), stored);
    assert_eq!((next.now(), next.offset()), (clock.now(), clock.offset()));
    assert_eq!(next.not_kept(), None);
    // Set back once more while no engine runs: time continues from the latest write of the last
    // engine.
    wall.set_by(-HOUR_MS);
    let next = Clock::starting(wall.clone(), stored);
    assert_eq!(Some(next.now()), stored.latest);
    assert_eq!(next.offset().to_wall(next.now()), wall.now());
    assert_eq!(
        next.not_kept(),
        Some(WallOffset::from_millis(10_000 - 2 * HOUR_MS))
    );
}

/// Times used to be truncated to milliseconds without compensation, and a retry came up to 0.7 ms
/// early.
#[actix_rt::test]
async fn nothing_is_due_a_fraction_of_a_millisecond_early() {
    tokio::time::pause();
    let (clock, _) = clock();
    let wait = Duration::from_millis(20);
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..200 {
        tokio::time::advance(Duration::from_micros(rng.u64(..3_000))).await;
        let failed = Clock::instant();
        let due = clock.at_latest(failed) + wait;
        assert!(clock.moment(due) >= failed + wait);
        let nearly = wait.saturating_sub(Duration::from_micros(rng.u64(1..999)));
        tokio::time::advance(nearly).await;
        assert!(clock.now() < due, "it is judged due before its time");
        tokio::time::advance(Duration::from_millis(2)).await;
        assert!(clock.now() >= due, "it is not late either");
    }
}

#[actix_rt::test]
async fn a_paused_clock_is_not_dragged_to_the_wall_clock() {
    tokio::time::pause();
    let clock = Clock::starting(Wall::system(), StoredClock::default());
    let before = clock.now();
    tokio::time::advance(Duration::from_hours(24)).await;
    clock.look_at_wall();
    assert_eq!(clock.now().since(before), Duration::from_hours(24));
    assert_eq!(clock.not_kept(), None);
}

#[test]
fn what_a_damaged_store_says_overflows_nothing() {
    for wall_ahead_ms in [i64::MIN, i64::MAX] {
        for latest in [None, Some(i64::MIN), Some(i64::MAX)] {
            let latest = latest.map(Timestamp::from_unix_millis);
            let stored = StoredClock {
                wall_ahead_ms,
                latest,
            };
            let clock = Clock::starting(Wall::simulated(START), stored);
            let _ = (clock.now(), clock.look_at_wall(), clock.not_kept());
            let _ = clock.moment(clock.at_latest(Clock::instant()) + Duration::MAX);
        }
    }
}

/// Each engine lags behind the wall clock by its truncation, up to a millisecond. A killed engine
/// had set a deadline that the next one, which lagged less, considered over too early.
#[actix_rt::test]
async fn a_deadline_is_not_early_in_the_next_engine() {
    tokio::time::pause();
    let system = |wall: Timestamp, behind: Duration| {
        let real = Clock::instant().into_std();
        let source = Source::System { real };
        let wall = Wall::anchored(wall, Clock::instant(), behind, source);
        Clock::starting(wall, StoredClock::default())
    };
    // 0.9 ms past the millisecond.
    let killed = system(START, Duration::from_micros(900));
    let (ended, wait) = (Clock::instant(), Duration::from_millis(300));
    let due = killed.at_latest(ended) + wait;
    // The next millisecond begins 99.1 ms later.
    tokio::time::advance(Duration::from_micros(99_100)).await;
    let next = system(START.moved(100), Duration::ZERO);
    tokio::time::advance(Duration::from_micros(200_850)).await;
    assert!(next.now() < due, "50 µs are left");
    tokio::time::advance(Duration::from_micros(1_100)).await;
    assert!(next.now() >= due, "a millisecond late at most");
}
