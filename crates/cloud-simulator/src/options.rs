//! Options of a simulated cloud.

use std::net::{Ipv4Addr, SocketAddr};

use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;

use crate::account::Account;
use crate::faults::Faults;

// Exhaustive: callers use struct update syntax (`..`), so a new field gets its default.
/// Options of a simulated cloud. [`SimulatorOptions::new`] sets sensible values for everything except the
/// account.
#[derive(Debug, Clone)]
pub struct SimulatorOptions {
    /// The account to simulate.
    pub account: Account,
    /// Address to listen on; loopback only, port 0 for a free one.
    pub listen: SocketAddr,
    /// Virtual time at the start.
    pub start: Timestamp,
    /// Number of minutes that the cloud simulates before the start. The metrics endpoint shows only the
    /// newest one; the Prometheus API has all of them, and at least the last hour.
    pub past_minutes: u16,
    /// How many times faster than real time the cloud runs. With 0, only `advance` moves its clock.
    pub speed: f64,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Faults from the start.
    pub faults: Faults,
    /// Virtual time from the acceptance of an update to the end of its operation.
    pub operation_lag: SignedDuration,
    /// Virtual time from the end of the operation until the capacity takes effect.
    pub capacity_lag: SignedDuration,
    /// The `checkDuration` of operations in virtual time. It is reported divided by `speed`, because clients
    /// wait in real time.
    pub check_duration: SignedDuration,
    /// Requests per hour that the metrics endpoint allows; `None` for no limit.
    pub scrapes_per_hour: Option<usize>,
    /// Maximum number of points in one response before it is truncated.
    pub points_per_answer: usize,
    /// Whether documents end with the end marker.
    pub end_marker: bool,
    /// Whether timestamps are in milliseconds (as documented) or in seconds (as observed).
    pub timestamps_in_ms: bool,
    /// Key of the Cloud Ops API.
    pub ops_key: String,
    /// Expiry of that key.
    pub ops_key_expires: Timestamp,
    /// Key of the metrics endpoint.
    pub metrics_key: String,
    /// Key that may create billing reports, of a service account with the role Finance Admin.
    pub billing_key: String,
    /// Virtual time to generate a billing report.
    pub billing_report_lag: SignedDuration,
    /// Price of a million actions in billing reports, in dollars.
    pub price_per_million: Decimal,
}

impl SimulatorOptions {
    /// Returns options for a cloud in real time, starting now, on a free loopback port, without faults.
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
