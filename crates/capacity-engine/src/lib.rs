#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`decide`] turns a [`Snapshot`] into a [`Decision`]; [`wants_capacity_info`] is its first pass.
//! [`pricing`] contains the price rule. This crate reads no clock, file, environment or network; its
//! `clippy.toml` enforces that.

mod capacity;
mod decision;
mod limit;
mod namespace;
mod packed;
mod policy;
pub mod pricing;
mod rate;
mod restriction;
mod snapshot;
mod usage;
mod window;

pub use capacity::{
    Capacity, CapacityRequest, Ladder, ReportedMode, RequestState, Trus, UnknownCapacity, present_capacity,
};
pub use decision::{Action, ConsideredOption, Decision, DecisionPrice, ReasonCode, Share, UnknownReasonCode};
pub use limit::{LimitFamilies, LimitKind, PerLimit};
pub use namespace::{InvalidNamespaceId, InvalidPattern, NamespaceFilter, NamespaceId, NamespacePatterns};
pub use packed::{PackedIter, PackedMinutes};
pub use policy::break_even;
pub use policy::explain;
pub use policy::{
    Bounds, CapacityPolicy, Freshness, Guards, PolicyRef, PolicyState, PolicyTarget, PolicyView, Rules,
    SizeOutOfBounds, Threshold, ThresholdSettings, Wish, decide, judge, wants_capacity_info,
};
pub use pricing::{ActionPrice, PriceList, PricePerMillion};
pub use rate::Rate;
pub use restriction::{Direction, Restriction, RestrictionOrigin, RestrictionScope};
pub use snapshot::{
    AccountView, CapacityInfo, KnownCapacityInfo, MetricsHealth, MetricsProblem, MovingReplica,
    ReportedUsage, Since, Snapshot, UsageGap,
};
pub use usage::{MinuteSample, Usage};
pub use window::{EmptyWindow, HourlyActions, UsageWindow};
