//! The roles of a Temporal server and the addresses of their processes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A role of the Temporal server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Owns workflow state.
    History,
    /// Owns task queues.
    Matching,
    /// Accepts connections from clients.
    Frontend,
    /// Runs Temporal's own background workflows.
    Worker,
}

impl Role {
    /// All roles in start order.
    pub const ALL: [Self; 4] = [Self::History, Self::Matching, Self::Frontend, Self::Worker];

    /// Returns the name on the server's command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::History => "history",
            Self::Matching => "matching",
            Self::Frontend => "frontend",
            Self::Worker => "worker",
        }
    }

    /// Parses the name of a role, such as `history`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// Returns the third octet of the IP addresses of this role.
    fn subnet(self) -> u8 {
        match self {
            Self::Frontend => 1,
            Self::History => 2,
            Self::Matching => 3,
            Self::Worker => 4,
        }
    }

    /// Returns the gRPC port. The worker role has one but does not listen on it.
    pub fn grpc_port(self) -> u16 {
        match self {
            Self::Frontend => 7233,
            Self::History => 7234,
            Self::Matching => 7235,
            Self::Worker => 7239,
        }
    }

    /// Returns the port of the membership protocol.
    pub fn membership_port(self) -> u16 {
        // Temporal's default ports: 6933 to 6935, and 6939.
        self.grpc_port() - 300
    }

    /// Returns the service name for its health check; `None` for the worker role, which has no health check.
    pub fn health_service(self) -> Option<&'static str> {
        match self {
            Self::Frontend => Some("temporal.api.workflowservice.v1.WorkflowService"),
            // The server registers the health checks of all roles in the frontend's package.
            Self::History => Some("temporal.api.workflowservice.v1.HistoryService"),
            Self::Matching => Some("temporal.api.workflowservice.v1.MatchingService"),
            Self::Worker => None,
        }
    }

    /// Returns the number of the role in the database table `cluster_membership`.
    pub fn membership_number(self) -> u8 {
        match self {
            Self::Frontend => 1,
            Self::History => 2,
            Self::Matching => 3,
            Self::Worker => 4,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Port on which every process serves its metrics.
pub const METRICS_PORT: u16 = 8000;

/// One process of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Role of the process.
    pub role: Role,
    /// Number within the role, from 1.
    pub number: u8,
}

impl Member {
    /// Parses a name such as `history-2`.
    pub fn parse(text: &str) -> Option<Self> {
        let (role, number) = text.rsplit_once('-')?;
        Some(Self {
            role: Role::parse(role)?,
            number: number.parse().ok().filter(|number| *number > 0)?,
        })
    }

    /// Returns the IP address of the process.
    pub fn ip(self, loopback: &str) -> String {
        // With an address for each process, all of them can keep the server's default ports.
        format!("{loopback}.{}.{}", self.role.subnet(), self.number)
    }

    /// Returns the address of the process's gRPC service.
    pub fn grpc(self, loopback: &str) -> String {
        format!("{}:{}", self.ip(loopback), self.role.grpc_port())
    }

    /// Returns the address that serves the metrics of the process.
    pub fn metrics(self, loopback: &str) -> String {
        format!("{}:{METRICS_PORT}", self.ip(loopback))
    }

    /// Returns all addresses that the process listens on.
    pub fn listens(self, loopback: &str) -> Vec<String> {
        let ip = self.ip(loopback);
        let mut ports = vec![self.role.membership_port(), METRICS_PORT];
        if self.role != Role::Worker {
            ports.push(self.role.grpc_port());
        }
        if self.role == Role::Frontend {
            ports.push(7243);
        }
        ports.into_iter().map(|port| format!("{ip}:{port}")).collect()
    }
}

impl fmt::Display for Member {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.role, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("history-2", Some("127.77.2.2:7234"))]
    #[case("frontend-1", Some("127.77.1.1:7233"))]
    #[case("history-0", None)]
    #[case("history", None)]
    #[case("postgres-1", None)]
    fn each_member_has_its_own_address(#[case] name: &str, #[case] expected: Option<&str>) {
        let address = Member::parse(name).map(|member| member.grpc("127.77"));
        assert_eq!(address.as_deref(), expected);
    }
}
