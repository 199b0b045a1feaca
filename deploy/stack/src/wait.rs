//! Waits on readiness: each says what it waits for, and ends immediately when the process it waits for dies.

use std::time::{Duration, Instant};

use crate::place::Place;
use crate::process::{State, last_lines, state};
use crate::tell;

/// A wait that takes longer is announced.
const SILENT: Duration = Duration::from_secs(2);

/// How often it is announced again.
const AGAIN: Duration = Duration::from_secs(10);

/// No start takes that long; what was started keeps running.
const BOUND: Duration = Duration::from_mins(5);

/// Between two probes.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits until a probe succeeds. The probe's error says what is missing.
///
/// # Errors
///
/// If the process dies, or the probe has not succeeded after five minutes.
pub(crate) async fn until<T>(
    place: &Place,
    process: Option<&str>,
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<T, String>,
) -> anyhow::Result<T> {
    let begun = Instant::now();
    let mut announced: Option<Instant> = None;
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
        if let Some(name) = process
            && !matches!(state(place, name), State::Running(_))
        {
            anyhow::bail!(
                "{name} died while starting. The end of its log ({}):\n{}\n{}",
                place.log(name).display(),
                last_lines(place, name, 5),
                remedy(&last_lines(place, name, 20))
            );
        }
        anyhow::ensure!(
            begun.elapsed() < BOUND,
            "{what}: not ready after {} minutes: {missing}. What was started keeps running: see `temporal-stack status`",
            BOUND.as_secs() / 60
        );
        let is_due = match announced {
            None => begun.elapsed() > SILENT,
            Some(last) => last.elapsed() > AGAIN,
        };
        if is_due {
            announced = Some(Instant::now());
            tell(&format!("waiting for {what}: {missing}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What to do about a process that ended with these lines.
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
            "The password in the run directory is not that of the database: is another PostgreSQL listening there?",
        ),
        (
            "no pg_hba.conf entry",
            "The database accepts no connections from here: check pg_hba.conf.",
        ),
        (
            "too many clients",
            "PostgreSQL has no connection left: raise database.max_connections in stack.toml.",
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
    fn a_death_comes_with_a_remedy(#[case] lines: &str, #[case] expected: &str) {
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
        let probe = async || Err::<(), _>("it is not serving".to_owned());
        let error = until(&place, Some("history-1"), "history-1", probe).await;
        let said = error.expect_err("it died").to_string();
        for part in [
            "history-1 died while starting",
            "no space left on device",
            "The disk is full",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }
}
