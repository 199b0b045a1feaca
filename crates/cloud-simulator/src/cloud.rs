//! The state of the cloud, and its responses. Pure except for its own clock and seed, without any network.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::account::Access;
use crate::answers;
use crate::billing_report::BillingReport;
use crate::clock::{VirtualClock, minute_of, start_of};
use crate::faults::{Faults, OperationFault};
use crate::incidents::{self, Incident};
use crate::namespace::{Namespace, Request, RequestState};
use crate::operation::Operation;
use crate::options::SimulatorOptions;
use crate::refusal::Refusal;

/// Maximum number of mutations in progress per account (Temporal's documentation, Cloud Ops API page).
const CONCURRENT_OPERATIONS: usize = 10;

/// Time for which a new namespace returns 403.
const FIRST_MINUTE: SignedDuration = SignedDuration::from_secs(60);

/// The state of the cloud.
#[derive(Debug)]
pub(crate) struct Cloud {
    pub(crate) account: String,
    pub(crate) namespaces: Vec<Namespace>,
    pub(crate) by_id: BTreeMap<String, usize>,
    pub(crate) operations: BTreeMap<String, Operation>,
    pub(crate) clock: VirtualClock,
    pub(crate) faults: Faults,
    pub(crate) incidents: Vec<Incident>,
    pub(crate) options: SimulatorOptions,
    pub(crate) random: fastrand::Rng,
    first_minute: i64,
    /// The last simulated minute.
    lived: i64,
    created: BTreeMap<usize, Timestamp>,
    /// Times of metrics requests in the current hour.
    pub(crate) scrapes: Vec<Timestamp>,
    /// Capacity changes that took effect.
    pub(crate) changes: Vec<CapacityChange>,
    pub(crate) billing_reports: Vec<BillingReport>,
}

/// A capacity change that took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CapacityChange {
    /// Time when it took effect, in virtual time.
    pub at: Timestamp,
    /// Full id of the namespace.
    pub namespace: String,
    /// TRUs before; 0 means on-demand.
    pub from: u32,
    /// TRUs after; 0 means on-demand.
    pub to: u32,
    /// Id of the operation.
    pub operation_id: String,
}

/// An update that the service accepted, and its progress.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcceptedUpdate {
    /// Id of its operation.
    pub operation_id: String,
    /// Full id of the namespace.
    pub namespace: String,
    /// Time when it was accepted, in virtual time.
    pub accepted_at: Timestamp,
    /// Requested TRUs (0 means on-demand); `None` if the update changes something else.
    pub wanted: Option<u32>,
    /// When its capacity takes effect, in virtual time, unless its operation fails.
    pub takes_effect_at: Timestamp,
    /// Whether it has taken effect or failed.
    pub is_over: bool,
}

/// The body of an update.
#[derive(Debug)]
pub(crate) struct Update {
    pub(crate) spec: Value,
    pub(crate) resource_version: String,
    pub(crate) operation_id: String,
}

impl Cloud {
    pub(crate) fn new(options: SimulatorOptions) -> Self {
        let clock = VirtualClock::start(options.start, options.speed);
        let now_minute = minute_of(options.start);
        // At least as many minutes as the metrics endpoint needs to show one, because it is three minutes
        // late.
        let first_minute = now_minute - i64::from(options.past_minutes.max(8));
        let account = options.account.id.clone();
        let mut setups = options.account.namespaces.clone();
        // The service lists namespaces in ascending order of names.
        setups.sort_by(|one, other| one.name.cmp(&other.name));
        let namespaces: Vec<Namespace> = setups
            .into_iter()
            .zip(0_u64..)
            .map(|(setup, number)| {
                Namespace::new(
                    &account,
                    setup,
                    options.seed ^ (number << 20),
                    options.past_minutes,
                )
            })
            .collect();
        let by_id = namespaces
            .iter()
            .enumerate()
            .map(|(number, it)| (it.id.clone(), number))
            .collect();
        let mut cloud = Self {
            account,
            namespaces,
            by_id,
            operations: BTreeMap::new(),
            clock,
            faults: options.faults.clone(),
            incidents: Vec::new(),
            random: fastrand::Rng::with_seed(options.seed),
            options,
            first_minute,
            lived: first_minute - 1,
            created: BTreeMap::new(),
            scrapes: Vec::new(),
            changes: Vec::new(),
            billing_reports: Vec::new(),
        };
        cloud.move_replicas();
        cloud.live_until(start_of(now_minute));
        // Hours before the simulation are not billed.
        for namespace in &mut cloud.namespaces {
            namespace.bills.clear();
        }
        cloud
    }

    /// Starts the operations that were adding or removing replicas before the start and never end.
    fn move_replicas(&mut self) {
        for (number, namespace) in self.namespaces.iter_mut().enumerate() {
            let Some(moves_for) = namespace.setup.second_replica_moves_for else {
                continue;
            };
            let started = self
                .options
                .start
                .saturating_sub(moves_for)
                .unwrap_or(self.options.start);
            let id = format!("replica-{}", namespace.id);
            namespace.running = Some(id.clone());
            namespace.modify(started);
            let operation = Operation {
                id: id.clone(),
                namespace: number,
                started,
                ends: Timestamp::MAX,
                fault: OperationFault::Stuck,
                wanted: None,
                takes_effect: Timestamp::MAX,
                ended: false,
                applied: false,
            };
            self.operations.insert(id, operation);
        }
    }

    /// Simulates up to the current time, and returns it.
    pub(crate) fn now(&mut self) -> Timestamp {
        let now = self.clock.now();
        self.live_until(now);
        now
    }

    /// Simulates every complete minute before `now`, with operations in order of time.
    fn live_until(&mut self, now: Timestamp) {
        while self.lived + 1 < minute_of(now) {
            let minute = self.lived + 1;
            self.run_operations(start_of(minute));
            let since = minute - self.first_minute;
            for namespace in &mut self.namespaces {
                namespace.live(minute, since);
            }
            self.lived = minute;
        }
        self.run_operations(now);
    }

    fn run_operations(&mut self, now: Timestamp) {
        let due: Vec<String> = self
            .operations
            .values()
            .filter(|it| (!it.ended && it.ends <= now) || (it.ended && !it.applied && it.takes_effect <= now))
            .map(|it| it.id.clone())
            .collect();
        for id in due {
            self.end_operation(&id);
            self.apply_operation(&id, now);
        }
    }

    fn end_operation(&mut self, id: &str) {
        let Some(operation) = self.operations.get_mut(id).filter(|it| !it.ended) else {
            return;
        };
        if operation.fault == OperationFault::Stuck {
            return;
        }
        operation.ended = true;
        let namespace = &mut self.namespaces[operation.namespace];
        if let Some((field, value)) = &self.faults.changes_at_end {
            namespace.spec[field] = value.clone();
        }
        namespace.running = None;
        namespace.modify(operation.ends);
        if operation.fault != OperationFault::None {
            operation.applied = true;
            if let Some(request) = namespace
                .request
                .as_mut()
                .filter(|request| request.operation == id)
            {
                request.state = RequestState::Failed;
                request.ended = Some(operation.ends);
            }
        }
        if operation.wanted.is_none() {
            operation.applied = true;
        }
    }

    /// Applies the capacity of an operation when it is due, which is later than the end of the operation.
    fn apply_operation(&mut self, id: &str, now: Timestamp) {
        let Some(operation) = self.operations.get_mut(id) else {
            return;
        };
        let (Some(wanted), true, false) = (operation.wanted, operation.ended, operation.applied) else {
            return;
        };
        if operation.takes_effect > now {
            return;
        }
        operation.applied = true;
        // Not `now`: the change belongs to the hour in which it happened, even if it is noticed later.
        let at = operation.takes_effect;
        let namespace = &mut self.namespaces[operation.namespace];
        namespace.touch_bill(at);
        // Both sizes are recorded, because an hour is billed at its highest size, however short it was in
        // effect.
        let from = std::mem::replace(&mut namespace.trus, wanted);
        namespace.ever_set = true;
        namespace.touch_bill(at);
        namespace.modify(at);
        if let Some(request) = namespace
            .request
            .as_mut()
            .filter(|request| request.operation == id)
        {
            request.state = RequestState::Completed;
            request.ended = Some(at);
        }
        let namespace = namespace.id.clone();
        self.changes.push(CapacityChange {
            at,
            namespace,
            from,
            to: wanted,
            operation_id: id.to_owned(),
        });
    }

    /// Returns all accepted updates, in order.
    pub(crate) fn accepted(&mut self) -> Vec<AcceptedUpdate> {
        self.now();
        let mut accepted: Vec<AcceptedUpdate> = self
            .operations
            .values()
            .map(|operation| AcceptedUpdate {
                operation_id: operation.id.clone(),
                namespace: self.namespaces[operation.namespace].id.clone(),
                accepted_at: operation.started,
                wanted: operation.wanted,
                takes_effect_at: operation.takes_effect,
                is_over: operation.ended && operation.applied,
            })
            .collect();
        accepted.sort_by_key(|update| update.accepted_at);
        accepted
    }

    /// Finds a namespace that the operations key can read.
    pub(crate) fn visible(&self, id: &str, now: Timestamp) -> Result<usize, Refusal> {
        let missing = || Refusal::new(404, 5, format!("namespace {id} not found"));
        let number = *self.by_id.get(id).ok_or_else(missing)?;
        // The service does not reveal whether a namespace that the key cannot see exists.
        if self.namespaces[number].setup.access == Access::None {
            return Err(missing());
        }
        let is_new = self
            .created
            .get(&number)
            .is_some_and(|at| now.duration_since(*at) < FIRST_MINUTE);
        if is_new {
            return Err(Refusal::new(403, 7, "permission denied"));
        }
        Ok(number)
    }

    pub(crate) fn list(&mut self, size: usize, token: Option<&str>) -> Result<Value, Refusal> {
        let now = self.now();
        let from = match token {
            None => 0,
            Some(token) => token
                .strip_prefix("page-")
                .and_then(|number| number.parse::<usize>().ok())
                .ok_or_else(|| Refusal::new(400, 3, "invalid page token"))?,
        };
        let visible: Vec<usize> = (0..self.namespaces.len())
            .filter(|number| self.namespaces[*number].setup.access != Access::None)
            .collect();
        let page: Vec<Value> = visible
            .iter()
            .skip(from)
            .take(size)
            .map(|number| answers::namespace(&self.namespaces[*number], now))
            .collect();
        let end = from + page.len();
        let mut answer = json!({ "namespaces": page });
        if end < visible.len() {
            answer["nextPageToken"] = json!(format!("page-{end}"));
        }
        Ok(answer)
    }

    pub(crate) fn get(&mut self, id: &str) -> Result<Value, Refusal> {
        let now = self.now();
        let number = self.visible(id, now)?;
        Ok(json!({ "namespace": answers::namespace(&self.namespaces[number], now) }))
    }

    pub(crate) fn capacity_info(&mut self, id: &str) -> Result<Value, Refusal> {
        let now = self.now();
        let number = self.visible(id, now)?;
        if self.faults.capacity_info_refused_of.as_deref() == Some(id) {
            return Err(Refusal::new(403, 7, "permission denied"));
        }
        Ok(json!({ "capacityInfo": answers::capacity_info(&self.namespaces[number]) }))
    }

    pub(crate) fn operation(&mut self, id: &str) -> Result<Value, Refusal> {
        let now = self.now();
        let check = self.check_duration();
        let operation = self
            .operations
            .get(id)
            .ok_or_else(|| Refusal::new(404, 5, format!("operation {id} not found")))?;
        Ok(json!({ "asyncOperation": answers::operation(operation, now, &check) }))
    }

    /// Returns the service's `checkDuration`, converted from virtual time to the client's real time.
    fn check_duration(&self) -> String {
        let speed = self.clock.speed();
        let real = if speed > 0.0 {
            self.options.check_duration.as_secs_f64() / speed
        } else {
            // Only `advance` moves this clock, but clients still wait in real time.
            0.05
        };
        format!("{:.3}s", real.max(0.02))
    }

    /// Validates an update as strictly as the service, and starts it.
    pub(crate) fn update(&mut self, id: &str, update: Update) -> Result<Value, Refusal> {
        let now = self.now();
        let number = self.visible(id, now)?;
        if self.namespaces[number].setup.access != Access::Admin {
            return Err(Refusal::new(403, 7, "permission denied: cloud.namespace.update"));
        }
        // The same id always means the same operation.
        // Before the version is checked: a retry has the version of the first attempt, which is stale by now.
        if let Some(known) = self.operations.get(&update.operation_id) {
            if known.namespace != number {
                return Err(Refusal::new(409, 6, "the async operation id is taken"));
            }
            let answer = answers::operation(known, now, &self.check_duration());
            return Ok(json!({ "asyncOperation": answer }));
        }
        let wanted = self.judge(number, &update)?;
        Ok(self.begin(number, update, wanted, now))
    }

    /// Returns the requested capacity, if it differs from the current request.
    fn judge(&self, number: usize, update: &Update) -> Result<Option<u32>, Refusal> {
        let namespace = &self.namespaces[number];
        let invalid = |message: String| Refusal::new(400, 3, message);
        let days = update
            .spec
            .get("retentionDays")
            .and_then(Value::as_f64)
            .unwrap_or(0.0);
        if days < 1.0 {
            return Err(invalid(format!("invalid retention days: {days}")));
        }
        if update.spec.get("name") != namespace.spec.get("name") {
            return Err(invalid("the name of a namespace cannot be changed".to_owned()));
        }
        // The error code for a stale version is not documented; this follows the gRPC guide.
        if update.resource_version != namespace.version_text() {
            return Err(Refusal::new(409, 10, "the resource version is stale"));
        }
        if namespace.running.is_some() || namespace.setup.state != "RESOURCE_STATE_ACTIVE" {
            return Err(Refusal::new(400, 9, "the namespace is not active"));
        }
        if namespace
            .request
            .as_ref()
            .is_some_and(|request| request.state == RequestState::InProgress)
        {
            return Err(Refusal::new(400, 9, "a capacity request is in progress"));
        }
        if let Some(name) = incidents::lost_search_attribute(&namespace.spec, &update.spec) {
            return Err(invalid(format!("search attribute {name} cannot be deleted")));
        }
        let wanted = wanted_trus(&update.spec).map_err(|message| invalid(message.to_owned()))?;
        // An absent `capacitySpec` and an explicit on-demand one are different requests for the same
        // capacity.
        let present_wish = wanted_trus(&namespace.spec).ok().flatten();
        if update.spec == namespace.spec || (wanted.unwrap_or(0) == namespace.trus && present_wish == wanted)
        {
            let same = incidents::differences(&namespace.spec, &update.spec).is_empty();
            if same {
                return Err(invalid("nothing to change".to_owned()));
            }
            return Ok(None);
        }
        let trus = wanted.unwrap_or(0);
        if trus > 0 && !namespace.setup.ladder.contains(&trus) {
            return Err(invalid(format!("{trus} is not a valid TRU value")));
        }
        if trus > 0
            && namespace
                .setup
                .inventory
                .is_some_and(|inventory| trus > inventory)
        {
            return Err(Refusal::new(
                400,
                9,
                format!("{trus} TRUs are not available in the region"),
            ));
        }
        if self.operations.values().filter(|it| !it.ended).count() >= CONCURRENT_OPERATIONS {
            return Err(Refusal::new(429, 8, "too many asynchronous operations in flight"));
        }
        Ok(Some(trus))
    }

    fn begin(&mut self, number: usize, update: Update, wanted: Option<u32>, now: Timestamp) -> Value {
        let namespace = &mut self.namespaces[number];
        self.incidents
            .extend(incidents::of_update(&namespace.id, &namespace.spec, &update.spec));
        namespace.spec = update.spec;
        if let Some((field, value)) = &self.faults.changes_with_update {
            namespace.spec[field] = value.clone();
        }
        let id = if update.operation_id.is_empty() {
            format!("random-{:016x}", self.random.u64(..))
        } else {
            update.operation_id
        };
        namespace.running = Some(id.clone());
        namespace.modify(now);
        if let Some(wanted) = wanted {
            namespace.request = Some(Request {
                state: RequestState::InProgress,
                started: now,
                ended: None,
                operation: id.clone(),
                wanted,
            });
        }
        let after = |lag: SignedDuration| now.saturating_add(lag).unwrap_or(now);
        let ends = after(self.options.operation_lag);
        let operation = Operation {
            id: id.clone(),
            namespace: number,
            started: now,
            ends,
            fault: self.faults.operations,
            wanted,
            takes_effect: after(
                self.options
                    .operation_lag
                    .saturating_add(self.options.capacity_lag),
            ),
            ended: false,
            applied: false,
        };
        let answer = answers::operation(&operation, now, &self.check_duration());
        self.operations.insert(id, operation);
        json!({ "asyncOperation": answer })
    }

    /// Sets a capacity immediately, as someone else.
    pub(crate) fn set_by_others(&mut self, id: &str, trus: u32) -> bool {
        let now = self.now();
        let Some(number) = self.by_id.get(id).copied() else {
            return false;
        };
        let namespace = &mut self.namespaces[number];
        namespace.spec["capacitySpec"] = answers::capacity_spec(trus);
        // Other tools send random UUIDs.
        let operation = format!("{:08x}-0000-4000-8000-000000000000", self.random.u32(..));
        namespace.request = Some(Request {
            state: RequestState::Completed,
            started: now,
            ended: Some(now),
            operation,
            wanted: trus,
        });
        namespace.touch_bill(now);
        namespace.trus = trus;
        namespace.ever_set = true;
        namespace.touch_bill(now);
        namespace.modify(now);
        true
    }

    /// Edits a field of the spec immediately, as someone else.
    pub(crate) fn edit_by_others(&mut self, id: &str, field: &str, value: Value) -> bool {
        let now = self.now();
        let Some(number) = self.by_id.get(id).copied() else {
            return false;
        };
        self.namespaces[number].spec[field] = value;
        self.namespaces[number].modify(now);
        true
    }

    /// Adds a namespace, which returns 403 for its first minute.
    pub(crate) fn add(&mut self, setup: crate::account::NamespaceSetup) {
        let now = self.now();
        let namespace = Namespace::new(&self.account, setup, self.options.seed, self.options.past_minutes);
        let number = self.namespaces.len();
        self.by_id.insert(namespace.id.clone(), number);
        self.namespaces.push(namespace);
        self.created.insert(number, now);
    }
}

/// Returns the capacity that a spec requests; `None` if it requests none.
fn wanted_trus(spec: &Value) -> Result<Option<u32>, &'static str> {
    let capacity = match spec.get("capacitySpec") {
        None | Some(Value::Null) => return Ok(None),
        Some(capacity) => capacity,
    };
    let member = |name: &str| capacity.get(name).filter(|value| !value.is_null());
    match (member("onDemand"), member("provisioned")) {
        (Some(_), None) => Ok(Some(0)),
        (None, Some(provisioned)) => {
            let value = provisioned.get("value").and_then(Value::as_f64).unwrap_or(0.0);
            let whole = (1.0..=1_000.0).contains(&value) && value.fract().abs() <= 0.0;
            if !whole {
                return Err("the TRU value must be a whole number above 0");
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "whole and in range"
            )]
            Ok(Some(value as u32))
        }
        (Some(_), Some(_)) => Err("capacitySpec must contain exactly one of onDemand and provisioned"),
        (None, None) => Err("capacitySpec must contain onDemand or provisioned"),
    }
}
