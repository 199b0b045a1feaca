//! Definitions: steps that the driver workflow interprets.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::node::Node;
use crate::reference::{Condition, Part, Reference, parts};

/// A valid definition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Definition {
    /// Name of the definition.
    pub name: String,
    /// Steps in the order of the file.
    pub steps: Vec<Step>,
}

/// A step of a definition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    /// Id, unique in the definition.
    pub id: String,
    /// Activity to run; `None` for a step that only waits for approval.
    pub activity: Option<String>,
    /// Input of the activity, with references.
    pub input: Value,
    /// Steps that must have ended before this one starts.
    pub needs: Vec<String>,
    /// Condition for the step to run; `None` if it always runs.
    pub when: Option<Condition>,
    /// Seconds until a required approval expires; `None` if the step needs no approval.
    pub approval: Option<u64>,
    /// Maximum number of attempts of the activity.
    pub attempts: u32,
    /// Seconds before the second attempt. The interval doubles with each attempt.
    pub retry_after_seconds: u64,
    /// Timeout of one attempt, in seconds.
    pub timeout_seconds: u64,
}

impl Definition {
    /// Returns the names that occur as `${input.NAME}`.
    pub fn inputs(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for step in &self.steps {
            collect_inputs(&step.input, &mut names);
            for side in step
                .when
                .iter()
                .flat_map(|condition| [&condition.left, &condition.right])
            {
                collect_inputs(side, &mut names);
            }
        }
        names
    }
}

fn collect_inputs(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            for part in parts(text).unwrap_or_default() {
                if let Part::Reference(Reference::Input(name)) = part {
                    names.insert(name);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_inputs(item, names)),
        Value::Object(entries) => entries.values().for_each(|value| collect_inputs(value, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The line numbers of a step's parts in the file.
pub(crate) struct Lines {
    pub(crate) step: usize,
    pub(crate) path: String,
    pub(crate) needs: Vec<usize>,
    pub(crate) when: usize,
    pub(crate) input: Option<Node>,
}
