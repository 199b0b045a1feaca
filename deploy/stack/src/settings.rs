//! Parses and validates `stack.toml`, and reports all mistakes at once.

mod archival;
mod difference;
mod namespace;
mod network;
mod replicas;
mod search;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

pub use self::archival::Archival;
pub use self::difference::differences;
pub use self::namespace::{ATTRIBUTE_TYPES, Namespace};
pub use self::network::Network;
pub use self::replicas::Replicas;
pub use self::search::{PasswordFileError, Search};
use crate::roles::{Member, Role};

/// Content of the default `stack.toml`.
pub const DEFAULT: &str = include_str!("../stack.toml");

/// The settings of a stack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Versions, shards and logs.
    pub server: Server,
    /// Loopback addresses of the processes.
    pub network: Network,
    /// Number of processes of each role.
    pub replicas: Replicas,
    /// Connection limits of PostgreSQL and `PgBouncer`.
    pub database: Database,
    /// Validity of the certificates.
    pub tls: Tls,
    /// Visibility in `OpenSearch` or Elasticsearch.
    pub search: Search,
    /// Archival of closed workflows.
    pub archival: Archival,
    /// Whether and where to run the autopilot's worker.
    pub autopilot: Autopilot,
    /// Namespaces that `apply` creates and updates.
    #[serde(rename = "namespace")]
    pub namespaces: Vec<Namespace>,
    /// Keys and values of Temporal's dynamic configuration.
    pub dynamic_config: BTreeMap<String, serde_json::Value>,
}

/// Versions, shards and logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Version of `go.temporal.io/server`.
    pub version: String,
    /// Version of `github.com/temporalio/ui-server/v2`.
    pub ui_version: String,
    /// Number of history shards; cannot be changed later.
    pub history_shards: u16,
    /// Log level: `debug`, `info`, `warn` or `error`.
    pub log_level: String,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            version: "1.29.1".to_owned(),
            ui_version: "2.42.1".to_owned(),
            history_shards: 4,
            log_level: "info".to_owned(),
        }
    }
}

/// Connection limits of PostgreSQL and `PgBouncer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// Maximum number of connections that PostgreSQL accepts.
    pub max_connections: u16,
    /// Number of connections that `PgBouncer` opens to each database.
    pub pool_size: u16,
    /// Number of connections that each process opens to each of its two databases.
    pub max_conns: u16,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            max_connections: 100,
            pool_size: 20,
            max_conns: 20,
        }
    }
}

/// Validity of the certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Validity of leaf certificates in days.
    pub leaf_days: u16,
}

impl Default for Tls {
    fn default() -> Self {
        Self { leaf_days: 90 }
    }
}

/// Whether and where to run the autopilot's worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Autopilot {
    /// Whether `up` starts the worker.
    pub enabled: bool,
    /// Namespace of the autopilot's workflows.
    pub namespace: String,
}

impl Default for Autopilot {
    fn default() -> Self {
        Self {
            enabled: true,
            namespace: "capacity".to_owned(),
        }
    }
}

impl Settings {
    /// Returns all server processes in start order.
    pub fn members(&self) -> Vec<Member> {
        Role::ALL
            .into_iter()
            .flat_map(|role| self.members_of(role))
            .collect()
    }

    /// Returns the processes of one role.
    pub fn members_of(&self, role: Role) -> Vec<Member> {
        (1..=self.replicas.of(role))
            .map(|number| Member { role, number })
            .collect()
    }

    /// Reads a settings file, or the default settings.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or has mistakes; the error lists all of them.
    pub fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            return Self::parse(DEFAULT).context("the default stack.toml is invalid");
        };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// Parses settings from TOML.
    ///
    /// # Errors
    ///
    /// If the text has mistakes; the error lists all of them.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let settings: Self = toml::from_str(text)?;
        let mistakes = settings.mistakes();
        anyhow::ensure!(mistakes.is_empty(), "{}", mistakes.join("; "));
        Ok(settings)
    }

    fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut check = |is_valid: bool, mistake: String| {
            if !is_valid {
                mistakes.push(mistake);
            }
        };
        for (key, version) in [
            ("version", &self.server.version),
            ("ui_version", &self.server.ui_version),
        ] {
            check(
                is_version(version),
                format!("server.{key} = \"{version}\": use a full version such as \"1.29.1\""),
            );
        }
        check(
            (1..=16_384).contains(&self.server.history_shards),
            format!(
                "server.history_shards = {}: use 1 to 16384",
                self.server.history_shards
            ),
        );
        check(
            ["debug", "info", "warn", "error"].contains(&self.server.log_level.as_str()),
            format!(
                "server.log_level = \"{}\": use debug, info, warn or error",
                self.server.log_level
            ),
        );
        let database = &self.database;
        check(
            database.pool_size > 0 && database.max_conns > 0,
            "database.pool_size and database.max_conns must be at least 1".to_owned(),
        );
        // Two databases of Temporal and the ledger's, and the connections reserved for superusers.
        check(
            database.max_connections >= database.pool_size.saturating_mul(3).saturating_add(10),
            format!(
                "database.max_connections = {}: PgBouncer may open 3 x pool_size = {}, plus 10 for the schema tool and for administrators; raise it or lower pool_size",
                database.max_connections,
                database.pool_size.saturating_mul(3)
            ),
        );
        check(
            (1..=825).contains(&self.tls.leaf_days),
            format!("tls.leaf_days = {}: use 1 to 825", self.tls.leaf_days),
        );
        mistakes.extend(self.network.mistakes());
        mistakes.extend(self.replicas.mistakes());
        mistakes.extend(self.search.mistakes());
        mistakes.extend(self.archival.mistakes());
        mistakes.extend(namespace::mistakes(
            &self.namespaces,
            self.archival.enabled,
            self.search.url.is_none(),
        ));
        let home = &self.autopilot.namespace;
        if self.autopilot.enabled && !self.namespaces.iter().any(|it| it.name == *home) {
            mistakes.push(format!(
                "autopilot.namespace = \"{home}\" is not declared; add a [[namespace]] with that name"
            ));
        }
        mistakes
    }
}

/// Returns whether a text consists of three numbers separated by dots.
pub(crate) fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn the_default_file_contains_the_defaults() {
        let read = Settings::parse(DEFAULT).expect("valid");
        let defaults = Settings {
            namespaces: read.namespaces.clone(),
            dynamic_config: read.dynamic_config.clone(),
            ..Settings::default()
        };
        assert_eq!(read, defaults);
    }

    #[rstest]
    #[case::unknown_key("[server]\nverison = \"1.29.1\"", "unknown field `verison`")]
    #[case::version("[server]\nversion = \"1.29\"", "use a full version")]
    #[case::replicas("[replicas]\nhistory = 0", "replicas.history = 0: use 1 to 9")]
    #[case::network("[network]\nloopback = \"10.1\"", "such as \"127.77\"")]
    #[case::pool("[database]\npool_size = 50", "raise it or lower pool_size")]
    #[case::home("[autopilot]\nnamespace = \"other\"", "add a [[namespace]]")]
    #[case::bucket("[archival]\nhistory = \"s3://b/h\"", "needs archival.s3_region")]
    #[case::search_url("[search]\nurl = \"search:9200\"", "such as \"https://search:9200\"")]
    #[case::search_index("[search]\nindex = \"visibility\"", "begins with temporal_visibility_v1")]
    #[case::search_user("[search]\nusername = \"temporal\"", "set both or neither")]
    #[case::attribute(
        "[[namespace]]\nname = \"capacity\"\nretention_days = 1\nsearch_attributes = { A = \"Number\" }",
        "use one of Bool"
    )]
    #[case::too_many(
        "[[namespace]]\nname = \"capacity\"\nretention_days = 1\nsearch_attributes = { A = \"Int\", B = \"Int\", C = \"Int\", D = \"Int\" }",
        "columns for 3"
    )]
    fn each_mistake_is_reported_with_its_remedy(#[case] text: &str, #[case] expected: &str) {
        let error = Settings::parse(text).expect_err("refused");
        assert!(format!("{error:#}").contains(expected), "{error:#}");
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let text = "[server]\nversion = \"x\"\nlog_level = \"loud\"\n[replicas]\nworker = 12";
        let error = format!("{:#}", Settings::parse(text).expect_err("refused"));
        for part in ["server.version", "server.log_level", "replicas.worker"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
