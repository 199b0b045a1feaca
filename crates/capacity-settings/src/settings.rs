//! Valid settings, merged from all layers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use capacity_engine::{ActionPrice, Bounds, NamespaceFilter, NamespaceId, Rules, ThresholdSettings};
use http_edge::Secret;
use http_edge::pem::{self, Pem};

use crate::catalog::{CATALOG, entry};
use crate::defaults::adapt_defaults;
use crate::layers::{Found, Inputs, Layered, lay};
use crate::mistake::{Mistake, Mistakes, Origin};
use crate::wrong::Wrong;
use crate::{prices, values};

// Exhaustive: callers use struct update syntax (`..`), so a new field gets its default.
/// The settings that a program requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// The keys for the Cloud Ops API and the metrics endpoint.
    pub cloud_keys: bool,
    /// Address and namespace of the Temporal service that this autopilot runs on.
    pub home: bool,
}

/// Valid settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The Cloud Ops API, if its key is set.
    pub cloud_ops: Option<cloud_ops_client::Config>,
    /// The metrics endpoint, if its key is set.
    pub metrics: Option<openmetrics_reader::scrape::Config>,
    /// The Prometheus to read usage from instead of the endpoint.
    pub prometheus: Option<prometheus_reader::PrometheusConfig>,
    /// Whether throttling and high usage trigger an evaluation.
    pub evaluate_on_throttling: bool,
    /// Top-level fields of a spec that are not compared after an update.
    pub spec_fields_not_compared: Vec<String>,
    /// The rules for decisions.
    pub rules: Rules,
    /// Maximum number of changes that run at the same time.
    pub max_concurrent_changes: usize,
    /// Whether this is a dry run, in which nothing is changed or sent.
    pub dry_run: bool,
    /// Location of the ledger for usage, decisions and changes.
    pub ledger: Option<capacity_ledger::Location>,
    /// Retention of each kind of row in the ledger.
    pub keep: Keep,
    /// Slack webhook for notifications.
    pub slack: Option<slack_notifier::Config>,
    /// Collector of traces.
    pub traces: Option<otlp_spans::OtlpConfig>,
    /// The Temporal service and namespace that this autopilot runs on.
    pub home: Home,
    /// Every setting with its displayable value and its origin.
    pub effective: Vec<EffectiveSetting>,
    /// Warnings about settings that are valid but unusual.
    pub warnings: Vec<String>,
}

/// Retention of each kind of row in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Minutes of usage, before they are aggregated into hours.
    pub minutes: jiff::SignedDuration,
    /// Decisions and changes.
    pub decisions: jiff::SignedDuration,
}

/// The Temporal service and namespace that this autopilot runs on.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Home {
    /// Host and port of the service.
    pub address: Option<String>,
    /// The namespace, as configured.
    pub namespace: Option<String>,
    /// API key for the Temporal namespace.
    pub api_key: Option<Secret>,
    /// The client certificate and its private key.
    pub certificate: Option<(Pem, Pem)>,
    /// Whether to use TLS; `None` uses it only with a key or a certificate.
    pub encrypted: Option<bool>,
    /// The certificate authority of the service, if the system does not trust it.
    pub server_ca: Option<Pem>,
    /// The name in the service's certificate, if it differs from the address.
    pub server_name: Option<String>,
    /// Task queue of the autopilot.
    pub task_queue: String,
    /// The name of this installation, if it is not the only one in its Temporal namespace.
    pub installation: Option<String>,
}

impl Home {
    /// Returns the full id of the namespace that this autopilot runs in, if it is known: a full id, or a bare
    /// name with the account of a Temporal Cloud address.
    pub fn namespace_id(&self) -> Option<NamespaceId> {
        let namespace = self.namespace.as_deref()?;
        if namespace.contains('.') {
            return namespace.parse().ok();
        }
        let host = self.address.as_deref()?.rsplit_once(':')?.0;
        let (name, account) = host.strip_suffix(".tmprl.cloud")?.split_once('.')?;
        (name == namespace && !account.contains('.'))
            .then(|| format!("{name}.{account}").parse().ok())
            .flatten()
    }
}

/// One effective setting.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EffectiveSetting {
    /// Name of the setting.
    pub name: &'static str,
    /// Displayable value; `None` if nothing is set.
    pub value: Option<String>,
    /// Origin of the value.
    pub origin: Origin,
    /// Description of the setting.
    pub help: &'static str,
}

/// Loads valid settings from all layers.
///
/// # Errors
///
/// All mistakes at once.
pub fn load(inputs: &Inputs, needs: Needs) -> Result<Settings, Mistakes> {
    let Layered {
        mut values,
        secret_files,
        mistakes,
        warnings,
    } = lay(inputs);
    adapt_defaults(&mut values);
    let mut reader = Reader {
        values: &values,
        secret_files: &secret_files,
        mistakes,
        warnings,
    };
    let prometheus = reader.prometheus();
    let ledger = reader.ledger();
    let policies = reader.policies(needs);
    let rules = reader.rules();
    // The account allows 10 asynchronous operations at a time.
    let max_concurrent_changes = reader.read("MAX_CONCURRENT_CHANGES", |text| values::whole(text, 1, 10));
    let dry_run = reader.read("DRY_RUN_MODE", values::boolean);
    let cloud_ops = reader.cloud_ops(needs);
    let metrics = reader.metrics(needs.cloud_keys && !reader.reads_prometheus());
    let evaluate_on_throttling = reader.read("EVALUATE_ON_THROTTLING", values::boolean);
    let spec_fields_not_compared = reader.read("SPEC_FIELDS_NOT_COMPARED", values::spec_fields);
    let keep = reader.keep();
    let slack = reader.slack();
    let traces = reader.traces();
    let home = reader.home(needs);
    let Reader {
        mistakes, warnings, ..
    } = reader;
    let rules = rules.zip(policies).map(|((rules, threshold), (policy, shadow))| {
        let rules = rules.with_policy(policy).with_shadow(shadow);
        rules.with_threshold(threshold)
    });
    let whole = rules.zip(max_concurrent_changes).zip(dry_run).zip(keep);
    match (mistakes.is_empty(), whole) {
        (true, Some((((rules, max_concurrent_changes), dry_run), keep))) => Ok(Settings {
            cloud_ops,
            metrics,
            prometheus,
            evaluate_on_throttling: evaluate_on_throttling.unwrap_or(true),
            spec_fields_not_compared: spec_fields_not_compared.unwrap_or_default(),
            keep,
            effective: effective(&values),
            rules,
            // At most 10, so the fallback is never used.
            max_concurrent_changes: usize::try_from(max_concurrent_changes).unwrap_or(1),
            dry_run,
            ledger,
            slack,
            traces,
            home,
            warnings,
        }),
        // A value that is missing here has left a mistake above.
        _ => Err(Mistakes(mistakes)),
    }
}

fn effective(values: &BTreeMap<&'static str, Found>) -> Vec<EffectiveSetting> {
    CATALOG
        .iter()
        .map(|entry| {
            let found = values.get(entry.name);
            let shown = |found: &Found| {
                if entry.is_secret {
                    "(hidden)".to_owned()
                } else {
                    found.text.clone()
                }
            };
            EffectiveSetting {
                name: entry.name,
                value: found.map(shown),
                origin: found.map_or(Origin::Default, |found| found.origin.clone()),
                help: entry.help,
            }
        })
        .collect()
}

pub(crate) struct Reader<'a> {
    values: &'a BTreeMap<&'static str, Found>,
    secret_files: &'a BTreeMap<&'static str, PathBuf>,
    pub(crate) mistakes: Vec<Mistake>,
    pub(crate) warnings: Vec<String>,
}

impl Reader<'_> {
    pub(crate) fn found(&self, name: &str) -> Option<&Found> {
        self.values.get(name)
    }

    /// Parses a value. Returns `None` if it is not set, or if it is invalid, in which case the mistake is
    /// recorded.
    pub(crate) fn read<T, E: Into<Wrong>>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let Found { text, origin } = self.values.get(name)?;
        match read(text) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.mistakes
                    .push(Mistake::of_value(name, text, origin, wrong.into()));
                None
            }
        }
    }

    /// Returns a secret, together with the file that contains it.
    pub(crate) fn secret(&self, name: &str) -> Option<Secret> {
        let secret = Secret::from(self.found(name)?.text.clone());
        Some(match self.secret_files.get(name) {
            // With the file, clients can read a rotated key again.
            Some(file) => secret.kept_in(file),
            None => secret,
        })
    }

    /// Returns the rules except for the policies, and the settings of `threshold`.
    fn rules(&mut self) -> Option<(Rules, ThresholdSettings)> {
        let default_trus = self.read("DEFAULT_TRU_COUNT", values::trus);
        let max_trus = self.read("MAX_TRU_COUNT", values::trus);
        if let (Some(default), Some(max), Some(found)) =
            (default_trus, max_trus, self.found("DEFAULT_TRU_COUNT"))
            && default > max
        {
            let problem = format!(
                "it is above MAX_TRU_COUNT ({}): lower it, or raise the maximum",
                max.get()
            );
            let mistake = Mistake::of_value("DEFAULT_TRU_COUNT", &found.text, &found.origin, problem);
            self.mistakes.push(mistake);
        }
        let min_actions = self.read("MIN_ACTIONS_THRESHOLD", |text| {
            values::whole(text, 0, 1_000_000_000_000)
        });
        let metrics_max_age = self.read("METRICS_MAX_AGE", |text| values::duration(text, false));
        let respect = self.read("RESPECT_FOREIGN_CHANGES", |text| values::duration(text, true));
        let disable_on_estimate = self.read("DISABLE_ON_ESTIMATE", values::boolean);
        let price = self.price();
        let allow = self.read("NAMESPACE_ALLOWLIST", values::patterns);
        let deny = self.read("NAMESPACE_DENYLIST", values::patterns);
        // If sizes contradict each other, that was already reported above, with the names of the settings.
        let bounds = Bounds::up_to(max_trus?);
        let mut threshold = ThresholdSettings::default()
            .with_default_trus(default_trus?, bounds)
            .ok()?;
        threshold.min_actions_per_hour = min_actions?;
        let mut rules = Rules::default().with_bounds(bounds).with_prices(price?);
        rules.freshness.metrics_max_age = metrics_max_age?;
        rules.guards.respect_foreign_changes = respect?;
        rules.guards.disable_on_estimate = disable_on_estimate?;
        let filter = NamespaceFilter {
            allow: allow.unwrap_or_default(),
            deny: deny.unwrap_or_default(),
        };
        Some((rules.with_filter(filter), threshold))
    }

    fn price(&mut self) -> Option<ActionPrice> {
        let list = self.read("PRICE_PER_MILLION_ACTIONS", prices::list);
        let already = self.read("ACTIONS_PER_MONTH", prices::actions);
        let plan = self.read("SUPPORT_PLAN_PERCENTAGE", prices::plan_percentage);
        Some(ActionPrice::new(list?.with_plan(plan?), already?))
    }

    pub(crate) fn missing(&mut self, name: &str) {
        let help = entry(name).map(|entry| entry.help).unwrap_or_default();
        let file = entry(name).is_some_and(|entry| entry.is_secret);
        let file = if file {
            format!(", or specify a file that contains it in {name}_FILE")
        } else {
            String::new()
        };
        let problem = format!("it is not set ({help}); set it{file}");
        self.mistakes.push(Mistake::of_name(name, None, problem));
    }

    /// Assigns a client's configuration error to the key or to the address.
    fn refused(&mut self, key: &str, url: &str, is_key: bool, problem: String) {
        let name = if is_key { key } else { url };
        if let Some(found) = self.found(name) {
            let (text, origin) = (found.text.clone(), found.origin.clone());
            // The address may contain a password; the parser's message is safe to display.
            let mistake = Mistake {
                value: None,
                ..Mistake::of_value(name, &text, &origin, problem)
            };
            self.mistakes.push(mistake);
        }
    }

    fn cloud_ops(&mut self, needs: Needs) -> Option<cloud_ops_client::Config> {
        const KEY: &str = "TEMPORAL_CLOUD_OPS_API_KEY";
        const URL: &str = "CLOUD_OPS_API_BASE_URL";
        let url = self
            .found(URL)
            .map(|found| found.text.clone())
            .unwrap_or_default();
        let key = self.secret(KEY);
        if key.is_none() && needs.cloud_keys {
            self.missing(KEY);
        }
        // The address is checked even without a key.
        match cloud_ops_client::Config::try_new(&url, key.clone().unwrap_or_else(|| "none".into())) {
            Ok(config) => key.map(|_| config),
            Err(error) => {
                let is_key = error == cloud_ops_client::ConfigError::Key;
                self.refused(KEY, URL, is_key, error.to_string());
                None
            }
        }
    }

    fn metrics(&mut self, needs_key: bool) -> Option<openmetrics_reader::scrape::Config> {
        const KEY: &str = "TEMPORAL_CLOUD_METRICS_API_KEY";
        const URL: &str = "CLOUD_METRICS_API_BASE_URL";
        let url = self
            .found(URL)
            .map(|found| found.text.clone())
            .unwrap_or_default();
        let key = self.secret(KEY);
        if key.is_none() && needs_key {
            self.missing(KEY);
        }
        // The endpoint allows an account 180 requests an hour.
        let budget = self.read("METRICS_REQUESTS_PER_HOUR", |text| values::whole(text, 1, 180));
        match openmetrics_reader::scrape::Config::try_new(&url, key.clone().unwrap_or_else(|| "none".into()))
        {
            Ok(mut config) => {
                config.requests_per_hour = u32::try_from(budget?).ok()?;
                key.map(|_| config)
            }
            Err(error) => {
                let is_key = error == openmetrics_reader::scrape::ConfigError::Key;
                self.refused(KEY, URL, is_key, error.to_string());
                None
            }
        }
    }

    fn keep(&mut self) -> Option<Keep> {
        let minutes = self.read("LEDGER_KEEP_MINUTES", values::keeping);
        let decisions = self.read("LEDGER_KEEP_DECISIONS", values::keeping);
        Some(Keep {
            minutes: minutes?,
            decisions: decisions?,
        })
    }

    fn slack(&mut self) -> Option<slack_notifier::Config> {
        const NAME: &str = "SLACK_WEBHOOK_URL";
        match slack_notifier::Config::try_new(self.secret(NAME)?) {
            Ok(config) => Some(config),
            Err(error) => {
                self.refused(NAME, NAME, true, error.to_string());
                None
            }
        }
    }

    fn ledger(&mut self) -> Option<capacity_ledger::Location> {
        const NAME: &str = "LEDGER_URL";
        let text = self.found(NAME)?.text.clone();
        match capacity_ledger::Location::parse(&text) {
            Ok(location) => Some(location),
            Err(error) => {
                let origin = self.found(NAME).map(|found| found.origin.clone());
                // The mistake itself begins with the name.
                let error = error.to_string();
                let problem = error.strip_prefix("LEDGER_URL: ").unwrap_or(&error);
                self.mistakes
                    .push(Mistake::of_name(NAME, origin, problem.to_owned()));
                None
            }
        }
    }

    fn home(&mut self, needs: Needs) -> Home {
        for name in ["TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE"] {
            if needs.home && self.found(name).is_none() {
                self.missing(name);
            }
        }
        let address = self.read("TEMPORAL_ADDRESS", values::address);
        let namespace = self.read("TEMPORAL_NAMESPACE", |text| {
            text.parse::<NamespaceId>()
                .map(|id| id.to_string())
                .map_err(|error| error.to_string())
        });
        let api_key = self.secret("TEMPORAL_API_KEY");
        let certificate = self.pem("TEMPORAL_CERT_PATH", "TEMPORAL_TLS_CLIENT_CERT_DATA");
        let key = self.pem("TEMPORAL_KEY_PATH", "TEMPORAL_TLS_CLIENT_KEY_DATA");
        let server_ca = self.pem(
            "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
            "TEMPORAL_TLS_SERVER_CA_CERT_DATA",
        );
        let half = match (&certificate, &key) {
            (Some((given, _)), None) => Some((*given, "TEMPORAL_KEY_PATH")),
            (None, Some((given, _))) => Some((*given, "TEMPORAL_CERT_PATH")),
            _ => None,
        };
        if let Some((given, missing)) = half {
            let origin = self.found(given).map(|found| found.origin.clone());
            self.mistakes.push(Mistake::of_name(
                given,
                origin,
                format!("it also needs {missing}"),
            ));
        }
        self.check_pems();
        let pem = |(_, pem): (&'static str, Pem)| pem;
        let (certificate, key, server_ca) = (certificate.map(pem), key.map(pem), server_ca.map(pem));
        let certificate = certificate.zip(key);
        if certificate.is_some() && api_key.is_some() {
            let origin = self.found("TEMPORAL_API_KEY").map(|found| found.origin.clone());
            let problem = "a client certificate is set as well (TEMPORAL_CERT_PATH): use either the key or the certificate";
            self.mistakes
                .push(Mistake::of_name("TEMPORAL_API_KEY", origin, problem));
        }
        let encrypted = self.read("TEMPORAL_TLS", values::boolean);
        if encrypted == Some(false) && (api_key.is_some() || certificate.is_some()) {
            let origin = self.found("TEMPORAL_TLS").map(|found| found.origin.clone());
            let problem = "a key or a certificate is never sent unencrypted: remove it, or set this to true";
            self.mistakes
                .push(Mistake::of_name("TEMPORAL_TLS", origin, problem));
        }
        let installation = self.read("INSTALLATION", values::installation);
        let mut task_queue = text_or_default(self.found("TASK_QUEUE"));
        let is_default = self
            .found("TASK_QUEUE")
            .is_some_and(|found| found.origin == Origin::Default);
        // Two installations on one task queue would run each other's work.
        if let (Some(name), true) = (&installation, is_default) {
            task_queue = format!("{task_queue}-{name}");
        }
        let server_name = self
            .found("TEMPORAL_TLS_SERVER_NAME")
            .map(|found| found.text.clone());
        Home {
            address,
            namespace,
            api_key,
            certificate,
            encrypted,
            server_ca,
            server_name,
            task_queue,
            installation,
        }
    }

    /// Reports PEM text in place of a path, and anything other than PEM text where that is expected.
    fn check_pems(&mut self) {
        const PAIRS: [(&str, &str, bool); 3] = [
            ("TEMPORAL_CERT_PATH", "TEMPORAL_TLS_CLIENT_CERT_DATA", false),
            ("TEMPORAL_KEY_PATH", "TEMPORAL_TLS_CLIENT_KEY_DATA", true),
            (
                "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
                "TEMPORAL_TLS_SERVER_CA_CERT_DATA",
                false,
            ),
        ];
        for (path, data, is_key) in PAIRS {
            if let Some(found) = self.found(path).filter(|found| found.text.contains("-----BEGIN")) {
                let problem = format!("this is PEM text, but a path is expected: set {data} instead");
                let mistake = Mistake::of_name(path, Some(found.origin.clone()), problem);
                self.mistakes.push(mistake);
            }
            let Some(found) = self.found(data) else { continue };
            let text = found.text.as_bytes();
            let read = if is_key {
                pem::private_key(text).map(drop)
            } else {
                pem::certificates(text).map(drop)
            };
            if let Err(problem) = read {
                let mistake = Mistake::of_name(data, Some(found.origin.clone()), format!("it {problem}"));
                self.mistakes.push(mistake);
            }
        }
    }

    /// Returns a certificate or key with the name of its setting. The path takes precedence over the data.
    fn pem(&self, path: &'static str, data: &'static str) -> Option<(&'static str, Pem)> {
        match (self.found(path), self.secret(data)) {
            // Read again when it changes, so that a renewed certificate needs no restart.
            (Some(found), _) => Some((path, Pem::File((&found.text).into()))),
            (None, Some(secret)) => Some((data, Pem::Data(secret.current()))),
            (None, None) => None,
        }
    }
}

fn text_or_default(found: Option<&Found>) -> String {
    found.map(|found| found.text.clone()).unwrap_or_default()
}
