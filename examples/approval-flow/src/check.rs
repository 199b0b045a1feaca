//! Checks how the steps of a definition fit together: no cycles, no unreachable steps, and inputs of the right type.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use crate::definition::{Lines, Step};
use crate::node::{Kind, Node, Reader, form_of, join};
use crate::reference::{Condition, Part, Reference, parts};
use crate::steps::{CATALOG, activity};

/// Reports every mistake in the dependencies and inputs of the steps.
pub(crate) fn check(reader: &mut Reader, steps: &[Step], lines: &[Lines]) {
    check_graph(reader, steps, lines);
    check_inputs(reader, steps, lines);
}

/// Reports unknown dependencies, cycles, and unreachable steps.
fn check_graph(reader: &mut Reader, steps: &[Step], lines: &[Lines]) {
    let by_id: BTreeMap<&str, usize> = steps
        .iter()
        .enumerate()
        .map(|(index, step)| (step.id.as_str(), index))
        .collect();
    for (step, line) in steps.iter().zip(lines) {
        for (index, (need, at)) in step.needs.iter().zip(&line.needs).enumerate() {
            let path = format!("{}.needs[{index}]", line.path);
            if *need == step.id {
                reader.wrong(*at, path, "a step cannot need itself");
            } else if !by_id.contains_key(need.as_str()) {
                reader.wrong(*at, path, format!("the step `{need}` does not exist"));
            }
        }
    }
    let cyclic = report_cycles(reader, steps, lines, &by_id);
    let mut dead: BTreeMap<&str, String> = BTreeMap::new();
    for step in steps {
        if step.when.as_ref().is_some_and(Condition::never_holds) {
            dead.insert(&step.id, "its condition is never true".to_owned());
        }
    }
    // A step that needs an unreachable step is unreachable too.
    loop {
        // One pass is not enough, because a step may be listed before a step that it needs.
        let more = steps.iter().find_map(|step| {
            if dead.contains_key(step.id.as_str()) || cyclic.contains(step.id.as_str()) {
                return None;
            }
            let blocked = |need: &&String| dead.contains_key(need.as_str()) || cyclic.contains(need.as_str());
            step.needs
                .iter()
                .find(blocked)
                .map(|need| (step.id.as_str(), format!("it needs `{need}`, which never runs")))
        });
        match more {
            Some((id, reason)) => dead.insert(id, reason),
            None => break,
        };
    }
    for (step, line) in steps.iter().zip(lines) {
        if let Some(reason) = dead.get(step.id.as_str()) {
            let at = if step.when.is_some() { line.when } else { line.step };
            reader.wrong(at, &line.path, format!("unreachable: {reason}"));
        }
    }
}

/// Reports each cycle once, and returns the steps in cycles.
fn report_cycles<'s>(
    reader: &mut Reader,
    steps: &'s [Step],
    lines: &[Lines],
    by_id: &BTreeMap<&str, usize>,
) -> BTreeSet<&'s str> {
    let mut cyclic = BTreeSet::new();
    for start in 0..steps.len() {
        if cyclic.contains(steps[start].id.as_str()) {
            continue;
        }
        if let Some(cycle) = cycle_through(start, steps, by_id) {
            let names: Vec<&str> = cycle
                .iter()
                .chain([&start])
                .map(|index| steps[*index].id.as_str())
                .collect();
            reader.wrong(
                lines[start].step,
                &lines[start].path,
                format!("cycle: {}", names.join(" -> ")),
            );
            cyclic.extend(cycle.iter().map(|index| steps[*index].id.as_str()));
        }
    }
    cyclic
}

/// Returns the shortest path from a step through its needs back to itself.
fn cycle_through(start: usize, steps: &[Step], by_id: &BTreeMap<&str, usize>) -> Option<Vec<usize>> {
    let mut ways: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut queue = VecDeque::from([(start, vec![start])]);
    while let Some((at, way)) = queue.pop_front() {
        for need in steps[at].needs.iter().filter_map(|need| by_id.get(need.as_str())) {
            // A step that needs itself has already been reported.
            if *need == start && way.len() > 1 {
                return Some(way);
            }
            if *need != start && !ways.contains_key(need) {
                let next: Vec<usize> = way.iter().copied().chain([*need]).collect();
                ways.insert(*need, next.clone());
                queue.push_back((*need, next));
            }
        }
    }
    None
}

/// Reports unknown activities, inputs of the wrong type, and references to steps that may not have run.
fn check_inputs(reader: &mut Reader, steps: &[Step], lines: &[Lines]) {
    for (step, line) in steps.iter().zip(lines) {
        let before = earlier(step, steps);
        if let Some(condition) = &step.when {
            for side in [&condition.left, &condition.right] {
                check_references(reader, side, line.when, &join(&line.path, "when"), &before, steps);
            }
        }
        let Some(name) = &step.activity else { continue };
        let Some(activity) = activity(name) else {
            let known: Vec<&str> = CATALOG.iter().map(|activity| activity.name).collect();
            let path = join(&line.path, "activity");
            reader.wrong(
                line.step,
                path,
                format!(
                    "unknown activity `{name}`; known activities: {}",
                    known.join(", ")
                ),
            );
            continue;
        };
        let path = join(&line.path, "input");
        let names: Vec<&str> = activity.input.iter().map(|field| field.name).collect();
        let empty = Node {
            line: line.step,
            kind: Kind::Map(Vec::new()),
        };
        let given = reader.map(line.input.as_ref().unwrap_or(&empty), &path, &names);
        for field in activity.input {
            let at = join(&path, field.name);
            match given.iter().find(|(key, _)| *key == field.name) {
                Some((_, node)) => {
                    check_nodes(reader, node, &at, &before, steps);
                    if let Some(form) = known_form(node, steps)
                        && form != field.form
                    {
                        reader.wrong(node.line, at, format!("must be {}, not {form}", field.form));
                    }
                }
                None if field.required => {
                    let line = line.input.as_ref().map_or(line.step, |input| input.line);
                    reader.wrong(line, at, format!("is missing; `{name}` needs {}", field.form));
                }
                None => {}
            }
        }
    }
}

/// Returns all steps that have ended before this step starts.
fn earlier<'s>(step: &'s Step, steps: &'s [Step]) -> BTreeSet<&'s str> {
    let mut found = BTreeSet::new();
    let mut queue: Vec<&str> = step.needs.iter().map(String::as_str).collect();
    while let Some(id) = queue.pop() {
        if found.insert(id) {
            let needs = steps
                .iter()
                .filter(|step| step.id == id)
                .flat_map(|step| &step.needs);
            queue.extend(needs.map(String::as_str));
        }
    }
    found
}

fn check_nodes(reader: &mut Reader, node: &Node, path: &str, before: &BTreeSet<&str>, steps: &[Step]) {
    match &node.kind {
        Kind::Scalar(value) => check_references(reader, value, node.line, path, before, steps),
        Kind::List(items) => {
            for (index, item) in items.iter().enumerate() {
                check_nodes(reader, item, &format!("{path}[{index}]"), before, steps);
            }
        }
        Kind::Map(entries) => {
            for (key, _, entry) in entries {
                check_nodes(reader, entry, &join(path, key), before, steps);
            }
        }
    }
}

fn check_references(
    reader: &mut Reader,
    value: &Value,
    line: usize,
    path: &str,
    before: &BTreeSet<&str>,
    steps: &[Step],
) {
    let Value::String(text) = value else { return };
    let found = match parts(text) {
        Ok(found) => found,
        Err(problem) => return reader.wrong(line, path, problem.to_string()),
    };
    for part in found {
        if let Part::Reference(Reference::Output(id, _)) = part {
            if !steps.iter().any(|step| step.id == id) {
                reader.wrong(line, path, format!("the step `{id}` does not exist"));
            } else if !before.contains(id.as_str()) {
                reader.wrong(line, path, format!("`{id}` may not have run; add it to `needs`"));
            }
        }
    }
}

/// Returns the type of a value if it is known before the run.
fn known_form(node: &Node, steps: &[Step]) -> Option<&'static str> {
    let Some(text) = node.text() else {
        return Some(node.form());
    };
    match parts(text).ok()?.as_slice() {
        [Part::Reference(Reference::Output(id, keys))] if keys.is_empty() => {
            let step = steps.iter().find(|step| step.id == *id)?;
            Some(activity(step.activity.as_ref()?)?.output)
        }
        // Inputs of the run, and values inside outputs, have no declared type.
        [Part::Reference(_)] => None,
        // A reference among other text becomes text.
        _ => Some(form_of(&Value::String(String::new()))),
    }
}
