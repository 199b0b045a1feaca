//! Visibility in a search cluster.

use serde::{Deserialize, Serialize};

/// What the names of Temporal's indexes begin with.
const SEARCH_INDEX: &str = "temporal_visibility_v1";

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

/// The file of a password that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("search.password_file: cannot read {path}: {cause}")]
pub struct PasswordFileError {
    path: String,
    cause: std::io::Error,
}
