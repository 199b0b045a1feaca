//! Tests that the published JSON schema matches the plan document, and that real plans conform to it.

use capacity_autopilot::{Autopilot, AutopilotSettings, CarryOut, Plan, Scope, Stop};
use capacity_engine::Rules;
use cloud_simulator::{Account, SimulatorOptions};
use jiff::SignedDuration;
use serde_json::Value;

fn published() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/plan.schema.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("the schema")).expect("JSON")
}

#[test]
fn the_published_schema_is_up_to_date() {
    let present = serde_json::to_value(schemars::schema_for!(Plan)).expect("JSON");
    assert_eq!(
        published(),
        present,
        "write it again: cargo run -p capacity-examples --example plan_schema > docs/plan.schema.json"
    );
}

#[tokio::test]
async fn plans_saved_plans_and_applied_plans_match_the_schema() {
    let mut options = SimulatorOptions::new(Account::demo());
    options.speed = 20.0;
    options.operation_lag = SignedDuration::from_secs(1);
    options.capacity_lag = SignedDuration::from_secs(1);
    options.check_duration = SignedDuration::from_secs(1);
    let cloud = cloud_simulator::start(options).await.expect("started");
    let ops = cloud_ops_client::Config::try_new(&cloud.ops_url(), cloud.ops_key().into()).expect("valid");
    let metrics =
        openmetrics_reader::scrape::Config::try_new(&cloud.metrics_url(), cloud.metrics_key().into())
            .expect("valid");
    let mut rules = Rules::default();
    rules.guards.disable_on_estimate = true;
    let settings = AutopilotSettings::new(rules);
    let autopilot = Autopilot::new(
        cloud_ops_client::Client::new(ops),
        openmetrics_reader::scrape::Scraper::new(metrics),
        settings,
    );
    let evaluation = autopilot.evaluate(&Scope::All).await.expect("evaluated");
    let mut plan = Plan::of(&evaluation);
    let validator = jsonschema::validator_for(&published()).expect("a schema");
    let fits = |document: &Value| {
        let errors: Vec<String> = validator
            .iter_errors(document)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:?}");
    };
    fits(&serde_json::to_value(&plan).expect("JSON"));
    fits(&serde_json::from_str(&plan.to_saved()).expect("JSON"));
    let how = CarryOut::new();
    plan.changes = Some(
        autopilot
            .carry_out(plan.orders(), how, &Stop::new(), |_| ())
            .await,
    );
    let applied = serde_json::to_value(&plan).expect("JSON");
    fits(&applied);
    assert_eq!(applied["changes"].as_array().map(Vec::len), Some(4));

    let mut broken = applied.clone();
    broken["decisions"][0]["action"] = "Raise".into();
    assert!(!validator.is_valid(&broken), "the schema can reject a plan");
}

/// Saved plans and the inputs in the ledger have the same format.
#[test]
fn a_plan_saved_by_an_older_release_leads_to_the_same_decisions() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/plans/saved-0.1.0.json");
    let saved = std::fs::read_to_string(path).expect("the fixture");
    let plan = Plan::from_saved(&saved).expect("reads");
    let orders = plan.saved_orders(plan.evaluated_at).expect("orders");
    let changes: Vec<String> = orders
        .iter()
        .map(|order| format!("{}: {} -> {}", order.namespace.name(), order.from, order.to))
        .collect();
    assert_eq!(
        changes,
        ["checkout: on-demand -> 6 TRUs", "orders: 4 TRUs -> on-demand"]
    );
    for planned in &plan.decisions {
        let inputs = plan
            .inputs_of(&planned.namespace)
            .expect("readable")
            .expect("saved");
        let decision = inputs.decide();
        assert_eq!(
            (decision.reason_code.as_str(), &decision.reason),
            (planned.reason_code.as_str(), &planned.reason)
        );
    }
}
