//! How many processes each role has.

use serde::{Deserialize, Serialize};

use crate::roles::Role;

/// Processes of each role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Replicas {
    /// Processes of the frontend.
    pub frontend: u8,
    /// Processes of history.
    pub history: u8,
    /// Processes of matching.
    pub matching: u8,
    /// Processes of Temporal's own workers.
    pub worker: u8,
}

impl Default for Replicas {
    fn default() -> Self {
        Self::all(1)
    }
}

impl Replicas {
    /// The same number of each role.
    pub fn all(count: u8) -> Self {
        Self {
            frontend: count,
            history: count,
            matching: count,
            worker: count,
        }
    }

    /// How many processes a role has.
    pub fn of(&self, role: Role) -> u8 {
        match role {
            Role::Frontend => self.frontend,
            Role::History => self.history,
            Role::Matching => self.matching,
            Role::Worker => self.worker,
        }
    }

    pub(super) fn mistakes(&self) -> Vec<String> {
        let counts = Role::ALL.into_iter().map(|role| (role, self.of(role)));
        counts
            .filter(|(_, count)| !(1..=9).contains(count))
            .map(|(role, count)| format!("replicas.{role} = {count}: use 1 to 9"))
            .collect()
    }
}
