//! Renders the graph as text, Graphviz and Mermaid.

use std::fmt::Write as _;

use human_text::counted;

use crate::graph::{Graph, Node};
use crate::labels::Condition;

/// Returns every mistake on its own line, and a summary.
pub fn mistakes(graph: &Graph) -> String {
    let mut text = String::new();
    for mistake in graph.mistakes() {
        let label = if mistake.label.is_empty() {
            String::new()
        } else {
            format!(" [{}]", mistake.label)
        };
        let _ = writeln!(text, "{}{label}: {}", mistake.stack, mistake.problem);
    }
    let edges: usize = graph
        .nodes()
        .values()
        .map(|node| node.rules.depends_on.len())
        .sum();
    let _ = writeln!(
        text,
        "{}, {}, {}",
        counted(graph.nodes().len(), "stack"),
        counted(edges, "dependency"),
        counted(graph.mistakes().len(), "mistake")
    );
    text
}

/// Returns one line for each stack that has a dependency or a dependent.
pub fn text(graph: &Graph) -> String {
    let mut text = String::new();
    for (id, node) in graph.nodes() {
        let is_alone = node.rules.depends_on.is_empty() && graph.dependents(id).next().is_none();
        if is_alone {
            continue;
        }
        let _ = write!(text, "{id}");
        if !node.rules.depends_on.is_empty() {
            let parents: Vec<&str> = node.rules.depends_on.iter().map(String::as_str).collect();
            let _ = write!(text, " after {}", parents.join(", "));
        }
        let marks = marks(node);
        if !marks.is_empty() {
            let _ = write!(text, " ({})", marks.join(", "));
        }
        if let Some(cycle) = graph.cycle_of(id) {
            let _ = write!(text, " - never run, on the cycle {cycle}");
        }
        text.push('\n');
    }
    if text.is_empty() {
        "no stack depends on another stack\n".to_owned()
    } else {
        text
    }
}

fn marks(node: &Node) -> Vec<String> {
    let rules = &node.rules;
    let mut marks = Vec::new();
    match rules.condition {
        Condition::OnSuccess => {}
        Condition::OnFailure => marks.push("on failure".to_owned()),
        Condition::Always => marks.push("always".to_owned()),
    }
    marks.extend((rules.priority != 0).then(|| format!("priority {}", rules.priority)));
    marks.extend(rules.group.as_ref().map(|group| format!("group {group}")));
    marks.extend(rules.is_critical.then(|| "critical".to_owned()));
    marks.extend(rules.windows.iter().map(|window| format!("window {window}")));
    marks.extend(rules.blackouts.iter().map(|window| format!("blackout {window}")));
    marks.extend(rules.is_skipped.then(|| "skipped".to_owned()));
    marks.extend(node.stack.is_disabled.then(|| "disabled".to_owned()));
    marks.extend(
        node.stack
            .locked_by
            .as_ref()
            .map(|who| format!("locked by {who}")),
    );
    marks
}

/// Returns the graph in Graphviz format.
pub fn dot(graph: &Graph) -> String {
    let mut text = "digraph stacks {\n  rankdir=LR;\n".to_owned();
    for (parent, child, style) in edges(graph) {
        let attributes = match style {
            Condition::OnSuccess => "",
            Condition::OnFailure => " [label=\"on failure\", style=dashed]",
            Condition::Always => " [label=\"always\"]",
        };
        let _ = writeln!(text, "  \"{parent}\" -> \"{child}\"{attributes};");
    }
    text + "}\n"
}

/// Returns the graph in Mermaid format.
pub fn mermaid(graph: &Graph) -> String {
    let mut text = "graph LR\n".to_owned();
    // Mermaid treats some ids, such as `end`, as keywords. `_` is doubled, so that `a-b` and `a_mb` differ.
    let node = |id: &str| format!("s_{}[\"{id}\"]", id.replace('_', "__").replace('-', "_m"));
    for (parent, child, style) in edges(graph) {
        let arrow = match style {
            Condition::OnSuccess => "-->",
            Condition::OnFailure => "-. on failure .->",
            Condition::Always => "-- always -->",
        };
        let _ = writeln!(text, "  {} {arrow} {}", node(parent), node(child));
    }
    text
}

fn edges(graph: &Graph) -> impl Iterator<Item = (&str, &str, Condition)> {
    graph.nodes().iter().flat_map(|(child, node)| {
        let parents = node.rules.depends_on.iter();
        parents.map(move |parent| (parent.as_str(), child.as_str(), node.rules.condition))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Dialect;
    use crate::provider::Stack;

    fn graph() -> Graph {
        let stack = |id: &str, labels: &[&str]| Stack {
            id: id.to_owned(),
            labels: labels.iter().map(|it| (*it).to_owned()).collect(),
            ..Stack::default()
        };
        let stacks = vec![
            stack("network", &[]),
            stack("my-db", &["dependsOn:network", "critical", "chain-priority:3"]),
            stack("alarm", &["dependsOn:my-db", "chain-run:on-failure"]),
            stack("alone", &["dependsOn:nothing"]),
        ];
        Graph::of(stacks, Dialect::Both)
    }

    #[test]
    fn text_names_parents_and_rules() {
        assert_eq!(
            text(&graph()),
            "alarm after my-db (on failure)\nmy-db after network (priority 3, critical)\nnetwork\n"
        );
    }

    #[test]
    fn dot_and_mermaid_have_every_edge() {
        assert_eq!(
            dot(&graph()),
            "digraph stacks {\n  rankdir=LR;\n  \"my-db\" -> \"alarm\" [label=\"on failure\", style=dashed];\n  \
             \"network\" -> \"my-db\";\n}\n"
        );
        assert_eq!(
            mermaid(&graph()),
            "graph LR\n  s_my_mdb[\"my-db\"] -. on failure .-> s_alarm[\"alarm\"]\n  \
             s_network[\"network\"] --> s_my_mdb[\"my-db\"]\n"
        );
    }

    #[test]
    fn mermaid_keeps_similar_ids_apart() {
        let stack = |id: &str, labels: &[&str]| Stack {
            id: id.to_owned(),
            labels: labels.iter().map(|it| (*it).to_owned()).collect(),
            ..Stack::default()
        };
        let stacks = vec![stack("a-b", &[]), stack("a_mb", &["dependsOn:a-b"])];
        assert_eq!(
            mermaid(&Graph::of(stacks, Dialect::Both)),
            "graph LR\n  s_a_mb[\"a-b\"] --> s_a__mb[\"a_mb\"]\n"
        );
    }

    #[test]
    fn mistakes_name_stack_and_label() {
        let text = mistakes(&graph());
        assert!(
            text.starts_with("alone [dependsOn:nothing]: stack `nothing` does not exist"),
            "{text}"
        );
        assert!(text.ends_with("4 stacks, 2 dependencies, 1 mistake\n"), "{text}");
    }
}
