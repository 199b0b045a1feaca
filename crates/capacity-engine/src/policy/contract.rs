//! What a policy is: what it sees, and what it returns.
//!
//! A policy returns a target capacity and why, never an action: restrictions and guards apply to every target, whichever policy
//! produced it. The built-ins are `threshold` and `break-even`; a program that embeds this crate adds its own by implementing
//! [`CapacityPolicy`].

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
use crate::usage::UsageWindow;

/// Turns what is known about one namespace into a target capacity.
///
/// It is pure: the same view gives the same target.
pub trait CapacityPolicy: fmt::Debug + Send + Sync {
    /// Returns its name, under which decisions are recorded and its state is kept.
    fn name(&self) -> &str;

    /// Returns the version of its rules and of the form of its state.
    fn version(&self) -> i64;

    /// Returns the target.
    fn target(&self, view: &PolicyView<'_>) -> PolicyTarget;

    /// Returns its parameters by name, as operators write them.
    fn parameters(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// Returns whether it carries state from one evaluation to the next.
    fn keeps_state(&self) -> bool {
        false
    }

    /// Returns how many minutes of the last hour a smaller size must carry, with 25% headroom.
    fn recent_minutes(&self) -> usize {
        60
    }

    /// Returns whether every sample with throttling triggers an evaluation, not only the first one.
    fn follows_throttling(&self) -> bool {
        false
    }

    /// Returns the minutes of the UTC hour at which it should be evaluated.
    fn evaluation_minutes(&self) -> &[u8] {
        &[45]
    }
}

/// A target of an embedder's own, without state.
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

/// What a policy sees of a namespace that can be evaluated.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct PolicyView<'a> {
    /// Everything known about it.
    pub snapshot: &'a Snapshot,
    /// Its current capacity.
    pub present: Capacity,
    /// What it used in the last hour.
    pub window: &'a UsageWindow,
    /// Its limits in effect.
    pub limits: PerLimit<Rate>,
    /// The sizes that may be chosen; a target outside of them is cut or held.
    pub bounds: &'a Bounds,
    /// What actions cost.
    pub prices: &'a ActionPrice,
    /// What the guards will check, for a policy that explains a hold itself.
    pub guards: &'a Guards,
    /// What the policy stored last; `None` if nothing is known.
    pub state: Option<&'a PolicyState>,
    /// Whether the evaluation may only scale up.
    pub scale_up_only: bool,
    /// When this is decided.
    pub now: Timestamp,
}

/// What a policy remembers about a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyState {
    /// The version of its form.
    pub version: i64,
    /// Minutes since 1970 (UTC) of the evaluation that produced it.
    pub minute: i64,
    /// The state itself, at most 1,024 bytes.
    pub text: String,
}

/// What a policy asks for, and what it remembers.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyTarget {
    /// What it wants.
    pub wish: Wish,
    /// What it compared, at most [`PolicyTarget::MOST_OPTIONS`]; empty where it compared nothing.
    pub options: Vec<ConsideredOption>,
    /// What to store. It must not take a change for granted: restrictions, guards or the service may stop it.
    pub next_state: Option<PolicyState>,
}

/// What a policy asks for.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Wish {
    /// The current capacity is right.
    Keep {
        /// Why, as a stable code.
        code: ReasonCode,
        /// Why, in one sentence with its numbers.
        reason: String,
        /// Whether it is announced.
        announce: bool,
    },
    /// Nothing can be said.
    Hold {
        /// Why, as a stable code.
        code: ReasonCode,
        /// Why, in one sentence with its numbers.
        reason: String,
        /// What would be wanted otherwise.
        blocked: Option<Capacity>,
    },
    /// Another capacity.
    Change {
        /// That capacity.
        to: Capacity,
        /// Why, as a stable code.
        code: ReasonCode,
        /// Why, as a clause with its numbers that guards and restrictions continue.
        because: String,
    },
}

impl PolicyTarget {
    /// The most options that a decision carries.
    pub const MOST_OPTIONS: usize = 32;

    /// Returns the wish to leave everything as it is.
    pub fn keep(code: ReasonCode, reason: impl Into<String>) -> Self {
        Wish::Keep {
            code,
            reason: reason.into(),
            announce: false,
        }
        .into()
    }

    /// Returns that the answer is unknown.
    pub fn hold(code: ReasonCode, reason: impl Into<String>) -> Self {
        Wish::Hold {
            code,
            reason: reason.into(),
            blocked: None,
        }
        .into()
    }

    /// Returns the wish for another capacity.
    pub fn change(to: Capacity, code: ReasonCode, because: impl Into<String>) -> Self {
        Wish::Change {
            to,
            code,
            because: because.into(),
        }
        .into()
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
