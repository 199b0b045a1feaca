//! Tests of errors that the program reports before it starts anything. They need no server.
#![allow(missing_docs, reason = "a test binary has no readers of its documentation")]

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use rstest::rstest;
use temporal_stack::place::{Place, Programs, Stack};
use temporal_stack::settings::{DEFAULT, Settings};

/// Runs the program with a separate home folder. Returns whether it succeeded, and its output.
fn run(home: &Path, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_temporal-stack"))
        .args(arguments)
        .env("TEMPORAL_STACK_HOME", home)
        .output()
        .expect("it runs");
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn refused(home: &Path, arguments: &[&str]) -> String {
    let (succeeded, said) = run(home, arguments);
    assert!(!succeeded, "{arguments:?} was not refused: {said}");
    said
}

/// Records a stack that has no running processes.
fn record(home: &Path) {
    let place = Place::find(Some(&home.join("run"))).expect("a place");
    std::fs::create_dir_all(place.folder()).expect("a folder");
    let stack = Stack {
        settings: Settings::parse(DEFAULT).expect("valid"),
        postgres_programs: "/nonexistent".into(),
        programs: Programs {
            server: "/nonexistent/temporal-server".into(),
            sql_tool: "/nonexistent/temporal-sql-tool".into(),
            ui: "/nonexistent/temporal-ui-server".into(),
            pgbouncer: "/nonexistent/pgbouncer".into(),
        },
        simulated_cloud: true,
    };
    place.record(&stack).expect("recorded");
}

#[rstest]
#[case::status(&["status"])]
#[case::down(&["down"])]
#[case::restart(&["restart", "history"])]
fn without_a_stack_every_command_says_how_to_start_one(#[case] arguments: &[&str]) {
    let home = tempfile::tempdir().expect("a folder");
    let said = refused(home.path(), arguments);
    assert!(said.contains("start one with deploy/stack/up"), "{said}");
}

#[test]
fn a_port_in_use_is_reported_before_anything_is_started() {
    let home = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.91.0.1:5432").expect("a port");
    let settings = home.path().join("stack.toml");
    std::fs::write(&settings, DEFAULT.replace("127.77", "127.91")).expect("written");
    let said = refused(
        home.path(),
        &["up", "--settings", settings.to_str().expect("text")],
    );
    assert!(said.contains("127.91.0.1:5432 for postgres"), "{said}");
    assert!(
        said.contains("Nothing was started") && said.contains("network.loopback"),
        "{said}"
    );
    assert!(!home.path().join("run/database").exists(), "something was set up");
    drop(taken);
}

#[test]
fn every_mistake_in_the_settings_is_reported() {
    let home = tempfile::tempdir().expect("a folder");
    let settings = home.path().join("stack.toml");
    std::fs::write(
        &settings,
        "[server]\nversion = \"latest\"\n[replicas]\nhistory = 0\n",
    )
    .expect("written");
    let said = refused(
        home.path(),
        &["up", "--settings", settings.to_str().expect("text")],
    );
    for part in ["stack.toml", "server.version", "replicas.history = 0"] {
        assert!(said.contains(part), "{said}");
    }
}

#[rstest]
#[case::shards(
    "history_shards = 4",
    "history_shards = 8",
    "fixed for the life of the cluster"
)]
#[case::version(
    "version = \"1.29.1\"",
    "version = \"1.30.8\"",
    "temporal-stack upgrade 1.30.8"
)]
fn up_refuses_changes_that_it_cannot_make(#[case] from: &str, #[case] to: &str, #[case] expected: &str) {
    let home = tempfile::tempdir().expect("a folder");
    record(home.path());
    let settings = home.path().join("stack.toml");
    std::fs::write(&settings, DEFAULT.replacen(from, to, 1)).expect("written");
    let said = refused(
        home.path(),
        &["up", "--settings", settings.to_str().expect("text")],
    );
    assert!(said.contains(expected), "{said}");
}

#[rstest]
#[case::restart(&["restart", "history"], "refused half of all workflow starts")]
#[case::upgrade(&["upgrade", "1.30.8"], "--replicas 2")]
#[case::skipped(&["upgrade", "1.31.4"], "to 1.30.x first")]
#[case::back(&["upgrade", "1.28.0"], "cannot be downgraded")]
#[case::unknown(&["restart", "historian"], "not a role of this stack")]
#[case::stopped(&["drain", "history"], "no history process is running")]
fn disruptive_or_impossible_commands_are_refused(#[case] arguments: &[&str], #[case] expected: &str) {
    let home = tempfile::tempdir().expect("a folder");
    record(home.path());
    let said = refused(home.path(), arguments);
    assert!(said.contains(expected), "{said}");
}

#[test]
fn status_shows_a_line_per_process_and_fails_if_one_does_not_serve() {
    let home = tempfile::tempdir().expect("a folder");
    record(home.path());
    let output = Command::new(env!("CARGO_BIN_EXE_temporal-stack"))
        .arg("status")
        .env("TEMPORAL_STACK_HOME", home.path())
        .output()
        .expect("it runs");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{shown}");
    let names: Vec<&str> = shown
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let expected = [
        "postgres",
        "pgbouncer",
        "history-1",
        "matching-1",
        "frontend-1",
        "worker-1",
        "ui",
        "cloud",
        "capacity-worker",
    ];
    assert_eq!(names, expected);
    assert!(
        shown.lines().all(|line| line.ends_with(" -")),
        "the process id comes last: {shown}"
    );
}

#[test]
fn only_one_command_at_a_time_runs_in_a_run_directory() {
    let home = tempfile::tempdir().expect("a folder");
    record(home.path());
    let place = Place::find(Some(&home.path().join("run"))).expect("a place");
    let _held = temporal_stack::run::lock(&place).expect("locked");
    let said = refused(home.path(), &["down"]);
    assert!(said.contains("another temporal-stack command"), "{said}");
}
