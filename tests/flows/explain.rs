//! Tests that explain every decision about the simulator's default account, and check that the reported change of
//! one input really changes the decision.

use capacity_autopilot::{
    Clock, EvaluationRequest, LedgerHandle, Plan, PlanError, Sampler, Scope, assume_documented_sizes,
    decision_in_ledger, record_evaluation, record_policies,
};
use capacity_engine::break_even::Parameters;
use capacity_engine::explain::{Flip, Inputs, explain};
use capacity_engine::{Action, CapacityInfo, Decision, PolicyRef, ReasonCode, Rules};
use capacity_ledger::{Ledger, Location};
use cloud_simulator::{Account, SimulatorOptions};
use jiff::SignedDuration;
use rstest::rstest;

use crate::harness::{World, autopilot_within, on_estimates, options};

/// Returns the parts of a decision that are visible to users.
fn outcome(decision: &Decision) -> (Action, Option<u32>, Option<u32>, ReasonCode) {
    let trus = |capacity: Option<capacity_engine::Capacity>| capacity.map(capacity_engine::Capacity::trus);
    (
        decision.action,
        trus(decision.wanted),
        trus(decision.blocked),
        decision.reason_code,
    )
}

/// Returns how many parts of the inputs differ: namespace, account, rules.
fn changed_parts(inputs: &Inputs, flip: &Flip) -> usize {
    let settings = |inputs: &Inputs| format!("{:?}", inputs.rules);
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
#[case::by_default(Rules::default())]
#[case::releasing_on_estimates(on_estimates())]
#[tokio::test]
async fn every_decision_of_the_demo_has_a_flip_that_works(#[case] rules: Rules) {
    let options = SimulatorOptions {
        speed: 0.0,
        ..options(Account::demo())
    };
    let world = World::with_rules(options, rules).await;
    let decided = world.evaluate().await;
    let request = EvaluationRequest::of(Scope::All);
    let inputs = world
        .autopilot
        .observe(&request, &|_| ())
        .await
        .expect("observed")
        .inputs();
    assert_eq!(inputs.len(), 12);
    // The inputs of a decision can be stored and evaluated again.
    let stored = serde_json::to_string(&inputs).expect("every part can be stored");
    let restored: Vec<Inputs> = serde_json::from_str(&stored).expect("stored inputs can be read");
    for (inputs, restored) in inputs.iter().zip(&restored) {
        assert_eq!(inputs.decide(), restored.decide());
    }
    for (inputs, judged) in inputs.iter().zip(&decided.decisions) {
        let name = &judged.decision.namespace;
        let explanation = explain(inputs);
        // The explained decision is the engine's own, as shown in a plan.
        assert_eq!(
            outcome(&explanation.decision),
            outcome(&judged.decision),
            "{name}"
        );
        assert_eq!(explanation.decision.reason, judged.decision.reason);
        let chosen = explanation
            .decision
            .options
            .iter()
            .filter(|option| option.chosen)
            .count();
        assert_eq!(chosen, 1, "{name}: {:?}", explanation.decision.options);
        assert!(
            explanation.decision.options.len() >= 8,
            "{name}: on-demand and seven sizes"
        );
        assert!(
            explanation
                .decision
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
    fulfillment Keep (row 11): actions of the last hour -> 99: Hold
    ledger-eu Hold (row 3): replicas -> all active: Keep
    media-transcode Keep (row 11): actions throttled in the newest minute -> 0/s: Keep
    notifications Keep (row 11): actions throttled in the newest minute -> 0.001/s: Enable 6 TRUs
    orders Disable (row 11): actions throttled in the newest minute -> 0.001/s: Keep
    reports Disable (row 11): actions throttled in the newest minute -> 0.001/s: Keep
    staging Keep (row 11): actions throttled in the newest minute -> 0.001/s: Enable 6 TRUs
    ");
}

fn break_even() -> Rules {
    let parameters = Parameters::parse("delay_value=0.5,max_trus=10").expect("valid");
    on_estimates()
        .with_policy(PolicyRef::break_even(parameters))
        .with_shadow(PolicyRef::default())
}

#[rstest]
#[case::threshold(on_estimates())]
#[case::break_even(break_even())]
#[tokio::test]
async fn a_saved_plan_contains_the_inputs_of_its_decisions(#[case] rules: Rules) {
    let options = SimulatorOptions {
        speed: 0.0,
        ..options(Account::demo())
    };
    let world = World::with_rules(options, rules).await;
    let evaluation = world.evaluate().await;
    let plan = Plan::of(&evaluation);
    assert_eq!(
        plan.inputs_of("checkout.a1b2c")
            .expect("nothing is wrong")
            .map(drop),
        None
    );
    let text = plan.with_inputs(&evaluation).to_saved();
    let plan = Plan::from_saved(&text).expect("a saved plan");
    let policies = plan.policies.as_ref().expect("named");
    assert_eq!(policies.acting.name, evaluation.account.rules.policy.name());
    assert_eq!(
        policies.shadow.is_some(),
        evaluation.account.rules.shadow.is_some()
    );
    if policies.acting.name == "break-even" {
        assert_eq!(policies.acting.parameters["delay_value"], "0.5");
    }
    for judged in &evaluation.decisions {
        let name = judged.decision.namespace.as_str();
        let mut inputs = plan.inputs_of(name).expect("readable").expect("held");
        let expected = evaluation.account.inputs(&judged.observed);
        assert_eq!(inputs.snapshot, expected.snapshot);
        assert_eq!(
            (&inputs.account, &inputs.state),
            (&expected.account, &expected.state)
        );
        assert_eq!(format!("{:?}", inputs.rules), format!("{:?}", expected.rules));
        assert_eq!(inputs.decide(), judged.decision);
        assume_documented_sizes(&mut inputs);
        let explanation = explain(&inputs);
        assert_eq!(
            outcome(&explanation.decision),
            outcome(&judged.decision),
            "{name}"
        );
        assert!(
            explanation.decision.options.len() >= 8,
            "{name}: {:?}",
            explanation.decision.options
        );
        let flip = explanation
            .flips
            .first()
            .unwrap_or_else(|| panic!("{name} has no flip"));
        assert_ne!(
            outcome(&flip.inputs.decide()),
            outcome(&judged.decision),
            "{name}"
        );
    }
    let edited = text
        .replace("delay_value", "let_pass")
        .replace("\"throttled\"", "\"quiet\"");
    assert!(matches!(Plan::from_saved(&edited), Err(PlanError::Edited)));
}

#[tokio::test]
async fn a_recorded_decision_is_explained_with_its_policy_state_and_sizes() {
    let cloud = cloud_simulator::start(SimulatorOptions {
        speed: 0.0,
        start: "2026-11-20T10:41:30Z".parse().expect("a time"),
        ..options(Account::demo())
    })
    .await
    .expect("started");
    let folder = tempfile::tempdir().expect("a folder");
    let location = Location::Sqlite(folder.path().join("ledger.db"));
    let autopilot = autopilot_within(&cloud, break_even(), u32::MAX)
        .with_clock(Clock::running_at(0.0))
        .with_ledger(LedgerHandle::at(location.clone()));
    let mut sampler = Sampler::new(&autopilot);
    let mut evaluations = Vec::new();
    for minute in 0..70 {
        cloud.advance(SignedDuration::from_mins(1));
        assert_eq!(sampler.round().await.problem, None);
        if minute % 20 == 19 {
            let evaluation = autopilot.evaluate(&Scope::All).await.expect("evaluated");
            let plan = Plan::of(&evaluation);
            let ledger = autopilot.ledger().expect("a ledger");
            record_evaluation(ledger, &plan, false, "test")
                .await
                .expect("recorded");
            record_policies(ledger, &plan, &evaluation, true)
                .await
                .expect("recorded");
            evaluations.push(evaluation);
        }
    }
    let ledger = Ledger::open(&location).await.expect("opened");
    let (mut with_state, mut with_sizes) = (0, 0);
    for evaluation in &evaluations {
        for judged in &evaluation.decisions {
            let name = &judged.decision.namespace;
            // The settings of the program that explains may differ from those used for the decision.
            let recalled =
                decision_in_ledger(&ledger, name, Some(evaluation.account.at), &Rules::default()).await;
            let recalled = recalled.expect("read").expect("recorded");
            let wanted_a_change = judged.decision.action.is_change()
                || judged.decision.blocked.is_some()
                || judged.observed.snapshot.capacity_info != CapacityInfo::NotRead;
            if !wanted_a_change {
                assert!(!recalled.assumed.is_empty(), "{name}");
                continue;
            }
            assert_eq!(recalled.inputs.state, judged.observed.state, "{name}");
            assert_eq!(recalled.inputs.rules.policy, evaluation.account.rules.policy);
            assert_eq!(
                recalled.inputs.snapshot.usage, judged.observed.snapshot.usage,
                "{name}"
            );
            assert_eq!(
                outcome(&recalled.inputs.decide()),
                outcome(&judged.decision),
                "{name}"
            );
            if judged.observed.snapshot.capacity_info != CapacityInfo::NotRead {
                assert_eq!(recalled.assumed, Vec::<String>::new(), "{name}");
                assert_eq!(
                    recalled.inputs.snapshot.capacity_info,
                    judged.observed.snapshot.capacity_info
                );
                with_sizes += 1;
            }
            with_state += usize::from(judged.observed.state.is_some());
        }
    }
    assert!(with_state > 0 && with_sizes > 0, "{with_state} {with_sizes}");
}
