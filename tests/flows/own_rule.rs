//! Tests of an embedder's own rules, and of a read-only autopilot.

use capacity_autopilot::{CarryOut, EvaluationRequest, Plan, Scope, Stop};
use capacity_engine::{Action, Capacity, PolicyTarget, ReasonCode};
use cloud_simulator::{Account, Load, NamespaceSetup};

use crate::harness::{World, options, results};

/// Returns two busy namespaces without throttling, so that no built-in policy requests a change.
async fn world() -> World {
    let busy = |name: &str| NamespaceSetup::new(name, Load::Steady(300.0));
    World::new(options(Account::new("a1b2c", vec![busy("orders"), busy("pay")]))).await
}

const HOW: CarryOut = CarryOut::new().with_refuse_moved(true);

#[tokio::test]
async fn a_custom_target_is_judged_planned_and_carried_out() {
    let world = world().await;
    let request = EvaluationRequest::of(Scope::All);
    let observed = world
        .autopilot
        .observe(&request, &|_| ())
        .await
        .expect("observed");
    assert!(
        observed.decide().iter().all(|it| it.action == Action::Keep),
        "{:?}",
        observed.decide()
    );
    // Always 5 TRUs for orders: the next available size is 6.
    let decisions = observed.judge(|view| {
        if view.snapshot.namespace.name() == "orders" {
            PolicyTarget::change(
                Capacity::from_trus(5),
                ReasonCode::PolicyTarget,
                "a launch is near",
            )
        } else {
            PolicyTarget::keep(ReasonCode::PolicyTarget, "not ours")
        }
    });
    let lines: Vec<String> = decisions.iter().map(ToString::to_string).collect();
    assert!(
        lines[0].starts_with("[orders.a1b2c] Enable 6 TRUs: a launch is near"),
        "{lines:#?}"
    );
    assert_eq!(lines[1], "[pay.a1b2c] Keep: not ours");
    let evaluation = observed.evaluation(decisions);
    let orders = Plan::of(&evaluation).orders();
    let changes = world.autopilot.carry_out(orders, HOW, &Stop::new(), |_| ()).await;
    assert_eq!(results(&changes), ["orders.a1b2c 0 -> 6: changed"]);
}

#[tokio::test]
async fn a_read_only_autopilot_decides_and_sends_no_change() {
    let World { cloud, autopilot } = world().await;
    let autopilot = autopilot.read_only();
    let request = EvaluationRequest::of(Scope::All);
    let observed = autopilot.observe(&request, &|_| ()).await.expect("observed");
    let to = Capacity::from_trus(4);
    let decisions =
        observed.judge(|_| PolicyTarget::change(to, ReasonCode::PolicyTarget, "a launch is near"));
    let evaluation = observed.evaluation(decisions);
    let orders = Plan::of(&evaluation).orders();
    assert_eq!(orders.len(), 2);
    let changes = autopilot.carry_out(orders, HOW, &Stop::new(), |_| ()).await;
    for change in &changes {
        let error = change.error.as_deref().unwrap_or_default();
        assert!(error.contains("this client is read-only"), "{change:?}");
    }
    assert!(cloud.namespaces().iter().all(|it| it.trus == 0));
}
