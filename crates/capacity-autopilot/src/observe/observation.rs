//! An observation, before any decision. Any rule can decide on it.

use capacity_engine::explain::Inputs;
use capacity_engine::{Decision, PolicyTarget, PolicyView, decide, judge};

use super::evaluate::evaluation_of;
use super::round::{Infos, observe};
use crate::autopilot::Autopilot;
use crate::evaluation::{Evaluation, EvaluationRequest, Judged, ObservedAccount, ObservedNamespace};
use crate::listing::{ObserveError, Progress};

/// What is known about an account and the namespaces in scope at one time.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Observation {
    /// The observed account.
    pub account: ObservedAccount,
    /// The namespaces in scope, ordered by name.
    pub namespaces: Vec<ObservedNamespace>,
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
        let observed = observe(self, request, Infos::OfAll, progress).await?;
        Ok(Observation {
            account: observed.account,
            namespaces: observed.namespaces,
        })
    }
}

impl Observation {
    /// Decides with the policy of the autopilot, and returns one decision for each namespace.
    pub fn decide(&self) -> Vec<Decision> {
        let ObservedAccount { view, rules, at, .. } = &self.account;
        let decide = |it: &ObservedNamespace| decide(&it.snapshot, view, rules, it.state.as_ref(), *at).0;
        self.namespaces.iter().map(decide).collect()
    }

    /// Decides on your own targets. Filter, state, metrics, restrictions and guards apply to them as to those
    /// of a built-in policy.
    pub fn judge(&self, target: impl Fn(&PolicyView<'_>) -> PolicyTarget + Send + Sync) -> Vec<Decision> {
        let ObservedAccount { view, rules, at, .. } = &self.account;
        let judge = |it: &ObservedNamespace| judge(&it.snapshot, view, rules, *at, &target);
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
                observed: observed.clone(),
                next_state: None,
                shadow: None,
            })
        });
        evaluation_of(self.account.clone(), judged.collect())
    }

    /// Returns the inputs of each decision, so that they can be stored, re-evaluated and explained.
    pub fn inputs(&self) -> Vec<Inputs> {
        let namespaces = self.namespaces.iter();
        namespaces.map(|it| self.account.inputs(it)).collect()
    }
}
