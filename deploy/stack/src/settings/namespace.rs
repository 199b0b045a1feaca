//! Declared namespaces.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Types of search attributes, and the maximum number of each per namespace in PostgreSQL.
pub const ATTRIBUTE_TYPES: [(&str, usize); 7] = [
    ("Bool", 3),
    ("Datetime", 3),
    ("Double", 3),
    ("Int", 3),
    ("Keyword", 10),
    ("KeywordList", 3),
    ("Text", 3),
];

/// A namespace as declared in `stack.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Namespace {
    /// Name of the namespace.
    pub name: String,
    /// Description shown by the server.
    #[serde(default)]
    pub description: String,
    /// Retention of closed workflows in days.
    pub retention_days: u16,
    /// Whether histories are archived.
    #[serde(default)]
    pub archive_history: bool,
    /// Whether visibility records are archived.
    #[serde(default)]
    pub archive_visibility: bool,
    /// Custom search attributes and their types.
    #[serde(default)]
    pub search_attributes: BTreeMap<String, String>,
}

/// Returns the mistakes in the namespaces, depending on whether the server archives and whether visibility is
/// in PostgreSQL.
pub(super) fn mistakes(namespaces: &[Namespace], is_archiving: bool, is_in_postgres: bool) -> Vec<String> {
    let mut mistakes = Vec::new();
    for (index, namespace) in namespaces.iter().enumerate() {
        let name = &namespace.name;
        let is_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.len() < 2 || !name.chars().all(is_name) || name == "temporal-system" {
            mistakes.push(format!(
                "namespace \"{name}\": use at least two characters from a-z, A-Z, 0-9, `.`, `_` and `-`, and a name other than temporal-system"
            ));
        }
        if namespaces[..index].iter().any(|other| other.name == *name) {
            mistakes.push(format!("namespace \"{name}\" is declared twice"));
        }
        if namespace.retention_days == 0 {
            mistakes.push(format!("namespace \"{name}\": retention_days must be at least 1"));
        }
        if (namespace.archive_history || namespace.archive_visibility) && !is_archiving {
            mistakes.push(format!(
                "namespace \"{name}\" uses archival, but archival.enabled is false"
            ));
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (attribute, kind) in &namespace.search_attributes {
            *counts.entry(kind).or_default() += 1;
            if !ATTRIBUTE_TYPES.iter().any(|(known, _)| known == kind) {
                let known: Vec<&str> = ATTRIBUTE_TYPES.iter().map(|(known, _)| *known).collect();
                mistakes.push(format!(
                    "namespace \"{name}\": search attribute {attribute} has the type \"{kind}\"; use one of {}",
                    known.join(", ")
                ));
            }
        }
        for (kind, limit) in ATTRIBUTE_TYPES {
            let count = counts.get(kind).copied().unwrap_or_default();
            // A search cluster has no fixed number of columns.
            if count > limit && is_in_postgres {
                mistakes.push(format!(
                    "namespace \"{name}\" has {count} search attributes of the type {kind}; PostgreSQL has columns for {limit}"
                ));
            }
        }
    }
    mistakes
}
