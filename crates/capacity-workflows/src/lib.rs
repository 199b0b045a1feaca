#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`CapacityManagementWorkflow`] is the controller, [`CapacityChange`] carries out one change, [`EvaluationTick`] is what the
//! schedule starts; [`CapacityActivities`] does the work. [`ask`], [`status`] and [`last_evaluation`] talk to the controller.

mod activities;
mod autopilot;
mod change;
mod connection;
mod controller;
mod controller_client;
mod failures;
mod ledgers;
mod lenient;
mod messages;
pub mod names;
mod news;
mod observation;
mod options;
mod sampling;
mod schedule;
mod tick;
mod worker;

pub use activities::{ActivitySettings, CapacityActivities, Pulse};
pub use autopilot::{AutopilotError, autopilot};
pub use change::CapacityChange;
pub use connection::{ConnectError, Connection, Credential};
pub use controller::CapacityManagementWorkflow;
pub use controller_client::{
    AskError, Trigger, ask, last_evaluation, pause_controller, resume_controller, signal, status,
};
pub use lenient::Lenient;
pub use messages::{
    Announcement, ChangeReport, ChangeRequest, ControllerState, DecisionReport, EvaluationReport,
    Observation, ObserveRequest, Redecide, Redecision, SampleRequest, Silence, Status, StepRequest,
    StepResult, TickRequest,
};
pub use names::Installation;
pub use news::Standing;
pub use observation::Quiet;
pub use sampling::{Ending, SamplingSettings, UsageSampler, keep_sampling};
pub use schedule::{
    CreateOutcome, ScheduleError, ScheduleOptions, Shown, create, delete, last_ticks, pause, resume, show,
    trigger,
};
pub use tick::EvaluationTick;
pub use worker::{WorkerLimits, worker_options};
