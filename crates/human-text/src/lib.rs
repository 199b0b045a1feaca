#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`parse_duration`] for input, [`counted`] for output.

mod count;
mod duration;

pub use count::{counted, grouped, noun};
pub use duration::{InvalidDuration, parse_duration};
