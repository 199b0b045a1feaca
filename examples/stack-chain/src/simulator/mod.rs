//! A simulated Spacelift account on loopback for tests and the demo. As in the real service, unknown fields
//! and wrong types are rejected, an expired token gets empty lists, and each stack has one run at a time.

mod schema;
mod serve;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use ring::hmac;
use serde_json::{Value, json};

pub use serve::start;

/// Id of the API key.
pub const KEY_ID: &str = "01J0000000000000000000KEY0";
/// Secret of the API key.
pub const KEY_SECRET: &str = "simulated-secret";
/// Secret that signs webhooks.
pub const WEBHOOK_SECRET: &str = "simulated-webhook-secret";
/// Name of the account.
pub const ACCOUNT: &str = "simulated";

/// A stack of the simulated account.
#[derive(Debug, Clone)]
pub struct SimStack {
    /// Id of the stack.
    pub id: String,
    /// Labels, which contain the rules for chains.
    pub labels: Vec<String>,
    /// Ids of its native dependencies.
    pub native_parents: Vec<String>,
    /// User who locked the stack.
    pub locked_by: Option<String>,
    /// Whether the stack is disabled and cannot create runs.
    pub is_disabled: bool,
    /// Whether runs are applied without confirmation.
    pub autodeploy: bool,
    /// Number of upcoming runs that fail.
    pub failures: u32,
    /// Names of the attached contexts.
    pub contexts: Vec<String>,
    /// Duration of a run.
    pub run_time: Duration,
}

impl SimStack {
    /// Returns a stack that deploys automatically in 50 ms.
    pub fn new(id: &str, labels: &[&str]) -> Self {
        Self {
            id: id.to_owned(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            native_parents: Vec::new(),
            locked_by: None,
            is_disabled: false,
            autodeploy: true,
            failures: 0,
            contexts: Vec::new(),
            run_time: Duration::from_millis(50),
        }
    }
}

/// A run of the simulated account.
#[derive(Debug, Clone)]
pub struct SimRun {
    /// Id of the run.
    pub id: String,
    /// Id of the stack.
    pub stack: String,
    /// User who triggered it.
    pub triggered_by: Option<String>,
    /// Time when it was triggered.
    pub triggered: Instant,
    /// Time when it starts running.
    pub starts: Instant,
    /// Time when it ends; `None` while it waits for a person.
    pub ends: Option<Instant>,
    /// State in which the run ends.
    pub last_state: &'static str,
}

impl SimRun {
    /// Returns the current state.
    pub fn state(&self, now: Instant) -> &'static str {
        match self.ends {
            Some(ends) if now >= ends => self.last_state,
            _ if now < self.starts => "QUEUED",
            Some(_) => "APPLYING",
            None => "UNCONFIRMED",
        }
    }
}

/// A fault in the next response to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Status 429 with this many seconds to wait; the operation has no effect.
    TooMany(u64),
    /// Status 502 with HTML; the operation has no effect.
    Html,
    /// The operation takes effect, but the response is a status 502 with HTML.
    Lost,
    /// All tokens expire before the operation.
    Expired,
    /// Status 401; the operation has no effect.
    Unauthorized,
}

#[derive(Default)]
struct World {
    stacks: BTreeMap<String, SimStack>,
    runs: Vec<SimRun>,
    /// Tokens and their expiry times.
    tokens: BTreeMap<String, SystemTime>,
    faults: Vec<(String, Fault)>,
    webhook: Option<String>,
    deliveries: u32,
    requests: BTreeMap<String, u64>,
    /// GraphQL errors that were returned, such as unknown fields.
    refusals: Vec<String>,
    may_trigger: bool,
    issued: u64,
}

/// A running simulated account.
#[derive(Clone)]
pub struct Simulator {
    world: Arc<Mutex<World>>,
    address: SocketAddr,
}

impl Simulator {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Returns the URL of the account.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends events to this URL, each one `deliveries` times.
    pub fn deliver_to(&self, url: &str, deliveries: u32) {
        let mut world = self.world();
        world.webhook = Some(url.to_owned());
        world.deliveries = deliveries;
    }

    /// Makes the next response to an operation fail. Several faults for one operation apply in turn.
    pub fn fail_next(&self, operation: &str, fault: Fault) {
        self.world().faults.push((operation.to_owned(), fault));
    }

    /// Applies a change to a stack, as an administrator would.
    pub fn change(&self, id: &str, change: impl FnOnce(&mut SimStack)) {
        if let Some(stack) = self.world().stacks.get_mut(id) {
            change(stack);
        }
    }

    /// Sets whether the API key may trigger runs.
    pub fn allow_triggers(&self, allowed: bool) {
        self.world().may_trigger = allowed;
    }

    /// Returns all runs, oldest first.
    pub fn runs(&self) -> Vec<SimRun> {
        self.world().runs.clone()
    }

    /// Returns the number of requests for an operation.
    pub fn requests(&self, operation: &str) -> u64 {
        self.world().requests.get(operation).copied().unwrap_or_default()
    }

    /// Returns the GraphQL errors that were returned.
    pub fn refusals(&self) -> Vec<String> {
        self.world().refusals.clone()
    }

    /// Starts a run, as a person or a push would.
    pub fn trigger_by(&self, stack: &str, who: Option<&str>) -> Option<SimRun> {
        let (run, stack) = {
            let mut world = self.world();
            let sim = world.stacks.get(stack)?.clone();
            let now = Instant::now();
            // Spacelift queues the runs of a stack behind the active one.
            let busy_until = world
                .runs
                .iter()
                .filter(|it| it.stack == stack)
                .filter_map(|it| it.ends)
                .max();
            let starts = busy_until.map_or(now, |busy| busy.max(now));
            let fails = sim.failures > 0;
            if let Some(stack) = world.stacks.get_mut(stack) {
                stack.failures = stack.failures.saturating_sub(1);
            }
            let run = SimRun {
                id: format!("01K{:023}", world.runs.len() + 1),
                stack: stack.to_owned(),
                triggered_by: who.map(str::to_owned),
                triggered: now,
                starts,
                ends: sim.autodeploy.then(|| starts + sim.run_time),
                last_state: if fails { "FAILED" } else { "FINISHED" },
            };
            world.runs.push(run.clone());
            (run, sim)
        };
        if run.ends.is_some() {
            self.announce_end(run.clone(), stack);
        }
        Some(run)
    }

    /// Confirms a run that waits for a person.
    pub fn confirm(&self, run: &str) {
        let found = {
            let mut world = self.world();
            let Some(run) = world.runs.iter_mut().find(|it| it.id == run && it.ends.is_none()) else {
                return;
            };
            run.ends = Some(Instant::now());
            let run = run.clone();
            world.stacks.get(&run.stack).cloned().map(|stack| (run, stack))
        };
        if let Some((run, stack)) = found {
            self.announce_end(run, stack);
        }
    }

    /// Ends a run with this state, unless it has already ended.
    fn end(&self, id: &str, state: &'static str) -> Option<SimRun> {
        let now = Instant::now();
        let mut world = self.world();
        let run = world.runs.iter_mut().find(|it| it.id == id)?;
        if run.ends.is_none_or(|ends| ends > now) {
            (run.ends, run.last_state) = (Some(now), state);
        }
        Some(run.clone())
    }

    fn announce_end(&self, run: SimRun, stack: SimStack) {
        let simulator = self.clone();
        tokio::spawn(async move {
            if let Some(ends) = run.ends {
                tokio::time::sleep_until(ends.into()).await;
            }
            // The run may have been stopped in the meantime.
            let now = simulator
                .runs()
                .into_iter()
                .find(|it| it.id == run.id)
                .unwrap_or(run);
            let (url, deliveries) = {
                let world = simulator.world();
                (world.webhook.clone(), world.deliveries)
            };
            let Some(url) = url else { return };
            for _ in 0..deliveries {
                let _ = post_event(&url, &event(&now, &stack)).await;
            }
        });
    }
}

/// Returns the webhook event for the end of a run, in Spacelift's format.
pub fn event(run: &SimRun, stack: &SimStack) -> Value {
    let now = jiff::Timestamp::now();
    json!({
        "account": ACCOUNT,
        "state": run.last_state,
        "stateVersion": 5,
        "timestamp": now.as_second(),
        "timestamp_millis": now.as_millisecond(),
        "run": {
            "id": run.id, "branch": "main", "createdAt": now.as_second(), "triggeredBy": run.triggered_by, "type": "TRACKED",
            "commit": { "authorName": "Ann", "hash": "abc", "message": "change", "timestamp": 0, "url": "" },
            // Spacelift's names in webhooks; in GraphQL they are addCount and so on.
            "delta": { "added": 1, "changed": 0, "deleted": 0, "resources": 4 },
        },
        "stack": { "id": stack.id, "name": stack.id, "description": null, "labels": stack.labels },
        "workerPool": null,
    })
}

/// Returns the signature of a body, in the format of `X-Signature-256`.
pub fn signature(body: &[u8], secret: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut text = "sha256=".to_owned();
    for byte in hmac::sign(&key, body).as_ref() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Delivers an event, and returns status and body of the response.
///
/// # Errors
///
/// If there is no response.
pub async fn post_event(url: &str, event: &Value) -> Result<(u16, String), reqwest::Error> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let body = event.to_string();
    let request = reqwest::Client::new()
        .post(url)
        .header("X-Signature-256", signature(body.as_bytes(), WEBHOOK_SECRET));
    let response = request
        .header(reqwest::header::CONTENT_TYPE, "application/json")
        .body(body)
        .send()
        .await?;
    Ok((response.status().as_u16(), response.text().await?))
}
