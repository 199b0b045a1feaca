//! The configuration of a worker process: connection, task queues, metrics address, shutdown, log,
//! deployment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::connection_settings::ConnectionSettings;
use crate::environment::connection_settings;
use crate::logs::{LogFormat, LogSettings};
use crate::mistake::{Mistake, Mistakes};
use crate::reader::{Document, Section};

// Exhaustive: callers use struct update syntax (`..`), so a new field gets its default.
/// The valid configuration of one process.
#[derive(Debug, Clone)]
pub struct Config {
    /// Connection to the Temporal service.
    pub connection: ConnectionSettings,
    /// The task queues to poll. If empty, every registered queue is polled with default limits.
    pub task_queues: Vec<TaskQueue>,
    /// Address of `/metrics`, `/healthz` and `/readyz`; `None` disables them.
    pub listen: Option<SocketAddr>,
    /// Time that running activities may take to finish after SIGTERM.
    pub grace: Duration,
    /// Interval at which files with certificates and keys are checked for changes.
    pub reload_every: Duration,
    /// Settings of the log.
    pub log: LogSettings,
    /// The build of this worker.
    pub deployment: Deployment,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connection: ConnectionSettings::default(),
            task_queues: Vec::new(),
            // Loopback, because the routes have no authentication. 9464 is OpenTelemetry's port for
            // Prometheus.
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 9464))),
            grace: Duration::from_secs(30),
            reload_every: Duration::from_secs(30),
            log: LogSettings::default(),
            deployment: Deployment::default(),
        }
    }
}

// Exhaustive: callers use struct update syntax (`..`), so a new field gets its default.
/// One task queue and its limits.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskQueue {
    /// Name of the task queue.
    pub name: String,
    /// Concurrent workflow tasks per worker.
    pub max_concurrent_workflow_tasks: usize,
    /// Concurrent activities per worker.
    pub max_concurrent_activities: usize,
    /// Workflows kept in memory per worker.
    pub max_cached_workflows: usize,
    /// Concurrent polls for workflow tasks per worker.
    pub workflow_pollers: usize,
    /// Concurrent polls for activities per worker.
    pub activity_pollers: usize,
    /// Activities started per second by each worker; `None` for no limit.
    pub activities_per_second_per_worker: Option<f64>,
    /// Activities started per second by all workers of the queue together, enforced by the server; `None` for
    /// no limit.
    pub activities_per_second: Option<f64>,
    /// Number of workers in this process that poll the queue. Each one needs its own connection.
    pub workers: usize,
}

impl TaskQueue {
    /// Returns a task queue with default limits.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            max_concurrent_workflow_tasks: 100,
            max_concurrent_activities: 100,
            max_cached_workflows: 1_000,
            workflow_pollers: 5,
            activity_pollers: 5,
            activities_per_second_per_worker: None,
            activities_per_second: None,
            workers: 1,
        }
    }
}

// Exhaustive: callers use struct update syntax (`..`), so a new field gets its default.
/// The build of a worker, for Temporal's worker versioning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Name of the deployment.
    pub name: String,
    /// Build id, unique per build.
    pub build_id: String,
    /// Whether the server routes workflows by version. New workflows stay on the version on which they
    /// started.
    pub versioned: bool,
}

impl Default for Deployment {
    fn default() -> Self {
        Self {
            name: String::new(),
            // Without a build id, the SDK hashes the whole executable at each start.
            build_id: "unversioned".to_owned(),
            versioned: false,
        }
    }
}

impl Config {
    /// Loads a configuration file and the environment, or only the environment without a file. Reports all
    /// mistakes at once.
    ///
    /// # Errors
    ///
    /// If a value is invalid, a key is unknown, or the file cannot be read.
    pub fn load(file: Option<&Path>, environment: &BTreeMap<String, String>) -> Result<Self, Mistakes> {
        let Some(path) = file else {
            return Self::parse("configuration", "", environment);
        };
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&name, &text, environment),
            Err(error) => Err(Mistakes(vec![Mistake::new(
                name,
                format!("cannot read the file: {error}"),
            )])),
        }
    }

    /// Parses configuration text. Messages refer to it as `name`.
    ///
    /// # Errors
    ///
    /// If a value is invalid or a key is unknown.
    pub fn parse(name: &str, text: &str, environment: &BTreeMap<String, String>) -> Result<Self, Mistakes> {
        let (mut document, mut root) = Document::parse(name, text);
        let mut config = Self::default();
        let connection = root.table(&mut document, "connection");
        config.connection = connection_settings(connection, &mut document, environment);
        if let Some(section) = root.table(&mut document, "worker") {
            config.read_worker(section, &mut document);
        }
        if let Some(section) = root.table(&mut document, "log") {
            config.read_log(section, &mut document);
        }
        if let Some(section) = root.table(&mut document, "deployment") {
            config.read_deployment(section, &mut document);
        }
        for section in root.tables(&mut document, "task_queues") {
            config.read_task_queue(section, &mut document);
        }
        root.finish(&mut document);
        if document.mistakes.is_empty() {
            Ok(config)
        } else {
            Err(Mistakes(document.mistakes))
        }
    }

    fn read_worker(&mut self, mut section: Section<'_>, document: &mut Document<'_>) {
        if let Some((listen, line)) = section.string(document, "listen") {
            match listen.parse() {
                Ok(address) => self.listen = Some(address),
                Err(_) if listen == "off" => self.listen = None,
                Err(_) => document.mistake(
                    line,
                    format!("`worker.listen = \"{listen}\"` must be ADDRESS:PORT such as \"127.0.0.1:9464\", or \"off\""),
                ),
            }
        }
        if let Some((grace, _)) = section.duration(document, "grace") {
            self.grace = grace;
        }
        if let Some((every, line)) = section.duration(document, "reload_every") {
            if every < Duration::from_secs(1) {
                document.mistake(line, "`worker.reload_every` must be at least \"1s\"");
            }
            self.reload_every = every;
        }
        section.finish(document);
    }

    fn read_log(&mut self, mut section: Section<'_>, document: &mut Document<'_>) {
        if let Some((level, line)) = section.string(document, "level") {
            if !crate::logs::is_filter(&level) {
                document.mistake(line, format!("`log.level = \"{level}\"` must be error, warn, info, debug, trace or a tracing filter"));
            }
            self.log.level = level;
        }
        if let Some((format, line)) = section.string(document, "format") {
            match format.as_str() {
                "text" => self.log.format = LogFormat::Text,
                "json" => self.log.format = LogFormat::Json,
                _ => document.mistake(
                    line,
                    format!("`log.format = \"{format}\"` must be \"text\" or \"json\""),
                ),
            }
        }
        section.finish(document);
    }

    fn read_deployment(&mut self, mut section: Section<'_>, document: &mut Document<'_>) {
        let line = section.line;
        let name = section.string(document, "name");
        let build_id = section.string(document, "build_id");
        let versioned = section
            .flag(document, "versioned")
            .is_some_and(|(versioned, _)| versioned);
        if versioned && (name.is_none() || build_id.is_none()) {
            document.mistake(
                line,
                "`deployment.versioned = true` needs `deployment.name` and `deployment.build_id`",
            );
        }
        self.deployment = Deployment {
            name: name.map_or_else(String::new, |(name, _)| name),
            build_id: build_id.map_or_else(|| Deployment::default().build_id, |(build_id, _)| build_id),
            versioned,
        };
        section.finish(document);
    }

    fn read_task_queue(&mut self, mut section: Section<'_>, document: &mut Document<'_>) {
        let start = section.line;
        let name = section.string(document, "name");
        if name.is_none() {
            document.mistake(start, "[[task_queues]] needs a `name`");
        }
        let (name, line) = name.unwrap_or((String::new(), start));
        if !name.is_empty() && self.task_queues.iter().any(|queue| queue.name == name) {
            document.mistake(
                line,
                format!("the task queue `{name}` is configured twice; merge the two tables"),
            );
        }
        let mut queue = TaskQueue::new(name);
        let mut set = |key, range, field: &mut usize| {
            if let Some((count, _)) = section.count(document, key, range) {
                *field = count;
            }
        };
        set(
            // The SDK rejects fewer than two, because it polls a sticky queue and the shared one.
            "max_concurrent_workflow_tasks",
            2..=10_000,
            &mut queue.max_concurrent_workflow_tasks,
        );
        set(
            "max_concurrent_activities",
            1..=10_000,
            &mut queue.max_concurrent_activities,
        );
        set(
            "max_cached_workflows",
            0..=1_000_000,
            &mut queue.max_cached_workflows,
        );
        set("workflow_pollers", 2..=1_000, &mut queue.workflow_pollers);
        set("activity_pollers", 1..=1_000, &mut queue.activity_pollers);
        set("workers", 1..=64, &mut queue.workers);
        queue.activities_per_second_per_worker = section
            .rate(document, "activities_per_second_per_worker")
            .map(|(rate, _)| rate);
        queue.activities_per_second = section
            .rate(document, "activities_per_second")
            .map(|(rate, _)| rate);
        if queue.workers > self.connection.connections {
            let (workers, connections) = (queue.workers, self.connection.connections);
            document.mistake(
                start,
                format!(
                    "`task_queues.workers = {workers}` needs as many connections: set `connection.connections` to {workers} or more (now {connections})"
                ),
            );
        }
        section.finish(document);
        self.task_queues.push(queue);
    }
}
