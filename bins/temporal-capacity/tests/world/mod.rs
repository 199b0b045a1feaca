//! A simulated cloud, and the program under test.

#![allow(dead_code, reason = "each test binary uses only parts of it")]

use std::path::Path;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use cloud_simulator::{Account, RunningSimulator, SimulatorOptions};
use jiff::SignedDuration;

/// A simulated cloud and a working directory.
pub(crate) struct World {
    pub(crate) cloud: RunningSimulator,
    pub(crate) folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

pub(crate) fn options() -> SimulatorOptions {
    let mut options = SimulatorOptions::new(Account::demo());
    options.speed = 20.0;
    options.operation_lag = SignedDuration::from_secs(1);
    options.capacity_lag = SignedDuration::from_secs(1);
    options.check_duration = SignedDuration::from_secs(1);
    options
}

impl World {
    pub(crate) fn new(options: SimulatorOptions) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let cloud = runtime
            .block_on(cloud_simulator::start(options))
            .expect("started");
        Self {
            cloud,
            folder: tempfile::tempdir().expect("a folder"),
            runtime,
        }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(self.folder.path());
        command
            .args(arguments)
            .env("CLOUD_OPS_API_BASE_URL", self.cloud.ops_url())
            .env("CLOUD_METRICS_API_BASE_URL", self.cloud.metrics_url())
            .env("TEMPORAL_CLOUD_OPS_API_KEY", self.cloud.ops_key())
            .env("TEMPORAL_CLOUD_METRICS_API_KEY", self.cloud.metrics_key())
            // A test waits for one minute of data instead of an hour.
            .env("DISABLE_ON_ESTIMATE", "true");
        command
    }

    /// Returns a command with streams and signals chosen by the caller. It records into `ledger.db` in the
    /// working directory.
    pub(crate) fn process(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_temporal-capacity"));
        command
            .args(arguments)
            .env_clear()
            .current_dir(self.folder.path())
            .env("CLOUD_OPS_API_BASE_URL", self.cloud.ops_url())
            .env("CLOUD_METRICS_API_BASE_URL", self.cloud.metrics_url())
            .env("TEMPORAL_CLOUD_OPS_API_KEY", self.cloud.ops_key())
            .env("TEMPORAL_CLOUD_METRICS_API_KEY", self.cloud.metrics_key())
            .env("SLACK_WEBHOOK_URL", self.cloud.slack_url())
            .env("LEDGER_URL", "ledger.db")
            .env("DISABLE_ON_ESTIMATE", "true");
        command
    }

    /// Returns the outcomes of all changes in the ledger, sorted.
    pub(crate) fn recorded(&self) -> Vec<String> {
        let assert = self
            .command(&["history", "--changes", "-o", "json"])
            .env("LEDGER_URL", "ledger.db")
            .assert()
            .success();
        let rows: serde_json::Value =
            serde_json::from_slice(&assert.get_output().stdout).expect("one JSON document");
        let rows = rows.as_array().expect("rows").iter();
        let mut outcomes: Vec<String> = rows
            .filter_map(|row| row["outcome"].as_str().map(str::to_owned))
            .collect();
        outcomes.sort();
        outcomes
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Assert {
        self.command(arguments).assert()
    }
}

/// Returns a command without the settings of this machine.
pub(crate) fn program(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("temporal-capacity").expect("the binary is built");
    command
        .env_clear()
        .current_dir(folder)
        .timeout(std::time::Duration::from_mins(1));
    command
}

pub(crate) fn output(assert: &Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stdout).into_owned()
}

pub(crate) fn errors(assert: &Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stderr).into_owned()
}

impl Drop for World {
    fn drop(&mut self) {
        // The server's task ends with its runtime.
        let _guard = self.runtime.enter();
    }
}
