//! What is asked of an evaluation, and what it comes to.

use std::collections::BTreeSet;

use capacity_engine::explain::Inputs;
use capacity_engine::{
    AccountView, Decision, MetricsProblem, NamespaceId, PolicyState, Restriction, Rules, Snapshot,
};
use jiff::Timestamp;

/// Which namespaces an evaluation decides on.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Scope {
    /// All that the account lists.
    #[default]
    All,
    /// Only these.
    Only(BTreeSet<NamespaceId>),
    /// Only those that match one of these globs, by bare or full name.
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

/// What an evaluation is made for.
#[derive(Debug, Clone, Default)]
pub struct EvaluationRequest {
    /// Which namespaces it decides on.
    pub scope: Scope,
    /// Restrictions, the most important first; restrictions that the evaluation finds itself are added at the end.
    pub restrictions: Vec<Restriction>,
    /// Whether releases may be based on a fresh minute of the ledger in which all of a namespace was read. Otherwise they are
    /// read again. For an evaluation that only re-evaluates what an earlier one has read, so that it leaves the requests of the
    /// hour to the sampler.
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
    /// The version of the namespace.
    pub resource_version: String,
    /// What the policy should remember, if that is new; the caller that acts on the decision stores it.
    pub next_state: Option<PolicyState>,
    /// What the policy in shadow decided.
    pub shadow: Option<ShadowDecision>,
    /// What is known about the namespace.
    pub snapshot: Snapshot,
    /// What the policy remembered of it.
    pub state: Option<PolicyState>,
}

/// What the policy in shadow decided about a namespace. It is never carried out.
#[derive(Debug, Clone)]
pub struct ShadowDecision {
    /// The decision.
    pub decision: Decision,
    /// The state that this policy should store, if it changed.
    pub next_state: Option<PolicyState>,
}

/// What fed the hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UsageSource {
    /// The minutes that a ledger has kept.
    Ledger,
    /// The minutes that a Prometheus has kept.
    Prometheus,
    /// The newest minute alone: nothing was kept.
    OneMinute,
}

impl UsageSource {
    /// Returns its words, as plans show them.
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
    /// When it was made, by the service's clock.
    pub evaluated_at: Timestamp,
    /// The account, if a namespace id contains it.
    pub account: Option<String>,
    /// One decision for each namespace in scope, by name.
    pub decisions: Vec<Judged>,
    /// What is known about the account.
    pub view: AccountView,
    /// The rules that decided.
    pub rules: Rules,
    /// Why no namespace of the account has usable metrics, if so: no metric-based decisions were made.
    pub metrics_unavailable: Option<MetricsProblem>,
    /// What fed the hour.
    pub usage_source: UsageSource,
    /// Why the ledger could not be used; it is among the warnings as well.
    pub ledger_problem: Option<String>,
    /// Warnings about the evaluation as a whole.
    pub warnings: Vec<String>,
    /// What failed, although decisions were made; commands show it as an error.
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
