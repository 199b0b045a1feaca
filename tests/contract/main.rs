//! Contract tests: one module per API.

#![allow(missing_docs, reason = "a test binary has no readers of its documentation")]

mod billing;
mod cloud_ops;
mod errors;
mod metrics_scrape;
mod otlp;
mod plan_schema;
mod rate_limits;
mod readmes;
mod ready_http;
mod rotation;
mod simulator;
mod slack;

/// Reads a file in `fixtures/`.
fn fixture(path: &str) -> String {
    let path = format!("{}/../fixtures/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}
