//! The table of all settings. Names are checked against it, values are displayed from it, and documents are
//! tested against it.

use crate::synonyms::synonym;

/// Name, default and description of a setting.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Name of the environment variable. In a file, the key is the same name in lower case.
    pub name: &'static str,
    /// The default; `None` if there is none.
    pub default: Option<&'static str>,
    /// Whether the value is secret: it is never displayed, and may come from a file set in `<NAME>_FILE`.
    pub is_secret: bool,
    /// Description in one line.
    pub help: &'static str,
}

const fn setting(name: &'static str, default: Option<&'static str>, help: &'static str) -> Entry {
    Entry {
        name,
        default,
        is_secret: false,
        help,
    }
}

const fn secret(name: &'static str, help: &'static str) -> Entry {
    Entry {
        name,
        default: None,
        is_secret: true,
        help,
    }
}

/// Every setting, in display order.
pub const CATALOG: &[Entry] = &[
    secret(
        "TEMPORAL_CLOUD_OPS_API_KEY",
        "API key for the Cloud Ops API; reads and changes capacity",
    ),
    secret(
        "TEMPORAL_CLOUD_METRICS_API_KEY",
        "API key for the metrics endpoint; the role Metrics Read-Only is enough",
    ),
    setting(
        "CLOUD_OPS_API_BASE_URL",
        Some("https://saas-api.tmprl.cloud"),
        "base URL of the Cloud Ops API",
    ),
    setting(
        "CLOUD_METRICS_API_BASE_URL",
        Some("https://metrics.temporal.io"),
        "base URL of the metrics endpoint",
    ),
    setting(
        "DRY_RUN_MODE",
        Some("false"),
        "decide and show, but change nothing and send nothing",
    ),
    setting(
        "NAMESPACE_ALLOWLIST",
        None,
        "manage only these namespaces: comma-separated globs or names, with or without the account",
    ),
    setting(
        "NAMESPACE_DENYLIST",
        None,
        "never manage these namespaces; takes precedence over the allowlist",
    ),
    setting(
        "POLICY",
        Some("threshold"),
        "policy: threshold (enable when throttled, release when idle) or break-even (the size with the lowest expected cost)",
    ),
    setting(
        "POLICY_PARAMS",
        None,
        "comma-separated parameters of break-even: delay_value, let_pass, margin, look_back_minutes, history_days, free_share, min_trus, max_trus",
    ),
    setting(
        "POLICY_SHADOW",
        None,
        "second policy (threshold or break-even) whose decisions are recorded in the ledger and never carried out",
    ),
    setting(
        "DEFAULT_TRU_COUNT",
        Some("5"),
        "TRUs to enable when throttled; the next available size if this one is not available",
    ),
    setting(
        "MIN_ACTIONS_THRESHOLD",
        Some("100"),
        "release capacity below this many actions an hour",
    ),
    setting("MAX_TRU_COUNT", Some("12"), "maximum TRUs of a namespace"),
    setting(
        "MAX_CONCURRENT_CHANGES",
        Some("5"),
        "changes to run at the same time; the account allows 10",
    ),
    setting(
        "METRICS_MAX_AGE",
        Some("6m"),
        "maximum age of the newest metrics; the endpoint lags 3 to 4 minutes",
    ),
    setting(
        "METRICS_REQUESTS_PER_HOUR",
        // A Prometheus that scrapes every 30 s takes 120 of the 180 requests; 55 fit into the rest.
        Some("55"),
        "hourly budget of requests to the metrics endpoint; the limit of an account is 180",
    ),
    setting(
        "RESPECT_FOREIGN_CHANGES",
        Some("4h"),
        "how long to leave a namespace alone after someone else changed its capacity",
    ),
    setting(
        "DISABLE_ON_ESTIMATE",
        Some("false"),
        "release capacity even if fewer than 48 minutes of the last hour are known",
    ),
    setting(
        "EVALUATE_ON_THROTTLING",
        Some("true"),
        "evaluate immediately when a sample shows throttling or high usage; such an evaluation only scales up",
    ),
    setting(
        "SPEC_FIELDS_NOT_COMPARED",
        None,
        "comma-separated top-level fields of a namespace spec that Temporal Cloud changes on its own; a change in any other field pauses everything",
    ),
    setting(
        "METRICS_SOURCE",
        Some("temporal"),
        "source of usage: temporal (the metrics endpoint) or prometheus (your Prometheus, which scrapes that endpoint)",
    ),
    setting(
        "PROMETHEUS_URL",
        None,
        "base URL of the Prometheus API, without /api/v1; for METRICS_SOURCE=prometheus",
    ),
    secret(
        "PROMETHEUS_BEARER_TOKEN",
        "bearer token for the Prometheus API, if it requires one",
    ),
    setting(
        "PROMETHEUS_USER",
        None,
        "user for the Prometheus API, if it requires basic authentication",
    ),
    secret("PROMETHEUS_PASSWORD", "password for PROMETHEUS_USER"),
    setting(
        "PROMETHEUS_LABELS",
        None,
        "comma-separated labels that every series must have, such as cluster=eu,replica=a",
    ),
    setting(
        "PROMETHEUS_TENANT",
        None,
        "tenant of a multi-tenant Prometheus (header X-Scope-OrgID)",
    ),
    setting(
        "PROMETHEUS_CA_PATH",
        None,
        "CA certificate of the Prometheus API (PEM), if the system does not trust it",
    ),
    setting(
        "PROMETHEUS_ALLOW_HTTP",
        Some("false"),
        "allow plain HTTP to a Prometheus on another machine; only in a network you trust",
    ),
    setting(
        "PRICE_PER_MILLION_ACTIONS",
        Some("50"),
        "price of a million actions in dollars, or monthly tiers (`5M:50, 10M:45, 25`); every price shown is based on it",
    ),
    setting(
        "ACTIONS_PER_MONTH",
        Some("0"),
        "actions the account uses in a month; selects the price tier of the next action",
    ),
    setting(
        "SUPPORT_PLAN_PERCENTAGE",
        Some("0"),
        "percentage that the support plan adds to the price; 10 means 10%",
    ),
    secret(
        "LEDGER_URL",
        "database for usage, decisions and changes: path of an SQLite file, or postgres://...; no ledger if not set",
    ),
    setting(
        "LEDGER_KEEP_MINUTES",
        // Enough for a report: its week, and the seven days before it that fill the on-demand envelope.
        Some("14d"),
        "how long the ledger keeps minutes of usage before it aggregates them into hours, which it keeps",
    ),
    setting(
        "LEDGER_KEEP_DECISIONS",
        Some("400d"),
        "how long the ledger keeps decisions and changes",
    ),
    secret(
        "SLACK_WEBHOOK_URL",
        "Slack webhook for notifications; without it, notifications are logged",
    ),
    setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        None,
        "base URL of an OpenTelemetry collector that accepts OTLP over HTTP, such as http://localhost:4318; no traces if not set",
    ),
    setting(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        None,
        "URL for traces, used unchanged, instead of OTEL_EXPORTER_OTLP_ENDPOINT followed by /v1/traces",
    ),
    secret(
        "OTEL_EXPORTER_OTLP_HEADERS",
        "comma-separated headers for the collector, such as authorization=Bearer%20...",
    ),
    setting(
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        None,
        "CA certificate of the collector (PEM), if the system does not trust it",
    ),
    setting(
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        // The default of OpenTelemetry.
        Some("10000"),
        "timeout of a request to the collector, in milliseconds",
    ),
    setting(
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        Some("http/protobuf"),
        "protocol of the collector; only http/protobuf is supported",
    ),
    setting(
        "OTEL_TRACES_EXPORTER",
        Some("otlp"),
        "otlp, or none to send no traces",
    ),
    setting(
        "OTEL_SDK_DISABLED",
        Some("false"),
        "send no traces, regardless of the other settings",
    ),
    setting(
        "OTEL_SERVICE_NAME",
        None,
        "service name of the traces, instead of the name of the program",
    ),
    setting(
        "OTEL_RESOURCE_ATTRIBUTES",
        None,
        "comma-separated attributes of the traces, such as deployment.environment.name=staging",
    ),
    setting(
        "TEMPORAL_ADDRESS",
        None,
        "host and port of the Temporal service that the autopilot runs on",
    ),
    setting(
        "TEMPORAL_NAMESPACE",
        None,
        "Temporal namespace that the autopilot runs in; its own capacity is never scaled down",
    ),
    secret(
        "TEMPORAL_API_KEY",
        "API key for TEMPORAL_NAMESPACE; or use a client certificate, or neither for a local server",
    ),
    setting(
        "TEMPORAL_CERT_PATH",
        None,
        "path of the client certificate (PEM); also TEMPORAL_TLS_CLIENT_CERT_PATH",
    ),
    setting(
        "TEMPORAL_KEY_PATH",
        None,
        "path of the certificate's private key (PEM); also TEMPORAL_TLS_CLIENT_KEY_PATH",
    ),
    secret(
        "TEMPORAL_TLS_CLIENT_CERT_DATA",
        "client certificate as text (PEM), instead of a path",
    ),
    secret(
        "TEMPORAL_TLS_CLIENT_KEY_DATA",
        "private key as text (PEM), instead of a path",
    ),
    setting(
        "TEMPORAL_TLS",
        None,
        "whether to use TLS; by default, only with an API key or a certificate",
    ),
    setting(
        "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
        None,
        "path of the service's CA certificate (PEM), if the system does not trust it",
    ),
    secret(
        "TEMPORAL_TLS_SERVER_CA_CERT_DATA",
        "CA certificate as text (PEM), instead of a path",
    ),
    setting(
        "TEMPORAL_TLS_SERVER_NAME",
        None,
        "name in the service's certificate, if it differs from the address",
    ),
    setting(
        "TASK_QUEUE",
        Some("capacity-management-task-queue"),
        "task queue that workers poll",
    ),
    setting(
        "INSTALLATION",
        None,
        "name of another installation in the same Temporal namespace; suffix of its workflow ids and task queue",
    ),
];

/// Names used by others for some of our settings. If a layer has both names, the alias wins: it is later in the alphabet.
const ALIASES: &[(&str, &str)] = &[
    (
        "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
    ),
    ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"),
    (
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
    ),
    ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"),
    ("TEMPORAL_TLS_CLIENT_CERT_PATH", "TEMPORAL_CERT_PATH"),
    ("TEMPORAL_TLS_CLIENT_KEY_PATH", "TEMPORAL_KEY_PATH"),
];

/// The variable with the path of the settings file.
pub(crate) const CONFIG_VARIABLE: &str = "TEMPORAL_CAPACITY_CONFIG";

/// Names that belong to other programs or are not settings, even if they are similar to one.
const NOT_OURS: &[&str] = &[
    CONFIG_VARIABLE,
    "TEMPORAL_CLI_PATH",
    "TEMPORAL_CONFIG_FILE",
    "TEMPORAL_PROFILE",
    "TEMPORAL_TLS_DISABLE_HOST_VERIFICATION",
];

/// What the name of a variable or key refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    /// The name of a setting.
    Setting(&'static str),
    /// The file that contains a setting.
    FileOf(&'static str),
    /// Not a setting, but similar to this one.
    Near(&'static str),
    /// Something other than our settings.
    Other,
}

pub(crate) fn entry(name: &str) -> Option<&'static Entry> {
    CATALOG.iter().find(|entry| entry.name == name)
}

/// Returns the meaning of a variable's name.
pub(crate) fn meaning(name: &str) -> Name {
    if let Some(entry) = entry(name) {
        return Name::Setting(entry.name);
    }
    if let Some((_, ours)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
        return Name::Setting(ours);
    }
    if let Some(secret) = name
        .strip_suffix("_FILE")
        .and_then(entry)
        .filter(|entry| entry.is_secret)
    {
        return Name::FileOf(secret.name);
    }
    if NOT_OURS.contains(&name) {
        return Name::Other;
    }
    nearest(name).map_or(Name::Other, Name::Near)
}

/// Returns the setting that a name probably refers to, by synonym or typo.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    if let Some(setting) = synonym(name) {
        return Some(setting);
    }
    let name = name.to_ascii_uppercase();
    let name = name.strip_suffix("_FILE").unwrap_or(&name);
    let close = |entry: &&Entry| {
        // Two edits in a long name are a typo; in a short name they make another word.
        let allowed = if entry.name.len() < 12 { 1 } else { 2 };
        strsim::damerau_levenshtein(name, entry.name) <= allowed
    };
    CATALOG
        .iter()
        .filter(close)
        .min_by_key(|entry| strsim::damerau_levenshtein(name, entry.name))
        .map(|entry| entry.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::ours("DRY_RUN_MODE", Name::Setting("DRY_RUN_MODE"))]
    #[case::alias("TEMPORAL_TLS_CLIENT_CERT_PATH", Name::Setting("TEMPORAL_CERT_PATH"))]
    #[case::file("SLACK_WEBHOOK_URL_FILE", Name::FileOf("SLACK_WEBHOOK_URL"))]
    #[case::no_secret_has_no_file("TASK_QUEUE_FILE", Name::Near("TASK_QUEUE"))]
    #[case::letter_missing("DRY_RUN_MOD", Name::Near("DRY_RUN_MODE"))]
    #[case::underscore_added("NAMESPACE_DENY_LIST", Name::Near("NAMESPACE_DENYLIST"))]
    #[case::letters_swapped("TASK_QUEEU", Name::Near("TASK_QUEUE"))]
    #[case::lower_case("dry_run_mode", Name::Near("DRY_RUN_MODE"))]
    #[case::another_word("NAMESPACE_BLACKLIST", Name::Near("NAMESPACE_DENYLIST"))]
    #[case::of_kubernetes("TEMPORAL_PORT", Name::Other)]
    #[case::of_the_sdk("TEMPORAL_PROFILE", Name::Other)]
    #[case::of_traces(
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        Name::Setting("OTEL_EXPORTER_OTLP_HEADERS")
    )]
    #[case::of_other_signals("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", Name::Other)]
    #[case::unrelated("PATH", Name::Other)]
    fn names_are_classified(#[case] name: &str, #[case] expected: Name) {
        assert_eq!(meaning(name), expected);
    }
}
