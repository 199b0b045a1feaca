//! A past decision from the ledger: its record, and its inputs as far as the ledger has them.

use capacity_engine::explain::Inputs;
use capacity_engine::{
    AccountView, Capacity, CapacityInfo, MetricsHealth, NamespaceId, PerLimit, PolicyState, Rate,
    ReportedMode, ReportedUsage, Rules, Snapshot, UsageGap,
};
use capacity_ledger::{HistoryFilter, HistoryRow, Ledger, LedgerError, NamespaceMinute};
use jiff::{SignedDuration, Timestamp};

use super::inputs::inputs_from_ledger;
use super::minutes::{add_to, sample_of};
use crate::inputs::{assume_documented_sizes, documented_sizes};
use crate::metrics::{Histories, LOOK_BACK};
use crate::policy_state::state_key;

/// Time after which the endpoint shows a minute.
const SHOWN_AFTER: SignedDuration = SignedDuration::from_mins(3);

/// Assumption if minutes have been aggregated since.
const MINUTES_GONE: &str = "The ledger no longer has all minutes behind this decision; it was re-evaluated \
                            with the remaining ones.";
/// Assumption if the sizes were not recorded.
const SIZES_ASSUMED: &str = "The documented sizes are assumed: they were not read for this decision.";

/// A recorded decision from the ledger.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RecalledDecision {
    /// The decision as recorded.
    pub row: HistoryRow,
    /// The inputs of the decision. If a decision depended on more than usage, all of its inputs are recorded.
    /// For other decisions, and for those of older versions, the ledger has only usage and limits.
    pub inputs: Inputs,
    /// Assumptions about the missing inputs, as sentences.
    pub assumed: Vec<String>,
}

/// Returns the newest decision about a namespace, or the newest one at or before `at` if given; `None` if the
/// ledger has none.
///
/// # Errors
///
/// If the ledger cannot be read.
pub async fn decision_in_ledger(
    ledger: &Ledger,
    namespace: &NamespaceId,
    at: Option<Timestamp>,
    rules: &Rules,
) -> Result<Option<RecalledDecision>, LedgerError> {
    let filter = HistoryFilter {
        namespaces: vec![namespace.to_string()],
        // The filter excludes its end, and a decision at `at` counts.
        to: at.and_then(|at| at.checked_add(SignedDuration::from_millis(1)).ok()),
        limit: 1,
        ..HistoryFilter::default()
    };
    let Some(row) = ledger.history(None, &filter).await?.pop() else {
        return Ok(None);
    };
    let now = Timestamp::from_millisecond(row.evaluated_at_ms).unwrap_or_default();
    let (account, plan_id) = (&row.decision.account, &row.decision.plan_id);
    let (histories, newest) = shown_minutes(ledger, account, namespace, now).await?;
    let mut assumed = Vec::new();
    let kept = ledger
        .decision_inputs(account, plan_id, namespace.as_str())
        .await?;
    match inputs_from_ledger(&kept, now) {
        Ok(Some(inputs)) => return Ok(Some(recorded(row, inputs, namespace, &histories))),
        Ok(None) => {}
        Err(error) => assumed.push(format!(
            "The recorded inputs of this decision cannot be used by this version ({error})."
        )),
    }
    assumed.push(SIZES_ASSUMED.to_owned());
    assumed.push(format!(
        "The policy is assumed to be the one in your settings ({}), without restrictions, capacity requests \
         or moving replicas: the ledger has none of these for this decision.",
        rules.policy.name()
    ));
    let state = if rules.policy.keeps_state() {
        let state = remembered(ledger, account, namespace, rules, now).await?;
        if state.is_none() {
            assumed.push(format!(
                "The ledger does not have the state of {} before this decision; it is assumed to start \
                 empty.",
                rules.policy.name()
            ));
        }
        state
    } else {
        None
    };
    let inputs = Inputs {
        snapshot: snapshot(namespace, &row, newest, &histories),
        account: AccountView::new(MetricsHealth::Complete),
        rules: rules.clone(),
        state,
        now,
    };
    Ok(Some(RecalledDecision { row, inputs, assumed }))
}

/// The newest minute of a namespace with its sample.
type NewestSample = Option<(Timestamp, NamespaceMinute)>;

/// Reads the minutes that the endpoint had shown when a decision was made.
async fn shown_minutes(
    ledger: &Ledger,
    account: &str,
    namespace: &NamespaceId,
    now: Timestamp,
) -> Result<(Histories, NewestSample), LedgerError> {
    let from = now.saturating_sub(LOOK_BACK).unwrap_or(Timestamp::MIN);
    let shown = now.saturating_sub(SHOWN_AFTER).unwrap_or(now);
    // The window excludes its end.
    let to = shown
        .saturating_add(SignedDuration::from_secs(1))
        .unwrap_or(shown);
    let mut histories = Histories::default();
    let mut newest = None;
    for minute in ledger.window(account, from, to).await? {
        add_to(&mut histories, &minute);
        let samples = minute.samples.into_iter();
        let of_namespace = samples.filter(|sample| &*sample.namespace == namespace.as_str());
        newest = of_namespace
            .last()
            .map(|sample| (minute.minute, sample))
            .or(newest);
    }
    Ok((histories, newest))
}

/// Completes recorded inputs with the minutes of the ledger.
fn recorded(
    row: HistoryRow,
    mut inputs: Inputs,
    namespace: &NamespaceId,
    histories: &Histories,
) -> RecalledDecision {
    let mut assumed = Vec::new();
    if let ReportedUsage::Known(window) = &inputs.snapshot.usage
        // The form in which `inputs_for_ledger` stores a window: the other minutes are in the ledger.
        && window.minutes().count() == 1
    {
        let window = histories.window(namespace, *window.newest());
        let known = i64::try_from(window.known_minutes()).unwrap_or(i64::MAX);
        let decided_on = row.decision.known_minutes;
        if decided_on.is_some_and(|decided_on| known < decided_on) {
            assumed.push(MINUTES_GONE.to_owned());
        }
        inputs.snapshot.usage = ReportedUsage::Known(window);
    }
    if assume_documented_sizes(&mut inputs) {
        assumed.push(SIZES_ASSUMED.to_owned());
    }
    RecalledDecision { row, inputs, assumed }
}

/// Returns the policy state before a decision. The ledger keeps only the newest state, which may be the
/// result of a later decision.
async fn remembered(
    ledger: &Ledger,
    account: &str,
    namespace: &NamespaceId,
    rules: &Rules,
    now: Timestamp,
) -> Result<Option<PolicyState>, LedgerError> {
    let key = state_key(rules.policy.name(), false);
    let minute = now.as_second().div_euclid(60);
    let states = ledger.policy_states(account, &key).await?;
    let of_namespace = states
        .into_iter()
        // A state of the same minute is the result of this decision, not its input.
        .find(|state| state.namespace == namespace.as_str() && state.minute < minute);
    Ok(of_namespace.map(|it| PolicyState::new(it.version, it.minute, it.state)))
}

fn snapshot(
    namespace: &NamespaceId,
    row: &HistoryRow,
    newest: NewestSample,
    histories: &Histories,
) -> Snapshot {
    let trus = row
        .decision
        .current_trus
        .and_then(|trus| u32::try_from(trus).ok());
    let present = ReportedMode::from(Capacity::from_trus(trus.unwrap_or(0)));
    let mut snapshot = Snapshot::unknown(namespace.clone());
    snapshot.status = present.clone();
    snapshot.spec = present;
    if let Some((minute, sample)) = newest {
        let rate = |micros: Option<u64>| micros.map(Rate::from_micros_per_second);
        let newest = sample_of(minute, &sample);
        snapshot.limits = PerLimit::from_fn(|kind| rate(sample.limits[kind as usize]));
        snapshot.envelopes = PerLimit::from_fn(|kind| rate(sample.envelopes[kind as usize]));
        snapshot.usage_gaps =
            PerLimit::from_fn(|kind| (!newest.served_read[kind]).then_some(UsageGap::NotRead));
        snapshot.usage = ReportedUsage::Known(histories.window(namespace, newest));
    }
    snapshot.capacity_info = CapacityInfo::Known(documented_sizes(&snapshot));
    snapshot
}
