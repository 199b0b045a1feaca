//! Tests of the graph and its plans.

use proptest::prelude::*;
use rstest::rstest;

use crate::graph::{Graph, PlanError};
use crate::labels::Dialect;
use crate::provider::Stack;

/// Builds a graph from stacks and labels such as `network app=dependsOn:network+critical`.
fn graph(stacks: &str) -> Graph {
    let stack = |text: &str| {
        let (id, labels) = text.split_once('=').unwrap_or((text, ""));
        let labels = labels
            .split('+')
            .filter(|label| !label.is_empty())
            .map(str::to_owned)
            .collect();
        Stack {
            id: id.to_owned(),
            labels,
            ..Stack::default()
        }
    };
    Graph::of(stacks.split_whitespace().map(stack).collect(), Dialect::Both)
}

fn problems(graph: &Graph) -> String {
    let lines = graph
        .mistakes()
        .iter()
        .map(|it| format!("{} [{}] {}", it.stack, it.label, it.problem));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_plan_reaches_all_dependents_and_waits_for_the_parents_it_reaches() {
    let graph = graph(
        "network vault db=dependsOn:network cache=dependsOn:network app=depends-on:db,cache,vault billing=dependsOn:vault",
    );
    let plan = graph.plan_from("network").expect("a plan");
    let ids: Vec<&str> = plan.stacks.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(ids, ["cache", "db", "app"]);
    assert_eq!(plan.stacks[2].parents, ["cache", "db"]);
    assert_eq!(plan.stacks[2].other_parents, ["vault"]);
    assert_eq!(graph.mistakes(), []);
}

#[test]
fn a_cycle_is_printed_and_its_stacks_are_not_run() {
    let graph = graph("a b=dependsOn:a+dependsOn:d c=dependsOn:b d=dependsOn:c e=dependsOn:a");
    assert!(
        problems(&graph).contains("dependency cycle: b -> c -> d -> b"),
        "{}",
        problems(&graph)
    );
    let plan = graph.plan_from("a").expect("a plan");
    let skipped: Vec<&str> = plan
        .stacks
        .iter()
        .filter(|it| it.skip.is_some())
        .map(|it| it.id.as_str())
        .collect();
    assert_eq!(skipped, ["b", "c", "d"]);
    assert!(plan.notes[0].contains("b -> c -> d -> b"), "{:?}", plan.notes);
}

#[test]
fn a_cycle_through_a_native_dependency_is_found() {
    let stacks = vec![
        Stack {
            id: "a".to_owned(),
            native_parents: vec!["b".to_owned()],
            ..Stack::default()
        },
        Stack {
            id: "b".to_owned(),
            labels: vec!["dependsOn:a".to_owned()],
            ..Stack::default()
        },
    ];
    let graph = Graph::of(stacks, Dialect::Both);
    assert!(
        problems(&graph).contains("dependency cycle: a -> b -> a"),
        "{}",
        problems(&graph)
    );
    let plan = graph.plan_from("a").expect("a plan");
    assert!(
        plan.stacks[0].skip.is_some(),
        "Spacelift would run `a` again, and the chain would never end"
    );
}

#[rstest]
#[case::dangling(
    "app=dependsOn:netwrk network",
    "app [dependsOn:netwrk] stack `netwrk` does not exist"
)]
#[case::suggestion("app=dependsOn:netwrk network", "did you mean `network`?")]
#[case::itself("app=dependsOn:app", "app [dependsOn:app] the stack depends on itself")]
#[case::group(
    "a=chain-group:g b=dependsOn:a c=dependsOn:b+chain-group:g",
    "c [chain-group:g] group `g` cannot start together, because `c` runs after `a`"
)]
fn mistakes_between_stacks_are_reported(#[case] stacks: &str, #[case] expected: &str) {
    let found = problems(&graph(stacks));
    assert!(found.contains(expected), "{found}");
}

#[test]
fn a_dependency_that_spacelift_also_has_is_reported_and_left_to_spacelift() {
    let stacks = vec![
        Stack {
            id: "a".to_owned(),
            ..Stack::default()
        },
        Stack {
            id: "b".to_owned(),
            labels: vec!["dependsOn:a".to_owned()],
            native_parents: vec!["a".to_owned()],
            ..Stack::default()
        },
    ];
    let graph = Graph::of(stacks, Dialect::Both);
    assert!(problems(&graph).contains("b [dependsOn:a] `a` is also a stack dependency in Spacelift"));
    assert_eq!(
        graph.plan_from("a").expect("a plan").stacks,
        [],
        "two runs for one change"
    );
}

#[test]
fn an_unknown_origin_is_reported_with_a_suggestion() {
    let error = graph("network").plan_from("netwrok").expect_err("unknown");
    assert_eq!(
        error,
        PlanError::UnknownStack("netwrok".to_owned(), Some("network".to_owned()))
    );
    assert!(error.to_string().ends_with("did you mean `network`?"));
}

#[test]
fn a_label_that_closes_a_cycle_during_a_chain_is_found() {
    let plan = graph("a b=dependsOn:a c=dependsOn:b d=dependsOn:c")
        .plan_from("a")
        .expect("a plan");
    assert_eq!(
        plan.cycle_with("b", &["d".to_owned()]).as_deref(),
        Some("b -> c -> d -> b")
    );
    assert_eq!(plan.cycle_with("c", &["b".to_owned()]), None);
}

#[test]
fn a_chain_that_runs_its_origin_plans_it_first() {
    let graph = graph("z a=dependsOn:z b=dependsOn:a");
    let plan = graph.plan_with("a").expect("a plan");
    let stacks: Vec<_> = plan
        .stacks
        .iter()
        .map(|it| (it.id.as_str(), it.parents.join(",")))
        .collect();
    assert_eq!(stacks, [("a", String::new()), ("b", "a".to_owned())]);
    assert_eq!(plan.stacks[0].other_parents, ["z"]);
}

proptest! {
    /// In every plan, each stack comes after its parents unless it is on a cycle, and appears only once.
    #[test]
    fn plans_are_in_order(edges in proptest::collection::vec((0..30_usize, 0..30_usize), 0..80)) {
        let stacks = (0..30).map(|at| Stack {
            id: format!("s{at}"),
            labels: edges.iter().filter(|(_, child)| *child == at).map(|(parent, _)| format!("dependsOn:s{parent}")).collect(),
            ..Stack::default()
        });
        let graph = Graph::of(stacks.collect(), Dialect::Both);
        let plan = graph.plan_from("s0").expect("a plan");
        let place = |id: &str| plan.stacks.iter().position(|it| it.id == id);
        for (at, stack) in plan.stacks.iter().enumerate() {
            prop_assert_eq!(place(&stack.id), Some(at));
            if stack.skip.is_none() {
                for parent in &stack.parents {
                    let is_before = parent == "s0" || place(parent).is_some_and(|it| it < at)
                        || graph.cycle_of(parent).is_some() || plan.stacks.iter().any(|it| it.skip.is_some());
                    prop_assert!(is_before, "{} before {}", parent, stack.id);
                }
            }
            let is_on_cycle = graph.cycle_of(&stack.id).is_some();
            prop_assert_eq!(is_on_cycle, stack.skip.is_some());
        }
    }
}
