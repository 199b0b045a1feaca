//! A collector of traces that decodes what it receives with OpenTelemetry's own types, and that can misbehave.

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

/// A collector on loopback. It stops with the runtime that started it.
#[derive(Debug, Clone)]
pub struct Collector {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    requests: Mutex<Vec<Request>>,
    /// HTTP status of its responses; 0 closes the connection without a response.
    status: AtomicU16,
    /// Number of requests that get a 503 first.
    busy: AtomicU16,
    /// Number of spans of each request that it rejects.
    rejects: AtomicU16,
    /// The only key that it accepts, if any.
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

/// One received request, regardless of the response.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its headers, by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The attributes of the resource.
    pub resource: BTreeMap<String, String>,
    /// Its spans.
    pub spans: Vec<Span>,
    /// Whether it was accepted.
    pub is_accepted: bool,
}

/// A span as a backend shows it: ids in hexadecimal digits, and every attribute as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The trace.
    pub trace: String,
    /// The span.
    pub id: String,
    /// Its parent; empty if it has none.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// Its beginning, in nanoseconds since 1970.
    pub from: u64,
    /// Its end, in nanoseconds since 1970.
    pub until: u64,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
    /// What its error status says.
    pub error: Option<String>,
}

impl Collector {
    /// Starts a collector that accepts everything.
    ///
    /// # Panics
    ///
    /// If no port of loopback can be bound.
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

    /// Its base URL, as `OTEL_EXPORTER_OTLP_ENDPOINT` has it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets the status of its answers; 0 for no answer at all.
    pub fn answer(&self, status: u16) {
        self.shared.status.store(status, Ordering::Relaxed);
    }

    /// Refuses this number of requests with 503.
    pub fn be_busy(&self, requests: u16) {
        self.shared.busy.store(requests, Ordering::Relaxed);
    }

    /// Rejects this number of spans of each request.
    pub fn reject(&self, spans: u16) {
        self.shared.rejects.store(spans, Ordering::Relaxed);
    }

    /// Accepts only requests with this `authorization` from now on.
    pub fn require(&self, key: &str) {
        *self.shared.key.lock().unwrap_or_else(PoisonError::into_inner) = Some(key.to_owned());
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        let requests = self.shared.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All spans that were accepted so far.
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
        // The message of a `google.rpc.Status`.
        other => (
            StatusCode::from_u16(other).expect("a status"),
            b"\x12\x08not now!".to_vec(),
        )
            .into_response(),
    }
}

/// The spans of a request.
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
