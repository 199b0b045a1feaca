//! Requests to a search cluster and their errors.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::place::{Place, write_secret};
use crate::process;
use crate::settings::{PasswordFileError, Search};

/// Timeout of one request.
const BOUND: Duration = Duration::from_secs(30);

/// A cluster that is unusable or does not respond.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// The password cannot be read.
    #[error(transparent)]
    Password(#[from] PasswordFileError),
    /// The password cannot be passed to curl.
    #[error("{0:#}")]
    Place(anyhow::Error),
    /// curl cannot be run.
    #[error("cannot run curl: {0}; if it is not installed, run `apt-get install curl`")]
    Curl(std::io::Error),
    /// There was no response in time.
    #[error("no response within {} s", BOUND.as_secs())]
    Late,
    /// There is no connection; contains curl's message.
    #[error("{0}")]
    Unreachable(String),
    /// The response is not HTTP.
    #[error("it does not speak HTTP")]
    NotHttp,
    /// The cluster rejected user name and password.
    #[error("it rejected the credentials: set search.username and search.password_file")]
    Credentials,
    /// The cluster rejected a request.
    #[error("{request} returned {status}: {said}")]
    Refused {
        /// Method and path.
        request: String,
        /// HTTP status.
        status: u16,
        /// Reason in the response.
        said: String,
    },
    /// The server is a different product.
    #[error("the server there is neither OpenSearch nor Elasticsearch 7 or 8")]
    Foreign,
}

pub(super) fn refused(path: &str, status: u16, answer: &Value) -> SearchError {
    SearchError::Refused {
        request: format!("GET {path}"),
        status,
        said: said(answer),
    }
}

/// Returns the reason from an error response.
pub(super) fn said(answer: &Value) -> String {
    let reason = answer["error"]["reason"]
        .as_str()
        .or_else(|| answer["error"].as_str());
    reason.map_or_else(|| answer.to_string().chars().take(200).collect(), str::to_owned)
}

/// Sends one request with curl, which supports TLS and uses the machine's certificate authorities.
pub(super) fn call(
    place: &Place,
    search: &Search,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<(u16, Value), SearchError> {
    let url = search.url.as_deref().unwrap_or_default().trim_end_matches('/');
    let mut command = Command::new("curl");
    command
        .args([
            "--silent",
            "--show-error",
            "--connect-timeout",
            "5",
            // Less than our own limit, so that curl can report what was slow.
            "--max-time",
            "20",
        ])
        .args(["--request", method, "--header", "content-type: application/json"])
        .args(["--write-out", "\n%{http_code}"]);
    if let (Some(user), Some(password)) = (&search.username, search.password()?) {
        // Not on the command line, where other users could read it.
        let file = place.config("search.curl");
        write_secret(
            &file,
            &format!("user = {}\n", json!(format!("{user}:{password}"))),
        )
        .map_err(SearchError::Place)?;
        command.arg("--config").arg(file);
    }
    if let Some(body) = body {
        command.args(["--data-binary", &body.to_string()]);
    }
    command.arg(format!("{url}/{path}"));
    let output = process::output_within(&mut command, BOUND)
        .map_err(SearchError::Curl)?
        .ok_or(SearchError::Late)?;
    // A response with an error status is no failure of curl, which would drop the reason in its body.
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let said = text.trim().trim_start_matches("curl: ").to_owned();
        return Err(SearchError::Unreachable(said));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (answer, status) = text.rsplit_once('\n').unwrap_or(("", &text));
    let status = status.trim().parse().map_err(|_| SearchError::NotHttp)?;
    // A proxy may send a page instead of JSON; its status is sufficient.
    let answer = serde_json::from_str(answer).unwrap_or_else(|_| json!({ "error": answer }));
    Ok((status, answer))
}
