//! Fallback: the error type of a failed activity determines what happens next.
//!
//! - The provider reports `Unavailable`: use the cached price.
//! - No attempt succeeds before the overall timeout: use an estimate.
//! - One attempt times out, and the next one succeeds: no fallback.
//! - Any other error fails the workflow.
#![allow(missing_docs, reason = "the macros generate public items")]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the SDK's macros require this signature"
)]
#![allow(clippy::unused_async, reason = "the SDK's macros require this signature")]

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

/// Error type of an unavailable provider.
const UNAVAILABLE: &str = "Unavailable";

/// The behavior of the provider.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// Responds at once.
    #[default]
    Healthy,
    /// Reports `Unavailable`.
    ActivityFailure,
    /// Times out on the first attempt and succeeds on the second.
    TimeoutInside,
    /// Times out on every attempt.
    TimeoutBeyond,
    /// Fails with an error for which there is no fallback.
    Broken,
}

/// Input of the workflow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// Behavior of the provider.
    pub scenario: Scenario,
}

/// A price and its source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// `provider`, `cache` or `estimate`.
    pub source: String,
    /// Price in cents.
    pub cents: u32,
    /// Reason for a fallback, if one was used.
    pub reason: Option<String>,
}

/// Timeout of one attempt.
const ATTEMPT: Duration = Duration::from_secs(1);
/// Timeout of all attempts together.
const BOUND: Duration = Duration::from_secs(4);

/// The workflow that requests a price.
#[workflow]
pub struct Fallback {
    request: Request,
}

#[workflow_methods]
impl Fallback {
    /// Stores the input. Cannot fail to decode.
    #[init]
    pub fn new(_context: &WorkflowContextView, input: Lenient<Request>) -> Self {
        Self { request: input.value }
    }

    /// Requests the price from the provider, and chooses a fallback by the type of the error.
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
        // The overall timeout, because attempts that time out are retried.
        Some(IncomingError::Timeout(_)) => Cause::Timeout,
        Some(_) | None => Cause::Other,
    }
}

fn bounded() -> ActivityOptions {
    let retry = RetryPolicy::builder()
        .initial_interval(Duration::from_millis(200))
        .backoff_coefficient(1.0)
        // Retries would only delay the fallback.
        .non_retryable_error_types([UNAVAILABLE])
        .build();
    let timeouts = ActivityCloseTimeouts::ScheduleAndStartToClose {
        start_to_close: ATTEMPT,
        schedule_to_close: BOUND,
    };
    let mut options = ActivityOptions::with_close_timeouts(timeouts)
        .retry_policy(retry)
        .build();
    // Through heartbeats, an attempt learns that it has timed out, and ends.
    options.heartbeat_timeout = Some(ATTEMPT);
    options
}

/// Error of an unavailable provider.
#[derive(Debug, thiserror::Error)]
#[error("the provider is unavailable")]
struct Unavailable;

/// Error of a provider that returns an invalid price.
#[derive(Debug, thiserror::Error)]
#[error("the provider returned a negative price")]
struct Nonsense;

/// Activities that return prices.
pub struct Prices;

#[activities]
impl Prices {
    /// Returns the price from the provider.
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
