//! Properties of the decisions for all snapshots.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;

fn any_rate(highest: f64) -> impl Strategy<Value = Rate> {
    prop_oneof![2 => Just(0.0), 2 => 0.0..0.05_f64, 3 => 0.0..highest].prop_map(rate)
}

fn any_usage() -> impl Strategy<Value = PerLimit<Usage>> {
    let throttled = || prop_oneof![3 => Just(Rate::ZERO), 1 => any_rate(900.0)];
    (
        any_rate(600.0),
        any_rate(2_000.0),
        any_rate(4_000.0),
        throttled(),
        throttled(),
        throttled(),
    )
        .prop_map(|(actions, requests, operations, a, r, o)| {
            PerLimit::from_fn(|kind| match kind {
                LimitKind::Actions => Usage {
                    served: actions,
                    throttled: a,
                },
                LimitKind::Requests => Usage {
                    served: requests,
                    throttled: r,
                },
                LimitKind::Operations => Usage {
                    served: operations,
                    throttled: o,
                },
            })
        })
}

fn any_reported_usage() -> impl Strategy<Value = ReportedUsage> {
    let window = (
        prop::collection::vec(any_usage(), 1..4),
        any::<bool>(),
        -3_i64..12,
        any::<bool>(),
    )
        .prop_map(|(kinds, full, newest, reported)| {
            let minutes = if full { 60 } else { kinds.len() };
            let samples = (0..minutes).map(|number| MinuteSample {
                minute: minutes_ago(newest + i64::try_from(number).expect("small")),
                usage: kinds[number % kinds.len()],
                served_read: PerLimit::from_fn(|kind| kind == LimitKind::Actions || number % 3 > 0),
                reported,
            });
            ReportedUsage::Known(UsageWindow::from_samples(samples).expect("not empty"))
        });
    prop_oneof![
        1 => Just(ReportedUsage::Missing),
        1 => Just(ReportedUsage::Unknown { why: "standby only".to_owned() }),
        12 => window,
    ]
}

fn any_mode() -> impl Strategy<Value = ReportedMode> {
    prop_oneof![
        Just(ReportedMode::Absent),
        Just(ReportedMode::OnDemand),
        (1_u32..14).prop_map(|count| ReportedMode::Provisioned(trus(count))),
        Just(ReportedMode::ProvisionedWithoutValue),
        Just(ReportedMode::Unknown("elastic".to_owned())),
    ]
}

fn any_request() -> impl Strategy<Value = Option<CapacityRequest>> {
    let states = select(vec![
        RequestState::Completed,
        RequestState::InProgress,
        RequestState::Failed,
    ]);
    let request = (states, -2_i64..400, any::<bool>(), 0_u8..4).prop_map(|(state, minutes, ours, told)| {
        let mut request = request(state, minutes, ours);
        if told & 1 == 0 {
            request.ended_at = None;
        }
        if told == 2 {
            request.started_at = None;
        }
        request
    });
    prop_oneof![3 => Just(None), 2 => request.prop_map(Some)]
}

fn any_limits() -> impl Strategy<Value = PerLimit<Option<Rate>>> {
    let limit = |steps: &'static [f64]| prop_oneof![20 => select(steps).prop_map(|value| Some(rate(value))), 1 => Just(None)];
    (
        limit(&[500.0, 812.5, 1_000.0, 3_500.0, 7_000.0]),
        limit(&[2_000.0, 1_600.0, 14_000.0, 20_000.0]),
        limit(&[4_000.0, 3_200.0, 30_000.0, 60_000.0]),
    )
        .prop_map(|(actions, requests, operations)| {
            PerLimit::from_fn(|kind| match kind {
                LimitKind::Actions => actions,
                LimitKind::Requests => requests,
                LimitKind::Operations => operations,
            })
        })
}

fn any_info(present: ReportedMode) -> impl Strategy<Value = CapacityInfo> {
    let ladders = select(vec![
        vec![2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 12.0],
        vec![2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 12.0],
        vec![4.0, 16.0],
        vec![],
    ]);
    let current = prop_oneof![8 => Just(present), 1 => any_mode()];
    let known = (ladders, 0_u32..17, any_limits(), 0_u8..10, current).prop_map(
        |(ladder, ceiling, envelopes, legacy, current)| {
            CapacityInfo::Known(KnownCapacityInfo {
                ladder: Ladder::from_wire(&ladder),
                ceiling: Trus::try_new(ceiling),
                on_demand_actions: envelopes[LimitKind::Actions],
                has_legacy_limits: legacy == 0,
                current,
            })
        },
    );
    prop_oneof![
        1 => Just(CapacityInfo::NotRead),
        1 => Just(CapacityInfo::Unavailable { why: "refused".to_owned() }),
        12 => known,
    ]
}

fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    let rarely = |text: &'static str| prop_oneof![15 => Just(None), 1 => Just(Some(text.to_owned()))];
    let modes = prop_oneof![
        4 => Just((ReportedMode::OnDemand, ReportedMode::OnDemand)),
        4 => select(vec![2, 4, 7, 8]).prop_map(|count| {
            (ReportedMode::Provisioned(trus(count)), ReportedMode::Provisioned(trus(count)))
        }),
        1 => (any_mode(), any_mode()),
    ];
    let gap = || {
        prop_oneof![
            10 => Just(None),
            1 => select(vec![Some(UsageGap::FamilyMissing), Some(UsageGap::PartlyUnreadable)]),
        ]
    };
    let body = modes.prop_flat_map(|(status, spec)| (Just(status.clone()), Just(spec), any_info(status)));
    (
        select(vec!["pay", "orders", "bulk", "home"]),
        body,
        (
            rarely("suspended"),
            rarely("replica x is being added"),
            rarely("op-9"),
            rarely("403"),
        ),
        any_request(),
        (any_limits(), any_limits(), any_reported_usage()),
        (gap(), gap(), gap()),
    )
        .prop_map(
            |(name, (status, spec, capacity_info), rare, latest_request, metrics, gaps)| Snapshot {
                namespace: format!("{name}.a1b2c").parse().expect("an id"),
                inactive_state: rare.0,
                moving_replica: rare.1.map(|what| MovingReplica {
                    what,
                    since: Some(Since::AtLeast(minutes_ago(300))),
                }),
                running_operation: rare.2,
                status,
                spec,
                latest_request,
                limits: metrics.0,
                envelopes: metrics.1,
                usage: metrics.2,
                usage_gaps: PerLimit::from_fn(|kind| match kind {
                    LimitKind::Actions => gaps.0,
                    LimitKind::Requests => gaps.1,
                    LimitKind::Operations => gaps.2,
                }),
                standby: PerLimit::default(),
                capacity_info,
                change_refused: rare.3,
            },
        )
}

fn any_restriction() -> impl Strategy<Value = Restriction> {
    let kinds = select(vec![
        (Direction::ScaleDown, ReasonCode::LedgerUnavailable),
        (Direction::ScaleDown, ReasonCode::LedgersDiffer),
        (Direction::ScaleDown, ReasonCode::ScaleUpOnly),
        (Direction::Both, ReasonCode::Paused),
        (Direction::ScaleUp, ReasonCode::ScaleUpPaused),
        (Direction::ScaleDown, ReasonCode::ScaleDownPaused),
        (Direction::ScaleDown, ReasonCode::OutcomeNotRecorded),
        (Direction::Both, ReasonCode::SpecChanged),
        (Direction::ScaleDown, ReasonCode::UnknownThrottling),
    ]);
    let scope = select(vec![None, Some("pay.a1b2c"), Some("orders.a1b2c")]);
    let until = select(vec![None, Some(-1), Some(0), Some(1)]);
    (kinds, scope, until).prop_map(|((direction, code), scope, until)| Restriction {
        scope: scope.map_or(RestrictionScope::Account, |name| {
            RestrictionScope::Namespace(name.parse().expect("an id"))
        }),
        until: until.map(|minutes| minutes_ago(-minutes)),
        ..Restriction::new(direction, code, "not now", RestrictionOrigin::Pause)
    })
}

fn any_account() -> impl Strategy<Value = AccountView> {
    let health = prop_oneof![
        12 => Just(MetricsHealth::Complete),
        1 => Just(MetricsHealth::Incomplete { problem: MetricsProblem::Incomplete, why: "limited".to_owned() }),
    ];
    let restrictions = prop_oneof![
        8 => Just(Vec::new()),
        2 => prop::collection::vec(any_restriction(), 1..4),
    ];
    (health, restrictions).prop_map(|(metrics, restrictions)| AccountView {
        metrics,
        home: Some("home.a1b2c".parse().expect("an id")),
        restrictions,
    })
}

fn any_policy() -> impl Strategy<Value = Rules> {
    (any_threshold(), any::<bool>()).prop_map(|(rules, break_even)| {
        if break_even {
            rules.with_policy(PolicyRef::break_even(crate::break_even::Parameters::default()))
        } else {
            rules
        }
    })
}

fn any_threshold() -> impl Strategy<Value = Rules> {
    let deny = select(vec![vec![], vec![], vec![], vec!["bulk"]]);
    let allow = select(vec![
        vec![],
        vec![],
        vec![],
        vec!["pay", "*.a1b2c"],
        vec!["orders"],
    ]);
    (deny, allow, 1_u32..17, 1_u32..17, any::<bool>()).prop_map(|(deny, allow, default, max, estimate)| {
        let patterns = |list: &[&str]| NamespacePatterns::try_new(list).expect("parses");
        let settings = ThresholdSettings {
            default_trus: trus(default),
            ..ThresholdSettings::default()
        };
        Rules {
            bounds: Bounds::up_to(trus(max)),
            guards: Guards {
                disable_on_estimate: estimate,
                ..Guards::default()
            },
            policy: PolicyRef::threshold(settings),
            filter: NamespaceFilter {
                allow: patterns(&allow),
                deny: patterns(&deny),
            },
            ..Rules::default()
        }
    })
}

/// Reason codes of policies other than `threshold`.
const OF_OTHERS: [ReasonCode; 9] = [
    ReasonCode::PolicyTarget,
    ReasonCode::RecentMinutesMissing,
    ReasonCode::CheaperToWait,
    ReasonCode::WaitingCostsMore,
    ReasonCode::PlannedForTheHour,
    ReasonCode::WorthKeeping,
    ReasonCode::NotWorthKeeping,
    ReasonCode::BelowMinimum,
    ReasonCode::SizeTooSmall,
];

/// Random snapshots must result in every action except `Resize`, which `threshold` never takes, and in every
/// reason code of `threshold`.
#[test]
fn random_snapshots_reach_every_reason() {
    let mut runner = TestRunner::deterministic();
    let strategy = (any_snapshot(), any_account(), any_threshold());
    let mut reached = BTreeSet::new();
    for _ in 0..20_000 {
        let (snapshot, account, rules) = strategy.new_tree(&mut runner).expect("a value").current();
        reached.insert(decide(&snapshot, &account, &rules, now()).reason_code);
    }
    let missed: Vec<&ReasonCode> = ReasonCode::ALL
        .iter()
        .filter(|code| !reached.contains(code) && !OF_OTHERS.contains(code))
        .collect();
    assert!(missed.is_empty(), "not reached: {missed:?}");
}

fn known(snapshot: &Snapshot) -> &KnownCapacityInfo {
    match &snapshot.capacity_info {
        CapacityInfo::Known(info) => info,
        other => panic!("a change without capacity info: {other:?}"),
    }
}

fn window(snapshot: &Snapshot) -> &UsageWindow {
    match &snapshot.usage {
        ReportedUsage::Known(window) => window,
        other => panic!("a change without usage: {other:?}"),
    }
}

fn limits_after(capacity: Capacity, snapshot: &Snapshot) -> PerLimit<Option<Rate>> {
    match capacity {
        Capacity::OnDemand => snapshot.envelopes,
        Capacity::Provisioned(trus) => PerLimit::from_fn(|kind| Some(kind.at(trus))),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn every_snapshot_gets_one_and_the_same_decision(
        snapshot in any_snapshot(), account in any_account(), rules in any_policy(),
    ) {
        let decision = decide(&snapshot, &account, &rules, now());
        prop_assert_eq!(&decision, &decide(&snapshot, &account, &rules, now()));
        prop_assert!(!decision.reason.is_empty());
        prop_assert_eq!(&decision.namespace, &snapshot.namespace);
        prop_assert_eq!(decision.blocked.is_some() && decision.action != Action::Hold, false);
    }

    #[test]
    fn nothing_off_the_ladder_or_above_ceiling_or_bounds_is_wanted(
        snapshot in any_snapshot(), account in any_account(), rules in any_policy(),
    ) {
        if let Action::Enable(trus) | Action::Resize(trus) = decide(&snapshot, &account, &rules, now()).action {
            let info = known(&snapshot);
            prop_assert!(info.ladder.contains(trus));
            prop_assert!(info.ceiling.is_some_and(|ceiling| trus <= ceiling));
            prop_assert!(trus <= rules.bounds.max_trus);
        }
    }

    #[test]
    fn stored_inputs_give_the_same_decision(
        snapshot in any_snapshot(), account in any_account(), rules in any_policy(),
    ) {
        let inputs = explain::Inputs { snapshot, account, rules, state: None, now: now() };
        let stored = serde_json::to_string(&inputs).expect("every part can be stored");
        let restored: explain::Inputs = serde_json::from_str(&stored).expect("what was stored can be read");
        let decision = inputs.decide();
        prop_assert_eq!(&decision, &restored.decide());
        let stored = serde_json::to_string(&decision).expect("a decision can be stored");
        prop_assert_eq!(decision, serde_json::from_str(&stored).expect("it can be read"));
    }

    #[test]
    fn no_condition_of_rows_1_to_10_yields_a_change(
        snapshot in any_snapshot(), account in any_account(), rules in any_policy(),
    ) {
        if !decide(&snapshot, &account, &rules, now()).action.is_change() {
            return Ok(());
        }
        prop_assert!(!rules.filter.deny.matches(&snapshot.namespace));
        prop_assert!(rules.filter.allow.is_empty() || rules.filter.allow.matches(&snapshot.namespace));
        prop_assert!(snapshot.inactive_state.is_none() && snapshot.moving_replica.is_none());
        prop_assert!(snapshot.running_operation.is_none());
        let request = snapshot.latest_request.as_ref();
        prop_assert!(request.is_none_or(|request| request.state != RequestState::InProgress));
        prop_assert!(present_capacity(&snapshot.status, &snapshot.spec, request).is_ok());
        prop_assert_eq!(&account.metrics, &MetricsHealth::Complete);
        let minute = window(&snapshot).newest().minute;
        let age = now().duration_since(minute);
        prop_assert!(age <= SignedDuration::from_mins(6) && age >= SignedDuration::from_mins(-1));
        prop_assert!(request.and_then(CapacityRequest::took_effect_at).is_none_or(|effect| minute >= effect));
        prop_assert!(LimitKind::ALL.into_iter().all(|kind| snapshot.limits[kind].is_some()));
    }

    #[test]
    fn no_change_passes_a_restriction_of_its_direction(
        snapshot in any_snapshot(), account in any_account(), rules in any_policy(),
    ) {
        let decision = decide(&snapshot, &account, &rules, now());
        if !decision.action.is_change() {
            return Ok(());
        }
        let change = if decision.wanted > decision.current { Direction::ScaleUp } else { Direction::ScaleDown };
        for restriction in &account.restrictions {
            prop_assert!(!restriction.forbids(&snapshot.namespace, change, now()), "{} passes {:?}", decision, restriction);
        }
    }

    #[test]
    fn scaling_up_never_lowers_a_limit(
        snapshot in any_snapshot(), account in any_account(), rules in any_policy(),
    ) {
        let decision = decide(&snapshot, &account, &rules, now());
        if let (Action::Enable(trus) | Action::Resize(trus), true) = (decision.action, decision.wanted > decision.current) {
            for kind in LimitKind::ALL {
                prop_assert!(snapshot.limits[kind].is_some_and(|limit| kind.at(trus) >= limit));
                prop_assert!(snapshot.envelopes[kind].is_none_or(|envelope| kind.at(trus) >= envelope));
            }
            let aps = known(&snapshot).on_demand_actions;
            prop_assert!(aps.is_none_or(|aps| LimitKind::Actions.at(trus) >= aps));
            let newest = window(&snapshot).newest();
            let is_throttled = |kind: LimitKind| !newest.usage[kind].throttled.is_zero();
            let is_any = LimitKind::ALL.into_iter().any(is_throttled);
            let rises = LimitKind::ALL.into_iter().any(|kind| {
                (is_throttled(kind) || !is_any) && Some(kind.at(trus)) > snapshot.limits[kind]
            });
            prop_assert!(rises, "no throttled limit rises");
        }
    }

    #[test]
    fn scaling_down_leaves_headroom_for_every_known_minute(
        snapshot in any_snapshot(), account in any_account(), rules in any_policy(),
    ) {
        if decide(&snapshot, &account, &rules, now()).action == Action::Disable {
            for kind in LimitKind::ALL {
                let recent = rules.policy.recent_minutes();
                let peak = u128::from(window(&snapshot).highest_asked_within(kind, recent).micros_per_second());
                let api = (kind == LimitKind::Actions).then(|| known(&snapshot).on_demand_actions).flatten();
                for envelope in [snapshot.envelopes[kind], api].into_iter().flatten() {
                    prop_assert!(peak * 125 <= u128::from(envelope.micros_per_second()) * 100);
                }
                prop_assert!(peak == 0 || snapshot.envelopes[kind].is_some() || api.is_some());
                prop_assert!(snapshot.usage_gaps[kind].is_none());
            }
            prop_assert_ne!(Some(&snapshot.namespace), account.home.as_ref());
        }
    }

    #[test]
    fn permuting_namespaces_changes_nothing(
        mut snapshots in prop::collection::vec(any_snapshot(), 1..8),
        account in any_account(), rules in any_policy(), turn in 0_usize..8,
    ) {
        for (number, snapshot) in snapshots.iter_mut().enumerate() {
            snapshot.namespace = format!("{}-{number}.a1b2c", snapshot.namespace.name()).parse().expect("an id");
        }
        let decide_all = |snapshots: &[Snapshot]| -> Vec<Decision> {
            snapshots.iter().map(|snapshot| decide(snapshot, &account, &rules, now())).collect()
        };
        let before = decide_all(&snapshots);
        let turn = turn % snapshots.len();
        snapshots.rotate_left(turn);
        let mut after = decide_all(&snapshots);
        after.rotate_right(turn);
        prop_assert_eq!(before, after);
    }

    #[test]
    fn more_throttling_never_weakens_an_enable(
        snapshot in any_snapshot(), account in any_account(), rules in any_threshold(), factor in 2_u32..50,
    ) {
        let before = decide(&snapshot, &account, &rules, now());
        if let Action::Enable(trus) = before.action {
            let newest = *window(&snapshot).newest();
            // More throttling on the same limit results in the same size.
            let mut more = newest;
            for kind in LimitKind::ALL {
                more.usage[kind].throttled = more.usage[kind].throttled.saturating_mul(factor);
            }
            let usage = ReportedUsage::Known(UsageWindow::of_one(more));
            let after = decide(&Snapshot { usage, ..snapshot.clone() }, &account, &rules, now());
            prop_assert_eq!(after.action, Action::Enable(trus));
            // If another limit is throttled too, the action is still Enable (with the first size that helps
            // either limit).
            let mut wider = newest;
            for kind in LimitKind::ALL {
                wider.usage[kind].throttled = wider.usage[kind].throttled.saturating_add(Rate::per_second(factor));
            }
            let usage = ReportedUsage::Known(UsageWindow::of_one(wider));
            let after = decide(&Snapshot { usage, ..snapshot.clone() }, &account, &rules, now());
            prop_assert!(matches!(after.action, Action::Enable(_)), "{}", after);
        }
    }

    #[test]
    fn the_state_a_decision_leads_to_needs_no_further_change(
        snapshot in any_snapshot(), account in any_account(), rules in any_threshold(),
    ) {
        let decision = decide(&snapshot, &account, &rules, now());
        let (true, Some(wanted)) = (decision.action.is_change(), decision.wanted) else { return Ok(()) };
        let mut info = known(&snapshot).clone();
        info.current = wanted.into();
        let mut after = Snapshot {
            status: wanted.into(),
            spec: wanted.into(),
            limits: limits_after(wanted, &snapshot),
            capacity_info: CapacityInfo::Known(info),
            latest_request: None,
            ..snapshot.clone()
        };
        let next = decide(&after, &account, &rules, now());
        prop_assert!(!next.action.is_change(), "{} after {}", next, decision);
        // The same while the metrics still show the time before the change.
        after.latest_request = Some(request(RequestState::Completed, 0, true));
        prop_assert!(!decide(&after, &account, &rules, now()).action.is_change());
    }

    #[test]
    fn prices_are_those_of_the_capacities(
        snapshot in any_snapshot(), account in any_account(), rules in any_policy(),
    ) {
        let decision = decide(&snapshot, &account, &rules, now());
        let price = &rules.prices;
        prop_assert_eq!(decision.price.per_hour_before, decision.current.map(|capacity| price.idle_hour(capacity)));
        prop_assert_eq!(decision.price.per_hour_after, decision.wanted.map(|capacity| price.idle_hour(capacity)));
    }
}
