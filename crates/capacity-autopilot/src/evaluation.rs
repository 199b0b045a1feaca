//! The input and the result of an evaluation.

use std::collections::BTreeSet;

use capacity_engine::explain::Inputs;
use capacity_engine::{
    AccountView, Decision, MetricsProblem, NamespaceId, PolicyState, Restriction, Rules, Snapshot,
};
use jiff::Timestamp;

/// The namespaces that an evaluation decides on.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Scope {
    /// All namespaces that the account lists.
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
pub struct EvaluationRequest {
    /// The namespaces to decide on.
    pub scope: Scope,
    /// Restrictions, most important first. Restrictions that the evaluation itself finds are appended.
    pub restrictions: Vec<Restriction>,
    /// Whether releases may be based on a fresh ledger minute in which all families of the namespace were
    /// read. If not, the metrics are read again. Set for an evaluation that only re-evaluates what an earlier
    /// one has read, so that it leaves the requests of the hour to the sampler.
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
}

/// One decision, with the version of the namespace it was made on.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The decision.
    pub decision: Decision,
    /// The version of the namespace that was decided on.
    pub resource_version: String,
    /// The policy state to store, if it changed. The caller that acts on the decision stores it.
    pub next_state: Option<PolicyState>,
    /// The decision of the shadow policy.
    pub shadow: Option<ShadowDecision>,
    /// Everything known about the namespace.
    pub snapshot: Snapshot,
    /// The policy state before the decision.
    pub state: Option<PolicyState>,
}

/// A decision of the shadow policy about a namespace. It is never carried out.
#[derive(Debug, Clone)]
pub struct ShadowDecision {
    /// The decision.
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
pub struct Evaluation {
    /// Time of the evaluation, by the service's clock.
    pub evaluated_at: Timestamp,
    /// The account, if a namespace id contains one.
    pub account: Option<String>,
    /// One decision for each namespace in scope, ordered by name.
    pub decisions: Vec<Judged>,
    /// Everything known about the account.
    pub view: AccountView,
    /// The rules that decided.
    pub rules: Rules,
    /// Why no namespace of the account has usable metrics, if none has. No metric-based decisions were made
    /// then.
    pub metrics_unavailable: Option<MetricsProblem>,
    /// Source of the data of the last hour.
    pub usage_source: UsageSource,
    /// Why the ledger could not be used. The warnings contain it as well.
    pub ledger_problem: Option<String>,
    /// Warnings about the evaluation as a whole.
    pub warnings: Vec<String>,
    /// Failures that did not prevent decisions. Commands show them as errors.
    pub errors: Vec<String>,
    /// Requests made to the Cloud Ops API.
    pub ops_requests: u64,
    /// Requests made to the metrics endpoint.
    pub metrics_requests: u64,
}

impl Evaluation {
    /// Returns the inputs of a decision.
    pub fn inputs(&self, judged: &Judged) -> Inputs {
        Inputs {
            snapshot: judged.snapshot.clone(),
            account: self.view.clone(),
            rules: self.rules.clone(),
            state: judged.state.clone(),
            now: self.evaluated_at,
        }
    }
}
