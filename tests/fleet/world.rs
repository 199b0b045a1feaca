//! The simulated cloud, the Temporal server, and a client for it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use capacity_workflows::controller::Controller;
use capacity_workflows::{ConnectionSettings, Installation, Status};
use cloud_simulator::RunningSimulator;
use temporal_dev_server::{DevServer, Options};
use temporalio_client::Client;

use crate::Arguments;

pub(crate) const ACCOUNT: &str = "a1b2c";
/// Minutes that the ledger and Prometheus contain: the window of an evaluation, plus the delay of its newest
/// minute.
pub(crate) const MINUTES: i64 = 75;
/// Requests per hour that the endpoint allows per account.
pub(crate) const REQUESTS_PER_HOUR: &str = "180";
/// Timeout for any wait. Only a hang takes this long.
pub(crate) const PATIENT: Duration = Duration::from_mins(5);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

pub(crate) struct World {
    pub(crate) cloud: RunningSimulator,
    pub(crate) client: Client,
    pub(crate) installation: Installation,
    server: DevServer,
}

impl World {
    /// Starts a Temporal server for this cloud.
    pub(crate) async fn start(cloud: RunningSimulator, database: Option<PathBuf>) -> anyhow::Result<Self> {
        let options = Options {
            database_file: database,
            ..Options::default()
        };
        let server = temporal_dev_server::start(&options, &|what| crate::say(what)).await?;
        let connection = ConnectionSettings {
            address: server.address().to_string(),
            namespace: "default".to_owned(),
            identity: "fleet".to_owned(),
            ..ConnectionSettings::default()
        };
        Ok(Self {
            client: connection.connect().await?,
            cloud,
            installation: Installation::default(),
            server,
        })
    }

    /// Returns the worker's environment, with additional settings.
    pub(crate) fn environment(&self, more: &[(&str, String)]) -> Vec<(String, String)> {
        let mut environment: Vec<(String, String)> = [
            ("TEMPORAL_ADDRESS", self.server.address().to_string()),
            ("TEMPORAL_NAMESPACE", "default".to_owned()),
            ("CLOUD_OPS_API_BASE_URL", self.cloud.ops_url()),
            ("CLOUD_METRICS_API_BASE_URL", self.cloud.metrics_url()),
            ("SLACK_WEBHOOK_URL", self.cloud.slack_url()),
            ("TEMPORAL_CLOUD_OPS_API_KEY", self.cloud.ops_key()),
            ("TEMPORAL_CLOUD_METRICS_API_KEY", self.cloud.metrics_key()),
            ("METRICS_REQUESTS_PER_HOUR", REQUESTS_PER_HOUR.to_owned()),
            // As in the image and the systemd unit.
            ("MALLOC_ARENA_MAX", "1".to_owned()),
            ("MALLOC_MMAP_THRESHOLD_", "65536".to_owned()),
            ("MALLOC_TRIM_THRESHOLD_", "131072".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        environment.extend(
            more.iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
        environment
    }

    /// Returns a handle to the controller.
    pub(crate) fn controller(&self) -> Controller {
        Controller::new(&self.client, &self.installation)
    }

    /// Returns the controller's status; `None` if there is no controller yet.
    pub(crate) async fn status(&self) -> Option<Status> {
        self.controller().status(Duration::from_secs(20)).await.ok()
    }

    /// Returns the number of requests to the metrics endpoint so far.
    pub(crate) fn scrapes(&self) -> u64 {
        self.requests(|route| route == "GET /v1/metrics")
    }

    /// Returns the number of requests to the Cloud Ops API so far.
    pub(crate) fn ops_requests(&self) -> u64 {
        self.requests(|route| route.contains("/cloud/"))
    }

    fn requests(&self, is_counted: impl Fn(&str) -> bool) -> u64 {
        let requests = self.cloud.requests();
        let counted = requests.iter().filter(|(route, _)| is_counted(route));
        counted.map(|(_, count)| count).sum()
    }

    pub(crate) async fn shutdown(self) {
        self.server.shutdown().await;
        self.cloud.shutdown().await;
    }
}

/// Waits until a condition is true.
pub(crate) async fn until(what: &str, is_so: impl AsyncFn() -> bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !is_so().await {
        anyhow::ensure!(begun.elapsed() < PATIENT, "not {what} within 5 minutes");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// Creates an empty folder for the files of a run.
pub(crate) fn empty_folder(arguments: &Arguments) -> anyhow::Result<PathBuf> {
    let folder = match &arguments.folder {
        Some(folder) => folder.clone(),
        None => crate::programs()?.join("../fleet"),
    };
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    folder.canonicalize().context("the folder")
}

/// Returns the size of a file in MB; 0 if the file does not exist.
pub(crate) fn megabytes(path: &Path) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "sizes of files fit 53 bits")]
    let bytes = std::fs::metadata(path).map_or(0.0, |file| file.len() as f64);
    bytes / 1e6
}
