#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`parse_duration`] for input, [`counted`] for output, [`chain`] for errors.

mod causes;
mod count;
mod duration;

pub use causes::chain;
pub use count::{counted, grouped, noun};
pub use duration::{InvalidDuration, parse_duration};
