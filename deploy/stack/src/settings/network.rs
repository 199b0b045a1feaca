//! Addresses of a stack's processes.

use serde::{Deserialize, Serialize};

use crate::roles::{Member, Role};

/// Loopback addresses of the processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// First two numbers of the loopback addresses.
    pub loopback: String,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            loopback: "127.77".to_owned(),
        }
    }
}

impl Network {
    /// Returns the address of a process that does not belong to a role.
    fn shared(&self, port: u16) -> String {
        format!("{}.0.1:{port}", self.loopback)
    }

    /// Returns the address of PostgreSQL.
    pub fn postgres(&self) -> String {
        self.shared(5432)
    }

    /// Returns the address of `PgBouncer`.
    pub fn pgbouncer(&self) -> String {
        self.shared(6432)
    }

    /// Returns the address that clients connect to.
    pub fn frontend(&self) -> String {
        let first = Member {
            role: Role::Frontend,
            number: 1,
        };
        first.grpc(&self.loopback)
    }

    /// Returns the address of the web UI.
    pub fn ui(&self) -> String {
        self.shared(8080)
    }

    /// Returns the address of the simulated cloud.
    pub fn cloud(&self) -> String {
        self.shared(8300)
    }

    /// Returns the address of the autopilot's metrics and health.
    pub fn autopilot(&self) -> String {
        self.shared(9464)
    }

    pub(super) fn mistakes(&self) -> Option<String> {
        (!is_loopback_half(&self.loopback)).then(|| {
            format!(
                "network.loopback = \"{}\": use the first two numbers of a loopback address, such as \"127.77\"",
                self.loopback
            )
        })
    }
}

fn is_loopback_half(text: &str) -> bool {
    text.strip_prefix("127.")
        .and_then(|rest| rest.parse::<u8>().ok())
        // Parsing alone also accepts `+7` and `007`.
        .is_some_and(|number| text == format!("127.{number}"))
}
