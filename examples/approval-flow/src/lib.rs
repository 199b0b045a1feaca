//! Approval workflows: a policy check, an approval by a person, and then the task; or a definition with several steps.
//!
//! [`ApprovalFlow`] is the workflow for a single request, [`Driver`] interprets a [`definition`], and
//! [`commands`] contains the program's operations on both.

mod activities;
mod approval;
mod check;
pub mod commands;
pub mod definition;
mod driver;
pub mod events;
pub mod messages;
pub mod node;
pub mod policy;
mod read;
pub mod reference;
pub mod schedule;
pub mod steps;
mod trail;

pub use activities::Approvals;
pub use approval::{ApprovalFlow, PATCH_LAST_REMINDER};
pub use driver::{Driver, DriverInput, DriverOutcome, StepEnd, StepVerdict};
pub use trail::{Entry, trail};

use temporal_worker_kit::Registry;

/// Task queue of all workflows and activities of this example.
pub const TASK_QUEUE: &str = "approval-flow";

/// Prefix of all workflow ids.
pub const ID_PREFIX: &str = "approval";

/// Returns the registry of all workflows and activities.
pub fn registry(approvals: Approvals) -> Registry {
    let steps = steps::Steps {
        policy: std::sync::Arc::clone(&approvals.policy),
    };
    Registry::new()
        .workflow::<ApprovalFlow>(TASK_QUEUE)
        .workflow::<Driver>(TASK_QUEUE)
        .activities(TASK_QUEUE, approvals)
        .activities(TASK_QUEUE, steps)
}
