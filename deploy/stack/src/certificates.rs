//! Two certificate authorities, one between roles and one for clients, and the leaf certificates that they
//! sign.
//!
//! With a single authority, a client certificate would be accepted on the ports between roles.

use std::path::Path;

use anyhow::Context;
use http_edge::pem;
use jiff::civil::Date;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::CertificateError;
use rustls::pki_types::{ServerName, UnixTime};

use crate::place::{write_secret, write_whole};

/// Name in the certificate of the frontend.
pub const FRONTEND_NAME: &str = "frontend.temporal-stack.internal";

/// Name in the certificates between roles.
pub const INTERNODE_NAME: &str = "internode.temporal-stack.internal";

/// Validity of an authority in days.
const AUTHORITY_DAYS: i64 = 3650;

/// Leaf certificates: file name, authority, and name in the certificate.
const LEAVES: [(&str, &str, &str); 4] = [
    // The server also presents it as a client.
    ("internode", "internode-ca", INTERNODE_NAME),
    ("frontend", "client-ca", FRONTEND_NAME),
    // The worker role presents it to the frontend.
    (
        "system-worker",
        "client-ca",
        "system-worker.temporal-stack.internal",
    ),
    // For users, the web UI and the autopilot's worker.
    ("client", "client-ca", "client.temporal-stack.internal"),
];

pub(crate) const AUTHORITY_REMEDY: &str = "restore it from a backup, or delete the whole folder to create new authorities and distribute them to every client";

/// Creates the missing files.
///
/// # Errors
///
/// If a file cannot be read or written.
pub fn ensure(folder: &Path, loopback: &str, leaf_days: u16) -> anyhow::Result<()> {
    for authority in ["internode-ca", "client-ca"] {
        let (key_path, path) = paths(folder, authority);
        if !key_path.exists() {
            // A new key next to the old certificate would sign leaf certificates that every client rejects.
            anyhow::ensure!(
                !path.exists(),
                "{} is missing and {} exists: {AUTHORITY_REMEDY}",
                key_path.display(),
                path.display()
            );
            let key = KeyPair::generate()?;
            write_secret(&key_path, &key.serialize_pem())?;
        }
        if !path.exists() {
            let certificate = authority_params(authority)?.self_signed(&key_of(&key_path)?)?;
            write_whole(&path, &certificate.pem())?;
        }
    }
    let is_whole = |(name, ..): &(&str, &str, &str)| {
        let (key, certificate) = paths(folder, name);
        key.exists() && certificate.exists()
    };
    if !LEAVES.iter().all(is_whole) {
        // Issuing all of them is harmless, because existing keys are kept.
        renew(folder, loopback, leaf_days.into())?;
    }
    readable(folder)?;
    trusted(folder)
}

/// Checks that every file has the expected content. Otherwise, a role would exit at its start, or `up` would
/// wait for it until the timeout.
fn readable(folder: &Path) -> anyhow::Result<()> {
    let authorities = ["internode-ca", "client-ca"];
    for name in authorities.into_iter().chain(LEAVES.map(|(name, ..)| name)) {
        let (key_path, path) = paths(folder, name);
        let is_leaf = !authorities.contains(&name);
        let remedy = if is_leaf {
            "`temporal-stack certificates` issues a new one"
        } else {
            AUTHORITY_REMEDY
        };
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let is_certificate = pem::certificates(&bytes).is_ok_and(|found| !found.is_empty());
        anyhow::ensure!(
            is_certificate,
            "{} contains no certificate: {remedy}",
            path.display()
        );
        key_of(&key_path).with_context(|| {
            if is_leaf {
                format!(
                    "delete {} and run `temporal-stack certificates`",
                    key_path.display()
                )
            } else {
                AUTHORITY_REMEDY.to_owned()
            }
        })?;
    }
    Ok(())
}

/// Checks that every key matches its certificate, and that the others will accept each leaf: signed by its
/// authority, with its name, and not expired. Otherwise, the roles would start but never find each other.
fn trusted(folder: &Path) -> anyhow::Result<()> {
    const RENEW: &str = "`temporal-stack certificates` issues a new one";
    let read = |name: &str| -> anyhow::Result<_> {
        let (key_path, path) = paths(folder, name);
        let certificates = pem::certificates(&std::fs::read(&path)?);
        let key = pem::private_key(&std::fs::read(&key_path)?);
        let certificates = certificates.map_err(|problem| anyhow::anyhow!("{} {problem}", path.display()))?;
        let key = key.map_err(|problem| anyhow::anyhow!("{} {problem}", key_path.display()))?;
        let is_pair = pem::check_pair(&certificates, &key, &http_edge::tls::provider()).is_ok();
        Ok((certificates, is_pair, key_path, path))
    };
    for (name, authority, host) in LEAVES {
        let (authorities, is_pair, key_path, authority_path) = read(authority)?;
        anyhow::ensure!(
            is_pair,
            "{} does not belong to {}: {AUTHORITY_REMEDY}",
            key_path.display(),
            authority_path.display()
        );
        let (certificates, is_pair, key_path, path) = read(name)?;
        anyhow::ensure!(
            is_pair,
            "{} does not belong to {}: {RENEW}",
            key_path.display(),
            path.display()
        );
        let verifier = http_edge::tls::verifier(&authorities)
            .with_context(|| format!("{} cannot be used as an authority", authority_path.display()))?;
        // Also for those that only clients present: every leaf has both usages.
        let outcome = verifier.verify_server_cert(
            // `readable` has checked that there is one.
            &certificates[0],
            &[],
            &ServerName::try_from(host)?,
            &[],
            UnixTime::now(),
        );
        let Err(error) = outcome else { continue };
        let problem = match &error {
            rustls::Error::InvalidCertificate(cause) => match cause {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "has expired".to_owned()
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    "is not valid yet according to this machine's clock".to_owned()
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    format!("is not valid for the name {host}")
                }
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    format!("was not signed by {}", authority_path.display())
                }
                _ => format!("cannot be used ({error})"),
            },
            _ => format!("cannot be used ({error})"),
        };
        anyhow::bail!("the certificate in {} {problem}: {RENEW}", path.display());
    }
    Ok(())
}

/// Issues all leaf certificates again, with the same authorities. A running server reloads them at its next
/// refresh.
///
/// # Errors
///
/// If an authority is missing, or if a file cannot be written.
pub fn renew(folder: &Path, loopback: &str, leaf_days: i64) -> anyhow::Result<()> {
    for (name, authority, host) in LEAVES {
        let issuer_key = key_of(&paths(folder, authority).0)?;
        let issuer = Issuer::new(authority_params(authority)?, issuer_key);
        let (key_path, path) = paths(folder, name);
        // Keep the key: certificate and key are separate files, and a process that reads them between two renames
        // must not find a mismatch.
        if !key_path.exists() {
            write_secret(&key_path, &KeyPair::generate()?.serialize_pem())?;
        }
        let mut names = vec![host.to_owned()];
        // For clients that connect by address and set no server name. A role has at most nine processes.
        if name == "frontend" {
            names.extend((1..=9).map(|number| format!("{loopback}.1.{number}")));
        }
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = distinguished(name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        validity(&mut params, leaf_days)?;
        let certificate = params.signed_by(&key_of(&key_path)?, &issuer)?;
        write_whole(&path, &certificate.pem())?;
    }
    Ok(())
}

fn paths(folder: &Path, name: &str) -> (std::path::PathBuf, std::path::PathBuf) {
    (
        folder.join(format!("{name}.key")),
        folder.join(format!("{name}.pem")),
    )
}

fn key_of(path: &Path) -> anyhow::Result<KeyPair> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    KeyPair::from_pem(&text).with_context(|| format!("{} contains no usable key", path.display()))
}

fn distinguished(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::OrganizationName, "temporal-stack");
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Returns the same parameters for the same name, so that an authority can sign again without parsing its
/// certificate.
fn authority_params(name: &str) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = distinguished(name);
    // No further authorities below this one.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    validity(&mut params, AUTHORITY_DAYS)?;
    Ok(params)
}

fn validity(params: &mut CertificateParams, days: i64) -> anyhow::Result<()> {
    let today = jiff::tz::TimeZone::UTC.to_datetime(jiff::Timestamp::now()).date();
    // A day early, so that a machine whose clock is slow accepts it.
    let from = today.checked_sub(jiff::Span::new().days(1))?;
    // Include all of the last day.
    let until = today.checked_add(jiff::Span::new().days(days + 1))?;
    let at = |date: Date| {
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        rcgen::date_time_ymd(i32::from(date.year()), month, day)
    };
    params.not_before = at(from);
    params.not_after = at(until);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_file_is_reported_before_anything_starts() {
        let folder = tempfile::tempdir().expect("a folder");
        let ensured = || ensure(folder.path(), "127.77", 90);
        ensured().expect("created");
        ensured().expect("left as it is");
        let path = folder.path().join("internode.pem");
        std::fs::write(&path, "not a certificate").expect("written");
        let error = format!("{:#}", ensured().expect_err("refused"));
        assert!(
            error.contains("internode.pem contains no certificate: `temporal-stack certificates`"),
            "{error}"
        );
        renew(folder.path(), "127.77", 90).expect("issued");
        ensured().expect("repaired");
    }

    #[test]
    fn a_certificate_that_would_be_rejected_is_reported_before_anything_starts() {
        let folder = tempfile::tempdir().expect("a folder");
        let other = tempfile::tempdir().expect("a folder");
        for folder in [&folder, &other] {
            ensure(folder.path(), "127.77", 90).expect("created");
        }
        let refused = |expected: &str| {
            let error = ensure(folder.path(), "127.77", 90)
                .expect_err("refused")
                .to_string();
            assert!(error.contains(expected), "{error}");
            renew(folder.path(), "127.77", 90).expect("issued");
            ensure(folder.path(), "127.77", 90).expect("repaired");
        };
        let copy = |from: &Path, name: &str, to: &str| {
            for kind in ["pem", "key"] {
                let to = folder.path().join(format!("{to}.{kind}"));
                std::fs::copy(from.join(format!("{name}.{kind}")), to).expect("copied");
            }
        };
        copy(folder.path(), "client", "frontend");
        refused(
            "frontend.pem is not valid for the name frontend.temporal-stack.internal: `temporal-stack certificates`",
        );
        copy(other.path(), "internode", "internode");
        refused("internode.pem was not signed by ");
        std::fs::copy(other.path().join("client.key"), folder.path().join("client.key")).expect("copied");
        refused("client.key does not belong to ");
        renew(folder.path(), "127.77", -3).expect("issued");
        refused("has expired: `temporal-stack certificates`");
        std::fs::copy(
            other.path().join("client-ca.pem"),
            folder.path().join("client-ca.pem"),
        )
        .expect("copied");
        let error = ensure(folder.path(), "127.77", 90)
            .expect_err("refused")
            .to_string();
        assert!(
            error.contains("client-ca.pem: restore it from a backup"),
            "{error}"
        );
    }

    #[test]
    fn a_damaged_authority_is_never_recreated_automatically() {
        let folder = tempfile::tempdir().expect("a folder");
        let refused = || {
            let error = ensure(folder.path(), "127.77", 90).expect_err("refused");
            let error = format!("{error:#}");
            assert!(error.contains("restore it from a backup"), "{error}");
            error
        };
        ensure(folder.path(), "127.77", 90).expect("created");
        let key = folder.path().join("client-ca.key");
        std::fs::write(&key, "not a key").expect("written");
        assert!(!refused().contains("temporal-stack certificates"));
        std::fs::remove_file(&key).expect("removed");
        assert!(refused().contains("client-ca.key is missing"));
        assert!(!key.exists(), "no mismatched key was created");
    }
}
