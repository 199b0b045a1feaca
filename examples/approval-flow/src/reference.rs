//! References in a definition: `${input.name}`, `${steps.build.output}`, `${steps.build.output.digest}`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A reference to a value of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// An input value of the run.
    Input(String),
    /// The output of a step, and the keys of a value inside it.
    Output(String, Vec<String>),
}

/// A part of a text: a literal or a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<'t> {
    /// Literal text.
    Text(&'t str),
    /// A reference.
    Reference(Reference),
}

/// A text with an invalid reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// The reference is not closed.
    #[error("`${{` is not closed by `}}`")]
    NotClosed,
    /// The reference has an unknown form.
    #[error("`${{{0}}}` must be `${{input.NAME}}` or `${{steps.ID.output}}`")]
    Form(String),
}

/// Splits a text into literals and references.
///
/// # Errors
///
/// If a reference is not closed or has an invalid format.
pub fn parts(text: &str) -> Result<Vec<Part<'_>>, ReferenceError> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if start > 0 {
            parts.push(Part::Text(&rest[..start]));
        }
        let after = &rest[start + 2..];
        let end = after.find('}').ok_or(ReferenceError::NotClosed)?;
        parts.push(Part::Reference(reference(after[..end].trim())?));
        rest = &after[end + 1..];
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    Ok(parts)
}

fn reference(text: &str) -> Result<Reference, ReferenceError> {
    let mut keys = text.split('.');
    let parsed = match (keys.next(), keys.next()) {
        (Some("input"), Some(name)) if keys.clone().next().is_none() => {
            Some(Reference::Input(name.to_owned()))
        }
        (Some("steps"), Some(id)) if keys.next() == Some("output") => Some(Reference::Output(
            id.to_owned(),
            keys.map(str::to_owned).collect(),
        )),
        _ => None,
    };
    parsed.ok_or_else(|| ReferenceError::Form(text.to_owned()))
}

/// The values that references resolve to.
#[derive(Debug, Clone, Default)]
pub struct Values {
    /// Input values of the run.
    pub input: BTreeMap<String, Value>,
    /// Outputs of steps that have run.
    pub outputs: BTreeMap<String, Value>,
}

impl Values {
    fn get(&self, reference: &Reference) -> Value {
        match reference {
            Reference::Input(name) => self.input.get(name).cloned().unwrap_or_default(),
            Reference::Output(id, keys) => {
                let output = self.outputs.get(id).cloned().unwrap_or_default();
                keys.iter()
                    .fold(output, |value, key| value.get(key).cloned().unwrap_or_default())
            }
        }
    }

    /// Replaces every reference in a value. If a text consists of a single reference, the result is the
    /// referenced value itself.
    pub fn fill(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.fill_text(text),
            Value::Array(items) => items.iter().map(|item| self.fill(item)).collect(),
            Value::Object(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, value)| (key.clone(), self.fill(value)))
                    .collect(),
            ),
            other => other.clone(),
        }
    }

    fn fill_text(&self, text: &str) -> Value {
        match parts(text).as_deref() {
            Ok([Part::Reference(reference)]) => self.get(reference),
            Ok(parts) => Value::String(parts.iter().map(|part| self.shown(part)).collect()),
            // Validation rejects such a text.
            Err(_) => Value::String(text.to_owned()),
        }
    }

    fn shown(&self, part: &Part<'_>) -> String {
        match part {
            Part::Text(text) => (*text).to_owned(),
            Part::Reference(reference) => match self.get(reference) {
                Value::String(text) => text,
                Value::Null => String::new(),
                other => other.to_string(),
            },
        }
    }
}

/// The condition for a step to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// Left value; usually a reference.
    pub left: Value,
    /// Whether the values must be equal (`==`) or different (`!=`).
    pub equal: bool,
    /// Value to compare with.
    pub right: Value,
}

impl Condition {
    /// Parses `LEFT == RIGHT`, `LEFT != RIGHT`, or `LEFT` alone, which must be true.
    pub fn read(text: &str) -> Self {
        let split = |operator: &str| {
            text.split_once(operator)
                .map(|(left, right)| (left.trim(), right.trim()))
        };
        let (left, equal, right) = match (split("=="), split("!=")) {
            (Some((left, right)), _) => (left, true, literal(right)),
            (None, Some((left, right))) => (left, false, literal(right)),
            (None, None) => (text.trim(), true, Value::Bool(true)),
        };
        Self {
            left: literal(left),
            equal,
            right,
        }
    }

    /// Returns whether the condition is true.
    pub fn holds(&self, values: &Values) -> bool {
        (values.fill(&self.left) == values.fill(&self.right)) == self.equal
    }

    /// Returns whether the condition is false for all possible step results.
    pub fn never_holds(&self) -> bool {
        let is_constant = |value: &Value| !value.to_string().contains("${");
        is_constant(&self.left) && is_constant(&self.right) && !self.holds(&Values::default())
    }
}

/// Parses `true`, `3` and `"x"` as JSON, and anything else as text.
fn literal(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.trim_matches('\'').to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn values() -> Values {
        Values {
            input: BTreeMap::from([("version".to_owned(), json!("1.2"))]),
            outputs: BTreeMap::from([("check".to_owned(), json!({ "allowed": true, "score": 3 }))]),
        }
    }

    #[test]
    fn a_text_that_is_one_reference_keeps_its_type() {
        let filled = values()
            .fill(&json!({ "a": "${steps.check.output.score}", "b": ["v${input.version}!"], "c": 1 }));
        assert_eq!(filled, json!({ "a": 3, "b": ["v1.2!"], "c": 1 }));
    }

    #[test]
    fn conditions_compare_values() {
        for (text, holds) in [
            ("${steps.check.output.allowed}", true),
            ("${steps.check.output.score} == 3", true),
            ("${steps.check.output.score} != 3", false),
            ("${input.version} == '1.3'", false),
            ("${input.version} == \"1.2\"", true),
            ("${steps.check.output.absent}", false),
        ] {
            assert_eq!(Condition::read(text).holds(&values()), holds, "{text}");
        }
        assert!(Condition::read("false").never_holds() && Condition::read("1 == 2").never_holds());
        assert!(!Condition::read("true").never_holds() && !Condition::read("${input.x}").never_holds());
    }

    #[test]
    fn invalid_references_are_refused() {
        for text in ["${", "${steps.a}", "${steps.a.result}", "${env.HOME}", "${input}"] {
            assert!(parts(text).is_err(), "{text}");
        }
    }
}
