//! Finds bytes quickly in safe code, without dependencies.
//!
//! Long ranges are searched in fixed blocks, whose comparison the compiler vectorizes; short ones eight bytes
//! at a time in one integer.

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
const BLOCK: usize = 32;

/// Returns up to eight bytes as one integer, the first byte lowest, missing bytes as zeros.
#[inline]
pub(crate) fn word(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// Sets the high bit of zero bytes. Exact up to and including the lowest one.
#[inline]
fn zero_bytes(word: u64) -> u64 {
    // Subtracting 1 sets the high bit of a zero byte by borrowing; `!word` excludes bytes that had it before.
    // A borrow can mark bytes above a zero byte by mistake.
    word.wrapping_sub(LOW_BITS) & !word & HIGH_BITS
}

#[inline]
fn matches_of(word: u64, byte: u8) -> u64 {
    zero_bytes(word ^ (LOW_BITS * u64::from(byte)))
}

#[inline]
fn first(marks: u64) -> usize {
    marks.trailing_zeros() as usize / 8
}

/// Returns the position of the first line feed.
#[inline]
pub(crate) fn line_feed(bytes: &[u8]) -> Option<usize> {
    let (blocks, tail) = bytes.as_chunks::<BLOCK>();
    for (index, block) in blocks.iter().enumerate() {
        // There is no early exit inside the block, so that the compiler can compare all bytes at once.
        if block
            .iter()
            .fold(0, |found, &byte| found | u8::from(byte == b'\n'))
            != 0
        {
            return find(block, b'\n').map(|at| index * BLOCK + at);
        }
    }
    find(tail, b'\n').map(|at| blocks.len() * BLOCK + at)
}

/// Returns the position of the first `wanted`. Meant for short distances.
#[inline]
pub(crate) fn find(bytes: &[u8], wanted: u8) -> Option<usize> {
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let marks = matches_of(u64::from_le_bytes(*word), wanted);
        if marks != 0 {
            return Some(index * 8 + first(marks));
        }
    }
    tail.iter()
        .position(|&byte| byte == wanted)
        .map(|at| words.len() * 8 + at)
}

/// Returns the position of the quote that ends a quoted text beginning at `bytes`, skipping escaped
/// characters.
#[inline]
pub(crate) fn closing_quote(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + quote_or_backslash(bytes.get(from..)?)?;
        if bytes[at] == b'"' {
            return Some(at);
        }
        // The backslash and the byte that it escapes, so that `\"` does not end the text and `\\` escapes
        // nothing.
        from = at + 2;
    }
}

#[inline]
fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let marks = matches_of(word, b'"') | matches_of(word, b'\\');
        if marks != 0 {
            return Some(index * 8 + first(marks));
        }
    }
    tail.iter()
        .position(|byte| matches!(byte, b'"' | b'\\'))
        .map(|at| words.len() * 8 + at)
}

const NAME_START: u8 = 1;
const NAME: u8 = 2;
const COLON: u8 = 4;

/// The character classes of each byte in a name.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "the loop ends at 255")]
        let character = byte as u8;
        if character.is_ascii_alphabetic() || character == b'_' {
            classes[byte] = NAME_START | NAME;
        } else if character.is_ascii_digit() {
            classes[byte] = NAME;
        } else if character == b':' {
            classes[byte] = COLON;
        }
        byte += 1;
    }
    classes
};

/// Returns the length of the metric name at the beginning of `bytes`; 0 if there is none.
#[inline]
pub(crate) fn metric_name(bytes: &[u8]) -> usize {
    name(bytes, NAME_START | COLON, NAME | COLON)
}

/// Returns the length of the label name at the beginning of `bytes`; 0 if there is none.
#[inline]
pub(crate) fn label_name(bytes: &[u8]) -> usize {
    name(bytes, NAME_START, NAME)
}

#[inline]
fn name(bytes: &[u8], start: u8, rest: u8) -> usize {
    match bytes.first() {
        Some(&byte) if CLASSES[usize::from(byte)] & start != 0 => bytes
            .iter()
            .position(|&byte| CLASSES[usize::from(byte)] & rest == 0)
            .unwrap_or(bytes.len()),
        _ => 0,
    }
}

/// Returns whether all of `text` is allowed inside a metric name.
pub(crate) fn is_metric_name_part(text: &str) -> bool {
    text.bytes()
        .all(|byte| CLASSES[usize::from(byte)] & (NAME | COLON) != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn closing_quote_slowly(bytes: &[u8]) -> Option<usize> {
        let mut escaped = false;
        for (at, &byte) in bytes.iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => return Some(at),
                _ => {}
            }
        }
        None
    }

    proptest! {
        #[test]
        fn line_feeds_are_found_where_they_are(bytes in prop::collection::vec(prop_oneof![20 => any::<u8>(), 1 => Just(b'\n')], 0..200)) {
            prop_assert_eq!(line_feed(&bytes), bytes.iter().position(|&byte| byte == b'\n'));
        }

        #[test]
        fn escaped_quotes_do_not_end_a_text(bytes in prop::collection::vec(prop_oneof![6 => any::<u8>(), 1 => Just(b'"'), 1 => Just(b'\\')], 0..80)) {
            prop_assert_eq!(closing_quote(&bytes), closing_quote_slowly(&bytes));
        }
    }

    #[test]
    fn names_end_at_the_first_other_byte() {
        assert_eq!(metric_name(b"a:b_9{"), 5);
        assert_eq!(metric_name(b"9a"), 0);
        assert_eq!(metric_name(b""), 0);
        assert_eq!(label_name(b"a:b"), 1);
        assert_eq!(label_name(b":b"), 0);
        assert_eq!(label_name("é".as_bytes()), 0);
    }
}
