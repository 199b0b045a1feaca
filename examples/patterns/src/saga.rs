//! Saga: each step has a compensation. If a step fails, the completed steps are compensated in reverse order.
//!
//! Compensations have their own cancellation token, so that they also run when the workflow is canceled.
#![allow(missing_docs, reason = "the macros generate public items")]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the SDK's macros require this signature"
)]
#![allow(clippy::unused_async, reason = "the SDK's macros require this signature")]

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use temporal_worker_kit::Lenient;
use temporalio_client::RetryPolicy;
use temporalio_common::error::ActivityExecutionError;
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use temporalio_sdk::{
    ActivityCloseTimeouts, ActivityOptions, ApplicationFailure, WorkflowCancellationToken, WorkflowContext,
    WorkflowContextView, WorkflowResult, WorkflowTermination,
};

/// A step of the trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Book the flight.
    Flight,
    /// Book the hotel.
    Hotel,
    /// Charge the card.
    Card,
}

/// The steps in order.
const STEPS: [Step; 3] = [Step::Flight, Step::Hotel, Step::Card];

/// Input of the workflow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trip {
    /// The step that fails, if any.
    pub fail_at: Option<Step>,
}

/// The result of the workflow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether the trip is booked.
    pub booked: bool,
    /// Completed steps and compensations, in order.
    pub log: Vec<String>,
    /// Why the trip is not booked.
    pub reason: Option<String>,
    /// Steps whose compensation failed and needs manual work.
    pub not_compensated: Vec<Step>,
}

/// The workflow that books a trip.
#[workflow]
pub struct Saga {
    trip: Trip,
}

#[workflow_methods]
impl Saga {
    /// Stores the input. Cannot fail to decode.
    #[init]
    pub fn new(_context: &WorkflowContextView, input: Lenient<Trip>) -> Self {
        Self { trip: input.value }
    }

    /// Runs the steps, and compensates the completed ones in reverse order after a failure.
    #[run(name = "Saga")]
    pub async fn run(context: &mut WorkflowContext<Self>) -> WorkflowResult<Outcome> {
        let trip = context.state(|state| state.trip);
        let mut outcome = Outcome::default();
        let mut completed = Vec::new();
        for step in STEPS {
            let request = Request {
                step,
                fails: trip.fail_at == Some(step),
            };
            match context
                .execute_activity(Booking::book, request, options(None))
                .await
            {
                Ok(text) => {
                    outcome.log.push(text);
                    completed.push(step);
                }
                Err(error) => {
                    outcome.reason = Some(reason(&error));
                    break;
                }
            }
        }
        if outcome.reason.is_none() {
            outcome.booked = true;
            return Ok(outcome);
        }
        for step in completed.into_iter().rev() {
            let detached = Some(WorkflowCancellationToken::new());
            match context
                .execute_activity(Booking::cancel, step, options(detached))
                .await
            {
                Ok(text) => outcome.log.push(text),
                // The others are still compensated.
                Err(_) => outcome.not_compensated.push(step),
            }
        }
        // Only now, so that a canceled trip is compensated first.
        if context.cancellation_token().is_cancelled() {
            return Err(WorkflowTermination::cancelled());
        }
        Ok(outcome)
    }
}

fn reason(error: &ActivityExecutionError) -> String {
    error
        .cause()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

fn options(token: Option<WorkflowCancellationToken>) -> ActivityOptions {
    let retry = RetryPolicy::builder()
        .initial_interval(Duration::from_millis(200))
        .maximum_interval(Duration::from_secs(5))
        .maximum_attempts(5)
        .build();
    let timeouts = ActivityCloseTimeouts::ScheduleAndStartToClose {
        start_to_close: Duration::from_secs(10),
        schedule_to_close: Duration::from_mins(1),
    };
    let mut options = ActivityOptions::with_close_timeouts(timeouts)
        .retry_policy(retry)
        .build();
    options.cancellation_token = token;
    options
}

/// A request for one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    step: Step,
    fails: bool,
}

/// Error of a step that the service rejected.
#[derive(Debug, thiserror::Error)]
#[error("{0} was refused")]
struct Refused(&'static str);

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Flight => "flight",
            Self::Hotel => "hotel",
            Self::Card => "card",
        }
    }
}

/// Activities that book and cancel.
pub struct Booking;

#[activities]
impl Booking {
    /// Books the service of one step.
    #[activity(name = "booking.book")]
    pub async fn book(
        self: Arc<Self>,
        _context: ActivityContext,
        request: Request,
    ) -> Result<String, ActivityError> {
        let name = request.step.name();
        if request.fails {
            return Err(ApplicationFailure::builder(Refused(name))
                .non_retryable(true)
                .build()
                .into());
        }
        Ok(format!("booked {name}"))
    }

    /// Cancels the booking of one step.
    #[activity(name = "booking.cancel")]
    pub async fn cancel(
        self: Arc<Self>,
        _context: ActivityContext,
        step: Step,
    ) -> Result<String, ActivityError> {
        Ok(format!("canceled {}", step.name()))
    }
}
