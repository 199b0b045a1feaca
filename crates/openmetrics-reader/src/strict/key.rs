//! Keys of label sets, which identify a series without storing its text.
//!
//! A key is the sum of its labels' keys, so it does not depend on their order. Each label's key is a 128-bit
//! hash with random keys per reader. The probability that two different label sets of a document have the
//! same key is below 1e-20 for a billion series, and nobody can provoke it.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};

/// The key of a label set, or of part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Key(u128);

impl Key {
    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "any half of the key is as good as a hash"
        )]
        state.write_u64(self.0 as u64);
    }
}

/// A set of keys.
pub(super) type Keys = HashSet<Key, BuildHasherDefault<FirstHalf>>;

/// Uses a key, which is already a hash, as its own hash.
#[derive(Debug, Default)]
pub(super) struct FirstHalf(u64);

impl Hasher for FirstHalf {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Makes keys.
#[derive(Debug, Default)]
pub(super) struct KeyMaker {
    high: RandomState,
    low: RandomState,
}

impl KeyMaker {
    /// Returns the key of a label, or of any other pair of texts.
    pub(super) fn key(&self, name: &str, value: &str) -> Key {
        let high = u128::from(self.high.hash_one((name, value)));
        Key(high << 64 | u128::from(self.low.hash_one((name, value))))
    }
}
