//! The cost of a run.

use capacity_engine::{ActionPrice, PricePerMillion};
use rust_decimal::Decimal;

use crate::model::{Minute, WAITED_PER_MINUTE};

/// Minutes of the month that scores are scaled to: 30 days.
const MONTH_MINUTES: i64 = 30 * 24 * 60;

/// Exact counts of a run after its warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Score {
    /// Number of minutes counted.
    pub minutes: i64,
    /// Actions billed in addition to those used.
    pub topup_actions: i64,
    /// Actions served.
    pub served: i64,
    /// Actions that had to wait.
    pub delayed: i64,
    /// Attempts that were throttled.
    pub throttled: i64,
    /// Capacity changes.
    pub changes: i64,
    /// Actions still waiting at the end.
    pub waiting: i64,
    waited: i64,
}

/// A score in dollars, scaled to 30 days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dollars {
    /// Cost of minimums that were not used.
    pub waste: Decimal,
    /// Cost of waiting.
    pub delay: Decimal,
    /// Cost of changes, at one dollar each.
    pub changes: Decimal,
    /// The sum of all costs.
    pub total: Decimal,
}

impl Score {
    pub(crate) fn add(&mut self, minute: &Minute) {
        self.minutes += 1;
        self.served += minute.served;
        self.delayed += minute.delayed;
        self.throttled += minute.throttled;
        self.waited += minute.waited;
    }

    /// Returns the total minutes that actions waited.
    pub fn action_minutes(&self) -> i64 {
        self.waited / WAITED_PER_MINUTE
    }

    /// Returns the share of actions that had to wait, in millionths.
    pub fn delayed_share_micros(&self) -> i64 {
        let asked = i128::from((self.served + self.waiting).max(1));
        i64::try_from(i128::from(self.delayed) * 1_000_000 / asked).unwrap_or(0)
    }

    /// Returns the score in dollars, scaled to 30 days. Waiting costs `delay_milli` thousandths of an action
    /// per action-minute. Top-up and waiting are each priced as the account's next actions.
    pub fn dollars(&self, price: &ActionPrice, delay_milli: i64) -> Dollars {
        let delay_actions = i128::from(self.action_minutes()) * i128::from(delay_milli) / 1000;
        let waste = price.of(self.scaled(self.topup_actions));
        let delay = price.of(self.scaled(i64::try_from(delay_actions).unwrap_or(i64::MAX)));
        let changes =
            Decimal::from(self.changes) * Decimal::from(MONTH_MINUTES) / Decimal::from(self.minutes.max(1));
        Dollars {
            total: waste + delay + changes,
            waste,
            delay,
            changes,
        }
    }

    /// Returns a count scaled to 30 days.
    pub fn scaled(&self, count: i64) -> u64 {
        let scaled = i128::from(count) * i128::from(MONTH_MINUTES) / i128::from(self.minutes.max(1));
        // Above this, a decimal could not hold the exact price.
        u64::try_from(scaled).unwrap_or(0).min(1_000_000_000_000_000)
    }
}

/// Converts the cost of a change in a score, one dollar, to actions at this price.
pub(crate) fn change_actions(price: PricePerMillion) -> i64 {
    // Leaves room for the product with a number of changes.
    i64::try_from(Decimal::from(1_000_000) / price.dollars()).unwrap_or(i64::MAX / 1_000_000)
}

impl Score {
    /// Counts minutes in which all work was served immediately.
    pub(crate) fn add_quiet(&mut self, minutes: i64, served: i64) {
        self.minutes += minutes;
        self.served += served;
    }
}
