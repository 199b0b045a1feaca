//! A client for Spacelift's GraphQL API, with login, rate limiting, retries and typed errors. The queries are
//! in `queries`.
//!
//! Every query also requests `viewer`, because Spacelift returns empty lists and nulls for an expired token
//! instead of an error, and only `viewer` shows the difference.

mod error;
mod operation;
mod queries;

use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http_edge::AddressProblem;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use url::Url;

use operation::{LOGIN, Operation, VIEWER};

pub use error::{ConfigError, Error, ErrorKind};
pub use queries::progress_of;

/// A token is renewed if it expires within this duration.
const REFRESH_BEFORE: Duration = Duration::from_mins(1);
/// Maximum number of token renewals within one call. A token may expire during an outage.
const MOST_REFRESHES: u32 = 2;
/// Longest `Retry-After` that a call waits for. Longer ones are returned to the caller.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// Number of bytes of an unreadable response in an error message.
const SHOWN_BYTES: usize = 160;

/// Settings of the connection to an account.
#[derive(Debug, Clone)]
pub struct Config {
    endpoint: Url,
    key_id: String,
    key_secret: SecretString,
    /// Maximum number of requests per second.
    pub requests_per_second: u32,
    /// Maximum number of attempts for requests that are safe to retry.
    pub attempts: u32,
    /// Wait before the second attempt. It doubles with each attempt.
    pub first_wait: Duration,
    /// Timeout of one request.
    pub timeout: Duration,
}

impl Config {
    /// Validates endpoint, key id and key secret.
    ///
    /// # Errors
    ///
    /// If the endpoint is not an https URL (or http to loopback), or if the id or the secret is empty.
    pub fn try_new(endpoint: &str, key_id: &str, key_secret: SecretString) -> Result<Self, ConfigError> {
        let url = http_edge::base_url(endpoint.trim_end_matches('/'), false);
        let url = url.map_err(|problem| match problem {
            AddressProblem::Credentials => ConfigError::Credentials,
            AddressProblem::NotEncrypted => ConfigError::NotEncrypted(endpoint.to_owned()),
            _ => ConfigError::Endpoint(endpoint.to_owned()),
        })?;
        if key_id.trim().is_empty() {
            return Err(ConfigError::Empty("SPACELIFT_API_KEY_ID"));
        }
        if key_secret.expose_secret().trim().is_empty() {
            return Err(ConfigError::Empty("SPACELIFT_API_KEY_SECRET"));
        }
        Ok(Self {
            endpoint: url,
            key_id: key_id.trim().to_owned(),
            key_secret,
            requests_per_second: 5,
            attempts: 5,
            first_wait: Duration::from_secs(1),
            timeout: Duration::from_secs(30),
        })
    }
}

struct Token {
    jwt: SecretString,
    valid_until: SystemTime,
}

/// A client for one account.
pub struct Spacelift {
    config: Config,
    http: reqwest::Client,
    pace: DefaultDirectRateLimiter,
    token: Mutex<Option<Token>>,
}

#[derive(Deserialize)]
struct Answer {
    data: Option<Value>,
    #[serde(default)]
    errors: Vec<GraphQlError>,
}

#[derive(Deserialize)]
struct GraphQlError {
    message: String,
    extensions: Option<Value>,
}

/// The result of one attempt.
enum Attempt {
    Done(Value),
    /// The token was rejected.
    Unauthorized(String),
    /// The server requested a wait and did not process the request.
    Busy(ErrorKind, Option<Duration>),
    /// There was no usable response. Whether the request had an effect is unknown.
    Unknown(ErrorKind),
    Failed(ErrorKind),
}

impl Spacelift {
    /// Returns a client without sending a request.
    ///
    /// # Panics
    ///
    /// Never, because a TLS provider is installed first.
    pub fn new(config: Config) -> Self {
        // Ignore the error if another part of the program has already installed a provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .user_agent(concat!("stack-chain/", env!("CARGO_PKG_VERSION")))
            // A redirect could leak the token to another host.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .timeout(config.timeout)
            .build()
            .expect("a TLS provider is installed, and nothing else can fail");
        let per_second = NonZeroU32::new(config.requests_per_second).unwrap_or(NonZeroU32::MIN);
        Self {
            http,
            pace: RateLimiter::direct(Quota::per_second(per_second)),
            token: Mutex::new(None),
            config,
        }
    }

    fn run_url(&self, stack: &str, run: &str) -> String {
        format!(
            "{}/stack/{stack}/run/{run}",
            self.config.endpoint.as_str().trim_end_matches('/')
        )
    }

    /// Executes an operation. `note` is attached to the run if it starts one.
    async fn call<T: DeserializeOwned>(
        &self,
        operation: Operation,
        variables: Value,
        note: Option<&str>,
    ) -> Result<T, Error> {
        let fail = |kind| Error::new(operation.does, kind);
        let mut wait = self.config.first_wait;
        let mut refreshes = 0;
        let mut attempt = 1;
        loop {
            let token = self.token(&operation).await?;
            let last = attempt >= self.config.attempts.max(1);
            match self.attempt(operation, &variables, Some(&token), note).await {
                Attempt::Done(data)
                    if !operation.is_mutation && data.get("viewer").is_some_and(Value::is_null) =>
                {
                    if refreshes == MOST_REFRESHES {
                        return Err(fail(ErrorKind::Login("the token was rejected".to_owned())));
                    }
                    refreshes += 1;
                    self.forget(&token).await;
                }
                Attempt::Done(data) => {
                    return serde_json::from_value(data).map_err(|error| fail(ErrorKind::Decode(error)));
                }
                // A missing permission has the same text, but a new token rules out an expired one.
                Attempt::Unauthorized(_) if refreshes < MOST_REFRESHES => {
                    refreshes += 1;
                    self.forget(&token).await;
                }
                Attempt::Unauthorized(message) => {
                    return Err(fail(self.login_or_permission(&token, message).await));
                }
                Attempt::Busy(kind, asked) if last || asked.is_some_and(|asked| asked > LONGEST_WAIT) => {
                    return Err(fail(kind));
                }
                Attempt::Busy(_, asked) => {
                    attempt += 1;
                    tokio::time::sleep(asked.unwrap_or(wait)).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                // Spacelift has no idempotency keys, so a repeated mutation could start a second run.
                Attempt::Unknown(kind) if last || operation.is_mutation => return Err(fail(kind)),
                Attempt::Unknown(_) => {
                    attempt += 1;
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                Attempt::Failed(kind) => return Err(fail(kind)),
            }
        }
    }

    /// Distinguishes permission and login errors, which have the same text, by `viewer`.
    async fn login_or_permission(&self, token: &SecretString, message: String) -> ErrorKind {
        match self.attempt(VIEWER, &json!({}), Some(token), None).await {
            Attempt::Done(data) if !data["viewer"].is_null() => ErrorKind::Permission(message),
            _ => ErrorKind::Login(message),
        }
    }

    async fn attempt(
        &self,
        operation: Operation,
        variables: &Value,
        token: Option<&SecretString>,
        note: Option<&str>,
    ) -> Attempt {
        // For each attempt, because retries are requests too.
        self.pace.until_ready().await;
        let kind = if operation.is_mutation {
            "Spacelift-GraphQL-Mutation"
        } else {
            "Spacelift-GraphQL-Query"
        };
        let body =
            json!({ "query": operation.document, "variables": variables, "operationName": operation.name });
        let mut request = self
            .http
            .post(format!(
                "{}/graphql",
                self.config.endpoint.as_str().trim_end_matches('/')
            ))
            .header("Spacelift-Client-Type", "stack-chain")
            .header(kind, operation.name)
            .json(&body);
        if let Some(token) = token {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some(note) = note {
            request = request.header("Spacelift-User-Provided-Run-Metadata", note);
        }
        let response = match request.send().await {
            Ok(response) => response,
            // The request was never sent.
            Err(error) if error.is_connect() => {
                return Attempt::Busy(ErrorKind::Transport(error.without_url()), None);
            }
            Err(error) => return Attempt::Unknown(ErrorKind::Transport(error.without_url())),
        };
        let status = response.status().as_u16();
        let retry_after = http_edge::retry_after(response.headers());
        let text = match response.text().await {
            Ok(text) => text,
            Err(error) => return Attempt::Unknown(ErrorKind::Transport(error.without_url())),
        };
        classify(status, retry_after, &text)
    }

    async fn token(&self, operation: &Operation) -> Result<SecretString, Error> {
        // Held during the exchange, so that calls at the same time share one login.
        let mut held = self.token.lock().await;
        if let Some(token) = held.as_ref()
            && token
                .valid_until
                .duration_since(SystemTime::now())
                .is_ok_and(|left| left > REFRESH_BEFORE)
        {
            return Ok(token.jwt.clone());
        }
        let fresh = self
            .exchange()
            .await
            .map_err(|kind| Error::new(operation.does, kind))?;
        let jwt = fresh.jwt.clone();
        *held = Some(fresh);
        Ok(jwt)
    }

    /// Discards a rejected token, unless another call has already replaced it.
    async fn forget(&self, refused: &SecretString) {
        let mut held = self.token.lock().await;
        if held
            .as_ref()
            .is_some_and(|token| token.jwt.expose_secret() == refused.expose_secret())
        {
            *held = None;
        }
    }

    /// Exchanges the API key for a token. Safe to retry.
    async fn exchange(&self) -> Result<Token, ErrorKind> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct User {
            jwt: String,
            valid_until: u64,
        }
        let variables = json!({ "id": self.config.key_id, "secret": self.config.key_secret.expose_secret() });
        let mut wait = self.config.first_wait;
        let mut attempt = 1;
        let mut data = loop {
            match self.attempt(LOGIN, &variables, None, None).await {
                Attempt::Done(data) => break data,
                Attempt::Unauthorized(message) => return Err(ErrorKind::Login(message)),
                Attempt::Failed(kind) => return Err(kind),
                Attempt::Busy(kind, _) | Attempt::Unknown(kind) if attempt >= self.config.attempts => {
                    return Err(kind);
                }
                Attempt::Busy(_, asked) => tokio::time::sleep(asked.unwrap_or(wait).min(LONGEST_WAIT)).await,
                Attempt::Unknown(_) => tokio::time::sleep(wait).await,
            }
            attempt += 1;
            wait = (wait * 2).min(LONGEST_WAIT);
        };
        let user: Option<User> =
            serde_json::from_value(data["apiKeyUser"].take()).map_err(ErrorKind::Decode)?;
        let user = user.ok_or_else(|| {
            ErrorKind::Login(format!("the API key `{}` does not exist", self.config.key_id))
        })?;
        Ok(Token {
            jwt: user.jwt.into(),
            valid_until: SystemTime::UNIX_EPOCH + Duration::from_secs(user.valid_until),
        })
    }
}

/// Classifies a response, by its status first and then leniently by its body.
fn classify(status: u16, retry_after: Option<Duration>, text: &str) -> Attempt {
    let shown = || {
        text.chars()
            .take(SHOWN_BYTES)
            .collect::<String>()
            .replace(char::is_whitespace, " ")
    };
    let refused = || ErrorKind::Status {
        status,
        answer: shown(),
        retry_after,
    };
    match status {
        200 => {}
        401 => return Attempt::Unauthorized(format!("status 401: {}", shown())),
        429 => return Attempt::Busy(refused(), retry_after),
        500.. => return Attempt::Unknown(refused()),
        _ => return Attempt::Failed(refused()),
    }
    let answer: Answer = match serde_json::from_str(text) {
        Ok(answer) => answer,
        Err(_) => return Attempt::Unknown(ErrorKind::NotJson(shown())),
    };
    let message = answer.errors.iter().map(|error| match &error.extensions {
        Some(extensions) if !extensions.is_null() => format!("{} ({extensions})", error.message),
        _ => error.message.clone(),
    });
    let message = message.collect::<Vec<_>>().join("; ");
    // GraphQL reports errors with status 200 and without codes.
    if !answer.errors.is_empty() {
        let lower = message.to_ascii_lowercase();
        return if lower.contains("unauthorized") {
            Attempt::Unauthorized(message)
        } else if lower.contains("not found") {
            Attempt::Failed(ErrorKind::NotFound(message))
        } else {
            Attempt::Failed(ErrorKind::GraphQl(message))
        };
    }
    match answer.data {
        Some(data) => Attempt::Done(data),
        None => Attempt::Failed(ErrorKind::GraphQl(
            "the response has neither data nor errors".to_owned(),
        )),
    }
}
