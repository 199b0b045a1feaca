//! Number of processes of each role.

use serde::{Deserialize, Serialize};

use crate::roles::Role;

/// Number of processes of each role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Replicas {
    /// Number of frontend processes.
    pub frontend: u8,
    /// Number of history processes.
    pub history: u8,
    /// Number of matching processes.
    pub matching: u8,
    /// Number of processes for Temporal's own workers.
    pub worker: u8,
}

impl Default for Replicas {
    fn default() -> Self {
        Self::all(1)
    }
}

impl Replicas {
    /// Returns the same number for each role.
    pub fn all(count: u8) -> Self {
        Self {
            frontend: count,
            history: count,
            matching: count,
            worker: count,
        }
    }

    /// Returns the number of processes of a role.
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
            // The frontend's certificate contains nine addresses.
            .filter(|(_, count)| !(1..=9).contains(count))
            .map(|(role, count)| format!("replicas.{role} = {count}: use 1 to 9"))
            .collect()
    }
}
