//! The lifecycle of a worker process: connect, poll, serve metrics and health, reload, drain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use process_edge::{Signal, Signals, flush_errors};
use serde_json::{Map, Value};
use temporalio_client::Client;
use temporalio_common::telemetry::metrics::{CoreMeter, TemporalMeter};
use temporalio_common::telemetry::{
    PrometheusExporterOptions, TelemetryOptions, start_prometheus_metric_exporter, telemetry_init,
};
use temporalio_sdk::runtime::RuntimeOptions;
use temporalio_sdk::{Runtime, WorkerOptions};
use tokio::sync::{mpsc, watch};

use crate::backlog::Backlog;
use crate::client::{InUse, SharedClient};
use crate::config::{Config, TaskQueue};
use crate::health::{Health, NotReady, Phase};
use crate::http::{ExtraCondition, ExtraMetrics, ExtraReadiness, Server, Shown, serve};
use crate::kit_error::KitError;
use crate::metrics::QueueMetrics;
use crate::mistake::Mistakes;
use crate::refusals;
use crate::registry::Registry;
use crate::reload::Contents;
use crate::worker::{Ended, Generation, options};

/// Time that workers may take beyond the grace period to report canceled activities.
const BEYOND_GRACE: Duration = Duration::from_secs(5);

/// Maximum time for the last log lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// A worker process that is about to start.
pub struct Kit {
    config: Config,
    registry: Registry,
    has_workers: bool,
    routes: Router,
    metrics: Vec<ExtraMetrics>,
    readiness: Vec<ExtraReadiness>,
    conditions: Vec<ExtraCondition>,
    on_drain: Vec<OnDrain>,
}

/// The application's callback for the beginning of the drain.
type OnDrain = Box<dyn FnOnce() + Send + Sync>;

impl Kit {
    /// Creates a process that runs the registered workflows and activities.
    pub fn new(config: Config, registry: Registry) -> Self {
        Self {
            config,
            registry,
            has_workers: true,
            routes: Router::new(),
            metrics: Vec::new(),
            readiness: Vec::new(),
            conditions: Vec::new(),
            on_drain: Vec::new(),
        }
    }

    /// Creates a process without workers, which serves its routes and starts workflows.
    pub fn without_workers(config: Config) -> Self {
        Self {
            has_workers: false,
            ..Self::new(config, Registry::new())
        }
    }

    /// Returns the client of this process, for its routes and background work.
    pub fn client(&self) -> SharedClient {
        self.registry.client()
    }

    /// Adds routes to the server that serves `/metrics`.
    #[must_use]
    pub fn routes(mut self, routes: Router) -> Self {
        self.routes = self.routes.merge(routes);
        self
    }

    /// Adds metrics of the application, in the Prometheus text format, to `/metrics`.
    #[must_use]
    pub fn metrics(mut self, text: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.metrics.push(Arc::new(text));
        self
    }

    /// Adds the application's keys to `/readyz`.
    #[must_use]
    pub fn readiness(mut self, keys: impl Fn() -> Map<String, Value> + Send + Sync + 'static) -> Self {
        self.readiness.push(Arc::new(keys));
        self
    }

    /// Adds a readiness condition: `/readyz` returns 503 with the reason while it is not met.
    #[must_use]
    pub fn ready_if(mut self, condition: impl Fn() -> Result<(), NotReady> + Send + Sync + 'static) -> Self {
        self.conditions.push(Arc::new(condition));
        self
    }

    /// Sets a callback for when the workers begin to drain, so that activities that would never end can
    /// return.
    #[must_use]
    pub fn on_drain(mut self, call: impl FnOnce() + Send + Sync + 'static) -> Self {
        self.on_drain.push(Box::new(call));
        self
    }

    /// Runs until SIGTERM, SIGHUP or Ctrl-C, then drains. A second signal ends the process at once.
    ///
    /// # Errors
    ///
    /// If the process cannot start, a worker stops unexpectedly, or workers do not drain within the grace
    /// period.
    pub async fn run(self) -> Result<(), KitError> {
        let signals = Signals::listen().map_err(KitError::Signals)?;
        let outcome = self.run_until(signals.first()).await;
        // A separate thread writes the last lines of the log.
        flush_errors(LAST_LINES);
        outcome
    }

    async fn run_until(self, stopped: impl Future<Output = Signal>) -> Result<(), KitError> {
        let mut stopped = std::pin::pin!(stopped);
        let mut running = tokio::select! {
            running = self.start() => running?,
            _ = &mut stopped => return Ok(()),
        };
        let outcome = tokio::select! {
            outcome = running.wait() => outcome,
            signal = &mut stopped => {
                let signal = signal.as_str();
                tracing::info!(signal, "draining; a second signal ends the process at once");
                running.stop();
                running.wait().await
            }
        };
        if let Some(http) = running.http {
            http.finish().await;
        }
        outcome
    }

    /// Connects and starts polling.
    ///
    /// # Errors
    ///
    /// If configuration and registrations do not match, or the process cannot start.
    pub async fn start(self) -> Result<Running, KitError> {
        let config = self.config;
        let client = self.registry.client();
        let resolved = self
            .registry
            .resolve(&config, self.has_workers)
            .map_err(Mistakes)?;
        let sdk = Sdk::start()?;
        let health = Health::new();
        let backlog = Backlog::default();
        let mut queues = Vec::new();
        let mut counters = Vec::new();
        for (queue, registered) in resolved {
            let metrics = QueueMetrics::new(&queue.name, &registered);
            let mut template = registered.template;
            template.activity_inbound_interceptor(metrics.activities());
            template.workflow_interceptor(metrics.workflows());
            counters.push(metrics);
            let options = options(template, &queue, &config.deployment, config.grace);
            queues.push((queue, options));
        }
        // Before the connection: while the service is unreachable, `/healthz` must answer and `/readyz` say
        // why not.
        let mut http = None;
        if let Some(address) = config.listen {
            let shown = Shown {
                sdk_metrics: sdk.exporter,
                health: health.clone(),
                queues: counters,
                backlog: backlog.clone(),
                metrics: self.metrics,
                readiness: self.readiness,
                conditions: self.conditions,
            };
            let served = serve(address, shown, self.routes).await;
            http = Some(served.map_err(|source| KitError::Listen { address, source })?);
        }
        let fleet = Fleet {
            config,
            sdk,
            queues,
            health,
            client: client.clone(),
            in_use: InUse::default(),
            on_drain: self.on_drain,
            ended: mpsc::unbounded_channel(),
        };
        let clients = fleet.connect().await?;
        fleet.use_clients(&clients);
        let generation = fleet.start(&clients)?;
        let phase = if self.has_workers {
            Phase::Polling
        } else {
            Phase::Serving
        };
        fleet.health.work(phase, client.clone());
        let names: Vec<String> = fleet.queues.iter().map(|(queue, _)| queue.name.clone()).collect();
        tracing::info!(
            address = fleet.config.connection.address,
            namespace = fleet.config.connection.namespace,
            task_queues = names.join(","),
            listen = http.as_ref().map(|http| tracing::field::display(http.address)),
            "{}",
            phase.name()
        );
        if http.is_some() {
            tokio::spawn(backlog.follow(client.clone(), names));
        }
        let (stop, stopped) = watch::channel(false);
        let life = tokio::spawn(async move { fleet.live(generation, clients, stopped).await });
        Ok(Running {
            stop,
            life: Some(life),
            client,
            http,
        })
    }
}

/// A worker process that polls. It drains when this is dropped.
pub struct Running {
    stop: watch::Sender<bool>,
    life: Option<tokio::task::JoinHandle<Result<(), KitError>>>,
    client: SharedClient,
    http: Option<Server>,
}

impl Running {
    /// Returns a client on the connection of the workers. Call it for each use, because it is replaced when
    /// certificates change.
    pub fn client(&self) -> Client {
        self.client.get()
    }

    /// Returns the address of `/metrics`.
    pub fn listen(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(|http| http.address)
    }

    /// Starts to drain the workers.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until the workers have ended. Later calls return immediately.
    ///
    /// # Errors
    ///
    /// If a worker stopped unexpectedly, or workers did not drain within the grace period.
    pub async fn wait(&mut self) -> Result<(), KitError> {
        let Some(life) = &mut self.life else {
            return Ok(());
        };
        let outcome = life.await;
        self.life = None;
        outcome.unwrap_or_else(|error| Err(KitError::Sdk(error.to_string())))
    }
}

/// The SDK's runtime and its metrics.
struct Sdk {
    runtime: Runtime,
    meter: Option<TemporalMeter>,
    exporter: SocketAddr,
}

impl Sdk {
    fn start() -> Result<Self, KitError> {
        let failed = |error: &dyn std::fmt::Display| KitError::Sdk(error.to_string());
        // The SDK's exporter listens on its own loopback port; its text is appended to ours.
        let exporter = start_prometheus_metric_exporter(
            PrometheusExporterOptions::builder()
                .socket_addr(SocketAddr::from(([127, 0, 0, 1], 0)))
                .counters_total_suffix(true)
                .unit_suffix(true)
                .use_seconds_for_durations(true)
                .build(),
        )
        .map_err(|error| failed(&error))?;
        let telemetry = TelemetryOptions::builder()
            .metrics(exporter.meter.clone() as Arc<dyn CoreMeter>)
            .build();
        let meter = telemetry_init(telemetry.clone())
            .map_err(|error| failed(&error))?
            .get_temporal_metric_meter();
        let options = RuntimeOptions::builder()
            .telemetry_options(telemetry)
            .build()
            .map_err(|error| failed(&error))?;
        let runtime = Runtime::from_current_tokio(options).map_err(|error| failed(&error))?;
        Ok(Self {
            runtime,
            meter,
            exporter: exporter.bound_addr,
        })
    }
}

/// The connections of one generation, and the files that they use.
struct Clients {
    all: Vec<Client>,
    contents: Contents,
}

/// An event that a running process handles.
enum Event {
    Stop,
    Ended(Ended),
    LookAtFiles,
}

/// All workers of the process.
struct Fleet {
    config: Config,
    sdk: Sdk,
    queues: Vec<(TaskQueue, WorkerOptions)>,
    health: Health,
    client: SharedClient,
    in_use: InUse,
    on_drain: Vec<OnDrain>,
    ended: (mpsc::UnboundedSender<Ended>, mpsc::UnboundedReceiver<Ended>),
}

impl Fleet {
    async fn connect(&self) -> Result<Clients, KitError> {
        let settings = &self.config.connection;
        // Read before connecting: a change in between is then seen as one and causes another reload.
        let contents = Contents::read(settings)?;
        let mut all = Vec::new();
        while all.len() < settings.connections {
            all.push(settings.connect_patiently(self.sdk.meter.clone()).await?);
        }
        Ok(Clients { all, contents })
    }

    /// Passes the clients to the application and to the key reloader.
    fn use_clients(&self, clients: &Clients) {
        if let Some(first) = clients.all.first() {
            self.client.set(first.clone());
        }
        self.in_use.set(clients.all.clone());
    }

    fn start(&self, clients: &Clients) -> Result<Generation, KitError> {
        Generation::start(&self.sdk.runtime, &clients.all, &self.queues, &self.ended.0)
    }

    /// Runs until it is stopped or a worker ends.
    async fn live(
        mut self,
        mut generation: Generation,
        mut clients: Clients,
        mut stopped: watch::Receiver<bool>,
    ) -> Result<(), KitError> {
        // Workers of earlier connections, which stop when asked.
        let mut retired: Vec<Generation> = Vec::new();
        let mut ticks = tokio::time::interval(self.config.reload_every);
        let has_files = !clients.contents.is_empty() || self.config.connection.has_key_file();
        let mut refusals = std::pin::pin!(refusals::watch(
            self.config.connection.clone(),
            self.in_use.clone(),
            self.sdk.exporter,
            self.health.clone(),
        ));
        let failure = loop {
            let event = tokio::select! {
                biased;
                // An error means a dropped sender, which counts as a stop request.
                () = async { let _ = stopped.wait_for(|stop| *stop).await; } => Event::Stop,
                Some(outcome) = self.ended.1.recv() => Event::Ended(outcome),
                _ = ticks.tick(), if has_files => Event::LookAtFiles,
                never = &mut refusals => match never {},
            };
            match event {
                // Stop comes first in the select, because a worker that ends after a stop request has not
                // failed.
                Event::Stop => break None,
                Event::Ended(Err(error)) => {
                    // The SDK gives up some time after the service began to reject polls, and its error does
                    // not say that.
                    let refused = self.health.refused().map(KitError::Refused);
                    break Some(refused.unwrap_or(error));
                }
                // A worker of an earlier connection.
                Event::Ended(Ok(())) => {}
                Event::LookAtFiles => {
                    if let Some((next_generation, next_clients)) = self.reload(&clients).await {
                        generation.stop();
                        retired.push(std::mem::replace(&mut generation, next_generation));
                        self.use_clients(&next_clients);
                        clients = next_clients;
                    }
                }
            }
        };
        if !self.queues.is_empty() {
            tracing::info!(
                grace_seconds = self.config.grace.as_secs(),
                "the workers accept no more tasks"
            );
        }
        self.health.enter(Phase::Draining);
        // Before the workers stop, because they wait for activities, and some never end until they are asked
        // to.
        for call in self.on_drain.drain(..) {
            call();
        }
        generation.stop();
        retired.push(generation);
        let mut left = 0;
        for generation in retired {
            left += generation.ended(self.config.grace + BEYOND_GRACE).await;
        }
        self.health.enter(Phase::Stopped);
        match failure {
            Some(error) => Err(error),
            None if left > 0 => Err(KitError::NotDrained(left)),
            None => {
                tracing::info!("drained");
                Ok(())
            }
        }
    }

    /// Checks the files of the connection. A new key is used immediately. New certificates cause new
    /// connections, and workers start on them before the earlier ones drain.
    async fn reload(&self, clients: &Clients) -> Option<(Generation, Clients)> {
        let settings = &self.config.connection;
        // A key needs no new connection: the client library sends it with each call.
        settings.renew_key(&clients.all);
        let next = match Contents::read(settings) {
            Ok(next) if next != clients.contents => next,
            Ok(_) => return None,
            Err(error) => {
                tracing::warn!("keeping the current certificates: {error}");
                return None;
            }
        };
        let attempt = async {
            let connected = self.connect_once(next).await?;
            let generation = self.start(&connected)?;
            Ok::<_, KitError>((generation, connected))
        };
        match attempt.await {
            Ok(pair) => {
                tracing::info!("certificates changed; workers use new connections");
                Some(pair)
            }
            Err(error) => {
                tracing::error!(
                    "cannot use the changed certificates, keeping the current connections: {error}"
                );
                None
            }
        }
    }

    async fn connect_once(&self, contents: Contents) -> Result<Clients, KitError> {
        let settings = &self.config.connection;
        let mut all = Vec::new();
        while all.len() < settings.connections {
            // Without retries: the current connections still work, and the next tick tries again.
            all.push(settings.connect_with(self.sdk.meter.clone()).await?);
        }
        Ok(Clients { all, contents })
    }
}
