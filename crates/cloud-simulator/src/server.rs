//! The HTTP interface: routes, keys, faults, and the `Date` header in virtual time.

mod prometheus;
mod shared;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use axum::routing::{get, post};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answers;
use crate::cloud::{Cloud, Update};
use crate::faults::{MetricsFault, RequestFault};
use crate::metrics::{self, Filter};
use crate::refusal::Refusal;
use shared::{form_pairs, json_answer, respond};

pub(crate) use shared::Shared;

pub(crate) fn router(shared: Shared) -> Router {
    Router::new()
        .route("/cloud/namespaces", get(list))
        .route("/cloud/namespaces/{id}", get(read).post(update))
        .route("/cloud/namespaces/{id}/capacity-info", get(capacity_info))
        .route("/cloud/operations/{id}", get(operation))
        .route("/cloud/current-identity", get(identity))
        .route("/cloud/regions", get(regions))
        .route("/cloud/billing-reports", post(create_billing_report))
        .route("/cloud/billing-reports/{id}", get(billing_report))
        .route("/billing-files/{id}/{name}", get(billing_file))
        .route("/v1/metrics", get(scrape))
        .route("/v1/descriptors", get(descriptors))
        .route("/slack/{token}", post(slack))
        .route("/v1/traces", post(traces))
        .merge(prometheus::router())
        .fallback(nowhere)
        .with_state(shared)
}

/// The routes of the Cloud Ops API, as faults refer to them.
pub const OPS_ROUTES: [&str; 8] = [
    "GET /cloud/namespaces",
    "GET /cloud/namespaces/{id}",
    "POST /cloud/namespaces/{id}",
    "GET /cloud/namespaces/{id}/capacity-info",
    "GET /cloud/operations/{id}",
    "GET /cloud/current-identity",
    "GET /cloud/regions",
    "POST /cloud/billing-reports",
];

/// The key that a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    /// The autopilot's key.
    Ops,
    /// The key of a Finance Admin.
    Billing,
}

/// Handles a call of the Cloud Ops API: key, faults, then the response of the cloud.
fn ops(
    shared: &Shared,
    route: &str,
    headers: &HeaderMap,
    answer: impl FnOnce(&mut Cloud) -> Result<Value, Refusal>,
) -> Response {
    with_key(Key::Ops, shared, route, headers, answer)
}

fn with_key(
    needed: Key,
    shared: &Shared,
    route: &str,
    headers: &HeaderMap,
    answer: impl FnOnce(&mut Cloud) -> Result<Value, Refusal>,
) -> Response {
    shared.count(route);
    let mut cloud = shared.cloud();
    let now = cloud.now();
    let fault = if cloud.faults.ops_unavailable {
        RequestFault::Unavailable
    } else if cloud.faults.rate_limited_route.as_deref() == Some(route) {
        RequestFault::TooManyRequests
    } else {
        draw(&mut cloud)
    };
    // Before the key is checked, like a gateway in front of the service.
    if let Some(response) = before(fault, now, &cloud) {
        return response;
    }
    let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let is = |key: &str| given == Some(format!("Bearer {key}").as_bytes());
    let held = if is(&cloud.options.ops_key) {
        Some(Key::Ops)
    } else if is(&cloud.options.billing_key) {
        Some(Key::Billing)
    } else {
        None
    };
    let result = match held {
        None => Err(Refusal::new(401, 16, "invalid API key")),
        Some(Key::Ops) if now >= cloud.options.ops_key_expires => {
            Err(Refusal::new(401, 16, "the API key is expired"))
        }
        Some(held) if held != needed => Err(Refusal::new(403, 7, "permission denied")),
        Some(_) if cloud.faults.denied_routes.iter().any(|denied| denied == route) => {
            Err(Refusal::new(403, 7, "permission denied"))
        }
        Some(_) => answer(&mut cloud),
    };
    // The change has been made: the client has to find out by reading.
    if fault == RequestFault::DroppedAfter || cloud.faults.lost_answers_of.as_deref() == Some(route) {
        return dropped();
    }
    match result {
        Ok(value) => json_answer(StatusCode::OK, &value, &cloud, now),
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            json_answer(status, &refusal.body(), &cloud, now)
        }
    }
}

fn draw(cloud: &mut Cloud) -> RequestFault {
    let faults = std::mem::take(&mut cloud.faults);
    let fault = faults.draw(&mut cloud.random);
    cloud.faults = faults;
    fault
}

/// Returns the response of a fault that occurs before a request is processed.
fn before(fault: RequestFault, now: Timestamp, cloud: &Cloud) -> Option<Response> {
    match fault {
        RequestFault::None | RequestFault::DroppedAfter => None,
        RequestFault::DroppedBefore => Some(dropped()),
        RequestFault::TooManyRequests => {
            let body = Refusal::new(429, 8, "rate limit exceeded").body();
            let mut response = json_answer(StatusCode::TOO_MANY_REQUESTS, &body, cloud, now);
            if let Some(seconds) = cloud.faults.retry_after {
                response
                    .headers_mut()
                    .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            Some(response)
        }
        RequestFault::Unavailable => {
            let page = "<html><head><title>503</title></head><body>Service Unavailable</body></html>";
            Some(respond(
                StatusCode::SERVICE_UNAVAILABLE,
                "text/html",
                Body::from(page),
                cloud,
                now,
            ))
        }
    }
}

/// Returns a truncated response: the connection is closed in the middle of it.
fn dropped() -> Response {
    let broken = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "simulated");
    Response::new(Body::from_stream(futures::stream::once(async {
        Err::<Bytes, _>(broken)
    })))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ListQuery {
    page_size: Option<usize>,
    page_token: Option<String>,
    name: Option<String>,
}

async fn list(State(shared): State<Shared>, headers: HeaderMap, query: Query<ListQuery>) -> Response {
    ops(&shared, "GET /cloud/namespaces", &headers, |cloud| {
        let size = query.page_size.unwrap_or(100);
        if size == 0 || size > 1_000 {
            return Err(Refusal::new(400, 3, "the page size must be from 1 to 1000"));
        }
        match &query.name {
            Some(name) => {
                let id = format!("{name}.{}", cloud.account);
                let found = cloud.get(&id).ok().map(|mut answer| answer["namespace"].take());
                Ok(json!({ "namespaces": found.into_iter().collect::<Vec<_>>() }))
            }
            None => cloud.list(size, query.page_token.as_deref()),
        }
    })
}

async fn read(State(shared): State<Shared>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    ops(&shared, "GET /cloud/namespaces/{id}", &headers, |cloud| {
        cloud.get(&id)
    })
}

async fn capacity_info(State(shared): State<Shared>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    ops(
        &shared,
        "GET /cloud/namespaces/{id}/capacity-info",
        &headers,
        |cloud| cloud.capacity_info(&id),
    )
}

async fn operation(State(shared): State<Shared>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    ops(&shared, "GET /cloud/operations/{id}", &headers, |cloud| {
        cloud.operation(&id)
    })
}

async fn identity(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    ops(&shared, "GET /cloud/current-identity", &headers, |cloud| {
        Ok(answers::identity(
            &cloud.namespaces,
            cloud.options.ops_key_expires,
        ))
    })
}

async fn create_billing_report(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let route = "POST /cloud/billing-reports";
    with_key(Key::Billing, &shared, route, &headers, |cloud| {
        cloud.create_billing_report(&body)
    })
}

async fn billing_report(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.unwrap_or("127.0.0.1").to_owned();
    let route = "GET /cloud/billing-reports/{id}";
    with_key(Key::Billing, &shared, route, &headers, |cloud| {
        cloud.billing_report(&id, &host)
    })
}

/// Serves the file of a billing report like object storage: the URL grants access, and a key is rejected.
async fn billing_file(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Path((id, name)): Path<(String, String)>,
) -> Response {
    shared.count("GET /billing-files/{id}/{name}");
    let mut cloud = shared.cloud();
    let now = cloud.now();
    let file = if headers.contains_key(header::AUTHORIZATION) {
        // S3 rejects a signed URL together with an `Authorization` header.
        Err("InvalidArgument: Only one auth mechanism allowed")
    } else {
        cloud.billing_file(&id, &name)
    };
    match file {
        Ok(text) => respond(StatusCode::OK, "text/csv", Body::from(text), &cloud, now),
        Err(problem) => {
            let page = format!("<?xml version=\"1.0\"?><Error><Message>{problem}</Message></Error>");
            respond(
                StatusCode::FORBIDDEN,
                "application/xml",
                Body::from(page),
                &cloud,
                now,
            )
        }
    }
}

async fn regions(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    ops(
        &shared,
        "GET /cloud/regions",
        &headers,
        |_| Ok(answers::regions()),
    )
}

async fn update(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    ops(&shared, "POST /cloud/namespaces/{id}", &headers, |cloud| {
        cloud.update(&id, update_of(&body)?)
    })
}

/// Parses the body of an update: exactly the fields of the request, and no status fields.
fn update_of(body: &[u8]) -> Result<Update, Refusal> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Fields {
        spec: serde_json::Map<String, Value>,
        #[serde(alias = "resource_version")]
        resource_version: String,
        #[serde(default, alias = "async_operation_id")]
        async_operation_id: String,
        // The gateway also accepts the path parameter in the body.
        #[serde(default, rename = "namespace")]
        _namespace: Option<String>,
    }
    let fields: Fields = serde_json::from_slice(body)
        .map_err(|error| Refusal::new(400, 3, format!("invalid body: {error}")))?;
    Ok(Update {
        spec: Value::Object(fields.spec),
        resource_version: fields.resource_version,
        operation_id: fields.async_operation_id,
    })
}

const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Returns the message for a request with a missing or wrong key; `None` if the key is right.
fn key_problem(cloud: &Cloud, headers: &HeaderMap) -> Option<&'static str> {
    let key = format!("Bearer {}", cloud.options.metrics_key);
    match headers.get(header::AUTHORIZATION) {
        None => Some("Jwt is missing"),
        Some(value) if value.as_bytes() == key.as_bytes() => None,
        Some(_) => Some("Jwt verification fails"),
    }
}

async fn scrape(State(shared): State<Shared>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    shared.count("GET /v1/metrics");
    let mut cloud = shared.cloud();
    let now = cloud.now();
    let fault = draw(&mut cloud);
    if let Some(response) = before(fault, now, &cloud) {
        return response;
    }
    let text = |status, text: &'static str| respond(status, "text/plain", Body::from(text), &cloud, now);
    if let Some(problem) = key_problem(&cloud, &headers) {
        return text(StatusCode::UNAUTHORIZED, problem);
    }
    if cloud.faults.metrics == MetricsFault::NotMetrics {
        return text(StatusCode::UNAUTHORIZED, "Jwt is missing");
    }
    let Some(filter) = filter(query.as_deref().unwrap_or_default()) else {
        // As reported for the live endpoint: an invented parameter gets a text that is not metrics.
        return text(StatusCode::OK, "unsupported query parameter");
    };
    // After the key is checked: a request without a key belongs to no account.
    if let Some(wait) = over_budget(&mut cloud, now) {
        let mut response = respond(
            StatusCode::TOO_MANY_REQUESTS,
            "text/plain",
            Body::from("rate limit exceeded"),
            &cloud,
            now,
        );
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(wait));
        return response;
    }
    let document = metrics::document(&cloud, now, &filter);
    if fault == RequestFault::DroppedAfter {
        return dropped();
    }
    let body = match cloud.faults.metrics {
        MetricsFault::CutInALine => cut(&document.text, false),
        MetricsFault::CutAtALineEnd => cut(&document.text, true),
        _ => document.text,
    };
    let completeness = match cloud.faults.metrics {
        MetricsFault::Undeclared => None,
        MetricsFault::Unknown => Some("unknown"),
        MetricsFault::Limited => Some("limited"),
        _ if document.is_cut => Some("limited"),
        _ => Some("complete"),
    };
    let mut response = respond(StatusCode::OK, METRICS_TYPE, Body::from(body), &cloud, now);
    if let Some(word) = completeness {
        let name = HeaderName::from_static("x-completeness");
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(word));
    }
    response
}

fn cut(text: &str, at_line_end: bool) -> String {
    let half = &text[..text.len() / 2];
    let line_end = half.rfind('\n').map_or(0, |at| at + 1);
    let end = if at_line_end {
        line_end
    } else {
        (line_end + 30).min(text.len())
    };
    text[..end].to_owned()
}

/// Parses the query; `None` if it has a parameter that the endpoint does not know.
fn filter(query: &str) -> Option<Filter> {
    let mut filter = Filter::default();
    for (name, value) in form_pairs(query) {
        match name.as_str() {
            "metrics" => filter.metrics.push(value),
            "namespaces" => filter.namespaces.push(value),
            "labels" => {}
            _ => return None,
        }
    }
    Some(filter)
}

/// Takes a request out of the hourly budget. If none is left, returns the seconds until one is available.
fn over_budget(cloud: &mut Cloud, now: Timestamp) -> Option<i64> {
    let budget = cloud.options.scrapes_per_hour?;
    let hour = SignedDuration::from_hours(1);
    cloud.scrapes.retain(|made| now.duration_since(*made) < hour);
    if cloud.scrapes.len() < budget {
        cloud.scrapes.push(now);
        return None;
    }
    let oldest = cloud.scrapes.first().copied().unwrap_or(now);
    // Rounded up, so that a client that waits exactly this long is not rejected again.
    Some((hour - now.duration_since(oldest)).as_secs() + 1)
}

#[derive(Debug, Deserialize)]
struct DescriptorsQuery {
    limit: Option<usize>,
    offset: Option<usize>,
}

async fn descriptors(
    State(shared): State<Shared>,
    headers: HeaderMap,
    query: Query<DescriptorsQuery>,
) -> Response {
    shared.count("GET /v1/descriptors");
    let mut cloud = shared.cloud();
    let now = cloud.now();
    if let Some(problem) = key_problem(&cloud, &headers) {
        return respond(
            StatusCode::UNAUTHORIZED,
            "text/plain",
            Body::from(problem),
            &cloud,
            now,
        );
    }
    let all = metrics::family_names(&cloud.faults);
    let (limit, offset) = (
        query.limit.unwrap_or(100).clamp(1, 100),
        query.offset.unwrap_or(0),
    );
    let page: Vec<Value> = all
        .iter()
        .skip(offset)
        .take(limit)
        .map(|(name, help)| json!({ "name": name, "help": help, "dimensions": [] }))
        .collect();
    let answer = json!({
        "meta": { "pagination": { "total": all.len(), "limit": limit, "offset": offset } },
        "descriptors": page,
    });
    json_answer(StatusCode::OK, &answer, &cloud, now)
}

/// Accepts messages like Slack's incoming webhook: JSON with text or blocks, and a plain-text response.
async fn slack(State(shared): State<Shared>, Path(token): Path<String>, body: Bytes) -> Response {
    shared.count("POST /slack/{token}");
    let text = |status: StatusCode, text: &'static str| {
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        response
    };
    if token != crate::SLACK_TOKEN {
        return text(StatusCode::NOT_FOUND, "no_service");
    }
    match serde_json::from_slice::<Value>(&body) {
        Ok(payload) if payload["text"].is_string() || payload["blocks"].is_array() => {
            shared.journal().slack.push(payload);
            text(StatusCode::OK, "ok")
        }
        Ok(_) | Err(_) => text(StatusCode::BAD_REQUEST, "invalid_payload"),
    }
}

/// Accepts traces like a collector, and keeps the bodies unchanged. An empty response means that all spans were accepted.
async fn traces(State(shared): State<Shared>, body: Bytes) -> StatusCode {
    shared.journal().traces.push(body);
    StatusCode::OK
}

async fn nowhere(State(shared): State<Shared>, method: Method, uri: Uri) -> Response {
    shared.count("elsewhere");
    let mut cloud = shared.cloud();
    let now = cloud.now();
    let refusal = Refusal::new(404, 5, format!("{method} {} is not part of the API", uri.path()));
    json_answer(StatusCode::NOT_FOUND, &refusal.body(), &cloud, now)
}
