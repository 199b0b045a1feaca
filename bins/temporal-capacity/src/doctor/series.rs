//! Checks of the series in the metrics source: what a scrape job changed, and unknown families.

use capacity_autopilot::{Autopilot, StoredSeries, families_of_unknown_throttling, stored_series};
use human_text::chain;
use jiff::Timestamp;
use prometheus_reader::PrometheusClient;

use super::findings::Checks;

/// Checks whether the scrape job changes labels or timestamps of the series.
pub(super) async fn scrape_job(client: &PrometheusClient, now: Timestamp, report: &mut Checks) {
    match stored_series(client, now).await {
        Err(error) => report.bad(SCRAPE_JOB, chain(&error), "the stored samples cannot be read"),
        Ok(found) => judge(&found, report),
    }
}

const SCRAPE_JOB: &str = "scrape job";

fn judge(found: &StoredSeries, report: &mut Checks) {
    const CHECK: &str = SCRAPE_JOB;
    if !found.has_samples {
        let remedy = "whether it changes labels or timestamps is unknown: check that Prometheus scrapes the metrics endpoint";
        return report.odd(CHECK, "no samples in the last 10 minutes", remedy);
    }
    if found.namespace_overwritten {
        let remedy = "these series are ignored, so their namespaces are kept on hold: set `honor_labels: true` in the scrape job";
        report.bad(
            CHECK,
            "overwrites temporal_namespace (exported_temporal_namespace is present)",
            remedy,
        );
    }
    if found.has_scrape_times {
        let remedy =
            "each sample is treated as 4 minutes older: set `honor_timestamps: true` in the scrape job";
        report.odd(
            CHECK,
            "samples have the time of the scrape instead of their full minute",
            remedy,
        );
    }
    let labels: Vec<&str> = found.pipeline_labels.iter().map(String::as_str).collect();
    report.good(
        CHECK,
        if labels.is_empty() {
            "adds no labels".to_owned()
        } else {
            format!("adds labels, which are ignored: {}", labels.join(", "))
        },
    );
}

/// Checks whether the metrics source reports a kind of throttling that this version does not support.
pub(super) async fn unknown_throttling(autopilot: &Autopilot, report: &mut Checks) {
    const CHECK: &str = "throttling";
    match families_of_unknown_throttling(autopilot.metrics(), autopilot.now()).await {
        Err(error) => report.odd(
            CHECK,
            chain(&error),
            "a new kind of throttling would not be detected",
        ),
        Ok(families) if families.is_empty() => {
            report.good(CHECK, "no unknown kinds of throttling");
        }
        Ok(families) => {
            let remedy = "namespaces throttled in these ways are not scaled down: upgrade to a version that supports them";
            let finding = format!(
                "metric families for unknown kinds of throttling: {}",
                families.join(", ")
            );
            report.odd(CHECK, finding, remedy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::findings::Verdict;

    #[test]
    fn a_scrape_job_without_samples_is_not_good() {
        let verdict = |has_samples| {
            let mut report = Checks::default();
            let mut found = StoredSeries::default();
            found.has_samples = has_samples;
            judge(&found, &mut report);
            report.0[0].verdict
        };
        assert_eq!(verdict(true), Verdict::Good);
        assert_eq!(verdict(false), Verdict::Odd);
    }
}
