//! A trace collector for tests. It decodes requests with OpenTelemetry's own types, and can simulate faults.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use prost::Message;

/// A trace collector on loopback. Stops with the runtime that started it.
#[derive(Debug, Clone)]
pub struct Collector {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    requests: Mutex<Vec<Request>>,
    /// HTTP status of the responses; 0 keeps each request waiting without a response.
    status: AtomicU16,
    /// Number of requests to reject with 503 before accepting any.
    busy: AtomicU16,
    /// Number of spans to report as rejected in each response.
    rejects: AtomicU16,
    /// Required `authorization` header, if any.
    key: Mutex<Option<String>>,
}

impl Shared {
    fn accepts(&self, given: Option<&HeaderValue>) -> bool {
        let key = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        key.as_ref()
            .is_none_or(|key| given.is_some_and(|given| given.as_bytes() == key.as_bytes()))
    }

    fn keep(&self, request: Request) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push(request);
    }
}

/// A received request, accepted or not.
#[derive(Debug, Clone)]
pub struct Request {
    /// Headers by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// Attributes of the resource.
    pub resource: BTreeMap<String, String>,
    /// Spans in the request.
    pub spans: Vec<Span>,
    /// Whether the request was accepted.
    pub is_accepted: bool,
}

/// A span as a backend shows it: hexadecimal ids, and every attribute as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Trace id.
    pub trace: String,
    /// Span id.
    pub id: String,
    /// Span id of the parent; empty for a root span.
    pub parent: String,
    /// Name of the span.
    pub name: String,
    /// Start time in nanoseconds since the Unix epoch.
    pub from: u64,
    /// End time in nanoseconds since the Unix epoch.
    pub until: u64,
    /// Attributes of the span, as text.
    pub attributes: BTreeMap<String, String>,
    /// Message of the error status; `None` unless the span failed.
    pub error: Option<String>,
}

impl Collector {
    /// Starts a collector that accepts everything.
    ///
    /// # Panics
    ///
    /// If no loopback port is free.
    pub async fn start() -> Self {
        let shared = Arc::<Shared>::default();
        shared.status.store(200, Ordering::Relaxed);
        let router = Router::new()
            .route("/v1/traces", post(receive))
            .with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, shared }
    }

    /// Returns the base URL, for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets the HTTP status of the responses; with 0, requests get no response.
    pub fn answer(&self, status: u16) {
        self.shared.status.store(status, Ordering::Relaxed);
    }

    /// Rejects this number of requests with 503.
    pub fn be_busy(&self, requests: u16) {
        self.shared.busy.store(requests, Ordering::Relaxed);
    }

    /// Reports this number of spans as rejected in each response.
    pub fn reject(&self, spans: u16) {
        self.shared.rejects.store(spans, Ordering::Relaxed);
    }

    /// From now on, accepts only requests with this `authorization` header.
    pub fn require(&self, key: &str) {
        *self.shared.key.lock().unwrap_or_else(PoisonError::into_inner) = Some(key.to_owned());
    }

    /// Returns all requests so far.
    pub fn requests(&self) -> Vec<Request> {
        let requests = self.shared.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the spans of all accepted requests so far.
    pub fn spans(&self) -> Vec<Span> {
        let requests = self.requests().into_iter();
        requests
            .filter(|request| request.is_accepted)
            .flat_map(|request| request.spans)
            .collect()
    }
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let is_known = shared.accepts(headers.get("authorization"));
    let one_less = |busy: u16| busy.checked_sub(1);
    let is_busy = shared
        .busy
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
        .is_ok();
    let status = match shared.status.load(Ordering::Relaxed) {
        200 if is_busy => 503,
        200 if !is_known => 401,
        status => status,
    };
    let received = Request {
        headers: headers
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect(),
        resource: request
            .resource_spans
            .first()
            .and_then(|it| it.resource.as_ref())
            .map(|resource| texts(&resource.attributes))
            .unwrap_or_default(),
        spans: spans(&request),
        is_accepted: status == 200,
    };
    shared.keep(received);
    match status {
        0 => {
            tokio::time::sleep(Duration::from_hours(1)).await;
            StatusCode::GATEWAY_TIMEOUT.into_response()
        }
        200 => {
            let rejected = shared.rejects.load(Ordering::Relaxed);
            let answer = ExportTraceServiceResponse {
                partial_success: (rejected > 0).then(|| ExportTracePartialSuccess {
                    rejected_spans: rejected.into(),
                    error_message: "too old".to_owned(),
                }),
            };
            answer.encode_to_vec().into_response()
        }
        // A `google.rpc.Status` that contains only a message.
        other => (
            StatusCode::from_u16(other).expect("a status"),
            b"\x12\x08not now!".to_vec(),
        )
            .into_response(),
    }
}

/// Returns the spans in a request.
pub fn spans(request: &ExportTraceServiceRequest) -> Vec<Span> {
    let scopes = request.resource_spans.iter().flat_map(|it| &it.scope_spans);
    let spans = scopes.flat_map(|it| &it.spans);
    spans
        .map(|span| Span {
            trace: hexadecimal(&span.trace_id),
            id: hexadecimal(&span.span_id),
            parent: hexadecimal(&span.parent_span_id),
            name: span.name.clone(),
            from: span.start_time_unix_nano,
            until: span.end_time_unix_nano,
            attributes: texts(&span.attributes),
            error: span
                .status
                .as_ref()
                .filter(|status| status.code() == SpanStatus::Error)
                .map(|status| status.message.clone()),
        })
        .collect()
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|it| it.value.clone()) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        other => format!("{other:?}"),
    };
    attributes
        .iter()
        .map(|it| (it.key.clone(), text(&it.value)))
        .collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
