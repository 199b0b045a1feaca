//! The activities that a definition may use.
#![allow(missing_docs, reason = "the macros generate public items")]

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use temporal_worker_kit::beating;
use temporalio_macros::activities;
use temporalio_sdk::ApplicationFailure;
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::policy::PolicyFile;

/// An activity with the types of its input and output.
#[derive(Debug)]
pub struct Entry {
    /// Name in definitions.
    pub name: &'static str,
    /// Fields of its input.
    pub input: &'static [Field],
    /// Type of its output.
    pub output: &'static str,
}

/// A field of an input.
#[derive(Debug)]
pub struct Field {
    /// Name of the field.
    pub name: &'static str,
    /// Type of its value.
    pub form: &'static str,
    /// Whether the field is required.
    pub required: bool,
}

const fn required(name: &'static str, form: &'static str) -> Field {
    Field {
        name,
        form,
        required: true,
    }
}

const fn optional(name: &'static str, form: &'static str) -> Field {
    Field {
        name,
        form,
        required: false,
    }
}

/// Every activity that a definition may use.
pub const CATALOG: &[Entry] = &[
    Entry {
        name: "policy.check",
        input: &[required("text", "text")],
        output: "a map",
    },
    Entry {
        name: "text.upper",
        input: &[required("text", "text")],
        output: "text",
    },
    Entry {
        name: "text.join",
        input: &[required("parts", "a list"), optional("separator", "text")],
        output: "text",
    },
    Entry {
        name: "number.add",
        input: &[required("a", "a number"), required("b", "a number")],
        output: "a number",
    },
    Entry {
        name: "wait",
        input: &[required("seconds", "a number")],
        output: "a number",
    },
    // Fails on its first attempts, to demonstrate retries.
    Entry {
        name: "flaky",
        input: &[required("failures", "a number")],
        output: "a number",
    },
];

/// Returns the activity with this name.
pub fn activity(name: &str) -> Option<&'static Entry> {
    CATALOG.iter().find(|entry| entry.name == name)
}

/// A call of an activity.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Call {
    /// Name of the activity.
    pub activity: String,
    /// Input with all references replaced.
    pub input: Value,
}

/// Runs the activities of a definition.
pub struct Steps {
    /// Rules for `policy.check`.
    pub policy: Arc<PolicyFile>,
}

/// A call that cannot succeed.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("`{0}` must be {1}")]
    Form(&'static str, &'static str),
    #[error("unknown activity `{0}`")]
    Unknown(String),
    #[error("failed on attempt {0}, as requested")]
    Flaky(u32),
}

fn permanent(error: CallError) -> ActivityError {
    ApplicationFailure::builder(error)
        .type_name("InvalidInput".to_owned())
        .non_retryable(true)
        .build()
        .into()
}

fn text(input: &Value, key: &'static str) -> Result<String, ActivityError> {
    let text = input.get(key).and_then(Value::as_str).map(str::to_owned);
    text.ok_or_else(|| permanent(CallError::Form(key, "text")))
}

fn number(input: &Value, key: &'static str) -> Result<f64, ActivityError> {
    let number = input.get(key).and_then(Value::as_f64);
    number.ok_or_else(|| permanent(CallError::Form(key, "a number")))
}

/// Converts a number to JSON, as an integer if it is whole.
fn value_of(number: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
    // Up to 2^53, about 9e15, every integer is exact.
    if number.fract() == 0.0 && number.abs() < 9e15 {
        return json!(number as i64);
    }
    json!(number)
}

#[activities]
impl Steps {
    /// Runs the activity that a step of a definition names.
    #[activity(name = "driver.step")]
    pub async fn step(self: Arc<Self>, context: ActivityContext, call: Call) -> Result<Value, ActivityError> {
        let input = &call.input;
        match call.activity.as_str() {
            "policy.check" => {
                let policy = self
                    .policy
                    .current()
                    .map_err(|mistakes| ApplicationFailure::builder(mistakes).build())?;
                Ok(serde_json::to_value(policy.decide(&text(input, "text")?))?)
            }
            "text.upper" => Ok(text(input, "text")?.to_uppercase().into()),
            "text.join" => {
                let parts = input.get("parts").and_then(Value::as_array);
                let parts = parts.ok_or_else(|| permanent(CallError::Form("parts", "a list")))?;
                let parts: Vec<String> = parts
                    .iter()
                    .map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned))
                    .collect();
                let separator = input.get("separator").and_then(Value::as_str).unwrap_or_default();
                Ok(parts.join(separator).into())
            }
            "number.add" => Ok(value_of(number(input, "a")? + number(input, "b")?)),
            "wait" => {
                // A negative or huge number would panic below.
                let seconds = number(input, "seconds")?.clamp(0.0, 86_400.0);
                let sleep = tokio::time::sleep(Duration::from_secs_f64(seconds));
                beating(&context, Duration::from_secs(2), (), sleep).await?;
                Ok(value_of(seconds))
            }
            "flaky" => {
                let attempt = context.info().attempt;
                if f64::from(attempt) <= number(input, "failures")? {
                    return Err(ApplicationFailure::builder(CallError::Flaky(attempt))
                        .build()
                        .into());
                }
                Ok(json!(attempt))
            }
            other => Err(permanent(CallError::Unknown(other.to_owned()))),
        }
    }
}
