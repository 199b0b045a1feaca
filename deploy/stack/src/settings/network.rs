//! Where the processes of a stack listen.

use serde::{Deserialize, Serialize};

use crate::roles::{Member, Role};

/// Addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// The first two numbers of the loopback addresses.
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
    /// The address of a process that is not one of the roles.
    fn shared(&self, port: u16) -> String {
        format!("{}.0.1:{port}", self.loopback)
    }

    /// The address of PostgreSQL.
    pub fn postgres(&self) -> String {
        self.shared(5432)
    }

    /// The address of `PgBouncer`.
    pub fn pgbouncer(&self) -> String {
        self.shared(6432)
    }

    /// The address that clients connect to.
    pub fn frontend(&self) -> String {
        let first = Member {
            role: Role::Frontend,
            number: 1,
        };
        first.grpc(&self.loopback)
    }

    /// The address of the web UI.
    pub fn ui(&self) -> String {
        self.shared(8080)
    }

    /// The address of the simulated cloud.
    pub fn cloud(&self) -> String {
        self.shared(8300)
    }

    /// The address of the autopilot's metrics and health.
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
        .is_some_and(|number| text == format!("127.{number}"))
}
