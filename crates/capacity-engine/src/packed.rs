//! Stores the minutes of a namespace in a quarter of their size: during an evaluation, an account has
//! hundreds of thousands of them in memory.
//!
//! ```text
//! flags: which rates are not zero (served and throttled of each limit), and whether anything was reported   1 byte
//! flags: which served rates were read, and how the timestamp is encoded                                    1 byte
//! timestamp, unless it is one minute before or after the previous one
//! each rate that is not zero: seven bits per byte, least significant first
//! ```

use jiff::{SignedDuration, Timestamp};

use crate::limit::{LimitKind, PerLimit};
use crate::rate::Rate;
use crate::usage::{MinuteSample, Usage};

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const LIMITS: usize = LimitKind::ALL.len();
/// Number of rates: served and throttled for each limit. One flag for each, and the flag for reported, fit into one byte.
const RATES: usize = 2 * LIMITS;
const REPORTED: u8 = 1 << RATES;
/// Bytes of the largest minute.
// Two bytes of flags, a timestamp of 16 bytes, and 10 bytes for a rate of 64 bits at seven bits per byte.
const LARGEST: usize = 2 + 16 + RATES * 10;
/// Bytes by which a buffer grows. With thousands of namespaces, doubling it would leave half of the memory unused.
const GROWS_BY: usize = 256;

/// The timestamp is one minute after the previous one.
const LATER: u8 = 0;
/// The timestamp is one minute before the previous one.
const EARLIER: u8 = 1;
/// The timestamp follows, in nanoseconds since 1970.
const WRITTEN: u8 = 2;

/// Minutes of one namespace, in the order in which they were added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackedMinutes {
    bytes: Vec<u8>,
    last: Option<Timestamp>,
}

impl PackedMinutes {
    /// Adds a minute.
    pub fn push(&mut self, sample: &MinuteSample) {
        if self.bytes.capacity() - self.bytes.len() < LARGEST {
            self.bytes.reserve_exact(GROWS_BY);
        }
        let rates = rates_of(sample);
        let reported = if sample.reported { REPORTED } else { 0 };
        self.bytes
            .push(mask(rates.iter().map(|rate| !rate.is_zero())) | reported);
        let is = |time: Result<Timestamp, jiff::Error>| time.is_ok_and(|time| time == sample.minute);
        // A window is packed newest first, a series from Prometheus oldest first.
        let time = match self.last {
            Some(last) if is(last.checked_add(MINUTE)) => LATER,
            Some(last) if is(last.checked_sub(MINUTE)) => EARLIER,
            _ => WRITTEN,
        };
        let read = mask(LimitKind::ALL.iter().map(|kind| sample.served_read[*kind]));
        self.bytes.push(read | time << LIMITS);
        if time == WRITTEN {
            self.bytes
                .extend_from_slice(&sample.minute.as_nanosecond().to_le_bytes());
        }
        self.last = Some(sample.minute);
        for rate in rates.into_iter().filter(|rate| !rate.is_zero()) {
            write(&mut self.bytes, rate.micros_per_second());
        }
    }

    /// Returns the minutes.
    pub fn iter(&self) -> PackedIter<'_> {
        PackedIter {
            left: &self.bytes,
            last: None,
        }
    }

    /// Returns whether there are no minutes.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Frees the memory reserved for further minutes.
    pub fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
    }
}

impl<'a> IntoIterator for &'a PackedMinutes {
    type Item = MinuteSample;
    type IntoIter = PackedIter<'a>;

    fn into_iter(self) -> PackedIter<'a> {
        self.iter()
    }
}

impl FromIterator<MinuteSample> for PackedMinutes {
    fn from_iter<I: IntoIterator<Item = MinuteSample>>(samples: I) -> Self {
        let mut packed = Self::default();
        for sample in samples {
            packed.push(&sample);
        }
        packed.shrink();
        packed
    }
}

/// Iterates over packed minutes.
#[derive(Debug, Clone)]
pub struct PackedIter<'a> {
    left: &'a [u8],
    last: Option<Timestamp>,
}

impl Iterator for PackedIter<'_> {
    type Item = MinuteSample;

    /// Bytes are only written by [`PackedMinutes::push`], so they never end within a minute.
    fn next(&mut self) -> Option<MinuteSample> {
        let [present, how, rest @ ..] = self.left else {
            return None;
        };
        self.left = rest;
        let minute = match (how >> LIMITS, self.last) {
            (LATER, Some(last)) => last.checked_add(MINUTE).ok()?,
            (EARLIER, Some(last)) => last.checked_sub(MINUTE).ok()?,
            _ => {
                let (time, rest) = self.left.split_first_chunk::<16>()?;
                self.left = rest;
                Timestamp::from_nanosecond(i128::from_le_bytes(*time)).ok()?
            }
        };
        self.last = Some(minute);
        let mut rates = [Rate::ZERO; RATES];
        for (bit, rate) in rates.iter_mut().enumerate() {
            if present & 1 << bit != 0 {
                *rate = Rate::from_micros_per_second(read(&mut self.left)?);
            }
        }
        Some(MinuteSample {
            minute,
            usage: PerLimit::from_fn(|kind| Usage {
                served: rates[kind as usize],
                throttled: rates[kind as usize + LIMITS],
            }),
            served_read: PerLimit::from_fn(|kind| how & 1 << (kind as u8) != 0),
            reported: present & REPORTED != 0,
        })
    }
}

/// Returns the served rate of each limit, followed by the throttled rate of each limit.
fn rates_of(sample: &MinuteSample) -> [Rate; RATES] {
    let mut rates = [Rate::ZERO; RATES];
    for kind in LimitKind::ALL {
        rates[kind as usize] = sample.usage[kind].served;
        rates[kind as usize + LIMITS] = sample.usage[kind].throttled;
    }
    rates
}

fn mask(bits: impl Iterator<Item = bool>) -> u8 {
    bits.enumerate()
        .fold(0, |mask, (bit, is_set)| mask | u8::from(is_set) << bit)
}

// LEB128: the high bit of a byte says that another one follows. A rate below 268/s takes four bytes.
fn write(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn read(left: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (byte, rest) = left.split_first()?;
        *left = rest;
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn samples() -> impl Strategy<Value = Vec<MinuteSample>> {
        let rate = prop_oneof![Just(0), 0..500_000_000_u64, any::<u64>()];
        let time = prop_oneof![
            (0..90_i64).prop_map(|minute| Timestamp::from_second(1_790_000_040 + minute * 60)),
            (0..90_000_i64).prop_map(|ms| Timestamp::from_millisecond(1_790_000_040_000 + ms)),
            Just(Ok(Timestamp::MIN)),
            Just(Ok(Timestamp::MAX)),
        ];
        let sample = (
            time,
            prop::array::uniform6(rate),
            prop::array::uniform3(any::<bool>()),
            any::<bool>(),
        );
        let sample = sample.prop_map(|(minute, rates, read, reported)| MinuteSample {
            minute: minute.expect("in range"),
            usage: PerLimit::from_fn(|kind| Usage {
                served: Rate::from_micros_per_second(rates[kind as usize]),
                throttled: Rate::from_micros_per_second(rates[kind as usize + 3]),
            }),
            served_read: PerLimit::from_fn(|kind| read[kind as usize]),
            reported,
        });
        prop::collection::vec(sample, 0..40)
    }

    proptest! {
        #[test]
        fn packed_minutes_are_read_back_unchanged_and_in_order(samples in samples()) {
            let packed: PackedMinutes = samples.iter().copied().collect();
            prop_assert_eq!(packed.iter().collect::<Vec<_>>(), samples);
        }
    }

    #[test]
    fn an_hour_takes_a_quarter_of_its_samples() {
        let minutes = (0..60).map(|minute| {
            let minute = Timestamp::from_second(1_790_000_040 + minute * 60).expect("in range");
            let mut sample = MinuteSample::idle(minute);
            for (kind, rate) in LimitKind::ALL.into_iter().zip([100, 200, 500]) {
                sample.usage[kind].served = Rate::per_second(rate);
            }
            sample
        });
        let packed: PackedMinutes = minutes.collect();
        let size = 60 * size_of::<MinuteSample>();
        assert!(
            packed.bytes.len() * 4 < size,
            "{} of {size} bytes",
            packed.bytes.len()
        );
    }
}
