//! The inputs of decisions, as stored in the ledger.

use capacity_engine::explain::Inputs;
use capacity_engine::{ReportedUsage, UsageWindow};
use capacity_ledger::DecisionInputsRecord;
use jiff::Timestamp;

use crate::evaluation::{Evaluation, UsageSource};
use crate::inputs::{OwnInputs, SharedInputs, is_worth_keeping};
use crate::plan::Plan;

/// Returns what the ledger stores for an evaluation besides its decisions and the minutes of usage: the
/// inputs of each decision that depended on more than usage.
pub(super) fn inputs_for_ledger(
    plan: &Plan,
    account: &str,
    evaluation: &Evaluation,
) -> Vec<DecisionInputsRecord> {
    // An embedder's own policy cannot be stored.
    let Ok(shared) = serde_json::to_string(&SharedInputs::from(evaluation)) else {
        return Vec::new();
    };
    let record = |namespace: &str, inputs: String| DecisionInputsRecord {
        account: account.to_owned(),
        plan_id: plan.plan_id.clone(),
        namespace: namespace.to_owned(),
        inputs,
    };
    let mut records: Vec<DecisionInputsRecord> = evaluation
        .decisions
        .iter()
        .filter(|judged| is_worth_keeping(judged))
        .filter_map(|judged| {
            let mut own = OwnInputs::from(&judged.observed);
            if evaluation.account.usage_source == UsageSource::Ledger
                && let ReportedUsage::Known(window) = &own.snapshot.usage
            {
                // The other minutes are in the ledger already.
                own.snapshot.usage = ReportedUsage::Known(UsageWindow::of_one(*window.newest()));
            }
            let inputs = serde_json::to_string(&own).ok()?;
            Some(record(judged.decision.namespace.as_str(), inputs))
        })
        .collect();
    if !records.is_empty() {
        records.push(record("", shared));
    }
    records
}

/// Returns the stored inputs of a decision; `None` if there are none.
///
/// # Errors
///
/// As [`Plan::inputs_of`].
pub(super) fn inputs_from_ledger(
    records: &[DecisionInputsRecord],
    now: Timestamp,
) -> Result<Option<Inputs>, serde_json::Error> {
    // The inputs that all decisions share have no name and come first.
    let [shared, own] = records else {
        return Ok(None);
    };
    let shared: SharedInputs = serde_json::from_str(&shared.inputs)?;
    Ok(Some(shared.with(serde_json::from_str(&own.inputs)?, now)))
}
