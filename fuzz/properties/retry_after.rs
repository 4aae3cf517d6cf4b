use std::time::Duration;

use actix_webhooks::fuzzing::{first_retry, parse_retry_after};
use actix_webhooks::{RetryPolicy, Timestamp};

/// Reads a `Retry-After` value and plans the retry.
///
/// # Panics
/// If a property does not hold: the wait is within the cap, and below the cap never shorter than
/// asked; the retry is due neither before now nor before the wait is over.
pub fn retry_after(data: &[u8]) {
    let value = String::from_utf8_lossy(data);
    for now in NOWS.map(Timestamp::from_unix_millis) {
        for cap in CAPS {
            let wait = parse_retry_after(&value, now, cap);
            if let Some(wait) = wait {
                assert!(wait <= cap, "within the cap");
            }
            let asked = asked_for(value.trim(), now);
            assert_eq!(wait, asked.map(|asked| asked.min(cap)));
            check_retry(now, wait, cap);
        }
    }
}

/// Parses a value in a second, independent way. Dates are the exception: they are parsed as the
/// crate parses them.
fn asked_for(value: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(date) = httpdate::parse_http_date(value) {
        return Some(Timestamp::from(date).since(now));
    }
    let digits = value
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let framed = value.starts_with(|first: char| first.is_ascii_digit())
        && value.ends_with(|last: char| last.is_ascii_digit());
    if !digits || !framed || value.matches('.').count() > 1 {
        return None;
    }
    let (whole, fraction) = value.split_once('.').unwrap_or((value, "0"));
    let whole = whole.bytes().fold(0_u64, |number, digit| {
        let digit = u64::from(digit.saturating_sub(b'0'));
        number.saturating_mul(10).saturating_add(digit)
    });
    // Milliseconds, rounded up: the first three digits, plus one if a further digit is not zero.
    let digits = fraction.bytes().chain(*b"000").take(3);
    let part = digits.fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    let rest = fraction.get(3..).unwrap_or_default();
    let part = part + u64::from(!rest.trim_matches('0').is_empty());
    Some(Duration::from_secs(whole).saturating_add(Duration::from_millis(part)))
}

fn check_retry(now: Timestamp, wait: Option<Duration>, cap: Duration) {
    let policy = RetryPolicy::three_in_two_minutes().max_retry_after(cap);
    let cap = policy.longest_retry_after();
    let (at, deadline) = first_retry(&policy, now, wait);
    let at = at.expect("the first failure is tried again");
    assert!(at >= now, "not before now");
    if let Some(wait) = wait {
        assert!(at >= now + wait.min(cap), "not before the wait is over");
        let soonest = Duration::from_secs(1);
        assert!(at >= now + soonest, "not at once");
        assert!(at <= now + cap.max(soonest), "not after the cap");
    }
    assert!(deadline.is_some_and(|end| end >= at));
}

/// 1970, 2015, one second of a leap day, shortly before the last instant, and the first instant.
const NOWS: [i64; 5] = [
    0,
    1_445_412_480_250,
    1_709_164_800_999,
    Timestamp::MAX.unix_millis() - 200_000,
    i64::MIN,
];

const CAPS: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(1_500),
    Duration::from_hours(24),
    Duration::MAX,
];
