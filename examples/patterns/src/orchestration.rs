//! Orchestration: two children run in parallel, and a third one combines their results.
//!
//! The workflow validates its input and reports all mistakes at once. An invalid input fails the run with the
//! error type `InvalidInput`, and no child starts.
#![allow(missing_docs, reason = "the macros generate public items")]
#![allow(clippy::unused_async, reason = "the SDK's macros require this signature")]

use serde::{Deserialize, Serialize};
use temporal_worker_kit::Lenient;
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::workflows::join;
use temporalio_sdk::{
    ApplicationFailure, ChildWorkflowOptions, WorkflowContext, WorkflowContextView, WorkflowResult,
    WorkflowTermination,
};

/// Maximum absolute value of an input number, chosen so that no result overflows.
pub const MAX: i64 = 1_000_000;

/// Input of the workflow, before validation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// First number.
    pub a: Option<i64>,
    /// Second number.
    pub b: Option<i64>,
}

/// Input of the children: two validated numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair(pub i64, pub i64);

/// The results of all children.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Combined {
    /// Result of `Add`.
    pub sum: i64,
    /// Result of `Multiply`.
    pub product: i64,
    /// Result of `Sum`.
    pub total: i64,
}

/// A rejected input, with every reason.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid input: {}", .0.join("; "))]
pub struct InvalidInput(pub Vec<String>);

impl From<InvalidInput> for WorkflowTermination {
    fn from(error: InvalidInput) -> Self {
        let failure = ApplicationFailure::builder(error);
        failure
            .type_name("InvalidInput".to_owned())
            .non_retryable(true)
            .build()
            .into()
    }
}

/// Returns the pair, or every reason why it is invalid.
///
/// # Errors
///
/// If a number is missing or outside the accepted range, or if the input could not be decoded.
pub fn validate(input: &Lenient<Numbers>) -> Result<Pair, InvalidInput> {
    if let Some(problem) = &input.problem {
        return Err(InvalidInput(vec![problem.clone()]));
    }
    let mut reasons = Vec::new();
    let mut number = |name: &str, value: Option<i64>| match value {
        // Not `abs`, which overflows for the lowest number.
        Some(value) if (-MAX..=MAX).contains(&value) => value,
        Some(value) => {
            reasons.push(format!("`{name}` = {value} must be from -{MAX} to {MAX}"));
            0
        }
        None => {
            reasons.push(format!("`{name}` is missing"));
            0
        }
    };
    let pair = Pair(number("a", input.value.a), number("b", input.value.b));
    if reasons.is_empty() {
        Ok(pair)
    } else {
        Err(InvalidInput(reasons))
    }
}

/// The parent, which starts the children and combines their results.
#[workflow]
pub struct Orchestration {
    input: Lenient<Numbers>,
}

#[workflow_methods]
impl Orchestration {
    /// Stores the input. Cannot fail to decode.
    #[init]
    pub fn new(_context: &WorkflowContextView, input: Lenient<Numbers>) -> Self {
        Self { input }
    }

    /// Validates the input, runs `Add` and `Multiply` in parallel, and then runs `Sum`.
    #[run(name = "Orchestration")]
    pub async fn run(context: &mut WorkflowContext<Self>) -> WorkflowResult<Combined> {
        let pair = context.state(|state| validate(&state.input))?;
        let (add, multiply) = join!(
            context.start_child_workflow(Add::run, pair, child(context, "add")),
            context.start_child_workflow(Multiply::run, pair, child(context, "multiply"))
        );
        let (add, multiply) = (add?, multiply?);
        let (sum, product) = join!(add.result(), multiply.result());
        let (sum, product) = (sum?, product?);
        let total = context
            .start_child_workflow(Sum::run, Pair(sum, product), child(context, "sum"))
            .await?;
        let total = total.result().await?;
        Ok(Combined { sum, product, total })
    }
}

fn child(context: &WorkflowContext<Orchestration>, name: &str) -> ChildWorkflowOptions {
    let id = format!("{}/{name}", context.workflow_id());
    ChildWorkflowOptions::builder().workflow_id(id).build()
}

/// A child that adds.
#[workflow]
#[derive(Default)]
pub struct Add;

#[workflow_methods]
impl Add {
    /// Returns a + b.
    #[run(name = "Add")]
    pub async fn run(_context: &mut WorkflowContext<Self>, pair: Pair) -> WorkflowResult<i64> {
        Ok(pair.0.saturating_add(pair.1))
    }
}

/// A child that multiplies.
#[workflow]
#[derive(Default)]
pub struct Multiply;

#[workflow_methods]
impl Multiply {
    /// Returns a * b.
    #[run(name = "Multiply")]
    pub async fn run(_context: &mut WorkflowContext<Self>, pair: Pair) -> WorkflowResult<i64> {
        Ok(pair.0.saturating_mul(pair.1))
    }
}

/// A child that combines both results.
#[workflow]
#[derive(Default)]
pub struct Sum;

#[workflow_methods]
impl Sum {
    /// Returns the sum of both results.
    #[run(name = "Sum")]
    pub async fn run(_context: &mut WorkflowContext<Self>, pair: Pair) -> WorkflowResult<i64> {
        Ok(pair.0.saturating_add(pair.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_an_invalid_input_is_reported() {
        let numbers = Numbers {
            a: Some(MAX + 1),
            b: None,
        };
        let InvalidInput(reasons) = validate(&numbers.into()).expect_err("invalid");
        assert_eq!(reasons.len(), 2, "{reasons:?}");
        let numbers = Numbers {
            a: Some(i64::MIN),
            b: Some(0),
        };
        assert!(
            validate(&numbers.into()).is_err(),
            "the lowest number has no absolute value"
        );
        let numbers = Numbers {
            a: Some(-MAX),
            b: Some(MAX),
        };
        assert_eq!(validate(&numbers.into()), Ok(Pair(-MAX, MAX)));
    }
}
