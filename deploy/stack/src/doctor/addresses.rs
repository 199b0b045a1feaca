//! Certificates as they are served: their names, their expiry, and whether they are those of the files.

use std::sync::Arc;
use std::time::Duration;

use http_edge::pem;
use jiff::{SignedDuration, Timestamp};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::certificates::{FRONTEND_NAME, INTERNODE_NAME};
use crate::place::{Place, Stack};
use crate::roles::{Member, Role};

use super::Report;

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
        let renew = "`temporal-stack certificates` issues new ones; the roles pick them up within a minute";
        let served = match served(place, stack, member, &leaf).await {
            Ok(served) => served,
            Err(Refused::Unreachable) => continue,
            Err(Refused::Problem(problem)) => {
                report.fail(&check, problem, "clients and other roles cannot connect", renew);
                continue;
            }
        };
        let now = Timestamp::now();
        let Some(expires) = not_after(&served) else {
            report.fail(&check, "it cannot be read", "clients may refuse it", renew);
            continue;
        };
        let left = expires.duration_since(now);
        let days = left.as_hours() / 24;
        let found = format!("valid for {days} more days, for {}", leaf.name);
        let on_disk = leaf_of(place, leaf.file).ok();
        if left < SignedDuration::ZERO {
            report.fail(
                &check,
                format!("expired on {expires}"),
                "nobody can connect any more",
                renew,
            );
        } else if on_disk.is_some_and(|on_disk| on_disk.as_ref() != served.as_ref()) {
            report.warn(
                &check,
                format!("{found}; the file holds another one"),
                "the role reads its files once a minute: it has not yet, or cannot read them",
                format!("run this again in a minute; then `temporal-stack restart {member}`"),
            );
        } else if left < NOTICE {
            report.warn(
                &check,
                found,
                "when it expires, nobody can connect any more",
                renew,
            );
        } else {
            report.good(&check, found);
        }
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
        .ok_or_else(|| format!("{file} holds no certificate"))
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
        let stream = stream.map_err(|error| format!("the handshake with {address} failed: {error}"))?;
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

    #[test]
    fn what_is_no_certificate_has_no_end() {
        for bytes in [&b""[..], b"0", b"0\x84\xff\xff\xff\xff", b"certificate"] {
            assert_eq!(not_after(bytes), None);
        }
    }
}
