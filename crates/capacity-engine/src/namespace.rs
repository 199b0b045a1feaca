//! Names of namespaces, and the globs that select them.

use std::fmt;
use std::str::FromStr;

use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

/// The full id of a namespace, `name.account`.
///
/// Namespaces of a local server have no account, only a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamespaceId(String);

/// A string that is not a valid namespace id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{id}` is not a namespace id: {problem}")]
pub struct InvalidNamespaceId {
    id: String,
    problem: &'static str,
}

impl NamespaceId {
    /// Returns the full id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the part before the first dot.
    pub fn name(&self) -> &str {
        self.0.split_once('.').map_or(self.as_str(), |(name, _)| name)
    }

    /// Returns the part after the first dot; a namespace of a local server has none.
    pub fn account(&self) -> Option<&str> {
        self.0.split_once('.').map(|(_, account)| account)
    }
}

impl FromStr for NamespaceId {
    type Err = InvalidNamespaceId;

    fn from_str(id: &str) -> Result<Self, Self::Err> {
        let problem = if id.is_empty() {
            Some("it is empty")
        } else if id.len() > 255 {
            Some("it is longer than 255 characters")
        } else if !id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        {
            Some("it contains characters other than letters, digits, hyphens, underscores and dots")
        } else if id.starts_with('.') || id.ends_with('.') {
            Some("its name or its account is missing")
        } else {
            None
        };
        match problem {
            Some(problem) => Err(InvalidNamespaceId {
                // The text came from outside and ends up in logs and messages.
                id: id.chars().take(80).collect(),
                problem,
            }),
            None => Ok(Self(id.to_owned())),
        }
    }
}

impl TryFrom<String> for NamespaceId {
    type Error = InvalidNamespaceId;

    fn try_from(id: String) -> Result<Self, Self::Error> {
        id.parse()
    }
}

impl From<NamespaceId> for String {
    fn from(id: NamespaceId) -> Self {
        id.0
    }
}

impl fmt::Display for NamespaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Globs that match bare names or full ids.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct NamespacePatterns {
    patterns: Vec<String>,
    globs: GlobSet,
}

/// An invalid glob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the pattern `{pattern}` is invalid: {problem}")]
pub struct InvalidPattern {
    pattern: String,
    problem: String,
}

impl TryFrom<Vec<String>> for NamespacePatterns {
    type Error = InvalidPattern;

    fn try_from(patterns: Vec<String>) -> Result<Self, Self::Error> {
        Self::try_new(&patterns)
    }
}

impl From<NamespacePatterns> for Vec<String> {
    fn from(patterns: NamespacePatterns) -> Self {
        patterns.patterns
    }
}

impl NamespacePatterns {
    /// Parses globs: `*` and `?` match any characters, `[ab]` matches one of several, and `{a,b}` lists
    /// alternatives.
    ///
    /// # Errors
    ///
    /// Returns the first pattern that is empty or invalid.
    pub fn try_new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, InvalidPattern> {
        let mut builder = GlobSetBuilder::new();
        for pattern in patterns {
            let pattern = pattern.as_ref();
            let invalid = |problem: String| InvalidPattern {
                pattern: pattern.to_owned(),
                problem,
            };
            if pattern.is_empty() {
                return Err(invalid("it is empty".to_owned()));
            }
            builder.add(Glob::new(pattern).map_err(|error| invalid(error.kind().to_string()))?);
        }
        let globs = builder.build().map_err(|error| InvalidPattern {
            pattern: error.glob().unwrap_or_default().to_owned(),
            problem: error.kind().to_string(),
        })?;
        Ok(Self {
            patterns: patterns
                .iter()
                .map(|pattern| pattern.as_ref().to_owned())
                .collect(),
            globs,
        })
    }

    /// Returns whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Returns whether any pattern matches the bare name or the full id.
    pub fn matches(&self, namespace: &NamespaceId) -> bool {
        // Operators write either form, and the same file may serve several accounts.
        self.globs.is_match(namespace.as_str()) || self.globs.is_match(namespace.name())
    }

    /// Returns the patterns that match none of these namespaces.
    pub fn unmatched<'a>(&self, namespaces: impl IntoIterator<Item = &'a NamespaceId>) -> Vec<&str> {
        let mut matched = vec![false; self.patterns.len()];
        for namespace in namespaces {
            for name in [namespace.as_str(), namespace.name()] {
                for number in self.globs.matches(name) {
                    matched[number] = true;
                }
            }
        }
        let pairs = self.patterns.iter().zip(matched);
        pairs
            .filter(|(_, matched)| !matched)
            .map(|(pattern, _)| pattern.as_str())
            .collect()
    }
}

// Exhaustive: a value without one of these fields has no meaning.
/// Selects the managed namespaces. The denylist takes precedence; an empty allowlist allows all.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NamespaceFilter {
    /// Namespaces to manage; empty means all.
    pub allow: NamespacePatterns,
    /// Namespaces that are never managed.
    pub deny: NamespacePatterns,
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn id(text: &str) -> NamespaceId {
        text.parse().expect("a valid id")
    }

    #[test]
    fn an_id_has_a_name_and_an_account() {
        assert_eq!(id("orders.a1b2c").name(), "orders");
        assert_eq!(id("orders.a1b2c").account(), Some("a1b2c"));
        assert_eq!(id("default").name(), "default");
        assert_eq!(id("default").account(), None);
    }

    #[rstest]
    #[case::empty("")]
    #[case::path("orders/../x")]
    #[case::control("orders\n.a1b2c")]
    #[case::no_name(".a1b2c")]
    #[case::no_account("orders.")]
    fn invalid_ids_are_refused(#[case] text: &str) {
        assert!(text.parse::<NamespaceId>().is_err());
    }

    #[rstest]
    #[case::bare("orders", true)]
    #[case::full("orders.a1b2c", true)]
    #[case::glob_on_bare("ord*", true)]
    #[case::glob_on_full("*.a1b2c", true)]
    #[case::alternatives("{orders,pay}", true)]
    #[case::other_account("orders.zzzzz", false)]
    #[case::prefix_is_no_match("order", false)]
    fn globs_match_the_bare_name_or_the_full_id(#[case] pattern: &str, #[case] expected: bool) {
        let patterns = NamespacePatterns::try_new(&[pattern]).expect("parses");
        assert_eq!(patterns.matches(&id("orders.a1b2c")), expected);
    }

    #[test]
    fn an_invalid_pattern_is_named() {
        let error = NamespacePatterns::try_new(&["fine", "or[ders"]).expect_err("must not parse");
        assert!(error.to_string().contains("`or[ders`"), "{error}");
    }

    #[test]
    fn patterns_that_match_nothing_are_named() {
        let patterns = NamespacePatterns::try_new(&["pay*", "ghost"]).expect("parses");
        assert_eq!(
            patterns.unmatched([&id("pay-eu.a1b2c"), &id("orders.a1b2c")]),
            ["ghost"]
        );
    }
}
