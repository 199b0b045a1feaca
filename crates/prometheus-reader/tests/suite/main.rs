//! Reads a Prometheus API: failures against mocks, stored samples against a real server.

mod failures;
mod requests;
mod server;
mod stored;
mod tls;
mod year;

use std::time::Duration;

use jiff::Timestamp;
use prometheus_reader::{PrometheusClient, PrometheusConfig, PrometheusConfigBuilder, Query};

const FAMILY: &str = "temporal_cloud_v1_total_action_count";

/// A configuration for tests with a single attempt, so that nothing waits.
fn builder(url: &str) -> PrometheusConfigBuilder {
    PrometheusConfig::builder(url)
        .max_attempts(1)
        .timeout(Duration::from_secs(20))
}

fn client(builder: PrometheusConfigBuilder) -> PrometheusClient {
    PrometheusClient::new(builder.build().expect("a valid configuration")).expect("a client")
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time")
}

/// The family of actions, all namespaces, between two times in seconds.
fn actions(from: i64, to: i64) -> Query<'static> {
    Query {
        families: &[FAMILY],
        namespaces: None,
        from: time(from),
        to: time(to),
    }
}

/// Formats an error with all its causes, as an operator sees it.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
