//! Posts to an incoming webhook. Its address is a secret, so only its host is ever displayed.

use std::time::Duration;

use http_edge::{AddressProblem, Secret};
use secrecy::{ExposeSecret, SecretString};

use crate::message::Message;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
const MOST_ATTEMPTS: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Maximum wait that is honored if Slack asks for one. A notification is not worth a longer wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The address of a webhook.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    url: Secret,
    host: String,
    is_loopback: bool,
}

/// Why an address is not a valid webhook. Never contains the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The address is not a URL.
    #[error("this is not a URL; an incoming webhook looks like https://hooks.slack.com/services/...")]
    NotAUrl,
    /// A user or password in the URL.
    #[error("the URL contains a user or password, which a webhook does not have; remove them")]
    Credentials,
    /// Plain http to another machine.
    #[error("the URL is not encrypted; use https (plain http is for loopback addresses only)")]
    NotEncrypted,
    /// The trigger URL of a workflow in Slack, which is another kind of webhook.
    #[error(
        "this is the trigger URL of a Slack workflow (`/{0}/`), which ignores the messages sent here; create an incoming webhook instead, whose URL looks like https://hooks.slack.com/services/..."
    )]
    WorkflowTrigger(&'static str),
}

/// First path segments of webhooks that start a workflow in Slack, current and legacy. They accept only the
/// workflow's own variables, and answer 200 to any valid JSON.
const WORKFLOW_PATHS: [&str; 2] = ["triggers", "workflows"];

impl Config {
    /// Checks the address of a webhook.
    ///
    /// # Errors
    ///
    /// Unless it is https (or http to loopback) without credentials, and not the trigger URL of a workflow.
    pub fn try_new(webhook_url: Secret) -> Result<Self, ConfigError> {
        let (host, is_loopback) = checked(&webhook_url.current())?;
        Ok(Self {
            url: webhook_url,
            host,
            is_loopback,
        })
    }

    /// Returns the host, which is safe to display.
    pub fn host(&self) -> &str {
        &self.host
    }
}

/// Returns the host of a webhook's address, and whether it is this machine.
fn checked(webhook_url: &SecretString) -> Result<(String, bool), ConfigError> {
    let url = http_edge::secret_url(webhook_url.expose_secret()).map_err(|problem| match problem {
        AddressProblem::Credentials => ConfigError::Credentials,
        AddressProblem::NotEncrypted => ConfigError::NotEncrypted,
        _ => ConfigError::NotAUrl,
    })?;
    let host = url.host_str().unwrap_or_default().to_owned();
    // hooks.slack.com, and hooks.slack-gov.com for government workspaces.
    if host.starts_with("hooks.slack")
        && let Some(first) = url.path_segments().and_then(|mut segments| segments.next())
        && let Some(path) = WORKFLOW_PATHS.into_iter().find(|path| *path == first)
    {
        return Err(ConfigError::WorkflowTrigger(path));
    }
    Ok((host, http_edge::is_loopback(&url)))
}

/// A notification that was not delivered.
#[derive(Debug)]
pub struct Error {
    host: String,
    kind: ErrorKind,
}

http_edge::client_error!(Error of ErrorKind, "failed to post to the webhook at {}", host);

/// How a post failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No response arrived.
    #[error("no response")]
    Transport(#[source] reqwest::Error),
    /// Slack refused the message.
    #[error("refused with {status}: `{answer}`{}", Meaning::of(.answer).remedy())]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Slack's response in one line, truncated.
        answer: String,
    },
}

impl Error {
    /// Returns the kind of failure.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// Returns whether too many messages were posted, so that all messages have to wait.
    pub fn is_rate_limited(&self) -> bool {
        match &self.kind {
            ErrorKind::Transport(_) => false,
            ErrorKind::Refused { status, answer } => {
                *status == 429 || matches!(Meaning::of(answer), Meaning::RateLimited)
            }
        }
    }
}

/// The meaning of a response from an incoming webhook (Slack's documentation, sending messages using incoming
/// webhooks).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Final, regardless of the status: the webhook, its channel or the workspace rejects messages.
    Final(&'static str),
    /// The payload was rejected, but plain text may be accepted.
    Payload,
    /// Too many messages.
    RateLimited,
    /// Anything else: the HTTP status decides.
    Other,
}

impl Meaning {
    fn of(answer: &str) -> Self {
        match answer {
            "no_service" | "no_active_hooks" | "no_service_id" | "invalid_token" | "no_team"
            | "team_disabled" => Self::Final(
                "; the webhook was removed or disabled: create a new one and update SLACK_WEBHOOK_URL",
            ),
            "channel_not_found" | "channel_is_archived" | "user_not_found" => {
                Self::Final("; its channel no longer exists: create a webhook for another channel")
            }
            "action_prohibited" | "posting_to_general_channel_denied" => Self::Final(
                "; the workspace does not allow this webhook to post: ask a workspace administrator, or choose another channel",
            ),
            "invalid_payload"
            | "invalid_blocks"
            | "invalid_blocks_format"
            | "invalid_attachments"
            | "too_many_attachments"
            | "no_text" => Self::Payload,
            "rate_limited" | "ratelimited" | "rollup_error" => Self::RateLimited,
            _ => Self::Other,
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Final(remedy) => remedy,
            Self::Payload => {
                "; Slack rejected this message, which is a bug in this program: please report it"
            }
            Self::RateLimited => {
                "; too many messages are posted to this webhook: Slack allows about one per second"
            }
            Self::Other => "",
        }
    }
}

/// A JSON response: the name of the error, and how long Slack asks to wait.
#[derive(Debug, Default, PartialEq, Eq)]
struct JsonAnswer {
    error: Option<String>,
    retry_after: Option<Duration>,
}

impl JsonAnswer {
    fn read(answer: &str) -> Self {
        let Ok(json) = serde_json::from_str::<serde_json::Value>(answer) else {
            return Self::default();
        };
        let seconds = &json["retry_after"];
        let seconds = seconds
            .as_f64()
            .or_else(|| seconds.as_str()?.trim().parse().ok())
            .filter(|seconds: &f64| *seconds >= 0.0)
            .map(|seconds| seconds.min(86_400.0));
        Self {
            error: json["error"].as_str().map(str::to_owned),
            retry_after: seconds.map(Duration::from_secs_f64),
        }
    }
}

/// Posts messages to an incoming webhook.
#[derive(Debug, Clone)]
pub struct Webhook {
    http: reqwest::Client,
    config: Config,
}

impl Webhook {
    /// Creates a webhook.
    pub fn new(config: Config) -> Self {
        let http = http_edge::usual_client(CONNECT_TIMEOUT, config.is_loopback);
        Self::with_http(config, http)
    }

    /// Creates a webhook that uses an existing HTTP client, with that client's proxies, certificates and user
    /// agent. The client should not follow redirects.
    pub fn with_http(config: Config, http: reqwest::Client) -> Self {
        Self { http, config }
    }

    /// Returns the host, which is safe to display.
    pub fn host(&self) -> &str {
        &self.config.host
    }

    /// Posts a message, and retries within limits if that can help. If Slack rejects the payload with a 400,
    /// it is sent once more as plain text.
    pub async fn post(&self, message: &Message) -> Result<(), Error> {
        let payload = message.payload();
        let mut body = payload.to_string();
        let mut plain_text = Some(serde_json::json!({ "text": payload["text"] }).to_string());
        let mut attempts = 0;
        let mut url = self.config.url.current();
        let mut url_was_renewed = false;
        loop {
            attempts += 1;
            let Failure { kind, wait } = match self.attempt(&url, body.clone()).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            if kind.is_of_address()
                && !url_was_renewed
                && let Some(renewed) = self.config.url.renew_if(&url, |url| checked(url).is_ok())
            {
                (url, url_was_renewed) = (renewed, true);
                continue;
            }
            if kind.is_refused_payload()
                && let Some(plain_text) = plain_text.take()
            {
                tracing::warn!(error = %kind, title = message.title, "Slack refused a message; sending it as plain text");
                body = plain_text;
                continue;
            }
            let patient = wait.is_none_or(|wait| wait <= LONGEST_WAIT);
            if !(kind.is_passing() && patient && attempts < MOST_ATTEMPTS) {
                return Err(Error {
                    host: self.config.host.clone(),
                    kind,
                });
            }
            tokio::time::sleep(wait.unwrap_or_default().max(FIRST_WAIT * attempts)).await;
        }
    }

    async fn attempt(&self, url: &SecretString, body: String) -> Result<(), Failure> {
        // The HTTP library's errors contain the whole address.
        let no_answer = |error: reqwest::Error| Failure {
            kind: ErrorKind::Transport(error.without_url()),
            wait: None,
        };
        let request = self
            .http
            .post(url.expose_secret())
            .header("content-type", "application/json")
            .timeout(REQUEST_TIMEOUT);
        let response = request.body(body).send().await.map_err(no_answer)?;
        let status = response.status();
        let wait = http_edge::retry_after(response.headers());
        let answer = response.text().await.map_err(no_answer)?;
        // Slack confirms with `ok`. A proxy's login page has the status 200 as well.
        if status.is_success() && answer.trim() == "ok" {
            return Ok(());
        }
        let json = JsonAnswer::read(&answer);
        let answer = json.error.unwrap_or(answer);
        let answer: String = answer
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .take(120)
            .collect();
        Err(Failure {
            kind: ErrorKind::Refused {
                status: status.as_u16(),
                answer,
            },
            wait: wait.or(json.retry_after),
        })
    }
}

/// One attempt that failed.
struct Failure {
    kind: ErrorKind,
    /// Wait time that Slack requested.
    wait: Option<Duration>,
}

impl ErrorKind {
    /// Returns whether the address itself was rejected, which is the case if the webhook was removed or disabled.
    fn is_of_address(&self) -> bool {
        match self {
            Self::Refused { status, .. } => matches!(status, 401 | 403 | 404 | 410),
            Self::Transport(_) => false,
        }
    }

    /// Returns whether the same message may be delivered later.
    fn is_passing(&self) -> bool {
        match self {
            // A lost response may mean that the message was posted. A duplicate is better than a lost alert.
            Self::Transport(_) => true,
            Self::Refused { status, answer } => match Meaning::of(answer) {
                Meaning::Final(_) | Meaning::Payload => false,
                Meaning::RateLimited => true,
                Meaning::Other => *status == 429 || *status >= 500,
            },
        }
    }

    /// Returns whether the message may have been rejected because of its format.
    fn is_refused_payload(&self) -> bool {
        match self {
            Self::Transport(_) => false,
            Self::Refused { status, answer } => match Meaning::of(answer) {
                Meaning::Payload => true,
                Meaning::Other => *status == 400,
                Meaning::Final(_) | Meaning::RateLimited => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::public("https://hooks.slack.com/services/T0/B0/hunter2", None)]
    #[case::loopback("http://127.0.0.1:8080/slack/hunter2", None)]
    #[case::plain_http("http://hooks.slack.com/services/hunter2", Some(ConfigError::NotEncrypted))]
    #[case::credentials("https://hunter2@hooks.slack.com/x", Some(ConfigError::Credentials))]
    #[case::no_url("hooks.slack.com/services/hunter2", Some(ConfigError::NotAUrl))]
    #[case::workflow_trigger(
        "https://hooks.slack.com/triggers/T0/1/hunter2",
        Some(ConfigError::WorkflowTrigger("triggers"))
    )]
    #[case::legacy_workflow(
        "https://hooks.slack.com/workflows/T0/A0/1/hunter2",
        Some(ConfigError::WorkflowTrigger("workflows"))
    )]
    #[case::workflow_trigger_of_government_slack(
        "https://hooks.slack-gov.com/triggers/T0/1/hunter2",
        Some(ConfigError::WorkflowTrigger("triggers"))
    )]
    #[case::a_proxy_with_such_a_path("https://proxy.example/triggers/x", None)]
    fn only_addresses_that_protect_the_secret_are_accepted(
        #[case] url: &str,
        #[case] expected: Option<ConfigError>,
    ) {
        assert_eq!(Config::try_new(url.into()).err(), expected);
    }

    #[test]
    fn a_workflow_trigger_is_named_with_the_remedy_and_not_shown() {
        let error =
            Config::try_new("https://hooks.slack.com/triggers/T0/1/hunter2".into()).expect_err("refused");
        let text = error.to_string();
        assert!(
            text.contains("trigger URL of a Slack workflow") && text.contains("create an incoming webhook"),
            "{text}"
        );
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[rstest]
    #[case::seconds(
        r#"{"ok":false,"error":"ratelimited","retry_after":7}"#,
        Some("ratelimited"),
        Some(7)
    )]
    #[case::text(r#"{"retry_after":"7"}"#, None, Some(7))]
    #[case::nonsense(r#"{"retry_after":-1}"#, None, None)]
    #[case::plain_text("rate_limited", None, None)]
    #[case::array("[1]", None, None)]
    fn a_json_answer_is_read_leniently(
        #[case] answer: &str,
        #[case] error: Option<&str>,
        #[case] seconds: Option<u64>,
    ) {
        let read = JsonAnswer::read(answer);
        assert_eq!(
            (read.error.as_deref(), read.retry_after),
            (error, seconds.map(Duration::from_secs))
        );
    }

    #[test]
    fn debug_shows_the_host_alone() {
        let config = Config::try_new("https://hooks.slack.com/services/T0/B0/hunter2".into()).expect("valid");
        let shown = format!("{config:?} {:?}", Webhook::new(config.clone()));
        assert!(
            shown.contains("hooks.slack.com") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}
