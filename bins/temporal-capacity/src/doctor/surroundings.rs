//! Checks of the ledger, the Temporal service and notifications.

use capacity_autopilot::{Autopilot, MetricsSource, Sampling, sampling_rule};
use capacity_engine::NamespaceId;
use capacity_ledger::ErrorKind;
use capacity_settings::Settings;
use capacity_workflows::connection;
use human_text::{at_minute, chain};

use super::findings::Checks;
use crate::traces::PROGRAM;

/// Timeout for connecting to the Temporal service.
const CONNECT_BOUND: std::time::Duration = std::time::Duration::from_secs(20);

/// Checks whether the ledger is available and whether the account can be sampled often enough.
pub(super) async fn ledger(
    autopilot: &Autopilot,
    listed: Option<&[String]>,
    provisioned: &[NamespaceId],
    report: &mut Checks,
) {
    const CHECK: &str = "ledger";
    let Some(ledger) = autopilot.ledger() else {
        let without = match autopilot.metrics() {
            MetricsSource::Endpoint(_) => {
                "nothing is recorded: the worker sees only one minute at a time, and `history` is empty; set LEDGER_URL"
            }
            MetricsSource::Prometheus(_) => {
                "nothing is recorded: `history` is empty, and throttling between evaluations goes unnoticed; set LEDGER_URL"
            }
        };
        return report.odd(CHECK, "LEDGER_URL is not set", without);
    };
    match ledger.call(async |ledger| ledger.info().await).await {
        Err(error) if error.kind() == ErrorKind::Missing => {
            report.odd(
                CHECK,
                error.to_string(),
                "expected before the first run: until then, `plan` and `explain` use an empty ledger",
            );
        }
        Err(error) => {
            return report.bad(
                CHECK,
                error.to_string(),
                "no capacity is released without the ledger; scaling up continues",
            );
        }
        Ok(info) => {
            let newest = info.newest_minute.map_or_else(
                || "no minutes yet".to_owned(),
                |newest| format!("newest minute {}", at_minute(newest)),
            );
            report.good(CHECK, format!("{}, {newest}", info.location));
        }
    }
    if let MetricsSource::Prometheus(_) = autopilot.metrics() {
        // Prometheus stores past hours, so no sampling is needed.
        return;
    }
    let names: Vec<NamespaceId> = listed
        .unwrap_or_default()
        .iter()
        .filter_map(|name| name.parse().ok())
        .collect();
    if names.is_empty() {
        return;
    }
    let rule = sampling_rule(autopilot.metrics(), &names, provisioned);
    let how = match rule.sampling {
        Sampling::Everything => "everything",
        Sampling::ProvisionedWhole => {
            "everything for provisioned namespaces, throttling and actions for the others"
        }
        _ => "throttling and actions only",
    };
    let what = format!(
        "{how}, every {} s: {} of 60 minutes are sampled",
        rule.every.as_secs(),
        rule.minutes_an_hour()
    );
    if rule.is_enough() {
        report.good("sampling", what);
    } else {
        let remedy = match rule.enough_requests_an_hour {
            Some(enough) => format!("too few minutes to release capacity: set METRICS_REQUESTS_PER_HOUR={enough}"),
            None => "too few minutes to release capacity, and the endpoint does not allow enough requests: use METRICS_SOURCE=prometheus"
                .to_owned(),
        };
        report.odd("sampling", what, remedy);
    }
}

/// Checks whether the worker's Temporal service is reachable and its namespace is available.
pub(super) async fn temporal(settings: &Settings, report: &mut Checks) {
    const CHECK: &str = "Temporal service";
    const REMEDY: &str = "a worker and a schedule cannot run there; most CLI commands work without it";
    let identity = format!("temporal-capacity-doctor@{}", std::process::id());
    // Without an address or a namespace there is nothing to check here. The check of `home` reports what is
    // missing.
    let Ok(connection) = connection(&settings.home, identity) else {
        return;
    };
    let checked = async {
        let client = connection.connect().await?;
        connection.check_namespace(&client).await
    };
    match tokio::time::timeout(CONNECT_BOUND, checked).await {
        Ok(Ok(())) => report.good(
            CHECK,
            format!(
                "namespace `{}` at {} is accessible",
                connection.namespace, connection.address
            ),
        ),
        Ok(Err(error)) => report.bad(CHECK, chain(&error), REMEDY),
        Err(_) => report.bad(
            CHECK,
            format!(
                "no response from {} (TEMPORAL_ADDRESS) within {} s",
                connection.address,
                CONNECT_BOUND.as_secs()
            ),
            REMEDY,
        ),
    }
}

pub(super) fn home(settings: &Settings, listed: Option<&[String]>, report: &mut Checks) {
    const CHECK: &str = "own namespace";
    match (settings.home.namespace_id(), &settings.home.namespace) {
        (Some(id), _) => match listed {
            Some(listed) if !listed.iter().any(|it| it == id.as_str()) => {
                let remedy = "if the namespace is in this account, grant the key Namespace Read on it";
                report.odd(CHECK, format!("the key has no access to {id}"), remedy);
            }
            Some(_) => report.good(CHECK, format!("{id}, which is never scaled down")),
            None => {
                let remedy = "fix the problem with the Cloud Ops API first";
                report.odd(
                    CHECK,
                    format!("cannot check whether the key has access to {id}"),
                    remedy,
                );
            }
        },
        (None, Some(name)) => {
            let remedy = "if it is in Temporal Cloud, set the full id (name.account), so that the namespace is never scaled down";
            report.odd(
                CHECK,
                format!("TEMPORAL_NAMESPACE is `{name}`, without an account"),
                remedy,
            );
        }
        (None, None) => {
            let remedy = "not needed for the CLI; a worker needs it, and never scales down its own namespace";
            report.odd(CHECK, "TEMPORAL_NAMESPACE is not set", remedy);
        }
    }
}

/// Checks whether the trace collector accepts spans, if one is configured.
pub(super) async fn traces(settings: &Settings, report: &mut Checks) {
    const CHECK: &str = "traces";
    const REMEDY: &str = "spans are dropped until the collector accepts them, but nothing else is affected: check OTEL_EXPORTER_OTLP_ENDPOINT (OTLP over HTTP usually uses port 4318), or unset it";
    let checked = match capacity_wiring::collector(settings, PROGRAM, process_edge::version()) {
        Ok(None) => return,
        Ok(Some(collector)) => collector.check().await.map(|()| collector),
        Err(error) => Err(error),
    };
    match checked {
        Ok(collector) => report.good(CHECK, format!("{} accepts spans", collector.url())),
        Err(error) => report.bad(CHECK, format!("{error:#}"), REMEDY),
    }
}

pub(super) fn notifications(settings: &Settings, report: &mut Checks) {
    if let Some(slack) = &settings.slack {
        report.good(
            "notifications",
            format!(
                "incoming webhook at {}; not tested, because a test would post a message",
                slack.host()
            ),
        );
    } else {
        report.odd(
            "notifications",
            "SLACK_WEBHOOK_URL is not set",
            "notifications are only logged",
        );
    }
    if settings.dry_run {
        report.odd(
            "dry run",
            "DRY_RUN_MODE is true",
            "no capacity is changed: set it to false once the plans look right",
        );
    }
}
