//! Parses a definition and reports every mistake with path and line.

use std::collections::BTreeSet;

use serde_json::Value;
use temporal_worker_kit::parse_duration;

use crate::check::check;
use crate::definition::{Definition, Lines, Step};
use crate::node::{Kind, Mistakes, Node, Reader, join, parse};
use crate::reference::Condition;

/// Maximum number of steps in a definition, because each adds several events to the history.
const MAX_STEPS: usize = 500;

/// Maximum size of a definition in bytes, because it is a workflow input.
const MAX_BYTES: usize = 256 * 1024;

/// Default expiry of an approval in seconds: one week.
const APPROVAL_SECONDS: u64 = 7 * 24 * 3_600;

impl Definition {
    /// Parses a definition in YAML or JSON.
    ///
    /// # Errors
    ///
    /// If the definition has mistakes; all of them are reported.
    pub fn read(file: &str, text: &str) -> Result<Self, Mistakes> {
        let mut reader = Reader::default();
        let mut definition = Self::default();
        if text.len() > MAX_BYTES {
            let problem = format!(
                "the definition has {} bytes; at most {MAX_BYTES} are allowed",
                text.len()
            );
            reader.wrong(1, "", problem);
            return reader.finish(file, definition);
        }
        let mut lines = Vec::new();
        match parse(text) {
            Ok(root) => {
                let entries = reader.map(&root, "", &["name", "steps"]);
                for required in ["name", "steps"] {
                    if !entries.iter().any(|(key, _)| *key == required) {
                        reader.wrong(root.line, required, "is missing");
                    }
                }
                for (key, node) in entries {
                    if key == "name" {
                        definition.name = String::from(reader.text(node, key).unwrap_or_default());
                    } else {
                        read_steps(&mut reader, node, &mut definition.steps, &mut lines);
                    }
                }
            }
            Err(mistake) => reader.mistakes.push(mistake),
        }
        check(&mut reader, &definition.steps, &lines);
        reader.finish(file, definition)
    }
}

fn read_steps(reader: &mut Reader, node: &Node, steps: &mut Vec<Step>, lines: &mut Vec<Lines>) {
    let items = reader.list(node, "steps");
    if items.is_empty() && matches!(node.kind, Kind::List(_)) {
        reader.wrong(node.line, "steps", "needs at least one step");
    }
    if items.len() > MAX_STEPS {
        reader.wrong(
            node.line,
            "steps",
            format!("has {} steps; at most {MAX_STEPS} are allowed", items.len()),
        );
        return;
    }
    let mut ids = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("steps[{index}]");
        let (step, line) = read_step(reader, item, path.clone());
        if !step.id.is_empty() && !ids.insert(step.id.clone()) {
            reader.wrong(
                item.line,
                join(&path, "id"),
                format!("`{}` is used by two steps", step.id),
            );
        }
        steps.push(step);
        lines.push(line);
    }
}

fn read_step(reader: &mut Reader, node: &Node, path: String) -> (Step, Lines) {
    let known = [
        "id", "activity", "input", "needs", "when", "approval", "retry", "timeout",
    ];
    let mut step = Step {
        attempts: 3,
        retry_after_seconds: 1,
        timeout_seconds: 60,
        ..Step::default()
    };
    let mut lines = Lines {
        step: node.line,
        path,
        needs: Vec::new(),
        when: node.line,
        input: None,
    };
    let entries = reader.map(node, &lines.path, &known);
    for (key, value) in entries {
        let at = join(&lines.path, key);
        match key {
            "id" => step.id = read_id(reader, value, &at),
            "activity" => step.activity = reader.text(value, &at).map(str::to_owned),
            "input" => {
                step.input = value.to_value();
                lines.input = Some(value.clone());
            }
            "needs" => {
                for (index, need) in reader.list(value, &at).iter().enumerate() {
                    if let Some(id) = reader.text(need, &format!("{at}[{index}]")) {
                        step.needs.push(id.to_owned());
                        lines.needs.push(need.line);
                    }
                }
            }
            "when" => {
                lines.when = value.line;
                step.when = match &value.kind {
                    // Unquoted, `true` and `false` are not text in YAML.
                    Kind::Scalar(Value::Bool(flag)) => Some(Condition::read(&flag.to_string())),
                    _ => reader.text(value, &at).map(Condition::read),
                };
            }
            "approval" => step.approval = read_approval(reader, value, &at),
            "retry" => read_retry(reader, value, &at, &mut step),
            _ => step.timeout_seconds = seconds(reader, value, &at).unwrap_or(step.timeout_seconds),
        }
    }
    if matches!(node.kind, Kind::Map(_)) {
        // An invalid id is empty too, and has been reported.
        if step.id.is_empty()
            && !reader
                .mistakes
                .iter()
                .any(|mistake| mistake.path == join(&lines.path, "id"))
        {
            reader.wrong(node.line, &lines.path, "needs an `id`");
        }
        if step.activity.is_none() && step.approval.is_none() {
            reader.wrong(node.line, &lines.path, "needs an `activity` or an `approval`");
        }
    }
    (step, lines)
}

fn read_id(reader: &mut Reader, node: &Node, path: &str) -> String {
    let id = reader.text(node, path).unwrap_or_default();
    if id
        .chars()
        .all(|letter| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_')
    {
        return id.to_owned();
    }
    reader.wrong(
        node.line,
        path,
        format!("`{id}` may contain letters, digits, `-` and `_` only"),
    );
    String::new()
}

fn read_approval(reader: &mut Reader, node: &Node, path: &str) -> Option<u64> {
    match &node.kind {
        Kind::Scalar(Value::Bool(true)) => return Some(APPROVAL_SECONDS),
        Kind::Scalar(Value::Bool(false)) => return None,
        Kind::Map(_) => {}
        Kind::Scalar(_) | Kind::List(_) => {
            reader.wrong(node.line, path, "must be true, false, or a map with `expires`");
            return None;
        }
    }
    let entries = reader.map(node, path, &["expires"]);
    let expires = entries
        .into_iter()
        .find_map(|(key, value)| seconds(reader, value, &join(path, key)));
    Some(expires.unwrap_or(APPROVAL_SECONDS))
}

fn read_retry(reader: &mut Reader, node: &Node, path: &str, step: &mut Step) {
    for (key, value) in reader.map(node, path, &["attempts", "interval"]) {
        let at = join(path, key);
        if key == "interval" {
            step.retry_after_seconds = seconds(reader, value, &at).unwrap_or(1);
            continue;
        }
        match value
            .to_value()
            .as_u64()
            .and_then(|attempts| u32::try_from(attempts).ok())
        {
            Some(attempts @ 1..=100) => step.attempts = attempts,
            _ => reader.wrong(value.line, at, "must be a whole number from 1 to 100"),
        }
    }
}

fn seconds(reader: &mut Reader, node: &Node, path: &str) -> Option<u64> {
    let text = reader.text(node, path)?;
    match parse_duration(text) {
        Ok(duration) if duration.as_secs() > 0 => Some(duration.as_secs()),
        Ok(_) => {
            reader.wrong(node.line, path, "must be at least 1s");
            None
        }
        Err(problem) => {
            reader.wrong(node.line, path, problem.to_string());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = include_str!("../definitions/release.yaml");

    #[test]
    fn the_example_definitions_are_valid_in_yaml_and_json() {
        let definition = Definition::read("release.yaml", GOOD).expect("valid");
        assert_eq!(definition.steps.len(), 6);
        let json = parse(GOOD).expect("a tree").to_value().to_string();
        assert_eq!(
            Definition::read("release.json", &json).expect("valid"),
            definition
        );
    }

    fn problems(text: &str) -> String {
        Definition::read("d.yaml", text).expect_err("invalid").to_string()
    }

    #[test]
    fn every_mistake_is_reported_with_path_and_line() {
        let text = "\
name: x
steps:
- id: a
  activity: text.upper
  input: {text: 3}
- id: b
  activity: text.uper
- id: c
  activity: number.add
  needs: [a, nothing]
  input: {a: '${steps.a.output}', c: 1}
- id: a
  activity: wait
  input: {seconds: '${steps.c.output}'}
  timeout: soon
  retry: {attempts: 0}
- nme: d
";
        let problems = problems(text);
        for part in [
            "d.yaml:5: steps[0].input.text: must be text, not a number",
            "steps[1].activity: unknown activity `text.uper`",
            "d.yaml:10: steps[2].needs[1]: the step `nothing` does not exist",
            "d.yaml:11: steps[2].input.a: must be a number, not text",
            "d.yaml:11: steps[2].input.b: is missing; `number.add` needs a number",
            "d.yaml:11: steps[2].input.c: unknown key",
            "d.yaml:12: steps[3].id: `a` is used by two steps",
            "d.yaml:14: steps[3].input.seconds: `c` may not have run; add it to `needs`",
            "d.yaml:15: steps[3].timeout: `soon`: use a duration with a unit",
            "d.yaml:16: steps[3].retry.attempts: must be a whole number from 1 to 100",
            "d.yaml:17: steps[4].nme: unknown key",
            "d.yaml:17: steps[4]: needs an `id`",
        ] {
            assert!(problems.contains(part), "{part} is missing in\n{problems}");
        }
    }

    #[test]
    fn cycles_and_unreachable_steps_are_reported() {
        let text = "\
name: x
steps:
- {id: a, approval: true, needs: [c]}
- {id: b, approval: true, needs: [a]}
- {id: c, approval: true, needs: [b]}
- {id: d, approval: true, needs: [c]}
- {id: e, approval: true, when: false}
- {id: f, approval: true, needs: [e]}
- {id: g, approval: true, needs: [g]}
- {id: h, approval: true}
";
        let problems = problems(text);
        for part in [
            "d.yaml:3: steps[0]: cycle: a -> c -> b -> a",
            "d.yaml:6: steps[3]: unreachable: it needs `c`, which never runs",
            "d.yaml:7: steps[4]: unreachable: its condition is never true",
            "d.yaml:8: steps[5]: unreachable: it needs `e`, which never runs",
            "d.yaml:9: steps[6].needs[0]: a step cannot need itself",
        ] {
            assert!(problems.contains(part), "{part} is missing in\n{problems}");
        }
        assert_eq!(problems.matches("cycle:").count(), 1, "{problems}");
        assert!(!problems.contains("steps[7]"), "{problems}");
    }

    #[test]
    fn an_invalid_document_is_refused() {
        for text in [
            "",
            "[1]",
            "name: x",
            "name: x\nsteps: []",
            "name: [",
            "a: &b 1\nc: *b",
            "{\"name\": \"x\",}",
            "name: x\nsteps: {}\n",
        ] {
            problems(text);
        }
        assert!(problems(&" ".repeat(MAX_BYTES + 1)).contains("bytes"));
    }
}
