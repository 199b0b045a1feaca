//! A running cloud: its addresses and keys, and access to its state.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::SLACK_TOKEN;
use crate::account::NamespaceSetup;
use crate::billing::HourBill;
use crate::cloud::{AcceptedUpdate, CapacityChange, Cloud};
use crate::faults::Faults;
use crate::incidents::Incident;
use crate::options::SimulatorOptions;
use crate::server::{Shared, router};

/// Why a simulated cloud could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address that is not loopback.
    #[error("{0} is not a loopback address: the simulated cloud listens on loopback only")]
    NotLoopback(SocketAddr),
    /// An address that is not available.
    #[error("cannot listen on {address}")]
    Listen {
        /// Address to listen on.
        address: SocketAddr,
        /// Why the address is not available.
        #[source]
        source: std::io::Error,
    },
}

/// A simulated cloud on loopback. It stops when this is dropped or [`RunningSimulator::shutdown`] is called.
#[derive(Debug)]
pub struct RunningSimulator {
    address: SocketAddr,
    shared: Shared,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<std::io::Result<()>>>,
}

/// The current state of a namespace.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct NamespaceView {
    /// Full id of the namespace.
    pub id: String,
    /// TRUs in effect; 0 means on-demand.
    pub trus: u32,
    /// Spec of the namespace.
    pub spec: Value,
    /// Resource version of the namespace.
    pub resource_version: String,
    /// Actions per second served in the newest minute.
    pub served_actions: f64,
    /// Actions, requests or operations per second throttled in the newest minute, whichever limit binds.
    pub throttled: f64,
    /// Total minutes that actions have waited, since the first simulated minute.
    pub action_minutes: f64,
}

/// Starts a cloud.
///
/// # Errors
///
/// If the address is not loopback or not available.
pub async fn start(options: SimulatorOptions) -> Result<RunningSimulator, StartError> {
    let wanted = options.listen;
    if !wanted.ip().is_loopback() {
        return Err(StartError::NotLoopback(wanted));
    }
    let unavailable = |source| StartError::Listen {
        address: wanted,
        source,
    };
    let listener = tokio::net::TcpListener::bind(wanted).await.map_err(unavailable)?;
    let address = listener.local_addr().map_err(unavailable)?;
    let shared = Shared::new(Cloud::new(options));
    let (stop, stopped) = oneshot::channel();
    let router = router(shared.clone());
    let server = tokio::spawn(async move {
        axum::serve(listener, router)
            .with_graceful_shutdown(async move {
                let _ = stopped.await;
            })
            .await
    });
    Ok(RunningSimulator {
        address,
        shared,
        stop: Some(stop),
        server: Some(server),
    })
}

impl RunningSimulator {
    /// Returns the base URL of the Cloud Ops API.
    pub fn ops_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the base URL of the metrics endpoint.
    pub fn metrics_url(&self) -> String {
        self.ops_url()
    }

    /// Returns the base URL of the Prometheus API, which has the minutes of the last hour.
    pub fn prometheus_url(&self) -> String {
        self.ops_url()
    }

    /// Returns the address of the Slack webhook.
    pub fn slack_url(&self) -> String {
        format!("http://{}/slack/{SLACK_TOKEN}", self.address)
    }

    /// Returns the base URL of the collector for traces.
    pub fn traces_url(&self) -> String {
        self.ops_url()
    }

    /// Returns the key of the Cloud Ops API.
    pub fn ops_key(&self) -> String {
        self.shared.cloud().options.ops_key.clone()
    }

    /// Returns the key of the metrics endpoint.
    pub fn metrics_key(&self) -> String {
        self.shared.cloud().options.metrics_key.clone()
    }

    /// Returns the key that may create billing reports.
    pub fn billing_key(&self) -> String {
        self.shared.cloud().options.billing_key.clone()
    }

    /// Returns the virtual time.
    pub fn now(&self) -> Timestamp {
        self.shared.cloud().now()
    }

    /// Advances the virtual clock, and simulates everything in between.
    pub fn advance(&self, by: SignedDuration) {
        let mut cloud = self.shared.cloud();
        cloud.clock.advance(by);
        cloud.now();
    }

    /// Sets the faults from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.cloud().faults = faults;
    }

    /// Returns a namespace by its full id.
    pub fn namespace(&self, id: &str) -> Option<NamespaceView> {
        let mut cloud = self.shared.cloud();
        cloud.now();
        let number = *cloud.by_id.get(id)?;
        Some(view(&cloud, number))
    }

    /// Returns all namespaces.
    pub fn namespaces(&self) -> Vec<NamespaceView> {
        let mut cloud = self.shared.cloud();
        cloud.now();
        (0..cloud.namespaces.len())
            .map(|number| view(&cloud, number))
            .collect()
    }

    /// Adds a namespace, which returns 403 for its first minute.
    pub fn add_namespace(&self, setup: NamespaceSetup) {
        self.shared.cloud().add(setup);
    }

    /// Sets a capacity immediately, as someone else. Returns whether the namespace exists.
    pub fn set_capacity_by_others(&self, id: &str, trus: u32) -> bool {
        self.shared.cloud().set_by_others(id, trus)
    }

    /// Edits a field of a spec immediately, as someone else. Returns whether the namespace exists.
    pub fn edit_spec_by_others(&self, id: &str, field: &str, value: Value) -> bool {
        self.shared.cloud().edit_by_others(id, field, value)
    }

    /// Returns what updates changed besides the capacity.
    pub fn incidents(&self) -> Vec<Incident> {
        self.shared.cloud().incidents.clone()
    }

    /// Returns the capacity changes that took effect, in order.
    pub fn changes(&self) -> Vec<CapacityChange> {
        let mut cloud = self.shared.cloud();
        cloud.now();
        cloud.changes.clone()
    }

    /// Returns the accepted updates, in order, including those that have not taken effect yet.
    pub fn accepted(&self) -> Vec<AcceptedUpdate> {
        self.shared.cloud().accepted()
    }

    /// Returns the number of requests to each route.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        self.shared.journal().requests.clone()
    }

    /// Returns the messages that were posted to Slack.
    pub fn slack_messages(&self) -> Vec<Value> {
        self.shared.journal().slack.clone()
    }

    /// Returns the bodies that were posted as traces: protobuf messages of OTLP.
    pub fn traces(&self) -> Vec<Vec<u8>> {
        self.shared
            .journal()
            .traces
            .iter()
            .map(|body| body.to_vec())
            .collect()
    }

    /// Returns the bill: by namespace and hour (since 1970).
    pub fn bills(&self) -> BTreeMap<String, BTreeMap<i64, HourBill>> {
        let mut cloud = self.shared.cloud();
        cloud.now();
        cloud
            .namespaces
            .iter()
            .map(|namespace| (namespace.id.clone(), namespace.bills.clone()))
            .collect()
    }

    /// Returns the cost of all shortfalls in an hour (since 1970) at a price in dollars per million actions.
    pub fn shortfall_cost(&self, hour: i64, price_per_million: Decimal) -> Decimal {
        let mut cloud = self.shared.cloud();
        cloud.now();
        let bills = cloud
            .namespaces
            .iter()
            .filter_map(|namespace| namespace.bills.get(&hour));
        bills.map(|bill| bill.shortfall_cost(price_per_million)).sum()
    }

    /// Stops listening, and waits until the server has stopped.
    pub async fn shutdown(mut self) {
        drop(self.stop.take());
        if let Some(server) = self.server.take() {
            // Without a time limit, shutdown would wait for connections that clients keep open.
            let _ = tokio::time::timeout(std::time::Duration::from_millis(200), server).await;
        }
    }
}

impl Drop for RunningSimulator {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

fn view(cloud: &Cloud, number: usize) -> NamespaceView {
    let namespace = &cloud.namespaces[number];
    let newest = namespace.minutes.back().copied().unwrap_or_default();
    NamespaceView {
        id: namespace.id.clone(),
        trus: namespace.trus,
        spec: namespace.spec.clone(),
        resource_version: namespace.version_text(),
        served_actions: newest.served[0],
        throttled: newest.throttled.iter().sum(),
        action_minutes: namespace.action_minutes,
    }
}
