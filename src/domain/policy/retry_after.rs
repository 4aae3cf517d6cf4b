//! Parses `Retry-After` (RFC 9110 §10.2.3) from receivers that may send anything.

use std::time::Duration;

use crate::domain::value::time::Timestamp;

/// Returns the wait that a `Retry-After` value asks for, at most `cap`.
///
/// Seconds may have a fraction, rounded up to milliseconds. A date is compared with the answer's
/// own `Date` if that is readable (RFC 9110 §10.2.3), because the receiver's clock may be hours
/// off; otherwise with `now`. A date in the past and `0` mean no wait. Anything else returns
/// `None`: negative, not finite, not a number, empty, or several values.
pub(crate) fn parse_retry_after(
    value: &str,
    answered: Option<&str>,
    now: Timestamp,
    cap: Duration,
) -> Option<Duration> {
    let value = value.trim();
    let wait = if value.bytes().next()?.is_ascii_digit() {
        parse_seconds(value)?
    } else {
        let answered = answered.and_then(parse_date).unwrap_or(now);
        parse_date(value)?.since(answered)
    };
    Some(wait.min(cap))
}

fn parse_seconds(value: &str) -> Option<Duration> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || (fraction.is_empty() && value.contains('.')) {
        return None;
    }
    // Only digits are left, so parsing fails only on overflow, and the cap applies.
    let seconds = whole.parse().unwrap_or(u64::MAX);
    let (shown, rest) = fraction.split_at_checked(3).unwrap_or((fraction, ""));
    let missing = u32::try_from(3 - shown.len()).unwrap_or(0);
    let part = shown.parse().unwrap_or(0) * 10_u64.pow(missing);
    let up = u64::from(rest.bytes().any(|byte| byte != b'0'));
    Some(Duration::from_secs(seconds).saturating_add(Duration::from_millis(part + up)))
}

fn parse_date(value: &str) -> Option<Timestamp> {
    let date = httpdate::parse_http_date(value.trim()).ok()?;
    Some(Timestamp::from(date))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use super::*;

    const DAY: Duration = Duration::from_hours(24);
    const NOW: Timestamp = Timestamp::from_unix_millis(1_445_412_480_250);

    #[track_caller]
    fn check(value: &str, expected: Option<Duration>) {
        let wait = parse_retry_after(value, None, NOW, DAY);
        assert_eq!(wait, expected, "{value:?}");
    }

    #[test]
    fn seconds_and_dates_are_read() {
        check("120", Some(Duration::from_mins(2)));
        check(" 7 ", Some(Duration::from_secs(7)));
        check("0", Some(Duration::ZERO));
        check("1.2", Some(Duration::from_millis(1_200)));
        check("0.0340", Some(Duration::from_millis(34)));
        check("0.0341", Some(Duration::from_millis(35)));
        check("1.999000001", Some(Duration::from_secs(2)));
        check(
            "Wed, 21 Oct 2015 07:28:30 GMT",
            Some(Duration::from_millis(29_750)),
        );
        check("Wed, 21 Oct 2015 07:27:00 GMT", Some(Duration::ZERO));
        check("Sunday, 06-Nov-94 08:49:37 GMT", Some(Duration::ZERO));
    }

    /// The receiver's clock is an hour ahead. It asks for a wait of half a minute.
    #[test]
    fn a_date_is_compared_with_the_answers_own() {
        let asked = "Wed, 21 Oct 2015 08:28:30 GMT";
        for (answered, seconds) in [
            (Some("Wed, 21 Oct 2015 08:28:00 GMT"), 30.0),
            (Some(" Wed, 21 Oct 2015 08:28:00 GMT"), 30.0),
            (Some("Wed, 21 Oct 2015 09:00:00 GMT"), 0.0),
            (Some("yesterday"), 3_629.75),
            (
                Some("Wed, 21 Oct 2015 08:28:00 GMT, Wed, 21 Oct 2015 08:28:00 GMT"),
                3_629.75,
            ),
            (Some(""), 3_629.75),
            (None, 3_629.75),
        ] {
            let wait = parse_retry_after(asked, answered, NOW, DAY);
            assert_eq!(wait, Some(Duration::from_secs_f64(seconds)), "{answered:?}");
        }
        let seconds = parse_retry_after("7", Some("yesterday"), NOW, DAY);
        assert_eq!(seconds, Some(Duration::from_secs(7)));
    }

    #[test]
    fn long_waits_are_cut_to_the_cap() {
        check("99999999999999999999", Some(DAY));
        check("86401", Some(DAY));
        check("Wed, 21 Oct 2099 07:28:00 GMT", Some(DAY));
    }

    #[test]
    fn garbage_is_ignored() {
        for value in [
            "", " ", "inf", "NaN", "1e300", "-5", "+5", "1.", ".5", "1,5", "12 s", "0x10", "１２",
            "soon", "120, 120",
        ] {
            check(value, None);
        }
        let date = httpdate::fmt_http_date(UNIX_EPOCH + DAY);
        check(&format!("{date}, {date}"), None);
    }

    proptest! {
        #[test]
        fn no_text_panics_or_exceeds_the_cap(value in ".{0,64}") {
            prop_assert!(parse_retry_after(&value, Some(&value), NOW, DAY).is_none_or(|wait| wait <= DAY));
        }

        #[test]
        fn a_date_is_never_reached_early(seconds in 0_u64..4_000_000_000) {
            let date = UNIX_EPOCH + Duration::from_secs(seconds);
            let wait = parse_retry_after(&httpdate::fmt_http_date(date), None, NOW, Duration::MAX).unwrap();
            prop_assert!(date <= UNIX_EPOCH + Duration::from_millis(1_445_412_480_250) + wait);
        }
    }
}
