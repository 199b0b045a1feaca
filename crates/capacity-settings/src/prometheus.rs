//! Settings of a Prometheus that replaces the metrics endpoint.

use prometheus_reader::{Auth, ConfigError, PrometheusConfig};

use crate::mistake::Mistake;
use crate::settings::Reader;
use crate::values;

const SOURCE: &str = "METRICS_SOURCE";
const URL: &str = "PROMETHEUS_URL";
const TOKEN: &str = "PROMETHEUS_BEARER_TOKEN";
const USER: &str = "PROMETHEUS_USER";
const PASSWORD: &str = "PROMETHEUS_PASSWORD";
const LABELS: &str = "PROMETHEUS_LABELS";
const TENANT: &str = "PROMETHEUS_TENANT";
const CA: &str = "PROMETHEUS_CA_PATH";

impl Reader<'_> {
    /// Returns whether usage is read from Prometheus.
    pub(crate) fn reads_prometheus(&self) -> bool {
        self.found(SOURCE)
            .is_some_and(|found| found.text.eq_ignore_ascii_case("prometheus"))
    }

    pub(crate) fn prometheus(&mut self) -> Option<PrometheusConfig> {
        self.read(SOURCE, |text| match text.to_ascii_lowercase().as_str() {
            "temporal" | "prometheus" => Ok(()),
            _ => Err("use temporal or prometheus".to_owned()),
        });
        let allow_http = self
            .read("PROMETHEUS_ALLOW_HTTP", values::boolean)
            .unwrap_or(false);
        let labels = self.read(LABELS, values::labels).unwrap_or_default();
        let auth = self.auth();
        let Some(url) = self.found(URL).map(|found| found.text.clone()) else {
            if self.reads_prometheus() {
                self.missing(URL);
            }
            return None;
        };
        if !self.reads_prometheus() {
            self.warnings.push(format!(
                "{URL} is set but not used: {SOURCE}=prometheus is missing"
            ));
        }
        let mut builder = PrometheusConfig::builder(url)
            .auth(auth)
            .allow_plain_http(allow_http);
        for (name, value) in labels {
            builder = builder.extra_label(name, value);
        }
        if let Some(tenant) = self.found(TENANT) {
            builder = builder.tenant(tenant.text.clone());
        }
        if let Some(pem) = self.read(CA, |path| std::fs::read(path).map_err(|error| error.to_string())) {
            builder = builder.custom_ca(pem);
        }
        match builder.build() {
            // Check it even if it is unused: a mistake may be a secret in the wrong place.
            Ok(config) => self.reads_prometheus().then_some(config),
            Err(errors) => {
                for error in errors.errors() {
                    self.mistaken(error);
                }
                None
            }
        }
    }

    /// Returns the authentication: a token, or a user with a password.
    fn auth(&mut self) -> Auth {
        let user = self.found(USER).map(|found| found.text.clone());
        match (self.secret(TOKEN), user, self.secret(PASSWORD)) {
            (None, None, None) => Auth::None,
            (Some(token), None, None) => Auth::Bearer(token),
            (None, Some(user), Some(password)) => Auth::Basic { user, password },
            (Some(_), _, _) => {
                let problem = format!(
                    "a user or a password is set as well ({USER}, {PASSWORD}): use either the token or these"
                );
                self.wrong(TOKEN, problem);
                Auth::None
            }
            (None, Some(_), None) => {
                self.wrong(USER, format!("it also needs {PASSWORD}"));
                Auth::None
            }
            (None, None, Some(_)) => {
                self.wrong(PASSWORD, format!("it also needs {USER}"));
                Auth::None
            }
        }
    }

    /// Assigns a mistake to its setting. The value is not included, because an address may contain a
    /// password.
    fn mistaken(&mut self, error: &ConfigError) {
        let (name, remedy) = match error {
            ConfigError::NotEncrypted => (URL, " (PROMETHEUS_ALLOW_HTTP=true)"),
            ConfigError::Token => (TOKEN, ""),
            ConfigError::User => (USER, ""),
            ConfigError::Password => (PASSWORD, ""),
            ConfigError::LabelName(_) => (LABELS, ""),
            ConfigError::Certificates(_) => (CA, ""),
            ConfigError::Header(_) => (TENANT, ""),
            // Problems with the address, and with limits that no setting changes.
            _ => (URL, ""),
        };
        self.wrong(name, format!("{error}{remedy}"));
    }

    fn wrong(&mut self, name: &str, problem: String) {
        let origin = self.found(name).map(|found| found.origin.clone());
        self.mistakes.push(Mistake::of_name(name, origin, problem));
    }
}
