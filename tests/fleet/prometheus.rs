//! Runs a real Prometheus with more than an hour of one-minute samples, as if it had scraped the endpoint.

use std::io::{BufWriter, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;

use anyhow::Context;
use tokio::process::{Child, Command};

use crate::world::{MINUTES, World, until};

/// The metric families of each namespace, and their values at a given rate of served and throttled actions.
const FAMILIES: [(&str, &str); 12] = [
    (
        "temporal_cloud_v1_total_action_count",
        r#",is_background="false",namespace_mode="active""#,
    ),
    ("temporal_cloud_v1_total_action_throttled_count", ""),
    ("temporal_cloud_v1_action_limit", r#",region="aws-us-east-1""#),
    ("temporal_cloud_v1_action_on_demand_envelope_limit", ""),
    (
        "temporal_cloud_v1_service_request_count",
        r#",operation="StartWorkflowExecution",region="aws-us-east-1""#,
    ),
    (
        "temporal_cloud_v1_service_request_throttled_count",
        r#",operation="StartWorkflowExecution",region="aws-us-east-1""#,
    ),
    (
        "temporal_cloud_v1_service_request_limit",
        r#",region="aws-us-east-1""#,
    ),
    ("temporal_cloud_v1_service_request_on_demand_envelope_limit", ""),
    (
        "temporal_cloud_v1_operations_count",
        r#",operation="execution_update",is_background="false",namespace_mode="active",region="aws-us-east-1""#,
    ),
    (
        "temporal_cloud_v1_operations_throttled_count",
        r#",operation="execution_update",is_background="false",namespace_mode="active",region="aws-us-east-1""#,
    ),
    ("temporal_cloud_v1_operations_limit", r#",region="aws-us-east-1""#),
    ("temporal_cloud_v1_operations_on_demand_envelope_limit", ""),
];

pub(crate) struct Prometheus {
    address: SocketAddr,
    _child: Child,
}

impl Prometheus {
    /// Writes the samples as blocks with `promtool` and starts the server with them.
    pub(crate) async fn start(programs: &Path, folder: &Path, world: &World) -> anyhow::Result<Self> {
        let folder = folder.join("prometheus");
        std::fs::create_dir_all(&folder)?;
        let (text, data, config) = (
            folder.join("samples.txt"),
            folder.join("data"),
            folder.join("prometheus.yml"),
        );
        write_samples(&text, world)?;
        let made = Command::new(programs.join("promtool"))
            .args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"])
            .arg(&text)
            .arg(&data)
            .stdout(Stdio::null())
            .status()
            .await
            .context("promtool cannot be started")?;
        anyhow::ensure!(made.success(), "promtool failed");
        std::fs::remove_file(&text)?;
        std::fs::write(&config, "{}\n")?;
        let address = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?.local_addr()?;
        let child = Command::new(programs.join("prometheus"))
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address={address}"))
            .args(["--query.max-samples=200000000", "--log.level=error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("Prometheus cannot be started")?;
        // Ignore the error if a provider is already installed; both are the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build()?;
        let ready = format!("http://{address}/-/ready");
        until("ready", async || {
            let answer = http.get(&ready).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
        .await?;
        crate::say("Prometheus is ready");
        Ok(Self {
            address,
            _child: child,
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn write_samples(path: &Path, world: &World) -> anyhow::Result<()> {
    let mut out = BufWriter::new(std::fs::File::create(path)?);
    let newest = world.cloud.now().as_second().div_euclid(60) - 1;
    let namespaces = world.cloud.namespaces();
    for (index, (family, labels)) in FAMILIES.iter().enumerate() {
        writeln!(out, "# TYPE {family} gauge")?;
        for namespace in &namespaces {
            let units = f64::from(namespace.trus.max(1));
            let noise = || 0.95 + fastrand::f64() / 10.0;
            let value = || match index {
                0 => namespace.served_actions * noise(),
                1 => namespace.throttled * noise(),
                2 => units * 500.0,
                3 => 500.0,
                4 => namespace.served_actions * 2.0 * noise(),
                6 => units * 1_500.0,
                7 => 2_000.0,
                8 => namespace.served_actions * 5.0 * noise(),
                10 => units * 4_000.0,
                11 => 4_000.0,
                _ => 0.0,
            };
            // A series exists only if it was reported, and no namespace is throttled by requests or
            // operations here.
            if matches!(index, 5 | 9) || (index == 1 && namespace.throttled <= 0.0) {
                continue;
            }
            for minute in newest - MINUTES + 1..=newest {
                writeln!(
                    out,
                    "{family}{{temporal_namespace=\"{}\",temporal_account=\"a1b2c\"{labels}}} {:.3} {}",
                    namespace.id,
                    value(),
                    minute * 60
                )?;
            }
        }
    }
    writeln!(out, "# EOF")?;
    out.flush()?;
    Ok(())
}
