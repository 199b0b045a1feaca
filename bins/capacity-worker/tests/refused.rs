//! Tests of a worker whose credential is rejected: at the start, while polling, and for single calls.

#![expect(
    clippy::print_stdout,
    reason = "what the server is doing shows in the output of the tests"
)]

#[path = "../../../tests/temporal/proxy.rs"]
mod proxy;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use capacity_workflows::controller::Controller;
use capacity_workflows::{ConnectionSettings, Installation};
use cloud_simulator::{Account, Load, NamespaceSetup, RunningSimulator, SimulatorOptions};
use proxy::{Certificates, Proxy, Rules, SERVER_NAME};
use temporal_dev_server::{DevServer, Options};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// If set to 1, all tests here are skipped.
const SKIP: &str = "TEMPORAL_CAPACITY_SKIP_SERVER_TESTS";

struct World {
    server: DevServer,
    cloud: RunningSimulator,
    certificates: Certificates,
    proxy: Proxy,
}

/// A worker and its log. The worker is killed at the end of the test.
struct Running {
    child: Child,
    log: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl World {
    async fn new(key: Option<&'static str>) -> Option<Self> {
        if std::env::var(SKIP).as_deref() == Ok("1") {
            println!("{SKIP}=1: the tests on a Temporal server are skipped");
            return None;
        }
        let server = temporal_dev_server::start(&Options::default(), &|what| println!("{what}"))
            .await
            .unwrap_or_else(|problem| panic!("{problem} (or set {SKIP}=1)"));
        let account = Account::new(
            "a1b2c",
            vec![NamespaceSetup::new("checkout", Load::Steady(560.0))],
        );
        let options = SimulatorOptions {
            speed: 20.0,
            ..SimulatorOptions::new(account)
        };
        let cloud = cloud_simulator::start(options).await.expect("started");
        let certificates = Certificates::make();
        let rules = Rules {
            key,
            ..Rules::default()
        };
        let proxy = Proxy::start(server.address(), certificates.server(false), rules).await;
        let world = Self {
            server,
            cloud,
            certificates,
            proxy,
        };
        // The default namespace becomes available shortly after the server.
        let begun = Instant::now();
        loop {
            let direct = world.direct();
            match direct.connect().await {
                Ok(client) if direct.check_namespace(&client).await.is_ok() => return Some(world),
                _ => assert!(begun.elapsed() < Duration::from_mins(1), "no server"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Returns the connection that bypasses the proxy.
    fn direct(&self) -> ConnectionSettings {
        ConnectionSettings {
            address: self.server.address().to_string(),
            namespace: "default".to_owned(),
            ..ConnectionSettings::default()
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_capacity-worker"));
        command
            .args(arguments)
            .args(["--listen", "127.0.0.1:0", "--grace", "5"])
            .env_clear()
            .current_dir(std::env::temp_dir())
            .env("TEMPORAL_ADDRESS", self.proxy.address.to_string())
            .env("TEMPORAL_NAMESPACE", "default")
            .env(
                "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
                self.certificates.path("ca.pem"),
            )
            .env("TEMPORAL_TLS_SERVER_NAME", SERVER_NAME)
            .env("TEMPORAL_API_KEY_FILE", self.certificates.path("api.key"))
            .env("CLOUD_OPS_API_BASE_URL", self.cloud.ops_url())
            .env("CLOUD_METRICS_API_BASE_URL", self.cloud.metrics_url())
            .env("SLACK_WEBHOOK_URL", self.cloud.slack_url())
            .env("TEMPORAL_CLOUD_OPS_API_KEY", self.cloud.ops_key())
            .env("TEMPORAL_CLOUD_METRICS_API_KEY", self.cloud.metrics_key())
            .stdout(Stdio::null());
        command
    }

    fn key(&self, key: &str) {
        self.certificates.write("api.key", key);
    }

    fn worker(&self) -> Running {
        let log = PathBuf::from(self.certificates.path("worker.log"));
        let file = std::fs::File::create(&log).expect("a log");
        let child = self.command(&[]).stderr(file).spawn().expect("started");
        Running { child, log }
    }

    /// Runs `--check` with different settings. Returns its exit code and output.
    fn check(&self, environment: &[(&str, &str)]) -> (Option<i32>, String) {
        let output = self
            .command(&["--check"])
            .envs(environment.iter().copied())
            .output();
        let output = output.expect("ran");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }
}

impl Running {
    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).expect("a log")
    }

    /// Returns the status of `/readyz`; `None` if the worker does not serve it.
    async fn ready(&self) -> Option<u16> {
        let said = self.said();
        let address = said
            .split("listen=")
            .nth(1)?
            .split_whitespace()
            .next()?
            .to_owned();
        let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.split_whitespace().nth(1)?.parse().ok()
    }

    async fn until_ready_is(&self, expected: u16, bound: Duration) {
        let begun = Instant::now();
        while self.ready().await != Some(expected) {
            let said = self.said();
            assert!(
                begun.elapsed() < bound,
                "/readyz is not {expected} within {bound:?}:\n{said}"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_key_is_read_again_while_the_worker_polls() {
    let Some(world) = World::new(Some("one")).await else {
        return;
    };
    world.key("one\n");
    let mut worker = world.worker();
    worker.until_ready_is(200, Duration::from_mins(2)).await;
    // A report proves that the worker polls, because it is ready slightly earlier.
    let client = world.direct().connect().await.expect("connected");
    let before = Controller::new(&client, &Installation::default())
        .evaluate("before", Duration::from_mins(1))
        .await;
    before.expect("a report");
    world.proxy.set(Rules {
        key: Some("two"),
        ..Rules::default()
    });
    worker.until_ready_is(503, Duration::from_secs(20)).await;
    world.key("two\n");
    worker.until_ready_is(200, Duration::from_secs(50)).await;
    Controller::new(&client, &Installation::default())
        .evaluate("after", Duration::from_mins(1))
        .await
        .expect("a report: the worker polls with the new key");
    assert!(
        worker.child.try_wait().expect("a process").is_none(),
        "it never ended"
    );
    let said = worker.said();
    assert!(
        !said.contains("\"two\"") && said.contains("accepts polls again"),
        "{said}"
    );
    world.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_polls_stay_refused_exits_with_an_explanation() {
    let Some(world) = World::new(Some("one")).await else {
        return;
    };
    world.key("one\n");
    let mut worker = world.worker();
    worker.until_ready_is(200, Duration::from_mins(2)).await;
    world.proxy.set(Rules {
        key: Some("one"),
        calls: &["Poll"],
        status: Some("7"),
    });
    worker.until_ready_is(503, Duration::from_secs(20)).await;
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = worker.child.try_wait().expect("a process") {
            break status;
        }
        assert!(begun.elapsed() < Duration::from_secs(150), "{}", worker.said());
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    assert_eq!(status.code(), Some(1));
    let said = worker.said();
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: the Temporal service at "), "{said}");
    for part in [
        "PERMISSION_DENIED",
        "TEMPORAL_API_KEY_FILE, ",
        "api.key",
        "Replace it",
    ] {
        assert!(last.contains(part), "{part}: {last}");
    }
    assert!(!last.contains("Status {"), "{last}");
    world.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_completions_alone_are_repeated_and_logged() {
    let Some(world) = World::new(Some("one")).await else {
        return;
    };
    world.key("one\n");
    let worker = world.worker();
    worker.until_ready_is(200, Duration::from_mins(2)).await;
    world.proxy.set(Rules {
        key: Some("one"),
        calls: &["RespondActivityTaskCompleted", "RecordActivityTaskHeartbeat"],
        status: Some("7"),
    });
    let client = world.direct().connect().await.expect("connected");
    let asked = tokio::spawn(async move {
        Controller::new(&client, &Installation::default())
            .evaluate("meanwhile", Duration::from_mins(3))
            .await
    });
    let begun = Instant::now();
    while !worker.said().contains("refuses a call from this worker (") {
        assert!(begun.elapsed() < Duration::from_mins(1), "{}", worker.said());
        assert_eq!(worker.ready().await, Some(200));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    world.proxy.set(Rules {
        key: Some("one"),
        ..Rules::default()
    });
    asked.await.expect("joined").expect("the report comes after all");
    assert_eq!(worker.ready().await, Some(200));
    let said = worker.said();
    assert!(
        said.contains("PERMISSION_DENIED: the credential (TEMPORAL_API_KEY_FILE, "),
        "{said}"
    );
    world.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_reports_a_wrong_namespace_or_key() {
    let Some(world) = World::new(Some("one")).await else {
        return;
    };
    world.key("one\n");
    assert_eq!(world.check(&[]).0, Some(0), "{}", world.check(&[]).1);
    let (code, said) = world.check(&[("TEMPORAL_NAMESPACE", "nowhere")]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("the namespace `nowhere` (TEMPORAL_NAMESPACE) does not exist"),
        "{said}"
    );
    world.proxy.set(Rules {
        key: Some("one"),
        calls: &["SignalWorkflowExecution"],
        status: Some("7"),
    });
    let (code, said) = world.check(&[]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("is not allowed to use the namespace `default`"),
        "{said}"
    );
    world.key("another\n");
    let (code, said) = world.check(&[]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("refused the credential (TEMPORAL_API_KEY_FILE, "),
        "{said}"
    );
    // A worker that can never connect does not wait forever.
    let output = world.command(&[]).output().expect("ran");
    assert_eq!(output.status.code(), Some(1));
    world.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_system_without_ca_certificates_uses_the_built_in_roots() {
    let Some(world) = World::new(None).await else {
        return;
    };
    world.key("one\n");
    let nothing = [
        ("SSL_CERT_FILE", "/nonexistent/roots.pem"),
        ("SSL_CERT_DIR", "/nonexistent"),
    ];
    let (code, said) = world.check(&nothing);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("using the built-in Mozilla roots") && !said.contains("panicked"),
        "{said}"
    );
    world.server.shutdown().await;
}
