//! Tests of the commands as processes: output that cannot be written does not affect their work.

#![cfg(unix)]
#![expect(
    clippy::print_stdout,
    reason = "what the server is doing shows in the output of the tests"
)]

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use capacity_workflows::schedule::{Schedule, Shown};
use capacity_workflows::{ConnectionSettings, Installation};
use rstest::rstest;
use temporal_dev_server::{DevServer, Options};
use temporalio_client::Client;

/// If set to 1, all tests here are skipped.
const SKIP: &str = "TEMPORAL_CAPACITY_SKIP_SERVER_TESTS";

struct World {
    server: DevServer,
    client: Client,
}

impl World {
    async fn new() -> Option<Self> {
        if std::env::var(SKIP).as_deref() == Ok("1") {
            println!("{SKIP}=1: the tests on a Temporal server are skipped");
            return None;
        }
        let server = temporal_dev_server::start(&Options::default(), &|what| println!("{what}"))
            .await
            .unwrap_or_else(|problem| panic!("{problem} (or set {SKIP}=1)"));
        let connection = ConnectionSettings {
            address: server.address().to_string(),
            namespace: "default".to_owned(),
            ..ConnectionSettings::default()
        };
        let begun = Instant::now();
        let client = loop {
            match connection.connect().await {
                Ok(client) => break client,
                Err(error) => assert!(begun.elapsed() < Duration::from_mins(1), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        Some(Self { server, client })
    }

    fn run(&self, arguments: &[&str], output: Stdio, errors: Stdio) -> Output {
        Command::new(env!("CARGO_BIN_EXE_capacity-schedule"))
            .args(arguments)
            .env_clear()
            .current_dir(std::env::temp_dir())
            .env("TEMPORAL_ADDRESS", self.server.address().to_string())
            .env("TEMPORAL_NAMESPACE", "default")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .output()
            .expect("ran")
    }

    async fn shown(&self) -> Shown {
        Schedule::new(&self.client, &Installation::default())
            .show()
            .await
            .expect("a schedule")
    }
}

fn broken(how: &str) -> Stdio {
    if how == "full" {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
        return full.expect("this runs on Linux").into();
    }
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

#[rstest]
#[case::reader_gone("closed")]
#[case::disk_full("full")]
#[tokio::test]
async fn broken_output_does_not_affect_the_work(#[case] how: &str) {
    let Some(world) = World::new().await else {
        return;
    };
    let created = world.run(&["create", "--minutes", "15"], broken(how), broken(how));
    assert_eq!(created.status.code(), Some(0));
    assert_eq!(world.shown().await.minutes, [15]);
    let paused = world.run(&["pause", "--reason", "a test"], broken(how), Stdio::piped());
    let errors = String::from_utf8_lossy(&paused.stderr);
    assert!(!errors.contains("panicked"), "{errors}");
    assert!(world.shown().await.paused);
    if how == "full" {
        assert!(
            errors.contains("warning: cannot write to standard output: "),
            "{errors}"
        );
        // This command only prints, so a failed write is an error.
        let shown = world.run(&["show"], broken(how), Stdio::piped());
        assert_eq!(shown.status.code(), Some(1));
    }
    let usage = world.run(&["nonsense"], broken(how), broken(how));
    assert_eq!(usage.status.code(), Some(1));
    let help = world.run(&["--help"], broken(how), broken(how));
    assert_eq!(help.status.code(), Some(0));
    let deleted = world.run(&["delete"], broken(how), broken(how));
    assert_eq!(deleted.status.code(), Some(0));
    world.server.shutdown().await;
}

#[tokio::test]
async fn a_schedule_in_a_namespace_that_does_not_exist_is_refused_with_the_remedy() {
    let Some(world) = World::new().await else {
        return;
    };
    let created = world.run(
        &["create", "--set", "TEMPORAL_NAMESPACE=nowhere"],
        Stdio::piped(),
        Stdio::piped(),
    );
    let errors = String::from_utf8_lossy(&created.stderr);
    assert_eq!(created.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("error: the namespace `nowhere` (TEMPORAL_NAMESPACE) does not exist at ")
            && errors.contains("temporal operator namespace create --namespace nowhere"),
        "{errors}"
    );
    assert!(created.stdout.is_empty());
    world.server.shutdown().await;
}
