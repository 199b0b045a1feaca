//! An observation, before any decision. Any rule can decide on it.

use capacity_engine::explain::Inputs;
use capacity_engine::{
    AccountView, Decision, PolicyState, PolicyTarget, PolicyView, Rules, Snapshot, decide, judge,
};
use jiff::Timestamp;

use super::evaluate::metrics_unavailable;
use super::round::{Infos, Round};
use super::warnings;
use crate::autopilot::Autopilot;
use crate::evaluation::{Evaluation, EvaluationRequest, Judged, UsageSource};
use crate::listing::{ObserveError, Progress};

/// What is known about an account and the namespaces in scope at one time.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Observation {
    /// Time of the observation, by the service's clock.
    pub now: Timestamp,
    /// The account's id, if a namespace id contains it.
    pub account_id: Option<String>,
    /// State of the whole account: the health of its metrics, and restrictions.
    pub account: AccountView,
    /// The namespaces in scope, ordered by name.
    pub namespaces: Vec<ObservedNamespace>,
    /// The rules of the autopilot that made the observation.
    pub rules: Rules,
    /// Source of the data of the last hour.
    pub usage_source: UsageSource,
    /// Why the ledger could not be used, if it could not.
    pub ledger_problem: Option<String>,
    /// Warnings about the observation as a whole.
    pub warnings: Vec<String>,
    /// Failures that did not prevent the observation.
    pub errors: Vec<String>,
    /// Requests made to the Cloud Ops API.
    pub ops_requests: u64,
    /// Requests made to the metrics endpoint.
    pub metrics_requests: u64,
}

/// Everything known about one namespace.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ObservedNamespace {
    /// Everything that a rule may use.
    pub snapshot: Snapshot,
    /// The version of the namespace. A change is made only on this version.
    pub resource_version: String,
    /// The stored state of the autopilot's policy for the namespace.
    pub state: Option<PolicyState>,
}

impl Autopilot {
    /// Observes the account without deciding or changing anything. Reads the capacity info of all namespaces
    /// in scope, with one request for each, so that every size is known.
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
        let mut warnings = Vec::new();
        // Boxed, because the layout of its callers would otherwise be nested too deeply for the compiler.
        let round = Box::pin(Round::observed(
            self,
            request,
            Infos::OfAll,
            progress,
            &mut warnings,
        ))
        .await?;
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
            account_id: round.account_id,
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
    /// Decides with the policy of the autopilot, and returns one decision for each namespace.
    pub fn decide(&self) -> Vec<Decision> {
        let decide = |it: &ObservedNamespace| {
            let state = it.state.as_ref();
            decide(&it.snapshot, &self.account, &self.rules, state, self.now).0
        };
        self.namespaces.iter().map(decide).collect()
    }

    /// Decides on your own targets. Filter, state, metrics, restrictions and guards apply to them as to those
    /// of a built-in policy.
    pub fn judge(&self, target: impl Fn(&PolicyView<'_>) -> PolicyTarget + Send + Sync) -> Vec<Decision> {
        let judge =
            |it: &ObservedNamespace| judge(&it.snapshot, &self.account, &self.rules, self.now, &target);
        self.namespaces.iter().map(judge).collect()
    }

    /// Returns an evaluation with these decisions, which can be planned, reported and carried out. Decisions
    /// about namespaces that were not observed are left out.
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
