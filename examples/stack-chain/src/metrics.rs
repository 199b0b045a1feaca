//! Metrics of a process, in the Prometheus text format.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counters of this process. Each chain is counted by the worker that reports it.
#[derive(Debug, Default)]
pub struct Metrics {
    pub(crate) accepted: AtomicU64,
    pub(crate) duplicate: AtomicU64,
    pub(crate) ignored: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) failed: AtomicU64,
    chains_good: AtomicU64,
    chains_bad: AtomicU64,
    chain_seconds: AtomicU64,
    /// Number of open chains and the age of the oldest in seconds; `None` if Temporal does not respond.
    pub(crate) open: Mutex<Option<(u64, u64)>>,
}

impl Metrics {
    /// Counts a finished chain.
    pub fn chain_ended(&self, is_success: bool, seconds: u64) {
        let counter = if is_success {
            &self.chains_good
        } else {
            &self.chains_bad
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.chain_seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Returns the metrics in the Prometheus text format.
    pub fn text(&self) -> String {
        let open = *self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(&str, u64)]| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        };
        family(
            "stack_chain_webhooks_total",
            "counter",
            "Webhooks by outcome.",
            &[
                ("{result=\"accepted\"}", read(&self.accepted)),
                ("{result=\"duplicate\"}", read(&self.duplicate)),
                ("{result=\"ignored\"}", read(&self.ignored)),
                ("{result=\"refused\"}", read(&self.refused)),
                ("{result=\"failed\"}", read(&self.failed)),
            ],
        );
        let (good, bad) = (read(&self.chains_good), read(&self.chains_bad));
        family(
            "stack_chain_chains_total",
            "counter",
            "Completed chains, by whether every stack succeeded or was skipped on purpose.",
            &[("{result=\"success\"}", good), ("{result=\"failure\"}", bad)],
        );
        family(
            "stack_chain_chain_duration_seconds",
            "summary",
            "Duration of completed chains.",
            &[("_sum", read(&self.chain_seconds)), ("_count", good + bad)],
        );
        // During an outage, the values are left out instead of repeated.
        if let Some((count, oldest)) = open {
            family("stack_chain_open_chains", "gauge", "Open chains.", &[("", count)]);
            family(
                "stack_chain_oldest_open_chain_seconds",
                "gauge",
                "Age of the oldest open chain.",
                &[("", oldest)],
            );
        }
        text
    }
}
