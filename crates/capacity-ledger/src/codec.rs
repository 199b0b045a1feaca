//! Encodes a minute of an account as a compact block of bytes.
//!
//! ```text
//! version, limits: count, each: which are known, values      most namespaces share few of them
//! entries: count, each: namespace (difference), flags, unread served rates if any, limits (number), nonzero rates
//! ```
//!
//! Whole numbers are encoded with seven bits per byte, least significant first. Decoding is strict: a block
//! that is truncated, has trailing data, or refers to limits that it does not contain is reported as damaged,
//! and nothing is guessed.

/// The only version so far.
const VERSION: u8 = 1;

/// Why a block cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    Version(u8),
    CutShort,
    TooLong,
    Number,
    Limits,
    Order,
    Text,
}

impl Damage {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Version(_) => "a block with an unknown version",
            Self::CutShort => "a truncated block",
            Self::TooLong => "a block with trailing data",
            Self::Number => "a number that is too large",
            Self::Limits => "limits that are not in the block",
            Self::Order => "namespaces out of order",
            Self::Text => "text that is not in the block or is not UTF-8",
        }
    }
}

/// Limits and envelopes, each for actions, requests and operations, in millionths per second.
pub(crate) type Limits = [Option<u64>; 6];

/// One namespace in one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Entry {
    pub(crate) namespace: u64,
    pub(crate) reported: bool,
    /// Which served rates were not read: actions, requests, operations.
    pub(crate) unread: [bool; 3],
    /// Served and throttled rates, each for actions, requests and operations, in millionths per second.
    pub(crate) rates: [u64; 6],
    pub(crate) limits: Limits,
}

/// Encodes entries, which must be ordered by namespace, without duplicates.
pub(crate) fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut limits: Vec<Limits> = entries.iter().map(|entry| entry.limits).collect();
    limits.sort_unstable();
    limits.dedup();
    let mut bytes = Vec::with_capacity(16 + limits.len() * 30 + entries.len() * 20);
    bytes.push(VERSION);
    write(&mut bytes, limits.len() as u64);
    for each in &limits {
        bytes.push(mask(each.iter().map(Option::is_some)));
        for value in each.iter().flatten() {
            write(&mut bytes, *value);
        }
    }
    write(&mut bytes, entries.len() as u64);
    let mut before = 0;
    for entry in entries {
        write(&mut bytes, entry.namespace - before);
        before = entry.namespace;
        let unread = mask(entry.unread.into_iter());
        bytes.push(
            mask(entry.rates.iter().map(|rate| *rate > 0))
                | u8::from(entry.reported) << 6
                // Most minutes were read whole, so the byte for unread rates is left out.
                | u8::from(unread > 0) << 7,
        );
        if unread > 0 {
            bytes.push(unread);
        }
        // Every entry's limits are in the list, because it was built from these entries.
        let number = limits.binary_search(&entry.limits).unwrap_or_default();
        write(&mut bytes, number as u64);
        for rate in entry.rates.iter().filter(|rate| **rate > 0) {
            write(&mut bytes, *rate);
        }
    }
    bytes
}

pub(crate) fn mask(bits: impl Iterator<Item = bool>) -> u8 {
    bits.enumerate()
        .fold(0, |mask, (bit, is_set)| mask | u8::from(is_set) << bit)
}

pub(crate) fn write(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap_or_default());
}

/// Decodes a block.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Entry>, Damage> {
    let mut left = bytes;
    match byte(&mut left)? {
        VERSION => {}
        version => return Err(Damage::Version(version)),
    }
    let count = length(&mut left)?;
    let mut limits: Vec<Limits> = Vec::with_capacity(count);
    for _ in 0..count {
        let known = byte(&mut left)?;
        let mut each = Limits::default();
        for (bit, value) in each.iter_mut().enumerate() {
            if known & 1 << bit != 0 {
                *value = Some(number(&mut left)?);
            }
        }
        limits.push(each);
    }
    let count = length(&mut left)?;
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    let mut namespace = 0_u64;
    for index in 0..count {
        let difference = number(&mut left)?;
        if index > 0 && difference == 0 {
            return Err(Damage::Order);
        }
        namespace = namespace.checked_add(difference).ok_or(Damage::Number)?;
        let flags = byte(&mut left)?;
        let unread = if flags & 1 << 7 == 0 { 0 } else { byte(&mut left)? };
        let which = usize::try_from(number(&mut left)?).map_err(|_| Damage::Limits)?;
        let mut rates = [0; 6];
        for (bit, rate) in rates.iter_mut().enumerate() {
            if flags & 1 << bit != 0 {
                *rate = number(&mut left)?;
            }
        }
        entries.push(Entry {
            namespace,
            reported: flags & 1 << 6 != 0,
            unread: [0, 1, 2].map(|bit| unread & 1 << bit != 0),
            rates,
            limits: *limits.get(which).ok_or(Damage::Limits)?,
        });
    }
    if left.is_empty() {
        Ok(entries)
    } else {
        Err(Damage::TooLong)
    }
}

pub(crate) fn byte(left: &mut &[u8]) -> Result<u8, Damage> {
    let (first, rest) = left.split_first().ok_or(Damage::CutShort)?;
    *left = rest;
    Ok(*first)
}

pub(crate) fn number(left: &mut &[u8]) -> Result<u64, Damage> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let next = byte(left)?;
        let bits = u64::from(next & 0x7f);
        // Nine bytes hold 63 bits, so only one is left for the tenth.
        if shift == 63 && bits > 1 {
            return Err(Damage::Number);
        }
        number |= bits << shift;
        if next & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Damage::Number)
}

/// Decodes the count of items that take at least one byte each. A damaged count cannot exhaust the memory.
pub(crate) fn length(left: &mut &[u8]) -> Result<usize, Damage> {
    let count = usize::try_from(number(left)?).map_err(|_| Damage::Number)?;
    if count > left.len() {
        Err(Damage::CutShort)
    } else {
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        let limit = prop::option::of(0_u64..20_000_000_000);
        let entry = (
            1_u64..500,
            any::<(bool, [bool; 3])>(),
            prop::array::uniform6(prop_oneof![Just(0_u64), any::<u64>()]),
            prop::array::uniform6(limit),
        );
        prop::collection::vec(entry, 0..40).prop_map(|drawn| {
            let mut namespace = 0;
            drawn
                .into_iter()
                .map(|(difference, (reported, unread), rates, limits)| {
                    namespace += difference;
                    Entry {
                        namespace,
                        reported,
                        unread,
                        rates,
                        limits,
                    }
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn a_block_decodes_to_what_was_encoded(entries in entries()) {
            prop_assert_eq!(decode(&encode(&entries)), Ok(entries));
        }

        #[test]
        fn a_block_that_is_truncated_or_has_trailing_data_is_damaged(entries in entries(), at in any::<prop::sample::Index>()) {
            let bytes = encode(&entries);
            prop_assert!(decode(&bytes[..at.index(bytes.len())]).is_err());
            prop_assert_eq!(decode(&[&bytes[..], &[0]].concat()), Err(Damage::TooLong));
        }

        #[test]
        fn junk_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
