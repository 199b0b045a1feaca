//! The metrics document: one minute, three minutes late, with every family in Temporal's metrics reference
//! that concerns capacity.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};

use crate::clock::{minute_of, start_of};
use crate::cloud::Cloud;
use crate::faults::{Faults, MetricsFault};
use crate::namespace::{Minute, Namespace};

const PREFIX: &str = "temporal_cloud_v1_";

/// The endpoint serves the minute that began this long ago.
const LATE: SignedDuration = SignedDuration::from_mins(3);

/// Operation names of a namespace; as many as a real one may have.
const OPERATIONS: [&str; 40] = [
    "PollWorkflowTaskQueue",
    "RespondWorkflowTaskCompleted",
    "PollActivityTaskQueue",
    "RespondActivityTaskCompleted",
    "StartWorkflowExecution",
    "SignalWorkflowExecution",
    "GetWorkflowExecutionHistory",
    "RecordActivityTaskHeartbeat",
    "QueryWorkflow",
    "SignalWithStartWorkflowExecution",
    "DescribeWorkflowExecution",
    "RespondActivityTaskFailed",
    "RespondWorkflowTaskFailed",
    "UpdateWorkflowExecution",
    "PollWorkflowExecutionUpdate",
    "RequestCancelWorkflowExecution",
    "TerminateWorkflowExecution",
    "ListWorkflowExecutions",
    "CountWorkflowExecutions",
    "ResetWorkflowExecution",
    "GetWorkflowExecutionHistoryReverse",
    "DescribeTaskQueue",
    "DescribeNamespace",
    "GetSearchAttributes",
    "RespondQueryTaskCompleted",
    "RespondActivityTaskCanceled",
    "RespondActivityTaskCompletedById",
    "RespondActivityTaskFailedById",
    "RecordActivityTaskHeartbeatById",
    "CreateSchedule",
    "DescribeSchedule",
    "ListSchedules",
    "PatchSchedule",
    "UpdateSchedule",
    "DeleteSchedule",
    "GetSystemInfo",
    "GetClusterInfo",
    "StartBatchOperation",
    "ListBatchOperations",
    "PollNexusTaskQueue",
];

/// A document, and whether it was truncated at the size limit.
pub(crate) struct Document {
    pub(crate) text: String,
    pub(crate) is_cut: bool,
}

/// The requested family names and namespace wildcards; empty means all.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    pub(crate) metrics: Vec<String>,
    pub(crate) namespaces: Vec<String>,
}

/// A family: its name, its help text, and how to write a namespace's series.
struct Family {
    name: &'static str,
    help: &'static str,
    write: fn(&mut Writer, &Namespace, &Minute),
}

const FAMILIES: &[Family] = &[
    Family {
        name: "total_action_count",
        help: "Actions per second.",
        write: total_actions,
    },
    Family {
        name: "total_action_throttled_count",
        help: "Actions per second refused because of the limit.",
        write: |to, _, minute| {
            // The endpoint reports a rate only if there was any. Readers must not take the absence for an
            // error.
            if minute.throttled[0] > 0.0 {
                to.sample("", minute.throttled[0]);
            }
        },
    },
    Family {
        name: "action_limit",
        help: "Actions per second allowed.",
        write: |to, _, it| to.value(it.limits[0], true),
    },
    Family {
        name: "action_on_demand_envelope_limit",
        help: "Actions per second that on-demand would allow.",
        write: |to, _, it| to.value(it.envelopes[0], false),
    },
    Family {
        name: "operations_count",
        help: "Operations per second.",
        write: |to, _, it| to.by_operation(it.served[2], Some("false"), true),
    },
    Family {
        name: "operations_throttled_count",
        help: "Operations per second refused because of the limit.",
        write: |to, _, it| to.by_operation(it.throttled[2], Some("false"), false),
    },
    Family {
        name: "operations_limit",
        help: "Operations per second allowed.",
        write: |to, _, it| to.value(it.limits[2], true),
    },
    Family {
        name: "operations_on_demand_envelope_limit",
        help: "Operations per second that on-demand would allow.",
        write: |to, _, it| to.value(it.envelopes[2], false),
    },
    Family {
        name: "service_request_count",
        help: "Requests per second.",
        write: |to, _, it| to.by_operation(it.served[1], None, false),
    },
    Family {
        name: "service_request_throttled_count",
        help: "Requests per second refused because of the limit.",
        write: |to, _, it| to.by_operation(it.throttled[1], None, false),
    },
    Family {
        name: "service_request_limit",
        help: "Requests per second allowed.",
        write: |to, _, it| to.value(it.limits[1], true),
    },
    Family {
        name: "service_request_on_demand_envelope_limit",
        help: "Requests per second that on-demand would allow.",
        write: |to, _, it| to.value(it.envelopes[1], false),
    },
    Family {
        name: "provisioned_capacity_tru_count",
        help: "Provisioned TRUs; 0 means on-demand.",
        write: |to, _, it| to.value(f64::from(it.trus), false),
    },
    Family {
        name: "resource_exhausted_error_count",
        help: "Errors per second caused by hot resources; not throttling by a limit.",
        write: |to, _, it| {
            if it.served[0] > 200.0 {
                to.sample(",operation=\"SignalWorkflowExecution\"", 0.05);
            }
        },
    },
    Family {
        name: "service_error_count",
        help: "Errors per second.",
        write: |to, _, it| {
            if it.served[0] > 50.0 {
                to.sample(",operation=\"QueryWorkflow\"", 0.017);
            }
        },
    },
    Family {
        name: "service_pending_requests",
        help: "Requests waiting.",
        write: |to, _, it| {
            if it.served[0] > 0.0 {
                to.sample(",operation=\"PollWorkflowTaskQueue\"", 12.0);
            }
        },
    },
    Family {
        name: "poller_limit",
        help: "Pollers allowed.",
        write: |to, _, _| to.value(20_000.0, false),
    },
    Family {
        name: "namespace_open_workflows",
        help: "Workflows open.",
        write: |to, _, it| to.value((it.served[0] * 7.0).round(), false),
    },
];

/// Writes foreground and background series of the active replica and of a standby replica.
fn total_actions(to: &mut Writer, namespace: &Namespace, minute: &Minute) {
    let actions = minute.served[0];
    // An idle minute of the live endpoint had limits and operations, but no actions.
    if actions > 0.0 {
        to.sample(",is_background=\"false\",namespace_mode=\"active\"", actions);
        if namespace.setup.second_replica.is_some() {
            to.sample(",is_background=\"false\",namespace_mode=\"standby\"", actions);
        }
    }
    // Readers must not count this series: background work does not count toward the limit.
    if actions > 20.0 {
        to.sample(",is_background=\"true\",namespace_mode=\"active\"", 0.25);
    }
}

struct Writer {
    text: String,
    points: usize,
    largest: usize,
    /// Labels at the beginning of every sample of the current namespace.
    labels: String,
    family: &'static str,
    timestamp: i64,
    is_cut: bool,
}

impl Writer {
    fn sample(&mut self, more: &str, value: f64) {
        if self.points >= self.largest {
            self.is_cut = true;
            return;
        }
        self.points += 1;
        let (family, labels, timestamp) = (self.family, &self.labels, self.timestamp);
        let _ = writeln!(
            self.text,
            "{PREFIX}{family}{{{labels}{more}}} {value:.3} {timestamp}"
        );
    }

    /// Writes a limit or another value; some are reported per region.
    fn value(&mut self, value: f64, regional: bool) {
        self.sample(if regional { ",region=\"aws-us-east-1\"" } else { "" }, value);
    }

    /// Writes a rate by operation name. Every fourth operation also has a background series if background
    /// work is separate.
    fn by_operation(&mut self, total: f64, background: Option<&str>, system: bool) {
        // Even an idle namespace has a little background work.
        if system && total <= 0.0 {
            self.sample(
                ",operation=\"PollTimerQueue\",is_background=\"true\",namespace_mode=\"active\"",
                0.033,
            );
        }
        if total <= 0.0 {
            return;
        }
        let mut left = total;
        for (number, operation) in OPERATIONS.iter().enumerate() {
            // Each operation has a fifth of the remaining rate, and the last one all of it.
            let share = if number + 1 == OPERATIONS.len() {
                left
            } else {
                left / 5.0
            };
            left -= share;
            let more = match background {
                Some(word) => {
                    format!(",operation=\"{operation}\",is_background=\"{word}\",namespace_mode=\"active\"")
                }
                None => format!(",operation=\"{operation}\",region=\"aws-us-east-1\""),
            };
            self.sample(&more, share);
            if background.is_some() && system && number % 4 == 0 {
                let more =
                    format!(",operation=\"{operation}\",is_background=\"true\",namespace_mode=\"active\"");
                self.sample(&more, share / 3.0);
            }
        }
    }
}

/// Returns the names of all available families.
pub(crate) fn family_names(faults: &Faults) -> Vec<(String, &'static str)> {
    let missing = faults.missing_family.as_deref();
    let unknown = faults.unknown_throttling.iter();
    let unknown = unknown.map(|(family, _)| (format!("{PREFIX}{family}"), "Refused because of a limit."));
    FAMILIES
        .iter()
        .map(|family| (format!("{PREFIX}{}", family.name), family.help))
        .filter(|(name, _)| Some(name.as_str()) != missing)
        .chain(unknown)
        .collect()
}

fn write_unknown_throttling(cloud: &Cloud, chosen: &[&Namespace], filter: &Filter, to: &mut Writer) {
    let Some((family, name)) = &cloud.faults.unknown_throttling else {
        return;
    };
    let full = format!("{PREFIX}{family}");
    if !filter.metrics.is_empty() && !filter.metrics.contains(&full) {
        return;
    }
    let _ = writeln!(to.text, "# TYPE {full} gauge");
    for namespace in chosen.iter().filter(|it| it.setup.name == *name) {
        let _ = writeln!(
            to.text,
            "{full}{{temporal_namespace=\"{}\",temporal_account=\"{}\"}} 1200.000 {}",
            namespace.id, cloud.account, to.timestamp
        );
    }
}

/// Returns the newest available minute.
pub(crate) fn newest_minute(cloud: &Cloud, now: Timestamp) -> i64 {
    let stale = match cloud.faults.metrics {
        MetricsFault::Stale(more) => more,
        _ => SignedDuration::ZERO,
    };
    let newest = now
        .saturating_sub(LATE)
        .and_then(|time| time.saturating_sub(stale))
        .unwrap_or(now);
    minute_of(newest)
}

/// Writes the document of the newest available minute.
pub(crate) fn document(cloud: &Cloud, now: Timestamp, filter: &Filter) -> Document {
    document_of(cloud, newest_minute(cloud, now), filter)
}

/// Writes the document of a minute (since 1970).
pub(crate) fn document_of(cloud: &Cloud, shown: i64, filter: &Filter) -> Document {
    let missing = cloud.faults.missing_family.as_deref();
    let seconds = start_of(shown).as_second();
    let mut to = Writer {
        text: String::with_capacity(1 << 16),
        points: 0,
        largest: cloud.options.points_per_answer,
        labels: String::new(),
        family: "",
        timestamp: if cloud.options.timestamps_in_ms {
            seconds * 1_000
        } else {
            seconds
        },
        is_cut: false,
    };
    let chosen: Vec<&Namespace> = cloud
        .namespaces
        .iter()
        .filter(|it| is_chosen(it, filter))
        .collect();
    for family in FAMILIES {
        let full = format!("{PREFIX}{}", family.name);
        let asked = filter.metrics.is_empty() || filter.metrics.contains(&full);
        if !asked || missing == Some(full.as_str()) {
            continue;
        }
        let _ = writeln!(to.text, "# HELP {full} {}\n# TYPE {full} gauge", family.help);
        to.family = family.name;
        for namespace in &chosen {
            // Older minutes are not kept, and newer ones have not happened yet.
            let kept = namespace.minute(shown).or_else(|| namespace.minutes.front());
            let Some(minute) = kept else { continue };
            to.labels.clear();
            let _ = write!(
                to.labels,
                "temporal_namespace=\"{}\",temporal_account=\"{}\"",
                namespace.id, cloud.account
            );
            (family.write)(&mut to, namespace, minute);
        }
    }
    write_unknown_throttling(cloud, &chosen, filter, &mut to);
    if cloud.options.end_marker {
        to.text.push_str("# EOF\n");
    }
    Document {
        text: to.text,
        is_cut: to.is_cut,
    }
}

fn is_chosen(namespace: &Namespace, filter: &Filter) -> bool {
    // Regardless of `access`: the metrics key sees every namespace of the account.
    filter.namespaces.is_empty()
        || filter
            .namespaces
            .iter()
            // Whether the endpoint compares names or full ids is not documented, so both match.
            .any(|pattern| matches(pattern, &namespace.setup.name) || matches(pattern, &namespace.id))
}

/// Matches a name, where `*` matches any characters.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|left| {
            rest.is_empty()
                || (0..=left.len())
                    .filter(|at| left.is_char_boundary(*at))
                    .any(|at| matches(rest, &left[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;
    use rstest::rstest;

    #[rstest]
    #[case("pay", "pay", true)]
    #[case("pay", "payroll", false)]
    #[case("pay*", "payroll", true)]
    #[case("*roll", "payroll", true)]
    #[case("p*r*l", "payroll", true)]
    #[case("p*x", "payroll", false)]
    #[case("*", "", true)]
    fn wildcards_stand_for_anything(#[case] pattern: &str, #[case] name: &str, #[case] expected: bool) {
        assert_eq!(matches(pattern, name), expected);
    }
}
