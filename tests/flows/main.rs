//! Tests of the autopilot against a simulated cloud over HTTP.

#![allow(missing_docs, reason = "a test binary has no readers of its documentation")]

mod account;
mod agreement;
mod alerts;
mod break_even;
mod evaluate;
mod explain;
mod harness;
mod memory;
mod messages;
mod overlap;
mod own_rule;
mod postgres;
mod prometheus;
mod sampling;
mod savings;
mod series;
mod slow_service;
