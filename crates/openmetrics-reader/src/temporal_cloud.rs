//! Temporal Cloud's vocabulary: families, labels, and a fold from documents to the newest minute of each namespace.
//!
//! The endpoint reports every series of a namespace: foreground and background work, the active replica and those on standby, one series
//! an operation. Only the foreground series of the active replica count against a limit, and they have to be summed (metrics reference of
//! Temporal's documentation, aggregation). [`UsageFold`] does that. What is absent or unreadable is never zero.

use std::collections::{BTreeMap, HashMap};

use crate::{Error, Event, Options, Reader, Sample};

/// What the names of all families begin with.
pub const PREFIX: &str = "temporal_cloud_v1_";

/// The label that names the namespace: `name.account`, or `name` alone next to [`ACCOUNT`].
pub const NAMESPACE: &str = "temporal_namespace";
/// The label that names the account.
pub const ACCOUNT: &str = "temporal_account";
/// `true` on work that does not count against a limit: exports, deletions and other background work.
pub const IS_BACKGROUND: &str = "is_background";
/// `active`, or `standby` on a replica that does not count against a limit.
pub const NAMESPACE_MODE: &str = "namespace_mode";
/// The label of the gRPC operation.
pub const OPERATION: &str = "operation";
/// The label of the region.
pub const REGION: &str = "region";

/// The labels by which the service tells series of a namespace apart. Others are added by a scrape pipeline.
pub const SERIES_LABELS: [&str; 4] = [IS_BACKGROUND, NAMESPACE_MODE, OPERATION, REGION];

/// Returns whether a value of [`IS_BACKGROUND`] is that of background work.
pub fn is_background(value: &str) -> bool {
    value == "true"
}

/// Returns whether a value of [`NAMESPACE_MODE`] is that of a replica on standby.
pub fn is_standby(value: &str) -> bool {
    value != "active"
}

/// The metric families of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Families {
    /// Served per second.
    pub served: &'static str,
    /// Refused per second because of the limit.
    pub throttled: &'static str,
    /// The limit in effect.
    pub limit: &'static str,
    /// What on-demand would provide.
    pub on_demand_limit: &'static str,
}

/// Actions: what is billed.
pub const ACTIONS: Families = Families {
    served: "temporal_cloud_v1_total_action_count",
    throttled: "temporal_cloud_v1_total_action_throttled_count",
    limit: "temporal_cloud_v1_action_limit",
    on_demand_limit: "temporal_cloud_v1_action_on_demand_envelope_limit",
};
/// gRPC requests to the frontend.
pub const REQUESTS: Families = Families {
    served: "temporal_cloud_v1_service_request_count",
    throttled: "temporal_cloud_v1_service_request_throttled_count",
    limit: "temporal_cloud_v1_service_request_limit",
    on_demand_limit: "temporal_cloud_v1_service_request_on_demand_envelope_limit",
};
/// Lower-level operations.
pub const OPERATIONS: Families = Families {
    served: "temporal_cloud_v1_operations_count",
    throttled: "temporal_cloud_v1_operations_throttled_count",
    limit: "temporal_cloud_v1_operations_limit",
    on_demand_limit: "temporal_cloud_v1_operations_on_demand_envelope_limit",
};

/// The families of every limit.
pub const LIMITS: [Families; 3] = [ACTIONS, REQUESTS, OPERATIONS];

/// The place of a family: which limit, and which part of it.
fn place(family: &str) -> Option<(usize, usize)> {
    LIMITS.iter().enumerate().find_map(|(limit, families)| {
        let parts = [
            families.served,
            families.throttled,
            families.limit,
            families.on_demand_limit,
        ];
        Some((limit, parts.iter().position(|part| *part == family)?))
    })
}

/// Parts from this one on are limits: not summed.
const FIRST_LIMIT: usize = 2;

/// What was reported per second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Reported {
    /// No series.
    #[default]
    Absent,
    /// A series whose value is `NaN`, infinite or negative, or that has no time.
    Unreadable,
    /// A rate.
    PerSecond(f64),
}

impl Reported {
    /// Returns the rate, if there is one.
    pub const fn per_second(self) -> Option<f64> {
        match self {
            Self::PerSecond(rate) => Some(rate),
            Self::Absent | Self::Unreadable => None,
        }
    }
}

/// What was reported of one limit of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct LimitUsage {
    /// Served per second: foreground, active replica.
    pub served: Reported,
    /// Refused per second because of the limit.
    pub throttled: Reported,
    /// The limit in effect: the newest, and of equally new ones, the largest.
    pub limit: Reported,
    /// What on-demand would provide.
    pub on_demand_limit: Reported,
}

/// The newest minute of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct NamespaceMinute {
    /// When it was measured, in milliseconds since 1970: the oldest of what was summed. `None` if no rate was reported, as for
    /// an idle namespace.
    pub timestamp_ms: Option<i64>,
    /// Actions.
    pub actions: LimitUsage,
    /// Requests.
    pub requests: LimitUsage,
    /// Operations.
    pub operations: LimitUsage,
}

/// The newest point of a series, or that it is unreadable.
#[derive(Debug, Clone, Copy)]
struct Point {
    timestamp_ms: i64,
    value: f64,
}

/// A series: limit, part, and its labels in order.
type Series = (usize, usize, Vec<(String, String)>);

/// Folds documents into the newest minute of each namespace. Documents of one minute may come in any order.
///
/// ```
/// use openmetrics_reader::temporal_cloud::{Reported, UsageFold};
///
/// let document = br#"temporal_cloud_v1_total_action_count{temporal_namespace="pay.a1b2c",is_background="false"} 5 1790000040
/// temporal_cloud_v1_total_action_count{temporal_namespace="pay.a1b2c",is_background="true"} 90 1790000040
/// "#;
/// let mut fold = UsageFold::default();
/// fold.read(document)?;
/// let minutes = fold.finish();
/// assert_eq!(minutes["pay.a1b2c"].actions.served, Reported::PerSecond(5.0));
/// # Ok::<(), openmetrics_reader::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct UsageFold {
    namespaces: BTreeMap<String, HashMap<Series, Option<Point>>>,
}

impl UsageFold {
    /// Takes in a document, leniently.
    ///
    /// # Errors
    ///
    /// The first line that cannot be read. What was taken in before it stays: drop the fold.
    pub fn read(&mut self, document: &[u8]) -> Result<(), Error> {
        for event in Reader::new(document, Options::lenient()) {
            if let Event::Sample(sample) = event? {
                self.add(&sample);
            }
        }
        Ok(())
    }

    /// Takes in one sample; one of another family, of background work or of a replica on standby is left out.
    pub fn add(&mut self, sample: &Sample<'_>) {
        let Some((limit, part)) = place(&sample.name().unescaped()) else {
            return;
        };
        let (mut namespace, mut account) = (None, None);
        let mut labels = Vec::new();
        for label in sample.labels() {
            let (name, value) = (label.name.unescaped(), label.value.unescaped());
            match &*name {
                NAMESPACE => namespace = Some(value.into_owned()),
                ACCOUNT => account = Some(value.into_owned()),
                IS_BACKGROUND if part < FIRST_LIMIT && is_background(&value) => return,
                NAMESPACE_MODE if part < FIRST_LIMIT && is_standby(&value) => return,
                name if SERIES_LABELS.contains(&name) => labels.push((name.to_owned(), value.into_owned())),
                _ => {}
            }
        }
        let Some(namespace) = namespace.filter(|name| !name.is_empty()) else {
            return;
        };
        let id = match account {
            Some(account) if !namespace.contains('.') => format!("{namespace}.{account}"),
            _ => namespace,
        };
        labels.sort_unstable();
        let value = sample.value();
        let point = sample
            .timestamp_ms()
            .filter(|_| value.is_finite() && value >= 0.0)
            .map(|timestamp_ms| Point { timestamp_ms, value });
        let newest = self
            .namespaces
            .entry(id)
            .or_default()
            .entry((limit, part, labels))
            .or_insert(point);
        if let (Some(point), Some(kept)) = (point, newest.as_ref()) {
            if (point.timestamp_ms, point.value) > (kept.timestamp_ms, kept.value) {
                *newest = Some(point);
            }
        } else {
            // Unreadable once means that the sum is unknown.
            *newest = None;
        }
    }

    /// Returns the newest minute of each namespace, by its full id where an account is known.
    pub fn finish(self) -> BTreeMap<String, NamespaceMinute> {
        let namespaces = self.namespaces.into_iter();
        namespaces
            .map(|(namespace, series)| (namespace, minute(series)))
            .collect()
    }
}

fn minute(series: HashMap<Series, Option<Point>>) -> NamespaceMinute {
    let mut minute = NamespaceMinute::default();
    let mut limits: BTreeMap<(usize, usize), Point> = BTreeMap::new();
    for ((limit, part, _), point) in series {
        let usage = match limit {
            0 => &mut minute.actions,
            1 => &mut minute.requests,
            _ => &mut minute.operations,
        };
        let slot = match part {
            0 => &mut usage.served,
            1 => &mut usage.throttled,
            2 => &mut usage.limit,
            _ => &mut usage.on_demand_limit,
        };
        let Some(point) = point else {
            // A limit that is unreadable in one region is known from another; a sum is not.
            if part < FIRST_LIMIT || *slot == Reported::Absent {
                *slot = Reported::Unreadable;
            }
            continue;
        };
        if part >= FIRST_LIMIT {
            let newest = limits.entry((limit, part)).or_insert(point);
            if (point.timestamp_ms, point.value) >= (newest.timestamp_ms, newest.value) {
                *newest = point;
                *slot = Reported::PerSecond(point.value);
            }
            continue;
        }
        let oldest = minute
            .timestamp_ms
            .map_or(point.timestamp_ms, |oldest| oldest.min(point.timestamp_ms));
        minute.timestamp_ms = Some(oldest);
        *slot = match *slot {
            Reported::Absent => Reported::PerSecond(point.value),
            Reported::PerSecond(sum) => Reported::PerSecond(sum + point.value),
            Reported::Unreadable => Reported::Unreadable,
        };
    }
    minute
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(lines: &str) -> BTreeMap<String, NamespaceMinute> {
        let lines: Vec<String> = lines
            .trim()
            .lines()
            .map(|line| format!("{PREFIX}{}\n", line.trim()))
            .collect();
        let mut fold = UsageFold::default();
        fold.read(lines.concat().as_bytes()).expect("readable");
        fold.finish()
    }

    #[test]
    fn foreground_series_of_the_active_replica_are_summed() {
        let minutes = folded(
            r#"
            service_request_count{temporal_namespace="pay.a1b2c",operation="Poll"} 30 1790000040
            service_request_count{temporal_namespace="pay.a1b2c",operation="Start"} 12 1790000040
            total_action_count{temporal_namespace="pay.a1b2c",is_background="false",namespace_mode="active"} 5 1790000040
            total_action_count{temporal_namespace="pay.a1b2c",is_background="true",namespace_mode="active"} 100 1790000040
            total_action_count{temporal_namespace="pay.a1b2c",is_background="false",namespace_mode="standby"} 100 1790000040
            "#,
        );
        let minute = minutes["pay.a1b2c"];
        assert_eq!(minute.requests.served, Reported::PerSecond(42.0));
        assert_eq!(minute.actions.served, Reported::PerSecond(5.0));
        assert_eq!(minute.actions.throttled, Reported::Absent);
        assert_eq!(minute.timestamp_ms, Some(1_790_000_040_000));
    }

    #[test]
    fn two_scrapers_of_one_endpoint_count_once() {
        let minutes = folded(
            r#"
            total_action_count{temporal_namespace="pay",temporal_account="a1b2c",pod="one"} 5 1790000040
            total_action_count{temporal_namespace="pay",temporal_account="a1b2c",pod="two"} 5 1790000040
            "#,
        );
        assert_eq!(minutes["pay.a1b2c"].actions.served, Reported::PerSecond(5.0));
    }

    #[test]
    fn a_limit_is_the_newest_and_of_equally_new_ones_the_largest() {
        let minutes = folded(
            r#"
            action_limit{temporal_namespace="pay.a1b2c",region="a"} 500 1790000040
            action_limit{temporal_namespace="pay.a1b2c",region="b"} 800 1790000040
            action_limit{temporal_namespace="pay.a1b2c",region="c"} 9000 1789999980
            "#,
        );
        let minute = minutes["pay.a1b2c"];
        assert_eq!(minute.actions.limit, Reported::PerSecond(800.0));
        assert_eq!(minute.timestamp_ms, None, "idle: no rate was reported");
    }

    #[test]
    fn what_is_unreadable_is_unknown_and_not_zero() {
        let minutes = folded(
            r#"
            total_action_count{temporal_namespace="pay.a1b2c",region="a"} NaN 1790000040
            total_action_count{temporal_namespace="pay.a1b2c",region="b"} 5 1790000040
            operations_count{temporal_namespace="pay.a1b2c"} 5
            "#,
        );
        let minute = minutes["pay.a1b2c"];
        assert_eq!(minute.actions.served, Reported::Unreadable);
        assert_eq!(minute.operations.served, Reported::Unreadable, "without a time");
        assert_eq!(minute.requests.served.per_second(), None);
    }
}
