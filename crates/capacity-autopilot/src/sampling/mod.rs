//! Samples one minute of the whole account at a time, within the request budget.

mod rule;
mod sampler;

pub use rule::{Sampling, SamplingRule, sampling_rule};
pub use sampler::{Sampled, Sampler};
