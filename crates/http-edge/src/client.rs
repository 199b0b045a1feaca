//! Builds the HTTP client for a service, with its own TLS settings and without redirects.

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

/// Returns a client with the default certificate authorities. Plain http is allowed only if `is_loopback` is true.
///
/// # Panics
///
/// Never: TLS settings without extra certificates always work.
pub fn usual_client(connect_timeout: Duration, is_loopback: bool) -> reqwest::Client {
    let tls = crate::tls::client_config(&[]).expect("without extra certificates, nothing can be invalid");
    client(tls, connect_timeout, is_loopback)
        .https_only(!is_loopback)
        .build()
        .expect("the TLS settings are valid, and nothing else can fail")
}
