//! Connect, run, report, drain; configuration and registration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::post;
use temporal_worker_kit::{Config, Kit, KitError, NotReady, Registry, SharedClient, TaskQueue, beating};
use temporalio_client::{NamespacedClient as _, WorkflowGetResultOptions, WorkflowStartOptions};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use temporalio_sdk::{ActivityOptions, WorkflowContext, WorkflowResult};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Shop;

#[activities]
impl Shop {
    #[activity(name = "shop.price")]
    async fn price(self: Arc<Self>, _context: ActivityContext, units: u32) -> Result<u32, ActivityError> {
        Ok(units * 7)
    }

    #[activity(name = "shop.slow")]
    async fn slow(self: Arc<Self>, context: ActivityContext, millis: u32) -> Result<u32, ActivityError> {
        let work = tokio::time::sleep(Duration::from_millis(millis.into()));
        beating(&context, Duration::from_millis(200), (), work).await?;
        Ok(millis)
    }
}

#[workflow]
#[derive(Default)]
pub(crate) struct Order;

#[workflow_methods]
impl Order {
    #[run(name = "Order")]
    pub(crate) async fn run(context: &mut WorkflowContext<Self>, units: u32) -> WorkflowResult<u32> {
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(10));
        Ok(context.execute_activity(Shop::price, units, options).await?)
    }
}

#[workflow]
#[derive(Default)]
struct SlowOrder;

#[workflow_methods]
impl SlowOrder {
    #[run(name = "SlowOrder")]
    async fn run(context: &mut WorkflowContext<Self>, millis: u32) -> WorkflowResult<u32> {
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(10));
        Ok(context.execute_activity(Shop::slow, millis, options).await?)
    }
}

pub(crate) async fn server() -> temporal_dev_server::DevServer {
    let options = temporal_dev_server::Options::default();
    temporal_dev_server::start(&options, &|_| {})
        .await
        .expect("a server")
}

fn config(address: &str) -> Config {
    let text = format!(
        "[connection]\naddress = \"{address}\"\nconnections = 2\n[worker]\nlisten = \"127.0.0.1:0\"\ngrace = \"5s\"\n\
         [[task_queues]]\nname = \"orders\"\nworkers = 2\n[[task_queues]]\nname = \"slow\"\nactivities_per_second = 50\n"
    );
    Config::parse("worker.toml", &text, &BTreeMap::new()).expect("valid")
}

pub(crate) fn registry() -> Registry {
    Registry::new()
        .workflow::<Order>("orders")
        .activities("orders", Shop)
        .workflow::<SlowOrder>("slow")
        .activities("slow", Shop)
}

pub(crate) async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request = format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("a response");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_queues_run_report_and_drain() {
    let server = server().await;
    let (is_open, is_drained) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let (open, drained) = (Arc::clone(&is_open), Arc::clone(&is_drained));
    let kit = Kit::new(config(&server.address().to_string()), registry())
        .ready_if(move || {
            let is_open = open.load(Ordering::Relaxed);
            is_open
                .then_some(())
                .ok_or_else(|| NotReady::new("the shop is closed"))
        })
        .on_drain(move || drained.store(true, Ordering::Relaxed))
        .metrics(|| "shop_orders 1".to_owned())
        .metrics(|| panic!("contained"))
        .readiness(|| serde_json::Map::from_iter([("shop".to_owned(), "open".into())]));
    let mut running = kit.start().await.expect("started");
    let listen = running.listen().expect("listening");
    assert!(get(listen, "/healthz").await.contains("200 OK"));
    let ready = get(listen, "/readyz").await;
    assert!(
        ready.contains("200 OK")
            && ready.contains("\"phase\":\"polling\"")
            && ready.contains("\"shop\":\"open\""),
        "{ready}"
    );

    is_open.store(false, Ordering::Relaxed);
    let ready = get(listen, "/readyz").await;
    assert!(
        ready.contains("503") && ready.contains("\"problem\":\"the shop is closed\""),
        "{ready}"
    );
    is_open.store(true, Ordering::Relaxed);

    let client = running.client();
    let start = WorkflowStartOptions::new("orders", "order-1").build();
    let order = client
        .start_workflow(Order::run, 6, start)
        .await
        .expect("started");
    assert_eq!(
        order
            .get_result(WorkflowGetResultOptions::default())
            .await
            .expect("a price"),
        42
    );
    let metrics = get(listen, "/metrics").await;
    for expected in [
        "temporal_worker_kit_workflow_executions_total{task_queue=\"orders\",workflow_type=\"Order\",status=\"completed\"} 1",
        "temporal_worker_kit_activity_executions_total{task_queue=\"orders\",activity_type=\"shop.price\",status=\"completed\"} 1",
        "temporal_worker_kit_activities_active{task_queue=\"slow\",activity_type=\"shop.slow\"} 0",
        "temporal_worker_kit_task_queue_backlog{task_queue=\"orders\",kind=\"workflow\"} 0",
        "shop_orders 1",
        "temporal_worker_task_slots_available",
        "workflow_type=\"Order\"",
    ] {
        assert!(metrics.contains(expected), "{expected} is missing in\n{metrics}");
    }

    // An activity that is running when the worker stops ends within the grace period, and its result reaches the server.
    let start = WorkflowStartOptions::new("slow", "slow-1").build();
    client
        .start_workflow(SlowOrder::run, 1_500, start)
        .await
        .expect("started");
    let begun = Instant::now();
    while !get(listen, "/metrics")
        .await
        .contains("activities_active{task_queue=\"slow\",activity_type=\"shop.slow\"} 1")
    {
        assert!(begun.elapsed() < Duration::from_mins(1), "the activity starts");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!is_drained.load(Ordering::Relaxed));
    running.stop();
    running.wait().await.expect("drained");
    assert!(is_drained.load(Ordering::Relaxed));
    let metrics = get(listen, "/metrics").await;
    assert!(
        metrics.contains("activity_type=\"shop.slow\",status=\"completed\"} 1"),
        "{metrics}"
    );
    assert!(
        get(listen, "/readyz").await.contains("503"),
        "stopped is not ready"
    );
    server.shutdown().await;
}

struct Gateway {
    client: SharedClient,
}

#[activities]
impl Gateway {
    #[activity(name = "gateway.namespace")]
    async fn namespace(self: Arc<Self>, _context: ActivityContext) -> Result<String, ActivityError> {
        Ok(self.client.get().namespace())
    }
}

#[workflow]
#[derive(Default)]
struct Ask;

#[workflow_methods]
impl Ask {
    #[run(name = "Ask")]
    async fn run(context: &mut WorkflowContext<Self>) -> WorkflowResult<String> {
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(10));
        Ok(context.execute_activity(Gateway::namespace, (), options).await?)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_activity_has_a_client_and_a_process_without_workers_starts_workflows() {
    let server = server().await;
    let config = |queues: &str| {
        let address = server.address();
        let text =
            format!("[connection]\naddress = \"{address}\"\n[worker]\nlisten = \"127.0.0.1:0\"\n{queues}");
        Config::parse("worker.toml", &text, &BTreeMap::new()).expect("valid")
    };
    let Err(KitError::Mistakes(mistakes)) = Kit::new(config(""), Registry::new()).start().await else {
        panic!("a worker without anything to do is a mistake");
    };
    assert!(
        mistakes.to_string().contains("no workflow and no activity"),
        "{mistakes}"
    );

    let registry = Registry::new();
    let gateway = Gateway {
        client: registry.client(),
    };
    let registry = registry
        .workflow::<Ask>("questions")
        .activities("questions", gateway);
    let mut worker = Kit::new(config(""), registry).start().await.expect("started");

    let kit = Kit::without_workers(config(""));
    let client = kit.client();
    let ask = async move || {
        let options = WorkflowStartOptions::new("questions", "ask-1").build();
        let started = client
            .connected()
            .await
            .start_workflow(Ask::run, (), options)
            .await;
        let handle = started.expect("started");
        let result = handle.get_result(WorkflowGetResultOptions::default()).await;
        result.expect("a response")
    };
    let mut receiver = kit
        .routes(Router::new().route("/ask", post(ask)))
        .start()
        .await
        .expect("started");
    let listen = receiver.listen().expect("listening");
    let ready = get(listen, "/readyz").await;
    assert!(
        ready.contains("200 OK") && ready.contains("\"phase\":\"serving\""),
        "{ready}"
    );
    let mut stream = TcpStream::connect(listen).await.expect("connected");
    let request = b"POST /ask HTTP/1.0\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("a response");
    assert!(
        answer.contains("200 OK") && answer.ends_with("default"),
        "{answer}"
    );
    for running in [&mut receiver, &mut worker] {
        running.stop();
        running.wait().await.expect("drained");
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_server_is_waited_for_and_a_lost_one_makes_the_process_unready() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port");
    let kit = Kit::new(config(&free.to_string()), registry());
    let (started, server) = tokio::join!(tokio::time::timeout(Duration::from_mins(1), kit.start()), async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let options = temporal_dev_server::Options {
            port: Some(free.port()),
            ..Default::default()
        };
        temporal_dev_server::start(&options, &|_| {})
            .await
            .expect("a server")
    });
    let mut running = started.expect("in time").expect("started");
    let listen = running.listen().expect("listening");
    assert!(get(listen, "/readyz").await.contains("200 OK"));
    server.shutdown().await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let begun = Instant::now();
    let answer = get(listen, "/readyz").await;
    assert!(
        answer.contains("503") && answer.contains("\"problem\""),
        "{answer}"
    );
    assert!(begun.elapsed() < Duration::from_secs(30), "bounded");
    running.stop();
    // Whether the drain can be reported depends on the server; it must end.
    let _ = tokio::time::timeout(Duration::from_secs(30), running.wait())
        .await
        .expect("ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mismatched_registrations_are_all_reported_before_anything_connects() {
    let registry = Registry::new()
        .workflow::<Order>("orders")
        .workflow::<Order>("orders")
        .activities("orders", Shop)
        .activities("orders", Shop)
        .workflow::<SlowOrder>("forgotten");
    assert_eq!(registry.find("shop.price").len(), 1);
    assert_eq!(registry.find("Order")[0].kind, "workflow");
    assert_eq!(registry.list().len(), 4);
    let config = Config {
        task_queues: vec![TaskQueue::new("orders"), TaskQueue::new("empty")],
        ..Config::default()
    };
    let Err(KitError::Mistakes(mistakes)) = Kit::new(config, registry).start().await else {
        panic!("refused");
    };
    let text = mistakes.to_string();
    for part in [
        "Order is already registered",
        "`shop.price` is registered twice",
        "`shop.slow` is registered twice",
        "`empty`",
        "`forgotten`",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn every_mistake_is_reported_with_file_and_line() {
    let text = "[connection]\nadress = \"x\"\nclient_cert = \"/nowhere.pem\"\n[worker]\nlisten = \"here\"\ngrace = \"soon\"\n\
                [[task_queues]]\nname = \"a\"\nworkflow_pollers = 1\nactivities_per_second = 0\n[[task_queues]]\nname = \"a\"\nworkers = 3\n\
                [log]\nformat = \"xml\"\n[deployment]\nversioned = true\n";
    let environment = BTreeMap::from([
        ("TEMPORAL_ADDRESS".to_owned(), "a:1".to_owned()),
        ("TEMPORAL_HOST".to_owned(), "b:1".to_owned()),
    ]);
    let mistakes = Config::parse("worker.toml", text, &environment)
        .expect_err("wrong")
        .to_string();
    for part in [
        "worker.toml:2: unknown key `connection.adress`",
        "worker.toml:3: a client certificate needs its key",
        "worker.toml:5: `worker.listen = \"here\"`",
        "worker.toml:6: `worker.grace = \"soon\"`",
        "worker.toml:9: `task_queues.workflow_pollers = 1` must be a whole number from 2",
        "worker.toml:10: `task_queues.activities_per_second = 0`",
        "worker.toml:12: the task queue `a` is configured twice",
        "needs as many connections",
        "worker.toml:15: `log.format = \"xml\"`",
        "`deployment.versioned = true` needs",
        "`TEMPORAL_ADDRESS` and `TEMPORAL_HOST` are synonyms with different values",
    ] {
        assert!(mistakes.contains(part), "{part} is missing in\n{mistakes}");
    }
    assert!(mistakes.starts_with("11 configuration mistakes"), "{mistakes}");
}

#[test]
fn the_example_configuration_with_four_queues_is_valid() {
    let config = Config::parse(
        "four-queues.toml",
        include_str!("../../examples/four-queues.toml"),
        &BTreeMap::new(),
    );
    let config = config.expect("valid");
    let names: Vec<&str> = config
        .task_queues
        .iter()
        .map(|queue| queue.name.as_str())
        .collect();
    assert_eq!(names, ["orders-high", "orders", "background", "scheduled"]);
    assert_eq!(config.task_queues[0].workers, 2);
    assert_eq!(config.task_queues[2].activities_per_second, Some(5.0));
}

#[test]
fn the_environment_and_its_synonyms_override_the_file_and_no_key_is_shown() {
    let environment = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    let text = "[connection]\naddress = \"file:1\"\nnamespace = \"shop\"\n";
    let parse = |pairs: &[(&str, &str)]| Config::parse("worker.toml", text, &environment(pairs));
    for (name, value, address) in [
        ("TEMPORAL_ADDRESS", "env:2", "env:2"),
        ("TEMPORAL_URL", "https://env:3/", "env:3"),
        ("TEMPORAL_HOST", "env", "env:7233"),
    ] {
        let connection = parse(&[(name, value)]).expect("valid").connection;
        assert_eq!(
            (connection.address.as_str(), connection.namespace.as_str()),
            (address, "shop"),
            "{name}"
        );
        assert_eq!(connection.encrypted, name == "TEMPORAL_URL");
    }
    let pem = "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----";
    let connection = parse(&[("TEMPORAL_CLIENT_CERT", pem), ("TEMPORAL_CLIENT_KEY", pem)])
        .expect("valid")
        .connection;
    assert!(matches!(
        connection.credential,
        temporal_worker_kit::Credential::Certificate { .. }
    ));
    let shown = format!("{:?}", parse(&[("TEMPORAL_API_KEY", "s3cret")]).expect("valid"));
    assert!(!shown.contains("s3cret"), "{shown}");
    let refused =
        parse(&[("TEMPORAL_API_KEY", "s3cret"), ("TEMPORAL_TLS", "false")]).expect_err("clear text");
    assert!(
        refused.to_string().contains("clear text") && !refused.to_string().contains("s3cret"),
        "{refused}"
    );
}

#[test]
fn a_profile_of_temporals_own_file_is_the_lowest_layer() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("temporal.toml");
    std::fs::write(
        &file,
        "[profile.prod]\naddress = \"prod:7233\"\nnamespace = \"orders\"\n",
    )
    .expect("written");
    let mut environment = BTreeMap::from([
        ("TEMPORAL_CONFIG_FILE".to_owned(), file.display().to_string()),
        ("TEMPORAL_PROFILE".to_owned(), "prod".to_owned()),
    ]);
    let parse = |environment: &BTreeMap<String, String>| {
        Config::parse("worker.toml", "[connection]\nnamespace = \"shop\"\n", environment)
    };
    let connection = parse(&environment).expect("valid").connection;
    assert_eq!(
        (connection.address.as_str(), connection.namespace.as_str()),
        ("prod:7233", "shop")
    );
    environment.insert("TEMPORAL_PROFILE".to_owned(), "absent".to_owned());
    assert!(
        parse(&environment)
            .expect_err("no such profile")
            .to_string()
            .contains("absent")
    );
    std::fs::write(&file, "[profile.prod]\napi_key = \"s3cret\n").expect("written");
    let broken = parse(&environment).expect_err("broken").to_string();
    assert!(!broken.contains("s3cret"), "{broken}");
}

#[test]
fn the_worker_of_the_readme_is_the_example() {
    let example = include_str!("../../examples/greetings.rs");
    let code = &example[example.find("use std::").expect("code")..];
    assert!(include_str!("../../README.md").contains(code));
}
