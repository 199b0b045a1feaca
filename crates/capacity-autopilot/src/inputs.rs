//! The inputs of decisions, as stored in a saved plan and in the ledger.
//!
//! They are stored as the engine's own types. Inputs from another version may be unreadable: reading them
//! returns an error, and nothing else fails.

use std::collections::BTreeMap;

use capacity_engine::explain::Inputs;
use capacity_engine::{
    AccountView, CapacityInfo, KnownCapacityInfo, Ladder, LimitKind, PolicyState, ReportedMode, Rules,
    Snapshot,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::evaluation::{Evaluation, Judged, ObservedNamespace};
use crate::plan::Plan;

/// The documented sizes.
const DOCUMENTED: [f64; 7] = [2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 12.0];

/// The inputs that all decisions of an evaluation share.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SharedInputs {
    account: AccountView,
    // Inputs stored before the policy became one part of the rules have them under this name.
    #[serde(alias = "policy")]
    rules: Rules,
}

impl From<&Evaluation> for SharedInputs {
    fn from(evaluation: &Evaluation) -> Self {
        Self {
            account: evaluation.account.view.clone(),
            rules: evaluation.account.rules.clone(),
        }
    }
}

/// The inputs of one decision, apart from the shared ones.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OwnInputs {
    pub(crate) snapshot: Snapshot,
    /// The policy state before the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<PolicyState>,
}

impl From<&ObservedNamespace> for OwnInputs {
    fn from(observed: &ObservedNamespace) -> Self {
        Self {
            snapshot: observed.snapshot.clone(),
            state: observed.state.clone(),
        }
    }
}

impl SharedInputs {
    pub(crate) fn with(self, own: OwnInputs, now: Timestamp) -> Inputs {
        Inputs {
            snapshot: own.snapshot,
            account: self.account,
            rules: self.rules,
            state: own.state,
            now,
        }
    }
}

/// Number of namespaces above which a plan saves inputs only for changes and blocked changes, because an hour of minutes takes 16
/// kB.
const MOST_SAVED_WHOLE: usize = 1_000;

/// The inputs of the decisions of a plan, as a saved plan stores them: compact JSON in strings, with one line
/// of the file per namespace, so that a plan can be read without parsing all minutes of all namespaces.
#[derive(Serialize)]
struct PlanInputs {
    shared: String,
    namespaces: BTreeMap<String, String>,
}

impl PlanInputs {
    fn of(evaluation: &Evaluation) -> serde_json::Result<Self> {
        let all = evaluation.decisions.len() <= MOST_SAVED_WHOLE;
        let namespaces = evaluation
            .decisions
            .iter()
            .filter(|judged| all || is_worth_keeping(judged))
            .map(|judged| {
                let inputs = serde_json::to_string(&OwnInputs::from(&judged.observed))?;
                Ok((judged.decision.namespace.to_string(), inputs))
            });
        Ok(Self {
            shared: serde_json::to_string(&SharedInputs::from(evaluation))?,
            namespaces: namespaces.collect::<serde_json::Result<_>>()?,
        })
    }
}

impl Plan {
    /// Adds the inputs of the decisions to a plan that is saved to a file, for `explain`.
    #[must_use]
    pub fn with_inputs(self, evaluation: &Evaluation) -> Self {
        Self {
            // An embedder's own policy cannot be stored.
            inputs: PlanInputs::of(evaluation).and_then(serde_json::to_value).ok(),
            ..self
        }
    }

    /// Returns the inputs of the decision about a namespace; `None` if the plan does not contain them.
    ///
    /// # Errors
    ///
    /// If they are in a format that this version cannot read, or need a policy that this version does not
    /// have.
    pub fn inputs_of(&self, namespace: &str) -> Result<Option<Inputs>, serde_json::Error> {
        let Some(inputs) = &self.inputs else {
            return Ok(None);
        };
        let Some(own) = inputs["namespaces"][namespace].as_str() else {
            return Ok(None);
        };
        let shared: SharedInputs = serde_json::from_str(inputs["shared"].as_str().unwrap_or_default())?;
        Ok(Some(shared.with(serde_json::from_str(own)?, self.evaluated_at)))
    }
}

pub(crate) fn is_worth_keeping(judged: &Judged) -> bool {
    judged.decision.action.is_change()
        || judged.decision.blocked.is_some()
        || judged.observed.snapshot.capacity_info != CapacityInfo::NotRead
}

/// Assumes the documented sizes if the actual ones were not read, as is usual unless a change is wanted. If that would change the
/// decision, nothing is assumed. Returns whether they are assumed.
pub fn assume_documented_sizes(inputs: &mut Inputs) -> bool {
    if inputs.snapshot.capacity_info != CapacityInfo::NotRead {
        return false;
    }
    let outcome = |inputs: &Inputs| {
        let decision = inputs.decide();
        (decision.action, decision.blocked, decision.reason_code)
    };
    let decided = outcome(inputs);
    inputs.snapshot.capacity_info = CapacityInfo::Known(documented_sizes(&inputs.snapshot));
    let assumed = outcome(inputs) == decided;
    if !assumed {
        inputs.snapshot.capacity_info = CapacityInfo::NotRead;
    }
    assumed
}

pub(crate) fn documented_sizes(snapshot: &Snapshot) -> KnownCapacityInfo {
    let mut info = KnownCapacityInfo::new(Ladder::from_wire(&DOCUMENTED), ReportedMode::Absent);
    info.on_demand_actions = snapshot.envelopes[LimitKind::Actions];
    info
}
