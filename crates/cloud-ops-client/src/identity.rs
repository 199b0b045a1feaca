//! The owner of a key, and its permissions.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use crate::wire::{null_is_default, wire_enum};

wire_enum!(
    /// Role in the account.
    AccountRole, "ROLE_", {
        /// Account owner.
        Owner = 1 "OWNER",
        /// Global admin.
        Admin = 2 "ADMIN",
        /// Developer.
        Developer = 3 "DEVELOPER",
        /// Finance admin.
        FinanceAdmin = 4 "FINANCE_ADMIN",
        /// Read-only.
        Read = 5 "READ",
        /// Metrics read-only.
        MetricsRead = 6 "METRICS_READ",
    }
);

wire_enum!(
    /// Permission on one namespace.
    NamespacePermission, "PERMISSION_", {
        /// Can change the namespace.
        Admin = 1 "ADMIN",
        /// Can run workflows in the namespace.
        Write = 2 "WRITE",
        /// Can read the namespace.
        Read = 3 "READ",
    }
);

/// The owner of a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Name of a service account, or email address of a user.
    pub name: String,
    /// Whether the owner is a service account.
    pub is_service_account: bool,
    /// Role in the account.
    pub account_role: AccountRole,
    /// Custom roles.
    pub custom_roles: Vec<String>,
    /// Permissions on namespaces, by full id.
    pub namespace_permissions: BTreeMap<String, NamespacePermission>,
    /// Time when the key expires.
    pub key_expires_at: Option<Timestamp>,
    /// Whether the key is disabled.
    pub key_is_disabled: bool,
}

impl Identity {
    /// Returns whether the owner can change the capacity of a namespace; `None` if custom roles decide,
    /// because their permissions are not shown.
    ///
    /// Namespace Admin, Global Admin and Account Owner can (Temporal's documentation, roles and permissions).
    pub fn may_change(&self, namespace: &str) -> Option<bool> {
        if matches!(self.account_role, AccountRole::Owner | AccountRole::Admin) {
            return Some(true);
        }
        match self.namespace_permissions.get(namespace) {
            Some(NamespacePermission::Admin) => Some(true),
            _ if !self.custom_roles.is_empty() => None,
            Some(_) | None => Some(false),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Access {
    #[serde(alias = "account_access", deserialize_with = "null_is_default")]
    account_access: AccountAccess,
    #[serde(alias = "namespace_accesses", deserialize_with = "null_is_default")]
    namespace_accesses: BTreeMap<String, NamespaceAccess>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct AccountAccess {
    #[serde(deserialize_with = "null_is_default")]
    role: AccountRole,
    #[serde(alias = "custom_roles", deserialize_with = "null_is_default")]
    custom_roles: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NamespaceAccess {
    #[serde(deserialize_with = "null_is_default")]
    permission: NamespacePermission,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct NamespaceScopedAccess {
    #[serde(deserialize_with = "null_is_default")]
    namespace: String,
    #[serde(deserialize_with = "null_is_default")]
    access: NamespaceAccess,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PrincipalSpec {
    #[serde(deserialize_with = "null_is_default")]
    name: String,
    #[serde(deserialize_with = "null_is_default")]
    email: String,
    #[serde(deserialize_with = "null_is_default")]
    access: Access,
    #[serde(alias = "namespace_scoped_access")]
    namespace_scoped_access: Option<NamespaceScopedAccess>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Principal {
    #[serde(deserialize_with = "null_is_default")]
    spec: PrincipalSpec,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct KeySpec {
    #[serde(alias = "expiry_time")]
    expiry_time: Option<Timestamp>,
    #[serde(deserialize_with = "null_is_default")]
    disabled: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Key {
    #[serde(deserialize_with = "null_is_default")]
    spec: KeySpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CurrentIdentity {
    #[serde(default)]
    user: Option<Principal>,
    #[serde(default, alias = "service_account")]
    service_account: Option<Principal>,
    #[serde(default, alias = "principal_api_key")]
    principal_api_key: Option<Key>,
}

impl From<CurrentIdentity> for Identity {
    fn from(answer: CurrentIdentity) -> Self {
        let is_service_account = answer.service_account.is_some();
        let spec = answer.service_account.or(answer.user).unwrap_or_default().spec;
        let key = answer.principal_api_key.unwrap_or_default().spec;
        let mut namespace_permissions: BTreeMap<String, NamespacePermission> = spec
            .access
            .namespace_accesses
            .into_iter()
            .map(|(namespace, access)| (namespace, access.permission))
            .collect();
        // A service account that is limited to one namespace has its permission here and not in `access`.
        if let Some(scoped) = spec
            .namespace_scoped_access
            .filter(|scoped| !scoped.namespace.is_empty())
        {
            namespace_permissions.insert(scoped.namespace, scoped.access.permission);
        }
        Self {
            // Users have an email address only.
            name: if spec.name.is_empty() {
                spec.email
            } else {
                spec.name
            },
            is_service_account,
            account_role: spec.access.account_access.role,
            custom_roles: spec.access.account_access.custom_roles,
            namespace_permissions,
            key_expires_at: key.expiry_time,
            key_is_disabled: key.disabled,
        }
    }
}
