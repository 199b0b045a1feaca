//! Checks the served certificates: their names, their expiry, and whether they match the files.

use jiff::{SignedDuration, Timestamp};

use crate::certificates::AUTHORITY_REMEDY;
use crate::handshake::{FileError, HandshakeError, Leaf, RENEW, leaf_of, served};
use crate::place::{Place, Stack};

use super::report::{Finding, Report, Verdict};

/// A certificate that expires sooner than this is reported.
const NOTICE: SignedDuration = SignedDuration::from_hours(14 * 24);

pub(super) async fn certificates(place: &Place, stack: &Stack, report: &mut Report) {
    for member in stack.settings.members() {
        let Some(leaf) = Leaf::of(member.role) else {
            continue;
        };
        let check = format!("certificate of {member}");
        let address = member.grpc(&stack.network().loopback);
        let served = match served(place, &address, &leaf).await {
            Ok(served) => served,
            // The check of the process reports this problem.
            Err(HandshakeError::Unreachable(_)) => continue,
            Err(error) => {
                let why = "clients and other roles cannot connect";
                let remedy = error.remedy(&member.to_string());
                report.fail(&check, error.to_string(), why, remedy);
                continue;
            }
        };
        let file = match leaf_of(place, leaf.file) {
            Ok(on_disk) if on_disk.as_ref() == served.as_ref() => File::Same,
            Ok(_) => File::Another,
            Err(error) => File::Unreadable(error),
        };
        let ends = not_after(&served);
        report
            .0
            .push(judge(&check, leaf.name, ends, &file, Timestamp::now()));
    }
    // No role serves these; they are presented to the frontend or have signed the others.
    for (file, name, why, remedy) in [
        (
            "client",
            "clients, the web UI and the autopilot",
            "clients that present it cannot connect",
            RENEW,
        ),
        (
            "system-worker",
            "Temporal's own worker role",
            "the worker role cannot connect",
            RENEW,
        ),
        (
            "internode-ca",
            "the authority between roles",
            "no role trusts another",
            AUTHORITY_REMEDY,
        ),
        (
            "client-ca",
            "the authority of clients",
            "no client is trusted",
            AUTHORITY_REMEDY,
        ),
    ] {
        let check = format!("certificate {file}.pem");
        match leaf_of(place, file) {
            Ok(leaf) => {
                let mut found = judge(&check, name, not_after(&leaf), &File::Same, Timestamp::now());
                if found.verdict != Verdict::Good {
                    remedy.clone_into(&mut found.remedy);
                }
                report.0.push(found);
            }
            Err(error) => report.fail(&check, error.to_string(), why, remedy),
        }
    }
}

/// The file that a served certificate comes from.
#[derive(Debug)]
enum File {
    Same,
    Another,
    Unreadable(FileError),
}

/// Checks the expiry of a certificate, and whether it matches the file.
fn judge(check: &str, name: &str, ends: Option<Timestamp>, file: &File, now: Timestamp) -> Finding {
    let finding = |verdict, found: String, why: &str, remedy: &str| Finding {
        check: check.to_owned(),
        verdict,
        found,
        why: why.to_owned(),
        remedy: remedy.to_owned(),
    };
    let Some(ends) = ends else {
        let found = "cannot be parsed".to_owned();
        return finding(Verdict::Failure, found, "clients may refuse it", RENEW);
    };
    let left = ends.duration_since(now);
    let found = format!("valid for {} more days, for {name}", left.as_hours() / 24);
    if left <= SignedDuration::ZERO {
        let found = format!("expired on {ends}, for {name}");
        finding(Verdict::Failure, found, "connections with it fail", RENEW)
    } else if let File::Unreadable(error) = file {
        finding(
            Verdict::Failure,
            format!("{found}, but {error}"),
            "the role cannot start again, and a renewed certificate is not picked up",
            RENEW,
        )
    } else if matches!(file, File::Another) {
        finding(
            Verdict::Warning,
            format!("{found}, but the file contains a different one"),
            "the role rereads its files once a minute: it has not done so yet, or cannot read them",
            "run the doctor again in a minute; if the problem persists, restart the role",
        )
    } else if left < NOTICE {
        finding(Verdict::Warning, found, "connections fail once it expires", RENEW)
    } else {
        finding(Verdict::Good, found, "", "")
    }
}

/// Returns the time at which a certificate expires: the `validity` field of `TBSCertificate` (RFC 5280, 4.1).
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
    // A two-digit year below 50 is in this century.
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

/// Splits off one element: its tag, its content, and the rest.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        // The length of a certificate fits in four bytes, and a longer number could overflow.
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
    use crate::certificates::FRONTEND_NAME;
    use rstest::rstest;

    #[test]
    fn the_expiry_of_a_certificate_is_parsed() {
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
    #[case::long(90, File::Same, Verdict::Good, "valid for 90 more days")]
    #[case::soon(13, File::Same, Verdict::Warning, "valid for 13 more days")]
    #[case::not_picked_up(90, File::Another, Verdict::Warning, "but the file contains a different one")]
    #[case::unreadable(
        90,
        unreadable(),
        Verdict::Failure,
        "but cannot read /run/stack/tls/frontend.pem: "
    )]
    #[case::over(-1, File::Same, Verdict::Failure, "expired on")]
    fn a_certificate_is_reported_before_it_expires(
        #[case] days: i64,
        #[case] file: File,
        #[case] verdict: Verdict,
        #[case] expected: &str,
    ) {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 20_000);
        let ends = now + SignedDuration::from_hours(24 * days);
        let finding = judge("certificate of frontend-1", FRONTEND_NAME, Some(ends), &file, now);
        assert_eq!(finding.verdict, verdict, "{finding:?}");
        assert!(finding.found.contains(expected), "{finding:?}");
    }

    fn unreadable() -> File {
        File::Unreadable(FileError::Read {
            path: "/run/stack/tls/frontend.pem".into(),
            cause: std::io::ErrorKind::NotFound.into(),
        })
    }

    #[test]
    fn an_invalid_certificate_has_no_expiry() {
        for bytes in [&b""[..], b"0", b"0\x84\xff\xff\xff\xff", b"certificate"] {
            assert_eq!(not_after(bytes), None);
        }
    }
}
