//! The stack for real: Temporal on PostgreSQL through `PgBouncer`, broken and upgraded on purpose. `.ci/full` runs it: the first
//! run builds the server with Go, and each test takes minutes.
#![allow(missing_docs, reason = "a test binary has no readers of its documentation")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use temporal_stack::client::connection;
use temporal_stack::database::direct;
use temporal_stack::doctor::probe::{complete, is_completed, start};
use temporal_stack::place::{DATABASES, Place, Stack};
use temporal_stack::process::{self, Signal, State};
use temporal_stack::settings::DEFAULT;
use temporalio_client::Client;
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::IntoRequest;
use temporalio_common::protos::temporal::api::workflowservice::v1::CountWorkflowExecutionsRequest;

const NAMESPACE: &str = "capacity";

/// A stack in its own folder, ended with the test.
struct Running {
    folder: PathBuf,
    settings: PathBuf,
    place: Place,
}

impl Drop for Running {
    fn drop(&mut self) {
        for name in process::names(&self.place) {
            let signal = if name == "postgres" {
                Signal::Interrupt
            } else {
                Signal::Kill
            };
            let _ = process::signal(&self.place, &name, signal);
        }
        if std::env::var_os("TEMPORAL_STACK_KEEP").is_none() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

impl Running {
    /// Prepares a folder; each test has its own addresses.
    fn new(loopback: &str, change: impl FnOnce(String) -> String) -> Self {
        // PostgreSQL's user must reach it.
        let folder = std::env::temp_dir().join(format!("temporal-stack-{loopback}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let settings = folder.join("stack.toml");
        std::fs::write(&settings, change(DEFAULT.replace("127.77", loopback))).expect("written");
        let place = Place::find(Some(&folder.join("run"))).expect("a place");
        Self {
            folder,
            settings,
            place,
        }
    }

    fn program(&self, program: &str, arguments: &[&str]) -> Output {
        // The server is built once, and kept next to the build.
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stack-home");
        let stack = Path::new(env!("CARGO_BIN_EXE_temporal-stack"));
        Command::new(stack.with_file_name(program))
            .args(arguments)
            .arg("--dir")
            .arg(self.place.folder())
            .env("TEMPORAL_STACK_HOME", home)
            .env_remove("TEMPORAL_CLOUD_OPS_API_KEY")
            .output()
            .expect("it runs")
    }

    /// Runs a command that must succeed.
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.program("temporal-stack", arguments);
        let said = text(&output);
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.program("temporal-stack", arguments);
        let said = text(&output);
        assert!(!output.status.success(), "{arguments:?} was not refused: {said}");
        said
    }

    fn up(&self, more: &[&str]) -> String {
        let settings = self.settings.to_str().expect("text");
        self.run(&[&["up", "--settings", settings], more].concat())
    }

    /// Returns whether the doctor exits with 0, and the checks that are not good, as `check: finding`.
    fn doctor(&self) -> (bool, Vec<String>) {
        let output = self.program("temporal-capacity", &["doctor", "stack", "-o", "json"]);
        let checks: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
        let bad = checks
            .iter()
            .filter(|check| check["verdict"] == "bad")
            .map(|check| {
                let remedy = check["remedy"].as_str().expect("a remedy");
                assert!(
                    remedy.contains("Remedy: "),
                    "why it matters, and what to do: {check}"
                );
                format!(
                    "{}: {}",
                    check["check"].as_str().expect("text"),
                    check["finding"].as_str().expect("text")
                )
            });
        (output.status.success(), bad.collect())
    }

    fn stack(&self) -> Stack {
        self.place.stack().expect("on record")
    }

    fn sql(&self, database: &str, sql: &str) {
        direct(&self.place, &self.stack(), database, sql).expect("done");
    }

    async fn client(&self) -> Client {
        let settings = connection(&self.place, &self.stack(), NAMESPACE);
        let begun = Instant::now();
        loop {
            match settings.connect().await {
                Ok(client) => return client,
                Err(error) => assert!(begun.elapsed() < Duration::from_mins(2), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn kill(&self, name: &str) {
        process::signal(&self.place, name, Signal::Kill).expect("sent");
    }
}

fn text(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]]
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat()
}

#[track_caller]
fn found(running: &Running, expected: &str) {
    let (is_good, bad) = running.doctor();
    assert!(!is_good, "the doctor exits with 0, and should find {expected}");
    assert!(
        bad.iter().any(|finding| finding.contains(expected)),
        "{expected} is missing in {bad:#?}"
    );
}

#[track_caller]
fn healthy(running: &Running) {
    let (is_good, bad) = running.doctor();
    assert!(is_good && bad.is_empty(), "{bad:#?}");
}

async fn completed_changes(client: &Client) -> i64 {
    let request = CountWorkflowExecutionsRequest {
        namespace: NAMESPACE.to_owned(),
        query: "WorkflowType = 'CapacityChange' AND ExecutionStatus = 'Completed'".to_owned(),
    };
    let counted =
        WorkflowService::count_workflow_executions(&mut client.clone(), request.into_request()).await;
    counted.expect("counted").into_inner().count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a whole stack: .ci/full"]
async fn the_stack_comes_up_and_the_doctor_finds_what_is_broken() {
    let running = Running::new("127.92", |text| text);
    running.up(&[]);
    let status = running.run(&["status"]);
    assert_eq!(
        status.lines().filter(|line| line.contains(" serving ")).count(),
        9,
        "{status}"
    );
    healthy(&running);

    // The autopilot works on it: a change of the simulated cloud is carried out and verified.
    let client = running.client().await;
    let begun = Instant::now();
    while completed_changes(&client).await == 0 {
        assert!(
            begun.elapsed() < Duration::from_mins(5),
            "no change was completed"
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    // Up again changes nothing.
    let before = running.run(&["status"]);
    running.up(&[]);
    assert_eq!(running.run(&["status"]), before, "no process was restarted");
    assert!(running.run(&["apply", "--dry-run"]).contains("nothing to change"));

    // Matching dead: `cluster health` would not notice.
    running.kill("matching-1");
    found(&running, "process matching-1: died");
    found(&running, "round trip: matching");
    running.up(&[]);
    healthy(&running);

    running.kill("pgbouncer");
    found(&running, "PgBouncer");
    running.up(&[]);
    healthy(&running);

    // A schema that is older than the server.
    running.sql(DATABASES[0], "update schema_version set curr_version = '1.17'");
    found(&running, "schema of temporal: 1.17, and server 1.29.1 needs 1.18");
    assert!(
        running
            .run(&["schema"])
            .contains("upgrading the schema of `temporal` from 1.17 to 1.18")
    );
    healthy(&running);

    // A schema that is newer, and a database of something else, are refused and left alone.
    running.sql(DATABASES[1], "update schema_version set curr_version = '1.99'");
    let said = running.refused(&["schema"]);
    assert!(said.contains("newer than 1.9 of this server"), "{said}");
    running.sql(DATABASES[1], "update schema_version set curr_version = '0.0'");
    let said = running.refused(&["schema"]);
    assert!(said.contains("claims schema 0.0 and holds workflows"), "{said}");
    running.sql(DATABASES[1], "update schema_version set curr_version = '1.9'");

    // A namespace and a search attribute that went missing, and a key that the server ignores.
    let declared = std::fs::read_to_string(&running.settings).expect("readable");
    let more = declared.replace(
        "{ CapacityNamespace = \"Keyword\" }",
        "{ CapacityNamespace = \"Keyword\", Owner = \"Keyword\" }",
    ) + "\"limit.maxIDLenght\" = 255\n";
    std::fs::write(&running.settings, more).expect("written");
    let settings = running.settings.to_str().expect("text");
    let said = running.refused(&["apply", "--settings", settings, "--dry-run"]);
    assert!(
        said.contains("+ namespace capacity: search attribute Owner (Keyword)"),
        "{said}"
    );
    running.run(&["apply", "--settings", settings]);
    assert!(
        running
            .run(&["apply", "--settings", settings])
            .contains("nothing to change")
    );
    running.up(&[]);
    let output = running.program("temporal-capacity", &["doctor", "stack"]);
    let begun = Instant::now();
    let mut shown = text(&output);
    while !shown.contains("limit.maxIDLenght") {
        assert!(
            begun.elapsed() < Duration::from_mins(1),
            "the ignored key is not reported: {shown}"
        );
        shown = text(&running.program("temporal-capacity", &["doctor", "stack"]));
    }
    assert!(output.status.success(), "warnings only: {shown}");

    // A certificate of a wrong authority.
    let authority = running.place.tls().join("client-ca.pem");
    let kept = std::fs::read(&authority).expect("readable");
    std::fs::copy(running.place.tls().join("internode-ca.pem"), &authority).expect("copied");
    found(&running, "certificate of frontend-1");
    std::fs::write(&authority, kept).expect("written");

    running.kill("capacity-worker");
    found(&running, "process capacity-worker: died");
    running.run(&["down"]);
    running.up(&[]);
    healthy(&running);
}

#[tokio::test]
#[ignore = "starts PostgreSQL and builds the server: .ci/full"]
async fn a_database_that_is_not_ours_or_half_set_up_is_recognized() {
    let running = Running::new("127.95", |text| text);
    running.up(&["--without-autopilot"]);
    running.run(&["down"]);
    // PostgreSQL alone, with the databases as an interrupted set-up leaves them.
    running.up(&["--without-autopilot"]);
    for name in [
        "history-1",
        "matching-1",
        "frontend-1",
        "worker-1",
        "ui",
        "pgbouncer",
    ] {
        running.kill(name);
        assert!(process::ended(&running.place, name, Duration::from_mins(1)).await);
    }
    let (main, visibility) = (DATABASES[0], DATABASES[1]);
    running.sql("postgres", &format!("drop database {visibility} with (force)"));
    running.sql("postgres", &format!("create database {visibility}"));
    running.sql(visibility, "create table invoices (id int)");
    let said = running.refused(&["schema"]);
    assert!(said.contains("holds something else (invoices)"), "{said}");
    let said = running.refused(&["up", "--settings", running.settings.to_str().expect("text")]);
    assert!(said.contains("holds something else (invoices)"), "{said}");
    running.sql(visibility, "drop table invoices");
    assert!(running.run(&["schema"]).contains("setting up schema 1.9"));
    // Both databases mixed up.
    running.sql("postgres", &format!("drop database {main} with (force)"));
    running.sql(
        "postgres",
        &format!("create database {main} template {visibility}"),
    );
    let said = running.refused(&["schema"]);
    assert!(said.contains("are the two databases mixed up?"), "{said}");
    // An interrupted set-up: the tables of versions, and a few others.
    running.sql("postgres", &format!("drop database {main} with (force)"));
    running.sql("postgres", &format!("create database {main}"));
    running.sql(
        main,
        "create table schema_version (version_partition int not null, db_name varchar(255) not null, creation_time timestamp, \
         curr_version varchar(64), min_compatible_version varchar(64), primary key (version_partition, db_name)); \
         create table schema_update_history (version_partition int not null, year int not null, month int not null, \
         update_time timestamp not null, description varchar(255), manifest_md5 varchar(64), new_version varchar(64), \
         old_version varchar(64), primary key (version_partition, year, month, update_time)); \
         create table namespace_metadata (partition_id integer not null, notification_version bigint not null, primary key (partition_id)); \
         create table namespaces (partition_id integer not null, id bytea not null, name varchar(255) unique not null, \
         notification_version bigint not null, data bytea not null, data_encoding varchar(16) not null, is_global boolean not null, \
         primary key (partition_id, id)); \
         insert into schema_version values (0, 'temporal', now(), '0.0', '0.0')",
    );
    assert!(
        running
            .run(&["schema"])
            .contains("half applied (version 0.0): continuing to 1.18")
    );
    running.up(&["--without-autopilot"]);
    healthy(&running);
}

/// Starts workflows and completes them until it is stopped.
struct Load {
    stop: Arc<AtomicBool>,
    starter: tokio::task::JoinHandle<(Vec<(String, String)>, usize)>,
    pollers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn begin(client: &Client, name: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let pollers = (0..2).map(|_| {
            let (client, stop) = (client.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let polled =
                        tokio::time::timeout(Duration::from_secs(10), complete(&client, NAMESPACE)).await;
                    if !matches!(polled, Ok(Ok(()))) {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            })
        });
        let pollers = pollers.collect();
        let (client, stopped, name) = (client.clone(), Arc::clone(&stop), name.to_owned());
        let starter = tokio::spawn(async move {
            let (mut started, mut refused) = (Vec::new(), 0);
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let id = format!("{name}-{number}");
                match tokio::time::timeout(Duration::from_secs(10), start(&client, NAMESPACE, &id)).await {
                    Ok(Ok(run)) => started.push((id, run)),
                    _ => refused += 1,
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            (started, refused)
        });
        Self {
            stop,
            starter,
            pollers,
        }
    }

    /// Stops starting, and follows each workflow that was started to its end. Returns how many there were, and how many starts
    /// were refused.
    async fn end(self, client: &Client) -> (usize, usize) {
        let begun = Instant::now();
        self.stop.store(true, Ordering::Relaxed);
        let (started, refused) = self.starter.await.expect("it ran");
        for poller in self.pollers {
            poller.await.expect("it ran");
        }
        for (id, run) in &started {
            while !matches!(is_completed(client, NAMESPACE, id, run).await, Ok(true)) {
                assert!(
                    begun.elapsed() < Duration::from_mins(3),
                    "the workflow {id} is lost"
                );
                let _ = tokio::time::timeout(Duration::from_secs(2), complete(client, NAMESPACE)).await;
            }
        }
        (started.len(), refused)
    }
}

/// How long it takes until a workflow can be started and completed again.
async fn recovery(client: &Client, name: &str) -> Duration {
    let begun = Instant::now();
    for number in 0.. {
        let id = format!("recovery-{name}-{number}");
        let started = tokio::time::timeout(Duration::from_secs(2), start(client, NAMESPACE, &id)).await;
        if let Ok(Ok(run)) = started {
            let since = Instant::now();
            while since.elapsed() < Duration::from_secs(5) {
                if matches!(is_completed(client, NAMESPACE, &id, &run).await, Ok(true)) {
                    return begun.elapsed();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        assert!(
            begun.elapsed() < Duration::from_mins(3),
            "no recovery after {name}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    unreachable!("the loop has no end")
}

/// Prints a row of the table in docs/self-hosted.md per fault: run it with `--nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a whole stack: .ci/full"]
async fn no_workflow_is_lost_whatever_is_killed() {
    let running = Running::new("127.93", |text| text);
    running.up(&["--without-autopilot"]);
    let client = running.client().await;
    for name in [
        "history-1",
        "matching-1",
        "frontend-1",
        "worker-1",
        "pgbouncer",
        "postgres",
    ] {
        let load = Load::begin(&client, name);
        tokio::time::sleep(Duration::from_secs(3)).await;
        if name == "postgres" {
            // A kill -9 leaves its children for a moment, and a new server refuses to start alongside them.
            let State::Running(pid) = process::state(&running.place, name) else {
                panic!("it does not run")
            };
            let stopped = Command::new("kill")
                .args(["-QUIT", &pid.to_string()])
                .status()
                .expect("sent");
            assert!(stopped.success());
        } else {
            running.kill(name);
        }
        while matches!(process::state(&running.place, name), State::Running(_)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let begun = Instant::now();
        running.up(&["--without-autopilot"]);
        recovery(&client, name).await;
        let recovered = begun.elapsed();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (started, refused) = load.end(&client).await;
        println!(
            "| {name} killed, started again at once | {:.1} s | 0 of {started} | {refused} |",
            recovered.as_secs_f64()
        );
        assert!(started > 0, "{name}: nothing was started");
    }
    // A certificate renewed while everything runs.
    let load = Load::begin(&client, "certificates");
    running.run(&["certificates"]);
    let begun = Instant::now();
    loop {
        let output = running.program("temporal-capacity", &["doctor", "stack", "-o", "json"]);
        if !text(&output).contains("the file holds another one") {
            break;
        }
        assert!(
            begun.elapsed() < Duration::from_mins(3),
            "the certificates are not picked up"
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let served = begun.elapsed();
    let (started, refused) = load.end(&running.client().await).await;
    println!(
        "| certificates renewed | served after {:.0} s | 0 of {started} | {refused} |",
        served.as_secs_f64()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a whole stack: .ci/full"]
async fn an_upgrade_keeps_a_workflow_in_flight() {
    let running = Running::new("127.94", |text| text);
    running.up(&["--without-autopilot", "--replicas", "2"]);
    let client = running.client().await;
    let run = start(&client, NAMESPACE, "in-flight").await.expect("started");
    let load = Load::begin(&client, "upgrade-none");
    let begun = Instant::now();
    let said = running.run(&["upgrade", "1.30.8"]);
    println!("upgraded in {:.0} s: {said}", begun.elapsed().as_secs_f64());
    let client = running.client().await;
    let (started, refused) = load.end(&client).await;
    println!("| upgrade 1.29.1 to 1.30.8, two processes per role | | 0 of {started} | {refused} |");
    assert!(
        is_completed(&client, NAMESPACE, "in-flight", &run)
            .await
            .expect("described")
    );
    assert_eq!(running.stack().settings.server.version, "1.30.8");
    let (is_good, bad) = running.doctor();
    assert!(is_good, "{bad:#?}");
}
