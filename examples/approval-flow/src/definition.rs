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
    /// Its name.
    pub name: String,
    /// Its steps, in the order of the file.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    /// Its id, unique in the definition.
    pub id: String,
    /// The activity; nothing for a step that only waits for approval.
    pub activity: Option<String>,
    /// The activity's input, with references.
    pub input: Value,
    /// Steps that must have ended before.
    pub needs: Vec<String>,
    /// When it runs; always if nothing is said.
    pub when: Option<Condition>,
    /// Whether a person has to approve before it runs, and after how many seconds that expires.
    pub approval: Option<u64>,
    /// How often the activity is tried.
    pub attempts: u32,
    /// The pause before the second attempt, in seconds; it doubles.
    pub retry_after_seconds: u64,
    /// How long one attempt may take, in seconds.
    pub timeout_seconds: u64,
}

impl Definition {
    /// Returns the names that `${input.NAME}` uses.
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

/// The lines of the parts of a step in the file.
pub(crate) struct Lines {
    pub(crate) step: usize,
    pub(crate) path: String,
    pub(crate) needs: Vec<usize>,
    pub(crate) when: usize,
    pub(crate) input: Option<Node>,
}
