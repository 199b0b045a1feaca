//! Where a ledger is.

use std::fmt;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use crate::error::{ErrorKind, LedgerError};

/// Where a ledger is. Shown without its password.
#[derive(Debug, Clone)]
pub enum Location {
    /// An SQLite file, made on first use.
    Sqlite(PathBuf),
    /// A PostgreSQL database.
    Postgres(SecretString),
}

impl Location {
    /// Reads a location: a path, `sqlite:PATH`, or `postgres://...`.
    ///
    /// # Errors
    ///
    /// If it is empty or of another kind of database.
    pub fn parse(text: &str) -> Result<Self, LedgerError> {
        let text = text.trim();
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(text.into()));
        }
        let path = text.strip_prefix("sqlite:").unwrap_or(text);
        let path = path.strip_prefix("//").unwrap_or(path);
        let problem = if path.is_empty() {
            "it is empty".to_owned()
        } else if let Some((scheme, _)) = path.split_once("://") {
            format!("`{scheme}` is no kind of database that is known")
        } else {
            return Ok(Self::Sqlite(path.into()));
        };
        Err(LedgerError::new(ErrorKind::Location, "", problem))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(url) => {
                let url = url.expose_secret();
                let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
                // Without whoever logs in, and without options.
                let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
                let place = place.split('?').next().unwrap_or_default();
                write!(f, "postgres://{place}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("ledger.db", "ledger.db")]
    #[case("sqlite:data/ledger.db", "data/ledger.db")]
    #[case("sqlite:///var/ledger.db", "/var/ledger.db")]
    #[case(
        "postgres://me:s3cret@db:5432/capacity?sslmode=require",
        "postgres://db:5432/capacity"
    )]
    fn locations_are_read_and_shown_without_a_password(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(Location::parse(text).expect("a location").to_string(), shown);
    }

    #[rstest]
    #[case("")]
    #[case("mysql://localhost/x")]
    fn what_is_none_is_refused(#[case] text: &str) {
        assert_eq!(
            Location::parse(text).expect_err("none").kind(),
            ErrorKind::Location
        );
    }
}
