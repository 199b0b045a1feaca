//! Sampling: a minute of the whole account at a time, within the budget of requests.

use std::collections::BTreeSet;
use std::time::Duration;

use capacity_engine::{LimitKind, NamespaceId, PerLimit, Rate};
use jiff::{SignedDuration, Timestamp};

use super::metrics::{Detail, first_detail, requests_for};
use super::reading::{Purpose, Reading, Unread};
use super::source::MetricsSource;
use super::usage::{AccountMetrics, NamespaceMetrics};
use super::{STORED_POINTS, account_of, list};
use crate::autopilot::Autopilot;
use crate::text::chain;

/// The endpoint shows another minute every minute.
const MINUTE: SignedDuration = SignedDuration::from_secs(60);
const HOUR_SECONDS: u64 = 3_600;
/// Known minutes of an hour that are enough to give capacity back (the `threshold` policy).
const ENOUGH_MINUTES: u64 = 48;
/// Requests an hour that sampling leaves to evaluations.
const LEFT_TO_EVALUATIONS: u32 = 3;
/// A new namespace is sampled after this long at most.
const LIST_AGAIN: SignedDuration = SignedDuration::from_mins(10);
/// After refusals sampling is this rare at most.
const LONGEST_WAIT: Duration = Duration::from_mins(15);

/// How an account is sampled: how much of it at a time, and how often.
///
/// Of all families, or of fewer, the first is taken that lets 48 minutes of an hour be known within the budget; where neither
/// does, fewer families are read as often as the budget allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SamplingRule {
    /// Whether all families are read; else requests and operations served are left out, which have a series for each operation.
    pub all_families: bool,
    /// Requests it takes.
    pub requests: u32,
    /// How far samples are apart.
    pub every: SignedDuration,
}

impl SamplingRule {
    /// Returns how many minutes of an hour become known, of 60.
    pub fn minutes_an_hour(&self) -> u64 {
        HOUR_SECONDS / self.every.as_secs().unsigned_abs().max(1)
    }

    /// Returns whether enough minutes become known to give capacity back.
    pub fn is_enough(&self) -> bool {
        self.minutes_an_hour() >= ENOUGH_MINUTES
    }

    /// Returns the budget at which enough minutes become known.
    pub fn enough_requests_an_hour(&self) -> u64 {
        u64::from(self.requests) * ENOUGH_MINUTES + u64::from(LEFT_TO_EVALUATIONS)
    }

    fn detail(self) -> Detail {
        if self.all_families {
            Detail::Everything
        } else {
            Detail::Candidates
        }
    }
}

/// Returns the rule by which namespaces are sampled from this source.
pub fn sampling_rule(source: &MetricsSource, namespaces: &[NamespaceId]) -> SamplingRule {
    match source {
        MetricsSource::Endpoint(scraper) => {
            let requests = |detail| requests_for(scraper, namespaces, detail, false);
            rule_for(
                requests(Detail::Everything),
                requests(Detail::Candidates),
                scraper.config().requests_per_hour,
            )
        }
        // Its owner's Prometheus counts no requests.
        MetricsSource::Prometheus(_) => SamplingRule {
            all_families: first_detail(STORED_POINTS, namespaces.len()) == Detail::Everything,
            requests: 0,
            every: MINUTE,
        },
    }
}

fn rule_for(all: u32, fewer: u32, budget: u32) -> SamplingRule {
    let usable = usable(budget);
    let rule = |all_families, requests: u32| {
        let apart = (HOUR_SECONDS * u64::from(requests)).div_ceil(u64::from(usable));
        let apart = SignedDuration::from_secs(i64::try_from(apart).unwrap_or(i64::MAX));
        SamplingRule {
            all_families,
            requests,
            every: apart.max(MINUTE),
        }
    };
    let of_all = rule(true, all);
    if of_all.is_enough() {
        of_all
    } else {
        rule(false, fewer)
    }
}

fn usable(budget: u32) -> u32 {
    budget.saturating_sub(LEFT_TO_EVALUATIONS).max(1)
}

/// What a round of sampling came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sampled {
    /// The newest minute that was read; `None` if nothing was.
    pub minute: Option<Timestamp>,
    /// Whether it is in the ledger.
    pub recorded: bool,
    /// Why it was not read, or not recorded.
    pub problem: Option<String>,
    /// Namespaces that have begun to be throttled, or to use more than 80 % of a limit.
    pub short: Vec<NamespaceId>,
    /// When the next round is due, in the service's time.
    pub next_in: Duration,
}

/// Samples an account, round after round.
#[derive(Debug)]
pub struct Sampler<'a> {
    autopilot: &'a Autopilot,
    names: Vec<NamespaceId>,
    listed_at: Option<Timestamp>,
    /// Namespaces that were short in the last round.
    short: BTreeSet<NamespaceId>,
    /// Namespaces that the metrics showed and the list did not.
    strangers: usize,
    /// Refusals in a row.
    refusals: u32,
}

impl<'a> Sampler<'a> {
    /// Returns a sampler that has seen nothing yet.
    pub fn new(autopilot: &'a Autopilot) -> Self {
        Self {
            autopilot,
            names: Vec::new(),
            listed_at: None,
            short: BTreeSet::new(),
            strangers: 0,
            refusals: 0,
        }
    }

    /// Reads a minute and records it. Never fails: what went wrong is told, and the next round is due in any case.
    pub async fn round(&mut self) -> Sampled {
        if let Err(problem) = self.list().await {
            return self.failed(Unread::because(problem), MINUTE);
        }
        let rule = sampling_rule(self.autopilot.metrics(), &self.names);
        let purpose = Purpose::Sampling {
            budget: match self.autopilot.metrics() {
                MetricsSource::Endpoint(scraper) => usable(scraper.config().requests_per_hour),
                MetricsSource::Prometheus(_) => u32::MAX,
            },
        };
        let autopilot = self.autopilot;
        let mut reading = Reading::new(autopilot, account_of(self.names.iter()));
        let read = match reading.read(&self.names, rule.detail(), false, purpose).await {
            Ok(read) => read,
            Err(unread) => return self.failed(unread, rule.every),
        };
        self.refusals = 0;
        if let Some(date) = autopilot.metrics().server_time() {
            autopilot.clock().correct(date);
        }
        let recorded = reading.record(&read.metrics, true).await;
        if read.metrics.stranger_count != self.strangers {
            // The metrics show a namespace that was not there when they were listed.
            self.strangers = read.metrics.stranger_count;
            self.listed_at = None;
        }
        let mut next_in = Duration::try_from(rule.every).unwrap_or_default();
        if reading.ledger_failure.is_some() {
            // What cannot be kept is read half as often: evaluations must look for themselves, and need the requests.
            next_in = next_in.saturating_mul(2);
        }
        Sampled {
            minute: newest_minute(&read.metrics),
            recorded,
            problem: reading.ledger_failure.map(|error| error.to_string()),
            short: self.newly_short(&read.metrics),
            next_in,
        }
    }

    /// Lists the namespaces, if that was not done lately.
    async fn list(&mut self) -> Result<(), String> {
        let now = self.autopilot.now();
        let is_recent = |at: Timestamp| now.duration_since(at) < LIST_AGAIN;
        if self.listed_at.is_some_and(is_recent) {
            return Ok(());
        }
        let listed = list(self.autopilot, &|_| ())
            .await
            .map_err(|error| chain(&error))?;
        self.names = listed.into_iter().map(|listed| listed.id).collect();
        self.listed_at = Some(self.autopilot.now());
        Ok(())
    }

    fn failed(&mut self, unread: Unread, every: SignedDuration) -> Sampled {
        let mut next_in = Duration::try_from(every).unwrap_or_default();
        if let Some(wait) = unread.wait {
            // Somebody else needs the endpoint: each refusal in a row doubles the distance.
            let factor = 2_u32.saturating_pow(self.refusals);
            next_in = wait.max(next_in).saturating_mul(factor).min(LONGEST_WAIT);
            self.refusals = (self.refusals + 1).min(8);
        }
        Sampled {
            minute: None,
            recorded: false,
            problem: Some(unread.why),
            short: Vec::new(),
            next_in,
        }
    }

    fn newly_short(&mut self, metrics: &AccountMetrics) -> Vec<NamespaceId> {
        let is_short = |name: &&NamespaceId| metrics.namespaces.get(name.as_str()).is_some_and(is_short);
        let short: BTreeSet<NamespaceId> = self.names.iter().filter(is_short).cloned().collect();
        let new = short.difference(&self.short).cloned().collect();
        self.short = short;
        new
    }
}

fn newest_minute(metrics: &AccountMetrics) -> Option<Timestamp> {
    let minutes = metrics
        .namespaces
        .values()
        .filter_map(|read| read.sample.as_ref().ok());
    minutes.map(|sample| sample.minute).max()
}

/// Throttled, or asked for more than 80 % of a limit.
fn is_short(read: &NamespaceMetrics) -> bool {
    let Ok(sample) = &read.sample else {
        return false;
    };
    let above = |asked: Rate, limit: Rate| {
        u128::from(asked.micros_per_second()) * 100 > u128::from(limit.micros_per_second()) * 80
    };
    let limits: &PerLimit<Option<Rate>> = &read.limits;
    LimitKind::ALL.into_iter().any(|kind| {
        let usage = sample.usage[kind];
        !usage.throttled.is_zero() || limits[kind].is_some_and(|limit| above(usage.asked(), limit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// Requests for all families and for fewer, the budget; then whether all are read, and how many seconds apart.
    #[rstest]
    #[case::small_account(1, 1, 55, true, 70)]
    #[case::more_budget(1, 1, 180, true, 60)]
    #[case::large_account(2, 1, 55, false, 70)]
    #[case::large_account_with_budget(2, 1, 110, true, 68)]
    #[case::huge_account(40, 3, 55, false, 208)]
    #[case::huge_account_with_all_there_is(40, 3, 180, false, 62)]
    #[case::tiny_budget(1, 1, 1, false, 3_600)]
    fn fewer_families_come_before_fewer_minutes(
        #[case] all: u32,
        #[case] fewer: u32,
        #[case] budget: u32,
        #[case] all_families: bool,
        #[case] seconds: i64,
    ) {
        let rule = rule_for(all, fewer, budget);
        assert_eq!((rule.all_families, rule.every.as_secs()), (all_families, seconds));
    }

    #[test]
    fn sampling_stays_within_the_budget_whatever_the_account() {
        for budget in 1..=180 {
            for requests in 1..40 {
                let rule = rule_for(requests, requests.div_ceil(4), budget);
                let an_hour = u64::from(rule.requests) * HOUR_SECONDS / rule.every.as_secs().unsigned_abs();
                assert!(
                    an_hour <= u64::from(budget.max(4)),
                    "{budget} {requests}: {an_hour}"
                );
            }
        }
    }

    /// The figures of the README.
    #[test]
    fn one_request_reads_263_namespaces_whole_and_3433_with_fewer_families() {
        let config = openmetrics_reader::scrape::Config::try_new("http://127.0.0.1:9", "key".into());
        let scraper = openmetrics_reader::scrape::Scraper::new(config.expect("valid"));
        let requests = |count: usize, detail: Detail| {
            let name = |number: usize| format!("n{number:05}.a1b2c").parse().expect("an id");
            let names: Vec<NamespaceId> = (0..count).map(name).collect();
            requests_for(&scraper, &names, detail, false)
        };
        assert_eq!(
            [263, 264].map(|count| requests(count, Detail::Everything)),
            [1, 2]
        );
        assert_eq!(
            [3_433, 3_434].map(|count| requests(count, Detail::Candidates)),
            [1, 2]
        );
    }

    #[test]
    fn the_budget_that_is_enough_is_enough() {
        let rule = rule_for(40, 3, 55);
        assert!(!rule.is_enough());
        let budget = u32::try_from(rule.enough_requests_an_hour()).expect("small");
        assert!(rule_for(40, 3, budget).is_enough());
    }
}
