//! Certificates and private keys in PEM, in the variants that environment variables and secret stores
//! produce: with Windows line endings, a byte-order mark, quotes, or `\n` written as two characters.

use std::path::PathBuf;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
pub use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use secrecy::SecretString;

use crate::secret::without_quotes;

// Exhaustive: PEM text is either in a file or in memory.
/// A certificate or a key: a file, or the PEM text itself.
#[derive(Debug, Clone)]
pub enum Pem {
    /// A file, which is read when it is used.
    File(PathBuf),
    /// The PEM text.
    Data(SecretString),
}

impl Pem {
    /// Returns the PEM text itself if `text` is PEM, or the file with that name.
    pub fn of(text: &str) -> Self {
        if text.contains("-----BEGIN") {
            Self::Data(text.to_owned().into())
        } else {
            Self::File(PathBuf::from(text))
        }
    }
}

/// Why something cannot be used as a certificate or a private key. Never contains any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PemProblem {
    /// The content is empty.
    #[error("is empty")]
    Empty,
    /// DER, the binary form.
    #[error(
        "is in DER (binary) form; convert it to PEM: `openssl x509 -inform der -in FILE` for a certificate, `openssl pkey -inform der -in FILE` for a key"
    )]
    Der,
    /// Other binary content. A PKCS#12 bundle is DER too.
    #[error("is not text; PEM text is expected, beginning with `-----BEGIN`")]
    Binary,
    /// Text that is not PEM.
    #[error("contains no PEM text; a line beginning with `-----BEGIN` is expected")]
    NotPem,
    /// A private key instead of a certificate.
    #[error("contains a private key, not a certificate; certificate and key may be swapped")]
    KeyInstead,
    /// A certificate instead of a private key.
    #[error("contains a certificate, not a private key; certificate and key may be swapped")]
    CertificateInstead,
    /// A private key with a passphrase.
    #[error("contains an encrypted private key; decrypt it first: `openssl pkey -in FILE`")]
    EncryptedKey,
    /// A truncated or damaged block.
    #[error("contains PEM text that is truncated or damaged; copy the whole block from BEGIN to END again")]
    Damaged,
    /// A certificate and a key that do not belong together.
    #[error("does not belong to the certificate: it is the key of another certificate")]
    Mismatch,
    /// A key of an unsupported type.
    #[error(
        "contains a private key of an unsupported type; use RSA (2048 bits or more), ECDSA P-256 or P-384, or Ed25519"
    )]
    UnsupportedKey,
}

/// Parses all certificates of a PEM text.
///
/// # Errors
///
/// If there is none, or one is damaged.
pub fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemProblem> {
    let text = plain(bytes)?;
    let read: Result<Vec<_>, PemError> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match read {
        Ok(read) if read.is_empty() => Err(missing(&text, false)),
        Ok(read) => Ok(read),
        Err(_) => Err(PemProblem::Damaged),
    }
}

/// Parses the first private key of a PEM text.
///
/// # Errors
///
/// If there is none, or it is damaged.
pub fn private_key(bytes: &[u8]) -> Result<PrivateKeyDer<'static>, PemProblem> {
    let text = plain(bytes)?;
    match PrivateKeyDer::from_pem_slice(text.as_bytes()) {
        Ok(key) => Ok(key),
        Err(PemError::NoItemsFound) => Err(missing(&text, true)),
        Err(_) => Err(PemProblem::Damaged),
    }
}

/// Checks that a key is supported and belongs to a certificate.
///
/// # Errors
///
/// If the key does not belong to the certificate, or its type is not supported.
pub fn check_pair(
    certificates: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<(), PemProblem> {
    match CertifiedKey::from_der(certificates.to_vec(), key.clone_key(), provider) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err(PemProblem::Mismatch)
        }
        Err(rustls::Error::InvalidCertificate(_)) => Err(PemProblem::Damaged),
        Err(_) => Err(PemProblem::UnsupportedKey),
    }
}

/// Returns normalized PEM text with all blocks of the input.
///
/// # Errors
///
/// If the input is not PEM text.
pub fn plain(bytes: &[u8]) -> Result<String, PemProblem> {
    // An ASN.1 sequence with a length of two bytes: certificates and keys begin like this.
    let is_der = matches!(bytes, [0x30, 0x81..=0x84, ..]);
    let text = std::str::from_utf8(bytes).map_err(|_| {
        if is_der {
            PemProblem::Der
        } else {
            PemProblem::Binary
        }
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = without_quotes(text.trim());
    if text.is_empty() {
        return Err(PemProblem::Empty);
    }
    if !text.contains("-----BEGIN") {
        return Err(PemProblem::NotPem);
    }
    let text = text
        // The longer escape first: the shorter one is a part of it.
        .replace("\\r\\n", "\n")
        .replace("\\n", "\n")
        .replace("\r\n", "\n");
    // YAML and shell scripts indent pasted lines, and the PEM parser accepts no indentation.
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    Ok(lines.join("\n") + "\n")
}

/// Returns why PEM text does not contain what is expected.
fn missing(text: &str, key_is_expected: bool) -> PemProblem {
    let holds = |label: &str| text.contains(&format!("-----BEGIN {label}"));
    if holds("ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return PemProblem::EncryptedKey;
    }
    let holds_key = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"]
        .into_iter()
        .any(holds);
    match (key_is_expected, holds_key, holds("CERTIFICATE-----")) {
        (false, true, _) => PemProblem::KeyInstead,
        (true, _, true) => PemProblem::CertificateInstead,
        // `plain` has found a BEGIN. Without an END, the text was cut off.
        _ if text.contains("-----END") => PemProblem::NotPem,
        _ => PemProblem::Damaged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new(vec!["automation".to_owned()])
            .expect("parameters")
            .self_signed(&key)
            .expect("signed");
        (certificate.pem(), key.serialize_pem())
    }

    #[rstest]
    #[case::as_written(str::to_owned)]
    #[case::newlines_spelled_out(|pem: &str| pem.replace('\n', "\\n"))]
    #[case::quoted_and_spelled_out(|pem: &str| format!("\"{}\"", pem.replace('\n', "\\n")))]
    #[case::quoted(|pem: &str| format!("'{pem}'"))]
    #[case::windows(|pem: &str| pem.replace('\n', "\r\n"))]
    #[case::windows_spelled_out(|pem: &str| pem.replace('\n', "\\r\\n"))]
    #[case::byte_order_mark(|pem: &str| format!("\u{feff}{pem}"))]
    #[case::indented(|pem: &str| pem.replace('\n', "\n    "))]
    #[case::with_text_before(|pem: &str| format!("subject=automation\n{pem}"))]
    fn common_variants_of_pem_are_accepted(#[case] write: fn(&str) -> String) {
        let (certificate, key) = pair();
        let certificates = certificates(write(&certificate).as_bytes()).expect("a certificate");
        let key = private_key(write(&key).as_bytes()).expect("a key");
        assert_eq!(check_pair(&certificates, &key, &crate::tls::provider()), Ok(()));
    }

    #[test]
    fn one_file_may_contain_both() {
        let (certificate, key) = pair();
        let both = format!("{key}{certificate}");
        assert!(certificates(both.as_bytes()).is_ok() && private_key(both.as_bytes()).is_ok());
    }

    #[test]
    fn unusable_content_is_explained() {
        let (certificate, key) = pair();
        let der = rcgen::KeyPair::generate().expect("a key").serialize_der();
        let certificate_der = certificates(certificate.as_bytes()).expect("read")[0].to_vec();
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let cut = &certificate[..certificate.len() / 2];
        for (bytes, as_certificate, as_key) in [
            (b"".to_vec(), PemProblem::Empty, PemProblem::Empty),
            (b" \n".to_vec(), PemProblem::Empty, PemProblem::Empty),
            (certificate_der, PemProblem::Der, PemProblem::Der),
            (vec![0xff, 0xfe, 0, 1], PemProblem::Binary, PemProblem::Binary),
            (b"certificate".to_vec(), PemProblem::NotPem, PemProblem::NotPem),
            (
                encrypted.into_bytes(),
                PemProblem::EncryptedKey,
                PemProblem::EncryptedKey,
            ),
            (cut.as_bytes().to_vec(), PemProblem::Damaged, PemProblem::Damaged),
        ] {
            assert_eq!(certificates(&bytes).err(), Some(as_certificate));
            assert_eq!(private_key(&bytes).err(), Some(as_key));
        }
        assert!(plain(&der).is_err());
        assert_eq!(certificates(key.as_bytes()), Err(PemProblem::KeyInstead));
        assert_eq!(
            private_key(certificate.as_bytes()).err(),
            Some(PemProblem::CertificateInstead)
        );
        let (_, other) = pair();
        let (one, other) = (
            certificates(certificate.as_bytes()).expect("read"),
            private_key(other.as_bytes()).expect("read"),
        );
        assert_eq!(
            check_pair(&one, &other, &crate::tls::provider()),
            Err(PemProblem::Mismatch)
        );
    }
}
