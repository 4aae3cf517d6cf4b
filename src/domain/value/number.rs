//! The order of JSON numbers by their values.

use std::cmp::Ordering;

use serde_json::Number;

/// Returns the order of two numbers, exactly: an integer of 64 bits is never rounded to a
/// double-precision number, so 2^53 and 2^53 + 1 differ, and `1` equals `1.0`.
///
/// Returns `None` for a number that fits neither, such as `1e400`. An application can let
/// `serde_json` read such numbers.
pub(crate) fn compare(one: &Number, other: &Number) -> Option<Ordering> {
    Some(match (Exact::of(one)?, Exact::of(other)?) {
        (Exact::Integer(one), Exact::Integer(other)) => one.cmp(&other),
        (Exact::Integer(one), Exact::Double(other)) => against(one, other),
        (Exact::Double(one), Exact::Integer(other)) => against(other, one).reverse(),
        (Exact::Double(one), Exact::Double(other)) => one.partial_cmp(&other)?,
    })
}

enum Exact {
    /// From -2^63 to 2^64 - 1.
    Integer(i128),
    /// Finite.
    Double(f64),
}

impl Exact {
    fn of(number: &Number) -> Option<Self> {
        let signed = number.as_i64().map(i128::from);
        let integer = signed.or_else(|| number.as_u64().map(i128::from));
        let double = || number.as_f64().filter(|double| double.is_finite());
        integer
            .map(Self::Integer)
            .or_else(|| double().map(Self::Double))
    }
}

fn against(integer: i128, double: f64) -> Ordering {
    if double >= BEYOND {
        return Ordering::Less;
    }
    if double <= -BEYOND {
        return Ordering::Greater;
    }
    let whole = double.trunc();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is whole and below 2^64"
    )]
    let order = integer.cmp(&(whole as i128));
    order.then_with(|| 0.0_f64.total_cmp(&(double - whole)))
}

/// 2^64: no integer of a `Number` is as large.
const BEYOND: f64 = 18_446_744_073_709_551_616.0;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Number {
        serde_json::from_str(text).unwrap()
    }

    #[track_caller]
    fn check(one: &str, expected: Ordering, other: &str) {
        let order = compare(&number(one), &number(other));
        assert_eq!(order, Some(expected), "{one} and {other}");
        let order = compare(&number(other), &number(one));
        assert_eq!(order, Some(expected.reverse()), "{other} and {one}");
    }

    #[test]
    fn numbers_are_compared_by_value_whatever_their_form() {
        use Ordering::{Equal, Less};

        for (one, other) in [("1", "1.0"), ("1", "1e0"), ("-0.0", "0"), ("100", "1e2")] {
            check(one, Equal, other);
        }
        for (one, other) in [
            ("1", "1.5"),
            ("-1.5", "-1"),
            ("0", "0.5"),
            ("-0.5", "0"),
            ("-1", "0.0"),
            ("2", "10"),
        ] {
            check(one, Less, other);
        }
    }

    #[test]
    fn large_integers_are_not_rounded() {
        use Ordering::{Equal, Greater, Less};

        check("9007199254740992", Less, "9007199254740993");
        check("9007199254740993", Greater, "9007199254740992.0");
        check("9007199254740992", Equal, "9007199254740992.0");
        check("18446744073709551615", Less, "18446744073709551616.0");
        check("18446744073709551614", Less, "18446744073709551615");
        check("-9223372036854775808", Equal, "-9223372036854775808.0");
        check("-9223372036854775807", Greater, "-9223372036854775808.0");
        check("9223372036854775807", Less, "9223372036854775808.0");
        check("1", Less, "1e300");
        check("-1e300", Less, "-9223372036854775808");
    }

    proptest! {
        #[test]
        fn a_rounded_integer_is_beside_its_double(integer in any::<i64>()) {
            #[expect(clippy::cast_precision_loss, reason = "it is the point")]
            let double = integer as f64;
            let order = compare(&integer.into(), &Number::from_f64(double).unwrap());
            #[expect(clippy::cast_possible_truncation, reason = "it is whole")]
            let expected = i128::from(integer).cmp(&(double as i128));
            prop_assert_eq!(order, Some(expected));
        }
    }
}
