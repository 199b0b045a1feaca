//! How a simulated cloud is set up.

use std::net::{Ipv4Addr, SocketAddr};

use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;

use crate::account::Account;
use crate::faults::Faults;

/// How a simulated cloud is set up. [`SimulatorOptions::new`] gives sensible values for everything but the account.
#[derive(Debug, Clone)]
pub struct SimulatorOptions {
    /// The account.
    pub account: Account,
    /// Where to listen; loopback only, port 0 for a free one.
    pub listen: SocketAddr,
    /// The virtual time at the start.
    pub start: Timestamp,
    /// Minutes that the cloud simulates before the start. The metrics endpoint shows the newest one only; the Prometheus
    /// API has as many, and those of the last hour at least.
    pub past_minutes: u16,
    /// How many times faster than real time the cloud runs; 0 stops its clock, so that only `advance` moves it.
    pub speed: f64,
    /// Seed of everything random.
    pub seed: u64,
    /// What goes wrong from the start.
    pub faults: Faults,
    /// Virtual time from the acceptance of an update to the end of its operation.
    pub operation_lag: SignedDuration,
    /// Virtual time from there until the capacity takes effect: fulfilled is not applied.
    pub capacity_lag: SignedDuration,
    /// The `checkDuration` of operations in virtual time. Reported divided by `speed`, since clients wait in real time.
    pub check_duration: SignedDuration,
    /// Requests an hour that the metrics endpoint answers; none for no limit.
    pub scrapes_per_hour: Option<usize>,
    /// Points in one response before it is cut.
    pub points_per_answer: usize,
    /// Whether documents end with the end marker.
    pub end_marker: bool,
    /// Whether timestamps are in milliseconds (as documented) instead of seconds (as seen).
    pub timestamps_in_ms: bool,
    /// The key of the Cloud Ops API.
    pub ops_key: String,
    /// When that key expires.
    pub ops_key_expires: Timestamp,
    /// The key of the metrics endpoint.
    pub metrics_key: String,
    /// The key that may make billing reports: that of a service account with the role Finance Admin.
    pub billing_key: String,
    /// Virtual time that a billing report takes to be made.
    pub billing_report_lag: SignedDuration,
    /// What a million actions cost in billing reports, in dollars.
    pub price_per_million: Decimal,
}

impl SimulatorOptions {
    /// Returns a cloud at its usual pace, starting now, on a free port of loopback, with nothing going wrong.
    pub fn new(account: Account) -> Self {
        let start = Timestamp::now();
        Self {
            account,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            start,
            past_minutes: 8,
            speed: 1.0,
            seed: 1,
            faults: Faults::default(),
            operation_lag: SignedDuration::from_secs(30),
            capacity_lag: SignedDuration::from_secs(45),
            check_duration: SignedDuration::from_secs(10),
            scrapes_per_hour: Some(180),
            points_per_answer: 30_000,
            end_marker: true,
            timestamps_in_ms: false,
            ops_key: "simulated-ops-key".to_owned(),
            ops_key_expires: start
                .saturating_add(SignedDuration::from_hours(24 * 180))
                .unwrap_or(start),
            metrics_key: "simulated-metrics-key".to_owned(),
            billing_key: "simulated-billing-key".to_owned(),
            billing_report_lag: SignedDuration::from_secs(20),
            price_per_million: Decimal::from(50),
        }
    }
}
