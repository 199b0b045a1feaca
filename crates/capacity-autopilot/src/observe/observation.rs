//! What was observed, before anything is decided: any rule can decide on it.

use capacity_engine::explain::Inputs;
use capacity_engine::{
    AccountView, Decision, PolicyState, PolicyTarget, PolicyView, Rules, Snapshot, decide, judge,
};
use jiff::Timestamp;

use super::evaluate::metrics_unavailable;
use super::round::Round;
use super::{capacity_infos, warnings};
use crate::autopilot::Autopilot;
use crate::evaluation::{Evaluation, EvaluationRequest, Judged, UsageSource};
use crate::listing::{ObserveError, Progress, account_of, in_scope, list};

/// What is known about an account and the namespaces in scope at one time.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Observation {
    /// When, by the service's clock.
    pub now: Timestamp,
    /// The account's id, where a namespace tells it.
    pub account_id: Option<String>,
    /// What concerns the whole account: the health of its metrics, and restrictions.
    pub account: AccountView,
    /// The namespaces in scope, by name.
    pub namespaces: Vec<ObservedNamespace>,
    /// The rules of the autopilot that observed.
    pub rules: Rules,
    /// What fed the hour.
    pub usage_source: UsageSource,
    /// Why the ledger could not be used.
    pub ledger_problem: Option<String>,
    /// What people should know of it as a whole.
    pub warnings: Vec<String>,
    /// What failed, although something was observed.
    pub errors: Vec<String>,
    /// Requests made to the Cloud Ops API.
    pub ops_requests: u64,
    /// Requests made to the metrics endpoint.
    pub metrics_requests: u64,
}

/// What is known about one namespace.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ObservedNamespace {
    /// Everything that a rule may look at.
    pub snapshot: Snapshot,
    /// The version of the namespace: a change is made on this one only.
    pub resource_version: String,
    /// What the policy of the autopilot remembers of it.
    pub state: Option<PolicyState>,
}

impl Autopilot {
    /// Observes the account without deciding or changing anything. The capacity info of all namespaces in scope is read, so that
    /// every size is known: one request for each.
    ///
    /// # Errors
    ///
    /// As [`Autopilot::evaluate`].
    pub async fn observe(
        &self,
        request: &EvaluationRequest,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Observation, ObserveError> {
        let (ops_before, metrics_before) = (self.ops().requests_made(), self.metrics().counted_requests());
        let listed = list(self, progress).await?;
        let account_id = account_of(listed.iter().map(|listed| &listed.id));
        let mut warnings = Vec::new();
        warnings::of_clock(self.clock_skew(), &mut warnings);
        warnings::of_filters(self, &listed, &mut warnings);
        let in_scope = in_scope(listed, &request.scope)?;
        let mut round = Round::new(self, in_scope, account_id.clone(), request);
        round.look(request, progress, &mut warnings).await;
        let all: Vec<usize> = (0..round.names.len()).collect();
        progress(Progress::ReadingCapacityInfo(all.len()));
        round
            .errors
            .extend(capacity_infos::read(self, &mut round.snapshots, all).await);
        let usage_source = round.usage_source();
        let versions = round.versions.into_iter();
        let namespaces = round
            .snapshots
            .into_iter()
            .zip(versions)
            .map(|(snapshot, version)| ObservedNamespace {
                state: round.acting.state(&snapshot.namespace).cloned(),
                snapshot,
                resource_version: version,
            });
        Ok(Observation {
            now: self.now(),
            account_id,
            namespaces: namespaces.collect(),
            account: round.account,
            rules: self.settings().rules.clone(),
            usage_source,
            ledger_problem: round.reading.ledger.failure().map(ToString::to_string),
            warnings,
            errors: round.errors,
            ops_requests: self.ops().requests_made() - ops_before,
            metrics_requests: self.metrics().counted_requests() - metrics_before,
        })
    }
}

impl Observation {
    /// Decides by the policy of the autopilot: one decision for each namespace.
    pub fn decide(&self) -> Vec<Decision> {
        let decide = |it: &ObservedNamespace| {
            let state = it.state.as_ref();
            decide(&it.snapshot, &self.account, &self.rules, state, self.now).0
        };
        self.namespaces.iter().map(decide).collect()
    }

    /// Decides about targets of your own: filter, state, metrics, restrictions and guards apply to them as to a built-in policy's.
    pub fn judge(&self, target: impl Fn(&PolicyView<'_>) -> PolicyTarget + Send + Sync) -> Vec<Decision> {
        let judge =
            |it: &ObservedNamespace| judge(&it.snapshot, &self.account, &self.rules, self.now, &target);
        self.namespaces.iter().map(judge).collect()
    }

    /// Returns the evaluation of some decisions on this observation, to be planned, reported and carried out. A decision about a
    /// namespace that was not observed is left out.
    pub fn evaluation(&self, decisions: impl IntoIterator<Item = Decision>) -> Evaluation {
        let judged = decisions.into_iter().filter_map(|decision| {
            let mut namespaces = self.namespaces.iter();
            let observed = namespaces.find(|it| it.snapshot.namespace == decision.namespace)?;
            Some(Judged {
                decision,
                resource_version: observed.resource_version.clone(),
                next_state: None,
                shadow: None,
                snapshot: observed.snapshot.clone(),
                state: observed.state.clone(),
            })
        });
        let decisions: Vec<Judged> = judged.collect();
        let mut warnings = self.warnings.clone();
        warnings::of_decisions(&self.account, &decisions, &mut warnings);
        Evaluation {
            evaluated_at: self.now,
            account: self.account_id.clone(),
            metrics_unavailable: metrics_unavailable(&self.account, &decisions),
            decisions,
            view: self.account.clone(),
            rules: self.rules.clone(),
            usage_source: self.usage_source,
            ledger_problem: self.ledger_problem.clone(),
            warnings,
            errors: self.errors.clone(),
            ops_requests: self.ops_requests,
            metrics_requests: self.metrics_requests,
        }
    }

    /// Returns the inputs of each decision, so that they can be stored, re-evaluated and explained.
    pub fn inputs(&self) -> Vec<Inputs> {
        let inputs = |it: &ObservedNamespace| Inputs {
            snapshot: it.snapshot.clone(),
            account: self.account.clone(),
            rules: self.rules.clone(),
            state: it.state.clone(),
            now: self.now,
        };
        self.namespaces.iter().map(inputs).collect()
    }
}
