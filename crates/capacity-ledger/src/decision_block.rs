//! The decisions of an evaluation as a compact block of bytes: most of them differ only in the numbers in their reasons.
//!
//! ```text
//! version
//! texts: count, each: length, bytes
//! forms: count, each: action, reason code (texts), pieces of the reason: count, each (texts), which values are known, the known
//! sizes and prices
//! decisions: count, each: namespace (difference), form, known minutes if the form has them, the numbers between the pieces
//! ```
//!
//! Whole numbers are encoded as in [`crate::codec`], and decoded as strictly. If they can be negative, the lowest bit is the sign.

use std::collections::HashMap;
use std::hash::Hash;

use crate::codec::{Damage, byte, length, mask, number, write};
use crate::records::DecisionRecord;

/// The only version so far.
const VERSION: u8 = 1;
/// Maximum number of digits that always fit into a number.
const DIGITS: usize = 18;

/// Distinct values, numbered in the order in which they were added.
struct Numbered<T> {
    numbers: HashMap<T, u64>,
    values: Vec<T>,
}

impl<T: Hash + Eq + Clone> Numbered<T> {
    fn new() -> Self {
        Self {
            numbers: HashMap::new(),
            values: Vec::new(),
        }
    }

    fn of(&mut self, value: T) -> u64 {
        if let Some(number) = self.numbers.get(&value) {
            return *number;
        }
        let number = self.values.len() as u64;
        self.values.push(value.clone());
        self.numbers.insert(value, number);
        number
    }
}

/// The part that decisions share. Texts are stored by number.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Form {
    action: u64,
    reason_code: u64,
    pieces: Vec<u64>,
    has_known_minutes: bool,
    /// Current and wanted TRUs, prices before and after.
    values: [Option<i64>; 4],
}

/// Encodes decisions, sorted by the numbers of their namespaces, without duplicates.
pub(crate) fn encode<'a>(decisions: &[(u64, &'a DecisionRecord)]) -> Vec<u8> {
    let mut texts: Numbered<&'a str> = Numbered::new();
    let mut forms: Numbered<Form> = Numbered::new();
    let mut entries = Vec::with_capacity(decisions.len() * 12);
    let mut before = 0;
    for (namespace, decision) in decisions {
        let (pieces, numbers) = cut(&decision.reason);
        let form = forms.of(Form {
            action: texts.of(&decision.action),
            reason_code: texts.of(&decision.reason_code),
            pieces: pieces.into_iter().map(|piece| texts.of(piece)).collect(),
            has_known_minutes: decision.known_minutes.is_some(),
            values: [
                decision.current_trus,
                decision.wanted_trus,
                decision.price_before_micro_dollars,
                decision.price_after_micro_dollars,
            ],
        });
        write(&mut entries, namespace - before);
        before = *namespace;
        write(&mut entries, form);
        if let Some(minutes) = decision.known_minutes {
            write_signed(&mut entries, minutes);
        }
        for number in numbers {
            write(&mut entries, number);
        }
    }
    let mut bytes = vec![VERSION];
    write(&mut bytes, texts.values.len() as u64);
    for text in &texts.values {
        write(&mut bytes, text.len() as u64);
        bytes.extend_from_slice(text.as_bytes());
    }
    write(&mut bytes, forms.values.len() as u64);
    for form in &forms.values {
        write(&mut bytes, form.action);
        write(&mut bytes, form.reason_code);
        write(&mut bytes, form.pieces.len() as u64);
        for piece in &form.pieces {
            write(&mut bytes, *piece);
        }
        let known = form.values.iter().map(Option::is_some);
        bytes.push(mask(known.chain([form.has_known_minutes])));
        for value in form.values.iter().flatten() {
            write_signed(&mut bytes, *value);
        }
    }
    write(&mut bytes, decisions.len() as u64);
    bytes.extend_from_slice(&entries);
    bytes
}

/// Decodes the decisions for the `wanted` namespaces, each with the number of its namespace. Account, plan and name are empty.
pub(crate) fn decode(
    bytes: &[u8],
    wanted: impl Fn(u64) -> bool,
) -> Result<Vec<(u64, DecisionRecord)>, Damage> {
    let mut left = bytes;
    match byte(&mut left)? {
        VERSION => {}
        version => return Err(Damage::Version(version)),
    }
    let mut texts: Vec<&str> = Vec::new();
    for _ in 0..length(&mut left)? {
        let bytes = length(&mut left)?;
        let (text, rest) = left.split_at(bytes);
        texts.push(std::str::from_utf8(text).map_err(|_| Damage::Text)?);
        left = rest;
    }
    let mut forms: Vec<Form> = Vec::new();
    for _ in 0..length(&mut left)? {
        forms.push(form(&mut left, texts.len() as u64)?);
    }
    // `form` has checked every number against the length of the list.
    let text = |number: u64| texts[usize::try_from(number).unwrap_or_default()];
    let mut decisions = Vec::new();
    let mut namespace = 0_u64;
    for index in 0..length(&mut left)? {
        let difference = number(&mut left)?;
        if index > 0 && difference == 0 {
            return Err(Damage::Order);
        }
        namespace = namespace.checked_add(difference).ok_or(Damage::Number)?;
        let form = usize::try_from(number(&mut left)?)
            .ok()
            .and_then(|number| forms.get(number));
        let form = form.ok_or(Damage::Text)?;
        let known_minutes = if form.has_known_minutes {
            Some(signed(&mut left)?)
        } else {
            None
        };
        let is_wanted = wanted(namespace);
        let mut reason = String::new();
        for (index, piece) in form.pieces.iter().enumerate() {
            let number = match index {
                // There is a number between two pieces, and none before the first.
                0 => None,
                _ => Some(number(&mut left)?),
            };
            if is_wanted {
                reason.extend(number.map(|number| number.to_string()));
                reason.push_str(text(*piece));
            }
        }
        if is_wanted {
            let [current_trus, wanted_trus, before, after] = form.values;
            let decision = DecisionRecord {
                account: String::new(),
                plan_id: String::new(),
                namespace: String::new(),
                action: text(form.action).to_owned(),
                current_trus,
                wanted_trus,
                reason_code: text(form.reason_code).to_owned(),
                reason,
                price_before_micro_dollars: before,
                price_after_micro_dollars: after,
                known_minutes,
            };
            decisions.push((namespace, decision));
        }
    }
    if left.is_empty() {
        Ok(decisions)
    } else {
        Err(Damage::TooLong)
    }
}

fn form(left: &mut &[u8], texts: u64) -> Result<Form, Damage> {
    let text =
        |left: &mut &[u8]| number(left).and_then(|it| if it < texts { Ok(it) } else { Err(Damage::Text) });
    let (action, reason_code) = (text(left)?, text(left)?);
    let mut pieces = Vec::new();
    for _ in 0..length(left)? {
        pieces.push(text(left)?);
    }
    let known = byte(left)?;
    let mut values = [None; 4];
    for (bit, value) in values.iter_mut().enumerate() {
        if known & 1 << bit != 0 {
            *value = Some(signed(left)?);
        }
    }
    Ok(Form {
        action,
        reason_code,
        pieces,
        has_known_minutes: known & 1 << values.len() != 0,
        values,
    })
}

/// Splits a text into pieces and the numbers between them. Leading zeros belong to the piece before the number.
fn cut(text: &str) -> (Vec<&str>, Vec<u64>) {
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let (mut pieces, mut numbers) = (Vec::new(), Vec::new());
    let (mut piece, mut at) = (0, 0);
    while at < bytes.len() {
        if !is_digit(at) || (bytes[at] == b'0' && is_digit(at + 1)) {
            at += 1;
            continue;
        }
        let digits = (0..DIGITS).take_while(|digit| is_digit(at + digit)).count();
        let number = &text[at..at + digits];
        pieces.push(&text[piece..at]);
        numbers.push(number.parse().expect("18 digits fit"));
        at += digits;
        piece = at;
    }
    pieces.push(&text[piece..]);
    (pieces, numbers)
}

fn write_signed(bytes: &mut Vec<u8>, number: i64) {
    // Zigzag: small negative numbers stay short, too. `>>` of a signed number repeats its sign bit.
    write(
        bytes,
        (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned(),
    );
}

fn signed(left: &mut &[u8]) -> Result<i64, Damage> {
    let number = number(left)?;
    Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn decision(reason: String) -> DecisionRecord {
        DecisionRecord {
            account: String::new(),
            plan_id: String::new(),
            namespace: String::new(),
            action: "Keep".to_owned(),
            current_trus: Some(0),
            wanted_trus: Some(0),
            reason_code: "quiet".to_owned(),
            reason,
            price_before_micro_dollars: Some(0),
            price_after_micro_dollars: Some(0),
            known_minutes: Some(60),
        }
    }

    fn decisions() -> impl Strategy<Value = Vec<(u64, DecisionRecord)>> {
        let number = prop::option::of(any::<i64>());
        let text = prop_oneof![
            "[a-z0-9 .,:]{0,20}",
            ".{0,12}",
            Just("0000123 of 99999999999999999999".to_owned())
        ];
        let drawn = (1_u64..500, text.clone(), text, prop::array::uniform5(number));
        prop::collection::vec(drawn, 0..30).prop_map(|drawn| {
            let mut namespace = 0;
            let numbered = drawn.into_iter().map(|(difference, code, reason, numbers)| {
                namespace += difference;
                let [current_trus, wanted_trus, before, after, known_minutes] = numbers;
                let decision = DecisionRecord {
                    reason_code: code,
                    current_trus,
                    wanted_trus,
                    price_before_micro_dollars: before,
                    price_after_micro_dollars: after,
                    known_minutes,
                    ..decision(reason)
                };
                (namespace, decision)
            });
            numbered.collect()
        })
    }

    fn encoded(decisions: &[(u64, DecisionRecord)]) -> Vec<u8> {
        let decisions: Vec<_> = decisions.iter().map(|(number, it)| (*number, it)).collect();
        encode(&decisions)
    }

    proptest! {
        #[test]
        fn a_block_decodes_to_what_was_encoded(decisions in decisions()) {
            prop_assert_eq!(decode(&encoded(&decisions), |_| true), Ok(decisions.clone()));
            let odd: Vec<_> = decisions.iter().filter(|(number, _)| number % 2 == 1).cloned().collect();
            prop_assert_eq!(decode(&encoded(&decisions), |number| number % 2 == 1), Ok(odd));
        }

        #[test]
        fn a_block_that_is_truncated_or_has_trailing_data_is_damaged(decisions in decisions(), at in any::<prop::sample::Index>()) {
            let bytes = encoded(&decisions);
            prop_assert!(decode(&bytes[..at.index(bytes.len())], |_| true).is_err());
            prop_assert_eq!(decode(&[&bytes[..], &[0]].concat(), |_| true), Err(Damage::TooLong));
        }

        #[test]
        fn junk_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes, |_| true);
            let _ = decode(&[&[VERSION], &bytes[..]].concat(), |_| true);
        }
    }

    #[rstest]
    #[case::none("idle", &["idle"], &[])]
    #[case::several("45 of 1,000 at 12:05", &["", " of ", ",00", " at ", ":0", ""], &[45, 1, 0, 12, 5])]
    #[case::zeros("000", &["00", ""], &[0])]
    #[case::too_long("1234567890123456789", &["", "", ""], &[123_456_789_012_345_678, 9])]
    fn numbers_are_cut_out_of_a_reason(
        #[case] reason: &str,
        #[case] pieces: &[&str],
        #[case] numbers: &[u64],
    ) {
        assert_eq!(cut(reason), (pieces.to_vec(), numbers.to_vec()));
    }

    #[test]
    fn a_decision_that_differs_only_in_its_numbers_takes_a_few_bytes() {
        let decisions: Vec<_> = (0..500)
            .map(|number| {
                (
                    number + 1,
                    decision(format!("{}.5 actions/s, {number} min known", number * 7)),
                )
            })
            .collect();
        let bytes = encoded(&decisions).len();
        assert!(bytes < 500 * 10, "{bytes}");
    }
}
