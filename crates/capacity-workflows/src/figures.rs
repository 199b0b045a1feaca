//! The last evaluation in numbers, which every worker serves as metrics.

use std::collections::BTreeMap;

use capacity_autopilot::Plan;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Numbers of one evaluation. Their size does not grow with the account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Number of decisions, by action and reason code.
    pub decisions: BTreeMap<String, BTreeMap<String, u64>>,
    /// Idle minimum of all namespaces, in US dollars per hour.
    pub dollars_per_hour: Decimal,
    /// Idle minimum of all namespaces after the changes of this evaluation, in US dollars per hour.
    pub planned_dollars_per_hour: Decimal,
    /// Namespaces with provisioned capacity.
    pub provisioned_namespaces: u64,
    /// TRUs of all namespaces.
    pub trus: u64,
    /// Namespaces that were throttled.
    pub throttled_namespaces: u64,
    /// The newest minute of the metrics (UTC, RFC 3339).
    pub newest_minute: Option<String>,
}

impl Figures {
    /// Computes the numbers of a plan.
    pub(crate) fn of(plan: &Plan) -> Self {
        let mut figures = Self {
            dollars_per_hour: plan.summary.per_hour_before,
            planned_dollars_per_hour: plan.summary.per_hour_after,
            newest_minute: plan
                .decisions
                .iter()
                .filter_map(|decision| decision.sample_minute)
                .max()
                .map(|minute| minute.to_string()),
            ..Self::default()
        };
        for decision in &plan.decisions {
            let reasons = figures
                .decisions
                .entry(decision.action.as_str().to_owned())
                .or_default();
            *reasons.entry(decision.reason_code.clone()).or_default() += 1;
            let trus = u64::from(decision.current_trus.unwrap_or_default());
            figures.trus += trus;
            figures.provisioned_namespaces += u64::from(trus > 0);
            figures.throttled_namespaces +=
                u64::from(decision.throttled_percent.is_some_and(|it| !it.is_zero()));
        }
        figures
    }

    /// Returns the newest minute of the metrics, in seconds since 1970.
    pub fn newest_seconds(&self) -> Option<i64> {
        let minute: jiff::Timestamp = self.newest_minute.as_deref()?.parse().ok()?;
        Some(minute.as_second())
    }
}
