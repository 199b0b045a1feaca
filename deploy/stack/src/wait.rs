//! Waits until a component is ready. Shows what it is waiting for, and fails immediately if a process dies or
//! if waiting cannot help.

use std::time::{Duration, Instant};

use crate::client::NotServing;
use crate::handshake::RENEW;
use crate::place::Place;
use crate::process::{State, last_lines, last_words, names, state};
use crate::query_error::QueryError;
use crate::tell;

/// A wait that takes longer than this is announced.
const SILENT: Duration = Duration::from_secs(2);

/// Interval between progress messages.
const AGAIN: Duration = Duration::from_secs(10);

/// Timeout for a start. Started processes keep running after it.
const BOUND: Duration = Duration::from_mins(5);

/// Pause between two probes.
const PAUSE: Duration = Duration::from_millis(100);

/// Roles reload certificates once per minute, so problems with them may go away within this time.
const REREAD: Duration = Duration::from_secs(90);

/// Why a component is not ready.
#[derive(Debug)]
pub(crate) struct NotReady {
    /// What is missing, and the remedy if waiting does not help.
    text: String,
    /// How long waiting can help.
    patience: Duration,
}

impl NotReady {
    /// Returns a reason that usually resolves itself while waiting.
    pub(crate) fn yet(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            patience: BOUND,
        }
    }
}

impl From<QueryError> for NotReady {
    fn from(error: QueryError) -> Self {
        if error.is_passing() {
            Self::yet(error.to_string())
        } else {
            Self {
                text: format!("{error}. {}. Nothing was changed", capitalized(&error.remedy())),
                patience: Duration::ZERO,
            }
        }
    }
}

impl From<NotServing> for NotReady {
    fn from(problem: NotServing) -> Self {
        match problem {
            NotServing::Database(error) => error.into(),
            NotServing::Handshake(error) if error.is_about_certificates() => Self {
                text: format!("{error}. {}", capitalized(RENEW)),
                patience: REREAD,
            },
            problem => Self::yet(problem.to_string()),
        }
    }
}

/// Capitalizes the first letter.
fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}

/// Waits until a probe succeeds. The probe's error describes what is missing.
///
/// # Errors
///
/// If a process of the stack dies, if waiting cannot help, or if the probe has not succeeded within five
/// minutes.
pub(crate) async fn until<T>(
    place: &Place,
    process: Option<&str>,
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<T, NotReady>,
) -> anyhow::Result<T> {
    let begun = Instant::now();
    let mut announced: Option<Instant> = None;
    let is_running = |name: &String| matches!(state(place, name), State::Running(_));
    // Not only this process: without PostgreSQL, for example, a role never becomes ready.
    let mut watched: Vec<String> = names(place).into_iter().filter(is_running).collect();
    // The process may have died already.
    watched.extend(process.map(str::to_owned));
    loop {
        let missing = match probe().await {
            Ok(found) => {
                if announced.is_some() {
                    tell(&format!("{what}: after {} s", begun.elapsed().as_secs()));
                }
                return Ok(found);
            }
            Err(missing) => missing,
        };
        if let Some(name) = watched.iter().find(|name| !is_running(name)) {
            let when = if process == Some(name.as_str()) {
                "while starting".to_owned()
            } else {
                format!("while waiting for {what}")
            };
            let words = last_words(place, name);
            anyhow::bail!(
                "{name} died {when}. The end of its log ({}):\n{words}\n{}",
                place.log(name).display(),
                // The decisive line may be above those that are shown.
                remedy(&format!("{words}\n{}", last_lines(place, name, 20)))
            );
        }
        if begun.elapsed() >= missing.patience {
            let text = missing.text;
            let failed = if missing.patience.is_zero() {
                if text.starts_with(what) {
                    text
                } else {
                    format!("{what}: {text}")
                }
            } else {
                format!("{what}: not ready after {} s: {text}", begun.elapsed().as_secs())
            };
            anyhow::bail!("{failed}. Started processes keep running: see `temporal-stack status`");
        }
        let is_due = match announced {
            None => begun.elapsed() > SILENT,
            Some(last) => last.elapsed() > AGAIN,
        };
        if is_due {
            announced = Some(Instant::now());
            tell(&format!("waiting for {what}: {}", missing.text));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Returns the remedy for a process whose log ends with these lines.
fn remedy(lines: &str) -> &'static str {
    let table = [
        (
            "address already in use",
            "Another program uses that address: stop it, or set another network.loopback in stack.toml.",
        ),
        (
            "could not bind",
            "Another program uses that address: stop it, or set another network.loopback in stack.toml.",
        ),
        (
            "sql schema version compatibility check failed",
            "The schema is older than the server: run `temporal-stack schema`.",
        ),
        (
            "greater than actual version",
            "The schema is older than the server: run `temporal-stack schema`.",
        ),
        (
            "password authentication failed",
            "The password in the run directory does not match the database: is another PostgreSQL listening there?",
        ),
        (
            "no pg_hba.conf entry",
            "The database rejects connections from this machine: check pg_hba.conf.",
        ),
        (
            "too many clients",
            "PostgreSQL is out of connections: raise database.max_connections in stack.toml.",
        ),
        (
            "tls: ",
            "A certificate does not match: `temporal-stack certificates` issues new ones.",
        ),
        (
            "x509: ",
            "A certificate does not match: `temporal-stack certificates` issues new ones.",
        ),
        (
            "no space left",
            "The disk is full: free some space, then run `up` again.",
        ),
    ];
    let lines = lines.to_lowercase();
    let found = table.iter().find(|(sign, _)| lines.contains(sign));
    found.map_or(
        "Fix that, then run `up` again: running processes are left alone.",
        |(_, remedy)| *remedy,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Signal;
    use crate::query_error::{Failure, Server};
    use rstest::rstest;

    #[rstest]
    #[case(
        "listen tcp 127.77.2.1:7234: bind: address already in use",
        "Another program uses that address"
    )]
    #[case("sql schema version compatibility check failed", "temporal-stack schema")]
    #[case(
        "FATAL:  password authentication failed for user",
        "is another PostgreSQL listening there?"
    )]
    #[case(
        "tls: failed to find any PEM data in certificate input",
        "temporal-stack certificates"
    )]
    #[case("something else", "run `up` again")]
    fn a_crash_is_reported_with_a_remedy(#[case] lines: &str, #[case] expected: &str) {
        assert!(remedy(lines).contains(expected));
    }

    #[tokio::test]
    async fn a_process_that_dies_at_its_start_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::find(Some(folder.path())).expect("a place");
        for sub in ["logs", "pids"] {
            std::fs::create_dir_all(folder.path().join(sub)).expect("a folder");
        }
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "echo 'write failed: no space left on device' >&2; exit 1"]);
        crate::process::start(&place, "history-1", &mut command).expect("started");
        let probe = async || Err::<(), _>(NotReady::yet("it is not serving"));
        let error = until(&place, Some("history-1"), "history-1", probe).await;
        let said = error.expect_err("it died").to_string();
        for part in [
            "history-1 died while starting",
            "no space left on device",
            "The disk is full",
        ] {
            assert!(said.contains(part), "{said}");
        }
        // Another process that is running when the wait begins.
        crate::process::start(
            &place,
            "history-1",
            std::process::Command::new("sleep").arg("600"),
        )
        .expect("started");
        let probe = async || {
            crate::process::signal(&place, "history-1", Signal::Kill).expect("sent");
            Err::<(), _>(NotReady::yet("it is not serving"))
        };
        let error = until(&place, None, "the web UI", probe).await;
        let said = error.expect_err("it died").to_string();
        assert!(
            said.contains("history-1 died while waiting for the web UI"),
            "{said}"
        );
    }

    #[tokio::test]
    async fn permanent_problems_are_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::find(Some(folder.path())).expect("a place");
        let mut asked = 0;
        let probe = async || {
            asked += 1;
            let error = QueryError {
                server: Server::Postgres,
                address: "127.77.0.1:5432".to_owned(),
                database: "postgres".to_owned(),
                password_file: place.password_file(),
                failure: Failure::of("FATAL:  password authentication failed for user \"temporal\""),
            };
            Err::<(), _>(error.into())
        };
        let error = until(&place, None, "PostgreSQL at 127.77.0.1:5432", probe).await;
        let said = error.expect_err("not waited for").to_string();
        assert_eq!(asked, 1, "{said}");
        for part in [
            "password authentication failed for user \"temporal\"",
            "The password in ",
            "Nothing was changed",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }
}
