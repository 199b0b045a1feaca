//! A provider for any CI system with one URL to start a run and another to get its status. The jobs are
//! defined in a JSON file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Method, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;

use crate::labels::is_stack_id;
use crate::mistakes::Mistakes;
use crate::provider::{Identity, Progress, Provider, ProviderError, Run, RunRef, Stack, Trouble};

/// Maximum size of a response in bytes.
const MOST_BYTES: usize = 1 << 20;

/// A job from the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Id, in the same format as a stack's.
    pub id: String,
    /// Labels, in the same format as a stack's.
    #[serde(default)]
    pub labels: Vec<String>,
    /// URL to start a run with `POST`. The response is JSON.
    pub trigger_url: String,
    /// JSON body of the `POST` that starts a run.
    pub trigger_body: Option<Value>,
    /// URL to get the status of a run as JSON; `{run}` is replaced by the run's id.
    pub status_url: String,
    /// URL to stop a run with `POST`; `{run}` is replaced by the run's id.
    pub stop_url: Option<String>,
    /// URL of a run's web page; `{run}` is replaced by the run's id. Defaults to the status URL.
    pub page_url: Option<String>,
    /// Environment variable with the bearer token for all of these URLs.
    pub token_variable: Option<String>,
    /// JSON pointer to the run's id in the response to the trigger.
    #[serde(default = "run_pointer")]
    pub run_pointer: String,
    /// JSON pointer to the state in the status response.
    #[serde(default = "state_pointer")]
    pub state_pointer: String,
    /// States of a successful run.
    pub success: Vec<String>,
    /// States of a failed run.
    pub failure: Vec<String>,
    /// States of a canceled run.
    #[serde(default)]
    pub canceled: Vec<String>,
    /// States of a run that waits for a person.
    #[serde(default)]
    pub waiting: Vec<String>,
}

fn run_pointer() -> String {
    "/id".to_owned()
}

fn state_pointer() -> String {
    "/state".to_owned()
}

impl Job {
    fn progress_of(&self, state: &str) -> Progress {
        let is_in = |states: &[String]| states.iter().any(|it| it == state);
        if is_in(&self.success) {
            Progress::Succeeded
        } else if is_in(&self.failure) {
            Progress::Failed
        } else if is_in(&self.canceled) {
            Progress::Canceled
        } else if is_in(&self.waiting) {
            Progress::Waiting
        } else {
            // The system may have states that the file does not list.
            Progress::Active
        }
    }

    fn run(&self, id: &str, state: &str) -> Run {
        Run {
            id: id.to_owned(),
            progress: self.progress_of(state),
            state: state.to_owned(),
            branch: String::new(),
            triggered_by: None,
            url: with_run(self.page_url.as_ref().unwrap_or(&self.status_url), id),
        }
    }

    fn mistakes(&self, tokens: &BTreeMap<String, String>) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut wrong = |problem: String| mistakes.push(format!("`{}`: {problem}", self.id));
        if !is_stack_id(&self.id) {
            wrong("not an id (lower-case letters, digits, `-` and `_`)".to_owned());
        }
        if !self.status_url.contains("{run}") {
            wrong("`status_url` has no `{run}`".to_owned());
        }
        let optional = self.stop_url.iter().chain(&self.page_url);
        for url in [&self.trigger_url, &self.status_url].into_iter().chain(optional) {
            let is_url =
                url::Url::parse(&with_run(url, "1")).is_ok_and(|url| url.scheme().starts_with("http"));
            if !is_url {
                wrong(format!("`{url}` is not an HTTP URL"));
            }
        }
        for pointer in [&self.run_pointer, &self.state_pointer] {
            if !pointer.starts_with('/') {
                wrong(format!(
                    "`{pointer}` is not a JSON pointer such as `/build/number`"
                ));
            }
        }
        if self.success.is_empty() || self.failure.is_empty() {
            wrong("`success` and `failure` need at least one state each".to_owned());
        }
        if let Some(name) = &self.token_variable
            && tokens.get(name).is_none_or(|token| token.trim().is_empty())
        {
            wrong(format!("the variable {name} (`token_variable`) is not set"));
        }
        mistakes
    }
}

/// Inserts a run's id into a URL.
fn with_run(url: &str, id: &str) -> String {
    let escaped: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
    // In a path, `+` is not a space.
    url.replace("{run}", &escaped.replace('+', "%20"))
}

/// A provider that starts jobs at one URL and polls them at another.
pub struct Jobs {
    by_id: BTreeMap<String, Job>,
    tokens: BTreeMap<String, SecretString>,
    http: reqwest::Client,
    /// The runs started by this process, newest first, because such a CI system does not list runs.
    started: Mutex<BTreeMap<String, Vec<String>>>,
}

impl Jobs {
    /// Parses the jobs, and reads tokens from the environment variables that they name.
    ///
    /// # Errors
    ///
    /// If the text is not a list of valid jobs; reports every mistake.
    pub fn try_new(json: &str, variables: &BTreeMap<String, String>) -> Result<Self, Mistakes> {
        let list: Vec<Job> =
            serde_json::from_str(json).map_err(|error| format!("not a list of jobs: {error}"))?;
        let mut mistakes: Vec<String> = list.iter().flat_map(|job| job.mistakes(variables)).collect();
        let mut known = BTreeSet::new();
        let twice = list.iter().filter(|job| !known.insert(job.id.as_str()));
        mistakes.extend(twice.map(|job| format!("`{}`: the id is used twice", job.id)));
        if !mistakes.is_empty() {
            return Err(Mistakes(mistakes));
        }
        // Ignore the error if another part of the program has already installed a provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            // A redirect could leak the token to another host.
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(30))
            .build()
            .map_err(|error| error.to_string())?;
        let tokens = list
            .iter()
            .filter_map(|job| {
                let token = variables.get(job.token_variable.as_ref()?)?.trim();
                Some((job.id.clone(), token.to_owned().into()))
            })
            .collect();
        let by_id = list.into_iter().map(|job| (job.id.clone(), job)).collect();
        Ok(Self {
            by_id,
            tokens,
            http,
            started: Mutex::default(),
        })
    }

    fn job(&self, id: &str) -> Result<&Job, ProviderError> {
        self.by_id.get(id).ok_or_else(|| {
            ProviderError::new(Trouble::NotFound, format!("job `{id}` is not in the jobs file"))
        })
    }

    fn started(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<String>>> {
        self.started
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Sends a request and returns the body of a successful response.
    async fn request(
        &self,
        job: &Job,
        method: Method,
        url: &str,
        body: Option<&Value>,
    ) -> Result<String, ProviderError> {
        // A `POST` whose response is lost may have started a run, and a repeated one could start another.
        let lost = if method == Method::POST {
            Trouble::Ambiguous
        } else {
            Trouble::Transient
        };
        let fail = |trouble, what: String| ProviderError::new(trouble, format!("job `{}`: {what}", job.id));
        let mut request = self.http.request(method, url);
        if let Some(token) = self.tokens.get(&job.id) {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut response = request.send().await.map_err(|error| {
            // Without a connection, nothing was sent.
            let trouble = if error.is_connect() {
                Trouble::Transient
            } else {
                lost
            };
            fail(
                trouble,
                format!(
                    "no response: {}",
                    // The URL may contain a token.
                    temporal_worker_kit::chain(&error.without_url())
                ),
            )
        })?;
        let status = response.status();
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| {
            fail(
                lost,
                format!("the response was truncated: {}", error.without_url()),
            )
        })? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MOST_BYTES {
                return Err(fail(lost, "the response is larger than 1 MiB".to_owned()));
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let trouble = match status {
            status if status.is_success() => return Ok(text),
            StatusCode::UNAUTHORIZED => Trouble::Login,
            StatusCode::FORBIDDEN => Trouble::Permission,
            StatusCode::NOT_FOUND => Trouble::NotFound,
            StatusCode::TOO_MANY_REQUESTS => Trouble::Transient,
            status if status.is_server_error() => lost,
            _ => Trouble::Permanent,
        };
        Err(ProviderError {
            retry_after,
            ..fail(
                trouble,
                format!("status {}: `{}`", status.as_u16(), beginning(&text)),
            )
        })
    }
}

fn beginning(text: &str) -> String {
    text.chars().take(160).collect()
}

/// Returns a text or a number from a response.
fn found(job: &Job, answer: &str, pointer: &str, what: &str) -> Result<String, ProviderError> {
    let value: Option<Value> = serde_json::from_str(answer).ok();
    let text = match value.as_ref().and_then(|value| value.pointer(pointer)) {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    text.ok_or_else(|| {
        let shown = beginning(answer);
        let text = format!(
            "job `{}`: the response has no {what} at `{pointer}`: `{shown}`",
            job.id
        );
        ProviderError::new(Trouble::Permanent, text)
    })
}

#[async_trait]
impl Provider for Jobs {
    fn name(&self) -> &'static str {
        "jobs"
    }

    fn lists_runs(&self) -> bool {
        false
    }

    async fn stacks(&self) -> Result<Vec<Stack>, ProviderError> {
        let stack = |job: &Job| Stack {
            id: job.id.clone(),
            name: job.id.clone(),
            labels: job.labels.clone(),
            ..Stack::default()
        };
        Ok(self.by_id.values().map(stack).collect())
    }

    async fn stack(&self, id: &str) -> Result<Option<Stack>, ProviderError> {
        Ok(self.stacks().await?.into_iter().find(|stack| stack.id == id))
    }

    async fn trigger(&self, stack: &str, _note: &str) -> Result<Run, ProviderError> {
        let job = self.job(stack)?;
        let answer = self
            .request(job, Method::POST, &job.trigger_url, job.trigger_body.as_ref())
            .await?;
        // Without an id, the run has started but cannot be followed.
        let id = found(job, &answer, &job.run_pointer, "run id")?;
        self.started()
            .entry(stack.to_owned())
            .or_default()
            .insert(0, id.clone());
        Ok(job.run(&id, "started"))
    }

    async fn runs(&self, stack: &str) -> Result<Vec<Run>, ProviderError> {
        let job = self.job(stack)?;
        let started = self.started();
        let ids = started.get(stack).into_iter().flatten();
        Ok(ids.map(|id| job.run(id, "started")).collect())
    }

    async fn run(&self, at: &RunRef) -> Result<Option<Run>, ProviderError> {
        let job = self.job(&at.stack)?;
        let url = with_run(&job.status_url, &at.run);
        match self.request(job, Method::GET, &url, None).await {
            Ok(answer) => {
                let state = found(job, &answer, &job.state_pointer, "state")?;
                Ok(Some(job.run(&at.run, &state)))
            }
            Err(error) if error.trouble == Trouble::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn stop(&self, at: &RunRef, _note: &str) -> Result<(), ProviderError> {
        let job = self.job(&at.stack)?;
        let Some(url) = &job.stop_url else {
            let text = format!(
                "job `{}` has no `stop_url`; stop run {} manually",
                at.stack, at.run
            );
            return Err(ProviderError::new(Trouble::Permanent, text));
        };
        let url = with_run(url, &at.run);
        self.request(job, Method::POST, &url, None).await.map(drop)
    }

    async fn identity(&self) -> Result<Identity, ProviderError> {
        Ok(Identity {
            id: "jobs".to_owned(),
            name: format!(
                "no one ({} jobs, whose URLs are only called to start, poll or stop a run)",
                self.by_id.len()
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::HeaderMap;
    use axum::routing::{get, post};

    async fn jobs() -> Jobs {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let at = listener.local_addr().expect("bound");
        let start = async |headers: HeaderMap, body: String| {
            let token = headers.get("authorization").and_then(|it| it.to_str().ok());
            assert_eq!(
                (token, body.as_str()),
                (Some("Bearer t0ken"), r#"{"branch":"main"}"#)
            );
            r#"{"build":{"number":41}}"#
        };
        let router = Router::new()
            .route("/start", post(start))
            .route("/broken", post(async || (StatusCode::BAD_GATEWAY, "<html>")))
            .route(
                "/busy",
                post(async || (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")])),
            )
            .route("/html", post(async || "<html>"))
            .route("/runs/41", get(async || r#"{"status":"passed"}"#))
            .route("/runs/7", get(async || "{}"))
            .route("/runs/41/stop", post(async || StatusCode::NO_CONTENT));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let job = |id: &str| {
            format!(
                r#"{{"id":"{id}","trigger_url":"http://{at}/{id}","status_url":"http://{at}/runs/{{run}}",
                "stop_url":"http://{at}/runs/{{run}}/stop","run_pointer":"/build/number","state_pointer":"/status",
                "trigger_body":{{"branch":"main"}},"token_variable":"TOKEN","success":["passed"],"failure":["failed"]}}"#
            )
        };
        let list = ["start", "broken", "busy", "html"].map(job).join(",");
        let variables = BTreeMap::from([("TOKEN".to_owned(), "t0ken\n".to_owned())]);
        Jobs::try_new(&format!("[{list}]"), &variables).expect("valid")
    }

    fn at(run: &str) -> RunRef {
        RunRef {
            stack: "start".to_owned(),
            run: run.to_owned(),
        }
    }

    #[tokio::test]
    async fn a_job_is_started_followed_and_stopped() {
        let jobs = jobs().await;
        let run = jobs.trigger("start", "").await.expect("started");
        assert_eq!((run.id.as_str(), run.progress), ("41", Progress::Active));
        let read = jobs.run(&at("41")).await.expect("read");
        assert_eq!(read.map(|it| it.progress), Some(Progress::Succeeded));
        jobs.stop(&at("41"), "").await.expect("stopped");
        assert_eq!(jobs.run(&at("42")).await.expect("read"), None);
        assert_eq!(jobs.runs("start").await.expect("listed").len(), 1);
        let error = jobs.run(&at("7")).await.expect_err("no state");
        assert_eq!(
            error.to_string(),
            "job `start`: the response has no state at `/status`: `{}`"
        );
    }

    #[tokio::test]
    async fn an_ambiguous_response_is_distinguished_from_a_refusal() {
        let jobs = jobs().await;
        let error = jobs.trigger("broken", "").await.expect_err("refused");
        assert_eq!(error.trouble, Trouble::Ambiguous);
        assert_eq!(error.to_string(), "job `broken`: status 502: `<html>`");
        let error = jobs.trigger("busy", "").await.expect_err("refused");
        assert_eq!(
            (error.trouble, error.retry_after),
            (Trouble::Transient, Some(Duration::from_secs(7)))
        );
        let error = jobs.trigger("html", "").await.expect_err("no id");
        assert_eq!(error.trouble, Trouble::Permanent);
    }

    #[test]
    fn a_run_id_cannot_change_the_url() {
        assert_eq!(
            with_run("http://ci/runs/{run}/log", "a/../b?c d"),
            "http://ci/runs/a%2F..%2Fb%3Fc%20d/log"
        );
    }

    #[test]
    fn every_mistake_in_the_file_is_reported() {
        let job = |id: &str, token: &str| {
            format!(
                r#"{{"id":"{id}","trigger_url":"x","status_url":"http://a/1","success":["a"],"failure":[],"run_pointer":"id",
                "token_variable":"{token}"}}"#
            )
        };
        let list = format!("[{},{},{}]", job("A", "NONE"), job("b", "NONE"), job("b", "NONE"));
        let error = Jobs::try_new(&list, &BTreeMap::new())
            .err()
            .expect("mistakes")
            .to_string();
        for expected in [
            "`A`: not an id",
            "`b`: `x` is not an HTTP URL",
            "`b`: `status_url` has no `{run}`",
            "`b`: `id` is not a JSON pointer",
            "`b`: `success` and `failure` need",
            "`b`: the variable NONE (`token_variable`) is not set",
            "`b`: the id is used twice",
        ] {
            assert!(error.contains(expected), "{expected} is missing in {error}");
        }
        assert!(Jobs::try_new("{}", &BTreeMap::new()).is_err());
    }
}
