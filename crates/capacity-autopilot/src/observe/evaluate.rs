//! An evaluation: observe the account, then decide on each namespace.

use capacity_engine::{AccountView, MetricsHealth, MetricsProblem, ReasonCode};

use super::policies::Judge;
use super::round::{Infos, observe};
use super::warnings;
use crate::autopilot::Autopilot;
use crate::evaluation::{
    Evaluation, EvaluationRequest, Judged, ObservedAccount, ObservedNamespace, Scope, ShadowDecision,
};
use crate::listing::{ObserveError, Progress};
use crate::timing::{Part, Running};

impl Autopilot {
    /// Observes the account and decides, without changing anything.
    ///
    /// Metrics that cannot be read are not an error: every namespace is then held.
    ///
    /// # Errors
    ///
    /// If the list of namespaces cannot be read completely. No decisions are made on a partial list.
    pub async fn evaluate(&self, scope: &Scope) -> Result<Evaluation, ObserveError> {
        let request = EvaluationRequest::of(scope.clone());
        self.evaluate_on(&request, &|_| ()).await
    }

    /// Like [`Autopilot::evaluate`], with the restrictions of a request and with progress reports.
    ///
    /// # Errors
    ///
    /// As [`Autopilot::evaluate`].
    pub async fn evaluate_on(
        &self,
        request: &EvaluationRequest,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Evaluation, ObserveError> {
        // Boxed, because the type of its callers' futures is too deeply nested for the compiler otherwise.
        Box::pin(evaluate(self, request, progress)).await
    }
}

async fn evaluate(
    autopilot: &Autopilot,
    request: &EvaluationRequest,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Evaluation, ObserveError> {
    let observed = observe(autopilot, request, Infos::OfCandidates, progress).await?;
    let (account, acting, shadow) = (observed.account, observed.acting, observed.shadow);
    let decide = |observed| judged(observed, &account, &acting, shadow.as_ref());
    let deciding = Running::begin(Part::Decide);
    let decisions: Vec<Judged> = observed.namespaces.into_iter().map(decide).collect();
    let decided = deciding.end(decisions.len(), None);
    let mut account = account;
    account.timings.push(decided);
    autopilot.sizes_seen().take(&decisions);
    for error in &account.errors {
        tracing::warn!("{error}");
    }
    Ok(evaluation_of(account, decisions))
}

fn judged(
    observed: ObservedNamespace,
    account: &ObservedAccount,
    acting: &Judge,
    shadow: Option<&Judge>,
) -> Judged {
    let (snapshot, now) = (&observed.snapshot, account.at);
    let (decision, next_state) = acting.decide(snapshot, &account.view, now);
    let reason = decision.reason_code.as_str();
    if decision.action.is_change() || decision.announce {
        tracing::info!(namespace = %decision.namespace, reason, "{decision}");
    } else {
        tracing::debug!(namespace = %decision.namespace, reason, "{decision}");
    }
    let shadow = shadow.map(|shadow| {
        let (decision, next_state) = shadow.decide(snapshot, &account.view, now);
        ShadowDecision { decision, next_state }
    });
    Judged {
        decision,
        observed,
        next_state,
        shadow,
    }
}

/// Returns the evaluation that results from these decisions.
pub(super) fn evaluation_of(mut account: ObservedAccount, decisions: Vec<Judged>) -> Evaluation {
    warnings::of_decisions(&account.view, &decisions, &mut account.warnings);
    Evaluation {
        metrics_unavailable: metrics_unavailable(&account.view, &decisions),
        account,
        decisions,
    }
}

/// Returns why the metrics are unavailable: those of the account are incomplete, or no evaluated namespace has usable ones.
fn metrics_unavailable(account: &AccountView, decisions: &[Judged]) -> Option<MetricsProblem> {
    let mut without_metrics = None;
    for judged in decisions {
        match judged.decision.reason_code {
            // This also applies if only scaling down is blocked by it.
            ReasonCode::MetricsIncomplete => {
                return match &account.metrics {
                    MetricsHealth::Incomplete { problem, .. } => Some(*problem),
                    _ => None,
                };
            }
            ReasonCode::MetricsMissing | ReasonCode::MetricsStale => {
                without_metrics = Some(MetricsProblem::Stale);
            }
            // These are decided before metrics are checked, so they contain no information about metrics.
            ReasonCode::Denied
            | ReasonCode::NotAllowed
            | ReasonCode::NamespaceNotActive
            | ReasonCode::ReplicaMoving
            | ReasonCode::ChangeInProgress
            | ReasonCode::CapacityUnknown => {}
            // One namespace with usable metrics is enough: the account as a whole is not blind.
            _ => return None,
        }
    }
    without_metrics
}
