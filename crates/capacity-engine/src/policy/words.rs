//! Phrases that reason sentences of several checks share.

use jiff::{SignedDuration, Timestamp};

use crate::limit::{LimitKind, PerLimit};
use crate::rate::Rate;
use crate::snapshot::{Snapshot, UsageGap};

/// Formats a timestamp to the minute, in UTC.
pub(super) fn at_minute(time: Timestamp) -> impl std::fmt::Display {
    time.strftime("%Y-%m-%d %H:%M UTC")
}

/// Formats a duration in whole minutes.
pub(super) fn minutes(duration: SignedDuration) -> String {
    if duration.as_mins() == 0 {
        return "less than a minute".to_owned();
    }
    span(SignedDuration::from_mins(duration.as_mins()))
}

/// Formats a duration as text, such as `9 min`, `6 min 30 s`, `4 h`.
pub(super) fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().unsigned_abs();
    let parts = [
        (seconds / 3_600, "h"),
        (seconds % 3_600 / 60, "min"),
        (seconds % 60, "s"),
    ];
    let shown: Vec<String> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    if shown.is_empty() {
        "0 s".to_owned()
    } else {
        shown.join(" ")
    }
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
