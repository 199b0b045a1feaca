//! The input of an evaluation, the observed account, and the result.

use std::collections::BTreeSet;

use capacity_engine::explain::Inputs;
use capacity_engine::{
    AccountView, Decision, MetricsProblem, NamespaceId, PolicyState, Restriction, Rules, Snapshot,
};
use jiff::Timestamp;

use crate::timing::Timing;
use crate::warning::{ObserveFailure, Warning};

/// The namespaces that an evaluation decides on.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Scope {
    /// All namespaces of the account.
    #[default]
    All,
    /// Only these namespaces.
    Only(BTreeSet<NamespaceId>),
    /// Only namespaces whose bare or full name matches one of these globs.
    Matching(capacity_engine::NamespacePatterns),
}

impl Scope {
    /// Returns a scope of some namespaces.
    pub fn only(namespaces: impl IntoIterator<Item = NamespaceId>) -> Self {
        Self::Only(namespaces.into_iter().collect())
    }

    pub(crate) fn contains(&self, namespace: &NamespaceId) -> bool {
        match self {
            Self::All => true,
            Self::Only(namespaces) => namespaces.contains(namespace),
            Self::Matching(patterns) => patterns.matches(namespace),
        }
    }
}

/// A request to evaluate.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct EvaluationRequest {
    /// The namespaces to decide on.
    pub scope: Scope,
    /// Restrictions, most important first. Restrictions that the evaluation itself finds are appended.
    pub restrictions: Vec<Restriction>,
    /// Whether releases may be based on a fresh ledger minute in which all families of the namespace were read. If not, the
    /// metrics are read again. Set for a re-evaluation of data that an earlier evaluation has read, to leave the hourly request
    /// budget to the sampler.
    pub ledger_is_enough: bool,
}

impl EvaluationRequest {
    /// Returns a request without restrictions.
    pub fn of(scope: Scope) -> Self {
        Self {
            scope,
            restrictions: Vec::new(),
            ledger_is_enough: false,
        }
    }

    /// Adds restrictions, the most important first.
    #[must_use]
    pub fn with_restrictions(mut self, restrictions: impl IntoIterator<Item = Restriction>) -> Self {
        self.restrictions.extend(restrictions);
        self
    }

    /// Sets whether releases may be based on a fresh minute of the ledger.
    #[must_use]
    pub fn with_ledger_is_enough(self, ledger_is_enough: bool) -> Self {
        Self {
            ledger_is_enough,
            ..self
        }
    }
}

/// The state of a whole account at one time, and the rules for which it was read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ObservedAccount {
    /// Time of the observation, by the service's clock.
    pub at: Timestamp,
    /// Account id, if the namespace ids contain it.
    pub id: Option<String>,
    /// State that decisions depend on: the health of the metrics, and restrictions.
    pub view: AccountView,
    /// The rules of the autopilot that made the observation.
    pub rules: Rules,
    /// Source of the data of the last hour.
    pub usage_source: UsageSource,
    /// Why the ledger could not be used. The warnings contain it as well.
    pub ledger_problem: Option<String>,
    /// Warnings about the account as a whole.
    pub warnings: Vec<Warning>,
    /// Failures that did not prevent the observation. Commands show them as errors.
    pub errors: Vec<ObserveFailure>,
    /// When the parts of the evaluation ran.
    pub timings: Vec<Timing>,
    /// Requests made to the Cloud Ops API.
    pub ops_requests: u64,
    /// Requests made to the metrics endpoint.
    pub metrics_requests: u64,
}

impl ObservedAccount {
    /// Returns the inputs of a decision about a namespace, so that they can be stored, re-evaluated and explained.
    pub fn inputs(&self, namespace: &ObservedNamespace) -> Inputs {
        Inputs {
            snapshot: namespace.snapshot.clone(),
            account: self.view.clone(),
            rules: self.rules.clone(),
            state: namespace.state.clone(),
            now: self.at,
        }
    }
}

/// Everything known about one namespace.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ObservedNamespace {
    /// Everything that a policy may use.
    pub snapshot: Snapshot,
    /// The version of the namespace. A change is made only on this version.
    pub resource_version: String,
    /// The stored state of the autopilot's policy for the namespace.
    pub state: Option<PolicyState>,
}

/// A decision with the observations it is based on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Judged {
    /// Decision of the active policy.
    pub decision: Decision,
    /// The observed namespace.
    pub observed: ObservedNamespace,
    /// The policy state to store, if it changed. The caller that acts on the decision stores it.
    pub next_state: Option<PolicyState>,
    /// The decision of the shadow policy.
    pub shadow: Option<ShadowDecision>,
}

/// A decision of the shadow policy about a namespace. It is never carried out.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ShadowDecision {
    /// Decision of the shadow policy.
    pub decision: Decision,
    /// The state that this policy should store, if it changed.
    pub next_state: Option<PolicyState>,
}

/// Source of the data of the last hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UsageSource {
    /// Minutes from the ledger.
    Ledger,
    /// Minutes from Prometheus.
    Prometheus,
    /// The newest minute alone, because nothing was stored.
    OneMinute,
}

impl UsageSource {
    /// Returns the name as plans show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Prometheus => "prometheus",
            Self::OneMinute => "1 minute",
        }
    }
}

impl std::fmt::Display for UsageSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// All decisions of one evaluation.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Evaluation {
    /// The observed account.
    pub account: ObservedAccount,
    /// One decision for each namespace in scope, ordered by name.
    pub decisions: Vec<Judged>,
    /// Why no namespace of the account has usable metrics. If set, no metric-based decisions were made.
    pub metrics_unavailable: Option<MetricsProblem>,
}
