//! The load of a namespace, minute by minute. Pure: the same seed and minute give the same load.

use std::path::Path;
use std::sync::Arc;

/// A recorded load: for each minute, the mean actions per second, and those of its busiest ten seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    minutes: Vec<(u32, u32)>,
}

/// Why a trace cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The file cannot be opened or is not CSV.
    #[error("the trace cannot be read")]
    Csv(#[from] csv::Error),
    /// A row that is not two whole numbers.
    #[error("row {row} of the trace is not `aps,peak10s` in whole numbers")]
    Row {
        /// Number of the row, starting from 1 after the header.
        row: usize,
    },
    /// There are no rows.
    #[error("the trace has no rows")]
    Empty,
}

impl Trace {
    /// Reads a trace: CSV with a header and the columns `aps` and `peak10s`, one row per minute.
    pub fn read(source: impl std::io::Read) -> Result<Self, TraceError> {
        let mut minutes = Vec::new();
        for (number, row) in csv::Reader::from_reader(source).into_records().enumerate() {
            let row = row?;
            let column = |index: usize| row.get(index).and_then(|text| text.trim().parse::<u32>().ok());
            let (Some(mean), Some(peak)) = (column(0), column(1)) else {
                return Err(TraceError::Row { row: number + 1 });
            };
            minutes.push((mean, peak));
        }
        if minutes.is_empty() {
            Err(TraceError::Empty)
        } else {
            Ok(Self { minutes })
        }
    }

    /// Reads a trace from a file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TraceError> {
        Self::read(std::fs::File::open(path).map_err(csv::Error::from)?)
    }

    fn at(&self, minute: u64) -> (f64, f64) {
        let length = self.minutes.len() as u64;
        let index = usize::try_from(minute % length).unwrap_or(0);
        let (mean, peak) = self.minutes[index];
        (f64::from(mean), f64::from(peak.max(mean)))
    }
}

/// A load profile.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Load {
    /// No work.
    Idle,
    /// This number of actions per second, plus or minus 5%.
    Steady(f64),
    /// A low load, with a burst for some minutes of every hour.
    Bursty {
        /// Actions per second between bursts.
        base: f64,
        /// Actions per second during a burst.
        burst: f64,
        /// Minutes of a burst, from the start of each hour.
        minutes: u8,
    },
    /// A recorded load, repeated from its beginning.
    Replay(Arc<Trace>),
}

/// The work of a minute, in actions per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Demand {
    pub(crate) mean: f64,
    /// Rate in the first ten seconds.
    pub(crate) peak: f64,
}

impl Load {
    /// Returns the work of a minute (since 1970). `since` counts minutes from the start of the simulation.
    pub(crate) fn at(&self, minute: i64, since: i64, seed: u64) -> Demand {
        // The constant is the golden ratio in 64 bits. It spreads consecutive minutes over the whole range of
        // seeds.
        let noise =
            1.0 + (unit(seed ^ minute.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15)) - 0.5) / 10.0;
        let steady = |rate: f64| Demand {
            mean: rate * noise,
            peak: rate * noise * 1.1,
        };
        match self {
            Self::Idle => Demand { mean: 0.0, peak: 0.0 },
            // At such a low rate, noise and peaks do not matter.
            Self::Steady(rate) if *rate < 1.0 => Demand {
                mean: *rate,
                peak: *rate,
            },
            Self::Steady(rate) => steady(*rate),
            Self::Bursty { base, burst, minutes } => steady(if minute.rem_euclid(60) < i64::from(*minutes) {
                *burst
            } else {
                *base
            }),
            Self::Replay(trace) => {
                let (mean, peak) = trace.at(u64::try_from(since).unwrap_or(0));
                Demand { mean, peak }
            }
        }
    }

    /// Returns the typical load of a week, in actions per second; unknown for a recorded load, which has no
    /// history.
    pub(crate) fn usual(&self) -> Option<f64> {
        match self {
            Self::Idle => Some(0.0),
            Self::Steady(rate) => Some(*rate),
            Self::Bursty { base, burst, minutes } => Some(base + (burst - base) * f64::from(*minutes) / 60.0),
            Self::Replay(_) => None,
        }
    }
}

/// Returns a number from 0 to 1 that depends on the seed alone (splitmix64).
pub(crate) fn unit(seed: u64) -> f64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    let fraction = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
    fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_replayed_from_its_beginning_over_and_over() {
        let trace = Trace::read("aps,peak10s\n10,30\n20,20\n".as_bytes()).expect("a trace");
        let load = Load::Replay(Arc::new(trace));
        assert_eq!(
            load.at(1_000, 0, 1),
            Demand {
                mean: 10.0,
                peak: 30.0
            }
        );
        assert_eq!(
            load.at(1_003, 3, 1),
            Demand {
                mean: 20.0,
                peak: 20.0
            }
        );
    }

    #[test]
    fn a_broken_row_is_named() {
        let error = Trace::read("aps,peak10s\n10,30\n20\n".as_bytes()).expect_err("broken");
        assert!(
            matches!(error, TraceError::Csv(_) | TraceError::Row { row: 2 }),
            "{error}"
        );
        let error = Trace::read("aps,peak10s\n10,-3\n".as_bytes()).expect_err("broken");
        assert!(error.to_string().contains("row 1"), "{error}");
    }

    #[test]
    fn the_same_seed_and_minute_give_the_same_load() {
        let load = Load::Steady(100.0);
        assert_eq!(load.at(5, 5, 7), load.at(5, 5, 7));
        assert_ne!(load.at(5, 5, 7), load.at(6, 6, 7));
    }
}
