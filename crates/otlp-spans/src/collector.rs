//! One request to a collector: its body, and how the response is interpreted.

use std::time::Duration;

use prost::Message;
use reqwest::StatusCode;
use reqwest::header::{self, HeaderMap};
use secrecy::SecretString;

use crate::config::{OtlpConfig, read_headers};
use crate::message::{
    ExportTraceServiceRequest, ExportTraceServiceResponse, KeyValue, OneValue, Refusal, Resource,
    ResourceSpans, Scope, ScopeSpans,
};
use crate::span::Span;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of a response in bytes. A normal one is a few bytes.
const LONGEST_ANSWER: usize = 16 * 1024;
/// Maximum length of a collector's message in an error, in characters.
const LONGEST_MESSAGE: usize = 200;

/// The service that sends spans. The configuration can override its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service<'a> {
    /// Name of the service, the same in all of its processes (`service.name`).
    pub name: &'a str,
    /// Version of the service (`service.version`).
    pub version: &'a str,
    /// Instance id, unique per process (`service.instance.id`); omitted if empty.
    pub instance: &'a str,
}

/// A client for a collector. It connects when the first request is sent.
#[derive(Debug)]
pub struct Collector {
    http: reqwest::Client,
    config: OtlpConfig,
    resource: Resource,
    scope: Scope,
}

/// Spans that the collector did not accept.
#[derive(Debug)]
pub struct Error {
    url: String,
    kind: ErrorKind,
}

http_edge::client_error!(Error of ErrorKind, "cannot send spans to {}", url);

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No response: connection, TLS or timeout.
    #[error("no response")]
    Transport(#[source] reqwest::Error),
    /// The collector rejected the request, or the response is not from a collector.
    #[error("the server responded with {status}{}{}", in_brackets(.message), remedy(*.status))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The collector's message in one line, shortened.
        message: String,
        /// How long the server asked to wait before the next attempt (`Retry-After`).
        retry_after: Option<Duration>,
    },
}

fn in_brackets(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(" ({message})")
    }
}

fn remedy(status: u16) -> &'static str {
    match status {
        401 | 403 => "; check OTEL_EXPORTER_OTLP_HEADERS",
        404 | 405 => "; check the path: a collector usually accepts traces at /v1/traces",
        415 => "; this endpoint does not accept OTLP over HTTP with protobuf",
        _ => "",
    }
}

impl Error {
    /// Returns the kind of failure.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// Returns whether a retry can succeed.
    pub fn is_retryable(&self) -> bool {
        match &self.kind {
            ErrorKind::Transport(_) => true,
            // The protocol allows retries only for these.
            ErrorKind::Refused { status, .. } => matches!(status, 429 | 502 | 503 | 504),
        }
    }

    /// Returns how long the collector asked to wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        match &self.kind {
            ErrorKind::Transport(_) => None,
            ErrorKind::Refused { retry_after, .. } => *retry_after,
        }
    }
}

impl Collector {
    /// Creates a client that sends the spans of this service.
    ///
    /// # Errors
    ///
    /// If the HTTP client cannot be created.
    ///
    /// # Panics
    ///
    /// Never for a valid configuration, because its certificate authorities were parsed when it was built.
    pub fn new(config: &OtlpConfig, service: Service<'_>) -> Result<Self, Error> {
        let tls = http_edge::tls::client_config(&config.certificates)
            .expect("the configuration was built with usable authorities only");
        let http = http_edge::client(tls, CONNECT_TIMEOUT, config.is_loopback())
            .timeout(config.timeout)
            .user_agent(concat!("otlp-spans/", env!("CARGO_PKG_VERSION")));
        let http = http.build().map_err(|error| Error {
            url: config.url.to_string(),
            kind: ErrorKind::Transport(error.without_url()),
        })?;
        Ok(Self {
            http,
            config: config.clone(),
            resource: resource(config, service),
            scope: Scope {
                name: service.name.to_owned(),
                version: service.version.to_owned(),
            },
        })
    }

    /// Returns the URL that spans are posted to.
    pub fn url(&self) -> &str {
        self.config.url()
    }

    /// Checks the connection with a request that has no spans.
    ///
    /// # Errors
    ///
    /// If the collector does not accept it.
    pub async fn check(&self) -> Result<(), Error> {
        self.export(Vec::new()).await.map(drop)
    }

    /// Sends spans. Returns how many the collector rejected, and why.
    pub(crate) async fn export(&self, spans: Vec<Span>) -> Result<(u64, String), Error> {
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpans {
                    scope: Some(self.scope.clone()),
                    spans: spans.into_iter().map(Span::into_message).collect(),
                }],
            }],
        };
        self.post(request.encode_to_vec()).await
    }

    async fn post(&self, body: Vec<u8>) -> Result<(u64, String), Error> {
        let given = self.config.headers.as_ref();
        let current = given.map(http_edge::Secret::current);
        let answer = self.attempt(body.clone(), current.as_ref()).await;
        if let Err(error) = &answer
            && matches!(
                error.kind,
                ErrorKind::Refused {
                    status: 401 | 403,
                    ..
                }
            )
            && let (Some(secret), Some(refused)) = (given, current)
            // One retry with the new value; a second rejection goes to the queue, which drops the spans.
            && let Some(renewed) = secret.renew_if(&refused, |text| read_headers(text).is_some())
        {
            return self.attempt(body, Some(&renewed)).await;
        }
        answer
    }

    async fn attempt(&self, body: Vec<u8>, secret: Option<&SecretString>) -> Result<(u64, String), Error> {
        let failed = |kind| Error {
            url: self.config.url.to_string(),
            kind,
        };
        let transport = |error: reqwest::Error| failed(ErrorKind::Transport(error.without_url()));
        // `build` and `renew_if` accept only headers that can be read.
        let headers = secret.and_then(read_headers).unwrap_or_default();
        let request = self.http.post(self.config.url.clone()).headers(headers.clone());
        let request = request
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .body(body);
        let mut response = request.send().await.map_err(transport)?;
        let (status, answered) = (response.status(), response.headers().clone());
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(transport)? {
            // The status is known already, so the rest of an oversized body is not worth an error.
            if answer.len() + chunk.len() > LONGEST_ANSWER {
                break;
            }
            answer.extend_from_slice(&chunk);
        }
        if status.is_success() {
            // The request succeeded, even if the body cannot be decoded.
            let partial = ExportTraceServiceResponse::decode(answer.as_slice())
                .ok()
                .and_then(|answer| answer.partial_success)
                .unwrap_or_default();
            // The protocol has a signed number; a negative one rejects nothing.
            let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0);
            return Ok((rejected, shown(&partial.error_message, &headers)));
        }
        Err(failed(ErrorKind::Refused {
            status: status.as_u16(),
            message: shown(&refusal(status, &answer), &headers),
            retry_after: http_edge::retry_after(&answered),
        }))
    }
}

fn resource(config: &OtlpConfig, service: Service<'_>) -> Resource {
    let name = config.service_name.as_deref().unwrap_or(service.name);
    let mut attributes: Vec<(String, String)> = [
        ("service.name", name),
        ("service.version", service.version),
        ("service.instance.id", service.instance),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    for (name, value) in &config.attributes {
        // A configured service name takes precedence over an attribute, and configured attributes over the program's defaults.
        match attributes.iter_mut().find(|(known, _)| known == name) {
            Some(_) if name == "service.name" && config.service_name.is_some() => {}
            Some((_, known)) => value.clone_into(known),
            None => attributes.push((name.clone(), value.clone())),
        }
    }
    Resource {
        attributes: attributes
            .into_iter()
            .map(|(name, value)| KeyValue::new(name, OneValue::Text(value)))
            .collect(),
    }
}

/// Reads the reason for a rejection: a protobuf message from a collector, or any text from a proxy.
fn refusal(status: StatusCode, answer: &[u8]) -> String {
    match Refusal::decode(answer) {
        Ok(refusal) if !refusal.message.is_empty() => refusal.message,
        _ => match std::str::from_utf8(answer) {
            Ok(text) if !text.trim_start().starts_with('<') => text.to_owned(),
            _ => status.canonical_reason().unwrap_or_default().to_owned(),
        },
    }
}

/// Shortens text to one line and removes header values, because a proxy may echo them.
fn shown(text: &str, headers: &HeaderMap) -> String {
    let mut text: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    for value in headers.values().filter_map(|value| value.to_str().ok()) {
        // A bearer token may be echoed without its scheme.
        for part in value.split(' ').filter(|part| part.len() > 3) {
            text = text.replace(part, "...");
        }
    }
    text.trim().chars().take(LONGEST_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn attributes(config: &OtlpConfig) -> Vec<String> {
        let shown = |it: &KeyValue| match it.value.as_ref().and_then(|value| value.value.clone()) {
            Some(OneValue::Text(text)) => format!("{}={text}", it.key),
            other => panic!("{other:?}"),
        };
        let service = Service {
            name: "worker",
            version: "1.2.3",
            instance: "",
        };
        let resource = resource(config, service);
        resource.attributes.iter().map(shown).collect()
    }

    #[test]
    fn the_resource_describes_the_program_unless_configured() {
        let builder = OtlpConfig::builder("http://localhost:4318");
        let config = builder.clone().build().expect("valid");
        assert_eq!(
            attributes(&config),
            ["service.name=worker", "service.version=1.2.3"]
        );
        let builder = builder
            .attribute("service.name", "general")
            .attribute("deployment.environment.name", "staging");
        let config = builder.clone().build().expect("valid");
        assert_eq!(
            attributes(&config),
            [
                "service.name=general",
                "service.version=1.2.3",
                "deployment.environment.name=staging"
            ]
        );
        let config = builder.service_name("capacity").build().expect("valid");
        assert_eq!(attributes(&config)[0], "service.name=capacity");
    }

    #[rstest]
    #[case::protobuf(b"\x08\x03\x12\x08bad span", "bad span")]
    #[case::text(b"bad\nspan", "bad span")]
    #[case::page(b"<html>", "Bad Request")]
    #[case::nothing(b"", "")]
    #[case::echo(b"unknown token hunter22", "unknown token ...")]
    fn a_refusal_is_one_line_without_keys(#[case] answer: &[u8], #[case] expected: &str) {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "Bearer hunter22".parse().expect("valid"));
        assert_eq!(
            shown(&refusal(StatusCode::BAD_REQUEST, answer), &headers),
            expected
        );
    }
}
