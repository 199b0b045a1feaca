//! Posting to an incoming webhook, whose address is a secret: only its host is ever shown.

use std::net::IpAddr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

use crate::message::Message;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
const MOST_ATTEMPTS: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// A wait that Slack asks for is honoured up to this: a notification is not worth more.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Where to post.
#[derive(Debug, Clone)]
pub struct Config {
    url: SecretString,
    host: String,
    is_loopback: bool,
}

/// An address that cannot be posted to. Never shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No URL.
    #[error("this is no URL; a webhook looks like https://hooks.slack.com/services/...")]
    NotAUrl,
    /// A user or password in the URL.
    #[error("the URL holds a user or password, which a webhook has not")]
    Credentials,
    /// Not encrypted, and not on this machine.
    #[error("the URL is not encrypted; use https (plain http is for loopback addresses only)")]
    NotEncrypted,
}

impl Config {
    /// Checks the address of a webhook.
    ///
    /// # Errors
    ///
    /// Unless it is https (or http to loopback) without credentials.
    pub fn try_new(webhook_url: SecretString) -> Result<Self, ConfigError> {
        let url = Url::parse(webhook_url.expose_secret()).map_err(|_| ConfigError::NotAUrl)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ConfigError::Credentials);
        }
        let is_loopback = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
            Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
            Some(Host::Domain(domain)) => domain.eq_ignore_ascii_case("localhost"),
            None => return Err(ConfigError::NotAUrl),
        };
        match url.scheme() {
            "https" => {}
            "http" if is_loopback => {}
            "http" => return Err(ConfigError::NotEncrypted),
            _ => return Err(ConfigError::NotAUrl),
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        Ok(Self {
            url: webhook_url,
            host,
            is_loopback,
        })
    }

    /// Returns the host, which may be shown.
    pub fn host(&self) -> &str {
        &self.host
    }
}

/// A notification that was not delivered.
#[derive(Debug, thiserror::Error)]
#[error("failed to post to the webhook at {host}")]
pub struct Error {
    host: String,
    #[source]
    kind: ErrorKind,
}

/// How a post failed.
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// No answer arrived.
    #[error("no answer")]
    Transport(#[source] reqwest::Error),
    /// Slack refused.
    #[error("refused with {status}: `{answer}`{}", remedy(.answer))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Slack's answer in one line, capped.
        answer: String,
    },
}

impl Error {
    /// Returns how it failed.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }
}

/// Plain-text answers of incoming webhooks (Slack's documentation, sending messages using incoming webhooks).
fn remedy(answer: &str) -> &'static str {
    match answer {
        "no_service" | "no_active_hooks" | "no_service_id" | "invalid_token" | "no_team"
        | "team_disabled" => "; the webhook was removed or disabled: make a new one and set its address",
        "channel_not_found" | "channel_is_archived" | "user_not_found" => {
            "; its channel is gone: make a webhook for another channel"
        }
        "action_prohibited" | "posting_to_general_channel_denied" => {
            "; the workspace does not allow it: ask its administrators, or choose another channel"
        }
        "invalid_payload" | "invalid_blocks" | "too_many_attachments" | "no_text" => {
            "; the message was not understood: that is a fault of this program, please report it"
        }
        "rate_limited" => "; too many messages are posted to it",
        _ => "",
    }
}

/// Posts messages.
#[derive(Debug, Clone)]
pub struct Webhook {
    http: reqwest::Client,
    config: Config,
}

impl Webhook {
    /// Returns a webhook.
    ///
    /// # Panics
    ///
    /// Never: a TLS provider is installed here, and nothing else of the client can fail.
    pub fn new(config: Config) -> Self {
        // Another part of the program may have installed it already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("temporal-capacity/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT);
        if config.is_loopback {
            http = http.no_proxy();
        }
        Self {
            http: http.build().expect("a TLS provider is installed"),
            config,
        }
    }

    /// Returns the host, which may be shown.
    pub fn host(&self) -> &str {
        &self.config.host
    }

    /// Posts a message, again within bounds if that may help.
    pub async fn post(&self, message: &Message) -> Result<(), Error> {
        let body = message.payload().to_string();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let (kind, asked) = match self.attempt(body.clone()).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            let passing = match &kind {
                ErrorKind::Transport(_) => true,
                ErrorKind::Refused { status, .. } => *status == 429 || *status >= 500,
            };
            let patient = asked.is_none_or(|asked| asked <= LONGEST_WAIT);
            if !(passing && patient && attempts < MOST_ATTEMPTS) {
                return Err(Error {
                    host: self.config.host.clone(),
                    kind,
                });
            }
            tokio::time::sleep(asked.unwrap_or_default().max(FIRST_WAIT * attempts)).await;
        }
    }

    async fn attempt(&self, body: String) -> Result<(), (ErrorKind, Option<Duration>)> {
        // The library's errors hold the whole address.
        let no_answer = |error: reqwest::Error| (ErrorKind::Transport(error.without_url()), None);
        let request = self
            .http
            .post(self.config.url.expose_secret())
            .header("content-type", "application/json");
        let response = request.body(body).send().await.map_err(no_answer)?;
        let status = response.status();
        let seconds = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let answer = response.text().await.map_err(no_answer)?;
        if status.is_success() && answer.trim() == "ok" {
            return Ok(());
        }
        let answer: String = answer
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .take(120)
            .collect();
        Err((
            ErrorKind::Refused {
                status: status.as_u16(),
                answer,
            },
            seconds.map(Duration::from_secs),
        ))
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
    fn only_addresses_that_keep_the_secret_are_accepted(
        #[case] url: &str,
        #[case] expected: Option<ConfigError>,
    ) {
        assert_eq!(Config::try_new(url.into()).err(), expected);
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
