//! Settings of the archival of closed workflows.

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// Settings of the archival of closed workflows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Archival {
    /// Whether the server can archive.
    pub enabled: bool,
    /// URI for histories. Defaults to a file store in the run directory.
    pub history: Option<String>,
    /// URI for visibility records. Defaults to a file store in the run directory.
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

impl Archival {
    /// Checks the credentials for Google Cloud Storage, because the server would silently use those of the
    /// machine instead.
    ///
    /// # Errors
    ///
    /// If they cannot be read or are not those of a service account.
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
                "archival.gcs_credentials: cannot read {path}; the server would silently use the credentials of this machine instead"
            )
        })?;
        anyhow::ensure!(
            is_account,
            "archival.gcs_credentials: {path} is not the key of a service account; create one with `gcloud iam service-accounts keys create`"
        );
        Ok(())
    }

    pub(super) fn mistakes(&self) -> Vec<String> {
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
