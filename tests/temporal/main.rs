//! Tests of the workflows on a real Temporal development server with a simulated cloud.

#![allow(missing_docs, reason = "a test binary has no readers of its documentation")]

mod agreement;
mod break_even;
mod budget;
mod changes;
mod controller;
mod encrypted;
mod harness;
mod life;
mod news;
mod pauses;
mod proxy;
mod replay;
mod sampler;
mod scenarios;
mod schedule;
mod spec;
mod stalled;
mod stepped;
mod traces;
