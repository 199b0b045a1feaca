//! Accepts requests as HTTP events: `CloudEvents` in JSON, signed with HMAC-SHA256.
//!
//! The signature covers the timestamp and the body, which prevents tampering and replay of old events. The
//! workflow id is derived from the event's source and id, so that an event that is delivered twice starts
//! only one request.

use std::fmt::Write as _;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use jiff::Timestamp;
use ring::{digest, hmac};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use temporal_worker_kit::SharedClient;

use crate::ID_PREFIX;
use crate::commands::start;
use crate::messages::ApprovalRequest;

/// Maximum size of an event, in bytes.
pub const MAX_BYTES: usize = 256 * 1024;

/// Maximum difference between the timestamp of an event and the current time.
pub const MAX_AGE: Duration = Duration::from_mins(5);

/// Timeout for Temporal to accept a request.
const ACCEPT: Duration = Duration::from_secs(10);

/// Header with the Unix time in seconds.
pub const TIMESTAMP_HEADER: &str = "x-approval-timestamp";

/// Header with `sha256=` and the HMAC as hex digits.
pub const SIGNATURE_HEADER: &str = "x-approval-signature";

/// The only supported event type.
pub const EVENT_TYPE: &str = "approval.requested";

/// A rejected event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The signature or the timestamp is missing or wrong.
    #[error("{0}")]
    Unauthorized(&'static str),
    /// The event itself is invalid.
    #[error("{0}")]
    Invalid(String),
}

/// Returns the signature that the sender of this body has to compute.
pub fn sign(secret: &SecretString, timestamp: i64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
    let tag = hmac::sign(&key, &signed(timestamp, body));
    format!("sha256={}", hex(tag.as_ref()))
}

fn signed(timestamp: i64, body: &[u8]) -> Vec<u8> {
    // Without a separator, digits could move between timestamp and body.
    [timestamp.to_string().as_bytes(), b".", body].concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| {
            u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?, 16).ok()
        })
        .collect()
}

/// Verifies timestamp and signature, the latter in constant time.
///
/// # Errors
///
/// If one of them is missing, malformed, stale or wrong.
pub fn verify(
    secret: &SecretString,
    timestamp: Option<&str>,
    signature: Option<&str>,
    body: &[u8],
    now: Timestamp,
) -> Result<(), Refused> {
    let refused = Refused::Unauthorized;
    let timestamp = timestamp.ok_or(refused("the header `x-approval-timestamp` is missing"))?;
    let timestamp: i64 = timestamp
        .parse()
        .map_err(|_| refused("the header `x-approval-timestamp` is not a Unix time in seconds"))?;
    let age = now.as_second().saturating_sub(timestamp).unsigned_abs();
    if age > MAX_AGE.as_secs() {
        return Err(refused(
            "the timestamp differs from the current time by more than 5 minutes; check the sender's clock or send the event again",
        ));
    }
    let signature = signature.ok_or(refused("the header `x-approval-signature` is missing"))?;
    let tag = signature.strip_prefix("sha256=").and_then(from_hex);
    let tag = tag.ok_or(refused(
        "the header `x-approval-signature` is not `sha256=` and hex digits",
    ))?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
    hmac::verify(&key, &signed(timestamp, body), &tag).map_err(|_| refused("the signature is wrong"))
}

/// Parses an event and returns the workflow id and the request.
///
/// # Errors
///
/// If the body is not a `CloudEvents` event of the expected type, or if its request is invalid.
pub fn read(body: &[u8]) -> Result<(String, ApprovalRequest), Refused> {
    let invalid = |problem: String| Refused::Invalid(problem);
    let event: Value =
        serde_json::from_slice(body).map_err(|error| invalid(format!("the body is not JSON: {error}")))?;
    let mut problems = Vec::new();
    let mut text = |pointer: &str| match event.pointer(pointer) {
        Some(Value::String(text)) if !text.is_empty() => text.clone(),
        Some(_) => {
            problems.push(format!("`{}` must be non-empty text", &pointer[1..]));
            String::new()
        }
        None => {
            problems.push(format!("`{}` is missing", &pointer[1..]));
            String::new()
        }
    };
    let (version, id, source, kind) = (text("/specversion"), text("/id"), text("/source"), text("/type"));
    let input = text("/data/text");
    if !version.is_empty() && version != "1.0" {
        problems.push(format!("`specversion` is `{version}`, only `1.0` is supported"));
    }
    if !kind.is_empty() && kind != EVENT_TYPE {
        problems.push(format!("`type` is `{kind}`, only `{EVENT_TYPE}` is supported"));
    }
    let request = ApprovalRequest {
        text: input,
        requester: source.clone(),
        ..ApprovalRequest::default()
    };
    if !request.text.is_empty() {
        problems.extend(request.problems());
    }
    if !problems.is_empty() {
        return Err(invalid(problems.join("; ")));
    }
    // With the length, so that no other pair of source and id results in the same text.
    let hash = digest::digest(
        &digest::SHA256,
        format!("{}:{source}{id}", source.len()).as_bytes(),
    );
    Ok((
        format!("{ID_PREFIX}-event-{}", &hex(hash.as_ref())[..32]),
        request,
    ))
}

/// State of the receiver.
#[derive(Clone)]
struct Receiver {
    client: SharedClient,
    secret: SecretString,
}

/// Returns the route `POST /events`.
pub fn routes(client: SharedClient, secret: SecretString) -> Router {
    Router::new()
        .route("/events", post(receive))
        .layer(DefaultBodyLimit::max(MAX_BYTES))
        .with_state(Receiver { client, secret })
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let now = Timestamp::now();
    let checked = verify(
        &receiver.secret,
        header(TIMESTAMP_HEADER),
        header(SIGNATURE_HEADER),
        &body,
        now,
    )
    // Nothing is parsed before the signature is verified.
    .and_then(|()| read(&body));
    let (id, request) = match checked {
        Ok(read) => read,
        Err(refused) => {
            let status = match refused {
                Refused::Unauthorized(_) => StatusCode::UNAUTHORIZED,
                Refused::Invalid(_) => StatusCode::BAD_REQUEST,
            };
            tracing::warn!(status = status.as_u16(), "event rejected: {refused}");
            return answer(status, &json!({ "error": refused.to_string() }));
        }
    };
    let started = async {
        let client = receiver.client.connected().await;
        start(&client, request, Some(id)).await
    };
    // Events are also rejected before the first connection.
    let started = tokio::time::timeout(ACCEPT, started).await;
    match started.unwrap_or_else(|_| Err(anyhow::anyhow!("no response within {} s", ACCEPT.as_secs()))) {
        Ok(id) => answer(StatusCode::ACCEPTED, &json!({ "workflow_id": id })),
        Err(error) => {
            // The sender retries the event, so nothing is lost.
            tracing::error!("cannot start a request from an event: {error:#}");
            answer(
                StatusCode::SERVICE_UNAVAILABLE,
                &json!({ "error": "Temporal did not accept the request; send the event again" }),
            )
        }
    }
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, axum::Json(body.clone())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Value {
        json!({ "specversion": "1.0", "id": "1", "source": "/ci", "type": EVENT_TYPE, "data": { "text": "deploy" } })
    }

    #[test]
    fn only_a_fresh_and_correct_signature_is_accepted() {
        let secret = SecretString::from("s3cret");
        let now = Timestamp::from_second(1_800_000_000).expect("in range");
        let body = b"{}";
        let good = sign(&secret, now.as_second(), body);
        let check = |timestamp: Option<i64>, signature: Option<&str>, body: &[u8]| {
            let timestamp = timestamp.map(|timestamp| timestamp.to_string());
            verify(&secret, timestamp.as_deref(), signature, body, now)
        };
        assert_eq!(check(Some(now.as_second()), Some(&good), body), Ok(()));
        assert!(
            check(Some(now.as_second()), Some(&good), b"{ }").is_err(),
            "another body"
        );
        assert!(
            check(Some(now.as_second() + 1), Some(&good), body).is_err(),
            "another timestamp"
        );
        assert!(check(None, Some(&good), body).is_err());
        assert!(check(Some(now.as_second()), None, body).is_err());
        for malformed in ["", "sha256=", "sha256=zz", "sha256=abc", "md5=00"] {
            assert!(
                check(Some(now.as_second()), Some(malformed), body).is_err(),
                "{malformed}"
            );
        }
        let stale = now.as_second() - 301;
        let signature = sign(&secret, stale, body);
        let refused = check(Some(stale), Some(&signature), body).expect_err("stale");
        assert!(refused.to_string().contains("more than 5 minutes"), "{refused}");
    }

    #[test]
    fn an_event_names_its_workflow_and_every_problem() {
        let (id, request) = read(event().to_string().as_bytes()).expect("valid");
        let (again, _) = read(event().to_string().as_bytes()).expect("valid");
        assert_eq!(id, again);
        assert_eq!(
            (request.text.as_str(), request.requester.as_str()),
            ("deploy", "/ci")
        );
        let mut other = event();
        other["id"] = "2".into();
        assert_ne!(read(other.to_string().as_bytes()).expect("valid").0, id);
        let text = read(br#"{"specversion":"0.3","id":7,"type":"other"}"#)
            .expect_err("invalid")
            .to_string();
        for part in [
            "`specversion` is `0.3`",
            "`id` must be",
            "`source` is missing",
            "`type` is `other`",
            "`data/text` is missing",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        assert!(
            read(&event().to_string().as_bytes()[..20])
                .expect_err("cut short")
                .to_string()
                .contains("not JSON")
        );
    }
}
