//! Tests of two workers in one installation: one evaluates, the other is never chosen, and both are ready.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use capacity_workflows::controller::{Controller, Trigger};
use capacity_workflows::{ConnectionSettings, Installation};
use cloud_simulator::{Account, Load, NamespaceSetup, RunningSimulator, SimulatorOptions};
use temporal_dev_server::{DevServer, Options};

const SKIP: &str = "TEMPORAL_CAPACITY_SKIP_SERVER_TESTS";

/// A worker and its health address. The worker ends when this is dropped.
struct Worker {
    process: Child,
    address: SocketAddr,
}

impl Worker {
    fn start(server: &DevServer, cloud: &RunningSimulator) -> Self {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .expect("a free port");
        let process = Command::new(env!("CARGO_BIN_EXE_capacity-worker"))
            .args(["--listen", &address.to_string(), "--grace", "1"])
            .env_clear()
            .current_dir(std::env::temp_dir())
            .env("TEMPORAL_ADDRESS", server.address().to_string())
            .env("TEMPORAL_NAMESPACE", "default")
            .env("CLOUD_OPS_API_BASE_URL", cloud.ops_url())
            .env("CLOUD_METRICS_API_BASE_URL", cloud.metrics_url())
            .env("TEMPORAL_CLOUD_OPS_API_KEY", cloud.ops_key())
            .env("TEMPORAL_CLOUD_METRICS_API_KEY", cloud.metrics_key())
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", cloud.traces_url())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        Self { process, address }
    }

    /// Returns the response to a request; empty if nothing listens.
    fn get(&self, path: &str) -> String {
        let ask = || {
            let mut stream = TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        };
        ask().unwrap_or_default()
    }

    fn is_ready(&self) -> bool {
        self.get("/readyz").starts_with("HTTP/1.0 200")
    }

    /// Returns whether `--probe` reports that the worker is ready.
    fn probe(&self) -> bool {
        let mut probe = Command::new(env!("CARGO_BIN_EXE_capacity-worker"));
        let output = probe
            .args(["--probe", "--listen", &self.address.to_string()])
            .env_clear()
            .output()
            .expect("run");
        let said = String::from_utf8_lossy(&output.stdout).contains("\"ready\":true");
        assert_eq!(output.status.success(), said, "{output:?}");
        said
    }

    /// Returns one of the worker's own metrics.
    fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics");
        let mut values = text
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        values
            .next()
            .and_then(|value| value.parse().ok())
            .unwrap_or_default()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn until(what: &str, bound: Duration, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < bound, "not {what} within {bound:?}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_never_chosen_stays_ready_and_reports_the_age() {
    if std::env::var(SKIP).as_deref() == Ok("1") {
        println!("{SKIP}=1: the tests on a Temporal server are skipped");
        return;
    }
    let server = temporal_dev_server::start(&Options::default(), &|what| println!("{what}"))
        .await
        .unwrap_or_else(|problem| panic!("{problem} (or set {SKIP}=1)"));
    let quiet = NamespaceSetup::new("quiet", Load::Steady(3.0));
    let options = SimulatorOptions::new(Account::new("a1b2c", vec![quiet]));
    let cloud = cloud_simulator::start(options).await.expect("started");
    let workers = [Worker::start(&server, &cloud), Worker::start(&server, &cloud)];
    until("ready", Duration::from_secs(40), || {
        workers.iter().all(Worker::is_ready)
    })
    .await;
    let connection = ConnectionSettings {
        address: server.address().to_string(),
        namespace: "default".to_owned(),
        ..ConnectionSettings::default()
    };
    let client = connection.connect().await.expect("connected");
    // Ages are counted from the start of the process; the evaluation is more recent.
    tokio::time::sleep(Duration::from_secs(10)).await;
    Controller::new(&client, &Installation::default())
        .trigger(Trigger::Evaluation)
        .await
        .expect("signaled");
    let made = |worker: &Worker| worker.metric("temporal_capacity_evaluations_total");
    until("evaluated", Duration::from_secs(40), || {
        workers.iter().map(made).sum::<u64>() == 1
    })
    .await;
    let evaluated = Instant::now();
    let never_chosen = workers
        .iter()
        .find(|worker| made(worker) == 0)
        .expect("one of two");
    // The worker queries the controller once per minute.
    until("learned", Duration::from_secs(90), || {
        let age = never_chosen.metric("temporal_capacity_last_evaluation_age_seconds");
        age <= evaluated.elapsed().as_secs() + 5
    })
    .await;
    assert_eq!(made(never_chosen), 0);
    let sent = |worker: &Worker| worker.metric("temporal_capacity_spans_sent_total");
    until("traced", Duration::from_mins(1), || {
        workers.iter().any(|worker| sent(worker) > 0)
    })
    .await;
    assert_eq!(sent(never_chosen), 0, "it made nothing to trace");
    let both: String = workers.iter().map(|worker| worker.get("/metrics")).collect();
    documented(&both);
    assert!(workers.iter().all(Worker::is_ready));
    let [mut one, other] = workers;
    assert!(other.probe());
    one.process
        .kill()
        .and_then(|()| one.process.wait())
        .expect("killed");
    assert!(!one.probe(), "nobody listens");
}

/// A metric in the table of docs/monitoring.md: name, type and labels.
type Metric = (String, String, BTreeSet<String>);

/// Checks that the table in docs/monitoring.md lists all of our own metrics, and that the SDK metrics it lists
/// are served.
fn documented(answer: &str) {
    let docs = |page: &str| {
        let path = format!("{}/../../docs/{page}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).expect("there")
    };
    let page = docs("monitoring.md");
    let rows: BTreeSet<Metric> = page.lines().filter_map(row).collect();
    assert!(rows.len() > 20, "the table is missing: {rows:?}");
    let served = served(answer);
    let is_ours = |metric: &&Metric| metric.0.starts_with("temporal_capacity_");
    let (ours, listed): (BTreeSet<_>, BTreeSet<_>) = (
        served.iter().filter(is_ours).collect(),
        rows.iter().filter(is_ours).collect(),
    );
    assert_eq!(ours, listed, "served and listed");
    for (name, kind, _) in served
        .iter()
        .filter(|metric| metric.0.starts_with("temporal_worker_kit_"))
    {
        assert!(
            rows.iter().any(|row| row.0 == *name),
            "{name} ({kind}) is not listed"
        );
    }
    for (name, kind, labels) in rows.iter().filter(|metric| !is_ours(metric)) {
        match served.iter().find(|metric| metric.0 == *name) {
            Some((_, is_kind, has)) => {
                assert_eq!(is_kind, kind, "{name}");
                assert!(has.is_subset(labels), "{name}: {has:?}, not {labels:?}");
            }
            None => assert!(FIRST_FAILURE.contains(&name.as_str()), "{name} is not served"),
        }
    }
    let codes = docs("reason-codes.md");
    for line in answer
        .lines()
        .filter(|line| line.starts_with("temporal_capacity_decisions{"))
    {
        let reason = line
            .split("reason=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let reason = reason.expect("a reason");
        assert!(
            codes.contains(&format!("`{reason}`")),
            "{reason} is not a documented code"
        );
    }
}

/// Counters that exist only after the first failure.
const FIRST_FAILURE: [&str; 3] = [
    "temporal_request_failure_total",
    "temporal_workflow_task_execution_failed_total",
    "temporal_activity_execution_failed_total",
];

fn row(line: &str) -> Option<Metric> {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    let &["", name, kind, labels, _, ""] = cells.as_slice() else {
        return None;
    };
    let name = name.strip_prefix("`temporal_")?.strip_suffix('`')?;
    let labels = labels
        .split(',')
        .map(|label| label.trim().trim_matches('`').to_owned());
    let labels = labels.filter(|label| !label.is_empty()).collect();
    Some((format!("temporal_{name}"), kind.to_owned(), labels))
}

fn served(answer: &str) -> BTreeSet<Metric> {
    let mut kinds = BTreeMap::new();
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in answer.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("name and type");
            kinds.insert(name.to_owned(), kind.to_owned());
        } else if let Some((name, rest)) = line.split_once('{') {
            let name = name.strip_suffix("_bucket").unwrap_or(name);
            let (inside, _) = rest.rsplit_once('}').expect("closed");
            let names = inside.split("\",").filter_map(|pair| pair.split_once('='));
            let names = names.map(|(label, _)| label.trim().to_owned());
            labels
                .entry(name.to_owned())
                .or_default()
                .extend(names.filter(|label| label != "le"));
        }
    }
    let labels_of = |name: &String| labels.get(name).cloned().unwrap_or_default();
    let metrics = kinds.iter();
    metrics
        .map(|(name, kind)| (name.clone(), kind.clone(), labels_of(name)))
        .collect()
}

#[test]
fn a_probe_without_a_worker_fails_with_the_remedy() {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port");
    let probed = Command::new(env!("CARGO_BIN_EXE_capacity-worker"))
        .args(["--probe", "--listen", &address.to_string()])
        .env_clear()
        .output()
        .expect("run");
    let errors = String::from_utf8_lossy(&probed.stderr);
    assert_eq!(probed.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains(&format!("error: cannot reach a worker at {address}: "))
            && errors.contains("Start it"),
        "{errors}"
    );
}

#[test]
fn an_unknown_log_level_is_refused_with_the_valid_ones() {
    let refused = Command::new(env!("CARGO_BIN_EXE_capacity-worker"))
        .args(["--log-level", "verbose"])
        .env_clear()
        .output()
        .expect("run");
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{errors}");
    assert!(errors.contains("error, warn, info, debug, trace"), "{errors}");
}
