//! Numbers and timestamps of the text format.
//!
//! The grammar is that of the `OpenMetrics` 1.0 ABNF: decimal with optional sign, fraction and exponent;
//! values may also be infinite or not a number. Hexadecimal, underscores and a sign before `NaN` are not
//! allowed. A finite number that does not fit into a 64-bit float is an error, because reading it as infinity
//! would be a guess.

use std::cmp::Ordering;

/// Powers of ten that a 64-bit float represents exactly.
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// Number of digits that always fit into the 53-bit mantissa of a float.
const EXACT_DIGITS: usize = 15;

/// A timestamp above this magnitude is treated as milliseconds: as seconds, it would be after the year 5000;
/// as milliseconds, 1e11 is in 1973. Temporal's documentation shows milliseconds, a capture of the live
/// endpoint shows seconds.
const MILLISECONDS_FROM: f64 = 1e11;

/// Largest magnitude at which every integer is a distinct float.
const EXACT_INTEGERS: f64 = 9_007_199_254_740_992.0;

/// Parses a sample's value.
pub(crate) fn number(text: &str) -> Option<f64> {
    real(text).or_else(|| not_finite(text))
}

/// Parses a finite decimal number, the only form that a timestamp may have.
pub(crate) fn real(text: &str) -> Option<f64> {
    match short_decimal(text.as_bytes()) {
        Some((value, length)) if length == text.len() => Some(value),
        _ => rare_real(text),
    }
}

/// Parses a decimal with at most 15 digits and no exponent, as nearly all are, up to the first byte that is
/// not part of it. Returns the number and its length.
#[inline]
pub(crate) fn short_decimal(bytes: &[u8]) -> Option<(f64, usize)> {
    let sign_bytes = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
    let mut mantissa = 0_i64;
    let mut point = None;
    let mut at = sign_bytes;
    while let Some(&byte) = bytes.get(at) {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            // It can only overflow after 18 digits, and more than 15 are rejected below.
            mantissa = mantissa.wrapping_mul(10).wrapping_add(i64::from(digit));
        } else if byte == b'.' && point.is_none() {
            point = Some(at);
        } else {
            break;
        }
        at += 1;
    }
    let digits = at - sign_bytes - usize::from(point.is_some());
    if !(1..=EXACT_DIGITS).contains(&digits) {
        return None;
    }
    let decimals = point.map_or(0, |point| at - point - 1);
    #[expect(
        clippy::cast_precision_loss,
        reason = "at most 15 digits, which a float holds exactly"
    )]
    // Both operands are exact, so the result is rounded once, like that of a complete parser.
    let magnitude = mantissa as f64 / POWERS_OF_TEN[decimals];
    Some((
        if bytes.first() == Some(&b'-') {
            -magnitude
        } else {
            magnitude
        },
        at,
    ))
}

/// Returns whether the text is a short number without a sign, decimal point or exponent, as timestamps usually are.
#[inline]
pub(crate) fn is_short_integer(bytes: &[u8]) -> bool {
    (1..=EXACT_DIGITS).contains(&bytes.len()) && are_digits(bytes)
}

#[inline]
fn are_digits(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_digit)
}

/// Parses long numbers and those with an exponent. They are validated here and converted by the standard library.
#[cold]
fn rare_real(text: &str) -> Option<f64> {
    let unsigned = match text.as_bytes() {
        [b'-' | b'+', rest @ ..] => rest,
        bytes => bytes,
    };
    let exponent_at = unsigned.iter().position(|byte| matches!(byte, b'e' | b'E'));
    let (decimal, exponent) = match exponent_at {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let mut halves = decimal.split(|&byte| byte == b'.');
    let (integer, fraction) = (
        halves.next().unwrap_or_default(),
        halves.next().unwrap_or_default(),
    );
    let has_digits = integer.len() + fraction.len() > 0;
    let is_sound = has_digits && halves.next().is_none() && are_digits(integer) && are_digits(fraction);
    let exponent_is_sound = exponent.is_none_or(|exponent| {
        let digits = match exponent {
            [b'+' | b'-', rest @ ..] => rest,
            _ => exponent,
        };
        !digits.is_empty() && are_digits(digits)
    });
    if !is_sound || !exponent_is_sound {
        return None;
    }
    // Validated first, because `parse` also accepts `inf` and `nan`, and turns 1e999 into infinity.
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// Parses infinities and `NaN`, in upper or lower case.
fn not_finite(text: &str) -> Option<f64> {
    if text.eq_ignore_ascii_case("nan") {
        return Some(f64::NAN);
    }
    let (infinity, word) = match text.as_bytes() {
        [b'-', ..] => (f64::NEG_INFINITY, &text[1..]),
        [b'+', ..] => (f64::INFINITY, &text[1..]),
        _ => (f64::INFINITY, text),
    };
    (word.eq_ignore_ascii_case("inf") || word.eq_ignore_ascii_case("infinity")).then_some(infinity)
}

/// Converts a timestamp to milliseconds since 1970. Its magnitude determines whether it is in seconds or
/// milliseconds.
pub(crate) fn timestamp_ms(text: &str) -> Option<i64> {
    let written = real(text)?;
    let milliseconds = if written.abs() > MILLISECONDS_FROM {
        written
    } else {
        written * 1000.0
    }
    .round();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the magnitude has just been checked"
    )]
    (milliseconds.abs() <= EXACT_INTEGERS).then_some(milliseconds as i64)
}

/// Compares two timestamps, exactly if neither has an exponent: current timestamps in nanoseconds do not fit
/// into a float.
pub(crate) fn compare_timestamps(left: &str, right: &str) -> Ordering {
    let by_float = real(left).partial_cmp(&real(right)).unwrap_or(Ordering::Equal);
    if by_float != Ordering::Equal || left == right {
        return by_float;
    }
    let (Some(left), Some(right)) = (Decimal::new(left), Decimal::new(right)) else {
        return Ordering::Equal;
    };
    match (left.negative, right.negative) {
        (false, false) => left.magnitude().cmp(&right.magnitude()),
        (true, true) => right.magnitude().cmp(&left.magnitude()),
        // Equal as floats with different signs: both are zero, or too small to matter.
        _ => Ordering::Equal,
    }
}

/// A decimal number without an exponent, split into parts for an exact comparison.
struct Decimal<'a> {
    negative: bool,
    integer: &'a str,
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    fn new(text: &'a str) -> Option<Self> {
        if text.contains(['e', 'E']) {
            return None;
        }
        let unsigned = text.trim_start_matches(['+', '-']);
        let (integer, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        Some(Self {
            negative: text.starts_with('-'),
            integer: integer.trim_start_matches('0'),
            fraction: fraction.trim_end_matches('0'),
        })
    }

    fn magnitude(&self) -> (usize, &str, &str) {
        // Without leading zeros, the longer integer is the larger one, and texts of the same length compare
        // like numbers. Fractions without trailing zeros do so at any length.
        (self.integer.len(), self.integer, self.fraction)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0", 0.0)]
    #[case("0042", 42.0)]
    #[case("-1", -1.0)]
    #[case("+1", 1.0)]
    #[case("1.", 1.0)]
    #[case(".5", 0.5)]
    #[case("-.5e1", -5.0)]
    #[case("1e5", 1e5)]
    #[case("1.5E+3", 1500.0)]
    #[case("2.478268416e+09", 2.478_268_416e9)]
    #[case("0000000000000000000000000000000000000000001.2e-1", 0.12)]
    #[case("9223372036854775808", 9_223_372_036_854_775_808.0)]
    #[case("1e-400", 0.0)]
    fn reals(#[case] text: &str, #[case] value: f64) {
        assert_eq!(real(text).map(f64::to_bits), Some(value.to_bits()));
    }

    #[rstest]
    fn invalid_numbers_are_refused(
        #[values(
            "", "+", "-", ".", "e5", "1e", "1e+", "1e5.5", "1.1.1", "1_000", "0x1", "0x1p-3", "0b1", "1a",
            " 1", "1 ", "--1", "+-1", "1e999", "-1e999", "+NaN", "-NaN", "infinit", "++Inf", "\u{661}"
        )]
        text: &str,
    ) {
        assert_eq!(number(text), None);
    }

    #[rstest]
    fn infinities_in_any_case(#[values("Inf", "+Inf", "inf", "+INFINITY", "Infinity")] text: &str) {
        assert_eq!(number(text), Some(f64::INFINITY));
        assert_eq!(real(text), None);
    }

    #[test]
    fn negative_infinity_and_nan() {
        assert_eq!(number("-Inf"), Some(f64::NEG_INFINITY));
        assert!(number("NaN").is_some_and(f64::is_nan));
        assert!(number("nan").is_some_and(f64::is_nan));
    }

    #[rstest]
    #[case::seconds("1764050400", Some(1_764_050_400_000))]
    #[case::seconds_with_fraction("1764050400.25", Some(1_764_050_400_250))]
    #[case::milliseconds("1764050400000", Some(1_764_050_400_000))]
    #[case::last_second("100000000000", Some(100_000_000_000_000))]
    #[case::first_millisecond("100000000001", Some(100_000_000_001))]
    #[case::before_1970("-1.5", Some(-1500))]
    #[case::exponent("1.7640504e9", Some(1_764_050_400_000))]
    #[case::beyond_every_calendar("12345678901234567890", None)]
    #[case::no_number("NaN", None)]
    fn timestamps_convert_by_magnitude(#[case] text: &str, #[case] milliseconds: Option<i64>) {
        assert_eq!(timestamp_ms(text), milliseconds);
    }

    #[rstest]
    #[case("1", "2", Ordering::Less)]
    #[case("1", "1.0", Ordering::Equal)]
    #[case("1764050400.123456789", "1764050400.123456788", Ordering::Greater)]
    #[case("-1764050400.123456789", "-1764050400.123456788", Ordering::Less)]
    #[case("0.0", "-0", Ordering::Equal)]
    #[case("1e3", "1000", Ordering::Equal)]
    #[case("12345678901234567890", "12345678901234567891", Ordering::Less)]
    fn timestamps_compare_exactly(#[case] left: &str, #[case] right: &str, #[case] order: Ordering) {
        assert_eq!(compare_timestamps(left, right), order);
    }

    proptest! {
        #[test]
        fn finite_floats_read_as_the_standard_library_reads_them(value in any::<f64>().prop_filter("finite", |value| value.is_finite())) {
            for text in [value.to_string(), format!("{value:e}"), format!("{value:.3}")] {
                prop_assert_eq!(real(&text).map(f64::to_bits), text.parse::<f64>().ok().map(f64::to_bits));
            }
        }

        #[test]
        fn short_decimals_read_as_the_standard_library_reads_them(text in r"[+-]?[0-9]{0,9}(\.[0-9]{0,9})?") {
            let expected = text.parse::<f64>().ok().map(f64::to_bits);
            prop_assert_eq!(real(&text).map(f64::to_bits), expected);
        }
    }
}
