//! The result of a check that ends the evaluation.

use super::trace::Sizes;
use crate::capacity::Capacity;
use crate::decision::{Action, ReasonCode};

/// The result of a check that ends the evaluation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    pub(super) action: Action,
    pub(super) code: ReasonCode,
    pub(super) reason: String,
    pub(super) blocked: Option<Capacity>,
    pub(super) announce: bool,
    /// The sizes that the guards considered.
    pub(super) sizes: Option<Sizes>,
}

impl Verdict {
    pub(super) fn new(action: Action, code: ReasonCode, reason: String) -> Self {
        Self {
            action,
            code,
            reason,
            blocked: None,
            announce: false,
            sizes: None,
        }
    }

    pub(super) fn hold(code: ReasonCode, reason: String) -> Self {
        Self::new(Action::Hold, code, reason)
    }

    pub(super) fn keep(code: ReasonCode, reason: String) -> Self {
        Self::new(Action::Keep, code, reason)
    }

    pub(super) fn blocking(self, wish: Capacity) -> Self {
        Self {
            blocked: Some(wish),
            ..self
        }
    }

    pub(super) fn announced(self) -> Self {
        Self {
            announce: true,
            ..self
        }
    }

    pub(super) fn among(self, sizes: Sizes) -> Self {
        Self {
            sizes: Some(sizes),
            ..self
        }
    }
}
