//! `stack.toml`: what a stack consists of. Text to valid settings, with every mistake at once.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::roles::{Member, Role};

/// The settings of a stack that names none.
pub const DEFAULT: &str = include_str!("../stack.toml");

/// Types of search attributes, and how many of each a namespace may have in PostgreSQL.
pub const ATTRIBUTE_TYPES: [(&str, usize); 7] = [
    ("Bool", 3),
    ("Datetime", 3),
    ("Double", 3),
    ("Int", 3),
    ("Keyword", 10),
    ("KeywordList", 3),
    ("Text", 3),
];

/// What the names of Temporal's indexes begin with.
const SEARCH_INDEX: &str = "temporal_visibility_v1";

/// What a stack consists of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Versions, shards, logs.
    pub server: Server,
    /// Addresses.
    pub network: Network,
    /// Processes of each role.
    pub replicas: Replicas,
    /// PostgreSQL and `PgBouncer`.
    pub database: Database,
    /// Certificates.
    pub tls: Tls,
    /// Visibility in `OpenSearch` or Elasticsearch.
    pub search: Search,
    /// Where closed workflows go.
    pub archival: Archival,
    /// Our worker.
    pub autopilot: Autopilot,
    /// Namespaces, applied by `apply`.
    #[serde(rename = "namespace")]
    pub namespaces: Vec<Namespace>,
    /// Temporal's dynamic configuration.
    pub dynamic_config: BTreeMap<String, serde_json::Value>,
}

/// Versions, shards, logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Of `go.temporal.io/server`.
    pub version: String,
    /// Of `github.com/temporalio/ui-server/v2`.
    pub ui_version: String,
    /// Fixed for the life of the cluster.
    pub history_shards: u16,
    /// `debug`, `info`, `warn` or `error`.
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

/// Addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// The first two numbers of the loopback addresses.
    pub loopback: String,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            loopback: "127.77".to_owned(),
        }
    }
}

impl Network {
    /// The address of a process that is not one of the roles.
    fn shared(&self, port: u16) -> String {
        format!("{}.0.1:{port}", self.loopback)
    }

    /// The address of PostgreSQL.
    pub fn postgres(&self) -> String {
        self.shared(5432)
    }

    /// The address of `PgBouncer`.
    pub fn pgbouncer(&self) -> String {
        self.shared(6432)
    }

    /// The address that clients connect to.
    pub fn frontend(&self) -> String {
        let first = Member {
            role: Role::Frontend,
            number: 1,
        };
        first.grpc(&self.loopback)
    }

    /// The address of the web UI.
    pub fn ui(&self) -> String {
        self.shared(8080)
    }

    /// The address of the simulated cloud.
    pub fn cloud(&self) -> String {
        self.shared(8300)
    }

    /// The address of the autopilot's metrics and health.
    pub fn autopilot(&self) -> String {
        self.shared(9464)
    }
}

/// Processes of each role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Replicas {
    /// Processes of the frontend.
    pub frontend: u8,
    /// Processes of history.
    pub history: u8,
    /// Processes of matching.
    pub matching: u8,
    /// Processes of Temporal's own workers.
    pub worker: u8,
}

impl Default for Replicas {
    fn default() -> Self {
        Self::all(1)
    }
}

impl Replicas {
    /// The same number of each role.
    pub fn all(count: u8) -> Self {
        Self {
            frontend: count,
            history: count,
            matching: count,
            worker: count,
        }
    }

    /// How many processes a role has.
    pub fn of(&self, role: Role) -> u8 {
        match role {
            Role::Frontend => self.frontend,
            Role::History => self.history,
            Role::Matching => self.matching,
            Role::Worker => self.worker,
        }
    }
}

/// PostgreSQL and `PgBouncer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// Connections that PostgreSQL accepts.
    pub max_connections: u16,
    /// Connections that `PgBouncer` opens to each database.
    pub pool_size: u16,
    /// Connections that each role opens to each of its two databases.
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

/// Certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// How long leaf certificates are valid.
    pub leaf_days: u16,
}

impl Default for Tls {
    fn default() -> Self {
        Self { leaf_days: 90 }
    }
}

/// Where closed workflows go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Archival {
    /// Whether the server can archive.
    pub enabled: bool,
    /// URI for histories; a file store in the run directory if unset.
    pub history: Option<String>,
    /// URI for visibility records; a file store in the run directory if unset.
    pub visibility: Option<String>,
    /// Region of the S3 buckets.
    pub s3_region: Option<String>,
    /// Endpoint of an S3-compatible service.
    pub s3_endpoint: Option<String>,
    /// Path of the credentials for Google Cloud Storage.
    pub gcs_credentials: Option<String>,
}

impl Default for Archival {
    fn default() -> Self {
        Self {
            enabled: true,
            history: None,
            visibility: None,
            s3_region: None,
            s3_endpoint: None,
            gcs_credentials: None,
        }
    }
}

/// Visibility in `OpenSearch` or Elasticsearch instead of PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Search {
    /// Where the cluster answers; visibility is in PostgreSQL if unset.
    pub url: Option<String>,
    /// The index; the server's template covers names that begin with the default one.
    pub index: String,
    /// The user, if the cluster asks for one.
    pub username: Option<String>,
    /// The file with the user's password.
    pub password_file: Option<String>,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            url: None,
            index: SEARCH_INDEX.to_owned(),
            username: None,
            password_file: None,
        }
    }
}

impl Search {
    /// Reads the password, if there is one.
    ///
    /// # Errors
    ///
    /// If its file cannot be read.
    pub fn password(&self) -> Result<Option<String>, String> {
        let Some(path) = &self.password_file else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("search.password_file: cannot read {path}: {error}"))?;
        Ok(Some(text.trim_end().to_owned()))
    }

    fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if let Some(url) = &self.url {
            let host = url
                .strip_prefix("http://")
                .or_else(|| url.strip_prefix("https://"))
                .map(|host| host.trim_end_matches('/'));
            if host.is_none_or(|host| host.is_empty() || host.contains(['/', '@', '?'])) {
                mistakes.push(format!(
                    "search.url = \"{url}\": use http:// or https://, a host and a port, such as \"https://search:9200\""
                ));
            }
        }
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
        if !self.index.starts_with(SEARCH_INDEX) || !self.index.chars().all(is_name) {
            mistakes.push(format!(
                "search.index = \"{}\": use a name of a-z, 0-9, `_` and `-` that begins with {SEARCH_INDEX}: the server's template \
                 covers no other",
                self.index
            ));
        }
        if self.username.is_some() != self.password_file.is_some() {
            mistakes.push(
                "search.username and search.password_file belong together: set both or neither".to_owned(),
            );
        }
        mistakes
    }
}

/// Our worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Autopilot {
    /// Whether `up` starts it.
    pub enabled: bool,
    /// The namespace it runs in.
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

/// A namespace, as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Days that closed workflows are kept.
    pub retention_days: u16,
    /// Whether histories are archived.
    #[serde(default)]
    pub archive_history: bool,
    /// Whether visibility records are archived.
    #[serde(default)]
    pub archive_visibility: bool,
    /// Custom search attributes and their types.
    #[serde(default)]
    pub search_attributes: BTreeMap<String, String>,
}

impl Settings {
    /// Every process of the server, in the order in which they start.
    pub fn members(&self) -> Vec<Member> {
        Role::ALL
            .into_iter()
            .flat_map(|role| self.members_of(role))
            .collect()
    }

    /// The processes of one role.
    pub fn members_of(&self, role: Role) -> Vec<Member> {
        (1..=self.replicas.of(role))
            .map(|number| Member { role, number })
            .collect()
    }

    /// Reads a file, or the default settings.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or has mistakes; the error names each of them.
    pub fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            return Self::parse(DEFAULT).context("the default stack.toml");
        };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// Reads settings from TOML.
    ///
    /// # Errors
    ///
    /// If the text has mistakes; the error names each of them.
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
        check(
            is_loopback_half(&self.network.loopback),
            format!(
                "network.loopback = \"{}\": use the first two numbers of a loopback address, such as \"127.77\"",
                self.network.loopback
            ),
        );
        for role in Role::ALL {
            let count = self.replicas.of(role);
            check(
                (1..=9).contains(&count),
                format!("replicas.{role} = {count}: use 1 to 9"),
            );
        }
        let database = &self.database;
        check(
            database.pool_size > 0 && database.max_conns > 0,
            "database.pool_size and database.max_conns must be at least 1".to_owned(),
        );
        // Temporal's two databases and the ledger's, and the superuser's reserve.
        check(
            database.max_connections >= database.pool_size.saturating_mul(3).saturating_add(10),
            format!(
                "database.max_connections = {}: PgBouncer may open 3 x pool_size = {}, plus 10 for the schema tool and for people; raise it or lower pool_size",
                database.max_connections,
                database.pool_size.saturating_mul(3)
            ),
        );
        check(
            (1..=825).contains(&self.tls.leaf_days),
            format!("tls.leaf_days = {}: use 1 to 825", self.tls.leaf_days),
        );
        mistakes.extend(self.search.mistakes());
        mistakes.extend(self.archival.mistakes());
        mistakes.extend(self.namespace_mistakes());
        mistakes
    }

    fn namespace_mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        for (index, namespace) in self.namespaces.iter().enumerate() {
            let name = &namespace.name;
            let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if name.len() < 2 || !name.chars().all(is_name) || name == "temporal-system" {
                mistakes.push(format!(
                    "namespace \"{name}\": a name has at least two of a-z, A-Z, 0-9, `.`, `_` and `-`, and is not temporal-system"
                ));
            }
            if self.namespaces[..index].iter().any(|other| other.name == *name) {
                mistakes.push(format!("namespace \"{name}\" is declared twice"));
            }
            if namespace.retention_days == 0 {
                mistakes.push(format!("namespace \"{name}\": retention_days must be at least 1"));
            }
            if (namespace.archive_history || namespace.archive_visibility) && !self.archival.enabled {
                mistakes.push(format!(
                    "namespace \"{name}\" archives, but archival.enabled is false"
                ));
            }
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            for (attribute, kind) in &namespace.search_attributes {
                *counts.entry(kind).or_default() += 1;
                if !ATTRIBUTE_TYPES.iter().any(|(known, _)| known == kind) {
                    let known: Vec<&str> = ATTRIBUTE_TYPES.iter().map(|(known, _)| *known).collect();
                    mistakes.push(format!(
                        "namespace \"{name}\": search attribute {attribute} has the type \"{kind}\"; use one of {}",
                        known.join(", ")
                    ));
                }
            }
            for (kind, limit) in ATTRIBUTE_TYPES {
                let count = counts.get(kind).copied().unwrap_or_default();
                if count > limit && self.search.url.is_none() {
                    mistakes.push(format!(
                        "namespace \"{name}\" has {count} search attributes of the type {kind}; PostgreSQL has columns for {limit}"
                    ));
                }
            }
        }
        let home = &self.autopilot.namespace;
        if self.autopilot.enabled && !self.namespaces.iter().any(|it| it.name == *home) {
            mistakes.push(format!(
                "autopilot.namespace = \"{home}\" is not declared; add a [[namespace]] with that name"
            ));
        }
        mistakes
    }
}

impl Archival {
    /// Checks the credentials for Google Cloud Storage: the server silently falls back to those of the machine.
    ///
    /// # Errors
    ///
    /// If they cannot be read, or are not those of a service account.
    pub fn check_credentials(&self) -> anyhow::Result<()> {
        let Some(path) = self.gcs_credentials.as_deref().filter(|_| self.enabled) else {
            return Ok(());
        };
        let read = || -> anyhow::Result<bool> {
            let account: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
            Ok(account["type"] == "service_account" && account["private_key"].is_string())
        };
        let is_account = read().with_context(|| {
            format!(
                "archival.gcs_credentials: cannot read {path}, and the server would use the credentials of this machine instead"
            )
        })?;
        anyhow::ensure!(
            is_account,
            "archival.gcs_credentials: {path} is not the key of a service account; create one with `gcloud iam service-accounts keys create`"
        );
        Ok(())
    }

    fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        for (key, uri) in [("history", &self.history), ("visibility", &self.visibility)] {
            let Some(uri) = uri else { continue };
            let missing = match uri.split_once("://").map(|(scheme, _)| scheme) {
                Some("file") => None,
                Some("s3") => self.s3_region.is_none().then_some("s3_region"),
                Some("gs") => self.gcs_credentials.is_none().then_some("gcs_credentials"),
                _ => {
                    mistakes.push(format!("archival.{key} = \"{uri}\": use file://, s3:// or gs://"));
                    None
                }
            };
            if let Some(missing) = missing {
                mistakes.push(format!("archival.{key} = \"{uri}\" needs archival.{missing}"));
            }
        }
        mistakes
    }
}

/// Three numbers separated by dots.
pub(crate) fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok())
}

fn is_loopback_half(text: &str) -> bool {
    text.strip_prefix("127.")
        .and_then(|rest| rest.parse::<u8>().ok())
        .is_some_and(|number| text == format!("127.{number}"))
}

/// Renders a change of settings for people: one line per key that differs.
pub fn differences(old: &Settings, new: &Settings) -> String {
    let flat = |settings: &Settings| {
        let mut lines = BTreeMap::new();
        if let Ok(value) = serde_json::to_value(settings) {
            flatten("", &value, &mut lines);
        }
        lines
    };
    let (old, new) = (flat(old), flat(new));
    let mut text = String::new();
    for (key, value) in &new {
        match old.get(key) {
            Some(before) if before == value => {}
            Some(before) => drop(writeln!(text, "~ {key}: {before} -> {value}")),
            None => drop(writeln!(text, "+ {key}: {value}")),
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        let _ = writeln!(text, "- {key}");
    }
    text
}

fn flatten(prefix: &str, value: &serde_json::Value, lines: &mut BTreeMap<String, String>) {
    if let serde_json::Value::Object(map) = value {
        for (key, value) in map {
            let key = if prefix.is_empty() {
                key.clone()
            } else {
                format!("{prefix}.{key}")
            };
            flatten(&key, value, lines);
        }
    } else {
        lines.insert(prefix.to_owned(), value.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn the_default_file_states_the_defaults() {
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
    fn a_mistake_is_named_with_its_remedy(#[case] text: &str, #[case] expected: &str) {
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

    #[test]
    fn a_change_of_settings_is_shown_by_key() {
        let old = Settings::default();
        let new = Settings {
            replicas: Replicas::all(2),
            ..Settings::default()
        };
        assert!(differences(&old, &new).contains("~ replicas.history: 1 -> 2"));
    }
}
