//! Phrases that reason sentences of several checks share.

use jiff::SignedDuration;

use crate::limit::{LimitKind, PerLimit};
use crate::rate::Rate;
use crate::snapshot::{Snapshot, UsageGap};
use human_text::span;

/// Formats a duration in whole minutes.
pub(super) fn minutes(duration: SignedDuration) -> String {
    if duration.as_mins() == 0 {
        return "less than a minute".to_owned();
    }
    span(SignedDuration::from_mins(duration.as_mins()))
}

/// Describes which part of the usage is unknown; `None` if all of it is known.
pub(super) fn gap_words(snapshot: &Snapshot) -> Option<String> {
    LimitKind::ALL
        .into_iter()
        .find_map(|kind| match snapshot.usage_gaps[kind]? {
            UsageGap::FamilyMissing => Some(format!(
                "the metrics for {} are missing for the whole account",
                kind.noun()
            )),
            UsageGap::PartlyUnreadable => {
                Some(format!("some of its metrics for {} are unreadable", kind.noun()))
            }
            UsageGap::NotRead => Some(format!("its metrics for {} were not read", kind.noun())),
        })
}

/// Formats the traffic of standby replicas, which is not counted.
pub(super) fn standby_note(standby: &PerLimit<Rate>) -> String {
    let parts: Vec<String> = LimitKind::ALL
        .into_iter()
        .filter(|kind| !standby[*kind].is_zero())
        .map(|kind| format!("{} {}/s", standby[kind].measured(), kind.noun()))
        .collect();
    if parts.is_empty() {
        return String::new();
    }
    format!("; standby traffic of {} is not counted", parts.join(" and "))
}
