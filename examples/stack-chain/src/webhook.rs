//! Verifies and parses Spacelift's webhooks: signature, age, and the requested action. Contains no I/O; the
//! caller passes the time.

use std::time::Duration;

use jiff::Timestamp;
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::labels::is_stack_id;
use crate::progress::Outcome;
use crate::provider::{Progress, RunRef};
use crate::spacelift::progress_of;

/// Header that contains the signature.
pub const SIGNATURE_HEADER: &str = "X-Signature-256";
/// Maximum size of a body in bytes. A typical event has 2 KiB.
pub const MOST_BYTES: usize = 1024 * 1024;
/// Maximum time that a sender's clock may be ahead of ours.
const CLOCK_SKEW: Duration = Duration::from_mins(5);

/// Verifies the signatures and ages of webhooks.
#[derive(Debug)]
pub struct Receiver {
    key: hmac::Key,
    max_age: Duration,
}

/// The content of a genuine event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A tracked run ended.
    RunEnded {
        /// The run that ended.
        run: RunRef,
        /// Outcome of the run.
        outcome: Outcome,
    },
    /// The event is ignored, for this reason.
    Ignored(String),
}

/// A rejected webhook.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The signature is missing.
    #[error("the header X-Signature-256 is missing; set a secret for the webhook in Spacelift")]
    Unsigned,
    /// The signature is wrong.
    #[error(
        "the signature is wrong; the secret of the webhook and SPACELIFT_WEBHOOK_SECRET must be the same"
    )]
    Signature,
    /// The body cannot be parsed.
    #[error("the body is not a Spacelift event: {0}")]
    Malformed(String),
    /// The event is too old.
    #[error("the event is {age_seconds} s old, more than the {limit_seconds} s that are accepted")]
    Stale {
        /// Age in seconds.
        age_seconds: i64,
        /// Maximum age in seconds.
        limit_seconds: u64,
    },
}

impl Refusal {
    /// Returns the HTTP status. Spacelift does not retry deliveries that get one of these.
    pub fn status(&self) -> u16 {
        match self {
            Self::Unsigned | Self::Signature => 401,
            Self::Malformed(_) | Self::Stale { .. } => 400,
        }
    }
}

#[derive(Deserialize)]
struct Event {
    state: String,
    timestamp: Option<i64>,
    run: EventRun,
    stack: EventStack,
}

#[derive(Deserialize)]
struct EventRun {
    id: String,
    r#type: String,
}

#[derive(Deserialize)]
struct EventStack {
    id: String,
}

impl Receiver {
    /// Returns a receiver for this secret.
    ///
    /// # Errors
    ///
    /// If the secret is empty, because anyone could then sign events.
    pub fn try_new(secret: &SecretString, max_age: Duration) -> Result<Self, &'static str> {
        let secret = secret.expose_secret();
        if secret.trim().is_empty() {
            return Err(
                "SPACELIFT_WEBHOOK_SECRET is empty; set it to the secret of the webhook in Spacelift",
            );
        }
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()),
            max_age,
        })
    }

    /// Verifies and parses a webhook. Checks the signature first, in constant time.
    ///
    /// # Errors
    ///
    /// If the webhook is not genuine, cannot be parsed, or is too old.
    pub fn receive(&self, signature: Option<&str>, body: &[u8], now: Timestamp) -> Result<Received, Refusal> {
        let signature = signature.ok_or(Refusal::Unsigned)?;
        let signature = signature
            .trim()
            .strip_prefix("sha256=")
            .and_then(bytes_of)
            .ok_or(Refusal::Signature)?;
        hmac::verify(&self.key, body, &signature).map_err(|_| Refusal::Signature)?;
        let value: serde_json::Value =
            serde_json::from_slice(body).map_err(|error| Refusal::Malformed(error.to_string()))?;
        // Spacelift may send audit and error events to the same URL.
        if value.get("run").is_none() || value.get("state").is_none() {
            return Ok(Received::Ignored("not a run event".to_owned()));
        }
        let event: Event =
            serde_json::from_value(value).map_err(|error| Refusal::Malformed(error.to_string()))?;
        self.not_stale(&event, now)?;
        wanted(event)
    }

    fn not_stale(&self, event: &Event, now: Timestamp) -> Result<(), Refusal> {
        let sent = event
            .timestamp
            .ok_or_else(|| Refusal::Malformed("`timestamp` is missing".to_owned()))?;
        let age_seconds = now.as_second().saturating_sub(sent);
        let limit_seconds = self.max_age.as_secs();
        let is_old = u64::try_from(age_seconds).is_ok_and(|age| age > limit_seconds);
        let is_ahead = age_seconds < 0 && age_seconds.unsigned_abs() > CLOCK_SKEW.as_secs();
        if is_old || is_ahead {
            Err(Refusal::Stale {
                age_seconds,
                limit_seconds,
            })
        } else {
            Ok(())
        }
    }
}

fn wanted(event: Event) -> Result<Received, Refusal> {
    let ignored = |why: String| Ok(Received::Ignored(why));
    if event.run.r#type != "TRACKED" {
        return ignored(format!("a run of the type {}, not TRACKED", event.run.r#type));
    }
    let outcome = match progress_of(&event.state) {
        Progress::Succeeded => Outcome::Succeeded,
        Progress::Failed => Outcome::Failed,
        Progress::Active | Progress::Waiting | Progress::Canceled | Progress::Skipped => {
            return ignored(format!("the state {} does not start a chain", event.state));
        }
    };
    // Both ids become parts of workflow ids.
    let is_run_id = !event.run.id.is_empty()
        && event.run.id.len() <= 64
        && event.run.id.chars().all(|it| it.is_ascii_alphanumeric());
    if !is_run_id || !is_stack_id(&event.stack.id) {
        return Err(Refusal::Malformed(format!(
            "`{}` of `{}` is not a run of a stack",
            event.run.id, event.stack.id
        )));
    }
    Ok(Received::RunEnded {
        run: RunRef {
            stack: event.stack.id,
            run: event.run.id,
        },
        outcome,
    })
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    // Slicing would panic in the middle of a character.
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::signature;
    use rstest::rstest;
    use serde_json::json;

    fn receiver() -> Receiver {
        Receiver::try_new(&"secret".into(), Duration::from_mins(15)).expect("a secret")
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).expect("in range")
    }

    fn event(state: &str, kind: &str, age: i64) -> String {
        let run = json!({ "id": "01K1", "type": kind });
        json!({ "state": state, "timestamp": 1_800_000_000 - age, "run": run, "stack": { "id": "network" }, "new_field": 1 }).to_string()
    }

    fn receive(body: &str) -> Result<Received, Refusal> {
        receiver().receive(
            Some(&signature(body.as_bytes(), "secret")),
            body.as_bytes(),
            now(),
        )
    }

    #[rstest]
    #[case::finished("FINISHED", Outcome::Succeeded)]
    #[case::failed("FAILED", Outcome::Failed)]
    fn the_end_of_a_tracked_run_counts(#[case] state: &str, #[case] outcome: Outcome) {
        let run = RunRef {
            stack: "network".to_owned(),
            run: "01K1".to_owned(),
        };
        assert_eq!(
            receive(&event(state, "TRACKED", 10)),
            Ok(Received::RunEnded { run, outcome })
        );
    }

    #[rstest]
    #[case::proposed(&event("FINISHED", "PROPOSED", 0), "not TRACKED")]
    #[case::still_running(&event("APPLYING", "TRACKED", 0), "does not start a chain")]
    #[case::new_state(&event("SOMETHING", "TRACKED", 0), "does not start a chain")]
    #[case::discarded(&event("DISCARDED", "TRACKED", 0), "does not start a chain")]
    #[case::audit(
        r#"{"account":"a","action":"x","timestamp":1800000000000}"#,
        "not a run event"
    )]
    fn genuine_but_irrelevant_events_are_ignored(#[case] body: &str, #[case] why: &str) {
        let Ok(Received::Ignored(text)) = receive(body) else {
            panic!("not ignored: {body}")
        };
        assert!(text.contains(why), "{text}");
    }

    #[rstest]
    #[case::cut_short(&event("FINISHED", "TRACKED", 0)[..60], 400, "not a Spacelift event")]
    #[case::old(&event("FINISHED", "TRACKED", 901), 400, "901 s old, more than the 900 s")]
    #[case::from_the_future(&event("FINISHED", "TRACKED", -301), 400, "-301 s old")]
    #[case::wrong_type(
        r#"{"state":7,"timestamp":1,"run":{},"stack":{}}"#,
        400,
        "not a Spacelift event"
    )]
    #[case::no_timestamp(
        r#"{"state":"FINISHED","run":{"id":"1","type":"TRACKED"},"stack":{"id":"a"}}"#,
        400,
        "`timestamp` is missing"
    )]
    #[case::path_in_the_id(r#"{"state":"FINISHED","timestamp":1800000000,"run":{"id":"../1","type":"TRACKED"},"stack":{"id":"a"}}"#, 400, "not a run of a stack")]
    fn genuine_but_invalid_events_are_refused(#[case] body: &str, #[case] status: u16, #[case] text: &str) {
        let refusal = receive(body).expect_err("refused");
        assert_eq!(refusal.status(), status);
        assert!(refusal.to_string().contains(text), "{refusal}");
    }

    #[rstest]
    #[case::other_secret(Some(signature(b"{}", "other")))]
    #[case::other_body(Some(signature(b"{ }", "secret")))]
    #[case::sha1(Some("sha1=0123".to_owned()))]
    #[case::not_hex(Some(format!("sha256={}", "x".repeat(64))))]
    #[case::too_short(Some("sha256=00".to_owned()))]
    #[case::missing(None)]
    fn a_wrong_signature_is_refused_before_the_body_is_read(#[case] signature: Option<String>) {
        let refusal = receiver()
            .receive(signature.as_deref(), b"{}", now())
            .expect_err("refused");
        assert_eq!(refusal.status(), 401);
    }

    #[test]
    fn an_empty_secret_is_refused() {
        assert!(Receiver::try_new(&" ".into(), Duration::from_mins(15)).is_err());
    }
}
