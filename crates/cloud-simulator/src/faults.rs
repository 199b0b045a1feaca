//! What can be made to go wrong. Shares are drawn from the seed: the same seed fails the same requests.

use jiff::SignedDuration;

/// Everything that can be made to go wrong.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults {
    /// Share of requests answered with 429.
    pub too_many_requests: f64,
    /// Share of requests answered with 503 and an HTML page.
    pub unavailable: f64,
    /// Whether the Cloud Ops API answers nothing but 503, while metrics keep working.
    pub ops_unavailable: bool,
    /// Share of requests whose connection is dropped before anything is done.
    pub dropped_before: f64,
    /// Share of requests whose connection is dropped after all was done.
    pub dropped_after: f64,
    /// A route of the Cloud Ops API, such as `POST /cloud/namespaces/{id}`, whose answers are lost after the request was processed.
    pub lost_answers_of: Option<String>,
    /// A route of the Cloud Ops API whose requests are all answered with 429.
    pub rate_limited_route: Option<String>,
    /// The seconds that a 429 asks to wait for, in `Retry-After`; none sends no such header.
    pub retry_after: Option<u32>,
    /// Routes of the Cloud Ops API, such as `POST /cloud/namespaces/{id}`, that the key has no permission for.
    pub denied_routes: Vec<String>,
    /// What is wrong with the metrics.
    pub metrics: MetricsFault,
    /// How operations end.
    pub operations: OperationFault,
    /// A field of the spec, with its value, that the service changes together with each update.
    pub changes_with_update: Option<(String, serde_json::Value)>,
    /// A field of the spec, with its value, that the service changes when an operation ends.
    pub changes_at_end: Option<(String, serde_json::Value)>,
    /// A namespace whose capacity info is refused with 403, as that of a namespace in its first minute.
    pub capacity_info_refused_of: Option<String>,
    /// A family that the endpoint does not offer.
    pub missing_family: Option<String>,
    /// How far the cloud's `Date` header is off.
    pub clock_off: SignedDuration,
    /// What the scrape job behind the Prometheus API gets wrong.
    pub scrape_job: ScrapeJobFault,
    /// A family of throttling that no reader knows yet, without the common prefix, and the bare name of the namespace that
    /// is throttled by it.
    pub unknown_throttling: Option<(String, String)>,
    /// What is wrong with billing reports.
    pub billing: BillingFault,
}

/// What is wrong with billing reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum BillingFault {
    /// Nothing.
    #[default]
    None,
    /// They stay in progress.
    NeverReady,
    /// They end as failed.
    Failed,
    /// The download ends after two thirds of the file.
    CutShort,
    /// The column of costs has another name.
    OtherColumns,
    /// The account is billed in another currency.
    OtherCurrency,
    /// The download URL has expired.
    ExpiredAddress,
}

/// What is wrong with a scrape job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ScrapeJobFault {
    /// Nothing.
    #[default]
    None,
    /// Two pods scrape the same endpoint, and their names become labels.
    TwoPods,
    /// `honor_timestamps: false`: samples have the time of the scrape.
    ScrapeTimes,
    /// `honor_labels: false` under a target label `temporal_namespace`.
    OverwrittenNamespace,
    /// The gateway in front of it allows GET only, and refuses POST with this status.
    GetOnly(u16),
}

/// What is wrong with the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum MetricsFault {
    /// Nothing.
    #[default]
    None,
    /// How much older they are than the usual three minutes.
    Stale(SignedDuration),
    /// Declared `limited`, regardless of their size.
    Limited,
    /// Declared `unknown`.
    Unknown,
    /// Not declared at all.
    Undeclared,
    /// Cut in the middle of a line, with a matching length.
    CutInALine,
    /// Cut at the end of a line, with a matching length.
    CutAtALineEnd,
    /// No metrics at all: the plain text that a missing key gets.
    NotMetrics,
}

/// How operations end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OperationFault {
    /// Well.
    #[default]
    None,
    /// `STATE_FAILED`.
    Failed,
    /// `STATE_REJECTED`.
    Rejected,
    /// `STATE_CANCELLED`.
    Cancelled,
    /// Never.
    Stuck,
}

/// What happens to one request.
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
