//! The location of a ledger.

use std::fmt;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use crate::address::Address;
use crate::error::{ErrorKind, LedgerError};
use crate::problem::Problem;

/// The location of a ledger. Its displayed form has no password.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Location {
    /// An SQLite file, created on first use.
    Sqlite(PathBuf),
    /// A PostgreSQL database.
    Postgres(SecretString),
}

/// Keywords of an address in the form `host=db dbname=capacity`.
const KEYWORDS: [&str; 7] = [
    "host", "hostaddr", "port", "dbname", "user", "password", "sslmode",
];

impl Location {
    /// Parses a location: a path, `sqlite:PATH`, or `postgres://...`.
    ///
    /// # Errors
    ///
    /// If it is empty, refers to another kind of database, or does not look like the path of a file. The
    /// error contains nothing that may be part of a password.
    pub fn parse(text: &str) -> Result<Self, LedgerError> {
        let text = text.trim();
        let read = match postgres_address(text) {
            Some(address) => Address::parse(address).map(|_| Self::Postgres(text.into())),
            None => file(text).map(Self::Sqlite),
        };
        read.map_err(|problem| LedgerError::new(ErrorKind::Location, "", problem))
    }

    /// Parses the address of a PostgreSQL database.
    pub(crate) fn address(url: &SecretString) -> Result<Address<'_>, Problem> {
        let url = url.expose_secret();
        Address::parse(postgres_address(url).unwrap_or(url))
    }
}

/// Returns the part after the scheme, if the text is a PostgreSQL address.
fn postgres_address(text: &str) -> Option<&str> {
    let (scheme, address) = text.split_once("://")?;
    let is_ours = ["postgres", "postgresql"]
        .iter()
        .any(|it| it.eq_ignore_ascii_case(scheme));
    is_ours.then_some(address)
}

fn file(text: &str) -> Result<PathBuf, Problem> {
    let (path, is_explicit) = match text.strip_prefix("sqlite:") {
        Some(path) => (path.strip_prefix("//").unwrap_or(path), true),
        None => (text, false),
    };
    if path.is_empty() {
        return Err("it is empty".into());
    }
    let problem = if path.starts_with('~') {
        "`~` is not expanded here; use the full path"
    } else if path.starts_with('$') || path.starts_with('%') {
        "variables are not expanded here; use the full path"
    } else if path.ends_with(['/', '\\']) {
        "it is a folder; add a file name"
    } else if path.contains(":memory:") {
        "a database in memory would be lost at the end of each command"
    } else if path.contains('?') {
        "parameters after the path of an SQLite file are not supported"
    } else if let Some((scheme, _)) = path.split_once("://")
        && !is_explicit
        && scheme.chars().all(|character| character.is_ascii_alphabetic())
    {
        return Err(format!("{scheme}:// is not supported").into());
    } else if !is_explicit && is_address(path) {
        "it looks like a database address, not a path; to use a file of that name, prefix it with sqlite:"
    } else {
        return Ok(path.into());
    };
    Err(problem.into())
}

/// Returns whether text without one of our schemes looks like an address: `host=db dbname=led`, `localhost:5432/led`,
/// `me@db/led`, `mysql://db/led`.
fn is_address(text: &str) -> bool {
    let has_keywords = text.split_whitespace().any(|word| {
        word.split_once('=')
            .is_some_and(|(keyword, _)| KEYWORDS.contains(&keyword))
    });
    let first = text.split(['/', '\\']).next().unwrap_or_default();
    // A single letter before the colon is a drive.
    let has_port_or_scheme = first.find(':').is_some_and(|place| place > 1);
    has_keywords || has_port_or_scheme || (first.contains('@') && text.contains('/'))
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(url) => match Self::address(url) {
                Ok(address) => address.fmt(f),
                Err(_) => f.write_str("postgres://"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("ledger.db", "ledger.db")]
    #[case(" ./host=a/ledger.db\n", "./host=a/ledger.db")]
    #[case("ledger@prod.db", "ledger@prod.db")]
    #[case("C:\\ledger.db", "C:\\ledger.db")]
    #[case("sqlite:data/ledger.db", "data/ledger.db")]
    #[case("sqlite:localhost:5432/led", "localhost:5432/led")]
    #[case("sqlite:///var/ledger.db", "/var/ledger.db")]
    #[case(
        "postgres://me:s3cret@db:5432/capacity?sslmode=require",
        "postgres://db:5432/capacity"
    )]
    #[case("PostgreSQL://me:s3cret@[::1]:5432/led", "postgres://[::1]:5432/led")]
    #[case("postgres://db/led?user=me&password=a@s3cret", "postgres://db/led")]
    fn locations_are_parsed_and_shown_without_a_password(#[case] text: &str, #[case] shown: &str) {
        let location = Location::parse(text).expect("a location");
        assert_eq!(location.to_string(), shown);
        assert!(!format!("{location:?}").contains("s3cret"), "{location:?}");
    }

    #[rstest]
    #[case("", "it is empty")]
    #[case("mysql://me:s3cret@localhost/x", "mysql:// is not supported")]
    #[case("host=db dbname=led password=s3cret", "looks like a database address")]
    #[case("dbname=led", "looks like a database address")]
    #[case("localhost:5432/led", "looks like a database address")]
    #[case("me:s3cret@db/led", "looks like a database address")]
    #[case("postgres:/s3cret", "looks like a database address")]
    #[case("file:ledger.db", "looks like a database address")]
    #[case("~/ledger.db", "`~` is not expanded")]
    #[case("sqlite:~/ledger.db", "`~` is not expanded")]
    #[case("$HOME/ledger.db", "variables are not expanded")]
    #[case("/var/lib/", "it is a folder")]
    #[case(":memory:", "in memory")]
    #[case("sqlite:ledger.db?mode=ro", "are not supported")]
    #[case("postgres://me:s3cret/word@db/led", "%2F")]
    fn invalid_locations_are_refused_with_a_reason(#[case] text: &str, #[case] why: &str) {
        let error = Location::parse(text).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Location);
        assert!(error.to_string().contains(why), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}
