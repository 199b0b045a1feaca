#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`Autopilot::evaluate`] observes and decides (`observe`), [`Plan`] is the document of what was decided, and
//! [`Autopilot::carry_out`] changes capacity: [`Changer::step`] is one step of one change, and waits for nothing.

mod autopilot;
mod carry_out;
mod change;
mod clock;
mod fresh;
pub mod incidents;
mod inputs;
mod ledger_handle;
mod notify;
mod observe;
mod operation_id;
mod plan;
mod record;
mod standing;
mod text;

pub use autopilot::{
    Autopilot, AutopilotSettings, Evaluation, EvaluationRequest, Judged, Scope, ShadowDecision, UsageSource,
};
pub use carry_out::{CarryOut, NotConfirmed, Stop};
pub use change::{
    Basis, CHANGE_TIMEOUT, ChangeOrder, ChangeResult, ChangeState, ChangeSteps, Changer, Checked, Ending,
    Next, Outcome, Phase, Posting, Prepared, Progressed, Reading,
};
pub use clock::Clock;
pub use inputs::assume_documented_sizes;
pub use ledger_handle::LedgerHandle;
pub use notify::digest;
pub use observe::{
    MetricsSource, Observation, ObserveError, ObservedNamespace, Progress, RecalledDecision, RecordedMinute,
    RecordedNotes, Sampled, Sampler, Sampling, SamplingRule, StoredSeries, decision_in_ledger,
    families_of_unknown_throttling, may_be_provisioned, metric_families, minutes_of_ledger,
    minutes_of_prometheus, namespaces_of_prometheus, sampling_rule, stored_series,
};
pub use operation_id::{is_ours, operation_id};
pub use plan::{
    ActionName, PLAN_MAX_AGE, PLAN_SCHEMA, Plan, PlanError, PlanSummary, PlannedDecision, PlannedPolicies,
    PlannedPolicy, PlannedPrice,
};
pub use record::{record_change, record_changes, record_evaluation, record_policies};
pub use standing::{
    METRICS_UNUSABLE, PlanNews, Problem, StandingProblems, decision_problem, is_over_a_day, plan_news,
    recall_problems, resolved, store_problems,
};
pub use text::{chain, counted};
