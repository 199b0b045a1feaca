//! The bill: by namespace and calendar hour, following the published rule, in exact decimals.

use rust_decimal::Decimal;

/// One calendar hour of one namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HourBill {
    /// Highest number of TRUs in effect at any moment of the hour; 0 means on-demand.
    pub highest_trus: u32,
    pub(crate) millionths_of_actions: u128,
}

impl HourBill {
    /// Returns the whole actions used.
    pub fn actions(&self) -> u64 {
        u64::try_from(self.millionths_of_actions / 1_000_000).unwrap_or(u64::MAX)
    }

    /// Returns the minimum number of actions that the hour is billed for: 360,000 for each TRU after the
    /// first (Temporal's documentation, pricing page).
    pub fn minimum(&self) -> u64 {
        u64::from(self.highest_trus.saturating_sub(1)) * 360_000
    }

    /// Returns the actions billed in addition to those used.
    pub fn shortfall(&self) -> u64 {
        self.minimum().saturating_sub(self.actions())
    }

    /// Returns the cost of the shortfall at a price in dollars per million actions.
    pub fn shortfall_cost(&self, price_per_million: Decimal) -> Decimal {
        Decimal::from(self.shortfall()) * price_per_million / Decimal::from(1_000_000)
    }
}
