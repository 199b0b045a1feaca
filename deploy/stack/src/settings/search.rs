//! Settings of visibility in a search cluster.

use serde::{Deserialize, Serialize};

/// Prefix of the names of Temporal's indexes.
const SEARCH_INDEX: &str = "temporal_visibility_v1";

/// Visibility in `OpenSearch` or Elasticsearch instead of PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Search {
    /// URL of the cluster. If not set, visibility is in PostgreSQL.
    pub url: Option<String>,
    /// Name of the index. Must start with the default name, which the server's template requires.
    pub index: String,
    /// User name, if the cluster requires one.
    pub username: Option<String>,
    /// File with the password.
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
    /// Reads the password, if one is configured.
    ///
    /// # Errors
    ///
    /// If its file cannot be read.
    pub fn password(&self) -> Result<Option<String>, PasswordFileError> {
        let Some(path) = &self.password_file else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(path).map_err(|cause| PasswordFileError {
            path: path.clone(),
            cause,
        })?;
        Ok(Some(text.trim_end().to_owned()))
    }

    pub(super) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if let Some(url) = &self.url {
            let host = url
                .strip_prefix("http://")
                .or_else(|| url.strip_prefix("https://"))
                .map(|host| host.trim_end_matches('/'));
            // The server's configuration takes scheme and host only, and the credentials separately.
            if host.is_none_or(|host| host.is_empty() || host.contains(['/', '@', '?'])) {
                mistakes.push(format!(
                    "search.url = \"{url}\": use http:// or https://, a host and a port, such as \"https://search:9200\""
                ));
            }
        }
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
        if !self.index.starts_with(SEARCH_INDEX) || !self.index.chars().all(is_name) {
            mistakes.push(format!(
                "search.index = \"{}\": use a name of a-z, 0-9, `_` and `-` that begins with {SEARCH_INDEX}, because the server's \
                template applies only to such names",
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

/// A password file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("search.password_file: cannot read {path}: {cause}")]
pub struct PasswordFileError {
    path: String,
    cause: std::io::Error,
}
