//! The limits of a namespace, as data: to add a limit, add a row to the table below.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::capacity::Trus;
use crate::rate::Rate;

/// The metric families of one limit, by their full names (metrics reference of Temporal's documentation).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitFamilies {
    /// The served rate.
    pub served: &'static str,
    /// The rate that this limit throttled.
    pub throttled: &'static str,
    /// The limit in effect.
    pub limit: &'static str,
    /// The limit that on-demand would provide.
    pub envelope: &'static str,
    /// Approximate number of `served` series per namespace: one for foreground and one for background, or one
    /// per operation name.
    pub served_series: u32,
}

/// The static data of one limit.
struct Facts {
    kind: LimitKind,
    noun: &'static str,
    singular: &'static str,
    per_tru: Rate,
    families: LimitFamilies,
}

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $kind:ident {
        $noun:literal, $singular:literal, $per_tru:literal a second for each TRU,
        served: $served:literal in $series:literal series,
        throttled: $throttled:literal,
        limit: $limit:literal,
        envelope: $envelope:literal,
    })+) => {
        /// One of the limits of a namespace. Exceeding any one of them causes throttling.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum LimitKind {
            $($(#[doc = $doc])+ $kind,)+
        }

        /// All limits, in the order in which they are checked and reported.
        // `macro_rules` cannot count repetitions, but an array of the nouns has a length. The enum and this
        // table come from one list, so `kind as usize` is always the index of the right row.
        const FACTS: [Facts; [$($noun),+].len()] = [$(Facts {
            kind: LimitKind::$kind,
            noun: $noun,
            singular: $singular,
            per_tru: Rate::per_second($per_tru),
            families: LimitFamilies {
                served: concat!("temporal_cloud_v1_", $served),
                throttled: concat!("temporal_cloud_v1_", $throttled),
                limit: concat!("temporal_cloud_v1_", $limit),
                envelope: concat!("temporal_cloud_v1_", $envelope),
                served_series: $series,
            },
        }),+];
    };
}

// The rates per TRU come from Temporal's documentation, capacity modes page, as of June 2026. For requests,
// an older copy (December 2025) has 2,000; the newer, lower value is the safe one.
limits! {
    /// Actions a second: what is billed, and what determines the size of a TRU.
    Actions {
        "actions", "action", 500 a second for each TRU,
        served: "total_action_count" in 2 series,
        throttled: "total_action_throttled_count",
        limit: "action_limit",
        envelope: "action_on_demand_envelope_limit",
    }
    /// gRPC requests per second to the frontend.
    Requests {
        "requests", "request", 1_500 a second for each TRU,
        served: "service_request_count" in 50 series,
        throttled: "service_request_throttled_count",
        limit: "service_request_limit",
        envelope: "service_request_on_demand_envelope_limit",
    }
    /// Lower-level operations per second.
    Operations {
        "operations", "operation", 4_000 a second for each TRU,
        served: "operations_count" in 50 series,
        throttled: "operations_throttled_count",
        limit: "operations_limit",
        envelope: "operations_on_demand_envelope_limit",
    }
}

impl LimitKind {
    /// All limits, in the order in which they are checked and reported.
    pub const ALL: [Self; FACTS.len()] = {
        let mut all = [FACTS[0].kind; FACTS.len()];
        let mut number = 0;
        while number < FACTS.len() {
            all[number] = FACTS[number].kind;
            number += 1;
        }
        all
    };

    /// Returns the plural noun for what the limit counts, for example `actions`.
    pub const fn noun(self) -> &'static str {
        FACTS[self as usize].noun
    }

    /// Returns the singular noun for what the limit counts, for example `action`.
    pub const fn singular(self) -> &'static str {
        FACTS[self as usize].singular
    }

    /// Returns the metric families of this limit.
    pub const fn families(self) -> &'static LimitFamilies {
        &FACTS[self as usize].families
    }

    /// Returns the limit at this number of TRUs.
    pub const fn at(self, trus: Trus) -> Rate {
        FACTS[self as usize].per_tru.saturating_mul(trus.get())
    }
}

/// One value for each limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PerLimit<T>([T; FACTS.len()]);

impl<T> PerLimit<T> {
    /// Creates one value for each limit.
    pub fn from_fn(mut make: impl FnMut(LimitKind) -> T) -> Self {
        Self(LimitKind::ALL.map(&mut make))
    }
}

/// Serialized by the names of the limits, so that a limit can be added later.
impl<T: Serialize> Serialize for PerLimit<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(LimitKind::ALL.into_iter().map(|kind| (kind, &self[kind])))
    }
}

/// A limit that is missing from the stored form gets the default value, which means unknown.
impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for PerLimit<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut stored = BTreeMap::<LimitKind, T>::deserialize(deserializer)?;
        Ok(Self::from_fn(|kind| stored.remove(&kind).unwrap_or_default()))
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
