//! Tests of every guard on a change, by its name.

use rstest::rstest;

use super::*;

fn with_info(snapshot: Snapshot, change: impl FnOnce(&mut KnownCapacityInfo)) -> Snapshot {
    let mut info = known_info(snapshot_trus(&snapshot), 12);
    change(&mut info);
    Snapshot {
        capacity_info: CapacityInfo::Known(info),
        ..snapshot
    }
}

fn snapshot_trus(snapshot: &Snapshot) -> u32 {
    match snapshot.status {
        ReportedMode::Provisioned(trus) => trus.get(),
        _ => 0,
    }
}

fn sizes(default: u32, max: u32) -> Rules {
    let settings = ThresholdSettings {
        default_trus: trus(default),
        ..ThresholdSettings::default()
    };
    Rules::default()
        .with_bounds(Bounds::up_to(trus(max)))
        .with_threshold(settings)
}

fn decided_with(snapshot: &Snapshot, rules: &Rules) -> Decision {
    decide(snapshot, &account(), rules, now())
}

#[rstest]
#[case::between_steps(5, "Enable 6 TRUs throttled", "5 TRUs is not an available size, using 6")]
#[case::on_a_step(4, "Enable 4 TRUs throttled", "at the limit of 500/s")]
#[case::the_lowest(2, "Enable 2 TRUs throttled", "at the limit of 500/s")]
fn step_takes_the_next_one_up(#[case] default: u32, #[case] expected: &str, #[case] ends_with: &str) {
    let rules = sizes(default, 12);
    let decision = decided_with(&throttled("pay"), &rules);
    assert_eq!(outcome(&decision), expected);
    assert!(decision.reason.ends_with(ends_with), "{}", decision.reason);
}

#[test]
fn step_above_the_ladder_takes_its_highest() {
    let rules = sizes(14, 20);
    let decision = decided_with(&throttled("pay"), &rules);
    assert_eq!(outcome(&decision), "Enable 12 TRUs throttled");
    assert!(
        decision
            .reason
            .ends_with("14 TRUs is not an available size, using the largest, 12"),
        "{}",
        decision.reason
    );
}

#[test]
fn no_regression_takes_the_next_step_that_lowers_nothing() {
    let mut snapshot = throttled("pay");
    // On-demand provides 3,500 actions per second: 6 TRUs (3,000) would be less, and 8 TRUs (4,000) are more.
    snapshot.envelopes[LimitKind::Actions] = Some(rate(3_500.0));
    snapshot.limits[LimitKind::Actions] = Some(rate(3_500.0));
    let decision = decided(&snapshot);
    assert_eq!(outcome(&decision), "Enable 8 TRUs throttled");
    assert!(decision.announce, "above the wanted step");
    assert!(decision.reason.ends_with("6 TRUs (3,000/s) would lower the action limit from the 3,500/s that on-demand provides, using 8 TRUs"), "{}", decision.reason);
}

#[rstest]
#[case::by_the_metrics(3_500.0, 500.0, 500.0)]
#[case::by_the_api(500.0, 3_500.0, 500.0)]
#[case::by_the_limit_in_force(500.0, 500.0, 3_500.0)]
fn no_regression_uses_the_higher_of_the_reported_envelopes(
    #[case] metrics: f64,
    #[case] api: f64,
    #[case] in_force: f64,
) {
    let mut snapshot = with_info(throttled("pay"), |info| info.on_demand_actions = Some(rate(api)));
    snapshot.envelopes[LimitKind::Actions] = Some(rate(metrics));
    snapshot.limits[LimitKind::Actions] = Some(rate(in_force));
    assert_eq!(outcome(&decided(&snapshot)), "Enable 8 TRUs throttled");
}

#[test]
fn no_regression_holds_if_no_throttled_limit_would_rise() {
    let mut snapshot = snapshot("pay", 0);
    snapshot.usage = one(used(LimitKind::Operations, 100.0, 5.0));
    snapshot.limits[LimitKind::Operations] = Some(rate(48_000.0));
    let decision = decided(&snapshot);
    assert_eq!(outcome(&decision), "Hold no_step_helps");
    assert!(
        decision
            .reason
            .contains("12 TRUs (48,000/s) would not raise the operation limit of 48,000/s"),
        "{}",
        decision.reason
    );
    assert_eq!(decision.blocked, Some(Capacity::from_trus(6)));
    assert!(decision.announce);
}

#[test]
fn ceiling_below_the_wanted_step_gives_what_inventory_allows() {
    let snapshot = with_info(throttled("pay"), |info| info.ceiling = Trus::try_new(4));
    let decision = decided(&snapshot);
    assert_eq!(outcome(&decision), "Enable 4 TRUs throttled");
    assert!(
        decision
            .reason
            .ends_with("; the region can currently provide only 4 TRUs"),
        "{}",
        decision.reason
    );
    assert!(decision.announce);
}

#[rstest]
#[case::would_lower_a_limit(4, 2_500.0)]
#[case::below_the_smallest_step(1, 500.0)]
fn ceiling_that_does_not_help_holds(#[case] ceiling: u32, #[case] on_demand: f64) {
    let mut snapshot = with_info(throttled("pay"), |info| info.ceiling = Trus::try_new(ceiling));
    snapshot.envelopes[LimitKind::Actions] = Some(rate(on_demand));
    let decision = decided(&snapshot);
    assert_eq!(outcome(&decision), "Hold no_inventory");
    assert!(decision.announce);
    assert_eq!(decision.blocked, Some(Capacity::from_trus(6)));
}

#[test]
fn bounds_are_never_exceeded() {
    let rules = sizes(5, 5);
    let decision = decided_with(&throttled("pay"), &rules);
    assert_eq!(outcome(&decision), "Enable 4 TRUs throttled");
    assert!(
        decision.reason.ends_with("; MAX_TRU_COUNT allows only 5 TRUs"),
        "{}",
        decision.reason
    );
}

#[test]
fn bounds_that_leave_nothing_hold() {
    let rules = sizes(5, 1);
    let decision = decided_with(&throttled("pay"), &rules);
    assert_eq!(outcome(&decision), "Hold no_step_helps");
    assert!(
        decision.reason.contains("MAX_TRU_COUNT allows only 1 TRU"),
        "{}",
        decision.reason
    );
}

#[rstest]
#[case::exactly_a_quarter_more(400.0, "Disable idle")]
#[case::a_little_more(400.1, "Hold on_demand_too_small")]
fn headroom_must_cover_the_peak_plus_25_percent(#[case] operations: f64, #[case] expected: &str) {
    let mut snapshot = idle("pay", 4);
    snapshot.usage = hour(used(LimitKind::Operations, operations, 0.0));
    snapshot.envelopes[LimitKind::Operations] = Some(rate(500.0));
    assert_eq!(outcome(&decided(&snapshot)), expected);
}

#[test]
fn headroom_considers_every_minute_of_the_window_and_throttled_work() {
    let mut samples: Vec<MinuteSample> = (4..64)
        .map(|minutes| sample(minutes_ago(minutes), PerLimit::default()))
        .collect();
    samples[30].usage = used(LimitKind::Requests, 1_500.0, 200.0);
    let usage = ReportedUsage::Known(UsageWindow::from_samples(samples).expect("not empty"));
    let decision = decided(&Snapshot {
        usage,
        ..snapshot("pay", 4)
    });
    assert_eq!(outcome(&decision), "Hold on_demand_too_small");
    assert!(decision.reason.contains("1,700/s"), "{}", decision.reason);
}

#[rstest]
#[case::by_the_metrics(300.0, 900.0)]
#[case::by_the_api(900.0, 300.0)]
fn headroom_uses_the_lower_of_the_reported_envelopes(#[case] metrics: f64, #[case] api: f64) {
    let mut snapshot = with_info(snapshot("pay", 4), |info| {
        info.on_demand_actions = Some(rate(api));
    });
    snapshot.envelopes[LimitKind::Actions] = Some(rate(metrics));
    let mut samples: Vec<MinuteSample> = (4..64)
        .map(|minutes| sample(minutes_ago(minutes), PerLimit::default()))
        .collect();
    // One minute with 300 throttled actions per second and none served, so the hour is idle.
    samples[10].usage = used(LimitKind::Actions, 0.0, 300.0);
    snapshot.usage = ReportedUsage::Known(UsageWindow::from_samples(samples).expect("not empty"));
    assert_eq!(outcome(&decided(&snapshot)), "Hold on_demand_too_small");
}

#[rstest]
#[case::used(5.0, "Hold limits_unknown")]
#[case::unused(0.0, "Disable idle")]
fn headroom_blocks_on_an_unknown_envelope_only_if_that_limit_was_used(
    #[case] requests: f64,
    #[case] expected: &str,
) {
    let mut snapshot = idle("pay", 4);
    snapshot.usage = hour(used(LimitKind::Requests, requests, 0.0));
    snapshot.envelopes[LimitKind::Requests] = None;
    assert_eq!(outcome(&decided(&snapshot)), expected);
}

#[rstest]
#[case::raising(throttled("pay"))]
#[case::lowering(idle("pay", 4))]
fn limits_set_by_support_are_never_changed(#[case] snapshot: Snapshot) {
    let snapshot = with_info(snapshot, |info| info.has_legacy_limits = true);
    assert_eq!(outcome(&decided(&snapshot)), "Hold set_by_support");
}

#[test]
fn sizes_off_the_ladder_are_never_released() {
    assert_eq!(outcome(&decided(&idle("pay", 7))), "Hold set_by_support");
}

#[test]
fn not_regainable_capacity_is_kept_and_announced() {
    let snapshot = with_info(idle("pay", 8), |info| info.ceiling = Trus::try_new(6));
    let decision = decided(&snapshot);
    assert_eq!(outcome(&decision), "Hold not_regainable");
    assert!(decision.announce);
}

#[rstest]
#[case::ours_is_no_foreign_change(30, true, "Disable idle")]
#[case::within_four_hours(239, false, "Hold changed_by_others")]
#[case::exactly_four_hours(240, false, "Hold changed_by_others")]
#[case::after_four_hours(241, false, "Disable idle")]
fn changes_by_others_are_respected_for_a_while(
    #[case] minutes: i64,
    #[case] ours: bool,
    #[case] expected: &str,
) {
    let latest = Some(request(RequestState::Completed, minutes, ours));
    let decision = decided(&Snapshot {
        latest_request: latest,
        ..idle("pay", 4)
    });
    assert_eq!(outcome(&decision), expected);
}

#[test]
fn changes_by_others_hold_if_their_time_is_unknown() {
    let latest = CapacityRequest {
        started_at: None,
        ended_at: None,
        ..request(RequestState::Completed, 0, false)
    };
    let decision = decided(&Snapshot {
        latest_request: Some(latest),
        ..throttled("pay")
    });
    assert_eq!(outcome(&decision), "Hold changed_by_others");
}

#[test]
fn failed_requests_by_others_do_not_count() {
    let latest = Some(request(RequestState::Failed, 10, false));
    assert_eq!(
        outcome(&decided(&Snapshot {
            latest_request: latest,
            ..idle("pay", 4)
        })),
        "Disable idle"
    );
}

#[rstest]
#[case::raising_without_a_ceiling(throttled("pay"), false)]
#[case::raising_without_a_ladder(throttled("pay"), true)]
#[case::lowering_without_a_ceiling(idle("pay", 4), false)]
#[case::lowering_without_a_ladder(idle("pay", 4), true)]
fn an_unreported_ceiling_holds_every_change(#[case] snapshot: Snapshot, #[case] ladder_missing: bool) {
    let snapshot = with_info(snapshot, |info| {
        if ladder_missing {
            info.ladder = Ladder::default();
        } else {
            info.ceiling = None;
        }
    });
    assert_eq!(outcome(&decided(&snapshot)), "Hold no_inventory");
}

#[rstest]
#[case::with_a_ladder(false, "Resize to 2 TRUs policy_target")]
#[case::without_a_ladder(true, "Hold no_inventory")]
fn a_smaller_size_needs_a_ladder(#[case] ladder_missing: bool, #[case] expected: &str) {
    let snapshot = with_info(idle("pay", 4), |info| {
        if ladder_missing {
            info.ladder = Ladder::default();
        }
    });
    let decision = judge(&snapshot, &account(), &Rules::default(), now(), |_| {
        PolicyTarget::change(
            Capacity::from_trus(2),
            ReasonCode::PolicyTarget,
            "quiet for an hour",
        )
    });
    assert_eq!(outcome(&decision), expected, "{}", decision.reason);
}

#[test]
fn the_own_namespace_is_never_scaled_down() {
    let home = AccountView {
        home: Some("pay.a1b2c".parse().expect("an id")),
        ..account()
    };
    let rules = Rules::default();
    assert_eq!(
        outcome(&decide(&idle("pay", 4), &home, &rules, now())),
        "Hold own_namespace"
    );
    assert_eq!(
        outcome(&decide(&throttled("pay"), &home, &rules, now())),
        "Enable 6 TRUs throttled"
    );
    let elsewhere = AccountView {
        home: Some("pay.zzzzz".parse().expect("an id")),
        ..account()
    };
    assert_eq!(
        outcome(&decide(&idle("pay", 4), &elsewhere, &rules, now())),
        "Disable idle"
    );
}

#[rstest]
#[case::not_read(CapacityInfo::NotRead)]
#[case::unavailable(CapacityInfo::Unavailable { why: "refused with 403".to_owned() })]
fn capacity_info_that_could_not_be_read_holds(#[case] capacity_info: CapacityInfo) {
    let decision = decided(&Snapshot {
        capacity_info,
        ..idle("pay", 4)
    });
    assert_eq!(outcome(&decision), "Hold capacity_info_unavailable");
    assert_eq!(decision.blocked, Some(Capacity::OnDemand));
}

#[test]
fn capacity_info_that_contradicts_the_list_holds() {
    let snapshot = with_info(idle("pay", 4), |info| info.current = ReportedMode::OnDemand);
    assert_eq!(outcome(&decided(&snapshot)), "Hold capacity_unknown");
}

#[test]
fn a_change_refused_as_not_permitted_is_not_retried() {
    let snapshot = Snapshot {
        change_refused: Some("403".to_owned()),
        ..throttled("pay")
    };
    assert_eq!(outcome(&decided(&snapshot)), "Hold not_permitted");
}
