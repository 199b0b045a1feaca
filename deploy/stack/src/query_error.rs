//! Errors of database queries: the message, whether waiting helps, and the remedy.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The server that was queried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// PostgreSQL itself.
    Postgres,
    /// The pooler in front of PostgreSQL.
    PgBouncer,
}

impl Server {
    /// Returns the name of the server's process.
    fn process(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::PgBouncer => "pgbouncer",
        }
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Postgres => "PostgreSQL",
            Self::PgBouncer => "PgBouncer",
        })
    }
}

/// A failed query. Never contains the password.
#[derive(Debug, thiserror::Error)]
#[error("{server} at {address}, database {database}: {failure}")]
pub struct QueryError {
    pub(crate) server: Server,
    pub(crate) address: String,
    pub(crate) database: String,
    pub(crate) password_file: PathBuf,
    pub(crate) failure: Failure,
}

/// The cause of a failed query.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The password file cannot be read.
    #[error("{0:#}")]
    PasswordFile(anyhow::Error),
    /// psql cannot be run.
    #[error("cannot run psql: {0}")]
    Psql(io::Error),
    /// There was no response in time.
    #[error("no response within {} s", .0.as_secs())]
    Late(Duration),
    /// The password was rejected.
    #[error("{0}")]
    Password(String),
    /// The user does not exist.
    #[error("{0}")]
    User(String),
    /// The database does not exist.
    #[error("{0}")]
    Database(String),
    /// Connections from this address are not accepted.
    #[error("{0}")]
    Access(String),
    /// Any other error, with its message.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// Parses the error output of psql.
    pub(crate) fn of(stderr: &str) -> Self {
        let lines: Vec<&str> = stderr.lines().map(str::trim).collect();
        let said = lines.join(" ");
        let mut said = said.trim();
        for prefix in ["psql:", "error:"] {
            said = said.strip_prefix(prefix).unwrap_or(said).trim_start();
        }
        // The surrounding error already contains the address.
        if let Some((_, cause)) = said.split_once(" failed: ")
            && said.starts_with("connection to server")
        {
            said = cause;
        }
        for prefix in ["FATAL:", "ERROR:"] {
            said = said.strip_prefix(prefix).unwrap_or(said).trim_start();
        }
        let said = said
            .split_once(" Is the server running on that host")
            .map_or(said, |(cause, _)| cause)
            .to_owned();
        // psql shows no error code for a failed connection, so only the message is left.
        let has = |part: &str| said.contains(part);
        if has("password authentication failed")
            || has("SASL authentication failed")
            || has("no password supplied")
        {
            Self::Password(said)
        } else if has("no such user") || (has("role \"") && has("does not exist")) {
            Self::User(said)
        } else if has("no such database") || (has("database \"") && has("does not exist")) {
            Self::Database(said)
        } else if has("no pg_hba.conf entry") {
            Self::Access(said)
        } else {
            Self::Other(said)
        }
    }
}

impl QueryError {
    /// Returns the cause, without the address.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    /// Returns whether a retry can succeed without a change.
    pub fn is_passing(&self) -> bool {
        match &self.failure {
            // Unknown errors are most often those of a server that is still starting, and the wait has a
            // limit.
            Failure::Late(_) | Failure::Other(_) => true,
            Failure::PasswordFile(_)
            | Failure::Psql(_)
            | Failure::Password(_)
            | Failure::User(_)
            | Failure::Database(_)
            | Failure::Access(_) => false,
        }
    }

    /// Returns how to fix the failure.
    pub fn remedy(&self) -> String {
        let name = self.server.process();
        match (&self.failure, self.server) {
            (Failure::PasswordFile(_), _) => "if that file is missing, restore it from a backup; otherwise make it readable for this user".to_owned(),
            (Failure::Psql(_), _) => "run `apt-get install postgresql-client`, or put psql on PATH".to_owned(),
            (Failure::Password(_), Server::Postgres) => format!(
                "the password in {} is not the one that the databases were created with: restore that file. If it is lost, run \
                 `temporal-stack down`, set a new one with `alter role` in PostgreSQL's single-user mode (`postgres --single`), \
                 and write it to that file",
                self.password_file.display()
            ),
            (Failure::Password(_) | Failure::User(_), Server::PgBouncer) => format!(
                "PgBouncer uses a different password than the one in {}: `temporal-stack restart pgbouncer` makes it read that file",
                self.password_file.display()
            ),
            (Failure::User(_), Server::Postgres) => {
                "the databases of this stack belong to that user, so another PostgreSQL may be listening there: check network.loopback in stack.toml. \
                 Otherwise restore the databases from a backup"
                    .to_owned()
            }
            (Failure::Database(_), _) => "`temporal-stack schema` creates it".to_owned(),
            (Failure::Access(_), _) => {
                "add this machine's address to pg_hba.conf, then run `temporal-stack restart postgres`".to_owned()
            }
            (Failure::Late(_) | Failure::Other(_), _) => format!(
                "`deploy/stack/up` starts it if it is not running; `temporal-stack logs {name}` shows why it stopped"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// Messages as printed by psql 15.
    #[rstest]
    #[case::password(
        "psql: error: connection to server at \"127.77.0.1\", port 5432 failed: FATAL:  password authentication failed for user \"temporal\"\n",
        "password authentication failed for user \"temporal\"",
        false
    )]
    #[case::user(
        "psql: error: connection to server at \"127.77.0.1\", port 5432 failed: FATAL:  role \"temporal\" does not exist\n",
        "role \"temporal\" does not exist",
        false
    )]
    #[case::database(
        "psql: error: connection to server at \"127.77.0.1\", port 5432 failed: FATAL:  database \"temporal\" does not exist\n",
        "database \"temporal\" does not exist",
        false
    )]
    #[case::pooled_database(
        "psql: error: connection to server at \"127.77.0.1\", port 6432 failed: FATAL:  no such database: temporal\n",
        "no such database: temporal",
        false
    )]
    #[case::starting(
        "psql: error: connection to server at \"127.77.0.1\", port 5432 failed: FATAL:  the database system is starting up\n",
        "the database system is starting up",
        true
    )]
    #[case::nobody(
        "psql: error: connection to server at \"127.77.0.1\", port 5432 failed: Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?\n",
        "Connection refused",
        true
    )]
    #[case::statement(
        "ERROR:  relation \"it\" does not exist\nLINE 1: select 1 from it\n",
        "relation \"it\" does not exist LINE 1: select 1 from it",
        true
    )]
    fn error_output_of_psql_is_classified(
        #[case] stderr: &str,
        #[case] said: &str,
        #[case] is_passing: bool,
    ) {
        let error = QueryError {
            server: Server::Postgres,
            address: "127.77.0.1:5432".to_owned(),
            database: "temporal".to_owned(),
            password_file: "/run/stack/password".into(),
            failure: Failure::of(stderr),
        };
        assert_eq!(error.failure().to_string(), said);
        assert_eq!(error.is_passing(), is_passing, "{error}");
        assert!(!error.remedy().is_empty());
    }

    #[test]
    fn the_remedy_for_a_wrong_password_names_the_password_file() {
        let error = QueryError {
            server: Server::Postgres,
            address: "127.77.0.1:5432".to_owned(),
            database: "postgres".to_owned(),
            password_file: "/run/stack/password".into(),
            failure: Failure::of("FATAL:  password authentication failed for user \"temporal\""),
        };
        assert!(
            error.remedy().contains("the password in /run/stack/password"),
            "{}",
            error.remedy()
        );
    }
}
