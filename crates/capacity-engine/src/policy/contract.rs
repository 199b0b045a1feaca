//! The trait of a policy, its inputs and its result.
//!
//! A policy returns a target capacity and the reason, never an action: restrictions and guards apply to every
//! target, whichever policy produced it. The built-in policies are `threshold` and `break-even`. A program
//! that embeds this crate adds its own by implementing [`CapacityPolicy`].

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::settings::{Bounds, Guards};
use crate::capacity::Capacity;
use crate::decision::{ConsideredOption, ReasonCode};
use crate::limit::PerLimit;
use crate::pricing::ActionPrice;
use crate::rate::Rate;
use crate::snapshot::Snapshot;
use crate::window::UsageWindow;

/// Turns what is known about one namespace into a target capacity.
///
/// It is pure: the same view gives the same target.
pub trait CapacityPolicy: fmt::Debug + Send + Sync {
    /// Returns the policy's name, under which decisions are recorded and state is stored.
    fn name(&self) -> &str;

    /// Returns the version of the policy's rules and of its state format.
    fn version(&self) -> i64;

    /// Returns the target capacity for a namespace.
    fn target(&self, view: &PolicyView<'_>) -> PolicyTarget;

    /// Returns the policy's parameters by name, in the form that operators write.
    fn parameters(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// Returns whether the policy carries state from one evaluation to the next.
    fn keeps_state(&self) -> bool {
        false
    }

    /// Returns the number of minutes in the last hour whose usage a smaller size must serve, with 25% headroom.
    fn recent_minutes(&self) -> usize {
        60
    }

    /// Returns whether every sample with throttling triggers an evaluation, not only the first one.
    fn follows_throttling(&self) -> bool {
        false
    }

    /// Returns the minutes of the UTC hour at which the policy should be evaluated.
    fn evaluation_minutes(&self) -> &[u8] {
        &[45]
    }
}

/// A target that an embedder computed, without state.
pub(super) struct Own<F>(pub(super) F);

impl<F> fmt::Debug for Own<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Own")
    }
}

impl<F: Fn(&PolicyView<'_>) -> PolicyTarget + Send + Sync> CapacityPolicy for Own<F> {
    fn name(&self) -> &'static str {
        "own"
    }

    fn version(&self) -> i64 {
        1
    }

    fn target(&self, view: &PolicyView<'_>) -> PolicyTarget {
        (self.0)(view)
    }
}

/// The data about a namespace that a policy uses to decide.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct PolicyView<'a> {
    /// Everything known about the namespace.
    pub snapshot: &'a Snapshot,
    /// Current capacity of the namespace.
    pub present: Capacity,
    /// Usage of the namespace in the last hour.
    pub window: &'a UsageWindow,
    /// Limits currently in effect.
    pub limits: PerLimit<Rate>,
    /// The allowed sizes. A larger target is reduced or held.
    pub bounds: &'a Bounds,
    /// The price of actions.
    pub prices: &'a ActionPrice,
    /// The guards' settings, for a policy that explains a hold itself.
    pub guards: &'a Guards,
    /// The state that the policy stored last; `None` if there is none.
    pub state: Option<&'a PolicyState>,
    /// Whether the evaluation may only scale up.
    pub scale_up_only: bool,
    /// The time of the decision.
    pub now: Timestamp,
}

/// The state that a policy stores for a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PolicyState {
    /// Version of the state format.
    pub version: i64,
    /// Minutes since 1970 (UTC) of the evaluation that produced it.
    pub minute: i64,
    /// The state itself, at most 1,024 bytes.
    pub text: String,
}

impl PolicyState {
    /// Creates a state.
    pub fn new(version: i64, minute: i64, text: impl Into<String>) -> Self {
        Self {
            version,
            minute,
            text: text.into(),
        }
    }
}

/// The result of a policy: a target, and the state to store.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PolicyTarget {
    /// What the policy wants.
    pub wish: Wish,
    /// Options that the policy compared, at most [`PolicyTarget::MOST_OPTIONS`]; empty if it compared none. An empty verdict is
    /// filled in with the result of restrictions and guards.
    pub options: Vec<ConsideredOption>,
    /// State to store. It must not assume that a change is made: restrictions, guards or the service may
    /// prevent it.
    pub next_state: Option<PolicyState>,
}

/// The target of a policy.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Wish {
    /// The current capacity is right.
    Keep {
        /// Stable code of the reason.
        code: ReasonCode,
        /// The reason, in one sentence with its numbers.
        reason: String,
        /// Whether the decision is announced.
        announce: bool,
    },
    /// The policy cannot decide.
    Hold {
        /// Stable code of the reason.
        code: ReasonCode,
        /// The reason, in one sentence with its numbers.
        reason: String,
        /// The capacity that the policy would otherwise want.
        blocked: Option<Capacity>,
    },
    /// Another capacity.
    Change {
        /// The new capacity.
        to: Capacity,
        /// Stable code of the reason.
        code: ReasonCode,
        /// The reason, as a clause with its numbers. Guards and restrictions may append to it.
        because: String,
    },
}

impl PolicyTarget {
    /// The maximum number of options in a decision.
    pub const MOST_OPTIONS: usize = 32;

    /// Returns a target that keeps the current capacity.
    pub fn keep(code: ReasonCode, reason: impl Into<String>) -> Self {
        Wish::Keep {
            code,
            reason: reason.into(),
            announce: false,
        }
        .into()
    }

    /// Returns a target for a namespace that the policy cannot decide on.
    pub fn hold(code: ReasonCode, reason: impl Into<String>) -> Self {
        Wish::Hold {
            code,
            reason: reason.into(),
            blocked: None,
        }
        .into()
    }

    /// Returns a target that changes the capacity.
    pub fn change(to: Capacity, code: ReasonCode, because: impl Into<String>) -> Self {
        Wish::Change {
            to,
            code,
            because: because.into(),
        }
        .into()
    }

    /// Adds the compared options.
    #[must_use]
    pub fn with_options(self, options: Vec<ConsideredOption>) -> Self {
        Self { options, ..self }
    }

    /// Adds the state to store.
    #[must_use]
    pub fn with_next_state(self, state: PolicyState) -> Self {
        Self {
            next_state: Some(state),
            ..self
        }
    }
}

impl From<Wish> for PolicyTarget {
    fn from(wish: Wish) -> Self {
        Self {
            wish,
            options: Vec::new(),
            next_state: None,
        }
    }
}
