//! One server for all tests, with a separate namespace and worker for each.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::Duration;

use approval_flow::policy::PolicyFile;
use approval_flow::{ApprovalFlow, Approvals, Driver, registry};
use prost::Message;
use temporal_worker_kit::{Config, Kit, Registry, Running};
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::IntoRequest;
use temporalio_client::{Client, UntypedWorkflow, WorkflowFetchHistoryOptions};
use temporalio_common::protos::temporal::api::history::v1::History;
use temporalio_common::protos::temporal::api::workflowservice::v1::RegisterNamespaceRequest;
use temporalio_sdk::workflow_replayer::{
    WorkflowReplayer, WorkflowReplayerOptions, WorkflowReplayerOptionsBuilder,
};

/// If set to 1, the histories of this run replace the fixtures.
pub(crate) const RECORD: &str = "APPROVAL_FLOW_RECORD_HISTORIES";

/// Starts the server on a thread that keeps it running until the process ends.
pub(crate) fn server() -> SocketAddr {
    static SERVER: OnceLock<SocketAddr> = OnceLock::new();
    *SERVER.get_or_init(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(async {
                let options = temporal_dev_server::Options::default();
                let server = temporal_dev_server::start(&options, &|_| {})
                    .await
                    .expect("a server");
                sender.send(server.address()).expect("the test waits");
                std::future::pending::<()>().await;
            });
        });
        receiver.recv().expect("the server starts")
    })
}

/// The namespace and the files of one test.
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) client: Client,
    pub(crate) folder: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new(test: &str) -> Self {
        let mut config = Config {
            listen: None,
            grace: Duration::from_secs(2),
            ..Config::default()
        };
        config.connection.address = server().to_string();
        config.connection.namespace = format!("{test}-{}", std::process::id());
        "approval-flow-tests".clone_into(&mut config.connection.identity);
        let client = config.connection.connect().await.expect("connected");
        let register = RegisterNamespaceRequest {
            namespace: config.connection.namespace.clone(),
            workflow_execution_retention_period: Some(Duration::from_hours(24).try_into().expect("in range")),
            ..Default::default()
        };
        let mut attempts = 0;
        while let Err(error) = client
            .clone()
            .register_namespace(register.clone().into_request())
            .await
        {
            attempts += 1;
            assert!(attempts < 50, "{error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Self {
            config,
            client,
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn approvals(&self, rules: Option<&Path>) -> Approvals {
        let policy = PolicyFile::open(rules.map(Path::to_owned)).expect("valid rules");
        Approvals::new(policy, Some(self.path("audit.jsonl")))
    }

    pub(crate) async fn worker(&self, rules: Option<&Path>) -> Running {
        self.worker_of(registry(self.approvals(rules)), self.config.clone())
            .await
    }

    pub(crate) async fn worker_of(&self, registry: Registry, config: Config) -> Running {
        Kit::new(config, registry).start().await.expect("started")
    }

    /// Runs the program against this namespace.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("ran")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_approval-flow"));
        command
            .args(arguments)
            .env("TEMPORAL_ADDRESS", &self.config.connection.address)
            .env("TEMPORAL_NAMESPACE", &self.config.connection.namespace)
            .env("USER", "ada")
            .current_dir(self.folder.path());
        command
    }

    pub(crate) async fn history(&self, id: &str) -> History {
        let handle = self.client.get_workflow_handle::<UntypedWorkflow>(id);
        let history = handle.fetch_history(WorkflowFetchHistoryOptions::builder().build());
        History {
            events: history.into_events().await.expect("a history"),
        }
    }
}

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/histories"))
}

/// Saves a history as a fixture if requested.
pub(crate) fn keep(history: &History, name: &str) {
    if std::env::var(RECORD).as_deref() == Ok("1") {
        std::fs::write(folder().join(format!("{name}.pb")), history.encode_to_vec()).expect("kept");
    }
}

pub(crate) async fn replay(history: History) -> Result<(), String> {
    assert!(!history.events.is_empty());
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<ApprovalFlow>()
        .and_then(WorkflowReplayerOptionsBuilder::register_workflow::<Driver>)
        .expect("the names differ")
        .build();
    let replayer = WorkflowReplayer::new(options).expect("a replayer");
    tokio::time::timeout(Duration::from_secs(30), replayer.replay_workflow(history.into()))
        .await
        .map_err(|_| "not in time".to_owned())?
        .map_err(|error| format!("{error:?}"))
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}
