#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`CapacityManagementWorkflow`] is the controller, [`CapacityChange`] carries out one change,
//! [`EvaluationTick`] is started by the schedule, and [`CapacityWorker`] registers them and their activities in a
//! worker. [`controller`] and [`schedule`] have the handles for clients.

// An optimized build computes the layout of nested futures, which a debug build does not: the activities
// exceed the limit of 128.
#![recursion_limit = "256"]

mod activities;
mod activity;
mod carried;
mod change;
mod change_messages;
mod change_steps;
mod connection;
pub mod controller;
mod definitions;
mod evaluation;
mod evaluation_messages;
mod failures;
mod figures;
mod gate;
mod health;
mod last_look;
mod ledgers;
mod legacy_change;
mod management;
mod messages;
pub mod names;
mod news;
mod observe_result;
mod options;
pub mod pauses;
mod queue;
mod record;
mod running;
mod sampler;
mod sampling;
pub mod schedule;
mod settings;
mod shutdown;
mod step_messages;
mod tick;
mod time;
mod traces;
mod watch;
mod worker;

pub use change::CapacityChange;
pub use connection::{ConnectError, ConnectionSettings, Credential, NotSet, connection};
pub use figures::Figures;
pub use gate::Gate;
pub use health::{CHANGE_OUTCOMES, EvaluationHealth};
pub use management::{CapacityManagementWorkflow, LOOP_VERSION};
pub use messages::{
    ChangeEvent, ChangeReport, ChangeRequest, ControllerPhase, ControllerState, EvaluationQuery,
    EvaluationReport, HeldNamespace, InvalidRequest, NotPermitted, PauseSeen, SampleRequest, SpecChanged,
    Status, TickRequest,
};
pub use names::Installation;
pub use news::Standing;
pub use pauses::{Opened, Pause, PauseError, PauseKind};
pub use queue::{Changes, QueuedChange, RunningChange};
pub use record::CapacityRecord;
pub use sampler::UsageSampler;
pub use settings::{ActivitySettings, SamplingSettings, build_id};
pub use step_messages::Concluded;
pub use temporal_worker_kit::Lenient;
pub use tick::EvaluationTick;
pub use worker::{CapacityWorker, RegisterError, WorkerLimits, worker_config};
