//! Parses the labels of a stack. [`GRAMMAR`] is the only table of labels.

use std::collections::BTreeSet;
use std::time::Duration;

use human_text::parse_duration;
use serde::{Deserialize, Serialize};

use crate::windows::Window;

pub use crate::label_error::LabelError;

/// A row of the grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The label, with placeholders in capitals.
    pub label: &'static str,
    /// An example that parses.
    pub example: &'static str,
    /// The meaning of the label.
    pub meaning: &'static str,
}

/// All known labels. Other labels are ignored, except misspelled ones, which are reported.
pub const GRAMMAR: [Rule; 12] = [
    Rule {
        label: "dependsOn:STACK",
        example: "dependsOn:network",
        meaning: "run this stack after a run of STACK; repeatable",
    },
    Rule {
        label: "depends-on:STACK[,STACK...]",
        example: "depends-on:network,dns",
        meaning: "the same, as a list",
    },
    Rule {
        label: "chain-run:on-success|on-failure|always",
        example: "chain-run:on-failure",
        meaning: "run when all dependencies succeeded (default), when one failed, or when all ended",
    },
    Rule {
        label: "chain-priority:NUMBER",
        example: "chain-priority:10",
        meaning: "among stacks that are ready to start, a higher number (-1000 to 1000, default 0) starts first",
    },
    Rule {
        label: "chain-group:NAME",
        example: "chain-group:databases",
        meaning: "start all stacks of a group together, after the last of their dependencies has ended",
    },
    Rule {
        label: "critical",
        example: "critical",
        meaning: "wait for `stack-chain chains approve` before each run",
    },
    Rule {
        label: "chain-window:ZONE DAYS HH:MM-HH:MM",
        example: "chain-window:Europe/Berlin Mon-Fri 22:00-04:00",
        meaning: "run only in this maintenance window; several windows are combined; `ZONE DATE/DATE` is a single period",
    },
    Rule {
        label: "chain-blackout:ZONE DAYS HH:MM-HH:MM",
        example: "chain-blackout:UTC 2026-12-24/2026-12-27",
        meaning: "never run in this period; same formats as `chain-window`",
    },
    Rule {
        label: "chain-retry:ATTEMPTS[,WAIT]",
        example: "chain-retry:3,30s",
        meaning: "retry a failed run after WAIT (default 1m), up to ATTEMPTS runs in total (1 to 10)",
    },
    Rule {
        label: "chain-timeout:TIME",
        example: "chain-timeout:2h",
        meaning: "stop waiting for a run after TIME (1s to 7d)",
    },
    Rule {
        label: "chain-max-per-hour:NUMBER",
        example: "chain-max-per-hour:2",
        meaning: "start at most NUMBER (1 to 1000) runs of this stack within an hour, in all chains",
    },
    Rule {
        label: "chain-skip",
        example: "chain-skip",
        meaning: "never run this stack or its dependents in a chain",
    },
];

/// The accepted spelling of dependency labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Dialect {
    /// `dependsOn:network` and `depends-on:network,dns`.
    #[default]
    Both,
    /// Only `dependsOn:network`.
    #[value(name = "dependsOn")]
    DependsOn,
    /// Only `depends-on:network,dns`.
    #[value(name = "depends-on")]
    Community,
}

/// The condition for a stack to run, based on the outcomes of its dependencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// All dependencies succeeded.
    #[default]
    OnSuccess,
    /// At least one dependency failed.
    OnFailure,
    /// All dependencies ended, regardless of their outcomes.
    Always,
}

/// How often and when a failed run is triggered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Retry {
    /// Total number of runs, at least 1.
    pub attempts: u32,
    /// Seconds between a failure and the next run.
    pub wait_seconds: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 1,
            wait_seconds: 60,
        }
    }
}

/// The rules from the labels of one stack.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StackRules {
    /// Ids of the stacks it depends on.
    pub depends_on: BTreeSet<String>,
    /// Required outcomes of its dependencies.
    pub condition: Condition,
    /// Stacks with a higher number start first.
    pub priority: i32,
    /// Its group, whose stacks start together.
    pub group: Option<String>,
    /// Whether each run needs an approval.
    pub is_critical: bool,
    /// Periods in which it may run; any time if empty.
    pub windows: Vec<Window>,
    /// Periods in which it may not run.
    pub blackouts: Vec<Window>,
    /// How often and when a failed run is triggered again.
    pub retry: Retry,
    /// Timeout of one run.
    pub timeout: Option<Duration>,
    /// Maximum number of runs per hour.
    pub max_per_hour: Option<u32>,
    /// Whether chains skip it.
    pub is_skipped: bool,
}

/// A mistake in the labels of a stack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mistake {
    /// Id of the stack.
    pub stack: String,
    /// The label; empty if the mistake concerns several.
    pub label: String,
    /// The problem and its remedy.
    pub problem: String,
}

/// Parses the labels of a stack. Returns its rules and all mistakes.
pub fn parse(stack: &str, labels: &[String], dialect: Dialect) -> (StackRules, Vec<Mistake>) {
    let mut reader = Reader {
        rules: StackRules::default(),
        dialect,
        given: Vec::new(),
        conflicts: Vec::new(),
    };
    let mut mistakes = Vec::new();
    for label in labels {
        if let Err(problem) = reader.label(label) {
            mistakes.push(Mistake {
                stack: stack.to_owned(),
                label: label.clone(),
                problem: problem.to_string(),
            });
        }
    }
    let Reader {
        mut rules, conflicts, ..
    } = reader;
    mistakes.extend(conflicts.into_iter().map(|(label, problem)| Mistake {
        stack: stack.to_owned(),
        label,
        problem: problem.to_string(),
    }));
    if rules.depends_on.remove(stack) {
        let own = labels
            .iter()
            .find(|it| it.to_ascii_lowercase().starts_with("depends") && it.contains(stack));
        mistakes.push(Mistake {
            stack: stack.to_owned(),
            label: own.cloned().unwrap_or_default(),
            problem: LabelError::OnItself.to_string(),
        });
    }
    (rules, mistakes)
}

struct Reader {
    rules: StackRules,
    dialect: Dialect,
    /// Labels that may occur only once: prefix and first occurrence.
    given: Vec<(&'static str, String)>,
    conflicts: Vec<(String, LabelError)>,
}

impl Reader {
    fn label(&mut self, label: &str) -> Result<(), LabelError> {
        let (prefix, value) = match label.split_once(':') {
            Some((prefix, value)) => (prefix, Some(value.trim())),
            None => (label, None),
        };
        match (prefix, value) {
            ("dependsOn", value) => {
                self.dialect_allows(Dialect::DependsOn, "dependsOn")?;
                self.depends_on(value, label, false)
            }
            ("depends-on", value) => {
                self.dialect_allows(Dialect::Community, "depends-on")?;
                self.depends_on(value, label, true)
            }
            ("critical", None) => {
                self.rules.is_critical = true;
                Ok(())
            }
            ("chain-skip", None) => {
                self.rules.is_skipped = true;
                Ok(())
            }
            ("critical" | "chain-skip", Some(_)) => Err(LabelError::TakesNoValue(prefix.to_owned())),
            (_, Some(value)) if prefix.starts_with("chain-") => self.option(prefix, value, label),
            (_, None) if is_option(prefix) => Err(needs_value(prefix)),
            // Labels of other tools are fine, unless they look like one of ours.
            _ => misspelled(prefix),
        }
    }

    fn dialect_allows(&self, needed: Dialect, name: &'static str) -> Result<(), LabelError> {
        if self.dialect == Dialect::Both || self.dialect == needed {
            return Ok(());
        }
        Err(LabelError::Disabled(name))
    }

    fn depends_on(&mut self, value: Option<&str>, label: &str, is_list: bool) -> Result<(), LabelError> {
        let value = value
            .filter(|value| !value.is_empty())
            .ok_or(LabelError::NamesNoStack)?;
        let ids: Vec<&str> = if is_list {
            value.split(',').map(str::trim).collect()
        } else {
            vec![value]
        };
        for id in ids {
            if id.is_empty() {
                return Err(LabelError::EmptyEntry(label.to_owned()));
            }
            if !is_stack_id(id) {
                let hint = if id.contains(',') && !is_list {
                    "; use `depends-on:` for a list"
                } else {
                    ""
                };
                return Err(LabelError::NotAStackId {
                    id: id.to_owned(),
                    hint,
                });
            }
            self.rules.depends_on.insert(id.to_owned());
        }
        Ok(())
    }

    fn option(&mut self, prefix: &str, value: &str, label: &str) -> Result<(), LabelError> {
        if value.is_empty() && is_option(prefix) {
            return Err(needs_value(prefix));
        }
        match prefix {
            "chain-run" => {
                let condition = match value {
                    "on-success" => Condition::OnSuccess,
                    "on-failure" => Condition::OnFailure,
                    "always" => Condition::Always,
                    _ => {
                        return Err(LabelError::NotACondition(value.to_owned()));
                    }
                };
                self.once("chain-run", label, |rules| rules.condition = condition);
            }
            "chain-priority" => {
                let priority = number(value, -1_000, 1_000)?;
                self.once("chain-priority", label, |rules| rules.priority = priority);
            }
            "chain-group" => {
                if value.contains(char::is_whitespace) || value.len() > 64 {
                    return Err(LabelError::NotAGroup(value.to_owned()));
                }
                self.once("chain-group", label, |rules| rules.group = Some(value.to_owned()));
            }
            "chain-retry" => {
                let retry = retry_of(value)?;
                self.once("chain-retry", label, |rules| rules.retry = retry);
            }
            "chain-timeout" => {
                let timeout = duration(value)?;
                self.once("chain-timeout", label, |rules| rules.timeout = Some(timeout));
            }
            "chain-max-per-hour" => {
                let most = number(value, 1, 1_000)?.unsigned_abs();
                self.once("chain-max-per-hour", label, |rules| {
                    rules.max_per_hour = Some(most);
                });
            }
            "chain-window" => self.rules.windows.push(value.parse()?),
            "chain-blackout" => self.rules.blackouts.push(value.parse()?),
            _ => {
                return misspelled(prefix).and(Err(LabelError::Unknown(prefix.to_owned())));
            }
        }
        Ok(())
    }

    /// Applies a label that may occur only once. A second occurrence contradicts the first, which stays in
    /// effect.
    fn once(&mut self, prefix: &'static str, label: &str, apply: impl FnOnce(&mut StackRules)) {
        if let Some((_, first)) = self.given.iter().find(|(known, _)| *known == prefix) {
            self.conflicts
                .push((label.to_owned(), LabelError::Contradicts(first.clone())));
            return;
        }
        self.given.push((prefix, label.to_owned()));
        apply(&mut self.rules);
    }
}

fn is_option(prefix: &str) -> bool {
    GRAMMAR.iter().any(|rule| {
        rule.label
            .split_once(':')
            .is_some_and(|(known, _)| known == prefix)
    })
}

fn example(prefix: &str) -> &'static str {
    GRAMMAR
        .iter()
        .find(|rule| rule.label.split(':').next() == Some(prefix))
        .map_or("", |rule| rule.example)
}

fn needs_value(prefix: &str) -> LabelError {
    LabelError::NeedsValue {
        label: prefix.to_owned(),
        example: example(prefix),
    }
}

/// Returns an error if a prefix differs from a known one by only a few letters.
fn misspelled(prefix: &str) -> Result<(), LabelError> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_', ' '], "");
    let given = plain(prefix);
    // Short names are similar by chance.
    if given.len() < 6 || GRAMMAR.iter().any(|rule| rule.label == prefix) {
        return Ok(());
    }
    let known = GRAMMAR
        .iter()
        .map(|rule| rule.label.split(':').next().unwrap_or_default());
    match known.min_by_key(|known| strsim::damerau_levenshtein(&plain(known), &given)) {
        Some(known) if strsim::damerau_levenshtein(&plain(known), &given) <= usize::from(given.len() > 6) => {
            Err(LabelError::Misspelled {
                label: prefix.to_owned(),
                known,
            })
        }
        _ => Ok(()),
    }
}

/// Returns whether a text is a valid stack id.
pub fn is_stack_id(text: &str) -> bool {
    (1..=256).contains(&text.len())
        && text
            .chars()
            .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-' || it == '_')
}

fn number(text: &str, least: i32, most: i32) -> Result<i32, LabelError> {
    let number = text
        .parse::<i32>()
        .ok()
        .filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| LabelError::NotANumber {
        text: text.to_owned(),
        least,
        most,
    })
}

fn retry_of(text: &str) -> Result<Retry, LabelError> {
    let (attempts, wait) = text.split_once(',').map_or((text, None), |(attempts, wait)| {
        (attempts.trim(), Some(wait.trim()))
    });
    Ok(Retry {
        attempts: number(attempts, 1, 10)?.unsigned_abs(),
        wait_seconds: wait
            .map(duration)
            .transpose()?
            .map_or(Retry::default().wait_seconds, |wait| wait.as_secs()),
    })
}

/// Parses a duration such as `90s`, `15m`, `2h` or `1d`, from one second to one week.
pub fn duration(text: &str) -> Result<Duration, LabelError> {
    let allowed = Duration::from_secs(1)..=Duration::from_hours(7 * 24);
    parse_duration(text)
        .ok()
        .filter(|duration| allowed.contains(duration))
        .ok_or_else(|| LabelError::NotATime(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn read(labels: &[&str]) -> (StackRules, Vec<Mistake>) {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        parse("app", &labels, Dialect::Both)
    }

    #[test]
    fn every_example_of_the_grammar_parses_and_counts() {
        for rule in GRAMMAR {
            let (rules, mistakes) = read(&[rule.example]);
            assert_eq!(mistakes, [], "{}", rule.example);
            assert_ne!(rules, StackRules::default(), "{} has no effect", rule.example);
        }
    }

    #[test]
    fn the_readme_has_the_table() {
        let readme = include_str!("../README.md");
        for Rule {
            label,
            example,
            meaning,
        } in GRAMMAR
        {
            let row = format!("| `{}` | `{example}` | {meaning} |", label.replace('|', "\\|"));
            assert!(readme.contains(&row), "the README lacks the row\n{row}");
        }
    }

    #[test]
    fn both_forms_of_a_dependency_add_up() {
        let (rules, mistakes) = read(&[
            "dependsOn: network",
            "depends-on:dns, vault",
            "folder:eu",
            "ghenv: Name",
        ]);
        assert_eq!(
            rules.depends_on.into_iter().collect::<Vec<_>>(),
            ["dns", "network", "vault"]
        );
        assert_eq!(mistakes, []);
    }

    #[rstest]
    #[case::empty("dependsOn:", "names no stack")]
    #[case::no_value("dependsOn", "names no stack")]
    #[case::upper_case("dependsOn:Network", "`Network` is not a stack id")]
    #[case::list_in_the_wrong_form("dependsOn:a,b", "use `depends-on:` for a list")]
    #[case::empty_entry("depends-on:a,,b", "empty entry")]
    #[case::itself("dependsOn:app", "depends on itself")]
    #[case::case_of_the_prefix("DependsOn:network", "did you mean `dependsOn`?")]
    #[case::other_hyphen("depends_on:network", "did you mean")]
    #[case::condition("chain-run:on-sucess", "use on-success, on-failure or always")]
    #[case::priority("chain-priority:high", "`high` is not a whole number")]
    #[case::group("chain-group:a b", "not a group name")]
    #[case::window("chain-window:Mars/Base Mon 10:00-11:00", "not an IANA time zone")]
    #[case::retry("chain-retry:0", "from 1 to 10")]
    #[case::retry_wait("chain-retry:3,soon", "`soon` is not a time")]
    #[case::timeout("chain-timeout:90", "not a time from 1s to 7d")]
    #[case::limit("chain-max-per-hour:0", "from 1 to 1000")]
    #[case::unknown_option("chain-color:red", "`chain-color` is unknown")]
    #[case::misspelled_option("chain-priorty:4", "did you mean `chain-priority`?")]
    #[case::option_without_value("chain-window", "needs a value")]
    #[case::flag_with_value("critical:yes", "takes no value")]
    fn a_mistake_is_reported_with_stack_and_label(#[case] label: &str, #[case] expected: &str) {
        let (_, mistakes) = read(&[label]);
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert_eq!(
            (mistakes[0].stack.as_str(), mistakes[0].label.as_str()),
            ("app", label)
        );
        assert!(mistakes[0].problem.contains(expected), "{}", mistakes[0].problem);
    }

    #[test]
    fn labels_that_contradict_each_other_are_reported_and_the_first_applies() {
        let (rules, mistakes) = read(&[
            "chain-run:always",
            "chain-run:on-failure",
            "chain-group:a",
            "chain-group:b",
        ]);
        assert_eq!(
            (rules.condition, rules.group.as_deref()),
            (Condition::Always, Some("a"))
        );
        assert_eq!(mistakes.len(), 2);
        assert!(
            mistakes[0].problem.contains("contradicts `chain-run:always`"),
            "{}",
            mistakes[0].problem
        );
    }

    #[test]
    fn a_label_of_a_disabled_dialect_is_reported() {
        let labels = ["depends-on:network".to_owned(), "dependsOn:dns".to_owned()];
        let (rules, mistakes) = parse("app", &labels, Dialect::DependsOn);
        assert_eq!(rules.depends_on.into_iter().collect::<Vec<_>>(), ["dns"]);
        assert!(mistakes[0].problem.contains("STACK_CHAIN_LABELS"), "{mistakes:?}");
    }
}
