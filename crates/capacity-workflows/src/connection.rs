//! Builds a connection from settings.

use capacity_settings::Home;
pub use temporal_worker_kit::{ConnectError, ConnectionSettings, Credential};

/// A required setting that is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not set")]
pub struct NotSet(&'static str);

/// Returns the connection that the settings describe, with this identity in the service's lists.
///
/// # Errors
///
/// If the address or the namespace is not set.
pub fn connection(home: &Home, identity: String) -> Result<ConnectionSettings, NotSet> {
    let credential = match (&home.api_key, &home.certificate) {
        (Some(key), _) => Credential::ApiKey(key.clone()),
        (None, Some((certificate, key))) => Credential::Certificate {
            certificate: certificate.clone(),
            key: key.clone(),
        },
        (None, None) => Credential::None,
    };
    Ok(ConnectionSettings {
        address: home.address.clone().ok_or(NotSet("TEMPORAL_ADDRESS"))?,
        namespace: home.namespace.clone().ok_or(NotSet("TEMPORAL_NAMESPACE"))?,
        credential,
        encrypted: home.encrypted == Some(true),
        server_ca: home.server_ca.clone(),
        server_name: home.server_name.clone(),
        identity,
        ..ConnectionSettings::default()
    })
}
