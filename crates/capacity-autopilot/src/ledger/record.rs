//! Records a plan and its changes in the ledger. Recording never affects decisions, and a failure to record stops nothing else.

use std::time::Duration;

use capacity_engine::{Action, Capacity, ConsideredOption, Decision, PolicyRef, PolicyState, Threshold};
use capacity_ledger::{
    ChangeRecord, DecisionRecord, EvaluationRecord, LedgerError, PolicyDecisionRecord, PolicyStateRecord,
};
use jiff::Timestamp;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::handle::LedgerHandle;
use super::inputs::inputs_for_ledger;
use crate::change::ChangeResult;
use crate::evaluation::Evaluation;
use crate::plan::{ActionName, Plan};
use crate::policy_state::state_key;

/// Maximum time to record an evaluation. Ten thousand decisions over a network take a while.
const RECORDING: Duration = Duration::from_secs(45);

/// Records an evaluation with all its decisions and its author. Does nothing if no account was seen.
///
/// # Errors
///
/// If the ledger cannot be written.
pub async fn record_evaluation(
    ledger: &LedgerHandle,
    plan: &Plan,
    dry_run: bool,
    by: &str,
) -> Result<(), LedgerError> {
    let Some(account) = &plan.account else {
        return Ok(());
    };
    let evaluation = EvaluationRecord {
        account: account.clone(),
        plan_id: plan.plan_id.clone(),
        evaluated_at_ms: plan.evaluated_at.as_millisecond(),
        dry_run,
        blind: plan.metrics_unavailable,
        by: by.to_owned(),
        usage_window: plan.usage_window.clone(),
        price_micro_dollars: micro_dollars(plan.price_per_million_actions).unwrap_or_default(),
    };
    let decisions: Vec<DecisionRecord> = plan
        .decisions
        .iter()
        .map(|decision| DecisionRecord {
            account: account.clone(),
            plan_id: plan.plan_id.clone(),
            namespace: decision.namespace.clone(),
            action: decision.action.as_str().to_owned(),
            current_trus: decision.current_trus.map(i64::from),
            wanted_trus: decision.wanted_trus.map(i64::from),
            reason_code: decision.reason_code.clone(),
            reason: decision.reason.clone(),
            price_before_micro_dollars: decision.price.per_hour_before.and_then(micro_dollars),
            price_after_micro_dollars: decision.price.per_hour_after.and_then(micro_dollars),
            known_minutes: decision.known_minutes.map(i64::from),
        })
        .collect();
    ledger
        .call_within(RECORDING, async |ledger| {
            ledger.record_evaluation(&evaluation, &decisions).await
        })
        .await
}

/// Records what policies decided and the inputs, and stores policy state. For evaluations that make changes:
/// read-only evaluations and dry runs store no state.
///
/// # Errors
///
/// If the ledger cannot be written.
pub async fn record_policies(
    ledger: &LedgerHandle,
    plan: &Plan,
    evaluation: &Evaluation,
    acts: bool,
) -> Result<(), LedgerError> {
    let Some(account) = &plan.account else {
        return Ok(());
    };
    let rules = &evaluation.account.rules;
    let inputs = inputs_for_ledger(plan, account, evaluation);
    let mut decisions = Vec::new();
    let mut states = Vec::new();
    for judged in &evaluation.decisions {
        if is_worth_recording(&judged.decision) {
            decisions.push(policy_decision(
                plan,
                account,
                &judged.decision,
                &rules.policy,
                false,
            ));
        }
        states.extend(judged.next_state.as_ref().map(|state| {
            policy_state(
                account,
                &judged.decision,
                state_key(rules.policy.name(), false),
                state,
            )
        }));
        let Some((shadow, by)) = judged.shadow.as_ref().zip(rules.shadow.as_ref()) else {
            continue;
        };
        if shadow.decision.action != Action::Skip {
            decisions.push(policy_decision(plan, account, &shadow.decision, by, true));
        }
        states.extend(
            shadow
                .next_state
                .as_ref()
                .map(|state| policy_state(account, &shadow.decision, state_key(by.name(), true), state)),
        );
    }
    ledger
        .call_within(RECORDING, async |ledger| {
            // State first: if the rest fails, the next evaluation still plans on what this one learned. A
            // dry run stores none, since its plans are not carried out.
            if acts && !states.is_empty() {
                ledger.store_policy_states(&states).await?;
            }
            if !decisions.is_empty() {
                ledger.record_policy_decisions(&decisions).await?;
            }
            if !inputs.is_empty() {
                ledger.record_decision_inputs(&inputs).await?;
            }
            Ok(())
        })
        .await
}

/// Returns whether the options of a decision are recorded: those of policies other than `threshold`, except for quiet
/// on-demand namespaces.
fn is_worth_recording(decision: &Decision) -> bool {
    let stays_on_demand = decision.current == Some(Capacity::OnDemand)
        && !decision.action.is_change()
        && decision.blocked.is_none()
        && decision.throttled_share.is_none();
    decision.policy != Threshold::NAME && decision.action != Action::Skip && !stays_on_demand
}

fn policy_decision(
    plan: &Plan,
    account: &str,
    decision: &Decision,
    policy: &PolicyRef,
    shadow: bool,
) -> PolicyDecisionRecord {
    let trus = |capacity: Option<Capacity>| capacity.map(|capacity| i64::from(capacity.trus()));
    PolicyDecisionRecord {
        account: account.to_owned(),
        plan_id: plan.plan_id.clone(),
        namespace: decision.namespace.to_string(),
        policy: policy.name().to_owned(),
        version: policy.version(),
        shadow,
        action: ActionName::from(decision.action).as_str().to_owned(),
        current_trus: trus(decision.current),
        wanted_trus: trus(decision.wanted),
        blocked_trus: trus(decision.blocked),
        reason_code: decision.reason_code.as_str().to_owned(),
        reason: decision.reason.clone(),
        options: serde_json::to_string(recorded_options(decision)).unwrap_or_else(|_| "[]".to_owned()),
    }
}

/// Returns the trace if it contains more than the reason, that is, sizes that guards considered, or expected costs.
fn recorded_options(decision: &Decision) -> &[ConsideredOption] {
    let options = decision.options.as_slice();
    let is_priced = options.iter().any(|option| option.cost.is_some());
    let is_wanted = decision.action.is_change() || decision.blocked.is_some();
    if is_priced || is_wanted { options } else { &[] }
}

fn policy_state(
    account: &str,
    decision: &Decision,
    policy: String,
    state: &PolicyState,
) -> PolicyStateRecord {
    PolicyStateRecord {
        account: account.to_owned(),
        namespace: decision.namespace.to_string(),
        policy,
        version: state.version,
        minute: state.minute,
        state: state.text.clone(),
    }
}

/// Records the outcomes of changes of a plan.
///
/// # Errors
///
/// If the ledger cannot be written.
pub async fn record_changes(
    ledger: &LedgerHandle,
    account: Option<&str>,
    plan_id: &str,
    changes: &[ChangeResult],
    now: Timestamp,
    by: &str,
) -> Result<(), LedgerError> {
    let account = account.unwrap_or_default();
    let record = |change| change_record(account, plan_id, change, now, by);
    let records: Vec<ChangeRecord> = changes.iter().map(record).collect();
    ledger
        .call(async |ledger| ledger.record_changes(&records).await)
        .await
}

/// Records the outcome of one change.
///
/// # Errors
///
/// If the ledger cannot be written.
pub async fn record_change(
    ledger: &LedgerHandle,
    plan_id: &str,
    change: &ChangeResult,
    now: Timestamp,
    by: &str,
) -> Result<(), LedgerError> {
    let account = change
        .namespace
        .split_once('.')
        .map_or("", |(_, account)| account);
    let record = change_record(account, plan_id, change, now, by);
    ledger
        .call(async |ledger| ledger.record_changes(std::slice::from_ref(&record)).await)
        .await
}

fn change_record(
    account: &str,
    plan_id: &str,
    change: &ChangeResult,
    now: Timestamp,
    by: &str,
) -> ChangeRecord {
    ChangeRecord {
        operation_id: change.operation_id.clone(),
        account: account.to_owned(),
        plan_id: plan_id.to_owned(),
        namespace: change.namespace.clone(),
        from_trus: i64::from(change.from_trus),
        to_trus: i64::from(change.to_trus),
        outcome: change.outcome.as_str().to_owned(),
        error: change.error.clone(),
        ended_at_ms: now.as_millisecond(),
        by: by.to_owned(),
    }
}

fn micro_dollars(dollars: Decimal) -> Option<i64> {
    (dollars * Decimal::from(1_000_000)).round().to_i64()
}
