//! Settings of a worker's activities.

use std::time::Duration;

use jiff::SignedDuration;
use otlp_spans::Spans;
use slack_notifier::Webhook;

use crate::names::Installation;

/// Settings of a worker's activities. Start from [`ActivitySettings::new`] and set the fields that differ.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ActivitySettings {
    /// Whether this is a dry run, in which nothing is changed or sent.
    pub dry_run: bool,
    /// Maximum number of changes that run at the same time.
    pub max_concurrent_changes: u32,
    /// Webhook for notifications.
    pub webhook: Option<Webhook>,
    /// Task queue and ids.
    pub installation: Installation,
    /// How long a change may take before it is announced as slow. It is still followed to its end.
    pub change_timeout: Duration,
    /// Settings of the sampler.
    pub sampling: SamplingSettings,
    /// Version and commit of this worker. A build whose updates were verified may post concurrently with
    /// others.
    pub build: String,
    /// Top-level fields of a spec that are not compared after an update.
    pub spec_fields_not_compared: Vec<String>,
    /// Interval at which the operation of a slow change is polled.
    pub follow_every: Duration,
    /// Time without any activity after which a change is announced as making no progress.
    pub no_progress_after: Duration,
    /// Minute of the UTC hour from which nothing is released, because the release could take effect in the next hour and save
    /// nothing in this one. 60 turns this off, for example for a simulated cloud whose hours take seconds.
    pub no_release_from_minute: i64,
    /// Collector of traces. Without one, they are dropped.
    pub spans: Spans,
}

impl ActivitySettings {
    /// Returns the defaults: dry run is off, so capacity is changed, and no channel is notified.
    pub fn new(installation: Installation) -> Self {
        Self {
            dry_run: false,
            max_concurrent_changes: 5,
            webhook: None,
            installation,
            change_timeout: capacity_autopilot::CHANGE_TIMEOUT,
            sampling: SamplingSettings::default(),
            build: build_id(),
            spec_fields_not_compared: Vec::new(),
            follow_every: Duration::from_mins(1),
            no_progress_after: Duration::from_mins(10),
            no_release_from_minute: 58,
            spans: Spans::default(),
        }
    }
}

/// Returns the version of this build, with the commit if it was built from a checkout.
pub fn build_id() -> String {
    match option_env!("TEMPORAL_CAPACITY_COMMIT") {
        Some(commit) => format!("{}+{commit}", env!("CARGO_PKG_VERSION")),
        None => env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Settings of the sampler. Start from the defaults and set the fields that differ.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SamplingSettings {
    /// Whether throttling and high usage trigger an evaluation.
    pub triggers: bool,
    /// How many times faster than real time the service's time runs; 1 except for a simulated service.
    pub speed: f64,
    /// Retention of minutes before they are aggregated into hours.
    pub keep_minutes: SignedDuration,
    /// Retention of decisions and changes.
    pub keep_decisions: SignedDuration,
}

impl Default for SamplingSettings {
    fn default() -> Self {
        Self {
            triggers: true,
            speed: 1.0,
            keep_minutes: SignedDuration::from_hours(14 * 24),
            keep_decisions: SignedDuration::from_hours(400 * 24),
        }
    }
}

impl SamplingSettings {
    /// Returns the minimum interval between evaluations, which is shorter in faster simulated time.
    pub(crate) fn evaluations_apart_ms(&self) -> Option<u64> {
        let apart = Duration::from_secs(20).div_f64(self.speed.max(1.0));
        (self.speed > 1.0).then(|| u64::try_from(apart.as_millis()).unwrap_or(u64::MAX))
    }
}
