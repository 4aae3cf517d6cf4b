use super::*;
use crate::domain::deliveries::attempt::AttemptSummary;
use crate::domain::deliveries::outcome::DeadLetterReason;
use crate::domain::policy::redirect::RedirectRefusal;
use crate::domain::value::id::DeliveryId;
use crate::domain::value::url::WebhookUrl;

fn second(second: i64) -> Timestamp {
    Timestamp::from_unix_millis(second * 1_000)
}

fn record(failure: Option<Failure>, millis: u64) -> AttemptRecord {
    let mut summary = AttemptSummary::new(1, second(0), Duration::from_millis(millis));
    summary.failure = failure;
    let outcome = failure.map_or(Outcome::Delivered, |failure| Outcome::Failed { failure });
    let url = WebhookUrl::parse("http://a.test/").unwrap();
    AttemptRecord::new(DeliveryId::new(1), url, summary, outcome)
}

fn dead(failure: Failure) -> AttemptRecord {
    let reason = DeadLetterReason::Permanent(failure);
    AttemptRecord {
        outcome: Outcome::DeadLettered { reason },
        ..record(Some(failure), 5)
    }
}

fn series(meters: &[Meter], window: SeriesWindow, now: Timestamp) -> Series {
    let mut sum = Sum::new(window, now);
    for meter in meters {
        sum.add(meter);
    }
    sum.series()
}

#[test]
fn a_series_has_one_point_per_step_and_ends_with_the_current_one() {
    let mut meter = Meter::default();
    meter.count(
        &[record(None, 20), record(Some(Failure::Timeout), 900)],
        second(3_590),
    );
    meter.count(&[dead(Failure::Status(410))], second(3_661));
    meter.give_up(4, second(3_662));
    let hour = series(&[meter], SeriesWindow::Hour, second(3_700));
    assert_eq!((hour.step, hour.points.len()), (Duration::from_mins(1), 60));
    let [.., before, empty, last] = &hour.points[..] else {
        panic!("{hour:?}");
    };
    assert_eq!(
        (before.at, empty.at, last.at),
        (second(3_540), second(3_600), second(3_660))
    );
    assert_eq!(
        (before.attempts, before.delivered, before.failed.timeout),
        (2, 1, 1)
    );
    assert!(before.p50 < before.p99);
    assert_eq!(
        *empty,
        SeriesPoint {
            at: empty.at,
            ..SeriesPoint::default()
        }
    );
    assert_eq!(
        (last.attempts, last.failed.client_error, last.dead_lettered),
        (1, 1, 5)
    );
}

#[test]
fn the_meters_of_all_arbiters_are_added_up() {
    let mut meters = [Meter::default(), Meter::default()];
    for meter in &mut meters {
        meter.count(&[record(None, 4)], second(10));
        meter.give_up(1, second(11));
    }
    let minute = series(&meters, SeriesWindow::Minute, second(11));
    let [.., before, last] = &minute.points[..] else {
        panic!("{minute:?}");
    };
    assert_eq!((before.delivered, last.dead_lettered), (2, 2));
    assert_eq!(meters.map(|meter| meter.dead_lettered()), [1, 1]);
}

#[test]
fn what_is_older_than_the_window_is_forgotten() {
    let mut meter = Meter::default();
    for minute in 0..3_000 {
        meter.count(&[record(None, 1)], second(60 * minute));
    }
    assert_eq!(
        (meter.minutes.tallies.len(), meter.seconds.tallies.len()),
        (1_440, 1)
    );
    let day = series(&[meter], SeriesWindow::Day, second(60 * 2_999));
    assert_eq!(day.points.len(), 1_440);
    assert!(day.points.iter().all(|point| point.delivered == 1));
}

#[test]
fn a_rate_leaves_out_the_second_that_has_not_ended() {
    let mut meter = Meter::default();
    for number in 0..20 {
        meter.count(&[record(None, 1)], second(number));
    }
    let mut sum = Sum::new(SeriesWindow::Minute, second(19));
    sum.add(&meter);
    let last = sum.last(10);
    assert_eq!((last.delivered, last.at), (10, second(9)));
    assert_eq!(sum.last(1_000).delivered, 19);
}

#[test]
fn a_time_before_the_newest_step_counts_in_it() {
    let mut meter = Meter::default();
    meter.count(&[record(None, 1)], second(60));
    meter.count(&[record(None, 1)], second(59));
    let minute = series(&[meter], SeriesWindow::Minute, second(60));
    assert_eq!(minute.points.last().unwrap().delivered, 2);
}

#[test]
fn every_failure_is_counted_in_one_kind() {
    let kinds = [
        (Failure::Status(404), "clientError"),
        (Failure::CredentialsDropped(401), "clientError"),
        (Failure::Status(503), "serverError"),
        (Failure::Status(304), "otherStatus"),
        (Failure::Redirect(RedirectRefusal::TooMany), "otherStatus"),
        (Failure::Timeout, "timeout"),
        (Failure::Dns, "connection"),
        (Failure::CertificateExpired, "tls"),
        (Failure::Blocked, "notSent"),
    ];
    for (failure, name) in kinds {
        let mut meter = Meter::default();
        meter.count(&[record(Some(failure), 1)], second(0));
        let minute = series(&[meter], SeriesWindow::Minute, second(0));
        let point = minute.points.last().unwrap();
        assert_eq!((point.attempts, point.failed.total()), (1, 1));
        let written = serde_json::to_value(point.failed).unwrap();
        assert_eq!(written[name], 1, "{failure:?}");
    }
}
