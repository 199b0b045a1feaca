//! Tests of capacity changes: exactly the planned changes are made, even if something fails.

use std::collections::BTreeMap;

use capacity_autopilot::{CarryOut, ChangeOrder, Outcome, Plan, PlanError, Stop};
use cloud_simulator::{Access, Account, Faults, Load, NamespaceSetup, OperationFault, SimulatorOptions};
use jiff::SignedDuration;
use rstest::rstest;

use crate::harness::{World, options, outcomes, results};

/// Returns a cloud whose operations take 0.25 s of real time.
fn quick(account: Account) -> SimulatorOptions {
    SimulatorOptions {
        speed: 20.0,
        operation_lag: SignedDuration::from_secs(2),
        capacity_lag: SignedDuration::from_secs(3),
        check_duration: SignedDuration::from_secs(2),
        ..options(account)
    }
}

fn two_throttled() -> Account {
    let throttled = |name: &str| NamespaceSetup::new(name, Load::Steady(560.0));
    Account::new("a1b2c", vec![throttled("checkout"), throttled("payments")])
}

const POST: &str = "POST /cloud/namespaces/{id}";

const HOW: CarryOut = CarryOut::new();

async fn orders(world: &World) -> Vec<ChangeOrder> {
    let evaluation = world.evaluate().await;
    Plan::of(&evaluation).orders()
}

#[tokio::test]
async fn a_plan_is_carried_out_and_a_second_run_finds_nothing_to_do() {
    let world = World::new(quick(Account::demo())).await;
    let changes = world.apply().await;
    insta::assert_snapshot!(results(&changes).join("\n"), @r"
    analytics.a1b2c 8 -> 0: changed
    checkout.a1b2c 0 -> 6: changed
    orders.a1b2c 4 -> 0: changed
    reports.a1b2c 2 -> 0: changed
    ");
    assert_eq!(changes[0].namespace, "checkout.a1b2c", "raising goes first");
    assert_eq!(world.cloud.incidents(), []);
    world.let_metrics_catch_up();
    let again = world.evaluate().await;
    let changes: Vec<_> = again
        .decisions
        .iter()
        .filter(|judged| judged.decision.action.is_change())
        .collect();
    assert!(changes.is_empty(), "{:?}", outcomes(&again));
}

#[tokio::test]
async fn no_decision_is_made_while_the_metrics_predate_the_change() {
    let world = World::new(quick(two_throttled())).await;
    world.apply().await;
    let outcomes = outcomes(&world.evaluate().await);
    assert_eq!(
        outcomes,
        [
            "checkout: Hold waiting_for_effect",
            "payments: Hold waiting_for_effect"
        ]
    );
}

/// Applies a plan for a thousand namespaces under faults: 10% of requests return 429, 10% return 503 with an
/// HTML page, and 10% of connections are dropped, half of these after the request was processed.
#[tokio::test]
async fn under_faults_the_exact_plan_is_carried_out_and_no_field_is_lost() {
    let mut options = quick(Account::generate(1_000, 0.04, 7));
    options.faults = Faults {
        too_many_requests: 0.1,
        unavailable: 0.1,
        dropped_before: 0.05,
        dropped_after: 0.05,
        ..Faults::default()
    };
    let world = World::new(options).await;
    let before: BTreeMap<String, _> = world
        .cloud
        .namespaces()
        .into_iter()
        .map(|it| (it.id.clone(), it))
        .collect();
    let orders = orders(&world).await;
    assert_eq!(orders.len(), 40);
    let wanted: BTreeMap<String, u32> = orders
        .iter()
        .map(|order| (order.namespace.to_string(), order.to.trus()))
        .collect();
    let changes = world
        .autopilot
        .carry_out(orders, HOW.with_max_concurrent(8), &Stop::new(), |_| ())
        .await;
    let failed: Vec<_> = changes
        .iter()
        .filter(|change| !change.outcome.is_success())
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(world.cloud.incidents(), []);
    assert_eq!(world.cloud.changes().len(), 40, "each once");
    for after in world.cloud.namespaces() {
        let before = &before[&after.id];
        assert_eq!(
            after.trus,
            wanted.get(&after.id).copied().unwrap_or(before.trus),
            "{}",
            after.id
        );
        let others = |spec: &serde_json::Value| {
            let mut spec = spec.clone();
            spec.as_object_mut().expect("an object").remove("capacitySpec");
            spec
        };
        assert_eq!(others(&after.spec), others(&before.spec), "{}", after.id);
    }
    world.cloud.set_faults(Faults::default());
    world.let_metrics_catch_up();
    let again = world.evaluate().await;
    assert!(
        again
            .decisions
            .iter()
            .all(|judged| !judged.decision.action.is_change()),
        "{:?}",
        outcomes(&again)
    );
}

#[tokio::test]
async fn a_namespace_whose_capacity_changed_is_refused_and_the_others_continue() {
    let world = World::new(quick(two_throttled())).await;
    let orders = orders(&world).await;
    assert!(world.cloud.set_capacity_by_others("checkout.a1b2c", 3));
    let changes = world.autopilot.carry_out(orders, HOW, &Stop::new(), |_| ()).await;
    assert_eq!(
        results(&changes),
        ["checkout.a1b2c 0 -> 6: refused", "payments.a1b2c 0 -> 6: changed"]
    );
    let error = changes
        .iter()
        .find_map(|change| change.error.as_deref())
        .expect("a reason");
    assert!(
        error.contains("it had on-demand when the decision was made, and now has 3 TRUs"),
        "{error}"
    );
    assert_eq!(world.cloud.namespace("checkout.a1b2c").map(|it| it.trus), Some(3));
}

#[rstest]
#[case::re_evaluated(false, "checkout.a1b2c 0 -> 6: changed")]
#[case::a_saved_plan_is_refused(true, "checkout.a1b2c 0 -> 6: refused")]
#[tokio::test]
async fn an_edited_namespace_is_re_evaluated(#[case] refuse_moved: bool, #[case] expected: &str) {
    let world = World::new(quick(two_throttled())).await;
    let orders = orders(&world).await;
    world
        .cloud
        .edit_spec_by_others("checkout.a1b2c", "retentionDays", serde_json::json!(90));
    let changes = world
        .autopilot
        .carry_out(orders, HOW.with_refuse_moved(refuse_moved), &Stop::new(), |_| ())
        .await;
    assert_eq!(results(&changes), [expected, "payments.a1b2c 0 -> 6: changed"]);
    let spec = world.cloud.namespace("checkout.a1b2c").expect("there").spec;
    assert_eq!(spec["retentionDays"], 90, "the other edit is kept");
}

#[rstest]
#[case::failed(OperationFault::Failed, "the operation failed: simulated")]
#[case::rejected(OperationFault::Rejected, "the operation was rejected: simulated")]
#[case::canceled(OperationFault::Cancelled, "the operation was canceled: simulated")]
#[tokio::test]
async fn an_unsuccessful_operation_is_reported(#[case] operations: OperationFault, #[case] expected: &str) {
    let mut options = quick(two_throttled());
    options.faults.operations = operations;
    let world = World::new(options).await;
    let changes = world.apply().await;
    assert_eq!(changes.len(), 2, "one failure never stops another change");
    for change in &changes {
        assert_eq!(
            (change.outcome, change.error.as_deref()),
            (Outcome::Failed, Some(expected))
        );
    }
    assert_eq!(world.cloud.changes(), []);
}

/// After a failed request, the spec already contains the requested capacity, so the service reports that there is
/// nothing to change, although the capacity in effect is still the old one.
#[tokio::test]
async fn a_change_that_the_service_considers_done_but_that_is_not_in_effect_is_stuck() {
    let mut options = quick(two_throttled());
    options.faults.operations = OperationFault::Failed;
    let world = World::new(options).await;
    world.apply().await;
    world.cloud.set_faults(Faults::default());
    let changes = world.apply().await;
    assert_eq!(
        results(&changes),
        ["checkout.a1b2c 0 -> 6: stuck", "payments.a1b2c 0 -> 6: stuck"]
    );
    let error = changes[0].error.as_deref().expect("a remedy");
    assert!(error.contains("set 6 TRUs once manually"), "{error}");
}

#[tokio::test]
async fn a_namespace_the_key_may_not_change_is_reported_and_then_held() {
    let mut account = two_throttled();
    account.namespaces[0].access = Access::Read;
    let world = World::new(quick(account)).await;
    let changes = world.apply().await;
    assert_eq!(
        results(&changes),
        [
            "checkout.a1b2c 0 -> 6: not_permitted",
            "payments.a1b2c 0 -> 6: changed"
        ]
    );
    let error = changes
        .iter()
        .find_map(|change| change.error.as_deref())
        .expect("a remedy");
    assert!(error.contains("Namespace Admin"), "{error}");
    assert_eq!(
        outcomes(&world.evaluate().await)[0],
        "checkout: Hold not_permitted"
    );
}

#[tokio::test]
async fn a_stopped_run_starts_no_change_and_says_so() {
    let world = World::new(quick(two_throttled())).await;
    let orders = orders(&world).await;
    let stop = Stop::new();
    stop.now("interrupted");
    let changes = world.autopilot.carry_out(orders, HOW, &stop, |_| ()).await;
    assert!(
        changes.iter().all(|change| change.outcome == Outcome::NotStarted),
        "{changes:?}"
    );
    assert_eq!(world.cloud.requests().get(POST), None);
}

#[tokio::test]
async fn a_run_stopped_midway_reports_the_changes_in_progress() {
    let mut options = quick(two_throttled());
    options.operation_lag = SignedDuration::from_hours(1);
    let world = World::new(options).await;
    let orders = orders(&world).await;
    let stop = Stop::new();
    let halt = async {
        while !world.cloud.requests().contains_key(POST) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        stop.now("interrupted");
    };
    let (changes, ()) = tokio::join!(world.autopilot.carry_out(orders, HOW, &stop, |_| ()), halt);
    let outcomes: Vec<Outcome> = changes.iter().map(|change| change.outcome).collect();
    assert_eq!(outcomes, [Outcome::InProgress, Outcome::NotStarted]);
}

#[tokio::test]
async fn an_unexpected_spec_change_stops_all_changes_that_have_not_started() {
    let mut options = quick(two_throttled());
    options.operation_lag = SignedDuration::from_secs(10);
    let world = World::new(options).await;
    let orders = orders(&world).await;
    let first = orders[0].namespace.to_string();
    let meddle = async {
        while !world.cloud.requests().contains_key(POST) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        world
            .cloud
            .edit_spec_by_others(&first, "apiKeyAuth", serde_json::json!({ "enabled": false }));
    };
    let stop = Stop::new();
    let (changes, ()) = tokio::join!(world.autopilot.carry_out(orders, HOW, &stop, |_| ()), meddle);
    assert_eq!(
        (changes[0].outcome, changes[0].spec_differences.clone()),
        (Outcome::Changed, vec!["apiKeyAuth".to_owned()])
    );
    assert_eq!(changes[1].outcome, Outcome::NotStarted);
    let error = changes[1].error.as_deref().expect("a reason");
    assert!(error.contains("apiKeyAuth"), "{error}");
}

#[tokio::test]
async fn a_repeated_change_finds_its_own_operation_and_waits_for_it() {
    let world = World::new(quick(two_throttled())).await;
    let orders = orders(&world).await;
    let (first, second) = (vec![orders[0].clone()], vec![orders[0].clone()]);
    let stop = Stop::new();
    let (one, other) = tokio::join!(
        world.autopilot.carry_out(first, HOW, &stop, |_| ()),
        world.autopilot.carry_out(second, HOW, &stop, |_| ()),
    );
    assert!(
        one[0].outcome.is_success() && other[0].outcome.is_success(),
        "{one:?} {other:?}"
    );
    assert_eq!(world.cloud.changes().len(), 1);
}

#[tokio::test]
async fn an_outdated_decision_is_re_evaluated_and_dropped_if_it_differs() {
    let mut options = quick(two_throttled());
    options.speed = 0.0;
    options.operation_lag = SignedDuration::ZERO;
    options.capacity_lag = SignedDuration::ZERO;
    let world = World::new(options).await;
    let mut orders = orders(&world).await;
    orders[0].sample_minute = orders[0]
        .sample_minute
        .map(|minute| minute - SignedDuration::from_mins(10));
    world.cloud.set_faults(Faults {
        metrics: cloud_simulator::MetricsFault::Limited,
        ..Faults::default()
    });
    let changes = world.autopilot.carry_out(orders, HOW, &Stop::new(), |_| ()).await;
    let outcomes: Vec<Outcome> = changes.iter().map(|change| change.outcome).collect();
    assert_eq!(outcomes, [Outcome::Refused, Outcome::Changed]);
    let error = changes[0].error.as_deref().expect("a reason");
    assert!(
        error.contains("the metrics behind the decision are now too old; the new decision is ["),
        "{error}"
    );
}

#[tokio::test]
async fn a_saved_plan_has_the_same_orders_and_edits_and_age_are_detected() {
    let world = World::new(quick(Account::demo())).await;
    let evaluation = world.evaluate().await;
    let plan = Plan::of(&evaluation);
    let saved = plan.to_saved();
    let read = Plan::from_saved(&saved).expect("a plan");
    assert_eq!(
        read.saved_orders(evaluation.account.at).expect("orders"),
        plan.orders()
    );

    let edited = saved.replace("\"wanted_trus\": 6", "\"wanted_trus\": 8");
    assert_ne!(edited, saved);
    assert!(matches!(Plan::from_saved(&edited), Err(PlanError::Edited)));
    assert!(matches!(
        Plan::from_saved(&saved[..saved.len() / 2]),
        Err(PlanError::NotAPlan(_))
    ));
    assert!(matches!(
        Plan::from_saved("{\"schema\":\"temporal-capacity/plan/v9\"}"),
        Err(PlanError::Schema(_))
    ));
    let later = |minutes| evaluation.account.at + SignedDuration::from_mins(minutes);
    assert!(read.saved_orders(later(15)).is_ok());
    assert!(matches!(
        read.saved_orders(later(16)),
        Err(PlanError::TooOld { .. })
    ));
    assert!(matches!(
        read.saved_orders(later(-2)),
        Err(PlanError::FromTheFuture { .. })
    ));
}
