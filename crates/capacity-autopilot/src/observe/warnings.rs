//! Warnings about an evaluation as a whole, shown once and not in every row.

use capacity_engine::{AccountView, LimitKind, MetricsHealth, ReasonCode};
use rust_decimal::Decimal;

use crate::autopilot::Autopilot;
use crate::evaluation::Judged;
use crate::metrics::AccountMetrics;
use crate::namespaces::Listed;
use crate::warning::Warning;

pub(super) fn of_filters(autopilot: &Autopilot, listed: &[Listed], warnings: &mut Vec<Warning>) {
    let filter = &autopilot.settings().rules.filter;
    for (setting, patterns) in [
        ("NAMESPACE_ALLOWLIST", &filter.allow),
        ("NAMESPACE_DENYLIST", &filter.deny),
    ] {
        let unmatched = patterns
            .unmatched(listed.iter().map(|listed| &listed.id))
            .into_iter();
        warnings.extend(unmatched.map(|entry| Warning::UnmatchedPattern {
            setting,
            entry: entry.to_string(),
        }));
    }
}

pub(super) fn of_metrics(metrics: &AccountMetrics, whole_account: bool, warnings: &mut Vec<Warning>) {
    if metrics.unlabeled > 0 {
        warnings.push(Warning::Unlabeled(metrics.unlabeled));
    }
    if metrics.overwritten > 0 {
        warnings.push(Warning::Overwritten(metrics.overwritten));
    }
    if metrics.has_scrape_times {
        warnings.push(Warning::ScrapeTimes);
    }
    // In a part of the account, everything outside it would count as unlisted.
    if whole_account && metrics.unlisted_count > 0 {
        warnings.push(Warning::Unlisted {
            count: metrics.unlisted_count,
            named: metrics.unlisted.iter().cloned().collect(),
        });
    }
    let missing = LimitKind::ALL
        .into_iter()
        .filter(|kind| metrics.missing_families[*kind]);
    warnings.extend(missing.map(Warning::FamilyMissing));
}

/// Adds warnings about problems of the whole account, which rows mention only briefly, and about holds because of an estimate.
pub(super) fn of_decisions(account: &AccountView, decisions: &[Judged], warnings: &mut Vec<Warning>) {
    if let MetricsHealth::Incomplete { why, .. } = &account.metrics {
        warnings.push(Warning::MetricsUnavailable(why.clone()));
    }
    warnings.extend(of_estimates(decisions));
}

/// Returns a warning about the savings that are held because usage in the last hour is only an estimate.
fn of_estimates(decisions: &[Judged]) -> Option<Warning> {
    let held = decisions
        .iter()
        .map(|judged| &judged.decision)
        .filter(|decision| decision.reason_code == ReasonCode::EstimateOnly);
    let (mut namespaces, mut saved, mut price) = (0, Decimal::ZERO, None);
    for decision in held {
        namespaces += 1;
        let released = decision
            .blocked
            .map(|blocked| decision.price.price.idle_hour(blocked));
        saved += decision.price.per_hour_before.unwrap_or_default() - released.unwrap_or_default();
        price = Some(&decision.price.price);
    }
    Some(Warning::HeldOnEstimate {
        namespaces,
        saved,
        price: price?.clone(),
    })
}
