//! The sampler: each round reads a minute, records it, and finds namespaces that are short of capacity.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capacity_engine::{LimitKind, NamespaceId, Rate};
use human_text::chain;
use jiff::{SignedDuration, Timestamp};

use super::rule::{AHEAD, MINUTE, Sampling, sampling_rule};
use crate::autopilot::Autopilot;
use crate::listing::{ObserveError, list};
use crate::metrics::{AccountMetrics, Detail, NamespaceMetrics, Unread};
use crate::namespaces::{account_of, is_on_demand};
use crate::reading::{Purpose, Reading};

/// Time after which a namespace that stays throttled is signaled again, because the scale-up did not happen.
const TOLD_AGAIN: SignedDuration = SignedDuration::from_mins(15);
/// Percentage of a limit above which a namespace is signaled. It is signaled again only after usage has dropped below the second
/// percentage: among thousands of namespaces, some always hover around any single threshold.
const CLOSE: u128 = 80;
const STILL_CLOSE: u128 = 70;
/// Maximum time until a new namespace is sampled.
const LIST_AGAIN: SignedDuration = SignedDuration::from_mins(10);
/// The longest sampling interval after rejections.
const LONGEST_WAIT: Duration = Duration::from_mins(15);

/// The result of a round of sampling.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sampled {
    /// The newest minute that was read; `None` if none was.
    pub minute: Option<Timestamp>,
    /// Whether the ledger has recorded the minute.
    pub recorded: bool,
    /// Why the minute was not read or not recorded.
    pub problem: Option<String>,
    /// Namespaces that have just become throttled, or have just exceeded 80% of a limit.
    pub short: Vec<NamespaceId>,
    /// Time until the next round is due, in the service's time.
    pub next_in: Duration,
}

/// Samples an account, round after round.
#[derive(Debug)]
pub struct Sampler<'a> {
    autopilot: &'a Autopilot,
    names: Vec<NamespaceId>,
    /// Namespaces that were provisioned when they were listed, or whose capacity was unknown.
    provisioned: Vec<NamespaceId>,
    listed_at: Option<Timestamp>,
    /// Namespaces that were close to a limit in the last round.
    close: BTreeSet<NamespaceId>,
    /// Throttled namespaces, with the time of their last signal.
    throttled: BTreeMap<NamespaceId, Timestamp>,
    /// Number of namespaces that are in the metrics but not in the list.
    unlisted: usize,
    /// Number of consecutive refusals.
    refusals: u32,
}

impl<'a> Sampler<'a> {
    /// Creates a sampler.
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

    /// Reads a minute and records it. Never fails: the result contains any problem, and the next round is due
    /// in any case.
    pub async fn round(&mut self) -> Sampled {
        // Use the older list while a new one is unavailable.
        if let Err(problem) = self.list().await
            && self.names.is_empty()
        {
            return self.failed(Unread::because(chain(&problem)), MINUTE);
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
            // The metrics contain a namespace that was not in the list.
            self.unlisted = read.metrics.unlisted_count;
            self.listed_at = None;
        }
        let mut every = rule.every;
        for (ahead, left) in AHEAD {
            if let Some(available) = reading.requests_available(ahead).await {
                every = every.max(rule.paced(available, ahead, left));
            }
        }
        let mut next_in = Duration::try_from(every).unwrap_or_default();
        if reading.ledger.failure().is_some() {
            // Without a working ledger, sample half as often: evaluations must scrape themselves and need the
            // requests.
            next_in = next_in.saturating_mul(2);
        }
        Sampled {
            minute: newest_minute(&read.metrics),
            recorded,
            problem: reading.ledger.failure().map(ToString::to_string),
            short: self.newly_short(&read.metrics),
            next_in,
        }
    }

    /// Returns the namespaces that were throttled in the last round that read any.
    pub fn throttled(&self) -> impl Iterator<Item = &NamespaceId> {
        self.throttled.keys()
    }

    /// Lists the namespaces, unless that was done recently.
    async fn list(&mut self) -> Result<(), ObserveError> {
        let now = self.autopilot.now();
        let is_recent = |at: Timestamp| now.duration_since(at) < LIST_AGAIN;
        if self.listed_at.is_some_and(is_recent) {
            return Ok(());
        }
        let listed = list(self.autopilot, &|_| (), || ()).await?;
        let provisioned = listed.iter().filter(|listed| !is_on_demand(&listed.snapshot));
        self.provisioned = provisioned.map(|listed| listed.id.clone()).collect();
        self.names = listed.into_iter().map(|listed| listed.id).collect();
        self.listed_at = Some(self.autopilot.now());
        Ok(())
    }

    fn failed(&mut self, unread: Unread, every: SignedDuration) -> Sampled {
        let mut next_in = Duration::try_from(every).unwrap_or_default();
        if let Some(wait) = unread.wait {
            // Another client needs the endpoint: each consecutive refusal doubles the interval.
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

    /// Reads the remaining families of provisioned namespaces. If that fails, the known data is kept. If the
    /// data belongs to a later minute, it is recorded as a separate minute.
    async fn read_provisioned(&self, reading: &mut Reading<'a>, metrics: &mut AccountMetrics) {
        let mut names: BTreeSet<&NamespaceId> = self.provisioned.iter().collect();
        let raised = |name: &&NamespaceId| metrics.namespaces.get(name.as_str()).is_some_and(is_raised);
        // The list is up to ten minutes old; a namespace that was provisioned since shows it in its limits.
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
                tracing::debug!(
                    why = unread.why,
                    "provisioned namespaces were not read completely"
                );
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
        let follows = self.autopilot.settings().rules.policy.follows_throttling();
        let (mut close, mut throttled, mut new) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        for name in &self.names {
            let Some(read) = metrics.namespaces.get(name.as_str()) else {
                continue;
            };
            if is_throttled(read) {
                // If the policy does not scale provisioned namespaces up further, a person has to act, so signal them only once.
                let told = self.throttled.get(name).copied().filter(|_| !follows);
                let lately = told.filter(|told| is_raised(read) || now.duration_since(*told) < TOLD_AGAIN);
                throttled.insert(name.clone(), lately.unwrap_or(now));
                if lately.is_none() {
                    new.push(name.clone());
                }
                continue;
            }
            let was_close = self.close.contains(name);
            if is_above(read, if was_close { STILL_CLOSE } else { CLOSE }) {
                close.insert(name.clone());
                if !was_close {
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

/// Returns whether the limit is above the on-demand limit, as it is for a provisioned namespace.
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

/// Returns whether the demand exceeds this percentage of a limit.
fn is_above(read: &NamespaceMetrics, percent: u128) -> bool {
    let above = |asked: Rate, limit: Rate| {
        u128::from(asked.micros_per_second()) * 100 > u128::from(limit.micros_per_second()) * percent
    };
    let sample = read.sample.as_ref().ok();
    sample.is_some_and(|sample| {
        let mut kinds = LimitKind::ALL.into_iter();
        kinds.any(|kind| read.limits[kind].is_some_and(|limit| above(sample.usage[kind].asked(), limit)))
    })
}
