//! The TLS settings of one client, and the certificate authorities that it trusts.
//!
//! The system's authorities are loaded once per process. If the system has none, as in a container image built from scratch, the
//! built-in Mozilla authorities are trusted instead.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use crate::pem::{self, PemProblem};

/// Returns the TLS settings of an HTTP client that trusts the system's authorities and `extra` ones.
///
/// # Errors
///
/// If one of the extra certificates cannot be used as an authority.
///
/// # Panics
///
/// Never: the crypto provider supports the requested protocol versions.
pub fn client_config(extra: &[CertificateDer<'static>]) -> Result<ClientConfig, rustls::Error> {
    let mut roots = system_roots().clone();
    for certificate in extra {
        roots.add(certificate.clone())?;
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites, and key exchange for them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    // reqwest uses prepared TLS settings unchanged, and without ALPN every connection would be HTTP/1.1.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Parses certificate authorities in PEM.
///
/// # Errors
///
/// If there is none, or one cannot be used as an authority.
pub fn authorities(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemProblem> {
    let certificates = pem::certificates(text)?;
    match client_config(&certificates) {
        Ok(_) => Ok(certificates),
        Err(_) => Err(PemProblem::Damaged),
    }
}

/// Returns a verifier for server certificates that trusts only `authorities`, or the system's if there are
/// none.
///
/// # Errors
///
/// If one of the certificates cannot be used as an authority.
///
/// # Panics
///
/// Never: the built-in roots are the fallback, so there is always at least one.
pub fn verifier(
    authorities: &[CertificateDer<'static>],
) -> Result<Arc<dyn ServerCertVerifier>, rustls::Error> {
    let roots = if authorities.is_empty() {
        system_roots().clone()
    } else {
        let mut roots = RootCertStore::empty();
        for certificate in authorities {
            roots.add(certificate.clone())?;
        }
        roots
    };
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .expect("there is at least one root, and no revocation list");
    Ok(verifier)
}

/// Returns the crypto provider for all connections: the one that the program has installed for the process,
/// or ring. Installs nothing.
pub fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default()
        // The TLS settings cannot be built with a provider that lacks them.
        .filter(|provider| !provider.cipher_suites.is_empty() && !provider.kx_groups.is_empty())
        .map_or_else(|| Arc::new(rustls::crypto::ring::default_provider()), Arc::clone)
}

/// Returns the system's authorities, or the built-in ones.
fn system_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        let (roots, is_built_in) = roots_of(found.certs);
        if is_built_in {
            let reason = found
                .errors
                .first()
                .map_or_else(String::new, |error| format!(" ({error})"));
            tracing::warn!(
                "no CA certificates found on this system{reason}: using the built-in Mozilla roots. Install ca-certificates, or \
                 set SSL_CERT_FILE, to trust other authorities"
            );
        }
        roots
    })
}

/// Returns a store with these certificates, or with the built-in ones if none can be used.
fn roots_of(certificates: Vec<CertificateDer<'static>>) -> (RootCertStore, bool) {
    let mut roots = RootCertStore::empty();
    // System stores contain certificates that rustls rejects. They are skipped, and the others are used.
    roots.add_parsable_certificates(certificates);
    let is_built_in = roots.is_empty();
    if is_built_in {
        roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    }
    (roots, is_built_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_roots_are_used_where_the_system_has_none() {
        let (roots, is_built_in) = roots_of(Vec::new());
        assert!(is_built_in && roots.len() > 100, "{}", roots.len());
        let (roots, is_built_in) = roots_of(vec![CertificateDer::from(vec![1, 2, 3])]);
        assert!(is_built_in && roots.len() > 100, "a certificate that is garbage");
    }

    #[test]
    fn system_roots_take_precedence_over_the_built_in_ones() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut authority = rcgen::CertificateParams::new(Vec::<String>::new()).expect("parameters");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = authority.self_signed(&key).expect("signed").der().clone();
        let (roots, is_built_in) = roots_of(vec![authority.clone()]);
        assert_eq!((roots.len(), is_built_in), (1, false));
        assert_eq!(authorities(b"").err(), Some(PemProblem::Empty));
        assert!(verifier(&[authority]).is_ok());
        let garbage = CertificateDer::from(vec![1, 2, 3]);
        assert!(verifier(std::slice::from_ref(&garbage)).is_err() && client_config(&[garbage]).is_err());
    }
}
