//! The autopilot: its clients, settings and clock, and what it remembers between evaluations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use capacity_engine::{NamespaceId, Rules};
use cloud_ops_client::Client;
use jiff::{SignedDuration, Timestamp};

use crate::clock::{Clock, announced_skew};
use crate::ledger::LedgerHandle;
use crate::metrics::MetricsSource;
use crate::namespaces::{Listed, Names};
use crate::seen::{SizesSeen, StandbySeen};

/// The settings of an autopilot, apart from its clients.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AutopilotSettings {
    /// The rules for decisions.
    pub rules: Rules,
    /// The namespace that this autopilot runs in, if known.
    pub home: Option<NamespaceId>,
}

impl AutopilotSettings {
    /// Returns settings for an autopilot that runs outside the account.
    pub const fn new(rules: Rules) -> Self {
        Self { rules, home: None }
    }

    /// Sets the namespace that this autopilot runs in. It is never scaled down.
    #[must_use]
    pub fn with_home(self, home: Option<NamespaceId>) -> Self {
        Self { home, ..self }
    }

    /// Returns the maximum age of the newest metrics.
    pub fn metrics_max_age(&self) -> SignedDuration {
        self.rules.freshness.metrics_max_age
    }
}

/// Observes one account, decides, and carries out changes.
#[derive(Debug)]
pub struct Autopilot {
    ops: Client,
    metrics: MetricsSource,
    ledger: Option<LedgerHandle>,
    settings: AutopilotSettings,
    clock: Clock,
    /// Namespaces whose last change was refused as not permitted, with the time and message of the refusal.
    refusals: Mutex<BTreeMap<NamespaceId, Refusal>>,
    /// Metric families about throttling that this version does not know, and when they were last looked up.
    // Locked during the request, unlike the others: a second evaluation waits for the answer instead of
    // spending another of the hour's requests.
    unknown_throttling: tokio::sync::Mutex<Option<(Timestamp, Vec<String>)>>,
    /// Sizes of namespaces in the last evaluation.
    sizes_seen: SizesSeen,
    /// Traffic of standby replicas, from the last reading.
    standby_seen: StandbySeen,
    /// Namespaces whose capacity info the last evaluation could not request.
    left_out: Mutex<BTreeSet<NamespaceId>>,
    /// The namespaces that the account listed last.
    listed: Mutex<Option<Arc<Names>>>,
}

/// A change that the key was not permitted to make.
#[derive(Debug, Clone)]
struct Refusal {
    at: Timestamp,
    resource_version: String,
    why: String,
}

/// How long a refusal is remembered. Roles rarely change, so the change is retried only after this time.
const REFUSAL_MEMORY: SignedDuration = SignedDuration::from_hours(6);

impl Autopilot {
    /// Creates an autopilot from its clients and settings, without a ledger.
    pub fn new(ops: Client, metrics: impl Into<MetricsSource>, settings: AutopilotSettings) -> Self {
        Self {
            ops,
            metrics: metrics.into(),
            ledger: None,
            settings,
            clock: Clock::new(),
            refusals: Mutex::default(),
            unknown_throttling: tokio::sync::Mutex::default(),
            sizes_seen: SizesSeen::default(),
            standby_seen: StandbySeen::default(),
            left_out: Mutex::default(),
            listed: Mutex::default(),
        }
    }

    /// Adds a ledger, in which usage is recorded minute by minute and from which the last hour is read.
    #[must_use]
    pub fn with_ledger(self, ledger: impl Into<LedgerHandle>) -> Self {
        Self {
            ledger: Some(ledger.into()),
            ..self
        }
    }

    /// Replaces the clock, for example with that of a simulated service.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Prevents all changes: every update of a namespace is refused before it is sent.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self {
            ops: self.ops.read_only(),
            ..self
        }
    }

    /// Returns the ledger, if there is one.
    pub fn ledger(&self) -> Option<&LedgerHandle> {
        self.ledger.as_ref()
    }

    /// Returns the client of the Cloud Ops API.
    pub fn ops(&self) -> &Client {
        &self.ops
    }

    /// Returns the source of metrics.
    pub fn metrics(&self) -> &MetricsSource {
        &self.metrics
    }

    /// Returns the settings.
    pub fn settings(&self) -> &AutopilotSettings {
        &self.settings
    }

    /// Returns the clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns how far this machine's clock is behind the service's (negative: ahead), if it is more than a
    /// minute.
    ///
    /// A service on this machine is simulated, and its time may run at any speed, so a difference does not
    /// mean that this clock is wrong.
    pub fn clock_skew(&self) -> Option<SignedDuration> {
        announced_skew(self.clock.behind(), self.ops.is_local())
    }

    /// Returns why the last change of a namespace was refused as not permitted, if the namespace has not
    /// changed since and the refusal is recent.
    pub(crate) fn refusal_of(&self, namespace: &NamespaceId, resource_version: &str) -> Option<String> {
        // A poisoned lock is used anyway: entries are inserted whole, so a panic cannot have left one half
        // written.
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let refusal = refusals.get(namespace)?;
        // The version counts because granting a role or another edit may be what was missing. A change
        // whose version was not recorded counts as the same.
        let is_same = refusal.resource_version == resource_version || refusal.resource_version.is_empty();
        (is_same && self.now().duration_since(refusal.at) < REFUSAL_MEMORY).then(|| refusal.why.clone())
    }

    /// Remembers that a change of this version of a namespace was refused as not permitted.
    pub fn remember_refusal(&self, namespace: &NamespaceId, resource_version: &str, why: String) {
        let refusal = Refusal {
            at: self.now(),
            resource_version: resource_version.to_owned(),
            why,
        };
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        // The first refusal counts: later ones do not extend it.
        let is_known = refusals
            .get(namespace)
            .is_some_and(|known| known.resource_version == resource_version);
        if !is_known {
            refusals.insert(namespace.clone(), refusal);
        }
    }

    pub(crate) fn unknown_throttling(&self) -> &tokio::sync::Mutex<Option<(Timestamp, Vec<String>)>> {
        &self.unknown_throttling
    }

    pub(crate) fn sizes_seen(&self) -> &SizesSeen {
        &self.sizes_seen
    }

    pub(crate) fn standby_seen(&self) -> &StandbySeen {
        &self.standby_seen
    }

    /// Records the namespaces that an evaluation did not get to.
    pub(crate) fn leave_out(&self, namespaces: BTreeSet<NamespaceId>) {
        *self.left_out.lock().unwrap_or_else(PoisonError::into_inner) = namespaces;
    }

    /// Takes the namespaces that the last evaluation did not get to.
    pub(crate) fn take_left_out(&self) -> BTreeSet<NamespaceId> {
        std::mem::take(&mut *self.left_out.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Remembers the namespaces in the account's list.
    pub(crate) fn note_listed(&self, listed: &[Listed]) {
        let mut last = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |last: &Arc<Names>| last.names.iter().eq(listed.iter().map(|listed| &listed.id));
        // Readers hold the old `Arc`; names that did not change are not copied again.
        if !last.as_ref().is_some_and(is_same) {
            *last = Some(Arc::new(Names::of(listed)));
        }
    }

    /// Returns the namespaces that the account listed last; `None` before the first list.
    pub(crate) fn last_listed(&self) -> Option<Arc<Names>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the service's current time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
