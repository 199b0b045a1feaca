//! One run of `backtest`: its loads, and the parameters that apply to all of them.

use capacity_backtest::{Cadence, Settings, Trace};
use capacity_engine::{ActionPrice, PricePerMillion, break_even::Parameters};

/// A load and its name.
pub(crate) struct Load {
    pub(crate) name: String,
    pub(crate) trace: Trace,
}

/// The loads to replay and the parameters that apply to all of them.
pub(super) struct Run {
    pub(super) loads: Vec<Load>,
    pub(super) parameters: Parameters,
    pub(super) cadence: Cadence,
    pub(super) price: ActionPrice,
    pub(super) warmup_days: Option<usize>,
}

impl Run {
    pub(super) fn settings(&self, trace: &Trace) -> anyhow::Result<Settings> {
        let usual = Settings::for_trace(trace);
        Ok(Settings {
            cadence: self.cadence,
            parameters: self.parameters.clone(),
            warmup_days: self.warmup_days.unwrap_or(usual.warmup_days),
            price: PricePerMillion::try_new(self.price.dollars())?,
            ..usual
        })
    }
}
