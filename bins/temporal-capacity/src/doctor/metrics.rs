//! Checks of the metrics, from the endpoint or from Prometheus: reachability, families, completeness and age.

use capacity_autopilot::{Autopilot, metric_families};
use human_text::chain;
use openmetrics_reader::scrape::{Completeness, Query, Scraper};
use prometheus_reader::PrometheusClient;

use super::findings::Checks;
use super::series;

/// Checks the metrics endpoint: reachability, key, families, completeness and age.
pub(super) async fn endpoint(autopilot: &Autopilot, scraper: &Scraper, report: &mut Checks) {
    const CHECK: &str = "metrics endpoint";
    let key = "without metrics no capacity is changed: check TEMPORAL_CLOUD_METRICS_API_KEY (account role Metrics Read-Only) and CLOUD_METRICS_API_BASE_URL";
    match scraper.families().await {
        Err(error) => return report.bad(CHECK, chain(&error), key),
        Ok(offered) => {
            let missing: Vec<&str> = metric_families()
                .into_iter()
                .filter(|name| !offered.iter().any(|it| it == name))
                .collect();
            if missing.is_empty() {
                report.good(
                    "metric families",
                    format!("all {} required families are available", metric_families().len()),
                );
            } else {
                let remedy = "without usage, no capacity is released; without limits, nothing is changed: contact Temporal Support";
                report.bad(
                    "metric families",
                    format!("not available: {}", missing.join(", ")),
                    remedy,
                );
            }
        }
    }
    let query = Query {
        // It has a sample for every namespace, also for idle ones.
        metrics: &["temporal_cloud_v1_action_limit"],
        namespaces: &[],
    };
    match scraper.scrape(&query).await {
        Err(error) => report.bad(CHECK, chain(&error), key),
        Ok(answer) => {
            let now = scraper.server_time().unwrap_or_else(|| autopilot.now());
            let age = answer.newest.map(|newest| now.duration_since(newest));
            let max_age = autopilot.settings().rules.freshness.metrics_max_age;
            match (answer.completeness, age) {
                // The response of a large account is limited in size and is read in parts.
                (Completeness::Complete | Completeness::Limited, Some(age)) if age <= max_age => {
                    report.good(CHECK, format!("newest metrics are {} s old", age.as_secs()));
                }
                (Completeness::Complete | Completeness::Limited, Some(age)) => {
                    let remedy = "no capacity is changed while metrics are older than METRICS_MAX_AGE: see status.temporal.io";
                    report.bad(
                        CHECK,
                        format!("newest metrics are {} s old", age.as_secs()),
                        remedy,
                    );
                }
                (Completeness::Complete | Completeness::Limited, None) => {
                    report.odd(
                        CHECK,
                        "no data for any namespace",
                        "no capacity is changed until metrics arrive",
                    );
                }
                _ => {
                    let remedy = "no capacity is changed until the response is complete: try again later";
                    report.bad(
                        CHECK,
                        "the response is not marked complete (`X-Completeness`)",
                        remedy,
                    );
                }
            }
        }
    }
}

/// Checks Prometheus: reachability, credentials, families, and the interval between samples.
pub(super) async fn prometheus(autopilot: &Autopilot, client: &PrometheusClient, report: &mut Checks) {
    const CHECK: &str = "Prometheus";
    let url = client.config().base_url();
    match client.check().await {
        Err(error) => {
            let remedy = "without metrics no capacity is changed: check PROMETHEUS_URL and its credentials";
            return report.bad(CHECK, chain(&error), remedy);
        }
        Ok(server) => {
            let version = server.version.unwrap_or_else(|| "an unknown version".to_owned());
            report.good(CHECK, format!("{version} at {url}"));
        }
    }
    let (names, now) = (metric_families(), autopilot.now());
    match client.families_present(&names, now).await {
        Err(error) => report.bad(
            CHECK,
            chain(&error),
            "the samples cannot be read, so no capacity is changed: fix the error shown here",
        ),
        Ok(present) => {
            // Throttling families have no series while nothing is throttled.
            let absent: Vec<&str> = names
                .iter()
                .zip(present)
                .filter(|(name, present)| !present.is_present() && !name.contains("_throttled_"))
                .map(|(name, _)| *name)
                .collect();
            if absent.is_empty() {
                report.good(
                    "metric families",
                    "all required families have samples in the last hour",
                );
            } else {
                let remedy = "without usage, no capacity is released; without limits, nothing is changed: scrape /v1/metrics without filters";
                report.bad(
                    "metric families",
                    format!("no samples of {}", absent.join(", ")),
                    remedy,
                );
            }
        }
    }
    series::scrape_job(client, now, report).await;
    match client
        .scrape_interval("temporal_cloud_v1_action_limit", now)
        .await
    {
        Err(error) => report.bad(
            "samples",
            chain(&error),
            "the samples cannot be read, so no capacity is changed: fix the error shown here",
        ),
        Ok(None) => report.odd(
            "samples",
            "too few in the last hour to determine the interval",
            "no capacity is changed until more arrive",
        ),
        Ok(Some(apart)) if apart.as_secs() == 60 => report.good("samples", "a minute apart"),
        // The endpoint has one sample a minute, so samples can only be closer if they have other timestamps.
        Ok(Some(apart)) if apart.as_secs() < 60 => report.bad(
            "samples",
            format!("{} s apart: stored with the time of the scrape", apart.as_secs()),
            "set `honor_timestamps: true` in the scrape job",
        ),
        Ok(Some(apart)) => {
            let minutes = 3_600 / apart.as_secs().max(1);
            let what = format!("{} s apart: {minutes} of 60 minutes are known", apart.as_secs());
            if minutes >= 48 {
                report.good("samples", what);
            } else {
                report.odd(
                    "samples",
                    what,
                    "no capacity is released with fewer than 48 known minutes: scrape every minute",
                );
            }
        }
    }
}
