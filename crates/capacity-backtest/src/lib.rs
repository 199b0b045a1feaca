#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`Trace::parse`] parses a load, [`Rebuild`] builds one from recorded minutes, [`run`] replays it through
//! one [`Contender`] and returns a [`Score`], and [`run_recorded`] also returns the course of the run.
//! `model` is the simulated namespace, `baselines` are the simple policies, and `optimum` contains the two
//! bounds that use the future load.

mod baselines;
mod envelope;
mod model;
mod optimum;
mod policy;
mod rebuild;
mod replay;
mod score;
mod settings;
mod trace;

pub use policy::{BacktestPolicy, BreakEven, Decided, View};
pub use rebuild::{Rebuild, Rebuilt};
pub use replay::{Course, DecisionRecord, run, run_policy, run_recorded};
pub use score::{Dollars, Score};
pub use settings::{Cadence, Contender, Settings};
pub use trace::{Load, Trace, TraceError};
