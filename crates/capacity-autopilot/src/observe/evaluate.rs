//! An evaluation: observe the account, then decide on each namespace.

use capacity_engine::{AccountView, MetricsHealth, MetricsProblem, ReasonCode};

use super::round::{Infos, Round};
use super::warnings;
use crate::autopilot::Autopilot;
use crate::evaluation::{Evaluation, EvaluationRequest, Judged, Scope};
use crate::listing::{ObserveError, Progress};

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
    let (ops_before, metrics_before) = (
        autopilot.ops().requests_made(),
        autopilot.metrics().counted_requests(),
    );
    let mut warnings = Vec::new();
    let infos = Infos::OfCandidates;
    let mut round = Round::observed(autopilot, request, infos, progress, &mut warnings).await?;

    let now = autopilot.now();
    let decisions = round.decide(now);
    autopilot.sizes_seen().take(&decisions);
    for error in &round.errors {
        tracing::warn!("{error}");
    }
    warnings::of_decisions(&round.account, &decisions, &mut warnings);
    Ok(Evaluation {
        evaluated_at: now,
        account: round.account_id.clone(),
        metrics_unavailable: metrics_unavailable(&round.account, &decisions),
        decisions,
        rules: autopilot.settings().rules.clone(),
        usage_source: round.usage_source(),
        ledger_problem: round.reading.ledger.failure().map(ToString::to_string),
        warnings,
        errors: round.errors,
        view: round.account,
        ops_requests: autopilot.ops().requests_made() - ops_before,
        metrics_requests: autopilot.metrics().counted_requests() - metrics_before,
    })
}

/// The account's metrics are incomplete, or no namespace that was evaluated has usable ones.
pub(super) fn metrics_unavailable(account: &AccountView, decisions: &[Judged]) -> Option<MetricsProblem> {
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
            _ => return None,
        }
    }
    without_metrics
}
