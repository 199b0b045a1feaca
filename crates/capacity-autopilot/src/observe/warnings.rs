//! Warnings about an evaluation as a whole, shown once and not in every row.

use capacity_engine::pricing::in_dollars;
use capacity_engine::{AccountView, LimitKind, MetricsHealth, ReasonCode};
use jiff::SignedDuration;
use openmetrics_reader::temporal_cloud::{Part, Series};
use rust_decimal::Decimal;

use crate::autopilot::Autopilot;
use crate::evaluation::Judged;
use crate::metrics::{AccountMetrics, family_of};
use crate::namespaces::Listed;

/// Prefix of the warning about an account without metrics.
pub(crate) const METRICS_UNAVAILABLE: &str = "metrics unavailable: ";

pub(super) fn of_filters(autopilot: &Autopilot, listed: &[Listed], warnings: &mut Vec<String>) {
    let filter = &autopilot.settings().rules.filter;
    for (setting, patterns) in [
        ("NAMESPACE_ALLOWLIST", &filter.allow),
        ("NAMESPACE_DENYLIST", &filter.deny),
    ] {
        for entry in patterns.unmatched(listed.iter().map(|listed| &listed.id)) {
            warnings.push(format!(
                "{setting}: `{entry}` matches no namespace of the account; is it misspelled?"
            ));
        }
    }
}

/// Warns about a wrong clock. The service's time is used in any case.
pub(super) fn of_clock(skew: Option<SignedDuration>, warnings: &mut Vec<String>) {
    if let Some(behind) = skew {
        let word = if behind.is_positive() {
            "behind"
        } else {
            "ahead of"
        };
        warnings.push(format!(
            "this machine's clock is {} s {word} the service's, whose time was used instead: check NTP on this machine",
            behind.abs().as_secs()
        ));
    }
}

pub(super) fn of_metrics(metrics: &AccountMetrics, whole_account: bool, warnings: &mut Vec<String>) {
    if metrics.unlabelled > 0 {
        warnings.push(format!(
            "{} metrics samples have no namespace label and are ignored",
            metrics.unlabelled
        ));
    }
    if metrics.overwritten > 0 {
        warnings.push(format!(
            "{} samples carry the label {} and are ignored: the scrape job overwrites \
             temporal_namespace; set `honor_labels: true` in the scrape job",
            metrics.overwritten,
            Series::OVERWRITTEN_NAMESPACE
        ));
    }
    if metrics.has_scrape_times {
        warnings.push(
            "samples in Prometheus have the time of the scrape instead of the full minute that was measured, and count \
             as 4 minutes older; set `honor_timestamps: true` in the scrape job"
                .to_owned(),
        );
    }
    if whole_account && metrics.unlisted_count > 0 {
        let named: Vec<&str> = metrics.unlisted.iter().map(String::as_str).collect();
        let more = if metrics.unlisted_count > named.len() {
            ", ..."
        } else {
            ""
        };
        warnings.push(format!(
            "the metrics show {} namespaces that the Cloud Ops API does not list ({}{more}): the Cloud Ops key may lack access to them",
            metrics.unlisted_count,
            named.join(", ")
        ));
    }
    for kind in LimitKind::ALL {
        if metrics.missing_families[kind] {
            warnings.push(format!(
                "metric family {} is missing for the whole account: the {} limit cannot be judged, and nothing is scaled down",
                family_of(kind, Part::Served).name(),
                kind.singular()
            ));
        }
    }
}

/// Problems of the whole account, which rows mention only briefly, and holds because of an estimate.
pub(super) fn of_decisions(account: &AccountView, decisions: &[Judged], warnings: &mut Vec<String>) {
    if let MetricsHealth::Incomplete { why, .. } = &account.metrics {
        warnings.push(format!("{METRICS_UNAVAILABLE}{why}"));
    }
    warnings.extend(of_estimates(decisions));
}

/// Describes what releases on an estimate would save, and how to enable them.
fn of_estimates(decisions: &[Judged]) -> Option<String> {
    let held = decisions
        .iter()
        .map(|judged| &judged.decision)
        .filter(|decision| decision.reason_code == ReasonCode::EstimateOnly);
    let (mut count, mut saved, mut price) = (0_usize, Decimal::ZERO, None);
    for decision in held {
        count += 1;
        let released = decision
            .blocked
            .map(|blocked| decision.price.price.idle_hour(blocked));
        saved += decision.price.per_hour_before.unwrap_or_default() - released.unwrap_or_default();
        price = Some(&decision.price.price);
    }
    let price = price?;
    let namespaces = if count == 1 { "namespace" } else { "namespaces" };
    Some(format!(
        "{count} {namespaces} held on an estimate; releasing would save up to {}/h at {price}. To release with an hour of \
         data: run `temporal-capacity plan --observe 1h`, set LEDGER_URL and let the worker sample for an hour, or set \
         METRICS_SOURCE=prometheus. To release on an estimate: set DISABLE_ON_ESTIMATE=true",
        in_dollars(saved)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_named_with_the_remedy() {
        let mut warnings = Vec::new();
        for hours in [5, -5] {
            of_clock(Some(SignedDuration::from_hours(hours)), &mut warnings);
        }
        of_clock(None, &mut warnings);
        insta::assert_snapshot!(warnings.join("\n"), @r"
        this machine's clock is 18000 s behind the service's, whose time was used instead: check NTP on this machine
        this machine's clock is 18000 s ahead of the service's, whose time was used instead: check NTP on this machine
        ");
    }
}
