//! The shape of the last sample line: everything up to the end of its labels except the label values.
//!
//! Documents repeat their shapes: a thousand series of one family differ only in their values. If the fixed
//! parts of a line equal those of a previous line, its names, commas, braces and duplicate names need not be
//! checked again, and only the ends of its label values have to be found. This makes reading fast and never
//! changes a result.

use crate::scan;
use crate::text::Text;

/// The fixed parts of a sample line that has been read: `name{first="`, `",second="`, ... `"}`.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    /// Empty if there is no shape.
    parts: Vec<Part>,
    /// The bytes of all parts, each padded to whole words.
    words: Vec<Word>,
    name_bytes: usize,
    /// Position of the labels, after the opening brace.
    labels_from: usize,
}

#[derive(Debug)]
struct Part {
    bytes: usize,
    words_end: usize,
}

/// Eight bytes of a part that are compared at once, because calling a comparison function for a dozen bytes
/// takes longer than comparing them.
#[derive(Debug)]
struct Word {
    value: u64,
    /// The bytes that belong to the part.
    mask: u64,
}

/// The beginning of a sample line that matches the shape.
pub(crate) struct Matched<'a> {
    pub(crate) name: Text<'a>,
    pub(crate) between_braces: &'a str,
    /// Length of the match, including the closing brace.
    pub(crate) length: usize,
}

impl Shape {
    /// Remembers a line that begins with a name of this length and has this content between its braces. The
    /// content is not empty and has no quoted name.
    pub(crate) fn remember(&mut self, line: &str, name_bytes: usize, between_braces: &str) {
        // First, so that a line that cannot be remembered leaves no shape behind.
        self.parts.clear();
        self.words.clear();
        let Some(brace) = scan::find(line.as_bytes(), b'{') else {
            return;
        };
        self.name_bytes = name_bytes;
        self.labels_from = brace + 1;
        let bytes = &line.as_bytes()[..=self.labels_from + between_braces.len()];
        let mut from = 0;
        let mut at = self.labels_from;
        // Only values are quoted, so every other quote is an opening one.
        while let Some(opening) = scan::find(&bytes[at..], b'"') {
            let value_from = at + opening + 1;
            let Some(length) = scan::closing_quote(&bytes[value_from..]) else {
                break;
            };
            self.push(&bytes[from..value_from]);
            from = value_from + length;
            at = from + 1;
        }
        self.push(&bytes[from..]);
    }

    fn push(&mut self, part: &[u8]) {
        for bytes in part.chunks(8) {
            let mask = u64::MAX >> (64 - 8 * bytes.len());
            self.words.push(Word {
                value: scan::word(bytes),
                mask,
            });
        }
        self.parts.push(Part {
            bytes: part.len(),
            words_end: self.words.len(),
        });
    }

    /// Matches the beginning of a line against this shape.
    #[expect(
        clippy::inline_always,
        reason = "part of reading a repeated line, which is one step"
    )]
    #[inline(always)]
    pub(crate) fn read<'a>(&self, line: &'a str) -> Option<Matched<'a>> {
        let (last, before_values) = self.parts.split_last()?;
        let bytes = line.as_bytes();
        let mut at = 0;
        let mut words_from = 0;
        for part in before_values {
            let rest = bytes.get(at..)?;
            if !begins_with(rest, &self.words[words_from..part.words_end]) {
                return None;
            }
            at += part.bytes + scan::closing_quote(rest.get(part.bytes..)?)?;
            words_from = part.words_end;
        }
        if !begins_with(bytes.get(at..)?, &self.words[words_from..]) {
            return None;
        }
        let length = at + last.bytes;
        Some(Matched {
            name: Text::new(line.get(..self.name_bytes)?),
            between_braces: line.get(self.labels_from..length - 1)?,
            length,
        })
    }
}

#[inline]
fn begins_with(bytes: &[u8], words: &[Word]) -> bool {
    let (whole, tail) = bytes.as_chunks::<8>();
    // No early exit: parts are one to a few words long, and a branch for each would cost more.
    let different = whole.iter().zip(words).fold(0, |different, (bytes, word)| {
        different | ((u64::from_le_bytes(*bytes) ^ word.value) & word.mask)
    });
    if words.len() <= whole.len() {
        return different == 0;
    }
    // Close to the end of the line. Missing bytes count as zeros, which no part contains.
    different == 0
        && words.len() == whole.len() + 1
        && words
            .last()
            .is_some_and(|word| (scan::word(tail) ^ word.value) & word.mask == 0)
}
