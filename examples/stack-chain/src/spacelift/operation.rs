//! The GraphQL queries and mutations of the client, including the login.

/// A GraphQL query or mutation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) document: &'static str,
    /// Description of the operation for error messages: `failed to ...`.
    pub(super) does: &'static str,
    pub(super) is_mutation: bool,
}

pub(super) const LOGIN: Operation = Operation {
    name: "Login",
    document: "mutation Login($id: ID!, $secret: String!) { apiKeyUser(id: $id, secret: $secret) { jwt validUntil } }",
    does: "log in",
    is_mutation: true,
};
pub(super) const VIEWER: Operation = Operation {
    name: "Viewer",
    document: "query Viewer { viewer { id name } }",
    does: "check the login",
    is_mutation: false,
};
