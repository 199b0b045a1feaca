//! Rates, exact to a millionth per second.

use std::fmt;

use human_text::grouped;
use serde::{Deserialize, Serialize};

/// Actions, requests or operations per second, exact to a millionth.
///
/// The metrics endpoint prints three decimals. A whole number of millionths can be compared, added and
/// multiplied without rounding, which floats cannot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rate {
    micros_per_second: u64,
}

const MICROS: u64 = 1_000_000;

/// Highest valid rate: far above any limit of the service, and far below the point at which sums overflow.
const LARGEST_PER_SECOND: f64 = 1e12;

impl Rate {
    /// A rate of zero.
    pub const ZERO: Self = Self { micros_per_second: 0 };

    /// Creates a rate from a whole number per second.
    pub const fn per_second(whole: u32) -> Self {
        Self {
            micros_per_second: whole as u64 * MICROS,
        }
    }

    /// Returns a measured rate, rounded to a millionth; `None` if it is NaN, infinite, negative or above 10^12.
    pub fn from_per_second(measured: f64) -> Option<Self> {
        // `contains` is false for NaN, too.
        if !(0.0..=LARGEST_PER_SECOND).contains(&measured) {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range was just checked: at most 10^18"
        )]
        let micros_per_second = (measured * 1e6).round() as u64;
        Some(Self { micros_per_second })
    }

    /// Returns a rate of this number of millionths per second.
    pub const fn from_micros_per_second(micros_per_second: u64) -> Self {
        Self { micros_per_second }
    }

    /// Returns the rate in millionths per second.
    pub const fn micros_per_second(self) -> u64 {
        self.micros_per_second
    }

    /// Returns whether this is exactly zero.
    pub const fn is_zero(self) -> bool {
        self.micros_per_second == 0
    }

    /// Adds, saturating at the largest rate.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self {
            micros_per_second: self.micros_per_second.saturating_add(other.micros_per_second),
        }
    }

    /// Multiplies by a whole number, saturating at the largest rate.
    #[must_use]
    pub const fn saturating_mul(self, factor: u32) -> Self {
        Self {
            micros_per_second: self.micros_per_second.saturating_mul(factor as u64),
        }
    }

    /// Formats a measurement with one decimal and thousands separators, as `1,070.5`.
    pub fn measured(self) -> impl fmt::Display {
        // In tenths, rounded half away from zero. A small amount is never shown as zero.
        let tenths = (self.micros_per_second + MICROS / 20) / (MICROS / 10);
        Shown {
            whole: tenths / 10,
            decimals: Some(tenths % 10),
            trace: tenths == 0 && !self.is_zero(),
        }
    }

    /// Formats a limit with thousands separators and no decimals if it is whole, as `12,000`.
    pub fn limit(self) -> impl fmt::Display {
        let whole = self.micros_per_second / MICROS;
        let rest = self.micros_per_second % MICROS;
        // Truncated, not rounded: a limit is never shown higher than it is.
        let decimals = (rest != 0).then_some(rest / (MICROS / 10));
        Shown {
            whole,
            decimals,
            trace: false,
        }
    }
}

struct Shown {
    whole: u64,
    decimals: Option<u64>,
    trace: bool,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.trace {
            return f.write_str("less than 0.1");
        }
        write!(f, "{}", grouped(self.whole))?;
        match self.decimals {
            Some(decimals) => write!(f, ".{decimals}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::nan(f64::NAN)]
    #[case::infinite(f64::INFINITY)]
    #[case::negative(-0.001)]
    #[case::absurd(1e13)]
    fn invalid_rates_are_none(#[case] measured: f64) {
        assert_eq!(Rate::from_per_second(measured), None);
    }

    #[rstest]
    #[case::nothing(0.0, "0.0")]
    #[case::trace(0.004, "less than 0.1")]
    #[case::tenth(70.0, "70.0")]
    #[case::rounded(559.96, "560.0")]
    #[case::thousands(1_234_567.89, "1,234,567.9")]
    fn a_measurement_shows_one_decimal(#[case] measured: f64, #[case] expected: &str) {
        let rate = Rate::from_per_second(measured).expect("a rate");
        assert_eq!(rate.measured().to_string(), expected);
    }

    #[rstest]
    #[case::whole(500.0, "500")]
    #[case::thousands(14_000.0, "14,000")]
    #[case::with_decimals(812.5, "812.5")]
    fn a_limit_shows_decimals_only_where_it_has_some(#[case] limit: f64, #[case] expected: &str) {
        assert_eq!(
            Rate::from_per_second(limit).expect("a rate").limit().to_string(),
            expected
        );
    }
}
