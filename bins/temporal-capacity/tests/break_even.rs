//! Tests of `POLICY=break-even` from the command line: settings it requires, plan, apply, and stored state.

mod world;

use cloud_simulator::{Account, Load, NamespaceSetup};
use serde_json::Value;
use world::{World, errors, options, output};

/// Returns a throttled on-demand namespace and an idle provisioned one, at minute 55.
fn world() -> World {
    let account = Account::new(
        "a1b2c",
        vec![
            NamespaceSetup::new("checkout", Load::Steady(700.0)),
            NamespaceSetup::new("orders", Load::Steady(0.01)).with_trus(4),
        ],
    );
    World::new(cloud_simulator::SimulatorOptions {
        account,
        start: "2026-11-20T08:55:02Z".parse().expect("a time"),
        // The past hour of data. A minute takes twelve seconds.
        past_minutes: 75,
        speed: 5.0,
        ..options()
    })
}

#[test]
fn break_even_is_refused_without_a_ledger_or_prometheus() {
    let world = world();
    let refused = world
        .command(&["plan"])
        .env("POLICY", "break-even")
        .assert()
        .code(1);
    let text = errors(&refused);
    assert!(
        text.contains("set LEDGER_URL (for example LEDGER_URL=ledger.db)"),
        "{text}"
    );
    assert!(text.contains("or METRICS_SOURCE=prometheus"), "{text}");
}

#[test]
fn break_even_plans_and_applies_and_only_apply_stores_state() {
    let world = world();
    let run = |arguments: &[&str]| {
        world
            .command(arguments)
            .env("POLICY", "break-even")
            .env("LEDGER_URL", "ledger.db")
            .env("METRICS_SOURCE", "prometheus")
            .env("PROMETHEUS_URL", world.cloud.prometheus_url())
            .assert()
            .code(0)
    };
    let rows = |table: &str| output(&run(&["ledger", "export", table])).lines().count() - 1;
    let plan: Value =
        serde_json::from_str(&output(&run(&["plan", "-o", "json"]))).expect("one JSON document");
    let decision = |name: &str| {
        let decisions = plan["decisions"].as_array().expect("decisions").iter();
        let mut found = decisions.filter(|it| it["namespace"] == name);
        found.next().expect("decided").clone()
    };
    let checkout = decision("checkout.a1b2c");
    assert_eq!(checkout["action"], "Enable", "{checkout}");
    assert_eq!(checkout["reason_code"], "waiting_costs_more");
    let reason = checkout["reason"].as_str().unwrap_or_default();
    assert!(
        reason.starts_with("throttled in 10 of the last 10 min, "),
        "{reason}"
    );
    let orders = decision("orders.a1b2c");
    assert_eq!(
        (&orders["action"], &orders["reason_code"]),
        (&"Disable".into(), &"not_worth_keeping".into()),
        "{orders}"
    );
    let applied = output(&run(&["apply", "--yes"]));
    assert!(applied.contains("changed"), "{applied}");
    let trus = |name: &str| world.cloud.namespace(name).expect("listed").trus;
    assert!(trus("checkout.a1b2c") >= 2);
    assert_eq!(trus("orders.a1b2c"), 0);
    // One namespace exceeded its envelope in the hour that was ending, and the other was provisioned.
    assert_eq!(rows("policy-state"), 2);
    assert!(rows("policy-decisions") >= 2);
    let before = output(&run(&["ledger", "export", "policy-state"]));
    run(&["plan"]);
    assert_eq!(output(&run(&["ledger", "export", "policy-state"])), before);
}
