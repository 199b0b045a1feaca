//! Runs the worker as a process with its own settings, and measures it through the kernel.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::process::{Child, Command};

/// Kernel clock ticks per second.
const TICKS: f64 = 100.0;
/// Timeout for a worker to drain.
const DRAINED_WITHIN: Duration = Duration::from_mins(2);

/// The worker process that is measured.
pub(crate) struct Worker {
    child: Child,
    id: u32,
}

impl Worker {
    /// Starts the worker with only these environment variables and with its log in a file.
    pub(crate) fn start(
        folder: &Path,
        name: &str,
        environment: &[(String, String)],
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let log = std::fs::File::create(folder.join(format!("{name}.log")))?;
        let program = crate::programs()?.join("capacity-worker");
        let child = Command::new(&program)
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .env_clear()
            .envs(environment.iter().cloned())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let id = child.id().context("the worker has ended")?;
        Ok(Self { child, id })
    }

    /// Returns the CPU time used so far, in seconds.
    pub(crate) fn cpu(&self) -> anyhow::Result<f64> {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.id)).context("the worker has ended")?;
        // The name, in parentheses, may contain spaces; the 14th and 15th fields are user and system time.
        let (_, fields) = stat.rsplit_once(')').context("a process has a name")?;
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: f64 = ticks.filter_map(|field| field.parse::<f64>().ok()).sum();
        Ok(ticks / TICKS)
    }

    /// Returns the current resident memory in MB.
    pub(crate) fn resident(&self) -> anyhow::Result<f64> {
        self.status("VmRSS:")
    }

    /// Returns the peak resident memory in MB.
    pub(crate) fn peak(&self) -> anyhow::Result<f64> {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> anyhow::Result<f64> {
        let path = format!("/proc/{}/status", self.id);
        let status = std::fs::read_to_string(path).context("the worker has ended")?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|line| line.split_whitespace().next());
        let kilobytes: f64 = kilobytes.context("the kernel reports memory")?.parse()?;
        Ok(kilobytes * 1_024.0 / 1e6)
    }

    /// Drains the worker and waits until it has ended.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        Command::new("kill").arg(self.id.to_string()).status().await?;
        let ended = tokio::time::timeout(DRAINED_WITHIN, self.child.wait()).await;
        ended.context("the worker does not drain")??;
        Ok(())
    }
}
