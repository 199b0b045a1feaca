#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`CapacityManagementWorkflow`] is the controller, [`CapacityChange`] carries out one change, [`EvaluationTick`] is what the
//! schedule starts; [`CapacityActivities`] does the work. [`ask`], [`status`] and [`last_evaluation`] talk to the controller.

// An optimized build computes the layout of nested futures that a debug build does not: the activities exceed the limit of 128.
#![recursion_limit = "256"]

mod activities;
mod carried;
mod change;
mod change_messages;
mod change_steps;
mod connection;
mod controller;
mod controller_client;
mod controller_loop;
mod controller_state;
mod evaluation;
mod failures;
mod figures;
mod gate;
mod health;
mod last_look;
mod ledgers;
mod legacy_change;
mod legacy_controller;
mod messages;
pub mod names;
mod news;
mod observation;
mod options;
pub mod pauses;
mod queue;
mod record;
mod running;
mod sampling;
mod schedule;
mod tick;
mod watch;
mod worker;

pub use activities::{ActivitySettings, CapacityActivities, build_id};
pub use change::CapacityChange;
pub use change_steps::{
    ChangeActivities, CheckRequest, Concluded, Conclusion, Incident, PauseOrder, PostRequest, StepAnswer,
};
pub use connection::{ConnectError, ConnectionSettings, Credential, NotSet, connection};
pub use controller::{CapacityManagementWorkflow, LOOP_VERSION};
pub use controller_client::{
    AskError, ControllerError, Trigger, ask, ask_for_decisions, evaluation, last_evaluation, signal, status,
};
pub use evaluation::{EvaluateRequest, EvaluateResult};
pub use figures::Figures;
pub use gate::Gate;
pub use health::{CHANGE_OUTCOMES, EvaluationHealth};
pub use messages::{
    Announcement, ChangeEvent, ChangeReport, ChangeRequest, ControllerState, EvaluationQuery,
    EvaluationReport, HeldNamespace, InvalidRequest, NotPermitted, Observation, ObserveRequest, PauseSeen,
    Redecide, Redecision, SampleRequest, Silence, SpecChanged, Status, StepRequest, StepResult, TickRequest,
};
pub use names::Installation;
pub use news::Standing;
pub use observation::QuietDecisions;
pub use pauses::{Pause, PauseError, PauseKind};
pub use queue::{Changes, QueuedChange, RunningChange};
pub use record::CapacityRecord;
pub use sampling::{SamplingSettings, Shutdown, UsageSampler, keep_sampling};
pub use schedule::{
    CreateOutcome, ScheduleError, ScheduleOptions, Shown, TicksSince, create, delete, last_ticks, pause,
    resume, show, ticks_since, trigger,
};
pub use temporal_worker_kit::Lenient;
pub use tick::EvaluationTick;
pub use watch::watch_controller;
pub use worker::{WorkerLimits, register, worker_config};
