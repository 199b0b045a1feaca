#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`parse_duration`] for input, [`counted`] and [`at_minute`] for output, [`chain`] for errors.

mod causes;
mod count;
mod duration;
mod time;

pub use causes::chain;
pub use count::{counted, grouped, noun};
pub use duration::{InvalidDuration, parse_duration};
pub use time::{at_minute, at_second, span};
