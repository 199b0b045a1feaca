//! The crypto provider of a program that embeds the clients. It runs in a separate process, because a
//! provider can only be installed once.

use rustls::crypto::{CryptoProvider, ring};

#[test]
fn the_provider_of_the_process_is_used_and_none_is_installed() {
    let ours = http_edge::tls::provider();
    assert!(http_edge::tls::client_config(&[]).is_ok());
    assert!(http_edge::tls::verifier(&[]).is_ok());
    assert!(
        CryptoProvider::get_default().is_none(),
        "making a client installs nothing"
    );

    let mut own = ring::default_provider();
    own.cipher_suites.truncate(1);
    own.install_default().expect("nobody was faster");
    assert!(ours.cipher_suites.len() > 1);
    assert_eq!(
        http_edge::tls::provider().cipher_suites.len(),
        1,
        "that of the process"
    );
    assert!(http_edge::tls::client_config(&[]).is_ok());
}
