//! Warnings about the account as a whole, and failures that did not prevent an evaluation.

use std::fmt;

use capacity_engine::pricing::in_dollars;
use capacity_engine::{ActionPrice, LimitKind};
use human_text::counted;
use jiff::SignedDuration;
use openmetrics_reader::temporal_cloud::{Part, Series};
use rust_decimal::Decimal;

use crate::metrics::family_of;

/// Prefix of the warning about an account without metrics.
pub(crate) const METRICS_UNAVAILABLE: &str = "metrics unavailable: ";

/// A warning about an account as a whole. Problems of a single namespace are part of its decision.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// An entry of a list matches no namespace.
    UnmatchedPattern {
        /// The setting with the list.
        setting: &'static str,
        /// The entry that matches nothing.
        entry: String,
    },
    /// This machine's clock is off; the service's time was used instead.
    Clock {
        /// Time by which the clock is behind; negative if it is ahead.
        behind: SignedDuration,
    },
    /// This number of metrics samples have no namespace label.
    Unlabeled(usize),
    /// A scrape job overwrote the namespace label of this number of metrics samples.
    Overwritten(usize),
    /// A Prometheus stores the times of its scrapes in place of the service's.
    ScrapeTimes,
    /// The metrics show namespaces that the Cloud Ops API does not list.
    Unlisted {
        /// Number of namespaces.
        count: usize,
        /// Names of the first few.
        named: Vec<String>,
    },
    /// The family with the usage of a limit is missing for the whole account.
    FamilyMissing(LimitKind),
    /// The ledger cannot be used, and why.
    Ledger(String),
    /// The check for unknown kinds of throttling failed, with the reason.
    UnknownThrottling(String),
    /// The metrics of the account are unavailable, and why.
    MetricsUnavailable(String),
    /// Namespaces are held on an estimate.
    HeldOnEstimate {
        /// Number of namespaces.
        namespaces: usize,
        /// Savings per hour if they were released, in US dollars.
        saved: Decimal,
        /// Price used for the savings.
        price: ActionPrice,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnmatchedPattern { setting, entry } => write!(
                f,
                "{setting}: `{entry}` matches no namespace of the account; is it misspelled?"
            ),
            Self::Clock { behind } => write!(
                f,
                "this machine's clock is {} s {} the service's, whose time was used instead: check NTP on this machine",
                behind.abs().as_secs(),
                if behind.is_positive() { "behind" } else { "ahead of" }
            ),
            Self::Unlabeled(samples) => {
                write!(f, "{samples} metrics samples have no namespace label and are ignored")
            }
            Self::Overwritten(samples) => write!(
                f,
                "{samples} samples carry the label {} and are ignored: the scrape job overwrites temporal_namespace; \
                 set `honor_labels: true` in the scrape job",
                Series::OVERWRITTEN_NAMESPACE
            ),
            Self::ScrapeTimes => f.write_str(
                "samples in Prometheus have the time of the scrape instead of the full minute that was measured, and count \
                 as 4 minutes older; set `honor_timestamps: true` in the scrape job",
            ),
            Self::Unlisted { count, named } => write!(
                f,
                "the metrics show {} that the Cloud Ops API does not list ({}{}): the Cloud Ops key may lack access to them",
                counted(*count, "namespace"),
                named.join(", "),
                if *count > named.len() { ", ..." } else { "" }
            ),
            Self::FamilyMissing(kind) => write!(
                f,
                "metric family {} is missing for the whole account: the {} limit cannot be evaluated, and nothing is scaled down",
                family_of(*kind, Part::Served).name(),
                kind.singular()
            ),
            Self::Ledger(why) => f.write_str(why),
            Self::UnknownThrottling(why) => write!(
                f,
                "cannot check for kinds of throttling that this version does not know: {why}"
            ),
            Self::MetricsUnavailable(why) => write!(f, "{METRICS_UNAVAILABLE}{why}"),
            Self::HeldOnEstimate {
                namespaces,
                saved,
                price,
            } => write!(
                f,
                "{} held on an estimate; releasing would save up to {}/h at {price}. To release with an hour of \
                 data: run `temporal-capacity plan --observe 1h`, set LEDGER_URL and let the worker sample for an hour, or set \
                 METRICS_SOURCE=prometheus. To release on an estimate: set DISABLE_ON_ESTIMATE=true",
                counted(*namespaces, "namespace"),
                in_dollars(*saved)
            ),
        }
    }
}

/// A failure that did not prevent the observation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ObserveFailure {
    /// The metrics key was rejected.
    #[error(
        "the request for metrics was refused with {status}: check the key, its expiry and its role, then run `temporal-capacity doctor`"
    )]
    MetricsRefused {
        /// HTTP status of the response.
        status: u16,
    },
    /// The capacity info of some candidates could not be read.
    #[error(
        "the capacity info of {failed} of {} could not be read: these namespaces are held, and the next evaluation retries",
        counted(*.all, "candidate")
    )]
    CapacityInfos {
        /// Number of namespaces.
        failed: usize,
        /// Total number of candidates.
        all: usize,
    },
    /// Reading capacity infos stopped early.
    #[error(
        "the capacity info of {left} of {} was not read, because {why}{}: these namespaces are held, and the next evaluation continues with them",
        counted(*.all, "candidate"),
        others(*.failed)
    )]
    CapacityInfosLeft {
        /// Number of namespaces left out.
        left: usize,
        /// Number of namespaces that could not be read before that.
        failed: usize,
        /// Total number of candidates.
        all: usize,
        /// Reason for stopping.
        why: StoppedAsking,
    },
}

/// Why reading capacity infos stopped early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoppedAsking {
    /// The API limits the rate of requests.
    RateLimited,
    /// The API did not respond.
    NoAnswer,
}

impl fmt::Display for StoppedAsking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RateLimited => "the Cloud Ops API limits the rate of requests (429)",
            Self::NoAnswer => "there was no response",
        })
    }
}

fn others(failed: usize) -> String {
    if failed == 0 {
        String::new()
    } else {
        format!("; reading {failed} more failed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_named_with_the_remedy() {
        let clock = |hours| Warning::Clock {
            behind: SignedDuration::from_hours(hours),
        };
        insta::assert_snapshot!(format!("{}\n{}", clock(5), clock(-5)), @r"
        this machine's clock is 18000 s behind the service's, whose time was used instead: check NTP on this machine
        this machine's clock is 18000 s ahead of the service's, whose time was used instead: check NTP on this machine
        ");
    }
}
