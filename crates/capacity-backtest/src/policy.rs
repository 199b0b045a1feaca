//! The inputs and the result of a policy in a backtest.

use capacity_engine::PricePerMillion;
use capacity_engine::break_even::{
    self, BreakEvenState, MinuteActions, OptionCost, Parameters, Situation, Size, Window,
};
use capacity_engine::pricing::in_dollars;

/// The data that a policy has at one minute. It never includes the demand.
#[derive(Debug)]
#[non_exhaustive]
pub struct View<'a> {
    /// Minute of the evaluation; minute 0 starts an hour.
    pub now: i64,
    /// Minute of the newest sample.
    pub newest: i64,
    /// Current TRUs, or those that are being provisioned; 0 is on-demand.
    pub current: u32,
    /// Limit that on-demand provides, in actions per minute.
    pub envelope: i64,
    /// Available sizes, smallest first.
    pub ladder: &'a [Size],
    /// The last hour of samples.
    pub window: &'a Window,
}

impl View<'_> {
    /// Returns the limit of an option in actions per minute; option 0 is on-demand.
    pub fn limit(&self, option: u32) -> i64 {
        limit(self.ladder, self.envelope, option)
    }

    /// Returns the newest sample, unless it is missing.
    pub fn newest_sample(&self) -> Option<MinuteActions> {
        self.window.last().copied().flatten()
    }
}

pub(crate) fn limit(ladder: &[Size], envelope: i64, option: u32) -> i64 {
    match ladder.iter().find(|size| size.trus == option) {
        _ if option == 0 => envelope,
        Some(size) => size.limit,
        None => Size::documented(option).limit,
    }
}

/// The result of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// TRUs to request; the current ones if nothing changes.
    pub option: u32,
    /// The reason, in one sentence with numbers.
    pub reason: String,
    /// Expected costs of the options that were compared; may be empty.
    pub costs: Vec<OptionCost>,
}

/// A policy that can be replayed. It keeps its own state between evaluations.
pub trait BacktestPolicy {
    /// Decides at one minute. The reason is only needed if `explain` is set.
    fn decide(&mut self, view: &View<'_>, explain: bool) -> Decided;
}

/// The `break-even` policy with its state.
#[derive(Debug, Clone, Default)]
pub struct BreakEven {
    parameters: Parameters,
    state: BreakEvenState,
    price: Option<PricePerMillion>,
}

impl BreakEven {
    /// Creates the policy with its parameters and no history.
    pub fn new(parameters: Parameters) -> Self {
        Self {
            parameters,
            ..Self::default()
        }
    }

    /// Formats costs in reasons in dollars instead of actions.
    #[must_use]
    pub fn with_price(self, price: PricePerMillion) -> Self {
        Self {
            price: Some(price),
            ..self
        }
    }

    /// Returns the policy's state.
    pub fn state(&self) -> &BreakEvenState {
        &self.state
    }
}

impl BacktestPolicy for BreakEven {
    fn decide(&mut self, view: &View<'_>, explain: bool) -> Decided {
        let situation = Situation {
            now: view.now,
            newest: view.newest,
            current: view.current,
            envelope: view.envelope,
            ladder: view.ladder,
            window: view.window,
            billed_permille: 1000,
        };
        let (outcome, state) = break_even::evaluate(&situation, &self.state, &self.parameters);
        self.state = state;
        let reason = if explain {
            outcome.sentence(&situation, &|cost| self.money(cost))
        } else {
            String::new()
        };
        Decided {
            option: outcome.option,
            reason,
            costs: outcome.costs,
        }
    }
}

impl BreakEven {
    /// Formats a cost: `$1.20`, or `1.2 M actions` if the price is unknown.
    fn money(&self, cost: i64) -> String {
        match self.price {
            Some(price) => in_dollars(price.of(u64::try_from(cost).unwrap_or(0))),
            None => actions(cost),
        }
    }
}

fn actions(cost: i64) -> String {
    match cost {
        ..1_000 => format!("{cost} actions"),
        1_000..1_000_000 => format!("{} k actions", cost / 1_000),
        _ => format!("{}.{} M actions", cost / 1_000_000, cost % 1_000_000 / 100_000),
    }
}
