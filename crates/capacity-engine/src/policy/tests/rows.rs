//! Tests of every check, by its row number.

use rstest::rstest;

use super::ReasonCode::{
    CapacityUnknown, ChangeInProgress, Denied, LimitsUnknown, MetricsIncomplete, MetricsMissing,
    MetricsStale, NamespaceNotActive, ReplicaMoving, Throttled, WaitingForEffect,
};
use super::*;

fn filter(allow: &[&str], deny: &[&str]) -> Rules {
    let patterns = |list: &[&str]| NamespacePatterns::try_new(list).expect("parses");
    let filter = NamespaceFilter {
        allow: patterns(allow),
        deny: patterns(deny),
    };
    Rules {
        filter,
        ..Rules::default()
    }
}

#[rstest]
#[case::denied(&[], &["pay"], "Skip denied")]
#[case::deny_wins(&["pay"], &["p*"], "Skip denied")]
#[case::not_allowed(&["orders*"], &[], "Skip not_allowed")]
#[case::allowed_by_full_id(&["*.a1b2c"], &[], "Enable 6 TRUs throttled")]
#[case::no_lists(&[], &[], "Enable 6 TRUs throttled")]
fn row_1_skips_what_is_not_ours(#[case] allow: &[&str], #[case] deny: &[&str], #[case] expected: &str) {
    let decision = decide(&throttled("pay"), &account(), &filter(allow, deny), now());
    assert_eq!(outcome(&decision), expected);
}

#[test]
fn row_2_holds_a_namespace_that_is_not_active() {
    let snapshot = Snapshot {
        inactive_state: Some("updating".to_owned()),
        ..throttled("pay")
    };
    assert_eq!(outcome(&decided(&snapshot)), "Hold namespace_not_active");
}

#[test]
fn row_3_holds_while_a_replica_moves() {
    let snapshot = Snapshot {
        moving_replica: Some(moving(None)),
        ..throttled("pay")
    };
    assert_eq!(outcome(&decided(&snapshot)), "Hold replica_moving");
}

#[test]
fn row_4_holds_while_an_operation_runs() {
    let snapshot = Snapshot {
        running_operation: Some("op-9".to_owned()),
        ..throttled("pay")
    };
    assert_eq!(outcome(&decided(&snapshot)), "Hold change_in_progress");
}

#[test]
fn row_4_holds_while_the_last_request_is_in_progress() {
    let latest = Some(request(RequestState::InProgress, 1, true));
    let snapshot = Snapshot {
        latest_request: latest,
        ..throttled("pay")
    };
    assert_eq!(outcome(&decided(&snapshot)), "Hold change_in_progress");
}

#[rstest]
#[case::disagreement(ReportedMode::OnDemand, ReportedMode::Provisioned(trus(4)))]
#[case::without_a_value(ReportedMode::ProvisionedWithoutValue, ReportedMode::OnDemand)]
#[case::unknown_mode(ReportedMode::Unknown("elastic".to_owned()), ReportedMode::OnDemand)]
#[case::wished_but_never_seen(ReportedMode::Absent, ReportedMode::Provisioned(trus(4)))]
fn row_5_holds_if_the_capacity_is_ambiguous(#[case] status: ReportedMode, #[case] spec: ReportedMode) {
    let decision = decided(&Snapshot {
        status,
        spec,
        ..throttled("pay")
    });
    assert_eq!(outcome(&decision), "Hold capacity_unknown");
    assert_eq!((decision.current, decision.wanted), (None, None));
}

#[test]
fn row_5_treats_a_missing_capacity_as_on_demand() {
    let snapshot = Snapshot {
        status: ReportedMode::Absent,
        spec: ReportedMode::Absent,
        ..throttled("pay")
    };
    assert_eq!(outcome(&decided(&snapshot)), "Enable 6 TRUs throttled");
}

#[test]
fn after_a_failed_request_the_status_is_used() {
    let mut snapshot = throttled("pay");
    snapshot.spec = ReportedMode::Provisioned(trus(6));
    snapshot.latest_request = Some(request(RequestState::Failed, 10, true));
    assert_eq!(outcome(&decided(&snapshot)), "Enable 6 TRUs throttled");
}

#[test]
fn row_6_holds_everything_while_the_metrics_are_unavailable() {
    let unavailable = MetricsHealth::Incomplete {
        problem: MetricsProblem::Incomplete,
        why: "the response was declared limited".to_owned(),
    };
    let account = AccountView {
        metrics: unavailable,
        ..account()
    };
    let decision = decide(&throttled("pay"), &account, &Rules::default(), now());
    assert_eq!(outcome(&decision), "Hold metrics_incomplete");
    assert_eq!(
        decision.reason, "metrics unavailable",
        "why is said once, for the account"
    );
}

#[rstest]
#[case::no_series(ReportedUsage::Missing)]
#[case::standby_only(ReportedUsage::Unknown { why: "only standby series".to_owned() })]
fn row_7_holds_without_usable_metrics(#[case] usage: ReportedUsage) {
    let decision = decided(&Snapshot {
        usage,
        ..snapshot("pay", 4)
    });
    assert_eq!(outcome(&decision), "Hold metrics_missing");
    assert_eq!(decision.sample_minute, None);
}

#[rstest]
#[case::exactly_six_minutes(360, "Enable 6 TRUs throttled")]
#[case::a_second_more(361, "Hold metrics_stale")]
#[case::future_by_a_minute(-60, "Enable 6 TRUs throttled")]
#[case::future_by_a_second_more(-61, "Hold metrics_stale")]
fn row_8_holds_on_stale_or_future_metrics(#[case] age_seconds: i64, #[case] expected: &str) {
    let minute = ago(SignedDuration::from_secs(age_seconds));
    let newest = sample(minute, used(LimitKind::Actions, 490.0, 70.0));
    let usage = ReportedUsage::Known(UsageWindow::of_one(newest));
    assert_eq!(
        outcome(&decided(&Snapshot {
            usage,
            ..throttled("pay")
        })),
        expected
    );
}

#[rstest]
#[case::measured_before(3, "Hold waiting_for_effect")]
#[case::measured_at_that_moment(4, "Enable 6 TRUs throttled")]
fn row_9_waits_for_metrics_after_the_last_change(#[case] ended_minutes_ago: i64, #[case] expected: &str) {
    let latest = Some(request(RequestState::Completed, ended_minutes_ago, true));
    assert_eq!(
        outcome(&decided(&Snapshot {
            latest_request: latest,
            ..throttled("pay")
        })),
        expected
    );
}

#[rstest]
#[case::without_an_end_two_minutes_after_the_start(5, "Hold waiting_for_effect")]
#[case::long_enough(6, "Enable 6 TRUs throttled")]
fn row_9_uses_the_start_if_no_end_is_reported(#[case] started_minutes_ago: i64, #[case] expected: &str) {
    let latest = CapacityRequest {
        started_at: Some(minutes_ago(started_minutes_ago)),
        ended_at: None,
        ..request(RequestState::Completed, 0, true)
    };
    let snapshot = Snapshot {
        latest_request: Some(latest),
        ..throttled("pay")
    };
    assert_eq!(outcome(&decided(&snapshot)), expected);
}

#[test]
fn row_9_has_the_documented_limit_of_a_size_that_the_metrics_do_not_show_yet() {
    let mut waiting = Snapshot {
        latest_request: Some(request(RequestState::Completed, 3, true)),
        ..snapshot("pay", 6)
    };
    waiting.limits[LimitKind::Actions] = Some(Rate::per_second(500));
    let decision = decided(&waiting);
    assert_eq!(outcome(&decision), "Hold waiting_for_effect");
    let mut sizes = decision.options.iter();
    let current = sizes.find(|size| size.trus == 6).expect("the current size");
    assert_eq!(current.limit, 3_000);
}

#[test]
fn row_9_does_not_wait_for_a_request_that_failed() {
    let latest = Some(request(RequestState::Failed, 1, true));
    let snapshot = Snapshot {
        latest_request: latest,
        ..throttled("pay")
    };
    assert_eq!(outcome(&decided(&snapshot)), "Enable 6 TRUs throttled");
}

#[rstest]
#[case::actions(LimitKind::Actions)]
#[case::requests(LimitKind::Requests)]
#[case::operations(LimitKind::Operations)]
fn row_10_holds_if_a_limit_is_unknown(#[case] kind: LimitKind) {
    let mut snapshot = throttled("pay");
    snapshot.limits[kind] = None;
    let decision = decided(&snapshot);
    assert_eq!(outcome(&decision), "Hold limits_unknown");
    assert!(decision.reason.contains(kind.noun()), "{}", decision.reason);
}

#[rstest]
#[case::actions(LimitKind::Actions)]
#[case::requests(LimitKind::Requests)]
#[case::operations(LimitKind::Operations)]
fn row_11_enables_if_any_limit_throttles(#[case] kind: LimitKind) {
    let snapshot = Snapshot {
        usage: one(used(kind, 100.0, 0.001)),
        ..snapshot("pay", 0)
    };
    let decision = decided(&snapshot);
    assert_eq!(outcome(&decision), "Enable 6 TRUs throttled");
    assert!(decision.reason.contains(kind.noun()), "{}", decision.reason);
}

#[test]
fn row_11_reports_the_limit_that_throttles_most() {
    let mut usage = used(LimitKind::Actions, 490.0, 10.0);
    usage[LimitKind::Operations] = Usage {
        served: rate(300.0),
        throttled: rate(100.0),
    };
    let decision = decided(&Snapshot {
        usage: one(usage),
        ..snapshot("pay", 0)
    });
    assert!(
        decision
            .reason
            .starts_with("25.0% of operations throttled (100.0 of 400.0/s)"),
        "{}",
        decision.reason
    );
}

#[rstest]
#[case::below(0.027_777, "Disable idle")]
#[case::exactly_at_the_threshold(0.027_778, "Keep in_use")]
#[case::nothing(0.0, "Disable idle")]
fn row_11_releases_below_the_threshold(#[case] actions: f64, #[case] expected: &str) {
    let snapshot = Snapshot {
        usage: hour(used(LimitKind::Actions, actions, 0.0)),
        ..snapshot("pay", 4)
    };
    assert_eq!(outcome(&decided(&snapshot)), expected);
}

#[test]
fn row_11_exactly_the_threshold_is_not_below() {
    let rules = Rules::default().with_threshold(ThresholdSettings {
        min_actions_per_hour: 3_600,
        ..ThresholdSettings::default()
    });
    let snapshot = Snapshot {
        usage: hour(used(LimitKind::Actions, 1.0, 0.0)),
        ..snapshot("pay", 4)
    };
    assert_eq!(
        outcome(&decide(&snapshot, &account(), &rules, now())),
        "Keep in_use"
    );
}

#[test]
fn row_11_announces_what_is_throttled_while_provisioned() {
    let snapshot = Snapshot {
        usage: one(used(LimitKind::Actions, 0.0, 1.0)),
        ..snapshot("pay", 4)
    };
    let decision = decided(&snapshot);
    assert_eq!(outcome(&decision), "Keep throttled_while_provisioned");
    assert!(decision.announce);
}

#[test]
fn row_11_distinguishes_idle_from_quiet() {
    let newest = MinuteSample {
        minute: minutes_ago(4),
        usage: PerLimit::default(),
        served_read: PerLimit::from_fn(|_| true),
        reported: false,
    };
    let usage = ReportedUsage::Known(UsageWindow::of_one(newest));
    assert_eq!(
        outcome(&decided(&Snapshot {
            usage,
            ..snapshot("pay", 0)
        })),
        "Keep idle_on_demand"
    );
    assert_eq!(outcome(&decided(&snapshot("pay", 0))), "Keep quiet");
}

#[test]
fn row_11_releases_the_capacity_of_an_idle_namespace() {
    let newest = MinuteSample {
        minute: minutes_ago(4),
        usage: PerLimit::default(),
        served_read: PerLimit::from_fn(|_| true),
        reported: false,
    };
    let usage = ReportedUsage::Known(UsageWindow::of_one(newest));
    let snapshot = Snapshot {
        usage,
        ..snapshot("pay", 4)
    };
    assert_eq!(
        outcome(&decide(&snapshot, &account(), &on_estimates(), now())),
        "Disable idle"
    );
}

#[test]
fn row_11_releases_nothing_on_usage_that_was_not_read() {
    let mut idle = idle("pay", 4);
    idle.usage_gaps[LimitKind::Requests] = Some(UsageGap::NotRead);
    let decision = decided(&idle);
    assert_eq!(outcome(&decision), "Hold metrics_family_missing");
    assert!(
        decision.reason.contains("its metrics for requests were not read"),
        "{}",
        decision.reason
    );
}

#[test]
fn row_11_assumes_unread_usage_is_at_the_limit_while_throttled() {
    let mut newest = sample(minutes_ago(4), used(LimitKind::Requests, 0.0, 500.0));
    newest.served_read[LimitKind::Requests] = false;
    let decision = decided(&Snapshot {
        usage: ReportedUsage::Known(UsageWindow::of_one(newest)),
        ..snapshot("pay", 0)
    });
    assert_eq!(outcome(&decision), "Enable 6 TRUs throttled");
    assert!(
        decision.reason.starts_with("20.0% of requests throttled"),
        "{}",
        decision.reason
    );
}

#[test]
fn row_11_releases_nothing_if_the_peak_of_a_limit_is_unknown() {
    let samples = (4..64).map(|minutes| {
        let mut sample = sample(minutes_ago(minutes), used(LimitKind::Actions, 0.01, 0.0));
        sample.served_read[LimitKind::Requests] = minutes == 4;
        sample
    });
    let usage = ReportedUsage::Known(UsageWindow::from_samples(samples).expect("not empty"));
    let snapshot = Snapshot {
        usage,
        ..snapshot("pay", 4)
    };
    assert_eq!(
        outcome(&decide(&snapshot, &account(), &on_estimates(), now())),
        "Disable idle",
        "on an estimate"
    );
    let decision = decided(&snapshot);
    assert_eq!(outcome(&decision), "Hold estimate_only");
    assert!(
        decision
            .reason
            .contains("its requests are known for only 1 of 60 minutes"),
        "{}",
        decision.reason
    );
}

/// In a large account, the first pass omits requests and operations. Namespaces that may be idle are then
/// read completely.
#[test]
fn usage_omitted_from_the_first_pass_makes_a_candidate() {
    let samples = (4..64).map(|minutes| {
        let mut sample = sample(minutes_ago(minutes), used(LimitKind::Actions, 0.01, 0.0));
        sample.served_read[LimitKind::Requests] = false;
        sample
    });
    let usage = ReportedUsage::Known(UsageWindow::from_samples(samples).expect("not empty"));
    let snapshot = Snapshot {
        usage,
        ..snapshot("pay", 4)
    };
    assert!(wants_capacity_info(
        &snapshot,
        &account(),
        &Rules::default(),
        now()
    ));
}

#[test]
fn row_11_states_how_much_of_the_hour_is_known() {
    let samples = (4..56).map(|minutes| sample(minutes_ago(minutes), used(LimitKind::Actions, 0.01, 0.0)));
    let usage = ReportedUsage::Known(UsageWindow::from_samples(samples).expect("not empty"));
    let decision = decided(&Snapshot {
        usage,
        ..snapshot("pay", 4)
    });
    assert_eq!(decision.known_minutes, Some(52));
    assert!(
        decision.reason.contains("(from 52 of 60 minutes)"),
        "{}",
        decision.reason
    );
}

#[test]
fn row_11_releases_nothing_on_an_estimate_unless_that_is_set() {
    let rules = Rules::default();
    let estimate = Snapshot {
        usage: one(PerLimit::default()),
        ..snapshot("pay", 4)
    };
    let decision = decide(&estimate, &account(), &rules, now());
    assert_eq!(outcome(&decision), "Hold estimate_only");
    assert_eq!(decision.blocked, Some(Capacity::OnDemand));
    assert_eq!(
        outcome(&decide(&estimate, &account(), &on_estimates(), now())),
        "Disable idle"
    );
    assert_eq!(
        outcome(&decide(&idle("pay", 4), &account(), &rules, now())),
        "Disable idle"
    );
}

/// Returns rules with `DISABLE_ON_ESTIMATE=true`, the behavior of the original autopilot.
fn on_estimates() -> Rules {
    let mut rules = Rules::default();
    rules.guards.disable_on_estimate = true;
    rules
}

#[rstest]
#[case::family_missing(UsageGap::FamilyMissing)]
#[case::partly_unreadable(UsageGap::PartlyUnreadable)]
fn row_11_releases_nothing_if_usage_is_partly_unknown(#[case] gap: UsageGap) {
    let mut snapshot = idle("pay", 4);
    snapshot.usage_gaps[LimitKind::Operations] = Some(gap);
    let decision = decided(&snapshot);
    assert_eq!(outcome(&decision), "Hold metrics_family_missing");
    assert!(decision.reason.contains("operations"), "{}", decision.reason);
    // Scale-ups are not affected.
    let mut raising = throttled("pay");
    raising.usage_gaps[LimitKind::Operations] = Some(gap);
    assert_eq!(outcome(&decided(&raising)), "Enable 6 TRUs throttled");
}

#[test]
fn a_held_namespace_that_is_throttled_is_announced() {
    let snapshot = Snapshot {
        running_operation: Some("op-9".to_owned()),
        ..throttled("pay")
    };
    assert!(decided(&snapshot).announce);
    let quiet = Snapshot {
        running_operation: Some("op-9".to_owned()),
        ..snapshot_quiet()
    };
    assert!(!decided(&quiet).announce);
}

#[rstest]
#[case::our_change_is_running(RequestState::InProgress, true, "Hold change_in_progress", false)]
#[case::a_change_by_others_is_running(RequestState::InProgress, false, "Hold change_in_progress", true)]
#[case::our_change_has_just_ended(RequestState::Completed, true, "Hold waiting_for_effect", false)]
#[case::a_change_by_others_has_just_ended(RequestState::Completed, false, "Hold waiting_for_effect", true)]
fn a_throttled_namespace_that_waits_for_our_own_change_needs_no_attention(
    #[case] state: RequestState,
    #[case] ours: bool,
    #[case] expected: &str,
    #[case] announced: bool,
) {
    let decision = decided(&Snapshot {
        latest_request: Some(request(state, 0, ours)),
        ..throttled("pay")
    });
    assert_eq!(
        (outcome(&decision).as_str(), decision.announce),
        (expected, announced)
    );
}

#[rstest]
#[case::by_our_change(true, false)]
#[case::by_someone_elses_change(false, true)]
fn a_throttled_namespace_that_is_updating_needs_attention_unless_by_our_own_change(
    #[case] ours: bool,
    #[case] announced: bool,
) {
    let decision = decided(&Snapshot {
        inactive_state: Some("updating".to_owned()),
        latest_request: Some(request(RequestState::InProgress, 0, ours)),
        ..throttled("pay")
    });
    assert_eq!(
        (outcome(&decision).as_str(), decision.announce),
        ("Hold namespace_not_active", announced)
    );
}

fn snapshot_quiet() -> Snapshot {
    snapshot("pay", 0)
}

/// Every row takes precedence over all later ones: the first that applies decides.
#[test]
fn the_first_row_that_applies_decides() {
    let mut snapshot = throttled("pay");
    snapshot.inactive_state = Some("suspended".to_owned());
    snapshot.moving_replica = Some(moving(None));
    snapshot.running_operation = Some("op-9".to_owned());
    snapshot.status = ReportedMode::ProvisionedWithoutValue;
    snapshot.usage = ReportedUsage::Missing;
    snapshot.latest_request = Some(request(RequestState::Completed, 1, true));
    snapshot.limits = PerLimit::default();
    let unavailable = AccountView {
        metrics: MetricsHealth::Incomplete {
            problem: MetricsProblem::Incomplete,
            why: "cut".to_owned(),
        },
        ..account()
    };
    let denied = filter(&[], &["*"]);
    let mut told = vec![decide(&snapshot, &unavailable, &denied, now()).reason_code];
    let open = Rules::default();
    let mut next = |snapshot: &Snapshot, account: &AccountView| {
        told.push(decide(snapshot, account, &open, now()).reason_code);
    };
    next(&snapshot, &unavailable);
    snapshot.inactive_state = None;
    next(&snapshot, &unavailable);
    snapshot.moving_replica = None;
    next(&snapshot, &unavailable);
    snapshot.running_operation = None;
    next(&snapshot, &unavailable);
    snapshot.status = ReportedMode::OnDemand;
    next(&snapshot, &unavailable);
    next(&snapshot, &account());
    snapshot.usage = ReportedUsage::Known(UsageWindow::of_one(sample(minutes_ago(9), PerLimit::default())));
    next(&snapshot, &account());
    snapshot.usage = one(used(LimitKind::Actions, 490.0, 70.0));
    next(&snapshot, &account());
    snapshot.latest_request = None;
    next(&snapshot, &account());
    snapshot.limits = on_demand_limits();
    next(&snapshot, &account());
    let expected = [
        Denied,
        NamespaceNotActive,
        ReplicaMoving,
        ChangeInProgress,
        CapacityUnknown,
        MetricsIncomplete,
        MetricsMissing,
        MetricsStale,
        WaitingForEffect,
        LimitsUnknown,
        Throttled,
    ];
    assert_eq!(told, expected);
}

#[test]
fn capacity_info_is_needed_exactly_if_a_change_is_wanted() {
    let wants = |snapshot: &Snapshot| wants_capacity_info(snapshot, &account(), &Rules::default(), now());
    assert!(wants(&throttled("pay")));
    assert!(wants(&idle("pay", 4)));
    assert!(!wants(&snapshot("pay", 0)));
    assert!(!wants(&snapshot("pay", 4)));
    assert!(!wants(&Snapshot {
        limits: PerLimit::default(),
        ..throttled("pay")
    }));
    assert!(!wants(&Snapshot {
        change_refused: Some("refused".to_owned()),
        ..throttled("pay")
    }));
}
