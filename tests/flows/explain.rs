//! Every decision of the simulator's default world, explained: the change of one input that is named really changes the decision.

use capacity_autopilot::{EvaluationRequest, Scope};
use capacity_engine::explain::{Flip, Inputs, explain};
use capacity_engine::{Action, Decision, Policy, ReasonCode};
use cloud_simulator::{Account, SimulatorOptions};
use rstest::rstest;

use crate::harness::{World, on_estimates, options};

/// What people see change.
fn outcome(decision: &Decision) -> (Action, Option<u32>, Option<u32>, ReasonCode) {
    let trus = |capacity: Option<capacity_engine::Capacity>| capacity.map(capacity_engine::Capacity::trus);
    (
        decision.action,
        trus(decision.wanted),
        trus(decision.blocked),
        decision.reason_code,
    )
}

/// How many parts of the inputs differ: the namespace, the account, the rules.
fn changed_parts(inputs: &Inputs, flip: &Flip) -> usize {
    let settings = |inputs: &Inputs| format!("{:?}", inputs.policy);
    [
        inputs.snapshot != flip.inputs.snapshot,
        inputs.account != flip.inputs.account,
        settings(inputs) != settings(&flip.inputs),
        inputs.now != flip.inputs.now,
    ]
    .into_iter()
    .filter(|differs| *differs)
    .count()
}

#[rstest]
#[case::by_default(Policy::default())]
#[case::releasing_on_estimates(on_estimates())]
#[tokio::test]
async fn every_decision_of_the_demo_has_a_flip_that_flips(#[case] policy: Policy) {
    let options = SimulatorOptions {
        speed: 0.0,
        ..options(Account::demo())
    };
    let world = World::with_policy(options, policy).await;
    let decided = world.evaluate().await;
    let request = EvaluationRequest::of(Scope::All);
    let inputs = world
        .autopilot
        .observe(&request, &|_| ())
        .await
        .expect("observed")
        .inputs();
    assert_eq!(inputs.len(), 12);
    // What a decision rests on can be stored, and decided again.
    let stored = serde_json::to_string(&inputs).expect("every part can be stored");
    let restored: Vec<Inputs> = serde_json::from_str(&stored).expect("what was stored can be read");
    for (inputs, restored) in inputs.iter().zip(&restored) {
        assert_eq!(inputs.decide(), restored.decide());
    }
    for (inputs, judged) in inputs.iter().zip(&decided.decisions) {
        let name = &judged.decision.namespace;
        let explanation = explain(inputs);
        // It is the engine's own decision, the one that a plan shows.
        assert_eq!(
            outcome(&explanation.decision),
            outcome(&judged.decision),
            "{name}"
        );
        assert_eq!(explanation.decision.reason, judged.decision.reason);
        let chosen = explanation.options.iter().filter(|option| option.chosen).count();
        assert_eq!(chosen, 1, "{name}: {:?}", explanation.options);
        assert!(
            explanation.options.len() >= 8,
            "{name}: on-demand and seven sizes"
        );
        assert!(
            explanation
                .options
                .iter()
                .all(|option| !option.verdict.is_empty())
        );
        let smallest = explanation
            .flips
            .first()
            .unwrap_or_else(|| panic!("{name} has no flip"));
        assert!(smallest.is_observed, "{name}: {}", smallest.input);
        for flip in &explanation.flips {
            let again = flip.inputs.decide();
            let what = format!("{name}: {} {} -> {}", flip.input, flip.from, flip.to);
            assert_ne!(outcome(&again), outcome(&judged.decision), "{what}");
            assert_eq!(outcome(&again), outcome(&flip.becomes), "{what}");
            assert_eq!(changed_parts(inputs, flip), 1, "{what}");
            assert_ne!(flip.from, flip.to, "{what}");
        }
    }
}

#[tokio::test]
async fn the_smallest_changes_of_the_demo() {
    // The load of the demo's namespaces depends on the time of day.
    let options = SimulatorOptions {
        speed: 0.0,
        start: "2026-11-20T10:41:30Z".parse().expect("a time"),
        ..options(Account::demo())
    };
    let world = World::new(options).await;
    let request = EvaluationRequest::of(Scope::All);
    let inputs = world
        .autopilot
        .observe(&request, &|_| ())
        .await
        .expect("observed")
        .inputs();
    let lines = inputs.iter().map(|inputs| {
        let explanation = explain(inputs);
        let flip = &explanation.flips[0];
        format!(
            "{} {} (row {}): {} -> {}: {}",
            inputs.snapshot.namespace.name(),
            explanation.decision.action,
            explanation.row.number,
            flip.input,
            flip.to,
            flip.becomes.action
        )
    });
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @r"
    analytics Disable (row 11): actions throttled in the newest minute -> 0.001/s: Keep
    batch-legacy Hold (row 13): actions throttled in the newest minute -> 0.001/s: Keep
    checkout Enable 6 TRUs (row 11): TRUs that the region can provide -> 1: Hold
    crm-sync Keep (row 11): actions throttled in the newest minute -> 0.001/s: Enable 6 TRUs
    data-import Keep (row 11): actions throttled in the newest minute -> 0.001/s: Enable 6 TRUs
    fulfilment Keep (row 11): actions of the last hour -> 99: Hold
    ledger-eu Hold (row 3): replicas -> all active: Keep
    media-transcode Keep (row 11): actions throttled in the newest minute -> 0/s: Keep
    notifications Keep (row 11): actions throttled in the newest minute -> 0.001/s: Enable 6 TRUs
    orders Disable (row 11): actions throttled in the newest minute -> 0.001/s: Keep
    reports Disable (row 11): actions throttled in the newest minute -> 0.001/s: Keep
    staging Keep (row 11): actions throttled in the newest minute -> 0.001/s: Enable 6 TRUs
    ");
}
