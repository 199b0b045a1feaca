//! Certificates as they are served: their names, their expiry, and whether they are those of the files.

use std::sync::Arc;
use std::time::Duration;

use http_edge::pem;
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::certificates::{FRONTEND_NAME, INTERNODE_NAME};
use crate::place::{Place, Stack};
use crate::roles::{Member, Role};

use super::report::{Finding, Report, Verdict};

/// A certificate that expires sooner is reported.
const NOTICE: SignedDuration = SignedDuration::from_hours(14 * 24);

const BOUND: Duration = Duration::from_secs(5);

pub(super) async fn certificates(place: &Place, stack: &Stack, report: &mut Report) {
    for member in stack.settings.members() {
        let leaf = match member.role {
            Role::Worker => continue,
            Role::Frontend => Leaf {
                file: "frontend",
                identity: "client",
                authority: "client-ca",
                name: FRONTEND_NAME,
            },
            _ => Leaf {
                file: "internode",
                identity: "internode",
                authority: "internode-ca",
                name: INTERNODE_NAME,
            },
        };
        let check = format!("certificate of {member}");
        let served = match served(place, stack, member, &leaf).await {
            Ok(served) => served,
            Err(Refused::Unreachable) => continue,
            Err(Refused::Problem(problem)) => {
                report.fail(&check, problem, "clients and other roles cannot connect", RENEW);
                continue;
            }
        };
        let on_disk = leaf_of(place, leaf.file).ok();
        let is_on_disk = on_disk.is_none_or(|on_disk| on_disk.as_ref() == served.as_ref());
        let found = judge(
            &check,
            leaf.name,
            not_after(&served),
            is_on_disk,
            Timestamp::now(),
        );
        report.0.push(found);
    }
    // Nobody serves these: they are presented to the frontend.
    for (file, name) in [
        ("client", "clients, the web UI and the autopilot"),
        ("system-worker", "Temporal's own worker role"),
    ] {
        let check = format!("certificate {file}.pem");
        match leaf_of(place, file) {
            Ok(leaf) => report
                .0
                .push(judge(&check, name, not_after(&leaf), true, Timestamp::now())),
            Err(problem) => report.fail(&check, problem, "clients that present it cannot connect", RENEW),
        }
    }
}

const RENEW: &str = "`temporal-stack certificates` issues new ones; the roles pick them up within a minute";

/// Judges one certificate by when it ends, and by whether it is the one in the file.
fn judge(check: &str, name: &str, ends: Option<Timestamp>, is_on_disk: bool, now: Timestamp) -> Finding {
    let finding = |verdict, found: String, why: &str, remedy: &str| Finding {
        check: check.to_owned(),
        verdict,
        found,
        why: why.to_owned(),
        remedy: remedy.to_owned(),
    };
    let Some(ends) = ends else {
        let found = "it cannot be read".to_owned();
        return finding(Verdict::Failure, found, "clients may refuse it", RENEW);
    };
    let left = ends.duration_since(now);
    let found = format!("valid for {} more days, for {name}", left.as_hours() / 24);
    if left <= SignedDuration::ZERO {
        let found = format!("expired on {ends}, for {name}");
        finding(Verdict::Failure, found, "no one can connect with it", RENEW)
    } else if !is_on_disk {
        finding(
            Verdict::Warning,
            format!("{found}, but the file contains another one"),
            "the role reads its files once a minute: it has not yet, or cannot read them",
            "run this again in a minute; if it stays, restart the role",
        )
    } else if left < NOTICE {
        finding(
            Verdict::Warning,
            found,
            "when it expires, no one can connect",
            RENEW,
        )
    } else {
        finding(Verdict::Good, found, "", "")
    }
}

struct Leaf {
    file: &'static str,
    identity: &'static str,
    authority: &'static str,
    name: &'static str,
}

enum Refused {
    /// Another check has reported it.
    Unreachable,
    Problem(String),
}

impl From<String> for Refused {
    fn from(problem: String) -> Self {
        Self::Problem(problem)
    }
}

fn read(place: &Place, file: &str) -> Result<Vec<u8>, String> {
    let path = place.tls().join(file);
    std::fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn leaf_of(place: &Place, name: &str) -> Result<CertificateDer<'static>, String> {
    let file = format!("{name}.pem");
    let certificates =
        pem::certificates(&read(place, &file)?).map_err(|problem| format!("{file}: {problem}"))?;
    certificates
        .into_iter()
        .next()
        .ok_or_else(|| format!("{file} contains no certificate"))
}

async fn served(
    place: &Place,
    stack: &Stack,
    member: Member,
    leaf: &Leaf,
) -> Result<CertificateDer<'static>, Refused> {
    let authority = leaf_of(place, leaf.authority)?;
    let identity = leaf_of(place, leaf.identity)?;
    let key_file = format!("{}.key", leaf.identity);
    let key =
        pem::private_key(&read(place, &key_file)?).map_err(|problem| format!("{key_file}: {problem}"))?;
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(authority)
        .map_err(|error| format!("the authority {}: {error}", leaf.authority))?;
    let config = ClientConfig::builder_with_provider(http_edge::tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![identity], key)
        .map_err(|error| format!("{key_file} does not belong to {}.pem: {error}", leaf.identity))?;
    let address = member.grpc(&stack.network().loopback);
    let handshake = async {
        let stream = TcpStream::connect(&address)
            .await
            .map_err(|_| Refused::Unreachable)?;
        let name = ServerName::try_from(leaf.name).map_err(|error| error.to_string())?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        let stream = stream.map_err(|error| refusal(&address, leaf.name, &error))?;
        let (_, session) = stream.get_ref();
        let first = session.peer_certificates().and_then(|chain| chain.first());
        first
            .map(|leaf| leaf.clone().into_owned())
            .ok_or_else(|| Refused::Problem("none was served".to_owned()))
    };
    tokio::time::timeout(BOUND, handshake)
        .await
        .unwrap_or(Err(Refused::Unreachable))
}

/// Says why a handshake failed, for the causes that a person can do something about.
fn refusal(address: &str, name: &str, error: &std::io::Error) -> String {
    let cause = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<rustls::Error>());
    let rustls::Error::InvalidCertificate(cause) = (match cause {
        Some(cause) => cause,
        None => return format!("the handshake with {address} failed: {error}"),
    }) else {
        return format!("the handshake with {address} failed: {error}");
    };
    match cause {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate that it serves has expired".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the certificate that it serves is not valid for the name {name}: {error}")
        }
        CertificateError::UnknownIssuer => {
            format!("the certificate that it serves is of another authority than the file's: {error}")
        }
        _ => format!("the handshake with {address} failed: {error}"),
    }
}

/// Reads when a certificate ends. Certificate, then its first part, then the fifth field: the validity (RFC 5280, 4.1).
fn not_after(der: &[u8]) -> Option<Timestamp> {
    let (_, certificate, _) = element(der)?;
    let (_, mut fields, _) = element(certificate)?;
    let (tag, _, rest) = element(fields)?;
    // The version is optional.
    if tag == 0xa0 {
        fields = rest;
    }
    for _ in ["serial", "algorithm", "issuer"] {
        (_, _, fields) = element(fields)?;
    }
    let (_, validity, _) = element(fields)?;
    let (_, _, rest) = element(validity)?;
    let (tag, text, _) = element(rest)?;
    let text = std::str::from_utf8(text).ok()?;
    // A year of two digits below 50 is of this century.
    let text = match tag {
        0x17 => format!(
            "{}{text}",
            if text.get(..2)?.parse::<u8>().ok()? < 50 {
                "20"
            } else {
                "19"
            }
        ),
        0x18 => text.to_owned(),
        _ => return None,
    };
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    let time = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0..4),
        part(4..6),
        part(6..8),
        part(8..10),
        part(10..12),
        part(12..14)
    );
    time.parse().ok()
}

/// Splits one element off: its tag, its content, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        let bytes = rest.get(..count).filter(|bytes| bytes.len() <= 4)?;
        let length = bytes
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        (length, &rest[count..])
    };
    Some((tag, rest.get(..length)?, &rest[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn the_end_of_a_certificate_is_read() {
        let key = rcgen::KeyPair::generate().expect("a key");
        for year in [2049, 2050] {
            let mut params = rcgen::CertificateParams::new(vec!["it".to_owned()]).expect("parameters");
            params.not_after = rcgen::date_time_ymd(year, 3, 4);
            let der = params.self_signed(&key).expect("signed");
            let end = not_after(der.der()).map(|end| end.to_string());
            assert_eq!(end, Some(format!("{year}-03-04T00:00:00Z")));
        }
    }

    #[rstest]
    #[case::long(90, true, Verdict::Good, "valid for 90 more days")]
    #[case::soon(13, true, Verdict::Warning, "valid for 13 more days")]
    #[case::not_picked_up(90, false, Verdict::Warning, "but the file contains another one")]
    #[case::over(-1, true, Verdict::Failure, "expired on")]
    fn a_certificate_is_reported_before_it_expires(
        #[case] days: i64,
        #[case] is_on_disk: bool,
        #[case] verdict: Verdict,
        #[case] expected: &str,
    ) {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 20_000);
        let ends = now + SignedDuration::from_hours(24 * days);
        let finding = judge(
            "certificate of frontend-1",
            FRONTEND_NAME,
            Some(ends),
            is_on_disk,
            now,
        );
        assert_eq!(finding.verdict, verdict, "{finding:?}");
        assert!(finding.found.contains(expected), "{finding:?}");
    }

    #[rstest]
    #[case::name(
        CertificateError::NotValidForName,
        "is not valid for the name frontend.temporal-stack.internal"
    )]
    #[case::authority(CertificateError::UnknownIssuer, "is of another authority")]
    #[case::expired(CertificateError::Expired, "has expired")]
    #[case::other(CertificateError::BadSignature, "the handshake with 127.77.1.1:7233 failed")]
    fn a_certificate_that_is_refused_is_described(#[case] cause: CertificateError, #[case] expected: &str) {
        let error = std::io::Error::other(rustls::Error::InvalidCertificate(cause));
        let said = refusal("127.77.1.1:7233", FRONTEND_NAME, &error);
        assert!(said.contains(expected), "{said}");
    }

    #[test]
    fn what_is_no_certificate_has_no_end() {
        for bytes in [&b""[..], b"0", b"0\x84\xff\xff\xff\xff", b"certificate"] {
            assert_eq!(not_after(bytes), None);
        }
    }
}
