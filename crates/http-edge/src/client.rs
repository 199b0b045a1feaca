//! The HTTP client of a service, with its own TLS settings and without redirects.

use std::time::Duration;

use reqwest::redirect::Policy;
use rustls::ClientConfig;

/// Returns the settings that all clients share. No proxy is used for loopback addresses.
pub fn client(tls: ClientConfig, connect_timeout: Duration, is_loopback: bool) -> reqwest::ClientBuilder {
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("temporal-capacity/", env!("CARGO_PKG_VERSION")))
        // Following a redirect would send a secret to an address that nobody configured.
        .redirect(Policy::none())
        .connect_timeout(connect_timeout);
    if is_loopback { client.no_proxy() } else { client }
}

/// Returns a client with the default certificate authorities, which sends unencrypted requests only to loopback addresses.
///
/// # Panics
///
/// Never: TLS settings without extra certificates always work.
pub fn usual_client(connect_timeout: Duration, is_loopback: bool) -> reqwest::Client {
    let tls = crate::tls::client_config(&[]).expect("no certificate is added that could be wrong");
    client(tls, connect_timeout, is_loopback)
        .https_only(!is_loopback)
        .build()
        .expect("the TLS settings are made by the same library, and nothing else can fail")
}
