//! How much of an account is sampled, and how often, within the request budget.

use capacity_engine::NamespaceId;
use jiff::SignedDuration;

use crate::metrics::endpoint::requests_for;
use crate::metrics::{Detail, MetricsSource, first_detail};

/// Interval at which the endpoint shows a new minute.
pub(super) const MINUTE: SignedDuration = SignedDuration::from_secs(60);
const HOUR_SECONDS: u64 = 3_600;
/// Known minutes of an hour that are enough to release capacity (the `threshold` policy), with some margin
/// for failed scrapes.
const ENOUGH_MINUTES: u64 = 50;
const AIMED_MINUTES: u32 = 52;
/// Requests per hour that the endpoint allows an account.
const MOST_REQUESTS: u32 = 180;
/// Requests per hour that sampling leaves to evaluations.
const LEFT_TO_EVALUATIONS: u32 = 3;
/// The next 5 and 15 minutes, with the number of requests in that time that the sampler leaves to evaluations.
/// The shorter time keeps the sampler from spending early what only becomes available late in the longer one.
pub(super) const AHEAD: [(SignedDuration, u32); 2] = [
    (SignedDuration::from_mins(5), 1),
    (SignedDuration::from_mins(15), 3),
];
/// The longest interval that spreading causes: throttling has to be noticed, even if only a few requests are left.
const LONGEST_SPREAD: SignedDuration = SignedDuration::from_mins(5);

/// The families and namespaces that are sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sampling {
    /// All families of all namespaces.
    Everything,
    /// All families of provisioned namespaces. For all other namespaces, all families except served requests
    /// and operations, which have a series per operation name and are only needed to release capacity.
    ProvisionedWhole,
    /// All families except served requests and operations: enough to scale up.
    Fewer,
}

/// How much of an account is sampled at a time, and how often.
///
/// The first of the three modes that yields enough known minutes of an hour within the budget is used. If
/// none does, the last one is used as often as the budget allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SamplingRule {
    /// Which families are sampled.
    pub sampling: Sampling,
    /// Number of requests for one sample.
    pub requests: u32,
    /// Interval between samples.
    pub every: SignedDuration,
    /// The request budget per hour at which capacity can be released; `None` if even the endpoint's limit is
    /// not enough.
    pub enough_requests_an_hour: Option<u32>,
}

impl SamplingRule {
    /// Returns how many minutes of an hour become known, out of 60.
    pub fn minutes_an_hour(&self) -> u64 {
        HOUR_SECONDS / self.every.as_secs().unsigned_abs().max(1)
    }

    /// Returns whether enough minutes become known to release capacity.
    pub fn is_enough(&self) -> bool {
        self.sampling != Sampling::Fewer && self.minutes_an_hour() >= ENOUGH_MINUTES
    }

    /// Returns the shortest interval that spreads these available requests over the time ahead, without those
    /// that are left to evaluations.
    ///
    /// If evaluations and other processes use more than their share, sampling becomes less frequent. At its
    /// usual interval, it would use up the budget, and nothing could be read until the hour of the first
    /// requests ends.
    pub(super) fn paced(self, available: u32, ahead: SignedDuration, left: u32) -> SignedDuration {
        let usable = available.saturating_sub(left).max(self.requests).max(1);
        let seconds = ahead.as_secs().unsigned_abs();
        let apart = (seconds * u64::from(self.requests)).div_ceil(u64::from(usable));
        let apart = SignedDuration::from_secs(i64::try_from(apart).unwrap_or(i64::MAX));
        apart.min(LONGEST_SPREAD).max(self.every)
    }

    pub(super) fn detail(self) -> Detail {
        match self.sampling {
            Sampling::Everything => Detail::Everything,
            Sampling::ProvisionedWhole | Sampling::Fewer => Detail::Candidates,
        }
    }
}

/// Returns the sampling rule for a number of namespaces, some of them provisioned, with this source.
pub fn sampling_rule(
    source: &MetricsSource,
    namespaces: &[NamespaceId],
    provisioned: &[NamespaceId],
) -> SamplingRule {
    match source {
        MetricsSource::Endpoint(scraper) => {
            let requests = |detail| requests_for(scraper, namespaces, detail, false);
            // More namespaces may be provisioned by the time they are read.
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
            sampling: match first_detail(source, namespaces.len()) {
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
        // Rounded up: intervals that are a fraction of a second too short would exceed the budget.
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

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::nothing_else_was_read(55, 70)]
    #[case::an_hourly_evaluation(16, 70)]
    #[case::others_used_a_quarter(9, 150)]
    #[case::used_up(0, 300)]
    fn what_is_left_is_spread(#[case] available: u32, #[case] seconds: i64) {
        let rule = rule_for(1, 1, 1, 55);
        let [_, (ahead, left)] = AHEAD;
        assert_eq!(
            rule.paced(available, ahead, left),
            SignedDuration::from_secs(seconds)
        );
    }

    /// Requests for all families and for fewer, the budget; then the mode and the interval in seconds.
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

    /// In an account with only provisioned namespaces, the second mode takes as long as the first.
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
    fn the_reported_budget_is_enough_and_never_exceeds_the_endpoints_limit() {
        let small = rule_for(3, 1, 1, 55);
        assert!(!small.is_enough());
        let budget = small
            .enough_requests_an_hour
            .expect("within what the endpoint gives");
        assert!(rule_for(3, 1, 1, budget).is_enough() && budget <= 180);
        assert_eq!(rule_for(40, 3, 1, 180).enough_requests_an_hour, None);
    }
}
