//! Faults that can be injected. Random faults depend on the seed: the same seed fails the same requests.

use jiff::SignedDuration;

// Exhaustive: callers use struct update syntax (`..`), so a new field gets its default.
/// The faults of a simulated cloud.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults {
    /// Share of requests that return 429.
    pub too_many_requests: f64,
    /// Share of requests that return 503 and an HTML page.
    pub unavailable: f64,
    /// Whether the Cloud Ops API always returns 503 while metrics keep working.
    pub ops_unavailable: bool,
    /// Share of requests whose connection is dropped before they are processed.
    pub dropped_before: f64,
    /// Share of requests whose connection is dropped after they were processed.
    pub dropped_after: f64,
    /// A route of the Cloud Ops API, such as `POST /cloud/namespaces/{id}`, whose responses are lost after
    /// the request was processed.
    pub lost_answers_of: Option<String>,
    /// A route of the Cloud Ops API that always returns 429.
    pub rate_limited_route: Option<String>,
    /// Seconds in the `Retry-After` header of a 429; `None` sends no header.
    pub retry_after: Option<u32>,
    /// Routes of the Cloud Ops API, such as `POST /cloud/namespaces/{id}`, for which the key lacks
    /// permission.
    pub denied_routes: Vec<String>,
    /// The fault to inject into the metrics endpoint.
    pub metrics: MetricsFault,
    /// The fault to inject into operations.
    pub operations: OperationFault,
    /// A field of the spec, with its value, that the service changes with each update.
    pub changes_with_update: Option<(String, serde_json::Value)>,
    /// A field of the spec, with its value, that the service changes when an operation ends.
    pub changes_at_end: Option<(String, serde_json::Value)>,
    /// A namespace whose capacity info returns 403, like that of a namespace in its first minute.
    pub capacity_info_refused_of: Option<String>,
    /// A family that the endpoint does not offer.
    pub missing_family: Option<String>,
    /// Difference between the cloud's `Date` header and its time.
    pub clock_off: SignedDuration,
    /// Mistake in the scrape job behind the Prometheus API.
    pub scrape_job: ScrapeJobFault,
    /// A throttling family that no reader knows, without the common prefix, and the bare name of the
    /// namespace that it throttles.
    pub unknown_throttling: Option<(String, String)>,
    /// The fault to inject into billing reports.
    pub billing: BillingFault,
}

/// A fault of billing reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum BillingFault {
    /// No fault.
    #[default]
    None,
    /// Reports are never finished.
    NeverReady,
    /// Reports fail.
    Failed,
    /// The download ends after two thirds of the file.
    CutShort,
    /// The cost column has another name.
    OtherColumns,
    /// The account is billed in another currency.
    OtherCurrency,
    /// The download URL has expired.
    ExpiredAddress,
}

/// A mistake in a scrape job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ScrapeJobFault {
    /// No mistake.
    #[default]
    None,
    /// Two pods scrape the same endpoint, and their names become labels.
    TwoPods,
    /// `honor_timestamps: false`: samples have the time of the scrape.
    ScrapeTimes,
    /// `honor_labels: false` under a target label `temporal_namespace`.
    OverwrittenNamespace,
    /// A gateway in front of Prometheus allows GET only, and rejects POST with this status.
    GetOnly(u16),
}

/// A fault of the metrics endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum MetricsFault {
    /// No fault.
    #[default]
    None,
    /// Metrics are this much older than the usual three minutes.
    Stale(SignedDuration),
    /// The response is declared `limited`, regardless of its size.
    Limited,
    /// The response is declared `unknown`.
    Unknown,
    /// The response does not declare its completeness.
    Undeclared,
    /// The response is truncated in the middle of a line, with a matching length.
    CutInALine,
    /// The response is truncated at the end of a line, with a matching length.
    CutAtALineEnd,
    /// The response contains no metrics, but the plain text sent for a missing key.
    NotMetrics,
}

/// A fault of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OperationFault {
    /// No fault.
    #[default]
    None,
    /// `STATE_FAILED`.
    Failed,
    /// `STATE_REJECTED`.
    Rejected,
    /// `STATE_CANCELLED`.
    Cancelled,
    /// Operations never end.
    Stuck,
}

/// The fault of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestFault {
    None,
    TooManyRequests,
    Unavailable,
    DroppedBefore,
    DroppedAfter,
}

impl Faults {
    pub(crate) fn draw(&self, random: &mut fastrand::Rng) -> RequestFault {
        // One number for each request, so that the faults of a seed do not depend on which kinds are switched
        // on.
        let mut left = random.f64();
        for (share, fault) in [
            (self.too_many_requests, RequestFault::TooManyRequests),
            (self.unavailable, RequestFault::Unavailable),
            (self.dropped_before, RequestFault::DroppedBefore),
            (self.dropped_after, RequestFault::DroppedAfter),
        ] {
            if left < share {
                return fault;
            }
            left -= share;
        }
        RequestFault::None
    }
}
