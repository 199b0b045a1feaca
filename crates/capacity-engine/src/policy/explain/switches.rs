//! Inputs that are not numbers, each with the value that would let a decision continue.

use jiff::SignedDuration;

use super::dials::change_samples;
use super::inputs::Inputs;
use crate::capacity::{Capacity, Ladder, ReportedMode, RequestState, Trus, present_capacity};
use crate::limit::{LimitKind, PerLimit};
use crate::namespace::NamespacePatterns;
use crate::policy::PolicyRef;
use crate::policy::break_even::Parameters;
use crate::rate::Rate;
use crate::snapshot::{CapacityInfo, KnownCapacityInfo, MetricsHealth, ReportedUsage};
use crate::usage::{MinuteSample, Usage};
use crate::window::UsageWindow;

/// Sizes that Temporal documents.
const DOCUMENTED: [f64; 7] = [2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 12.0];

/// An input with one alternative value.
pub(super) struct Switch {
    pub(super) input: String,
    pub(super) is_observed: bool,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) set: Box<dyn Fn(&mut Inputs)>,
}

fn observed(
    input: impl Into<String>,
    from: impl Into<String>,
    to: impl Into<String>,
    set: impl Fn(&mut Inputs) + 'static,
) -> Switch {
    Switch {
        input: input.into(),
        is_observed: true,
        from: from.into(),
        to: to.into(),
        set: Box::new(set),
    }
}

fn setting(
    input: &str,
    from: impl Into<String>,
    to: impl Into<String>,
    set: impl Fn(&mut Inputs) + 'static,
) -> Switch {
    Switch {
        is_observed: false,
        ..observed(input, from, to, set)
    }
}

/// Returns every input that has an alternative value.
pub(super) fn switches(inputs: &Inputs) -> Vec<Switch> {
    let mut switches = Vec::new();
    of_namespace(inputs, &mut switches);
    of_metrics(inputs, &mut switches);
    of_capacity_info(inputs, &mut switches);
    of_account(inputs, &mut switches);
    of_settings(inputs, &mut switches);
    switches
}

fn of_namespace(inputs: &Inputs, switches: &mut Vec<Switch>) {
    let snapshot = &inputs.snapshot;
    if let Some(state) = &snapshot.inactive_state {
        switches.push(observed("namespace state", state, "active", |inputs| {
            inputs.snapshot.inactive_state = None;
        }));
    }
    if let Some(replica) = &snapshot.moving_replica {
        switches.push(observed("replicas", &replica.what, "all active", |inputs| {
            inputs.snapshot.moving_replica = None;
        }));
    }
    if let Some(operation) = &snapshot.running_operation {
        switches.push(observed("running operation", operation, "none", |inputs| {
            inputs.snapshot.running_operation = None;
        }));
    }
    if let Some(request) = &snapshot.latest_request {
        if request.state == RequestState::InProgress {
            switches.push(observed(
                "last capacity request",
                "in progress",
                "finished",
                |inputs| {
                    let now = inputs.now;
                    if let Some(request) = &mut inputs.snapshot.latest_request {
                        request.state = RequestState::Completed;
                        // An hour ago, so that row 9 does not hold the changed inputs instead.
                        request.ended_at = now.saturating_sub(SignedDuration::from_hours(1)).ok();
                    }
                },
            ));
        } else if !request.ours {
            switches.push(observed(
                "author of the last change",
                "someone else",
                "this autopilot",
                |inputs| {
                    if let Some(request) = &mut inputs.snapshot.latest_request {
                        request.ours = true;
                    }
                },
            ));
        }
    }
    let present = present_capacity(&snapshot.status, &snapshot.spec, snapshot.latest_request.as_ref());
    if let Err(why) = present {
        switches.push(observed(
            "current capacity",
            why.to_string(),
            "on-demand",
            |inputs| {
                inputs.snapshot.status = ReportedMode::OnDemand;
                inputs.snapshot.spec = ReportedMode::OnDemand;
            },
        ));
    }
    if let Some(why) = &snapshot.change_refused {
        switches.push(observed(
            "last change",
            format!("refused ({why})"),
            "permitted",
            |inputs| {
                inputs.snapshot.change_refused = None;
            },
        ));
    }
}

fn of_metrics(inputs: &Inputs, switches: &mut Vec<Switch>) {
    let snapshot = &inputs.snapshot;
    let usage = match &snapshot.usage {
        ReportedUsage::Known(_) => None,
        ReportedUsage::Missing => Some("missing".to_owned()),
        ReportedUsage::Unknown { why } => Some(why.clone()),
    };
    if let Some(usage) = usage {
        switches.push(observed(
            "its metrics",
            usage,
            "a fresh minute without actions",
            |inputs| {
                let minute = inputs
                    .now
                    // The usual delay of the endpoint: fresh enough for row 8 and not in the future.
                    .saturating_sub(SignedDuration::from_mins(3))
                    .unwrap_or(inputs.now);
                inputs.snapshot.usage = ReportedUsage::Known(UsageWindow::of_one(MinuteSample {
                    minute,
                    usage: PerLimit::<Usage>::default(),
                    served_read: PerLimit::from_fn(|_| true),
                    reported: false,
                }));
                know_limits(inputs);
            },
        ));
    }
    if let ReportedUsage::Known(window) = &snapshot.usage {
        if window.newest().minute > inputs.now {
            switches.push(observed(
                "newest metrics",
                "from the future",
                "of now",
                |inputs| {
                    let now = inputs.now;
                    change_samples(inputs, |samples| {
                        for sample in samples {
                            sample.minute = sample.minute.min(now);
                        }
                    });
                },
            ));
        }
        for kind in LimitKind::ALL {
            let known = window.known_minutes_of(kind);
            if known < window.minutes().count() {
                let from = format!("{known} of 60 minutes known");
                switches.push(observed(
                    format!("{} served", kind.noun()),
                    from,
                    "all read",
                    move |inputs| {
                        change_samples(inputs, |samples| {
                            for sample in samples {
                                sample.served_read[kind] = true;
                            }
                        });
                        inputs.snapshot.usage_gaps[kind] = None;
                    },
                ));
            }
        }
    }
    for kind in LimitKind::ALL {
        if snapshot.usage_gaps[kind].is_some() {
            switches.push(observed(
                format!("metrics for {}", kind.noun()),
                "incomplete",
                "complete",
                move |inputs| {
                    inputs.snapshot.usage_gaps[kind] = None;
                },
            ));
        }
        if snapshot.envelopes[kind].is_none() {
            let input = format!("limit on {} that on-demand would provide", kind.noun());
            switches.push(observed(input, "unknown", "as documented", move |inputs| {
                inputs.snapshot.envelopes[kind] = Some(documented(kind));
            }));
        }
    }
    if LimitKind::ALL
        .into_iter()
        .any(|kind| snapshot.limits[kind].is_none())
    {
        switches.push(observed("current limits", "unknown", "known", know_limits));
    }
}

/// Returns the documented minimum limit of an on-demand namespace.
fn documented(kind: LimitKind) -> Rate {
    match kind {
        LimitKind::Actions => Rate::per_second(500),
        // No longer published since June 2026. The last published floor serves: the value only feeds a
        // what-if.
        LimitKind::Requests => Rate::per_second(2_000),
        LimitKind::Operations => Rate::per_second(4_000),
    }
}

fn know_limits(inputs: &mut Inputs) {
    let snapshot = &inputs.snapshot;
    let present = present_capacity(&snapshot.status, &snapshot.spec, snapshot.latest_request.as_ref());
    for kind in LimitKind::ALL {
        let limit = match present {
            Ok(Capacity::Provisioned(trus)) => kind.at(trus),
            Ok(Capacity::OnDemand) | Err(_) => documented(kind),
        };
        // Only what is missing: a reported limit stays.
        inputs.snapshot.limits[kind].get_or_insert(limit);
    }
}

fn of_capacity_info(inputs: &Inputs, switches: &mut Vec<Switch>) {
    let info = match &inputs.snapshot.capacity_info {
        CapacityInfo::NotRead => Err("not read".to_owned()),
        CapacityInfo::Unavailable { why } => Err(why.clone()),
        CapacityInfo::Known(info) => Ok(info),
    };
    match info {
        Err(why) => switches.push(observed("capacity info", why, "the documented sizes", |inputs| {
            let ladder = Ladder::from_wire(&DOCUMENTED);
            inputs.snapshot.capacity_info = CapacityInfo::Known(KnownCapacityInfo {
                ceiling: ladder.highest(),
                ladder,
                on_demand_actions: inputs.snapshot.envelopes[LimitKind::Actions],
                has_legacy_limits: false,
                current: ReportedMode::Absent,
            });
        })),
        Ok(info) => of_known_info(info, switches),
    }
}

fn of_known_info(info: &KnownCapacityInfo, switches: &mut Vec<Switch>) {
    let change = |inputs: &mut Inputs, change: &dyn Fn(&mut KnownCapacityInfo)| {
        if let CapacityInfo::Known(info) = &mut inputs.snapshot.capacity_info {
            change(info);
        }
    };
    if info.has_legacy_limits {
        switches.push(observed(
            "limits set by Temporal Support",
            "yes",
            "no",
            move |inputs| {
                change(inputs, &|info| info.has_legacy_limits = false);
            },
        ));
    }
    if info.current != ReportedMode::Absent {
        let from = format!("reports {}", info.current);
        switches.push(observed(
            "capacity info",
            from,
            "agrees with the namespace",
            move |inputs| {
                change(inputs, &|info| info.current = ReportedMode::Absent);
            },
        ));
    }
    if info.ceiling.is_none() || info.ladder.is_empty() {
        switches.push(observed(
            "sizes that can be chosen",
            "not reported",
            "as documented",
            move |inputs| {
                change(inputs, &|info| {
                    info.ladder = Ladder::from_wire(&DOCUMENTED);
                    info.ceiling = info.ladder.highest();
                });
            },
        ));
    }
    let current = match info.current {
        ReportedMode::Provisioned(trus) => Some(trus),
        _ => None,
    };
    if let Some(odd) = current.filter(|trus: &Trus| !info.ladder.is_empty() && !info.ladder.contains(*trus)) {
        let (from, to) = ("not an available size", "an available size");
        switches.push(observed(format!("{odd}"), from, to, move |inputs| {
            change(inputs, &|info| {
                let mut sizes: Vec<f64> = info
                    .ladder
                    .steps()
                    .iter()
                    .map(|step| f64::from(step.get()))
                    .collect();
                sizes.push(f64::from(odd.get()));
                info.ladder = Ladder::from_wire(&sizes);
            });
        }));
    }
}

fn of_account(inputs: &Inputs, switches: &mut Vec<Switch>) {
    if let MetricsHealth::Incomplete { why, .. } = &inputs.account.metrics {
        switches.push(observed("metrics of the account", why, "complete", |inputs| {
            inputs.account.metrics = MetricsHealth::Complete;
        }));
    }
    for (number, restriction) in inputs.account.restrictions.iter().enumerate() {
        switches.push(observed(
            "restriction",
            &restriction.reason,
            "lifted",
            move |inputs| {
                inputs.account.restrictions.remove(number);
            },
        ));
    }
    if inputs.account.home.as_ref() == Some(&inputs.snapshot.namespace) {
        switches.push(observed(
            "where this automation runs",
            "in this namespace",
            "elsewhere",
            |inputs| {
                inputs.account.home = None;
            },
        ));
    }
}

fn of_settings(inputs: &Inputs, switches: &mut Vec<Switch>) {
    let namespace = &inputs.snapshot.namespace;
    let filter = &inputs.rules.filter;
    if filter.deny.matches(namespace) {
        switches.push(setting(
            "NAMESPACE_DENYLIST",
            "matches it",
            "does not match it",
            |inputs| {
                inputs.rules.filter.deny = NamespacePatterns::default();
            },
        ));
    }
    if !filter.allow.is_empty() && !filter.allow.matches(namespace) {
        switches.push(setting(
            "NAMESPACE_ALLOWLIST",
            "does not match it",
            "matches it",
            |inputs| {
                inputs.rules.filter.allow = NamespacePatterns::default();
            },
        ));
    }
    for other in PolicyRef::BUILT_IN
        .into_iter()
        .filter(|name| *name != inputs.rules.policy.name())
    {
        switches.push(setting(
            "POLICY",
            inputs.rules.policy.name(),
            other,
            move |inputs| {
                // The shadow policy has the operator's parameters; the defaults are a guess.
                let in_shadow = inputs.rules.shadow.take().filter(|shadow| shadow.name() == other);
                if let Some(policy) = in_shadow.or_else(|| PolicyRef::named(other, &Parameters::default())) {
                    inputs.rules.policy = policy;
                    // State belongs to the policy that wrote it.
                    inputs.state = None;
                }
            },
        ));
    }
    let releases = inputs.rules.guards.disable_on_estimate;
    let word = |releases: bool| if releases { "true" } else { "false" };
    switches.push(setting(
        "DISABLE_ON_ESTIMATE",
        word(releases),
        word(!releases),
        move |inputs| {
            inputs.rules.guards.disable_on_estimate = !releases;
        },
    ));
}
