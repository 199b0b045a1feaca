//! Keys of label sets, so that a series seen before is recognized without keeping its text.
//!
//! A key is the sum of its labels' keys, which makes it independent of their order. Each label's key is 128 bits of hashes
//! under keys that are drawn again for each reader: two different label sets of one document share a key with a chance that
//! stays below 1e-20 for a billion series, and nobody can aim for it.

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};

/// The key of a label set, or of a part of it.
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

/// Takes a key, which is a hash already, for its own hash.
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
