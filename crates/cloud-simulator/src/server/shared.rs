//! Code shared by the handlers: the cloud, the record of its requests, and responses.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use jiff::Timestamp;
use serde_json::Value;

use crate::cloud::Cloud;

/// State that handlers share.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    cloud: Arc<Mutex<Cloud>>,
    journal: Arc<Mutex<Journal>>,
}

/// A record of requests to the cloud.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) requests: BTreeMap<String, u64>,
    pub(crate) slack: Vec<Value>,
    pub(crate) traces: Vec<Bytes>,
}

impl Shared {
    pub(crate) fn new(cloud: Cloud) -> Self {
        Self {
            cloud: Arc::new(Mutex::new(cloud)),
            journal: Arc::default(),
        }
    }

    pub(crate) fn cloud(&self) -> MutexGuard<'_, Cloud> {
        self.cloud.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self, route: &str) {
        *self.journal().requests.entry(route.to_owned()).or_default() += 1;
    }
}

pub(super) fn json_answer(status: StatusCode, value: &Value, cloud: &Cloud, now: Timestamp) -> Response {
    respond(
        status,
        "application/json",
        Body::from(value.to_string()),
        cloud,
        now,
    )
}

pub(super) fn respond(
    status: StatusCode,
    content_type: &'static str,
    body: Body,
    cloud: &Cloud,
    now: Timestamp,
) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    let told = now.saturating_add(cloud.faults.clock_off).unwrap_or(now);
    let date = told.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(date) = HeaderValue::from_str(&date) {
        headers.insert(header::DATE, date);
    }
    response
}

pub(super) fn form_pairs(query: &str) -> Vec<(String, String)> {
    serde_urlencoded::from_str(query).unwrap_or_default()
}
