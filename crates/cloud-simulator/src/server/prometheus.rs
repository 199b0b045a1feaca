//! The API of a simulated Prometheus that scrapes the simulated cloud.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::shared::{Shared, form_pairs, json_answer};
use crate::cloud::Cloud;
use crate::faults::ScrapeJobFault;
use crate::prometheus::{self, BadData};

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/api/v1/query", get(query_by_get).post(query_by_post))
        .route("/api/v1/series", get(series_by_get).post(series_by_post))
        .route("/api/v1/status/buildinfo", get(build_info))
}

async fn query_by_get(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    shared.count("GET /api/v1/query");
    answer_query(&shared, query.as_deref().unwrap_or_default())
}

async fn query_by_post(State(shared): State<Shared>, body: Bytes) -> Response {
    shared.count("POST /api/v1/query");
    only_get(&shared).unwrap_or_else(|| answer_query(&shared, std::str::from_utf8(&body).unwrap_or_default()))
}

async fn series_by_get(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    shared.count("GET /api/v1/series");
    answer_series(&shared, query.as_deref().unwrap_or_default())
}

async fn series_by_post(State(shared): State<Shared>, body: Bytes) -> Response {
    shared.count("POST /api/v1/series");
    only_get(&shared)
        .unwrap_or_else(|| answer_series(&shared, std::str::from_utf8(&body).unwrap_or_default()))
}

/// Returns an error response to a POST if POST is disabled.
fn only_get(shared: &Shared) -> Option<Response> {
    let ScrapeJobFault::GetOnly(status) = shared.cloud().faults.scrape_job else {
        return None;
    };
    let mut response = Response::new(Body::from("only GET is allowed here"));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::METHOD_NOT_ALLOWED);
    Some(response)
}

fn answer_query(shared: &Shared, form: &str) -> Response {
    answer(shared, form, |cloud, now, form| {
        prometheus::query(
            cloud,
            now,
            form.first("query").unwrap_or_default(),
            form.first("time"),
        )
    })
}

fn answer_series(shared: &Shared, form: &str) -> Response {
    answer(shared, form, |cloud, now, form| {
        prometheus::series(
            cloud,
            now,
            &form.all("match[]"),
            (form.first("start"), form.first("end")),
        )
    })
}

/// Returns the fields of a form, in order.
struct Form(Vec<(String, String)>);

impl Form {
    fn all(&self, name: &str) -> Vec<&str> {
        let named = self.0.iter().filter(|(it, _)| it == name);
        named.map(|(_, value)| value.as_str()).collect()
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }
}

fn answer(
    shared: &Shared,
    form: &str,
    read: impl FnOnce(&Cloud, Timestamp, &Form) -> Result<Value, BadData>,
) -> Response {
    let mut cloud = shared.cloud();
    let now = cloud.now();
    match read(&cloud, now, &Form(form_pairs(form))) {
        Ok(answer) => json_answer(StatusCode::OK, &answer, &cloud, now),
        Err(error) => {
            let answer = json!({ "status": "error", "errorType": "bad_data", "error": error.to_string() });
            json_answer(StatusCode::BAD_REQUEST, &answer, &cloud, now)
        }
    }
}

async fn build_info(State(shared): State<Shared>) -> Response {
    let mut cloud = shared.cloud();
    let now = cloud.now();
    let answer = json!({
        "status": "success",
        "data": { "application": "cloud-simulator", "version": env!("CARGO_PKG_VERSION") },
    });
    json_answer(StatusCode::OK, &answer, &cloud, now)
}
