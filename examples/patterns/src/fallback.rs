//! Fallback: what happens after a failed activity depends on the type of the error.
//!
//! - The provider reports `Unavailable`: take the cached price.
//! - No attempt answers within the bound: take an estimate.
//! - One attempt is slow, and the next answers within the bound: no fallback.
//! - Any other error fails the workflow.
#![allow(missing_docs, reason = "the macros make public items of their own")]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the shape that the SDK's macros take"
)]
#![allow(clippy::unused_async, reason = "the shape that the SDK's macros take")]

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use temporal_worker_kit::{Lenient, beating};
use temporalio_client::RetryPolicy;
use temporalio_common::error::{ActivityExecutionError, IncomingError};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use temporalio_sdk::{
    ActivityCloseTimeouts, ActivityOptions, ApplicationFailure, WorkflowContext, WorkflowContextView,
    WorkflowResult,
};

/// The error type of a provider that refuses.
const UNAVAILABLE: &str = "Unavailable";

/// How the provider acts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Answers at once.
    #[default]
    Healthy,
    /// Reports `Unavailable`.
    ActivityFailure,
    /// Too slow at the first attempt, in time at the second.
    TimeoutInside,
    /// Too slow at every attempt.
    TimeoutBeyond,
    /// Fails with an error that has no fallback.
    Broken,
}

/// What the workflow is to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// How the provider acts.
    pub scenario: Scenario,
}

/// A price and where it comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// `provider`, `cache` or `estimate`.
    pub source: String,
    /// In cents.
    pub cents: u32,
    /// Why a fallback was taken.
    pub reason: Option<String>,
}

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(1);
/// The bound of all attempts together.
const BOUND: Duration = Duration::from_secs(4);

/// The workflow.
#[workflow]
pub struct Fallback {
    request: Request,
}

#[workflow_methods]
impl Fallback {
    /// Keeps the input, which cannot fail to decode.
    #[init]
    pub fn new(_context: &WorkflowContextView, input: Lenient<Request>) -> Self {
        Self { request: input.value }
    }

    /// Asks the provider, and chooses the fallback by the type of the error.
    #[run(name = "Fallback")]
    pub async fn run(context: &mut WorkflowContext<Self>) -> WorkflowResult<Price> {
        let scenario = context.state(|state| state.request.scenario);
        let error = match context
            .execute_activity(Prices::provider, scenario, bounded())
            .await
        {
            Ok(cents) => {
                return Ok(Price {
                    source: "provider".to_owned(),
                    cents,
                    reason: None,
                });
            }
            Err(error) => error,
        };
        let simple = ActivityOptions::start_to_close_timeout(Duration::from_secs(10));
        let (source, reason, cents) = match cause(&error) {
            Cause::Unavailable(text) => {
                let cents = context.execute_activity(Prices::cache, (), simple).await?;
                ("cache", text, cents)
            }
            Cause::Timeout => {
                let cents = context.execute_activity(Prices::estimate, (), simple).await?;
                (
                    "estimate",
                    format!("no response within {} s", BOUND.as_secs()),
                    cents,
                )
            }
            Cause::Other => return Err(error.into()),
        };
        Ok(Price {
            source: source.to_owned(),
            cents,
            reason: Some(reason),
        })
    }
}

enum Cause {
    Unavailable(String),
    Timeout,
    Other,
}

fn cause(error: &ActivityExecutionError) -> Cause {
    match error.cause() {
        Some(IncomingError::Application(failure)) if failure.type_name() == Some(UNAVAILABLE) => {
            Cause::Unavailable(failure.to_string())
        }
        Some(IncomingError::Timeout(_)) => Cause::Timeout,
        Some(_) | None => Cause::Other,
    }
}

fn bounded() -> ActivityOptions {
    let retry = RetryPolicy::builder()
        .initial_interval(Duration::from_millis(200))
        .backoff_coefficient(1.0)
        .non_retryable_error_types([UNAVAILABLE])
        .build();
    let timeouts = ActivityCloseTimeouts::ScheduleAndStartToClose {
        start_to_close: ATTEMPT,
        schedule_to_close: BOUND,
    };
    let mut options = ActivityOptions::with_close_timeouts(timeouts)
        .retry_policy(retry)
        .build();
    options.heartbeat_timeout = Some(ATTEMPT);
    options
}

/// A provider that refuses.
#[derive(Debug, thiserror::Error)]
#[error("the provider is unavailable")]
struct Unavailable;

/// A provider that answers nonsense.
#[derive(Debug, thiserror::Error)]
#[error("the provider answered with a negative price")]
struct Nonsense;

/// Where prices come from.
pub struct Prices;

#[activities]
impl Prices {
    /// Asks the provider.
    #[activity(name = "prices.provider")]
    pub async fn provider(
        self: Arc<Self>,
        context: ActivityContext,
        scenario: Scenario,
    ) -> Result<u32, ActivityError> {
        let too_slow = match scenario {
            Scenario::Healthy => false,
            Scenario::TimeoutInside => context.info().attempt == 1,
            Scenario::TimeoutBeyond => true,
            Scenario::ActivityFailure => {
                return Err(ApplicationFailure::builder(Unavailable)
                    .type_name(UNAVAILABLE.to_owned())
                    .build()
                    .into());
            }
            Scenario::Broken => {
                return Err(ApplicationFailure::builder(Nonsense)
                    .non_retryable(true)
                    .build()
                    .into());
            }
        };
        if too_slow {
            let call = tokio::time::sleep(ATTEMPT * 10);
            beating(&context, ATTEMPT / 4, (), call).await?;
        }
        Ok(1_250)
    }

    /// Returns the cached price.
    #[activity(name = "prices.cache")]
    pub async fn cache(self: Arc<Self>, _context: ActivityContext) -> Result<u32, ActivityError> {
        Ok(1_200)
    }

    /// Returns an estimate.
    #[activity(name = "prices.estimate")]
    pub async fn estimate(self: Arc<Self>, _context: ActivityContext) -> Result<u32, ActivityError> {
        Ok(1_000)
    }
}
