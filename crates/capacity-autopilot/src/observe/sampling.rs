//! Sampling: a minute of the whole account at a time, within the budget of requests.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capacity_engine::{LimitKind, NamespaceId, Rate};
use jiff::{SignedDuration, Timestamp};

use super::metrics::{Detail, first_detail, requests_for};
use super::reading::{Purpose, Reading, Unread};
use super::source::MetricsSource;
use super::usage::{AccountMetrics, NamespaceMetrics};
use super::{STORED_POINTS, account_of, is_on_demand, list};
use crate::autopilot::Autopilot;
use crate::text::chain;

/// The endpoint shows another minute every minute.
const MINUTE: SignedDuration = SignedDuration::from_secs(60);
const HOUR_SECONDS: u64 = 3_600;
/// Known minutes of an hour that are enough to release capacity (the `threshold` policy), with some to spare for a scrape that
/// fails.
const ENOUGH_MINUTES: u64 = 50;
const AIMED_MINUTES: u32 = 52;
/// What the endpoint gives an account.
const MOST_REQUESTS: u32 = 180;
/// A namespace that stays throttled is signaled again after this long: the scale-up did not happen.
const TOLD_AGAIN: SignedDuration = SignedDuration::from_mins(15);
/// Requests an hour that sampling leaves to evaluations.
const LEFT_TO_EVALUATIONS: u32 = 3;
/// A new namespace is sampled after this long at most.
const LIST_AGAIN: SignedDuration = SignedDuration::from_mins(10);
/// The longest sampling interval after rejections.
const LONGEST_WAIT: Duration = Duration::from_mins(15);

/// How much of an account is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// All families of all namespaces.
    Everything,
    /// Of all namespaces all families but requests and operations served, which have a series for each operation; these of
    /// provisioned namespaces only, since releasing capacity depends on them.
    ProvisionedWhole,
    /// The same without requests and operations served: enough to scale up.
    Fewer,
}

/// How an account is sampled: how much of it at a time, and how often.
///
/// Of the three ways the first is taken that lets enough minutes of an hour be known within the budget; where none does, the
/// last is taken as often as the budget allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SamplingRule {
    /// How much is read.
    pub sampling: Sampling,
    /// Requests it takes.
    pub requests: u32,
    /// How far samples are apart.
    pub every: SignedDuration,
    /// The budget of requests per hour at which capacity can be released; `None` if the endpoint's is not enough.
    pub enough_requests_an_hour: Option<u32>,
}

impl SamplingRule {
    /// Returns how many minutes of an hour become known, of 60.
    pub fn minutes_an_hour(&self) -> u64 {
        HOUR_SECONDS / self.every.as_secs().unsigned_abs().max(1)
    }

    /// Returns whether enough becomes known to release capacity.
    pub fn is_enough(&self) -> bool {
        self.sampling != Sampling::Fewer && self.minutes_an_hour() >= ENOUGH_MINUTES
    }

    fn detail(self) -> Detail {
        match self.sampling {
            Sampling::Everything => Detail::Everything,
            Sampling::ProvisionedWhole | Sampling::Fewer => Detail::Candidates,
        }
    }
}

/// Returns the rule by which namespaces, of which some are provisioned, are sampled from this source.
pub fn sampling_rule(
    source: &MetricsSource,
    namespaces: &[NamespaceId],
    provisioned: &[NamespaceId],
) -> SamplingRule {
    match source {
        MetricsSource::Endpoint(scraper) => {
            let requests = |detail| requests_for(scraper, namespaces, detail, false);
            // Some may be provisioned by the time they are read.
            let of_provisioned = requests_for(scraper, provisioned, Detail::Everything, true).max(1);
            rule_for(
                requests(Detail::Everything),
                requests(Detail::Candidates),
                of_provisioned,
                scraper.config().requests_per_hour,
            )
        }
        // Prometheus has no request budget.
        MetricsSource::Prometheus(_) => SamplingRule {
            sampling: match first_detail(STORED_POINTS, namespaces.len()) {
                Detail::Everything => Sampling::Everything,
                Detail::Candidates => Sampling::Fewer,
            },
            requests: 0,
            every: MINUTE,
            enough_requests_an_hour: Some(0),
        },
    }
}

fn rule_for(all: u32, fewer: u32, of_provisioned: u32, budget: u32) -> SamplingRule {
    let provisioned_whole = fewer.saturating_add(of_provisioned);
    let ways = [
        (Sampling::Everything, all),
        (Sampling::ProvisionedWhole, provisioned_whole),
        (Sampling::Fewer, fewer),
    ];
    let usable = u64::from(budget.saturating_sub(LEFT_TO_EVALUATIONS).max(1));
    let cheapest = all.min(provisioned_whole);
    let enough = cheapest
        .saturating_mul(AIMED_MINUTES)
        .saturating_add(LEFT_TO_EVALUATIONS);
    let rules = ways.map(|(sampling, requests)| {
        let apart = (HOUR_SECONDS * u64::from(requests)).div_ceil(usable);
        let apart = SignedDuration::from_secs(i64::try_from(apart).unwrap_or(i64::MAX));
        SamplingRule {
            sampling,
            requests,
            every: apart.max(MINUTE),
            enough_requests_an_hour: (enough <= MOST_REQUESTS).then_some(enough),
        }
    });
    let [.., fewest] = rules;
    rules.into_iter().find(SamplingRule::is_enough).unwrap_or(fewest)
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
    /// Those of them that were provisioned when they were listed, or whose capacity was unknown.
    provisioned: Vec<NamespaceId>,
    listed_at: Option<Timestamp>,
    /// Namespaces that use much of a limit, as of the last round.
    close: BTreeSet<NamespaceId>,
    /// Namespaces that are throttled, and when that was signaled.
    throttled: BTreeMap<NamespaceId, Timestamp>,
    /// Namespaces that are in the metrics but not in the list.
    unlisted: usize,
    /// Refusals in a row.
    refusals: u32,
}

impl<'a> Sampler<'a> {
    /// Returns a sampler that has seen nothing yet.
    pub fn new(autopilot: &'a Autopilot) -> Self {
        Self {
            autopilot,
            names: Vec::new(),
            provisioned: Vec::new(),
            listed_at: None,
            close: BTreeSet::new(),
            throttled: BTreeMap::new(),
            unlisted: 0,
            refusals: 0,
        }
    }

    /// Reads a minute and records it. Never fails: the result contains what went wrong, and the next round is due in any case.
    pub async fn round(&mut self) -> Sampled {
        // Use the older list while a new one is unavailable.
        if let Err(problem) = self.list().await
            && self.names.is_empty()
        {
            return self.failed(Unread::because(problem), MINUTE);
        }
        let rule = sampling_rule(self.autopilot.metrics(), &self.names, &self.provisioned);
        let autopilot = self.autopilot;
        let mut reading = Reading::new(autopilot, account_of(self.names.iter()));
        let read = reading
            .read(&self.names, rule.detail(), false, Purpose::Sampling)
            .await;
        let mut read = match read {
            Ok(read) => read,
            Err(unread) => return self.failed(unread, rule.every),
        };
        if rule.sampling == Sampling::ProvisionedWhole {
            self.read_provisioned(&mut reading, &mut read.metrics).await;
        }
        self.refusals = 0;
        let recorded = reading.record(&read.metrics, true).await;
        if read.metrics.unlisted_count != self.unlisted {
            // The metrics show a namespace that was not there when they were listed.
            self.unlisted = read.metrics.unlisted_count;
            self.listed_at = None;
        }
        let mut next_in = Duration::try_from(rule.every).unwrap_or_default();
        if reading.ledger_failure.is_some() {
            // Without a working ledger, sample half as often: evaluations must scrape for themselves and need the requests.
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

    /// Returns the namespaces that were throttled in the last round that read any.
    pub fn throttled(&self) -> impl Iterator<Item = &NamespaceId> {
        self.throttled.keys()
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
        let provisioned = listed.iter().filter(|listed| !is_on_demand(&listed.snapshot));
        self.provisioned = provisioned.map(|listed| listed.id.clone()).collect();
        self.names = listed.into_iter().map(|listed| listed.id).collect();
        self.listed_at = Some(self.autopilot.now());
        Ok(())
    }

    fn failed(&mut self, unread: Unread, every: SignedDuration) -> Sampled {
        let mut next_in = Duration::try_from(every).unwrap_or_default();
        if let Some(wait) = unread.wait {
            // Another client needs the endpoint: each refusal in a row doubles the interval.
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

    /// Reads the rest of provisioned namespaces. If that fails, what is known is kept; if it is of a later minute by now, it is
    /// recorded as a separate minute.
    async fn read_provisioned(&self, reading: &mut Reading<'a>, metrics: &mut AccountMetrics) {
        let mut names: BTreeSet<&NamespaceId> = self.provisioned.iter().collect();
        let raised = |name: &&NamespaceId| metrics.namespaces.get(name.as_str()).is_some_and(is_raised);
        names.extend(self.names.iter().filter(raised));
        let names: Vec<NamespaceId> = names.into_iter().cloned().collect();
        if names.is_empty() {
            return;
        }
        let read = reading
            .read(&names, Detail::Everything, true, Purpose::Sampling)
            .await;
        let mut whole = match read {
            Ok(read) => read.metrics,
            Err(unread) => {
                tracing::debug!(why = unread.why, "provisioned namespaces were not read whole");
                return;
            }
        };
        for (name, known) in &mut metrics.namespaces {
            let is_same = |read: &NamespaceMetrics| minute_of(read) == minute_of(known);
            if whole.namespaces.get(name).is_some_and(is_same)
                && let Some(read) = whole.namespaces.remove(name)
            {
                *known = read;
            }
        }
        if !whole.namespaces.is_empty() {
            reading.record(&whole, false).await;
        }
    }

    fn newly_short(&mut self, metrics: &AccountMetrics) -> Vec<NamespaceId> {
        let now = self.autopilot.now();
        let policy = &self.autopilot.settings().policy;
        let follows = policy.acting.follows_throttling();
        let (mut close, mut throttled, mut new) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        for name in &self.names {
            let Some(read) = metrics.namespaces.get(name.as_str()) else {
                continue;
            };
            if is_throttled(read) {
                // A person must scale up provisioned namespaces further, unless the policy does: signal them once.
                let told = self.throttled.get(name).copied().filter(|_| !follows);
                let lately = told.filter(|told| is_raised(read) || now.duration_since(*told) < TOLD_AGAIN);
                throttled.insert(name.clone(), lately.unwrap_or(now));
                if lately.is_none() {
                    new.push(name.clone());
                }
            } else if is_close(read) {
                close.insert(name.clone());
                if !self.close.contains(name) {
                    new.push(name.clone());
                }
            }
        }
        (self.close, self.throttled) = (close, throttled);
        new
    }
}

fn minute_of(read: &NamespaceMetrics) -> Option<Timestamp> {
    read.sample.as_ref().ok().map(|sample| sample.minute)
}

fn newest_minute(metrics: &AccountMetrics) -> Option<Timestamp> {
    metrics.namespaces.values().filter_map(minute_of).max()
}

/// Whether its limit is above what on-demand gives, as it is when it is provisioned.
fn is_raised(read: &NamespaceMetrics) -> bool {
    let kind = LimitKind::Actions;
    read.limits[kind] > read.envelopes[kind]
}

fn is_throttled(read: &NamespaceMetrics) -> bool {
    let sample = read.sample.as_ref().ok();
    sample.is_some_and(|sample| {
        LimitKind::ALL
            .into_iter()
            .any(|kind| !sample.usage[kind].throttled.is_zero())
    })
}

/// Whether more than 80 % of a limit was asked for.
fn is_close(read: &NamespaceMetrics) -> bool {
    let above = |asked: Rate, limit: Rate| {
        u128::from(asked.micros_per_second()) * 100 > u128::from(limit.micros_per_second()) * 80
    };
    let sample = read.sample.as_ref().ok();
    sample.is_some_and(|sample| {
        let mut kinds = LimitKind::ALL.into_iter();
        kinds.any(|kind| read.limits[kind].is_some_and(|limit| above(sample.usage[kind].asked(), limit)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// Requests for all families and for fewer, the budget; then how much is read, and how many seconds apart.
    #[rstest]
    #[case::small_account(1, 1, 55, Sampling::Everything, 70)]
    #[case::more_budget(1, 1, 180, Sampling::Everything, 60)]
    #[case::large_account(3, 1, 55, Sampling::Fewer, 70)]
    #[case::large_account_with_budget(3, 1, 110, Sampling::ProvisionedWhole, 68)]
    #[case::large_account_with_more(3, 1, 180, Sampling::Everything, 62)]
    #[case::huge_account(40, 3, 55, Sampling::Fewer, 208)]
    #[case::huge_account_with_all_there_is(40, 3, 180, Sampling::Fewer, 62)]
    #[case::tiny_budget(1, 1, 1, Sampling::Fewer, 3_600)]
    fn fewer_families_come_before_fewer_minutes(
        #[case] all: u32,
        #[case] fewer: u32,
        #[case] budget: u32,
        #[case] sampling: Sampling,
        #[case] seconds: i64,
    ) {
        let rule = rule_for(all, fewer, 1, budget);
        assert_eq!((rule.sampling, rule.every.as_secs()), (sampling, seconds));
    }

    #[test]
    fn sampling_stays_within_the_budget_whatever_the_account() {
        for budget in 1..=180 {
            for requests in 1..40 {
                let rule = rule_for(requests, requests.div_ceil(4), 1, budget);
                let an_hour = u64::from(rule.requests) * HOUR_SECONDS / rule.every.as_secs().unsigned_abs();
                assert!(an_hour <= u64::from(budget), "{budget} {requests}: {an_hour}");
            }
        }
    }

    /// Of an account whose namespaces are all provisioned, reading these whole takes as long as reading all.
    #[test]
    fn provisioned_namespaces_are_part_of_the_budget() {
        let config = openmetrics_reader::scrape::Config::try_new("http://127.0.0.1:9", "key".into());
        let scraper = openmetrics_reader::scrape::Scraper::new(config.expect("valid"));
        let name = |number: usize| format!("n{number:05}.a1b2c").parse().expect("an id");
        let names: Vec<NamespaceId> = (0..1_000).map(name).collect();
        let source = MetricsSource::Endpoint(scraper);
        let enough =
            |provisioned: &[NamespaceId]| sampling_rule(&source, &names, provisioned).enough_requests_an_hour;
        assert_eq!(enough(&[]), Some(107));
        let most = (1..=1_000)
            .rev()
            .find(|count| enough(&names[..*count]) == Some(107));
        assert_eq!(most, Some(261));
        assert_eq!(enough(&names), None, "no budget is enough");
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
    fn the_budget_that_is_enough_is_enough_and_none_is_named_that_the_endpoint_does_not_give() {
        let small = rule_for(3, 1, 1, 55);
        assert!(!small.is_enough());
        let budget = small
            .enough_requests_an_hour
            .expect("within what the endpoint gives");
        assert!(rule_for(3, 1, 1, budget).is_enough() && budget <= 180);
        assert_eq!(rule_for(40, 3, 1, 180).enough_requests_an_hour, None);
    }
}
