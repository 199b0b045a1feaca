//! The limits of a namespace, as data: a fourth is one variant and one row of the table below.

use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};

use crate::capacity::Trus;
use crate::rate::Rate;

/// One of the limits of a namespace. Exceeding any one throttles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Actions a second: what is billed, and what TRUs are sized by.
    Actions,
    /// gRPC requests a second to the frontend.
    Requests,
    /// Lower-level operations a second.
    Operations,
}

/// What is known of one limit.
struct Facts {
    kind: LimitKind,
    noun: &'static str,
    singular: &'static str,
    per_tru: Rate,
}

/// All limits. Rates per TRU are those of Temporal's documentation, capacity modes page, as of June 2026; for requests
/// an older copy (December 2025) says 2,000, and the newer and lower one is the safe one.
const FACTS: [Facts; 3] = [
    Facts {
        kind: LimitKind::Actions,
        noun: "actions",
        singular: "action",
        per_tru: Rate::per_second(500),
    },
    Facts {
        kind: LimitKind::Requests,
        noun: "requests",
        singular: "request",
        per_tru: Rate::per_second(1_500),
    },
    Facts {
        kind: LimitKind::Operations,
        noun: "operations",
        singular: "operation",
        per_tru: Rate::per_second(4_000),
    },
];

impl LimitKind {
    /// All of them, in the order in which they are looked at and told.
    pub const ALL: [Self; FACTS.len()] = {
        let mut all = [Self::Actions; FACTS.len()];
        let mut number = 0;
        while number < FACTS.len() {
            all[number] = FACTS[number].kind;
            number += 1;
        }
        all
    };

    /// Returns what is counted, for example `actions`.
    pub const fn noun(self) -> &'static str {
        FACTS[self as usize].noun
    }

    /// Returns one of what is counted, for example `action`.
    pub const fn singular(self) -> &'static str {
        FACTS[self as usize].singular
    }

    /// Returns the limit that some TRUs give.
    pub const fn at(self, trus: Trus) -> Rate {
        FACTS[self as usize].per_tru.saturating_mul(trus.get())
    }
}

/// One value for each limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PerLimit<T>([T; FACTS.len()]);

impl<T> PerLimit<T> {
    /// Makes one value for each limit.
    pub fn from_fn(mut make: impl FnMut(LimitKind) -> T) -> Self {
        Self(LimitKind::ALL.map(&mut make))
    }
}

impl<T> Index<LimitKind> for PerLimit<T> {
    type Output = T;

    fn index(&self, kind: LimitKind) -> &T {
        &self.0[kind as usize]
    }
}

impl<T> IndexMut<LimitKind> for PerLimit<T> {
    fn index_mut(&mut self, kind: LimitKind) -> &mut T {
        &mut self.0[kind as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_kinds() {
        for (number, kind) in LimitKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
        }
    }

    #[test]
    fn limits_grow_with_trus_as_published() {
        let six = Trus::try_new(6).expect("positive");
        let limits = LimitKind::ALL.map(|kind| kind.at(six).limit().to_string());
        assert_eq!(limits, ["3,000", "9,000", "24,000"]);
    }
}
