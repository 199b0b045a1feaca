//! Tests of failures around the process: output that cannot be written, signals, a time limit, and a webhook
//! that hangs. The work is finished or stopped between two steps, and always recorded and announced.

#![cfg(unix)]

mod world;

use std::io::Read;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use capacity_ledger::{ChangeRecord, Ledger, Location};
use cloud_simulator::{Account, Load, NamespaceSetup};
use jiff::SignedDuration;
use rstest::rstest;

use world::{World, options};

const APPLY: &[&str] = &["apply", "--yes", "--log-level", "debug"];

/// The target of a standard stream.
#[derive(Debug, Clone, Copy)]
enum Stream {
    /// A full disk.
    Full,
    /// A pipe with a closed reader.
    Closed,
    /// A pipe whose reader has stopped reading.
    Unread,
}

impl Stream {
    fn open(self) -> Stdio {
        match self {
            Self::Full => {
                let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
                full.expect("this runs on Linux").into()
            }
            Self::Closed => {
                let (reader, writer) = std::io::pipe().expect("a pipe");
                drop(reader);
                writer.into()
            }
            Self::Unread => {
                let (reader, writer) = std::io::pipe().expect("a pipe");
                // Keep the pipe open, without reading, until the tests end.
                std::mem::forget(reader);
                writer.into()
            }
        }
    }
}

/// Waits for a process up to a bound and returns its exit code.
fn code(child: &mut Child, bound: Duration) -> Option<i32> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status.code();
        }
        if begun.elapsed() > bound {
            child.kill().expect("killed");
            panic!("still running after {bound:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status();
    assert!(sent.expect("sent").success());
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_mins(1), "not {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn text(stream: Option<impl Read>) -> String {
    let mut text = String::new();
    stream.expect("piped").read_to_string(&mut text).expect("text");
    text
}

#[rstest]
#[case::output_on_a_full_disk(Some(Stream::Full), None)]
#[case::output_into_a_closed_pipe(Some(Stream::Closed), None)]
#[case::errors_on_a_full_disk(None, Some(Stream::Full))]
#[case::errors_into_a_closed_pipe(None, Some(Stream::Closed))]
#[case::errors_that_are_not_read(None, Some(Stream::Unread))]
#[case::both_full(Some(Stream::Full), Some(Stream::Full))]
#[case::both_closed(Some(Stream::Closed), Some(Stream::Closed))]
fn apply_loses_output_and_nothing_else(#[case] output: Option<Stream>, #[case] errors: Option<Stream>) {
    let world = World::new(options());
    let stream = |stream: Option<Stream>| stream.map_or_else(Stdio::null, Stream::open);
    let mut apply = world
        .process(&["apply", "--yes", "--log-level", "trace"])
        .stdout(stream(output))
        .stderr(stream(errors))
        .spawn()
        .expect("started");
    assert_eq!(code(&mut apply, Duration::from_secs(50)), Some(0));
    assert_eq!(world.cloud.changes().len(), 4);
    assert_eq!(world.recorded(), ["changed"; 4]);
    assert_eq!(world.cloud.slack_messages().len(), 1);
}

#[test]
fn apply_records_and_notifies_before_it_prints() {
    let mut options = options();
    // Produce more output than a pipe holds.
    let quiet = |number: u32| NamespaceSetup::new(format!("quiet-{number:03}"), Load::Steady(3.0));
    options.account.namespaces.extend((0..300).map(quiet));
    let world = World::new(options);
    let mut apply = world
        .process(&["apply", "--yes", "-o", "json"])
        .stdout(Stream::Unread.open())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    until("announced", || world.cloud.slack_messages().len() == 1);
    until("recorded", || world.recorded() == ["changed"; 4]);
    assert!(
        apply.try_wait().expect("a child").is_none(),
        "it waits for its reader"
    );
    // No work is left to finish.
    let asked = Instant::now();
    signal(&apply, "-TERM");
    assert_eq!(code(&mut apply, Duration::from_secs(10)), Some(143));
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
}

#[rstest]
#[case::plain(&["plan"], Stream::Closed, 0)]
#[case::changes_are_planned(&["plan", "--detailed-exitcode"], Stream::Closed, 2)]
#[case::a_result_that_is_lost_is_an_error(&["plan", "-o", "json"], Stream::Full, 1)]
#[case::settings(&["settings", "show"], Stream::Full, 1)]
fn commands_that_only_look(#[case] arguments: &[&str], #[case] output: Stream, #[case] expected: i32) {
    let world = World::new(options());
    let mut process = world
        .process(arguments)
        .stdout(output.open())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    assert_eq!(code(&mut process, Duration::from_secs(30)), Some(expected));
    let errors = text(process.stderr.take());
    assert!(!errors.contains("panicked"), "{errors}");
    if expected == 1 {
        assert!(errors.contains("cannot write to standard output: "), "{errors}");
    }
}

#[rstest]
#[case::ctrl_c("-INT", "SIGINT", 130)]
#[case::terminated("-TERM", "SIGTERM", 143)]
#[case::terminal_closed("-HUP", "SIGHUP", 129)]
fn a_signal_stops_apply_between_steps_and_unfinished_changes_are_recorded(
    #[case] sent: &str,
    #[case] name: &str,
    #[case] expected: i32,
) {
    let mut options = options();
    options.operation_lag = SignedDuration::from_hours(10);
    let world = World::new(options);
    let mut apply = world
        .process(APPLY)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    until("posted", || {
        world.cloud.requests().contains_key("POST /cloud/namespaces/{id}")
    });
    let asked = Instant::now();
    signal(&apply, sent);
    assert_eq!(code(&mut apply, Duration::from_secs(20)), Some(expected));
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    assert_eq!(
        world.recorded(),
        ["in_progress", "not_started", "not_started", "not_started"]
    );
    assert_eq!(world.cloud.slack_messages().len(), 1);
    let (output, errors) = (text(apply.stdout.take()), text(apply.stderr.take()));
    assert!(
        output.contains("in_progress") && output.contains("not_started"),
        "{output}"
    );
    let left = format!(
        "stopped by {name}: 4 changes are unfinished (1 in progress in Temporal Cloud, 3 not started)"
    );
    assert!(errors.contains(&left), "{errors}");
}

#[test]
fn the_next_apply_records_the_outcome_of_a_change_left_in_progress() {
    let mut options = options();
    options.operation_lag = SignedDuration::from_hours(10);
    let world = World::new(options);
    let mut apply = world
        .process(APPLY)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    until("posted", || {
        world.cloud.requests().contains_key("POST /cloud/namespaces/{id}")
    });
    signal(&apply, "-TERM");
    assert_eq!(code(&mut apply, Duration::from_mins(1)), Some(143));
    let dry_run = || {
        let mut command = world.process(&["apply"]);
        let output = command.env("DRY_RUN_MODE", "true").output().expect("ran");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let errors = dry_run();
    assert!(
        !errors.contains("an earlier change of"),
        "it is still running: {errors}"
    );
    assert!(world.recorded().iter().any(|it| it == "in_progress"));
    world.cloud.advance(SignedDuration::from_hours(11));
    until("ended", || {
        let errors = dry_run();
        errors.contains("an earlier change of checkout.a1b2c has finished: changed")
    });
    let recorded = world.recorded();
    assert!(
        recorded.iter().any(|it| it == "changed") && !recorded.iter().any(|it| it == "in_progress"),
        "{recorded:?}"
    );
}

#[test]
fn a_change_in_progress_of_a_namespace_that_was_deleted_has_failed() {
    let world = World::new(options());
    let ledger = Location::Sqlite(world.folder.path().join("ledger.db"));
    let change = ChangeRecord {
        operation_id: "change-1".to_owned(),
        account: "a1b2c".to_owned(),
        plan_id: "plan-1".to_owned(),
        namespace: "deleted.a1b2c".to_owned(),
        from_trus: 2,
        to_trus: 0,
        outcome: "in_progress".to_owned(),
        error: None,
        ended_at_ms: world.cloud.now().as_millisecond(),
        by: "ana@laptop (CLI)".to_owned(),
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let ledger = Ledger::open(&ledger).await.expect("opened");
        ledger.record_changes(&[change]).await.expect("recorded");
    });
    let apply = world.process(APPLY).output().expect("ran");
    let errors = String::from_utf8_lossy(&apply.stderr);
    assert!(
        errors.contains(
            "an earlier change of deleted.a1b2c has finished: failed: the namespace does not exist anymore"
        ),
        "{errors}"
    );
    let open = runtime.block_on(async {
        let ledger = Ledger::open(&ledger).await.expect("opened");
        ledger.changes_in_progress().await.expect("read")
    });
    assert_eq!(open, []);
}

#[test]
fn a_signal_before_the_first_change_changes_nothing() {
    let hanging = Hanging::listen();
    let world = World::new(options());
    let mut apply = world
        .process(APPLY)
        .env(
            "CLOUD_METRICS_API_BASE_URL",
            format!("http://{}", hanging.address),
        )
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    until("listed", || {
        world.cloud.requests().contains_key("GET /cloud/namespaces")
    });
    signal(&apply, "-TERM");
    assert_eq!(code(&mut apply, Duration::from_secs(5)), Some(143));
    let errors = text(apply.stderr.take());
    assert!(
        errors.contains("stopped by SIGTERM: nothing was changed"),
        "{errors}"
    );
    assert_eq!(world.cloud.changes(), []);
}

#[test]
fn the_time_limit_of_a_command_stops_apply_like_a_signal() {
    let mut options = options();
    options.operation_lag = SignedDuration::from_hours(10);
    let world = World::new(options);
    let mut apply = world
        .process(&["--command-timeout", "8s", "apply", "--yes"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    assert_eq!(code(&mut apply, Duration::from_secs(20)), Some(1));
    let errors = text(apply.stderr.take());
    assert!(
        errors.contains("did not finish within 8 s (--command-timeout): 4 changes"),
        "{errors}"
    );
    assert_eq!(
        world.recorded(),
        ["in_progress", "not_started", "not_started", "not_started"]
    );
}

/// A server that accepts connections and never responds.
struct Hanging {
    _listener: TcpListener,
    address: std::net::SocketAddr,
}

impl Hanging {
    fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        Self {
            _listener: listener,
            address,
        }
    }
}

#[test]
fn a_hanging_webhook_holds_apply_for_ten_seconds_and_a_second_signal_ends_it_at_once() {
    let hanging = Hanging::listen();
    let world = World::new(options());
    let apply = || {
        let mut command = world.process(APPLY);
        command
            .env(
                "SLACK_WEBHOOK_URL",
                format!("http://{}/services/x", hanging.address),
            )
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command.spawn().expect("started")
    };
    let mut first = apply();
    until("changed", || world.cloud.changes().len() == 4);
    let changed = Instant::now();
    assert_eq!(code(&mut first, Duration::from_secs(20)), Some(0));
    let held = changed.elapsed();
    assert!(
        held > Duration::from_secs(9) && held < Duration::from_secs(13),
        "{held:?}"
    );
    let errors = text(first.stderr.take());
    assert!(
        errors.contains("the channel was not notified: no response from 127.0.0.1 within 10 s"),
        "{errors}"
    );
    assert_eq!(world.recorded(), ["changed"; 4]);

    // An ongoing problem triggers another message.
    world.cloud.advance(SignedDuration::from_mins(6));
    let scrapes = || world.cloud.requests().get("GET /v1/metrics").copied();
    let before = scrapes();
    let mut second = apply();
    until("planned", || scrapes() > before);
    std::thread::sleep(Duration::from_secs(3));
    signal(&second, "-INT");
    std::thread::sleep(Duration::from_millis(300));
    assert!(
        second.try_wait().expect("a child").is_none(),
        "it still tries to notify"
    );
    let again = Instant::now();
    signal(&second, "-TERM");
    assert_eq!(code(&mut second, Duration::from_secs(5)), Some(143));
    assert!(again.elapsed() < Duration::from_secs(4), "{:?}", again.elapsed());
}

#[rstest]
#[case::simulator(&["cloud-simulator", "-o", "none"], "simulated cloud is running", 0)]
#[case::observing(&["plan", "--observe", "1h"], "observing for 3600 s", 143)]
fn other_long_commands_obey_sigterm(#[case] arguments: &[&str], #[case] begun: &str, #[case] expected: i32) {
    use std::io::BufRead;
    let world = World::new(options());
    let mut process = world
        .process(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut lines = std::io::BufReader::new(process.stderr.take().expect("piped")).lines();
    let found = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains(begun)));
    assert!(found.is_some(), "it never said `{begun}`");
    signal(&process, "-TERM");
    assert_eq!(code(&mut process, Duration::from_secs(10)), Some(expected));
}

#[test]
fn under_nohup_a_closed_terminal_stops_nothing() {
    let account = Account::new(
        "a1b2c",
        vec![NamespaceSetup::new("checkout", Load::Steady(560.0))],
    );
    let mut options = options();
    options.account = account;
    options.operation_lag = SignedDuration::from_mins(1);
    let world = World::new(options);
    let program = world.process(APPLY);
    let mut nohup = Command::new("nohup");
    nohup
        .arg(program.get_program())
        .args(program.get_args())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(
            program
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(world.folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut apply = nohup.spawn().expect("started");
    until("posted", || {
        world.cloud.requests().contains_key("POST /cloud/namespaces/{id}")
    });
    signal(&apply, "-HUP");
    assert_eq!(code(&mut apply, Duration::from_secs(30)), Some(0));
    assert_eq!(world.recorded(), ["changed"]);
}
