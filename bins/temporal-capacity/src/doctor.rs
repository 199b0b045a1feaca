//! `doctor`: checks keys, roles, clock, endpoints and metrics. Each problem is shown with what it breaks and how to fix it.

mod series;
mod stack;

use capacity_autopilot::{
    ANNOUNCED_SKEW, Autopilot, MetricsSource, Sampling, chain, counted, may_be_provisioned, metric_families,
    sampling_rule,
};
use capacity_engine::NamespaceId;
use capacity_settings::{Needs, Settings};
use capacity_workflows::connection;
use comfy_table::{Cell, Color};
use jiff::{SignedDuration, Timestamp};
use openmetrics_reader::scrape::{Completeness, Query, Scraper};
use prometheus_reader::PrometheusClient;
use serde::Serialize;

use crate::arguments::{Doctor, DoctorTarget, Global};
use crate::exit::{Exit, print};
use crate::output::Output;
use crate::render;
use crate::setup;
use crate::terminal::Terminal;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Good,
    Odd,
    Bad,
}

/// One check.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    /// What was looked at.
    #[serde(rename = "check")]
    pub(crate) subject: String,
    pub(crate) verdict: Verdict,
    pub(crate) finding: String,
    /// What it breaks and how to fix it; empty if the check passed.
    pub(crate) remedy: String,
}

#[derive(Debug, Default)]
struct Report(Vec<Check>);

impl Report {
    fn good(&mut self, check: &'static str, finding: impl Into<String>) {
        self.add(check, Verdict::Good, finding, "");
    }

    fn odd(&mut self, check: &'static str, finding: impl Into<String>, remedy: impl Into<String>) {
        self.add(check, Verdict::Odd, finding, remedy);
    }

    fn bad(&mut self, check: &'static str, finding: impl Into<String>, remedy: impl Into<String>) {
        self.add(check, Verdict::Bad, finding, remedy);
    }

    fn add(&mut self, check: &str, verdict: Verdict, finding: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Check {
            subject: check.to_owned(),
            verdict,
            finding: finding.into(),
            remedy: remedy.into(),
        });
    }
}

/// A key that expires sooner is reported.
const EXPIRY_NOTICE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How long the Temporal service may take to answer.
const CONNECT_BOUND: std::time::Duration = std::time::Duration::from_secs(20);

/// How many namespaces are named in one finding.
const NAMED: usize = 10;

pub(crate) async fn run(flags: &Doctor, global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    let checks = match &flags.what {
        None => account(global, terminal).await?,
        Some(DoctorTarget::Stack { dir }) => stack::examine(dir.as_deref(), terminal).await?,
    };
    show(&checks, global, terminal)
}

async fn account(global: &Global, terminal: Terminal) -> anyhow::Result<Vec<Check>> {
    let settings = setup::settings(
        global,
        Needs {
            cloud_keys: true,
            ..Needs::default()
        },
    )?;
    let autopilot = capacity_wiring::autopilot(&settings)?;
    let bar = terminal.progress("examining");
    let mut report = Report::default();
    let mut provisioned = Vec::new();
    let listed = cloud_ops(&autopilot, &mut provisioned, &mut report).await;
    clock(&autopilot, &mut report);
    match autopilot.metrics() {
        MetricsSource::Endpoint(scraper) => metrics(&autopilot, scraper, &mut report).await,
        MetricsSource::Prometheus(client) => prometheus(&autopilot, client, &mut report).await,
    }
    series::unknown_throttling(&autopilot, &mut report).await;
    ledger(&autopilot, listed.as_deref(), &provisioned, &mut report).await;
    temporal(&settings, &mut report).await;
    home(&settings, listed.as_deref(), &mut report);
    notifications(&settings, &mut report);
    bar.finish_and_clear();
    Ok(report.0)
}

fn show(checks: &[Check], global: &Global, terminal: Terminal) -> anyhow::Result<Exit> {
    match global.output() {
        Output::None => {}
        Output::Json => print(&serde_json::to_string_pretty(checks)?)?,
        Output::Jsonl => {
            let lines: Result<Vec<String>, _> = checks.iter().map(serde_json::to_string).collect();
            print(&lines?.join("\n"))?;
        }
        _ => print(&table(checks, terminal))?,
    }
    let is_bad = checks.iter().any(|check| check.verdict == Verdict::Bad);
    Ok(if is_bad { Exit::Failed } else { Exit::Done })
}

/// Renders what `doctor` found.
fn table(checks: &[Check], terminal: Terminal) -> String {
    let mut table = render::table_with(["", "check", "found", "what it means"], terminal);
    for check in checks {
        let (mark, color) = match check.verdict {
            Verdict::Good => ("ok", Color::Green),
            Verdict::Odd => ("note", Color::Yellow),
            Verdict::Bad => ("BAD", Color::Red),
        };
        table.add_row([
            Cell::new(mark).fg(color),
            Cell::new(&check.subject),
            Cell::new(render::printable(&check.finding)),
            Cell::new(render::printable(&check.remedy)),
        ]);
    }
    render::lines(&table)
}

/// Key, role, expiry, and what may be changed. Returns the ids of all namespaces.
async fn cloud_ops(
    autopilot: &Autopilot,
    provisioned: &mut Vec<NamespaceId>,
    report: &mut Report,
) -> Option<Vec<String>> {
    let url = "Cloud Ops API";
    let identity = match autopilot.ops().current_identity().await {
        Ok(identity) => identity,
        Err(error) => {
            let remedy = "no namespace can be listed or changed: check TEMPORAL_CLOUD_OPS_API_KEY and CLOUD_OPS_API_BASE_URL";
            report.bad(url, chain(&error), remedy);
            return None;
        }
    };
    let kind = if identity.is_service_account {
        "service account"
    } else {
        "user"
    };
    report.good(
        url,
        format!(
            "connected as {kind} {}, account role {}",
            identity.name, identity.account_role
        ),
    );
    if !identity.is_service_account {
        let remedy = "capacity changes appear under this person's name, and stop when the person leaves: use a service account";
        report.odd(
            "Cloud Ops key",
            format!("it belongs to the user {}", identity.name),
            remedy,
        );
    }
    let now = autopilot.ops().server_time().unwrap_or_else(|| autopilot.now());
    expiry(identity.key_expires_at, identity.key_is_disabled, now, report);
    let mut listed = Vec::new();
    if let Err(error) = autopilot
        .ops()
        .for_each_namespace(|namespace| {
            if may_be_provisioned(&namespace) {
                provisioned.extend(namespace.namespace.parse::<NamespaceId>());
            }
            listed.push(namespace.namespace);
        })
        .await
    {
        report.bad(
            "namespaces",
            chain(&error),
            "no decisions are made on an incomplete list: fix the cause shown here",
        );
        return None;
    }
    if listed.is_empty() {
        let remedy = "there is nothing to manage: grant the key Namespace Admin on the namespaces to manage";
        report.bad("namespaces", "the key cannot see any namespace", remedy);
        return Some(listed);
    }
    roles(&listed, &identity, report);
    Some(listed)
}

/// Which of the listed namespaces the key may change.
fn roles(listed: &[String], identity: &cloud_ops_client::Identity, report: &mut Report) {
    let readable: Vec<&String> = listed
        .iter()
        .filter(|id| identity.may_change(id) == Some(false))
        .collect();
    let unknown = listed
        .iter()
        .filter(|id| identity.may_change(id).is_none())
        .count();
    if readable.is_empty() {
        report.good(
            "roles",
            format!(
                "{} visible, none known to be read-only",
                counted(listed.len(), "namespace")
            ),
        );
    } else {
        let mut names: Vec<&str> = readable.iter().take(NAMED).map(|id| id.as_str()).collect();
        if readable.len() > NAMED {
            names.push("...");
        }
        let finding = format!(
            "{} of {} can be read but not changed: {}",
            readable.len(),
            counted(listed.len(), "namespace"),
            names.join(", ")
        );
        report.bad(
            "roles",
            finding,
            "changes of these fail as `not_permitted`: grant Namespace Admin, or add them to NAMESPACE_DENYLIST",
        );
    }
    if unknown > 0 {
        let remedy =
            "the API does not show custom roles: check that yours allows `cloud.namespace.update` on these";
        report.odd(
            "roles",
            format!(
                "permission to change {} is unknown",
                counted(unknown, "namespace")
            ),
            remedy,
        );
    }
}

fn expiry(expires: Option<Timestamp>, disabled: bool, now: Timestamp, report: &mut Report) {
    const CHECK: &str = "Cloud Ops key";
    let rotate = "no capacity is changed after it expires: create a new key, set TEMPORAL_CLOUD_OPS_API_KEY, then delete this one";
    match expires {
        _ if disabled => report.bad(
            CHECK,
            "it is disabled",
            "nothing can be read or changed: enable it, or create a new one",
        ),
        None => report.odd(
            CHECK,
            "the service does not report when it expires",
            "check its expiry in the Temporal Cloud UI",
        ),
        Some(at) => {
            let left = at.duration_since(now);
            let finding = format!("it expires on {} ({})", at.strftime("%Y-%m-%d"), expires_in(left));
            if left.is_negative() {
                report.bad(CHECK, finding, rotate);
            } else if left < EXPIRY_NOTICE {
                report.odd(CHECK, finding, rotate);
            } else {
                report.good(CHECK, finding);
            }
        }
    }
}

/// `in 1 day`, `3 days ago`.
fn expires_in(left: SignedDuration) -> String {
    let days = usize::try_from(left.abs().as_hours() / 24).unwrap_or(usize::MAX);
    let days = counted(days, "day");
    if left.is_negative() {
        format!("{days} ago")
    } else {
        format!("in {days}")
    }
}

fn clock(autopilot: &Autopilot, report: &mut Report) {
    const CHECK: &str = "clock";
    let Some(service) = autopilot.ops().server_time() else {
        return report.odd(
            CHECK,
            "the service did not send its time",
            "the age of metrics is judged by this machine's clock alone: make sure that NTP is running",
        );
    };
    let behind = autopilot.clock().correct(service);
    let seconds = behind.abs().as_secs();
    if behind.abs() > ANNOUNCED_SKEW {
        let word = if behind.is_positive() {
            "behind"
        } else {
            "ahead of"
        };
        let remedy = "the service's time is used instead: check NTP on this machine";
        report.odd(CHECK, format!("{seconds} s {word} the service"), remedy);
    } else {
        report.good(CHECK, format!("{seconds} s different from the service's"));
    }
}

/// Reachability, key, families, completeness and age.
async fn metrics(autopilot: &Autopilot, scraper: &Scraper, report: &mut Report) {
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
                let remedy = "no capacity is released while usage is missing, and nothing is changed without limits: contact Temporal Support";
                report.bad(
                    "metric families",
                    format!("not available: {}", missing.join(", ")),
                    remedy,
                );
            }
        }
    }
    let query = Query {
        metrics: &["temporal_cloud_v1_action_limit"],
        namespaces: &[],
    };
    match scraper.scrape(&query).await {
        Err(error) => report.bad(CHECK, chain(&error), key),
        Ok(answer) => {
            let now = scraper.server_time().unwrap_or_else(|| autopilot.now());
            let age = answer.newest.map(|newest| now.duration_since(newest));
            let max_age = autopilot.settings().policy.threshold.metrics_max_age;
            match (answer.completeness, age) {
                // A large account does not fit one answer; it is read in parts.
                (Completeness::Complete | Completeness::Limited, Some(age)) if age <= max_age => {
                    report.good(CHECK, format!("newest metrics are {} s old", age.as_secs()));
                }
                (Completeness::Complete | Completeness::Limited, Some(age)) => {
                    let remedy = "no capacity is changed while they are older than METRICS_MAX_AGE: see status.temporal.io";
                    report.bad(
                        CHECK,
                        format!("newest metrics are {} s old", age.as_secs()),
                        remedy,
                    );
                }
                (Completeness::Complete | Completeness::Limited, None) => {
                    report.odd(
                        CHECK,
                        "it has no data for any namespace",
                        "no capacity is changed until metrics arrive",
                    );
                }
                (Completeness::Unknown | Completeness::Undeclared, _) => {
                    let remedy = "no capacity is changed until it is complete: try again later";
                    report.bad(
                        CHECK,
                        "its answer is not marked complete (`X-Completeness`)",
                        remedy,
                    );
                }
            }
        }
    }
}

/// Reachability, credentials, families, and how far samples are apart.
async fn prometheus(autopilot: &Autopilot, client: &PrometheusClient, report: &mut Report) {
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
            "its samples cannot be read, so no capacity is changed: fix the cause shown here",
        ),
        Ok(present) => {
            // Without throttling there are no series of it.
            let absent: Vec<&str> = names
                .iter()
                .zip(present)
                .filter(|(name, present)| !present.is_present() && !name.contains("_throttled_"))
                .map(|(name, _)| *name)
                .collect();
            if absent.is_empty() {
                report.good(
                    "metric families",
                    "all required families have samples within the last hour",
                );
            } else {
                let remedy = "no capacity is released while usage is missing, and nothing is changed without limits: scrape /v1/metrics without filters";
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
            "its samples cannot be read, so no capacity is changed: fix the cause shown here",
        ),
        Ok(None) => report.odd(
            "samples",
            "too few within the last hour to determine their interval",
            "no capacity is changed until more arrive",
        ),
        Ok(Some(apart)) if apart.as_secs() == 60 => report.good("samples", "a minute apart"),
        Ok(Some(apart)) if apart.as_secs() < 60 => report.bad(
            "samples",
            format!("{} s apart: they have the time of the scrape", apart.as_secs()),
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
                    "with fewer than 48 no capacity is released: scrape every minute",
                );
            }
        }
    }
}

/// Whether it can be used, and whether the account can be sampled often enough.
async fn ledger(
    autopilot: &Autopilot,
    listed: Option<&[String]>,
    provisioned: &[NamespaceId],
    report: &mut Report,
) {
    const CHECK: &str = "ledger";
    let Some(ledger) = autopilot.ledger() else {
        let without = match autopilot.metrics() {
            MetricsSource::Endpoint(_) => {
                "nothing is recorded: the worker sees one minute at a time, and `history` is empty; set LEDGER_URL"
            }
            MetricsSource::Prometheus(_) => {
                "nothing is recorded: `history` is empty, and throttling between evaluations is not noticed; set LEDGER_URL"
            }
        };
        return report.odd(CHECK, "LEDGER_URL is not set", without);
    };
    match ledger.call(async |ledger| ledger.info().await).await {
        Err(error) => {
            return report.bad(
                CHECK,
                error.to_string(),
                "no capacity is released without it; scaling up continues",
            );
        }
        Ok(info) => {
            let newest = info.newest_minute.map_or_else(
                || "no minutes yet".to_owned(),
                |newest| format!("newest minute {newest}"),
            );
            report.good(CHECK, format!("{}, {newest}", info.location));
        }
    }
    if let MetricsSource::Prometheus(_) = autopilot.metrics() {
        // It holds the hours itself.
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
        Sampling::ProvisionedWhole => "provisioned namespaces whole, the others for throttling and actions",
        Sampling::Fewer => "throttling and actions only",
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

/// Whether the Temporal service that the worker uses can be reached, and its namespace used.
async fn temporal(settings: &Settings, report: &mut Report) {
    const CHECK: &str = "Temporal service";
    const REMEDY: &str = "a worker and a schedule cannot run there; the command line works without";
    let identity = format!("temporal-capacity-doctor@{}", std::process::id());
    // Without an address or a namespace there is nothing to check, and `home` says what is missing.
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
                "namespace `{}` at {} can be used",
                connection.namespace, connection.address
            ),
        ),
        Ok(Err(error)) => report.bad(CHECK, chain(&error), REMEDY),
        Err(_) => report.bad(
            CHECK,
            format!(
                "no answer from {} (TEMPORAL_ADDRESS) within {} s",
                connection.address,
                CONNECT_BOUND.as_secs()
            ),
            REMEDY,
        ),
    }
}

fn home(settings: &Settings, listed: Option<&[String]>, report: &mut Report) {
    const CHECK: &str = "own namespace";
    match (settings.home.namespace_id(), &settings.home.namespace) {
        (Some(id), _) => match listed {
            Some(listed) if !listed.iter().any(|it| it == id.as_str()) => {
                let remedy = "if it is in this account, grant the key Namespace Read on it";
                report.odd(CHECK, format!("the key cannot see {id}"), remedy);
            }
            _ => report.good(CHECK, format!("{id}, which is never scaled down")),
        },
        (None, Some(name)) => {
            let remedy = "if that is a namespace of Temporal Cloud, set its full id (name.account), so that it is never scaled down";
            report.odd(
                CHECK,
                format!("TEMPORAL_NAMESPACE is `{name}`, without an account"),
                remedy,
            );
        }
        (None, None) => {
            let remedy = "fine for the command line; a worker needs it, and never scales that namespace down";
            report.odd(CHECK, "TEMPORAL_NAMESPACE is not set", remedy);
        }
    }
}

fn notifications(settings: &Settings, report: &mut Report) {
    if let Some(slack) = &settings.slack {
        report.good(
            "notifications",
            format!(
                "incoming webhook at {}; not tested, since that would post a message",
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
            "no capacity is changed: set it to false when the plans look right",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::one_day(25, "in 1 day")]
    #[case::days(72, "in 3 days")]
    #[case::over(-48, "2 days ago")]
    fn an_expiry_is_a_number_of_days(#[case] hours: i64, #[case] expected: &str) {
        assert_eq!(expires_in(SignedDuration::from_hours(hours)), expected);
    }
}
