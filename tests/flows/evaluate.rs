//! Tests of observing and deciding.

use capacity_autopilot::Warning;
use capacity_engine::LimitKind;
use cloud_simulator::{Account, Faults, Load, MetricsFault, NamespaceSetup, SimulatorOptions};
use jiff::SignedDuration;
use rstest::rstest;

use crate::harness::{World, listed, options, outcomes};

fn stopped(account: Account) -> SimulatorOptions {
    SimulatorOptions {
        speed: 0.0,
        ..options(account)
    }
}

#[tokio::test]
async fn every_namespace_of_the_demo_gets_its_decision() {
    let world = World::new(stopped(Account::demo())).await;
    let evaluation = world.evaluate().await;
    insta::assert_snapshot!(outcomes(&evaluation).join("\n"), @r"
    analytics: Disable idle
    batch-legacy: Hold set_by_support
    checkout: Enable 6 TRUs throttled
    crm-sync: Keep quiet
    data-import: Keep quiet
    fulfillment: Keep in_use
    ledger-eu: Hold replica_moving
    media-transcode: Keep throttled_while_provisioned
    notifications: Keep quiet
    orders: Disable idle
    reports: Disable idle
    staging: Keep idle_on_demand
    ");
    assert_eq!(evaluation.account.id.as_deref(), Some("a1b2c"));
    assert_eq!(
        (
            evaluation.account.ops_requests,
            evaluation.account.metrics_requests
        ),
        (6, 2)
    );
    assert!(evaluation.metrics_unavailable.is_none());
    assert!(
        evaluation.account.warnings.is_empty(),
        "{:?}",
        evaluation.account.warnings
    );
}

#[rstest]
#[case::limited(MetricsFault::Limited)]
#[case::unknown(MetricsFault::Unknown)]
#[case::undeclared(MetricsFault::Undeclared)]
#[case::cut_in_a_line(MetricsFault::CutInALine)]
#[case::not_metrics(MetricsFault::NotMetrics)]
#[case::stale(MetricsFault::Stale(SignedDuration::from_mins(5)))]
#[tokio::test]
async fn an_account_without_usable_metrics_changes_nothing(#[case] metrics: MetricsFault) {
    let mut options = stopped(Account::demo());
    options.faults.metrics = metrics;
    let world = World::new(options).await;
    let evaluation = world.evaluate().await;
    assert!(evaluation.metrics_unavailable.is_some());
    assert!(
        evaluation
            .decisions
            .iter()
            .all(|judged| !judged.decision.action.is_change())
    );
    world.cloud.set_faults(Faults::default());
    assert!(world.evaluate().await.metrics_unavailable.is_none());
}

#[tokio::test]
async fn a_document_truncated_at_a_line_end_is_detected_after_a_complete_one() {
    let world = World::new(stopped(Account::demo())).await;
    world.evaluate().await;
    world.cloud.set_faults(Faults {
        metrics: MetricsFault::CutAtALineEnd,
        ..Faults::default()
    });
    assert!(world.evaluate().await.metrics_unavailable.is_some());
}

#[tokio::test]
async fn a_missing_family_prevents_releases_and_is_reported() {
    let mut options = stopped(Account::demo());
    options.faults.missing_family = Some("temporal_cloud_v1_operations_count".to_owned());
    let world = World::new(options).await;
    let evaluation = world.evaluate().await;
    let outcomes = outcomes(&evaluation);
    assert!(
        outcomes.contains(&"analytics: Hold metrics_family_missing".to_owned()),
        "{outcomes:?}"
    );
    assert!(
        outcomes.contains(&"checkout: Enable 6 TRUs throttled".to_owned()),
        "{outcomes:?}"
    );
    assert!(
        evaluation
            .account
            .warnings
            .contains(&Warning::FamilyMissing(LimitKind::Operations)),
        "{:?}",
        evaluation.account.warnings
    );
}

#[rstest]
#[case::ahead(SignedDuration::from_hours(5))]
#[case::behind(SignedDuration::from_hours(-5))]
#[tokio::test]
async fn a_wrong_clock_is_corrected_and_a_simulated_clock_causes_no_warning(#[case] off: SignedDuration) {
    // The cloud's clock is in a different hour than this machine's.
    let mut options = stopped(Account::demo());
    options.start = options.start.checked_add(off).expect("in range");
    let world = World::new(options).await;
    let evaluation = world.evaluate().await;
    assert!(evaluation.metrics_unavailable.is_none());
    assert!(
        evaluation.account.warnings.is_empty(),
        "{:?}",
        evaluation.account.warnings
    );
}

#[tokio::test]
async fn filters_that_match_nothing_are_reported() {
    let world = World::with_rules(
        stopped(Account::demo()),
        listed(&["check*", "ghost"], &["phantom"]),
    )
    .await;
    let evaluation = world.evaluate().await;
    let outcomes = outcomes(&evaluation);
    assert!(
        outcomes.contains(&"orders: Skip not_allowed".to_owned()),
        "{outcomes:?}"
    );
    assert!(
        outcomes.contains(&"checkout: Enable 6 TRUs throttled".to_owned()),
        "{outcomes:?}"
    );
    let warnings = evaluation.account.warnings.iter().map(ToString::to_string);
    insta::assert_snapshot!(warnings.collect::<Vec<_>>().join("\n"), @r"
    NAMESPACE_ALLOWLIST: `ghost` matches no namespace of the account; is it misspelled?
    NAMESPACE_DENYLIST: `phantom` matches no namespace of the account; is it misspelled?
    ");
}

#[tokio::test]
async fn namespaces_missing_from_one_api_are_held_or_reported() {
    let mut account = Account::new("a1b2c", vec![NamespaceSetup::new("seen", Load::Steady(3.0))]);
    let mut hidden = NamespaceSetup::new("hidden", Load::Steady(3.0));
    hidden.access = cloud_simulator::Access::None;
    account.namespaces.push(hidden);
    let world = World::new(stopped(account)).await;
    let evaluation = world.evaluate().await;
    assert_eq!(outcomes(&evaluation), ["seen: Keep quiet"]);
    assert!(
        evaluation.account.warnings[0]
            .to_string()
            .contains("hidden.a1b2c"),
        "{:?}",
        evaluation.account.warnings
    );
}

#[tokio::test]
async fn a_list_that_cannot_be_read_fails_the_evaluation() {
    let mut options = stopped(Account::demo());
    options.ops_key_expires = options.start;
    let world = World::new(options).await;
    let error = world
        .autopilot
        .evaluate(&capacity_autopilot::Scope::All)
        .await
        .expect_err("no list");
    let text = human_text::chain(&error);
    assert!(
        text.contains("no decisions were made") && text.contains("the API key is expired"),
        "{text}"
    );
}

/// A new namespace returns 403 for its first minute, which must affect only that namespace.
#[tokio::test]
async fn only_the_namespace_whose_capacity_info_is_refused_is_held() {
    let throttled = |name: &str| NamespaceSetup::new(name, Load::Steady(560.0));
    let world = World::new(stopped(Account::new("a1b2c", vec![throttled("known")]))).await;
    world.cloud.add_namespace(throttled("young"));
    // Enough time for the metrics to appear, while the API still returns 403.
    world.cloud.advance(SignedDuration::from_secs(59));
    let outcomes = outcomes(&world.evaluate().await);
    assert_eq!(outcomes[0], "known: Enable 6 TRUs throttled");
    assert!(outcomes[1].starts_with("young: Hold"), "{outcomes:?}");
}
