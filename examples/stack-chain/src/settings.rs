//! Settings, from flags and the environment. Spacelift's have the names that spacectl uses.

use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;

use crate::labels::Dialect;
use crate::provider::Provider;
use crate::spacelift::{Config, Spacelift};

/// How to reach the CI system.
#[derive(Debug, Clone, Args)]
pub struct Account {
    /// Which labels make a dependency [environment: `STACK_CHAIN_LABELS`]
    #[arg(long, global = true, value_enum, default_value_t = labels_from_environment())]
    pub labels: Dialect,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// A value that is not understood is reported by `Account::provider`, since this cannot fail.
fn labels_from_environment() -> Dialect {
    use clap::ValueEnum as _;
    variable("STACK_CHAIN_LABELS")
        .and_then(|value| Dialect::from_str(&value, true).ok())
        .unwrap_or_default()
}

impl Account {
    /// Returns the account that the environment describes.
    ///
    /// # Errors
    ///
    /// If a variable is missing or wrong; all of them are named.
    pub fn provider(&self) -> anyhow::Result<Arc<dyn Provider>> {
        if let Some(value) = variable("STACK_CHAIN_LABELS") {
            use clap::ValueEnum as _;
            Dialect::from_str(&value, true).map_err(|_| {
                anyhow::anyhow!("STACK_CHAIN_LABELS is `{value}`; use dependsOn, depends-on or both")
            })?;
        }
        let names = [
            "SPACELIFT_API_KEY_ENDPOINT",
            "SPACELIFT_API_KEY_ID",
            "SPACELIFT_API_KEY_SECRET",
        ];
        let missing: Vec<&str> = names
            .into_iter()
            .filter(|name| variable(name).is_none())
            .collect();
        if !missing.is_empty() {
            anyhow::bail!(
                "{} not set; create an API key in Spacelift and set what spacectl uses",
                missing.join(", ")
            );
        }
        let [endpoint, id, secret] = names.map(|name| variable(name).unwrap_or_default());
        let config = Config::try_new(&endpoint, &id, secret.into()).context("Spacelift cannot be reached")?;
        Ok(Arc::new(Spacelift::new(config)))
    }
}
