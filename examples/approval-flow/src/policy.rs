//! Decides which inputs are allowed: the first matching rule decides, and an input that matches no rule is
//! allowed.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::node::{Mistake, Mistakes, Node, Reader, parse};

/// The rules used without a rules file.
const DEFAULT: &str = "rules:\n  - name: no-forbidden\n    deny: true\n    starts_with: forbidden\n";

/// Maximum size of the rules file, in bytes.
const MAX_BYTES: u64 = 1_000_000;

/// Whether the policy allows a request, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyDecision {
    /// Whether the request proceeds to approval.
    pub allowed: bool,
    /// The rule that decided; `None` if no rule matched.
    pub rule: Option<String>,
    /// The reason as text.
    pub reason: String,
}

/// A rule: if its condition matches an input, it allows or denies it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    name: String,
    allow: bool,
    condition: Condition,
}

/// Condition for a rule to match. Case-insensitive.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    StartsWith(String),
    Contains(String),
    Equals(String),
    LongerThan(usize),
}

impl Condition {
    fn matches(&self, input: &str) -> bool {
        let input = input.trim().to_lowercase();
        match self {
            Self::StartsWith(text) => input.starts_with(text),
            Self::Contains(text) => input.contains(text),
            Self::Equals(text) => input == *text,
            Self::LongerThan(characters) => input.chars().count() > *characters,
        }
    }

    fn sentence(&self) -> String {
        match self {
            Self::StartsWith(text) => format!("the input starts with `{text}`"),
            Self::Contains(text) => format!("the input contains `{text}`"),
            Self::Equals(text) => format!("the input equals `{text}`"),
            Self::LongerThan(characters) => format!("the input is longer than {characters} characters"),
        }
    }
}

/// Valid rules in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
}

impl Policy {
    /// Parses rules.
    ///
    /// # Errors
    ///
    /// If the text does not parse or a rule is invalid; reports every mistake with its line.
    pub fn read(file: &str, text: &str) -> Result<Self, Mistakes> {
        let mut reader = Reader::default();
        let mut rules = Vec::new();
        match parse(text) {
            Ok(root) => {
                let entries = reader.map(&root, "", &["rules"]);
                if entries.is_empty() && reader.mistakes.is_empty() {
                    reader.wrong(root.line, "rules", "is missing");
                }
                for (_, list) in entries {
                    for (index, node) in reader.list(list, "rules").iter().enumerate() {
                        let path = format!("rules[{index}]");
                        if let Some(rule) = rule(&mut reader, node, &path) {
                            if rules.iter().any(|earlier: &Rule| earlier.name == rule.name) {
                                reader.wrong(
                                    node.line,
                                    path,
                                    format!("the name `{}` is used twice", rule.name),
                                );
                            }
                            rules.push(rule);
                        }
                    }
                }
            }
            Err(mistake) => reader.mistakes.push(mistake),
        }
        reader.finish(file, Self { rules })
    }

    /// Decides whether an input is allowed.
    pub fn decide(&self, input: &str) -> PolicyDecision {
        match self.rules.iter().find(|rule| rule.condition.matches(input)) {
            Some(rule) => {
                let verb = if rule.allow { "allowed" } else { "denied" };
                PolicyDecision {
                    allowed: rule.allow,
                    rule: Some(rule.name.clone()),
                    reason: format!("{verb} by rule `{}`: {}", rule.name, rule.condition.sentence()),
                }
            }
            None => PolicyDecision {
                allowed: true,
                rule: None,
                reason: "allowed: no rule matches".to_owned(),
            },
        }
    }
}

fn rule(reader: &mut Reader, node: &Node, path: &str) -> Option<Rule> {
    let known = [
        "name",
        "deny",
        "allow",
        "starts_with",
        "contains",
        "equals",
        "longer_than",
    ];
    let before = reader.mistakes.len();
    let entries = reader.map(node, path, &known);
    let (mut name, mut allow, mut conditions) = (None, Vec::new(), Vec::new());
    for (key, value) in entries {
        let at = format!("{path}.{key}");
        match key {
            "name" => name = reader.text(value, &at).map(str::to_owned),
            "deny" | "allow" => match value.to_value() {
                serde_json::Value::Bool(true) => allow.push(key == "allow"),
                _ => reader.wrong(value.line, at, "must be `true`"),
            },
            "longer_than" => match value
                .to_value()
                .as_u64()
                .and_then(|count| usize::try_from(count).ok())
            {
                Some(count) => conditions.push(Condition::LongerThan(count)),
                None => reader.wrong(value.line, at, "must be a whole number of characters"),
            },
            _ => {
                if let Some(text) = reader.text(value, &at) {
                    // Inputs are converted in the same way.
                    let text = text.trim().to_lowercase();
                    conditions.push(match key {
                        "starts_with" => Condition::StartsWith(text),
                        "contains" => Condition::Contains(text),
                        _ => Condition::Equals(text),
                    });
                }
            }
        }
    }
    if reader.mistakes.len() > before {
        return None;
    }
    let mut wrong = |problem: &str| reader.wrong(node.line, path, problem);
    if name.is_none() {
        wrong("needs a `name`");
    }
    if allow.len() != 1 {
        wrong("needs exactly one of `deny: true` and `allow: true`");
    }
    if conditions.len() != 1 {
        wrong("needs exactly one of `starts_with`, `contains`, `equals` and `longer_than`");
    }
    Some(Rule {
        name: name?,
        allow: *allow.first()?,
        condition: conditions.pop()?,
    })
}

/// The current rules, which are reloaded when their file changes.
#[derive(Debug)]
pub struct PolicyFile {
    path: Option<PathBuf>,
    last: Mutex<(String, Policy)>,
}

impl PolicyFile {
    /// Reads the rules file, or uses the default rules if there is none.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or a rule is invalid.
    pub fn open(path: Option<PathBuf>) -> Result<Self, Mistakes> {
        let text = path.as_deref().map_or_else(|| Ok(DEFAULT.to_owned()), read)?;
        let policy = Policy::read(&shown(path.as_deref()), &text)?;
        Ok(Self {
            path,
            last: Mutex::new((text, policy)),
        })
    }

    /// Returns the rules from the current version of the file.
    ///
    /// # Errors
    ///
    /// If the changed file cannot be read or is invalid. The previous rules are not used in that case.
    pub fn current(&self) -> Result<Policy, Mistakes> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = &self.path {
            let text = read(path)?;
            // Not by its time, which a copy may keep.
            if text != last.0 {
                let policy = Policy::read(&shown(Some(path)), &text)?;
                tracing::info!(file = %path.display(), rules = policy.rules.len(), "the rules file changed");
                *last = (text, policy);
            }
        }
        Ok(last.1.clone())
    }
}

fn shown(path: Option<&Path>) -> String {
    path.map_or_else(|| "default rules".to_owned(), |path| path.display().to_string())
}

fn read(path: &Path) -> Result<String, Mistakes> {
    let failed = |problem: String| Mistakes {
        file: path.display().to_string(),
        mistakes: vec![Mistake {
            line: 1,
            path: String::new(),
            problem,
        }],
    };
    let size = std::fs::metadata(path)
        .map_err(|error| failed(format!("cannot read the file: {error}")))?
        .len();
    if size > MAX_BYTES {
        return Err(failed(format!(
            "the file has {size} bytes; at most {MAX_BYTES} are read"
        )));
    }
    std::fs::read_to_string(path).map_err(|error| failed(format!("cannot read the file: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_that_start_with_forbidden_are_denied_by_default() {
        let policy = PolicyFile::open(None)
            .and_then(|file| file.current())
            .expect("valid");
        let denied = policy.decide("Forbidden: drop the table");
        assert!(!denied.allowed);
        assert_eq!(denied.rule.as_deref(), Some("no-forbidden"));
        assert_eq!(
            denied.reason,
            "denied by rule `no-forbidden`: the input starts with `forbidden`"
        );
        assert!(policy.decide("deploy; not forbidden").allowed);
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let text = "rules:\n- {name: ok, allow: true, equals: forbidden fruit}\n- {name: no, deny: true, starts_with: forbidden}\n";
        let policy = Policy::read("rules.yaml", text).expect("valid");
        assert!(policy.decide("forbidden fruit").allowed);
        assert!(!policy.decide("forbidden city").allowed);
    }

    #[test]
    fn every_mistake_in_a_rules_file_is_reported_with_its_line() {
        let text = "rules:\n- name: a\n  deny: yes please\n- name: b\n  deny: true\n- deny: true\n  allow: true\n  starts_with: x\n- {nme: c}\n";
        let mistakes = Policy::read("rules.yaml", text).expect_err("wrong").to_string();
        for part in [
            "rules.yaml:3: rules[0].deny: must be `true`",
            "rules.yaml:4: rules[1]: needs exactly one of `starts_with`",
            "rules[2]: needs a `name`",
            "rules[2]: needs exactly one of `deny: true` and `allow: true`",
            "rules[3].nme: unknown key",
        ] {
            assert!(mistakes.contains(part), "{part} is missing in\n{mistakes}");
        }
        assert!(Policy::read("rules.yaml", "rules: [").is_err());
        assert!(Policy::read("rules.yaml", "").is_err());
    }

    #[test]
    fn a_changed_file_is_reloaded_and_an_invalid_one_decides_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("rules.yaml");
        std::fs::write(&path, "rules:\n- {name: no-x, deny: true, contains: x}\n").expect("written");
        let file = PolicyFile::open(Some(path.clone())).expect("valid");
        assert!(!file.current().expect("valid").decide("xyz").allowed);
        std::fs::write(&path, "rules:\n- {name: no-y, deny: true, equals: y}\n").expect("written");
        assert!(file.current().expect("valid").decide("xyz").allowed);
        std::fs::write(&path, "rules: {").expect("written");
        assert!(file.current().is_err());
    }
}
