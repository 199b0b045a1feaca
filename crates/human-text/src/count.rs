//! Counts with their nouns.

use std::borrow::Cow;

/// Returns a count with its noun: `1 namespace`, `1,200 namespaces`, `2 policies`.
pub fn counted(count: impl TryInto<i128>, singular: &str) -> String {
    let count = whole(count);
    format!("{} {}", grouped(count), noun(count, singular))
}

/// Returns the noun that belongs to a count, for texts that do not begin with the count: `minute`, `minutes`.
pub fn noun(count: impl TryInto<i128>, singular: &str) -> Cow<'_, str> {
    if whole(count) == 1 {
        Cow::Borrowed(singular)
    } else {
        Cow::Owned(plural(singular))
    }
}

/// Returns a whole number with thousands separators: `1,080,000`.
pub fn grouped(number: impl TryInto<i128>) -> String {
    let number = whole(number);
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if number < 0 {
        text.push('-');
    }
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Only a number beyond 38 digits does not fit.
fn whole(number: impl TryInto<i128>) -> i128 {
    number.try_into().unwrap_or(i128::MAX)
}

/// Returns the regular plural of a noun, or of the last word of a phrase.
fn plural(singular: &str) -> String {
    const VOWELS: [char; 5] = ['a', 'e', 'i', 'o', 'u'];
    match singular.strip_suffix('y') {
        Some(stem) if !stem.ends_with(VOWELS) => format!("{stem}ies"),
        _ if ["s", "x", "z", "ch", "sh"]
            .iter()
            .any(|end| singular.ends_with(end)) =>
        {
            format!("{singular}es")
        }
        _ => format!("{singular}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::none(0, "change", "0 changes")]
    #[case::one(1, "namespace", "1 namespace")]
    #[case::several(12, "change", "12 changes")]
    #[case::thousands(1_200, "open change", "1,200 open changes")]
    #[case::minus(-1, "day", "-1 days")]
    #[case::consonant_and_y(2, "dependency", "2 dependencies")]
    #[case::one_with_y(1, "policy", "1 policy")]
    #[case::hissing(2, "batch", "2 batches")]
    #[case::acronym(3, "TRU", "3 TRUs")]
    fn a_count_has_the_right_plural(#[case] count: i64, #[case] singular: &str, #[case] expected: &str) {
        assert_eq!(counted(count, singular), expected);
    }

    #[test]
    fn any_whole_number_can_be_counted() {
        assert_eq!(counted(1_usize, "line"), "1 line");
        assert_eq!(counted(u64::MAX, "row"), "18,446,744,073,709,551,615 rows");
        assert_eq!(noun(1_u128, "minute"), "minute");
        assert_eq!(noun(0_u8, "minute"), "minutes");
    }

    #[rstest]
    #[case(0, "0")]
    #[case(999, "999")]
    #[case(1_000, "1,000")]
    #[case(1_080_000, "1,080,000")]
    #[case(-1_234, "-1,234")]
    #[case(-123, "-123")]
    fn thousands_are_separated(#[case] number: i64, #[case] expected: &str) {
        assert_eq!(grouped(number), expected);
    }
}
