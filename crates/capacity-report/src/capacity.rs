//! Determines the size of a namespace, minute by minute, from limits, decisions and changes.

use capacity_engine::break_even::Size;

/// Largest size that a limit may correspond to.
const MOST_TRUS: u64 = 1_000;

/// The source of a known size.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Evidence {
    /// The limit in a minute of metrics.
    Limit { minute: i64 },
    /// A decision recorded it as the current size.
    Decision { plan_id: String },
    /// A capacity change set it.
    Change { operation_id: String },
}

/// A size seen by a decision, or set by a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observation {
    pub(crate) minute: i64,
    pub(crate) trus: u32,
    pub(crate) evidence: Evidence,
}

/// A size that starts in a minute. During that minute, the previous size was in effect too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) minute: i64,
    pub(crate) trus: u32,
    pub(crate) evidence: Evidence,
}

/// Tracks the size of a namespace over minutes in order.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    observations: Vec<Observation>,
    /// Observations before this index have been processed.
    next: usize,
    latest: Option<i64>,
    steps: Vec<Step>,
}

impl Tracker {
    /// Creates a tracker with all observations other than metrics.
    pub(crate) fn new(mut observations: Vec<Observation>) -> Self {
        // Changes were appended after all decisions.
        observations.sort_by_key(|it| it.minute);
        Self {
            observations,
            ..Self::default()
        }
    }

    /// Applies observations to the minutes before `before`, for which there are no metrics.
    fn without_metrics(&mut self, before: i64) {
        while let Some(observation) = self.observations.get(self.next)
            && observation.minute < before
        {
            let has_metrics = self.latest.is_some_and(|latest| observation.minute <= latest);
            if !has_metrics && self.trus() != Some(observation.trus) {
                let Observation {
                    minute,
                    trus,
                    evidence,
                } = observation.clone();
                self.steps.push(Step {
                    minute,
                    trus,
                    evidence,
                });
            }
            self.next += 1;
        }
    }

    fn trus(&self) -> Option<u32> {
        self.steps.last().map(|step| step.trus)
    }

    /// Adds a minute's limit and envelope, in actions per minute.
    pub(crate) fn minute(&mut self, minute: i64, limit: Option<i64>, envelope: Option<i64>) {
        self.without_metrics(minute);
        // The metrics already show a change in this same minute.
        let last = self.observations[self.next..]
            .iter()
            .take_while(|it| it.minute == minute)
            .count();
        self.next += last;
        let before = self
            .next
            .checked_sub(1)
            .and_then(|index| self.observations.get(index));
        let after = self.observations.get(self.next);
        let trus = classified(
            limit,
            envelope,
            // The envelope may equal the limit of a size, so what was seen before and after decides between
            // them.
            [before.map(|it| it.trus), self.trus(), after.map(|it| it.trus)],
        );
        if let Some(trus) = trus
            && self.trus() != Some(trus)
        {
            let confirmed = self.change_to(trus, minute);
            let evidence = confirmed.map_or(Evidence::Limit { minute }, |it| it.evidence.clone());
            let from = self.latest.unwrap_or(minute);
            // In the last minute that showed the old limit, or when the change ended if minutes are missing
            // in between.
            let ended = confirmed.map_or(minute - 1, |it| it.minute);
            let begins = if self.steps.is_empty() {
                minute
            } else {
                ended.clamp(from.min(minute - 1), minute - 1)
            };
            self.steps.push(Step {
                minute: begins,
                trus,
                evidence,
            });
        }
        self.latest = Some(minute);
    }

    /// Returns the recorded change to a size around the minute whose metrics show it.
    fn change_to(&self, trus: u32, minute: i64) -> Option<&Observation> {
        const NEAR: i64 = 30;
        let near = self.observations.iter().filter(|it| {
            it.trus == trus
                && (it.minute - minute).abs() <= NEAR
                && matches!(it.evidence, Evidence::Change { .. })
        });
        near.min_by_key(|it| (it.minute - minute).abs())
    }

    /// Returns the sizes up to a minute.
    pub(crate) fn finish(mut self, end: i64) -> Vec<Step> {
        self.without_metrics(end);
        self.steps
    }
}

/// Returns the size that a limit corresponds to: the first candidate that fits, the size derived from the
/// limit, or the first candidate.
fn classified(limit: Option<i64>, envelope: Option<i64>, candidates: [Option<u32>; 3]) -> Option<u32> {
    let mut candidates = candidates.into_iter().flatten();
    let Some(limit) = limit else {
        return candidates.next();
    };
    let fits = |trus: &u32| {
        if *trus == 0 {
            envelope == Some(limit)
        } else {
            Size::documented(*trus).limit == limit
        }
    };
    let mut others = candidates.clone();
    if let Some(fitting) = candidates.find(fits) {
        return Some(fitting);
    }
    // On-demand, the service reports the envelope as the limit.
    if envelope == Some(limit) {
        return Some(0);
    }
    let whole = limit % Size::ACTIONS_PER_MINUTE_AND_TRU == 0;
    let trus = u64::try_from(limit / Size::ACTIONS_PER_MINUTE_AND_TRU).unwrap_or(0);
    match u32::try_from(trus) {
        Ok(size) if whole && (1..=MOST_TRUS).contains(&trus) => Some(size),
        // No size has this limit, so it does not outweigh what was seen.
        _ => others.next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn observed(minute: i64, trus: u32) -> Observation {
        Observation {
            minute,
            trus,
            evidence: Evidence::Decision {
                plan_id: format!("plan-{minute}"),
            },
        }
    }

    fn changed(minute: i64, trus: u32) -> Observation {
        Observation {
            minute,
            trus,
            evidence: Evidence::Change {
                operation_id: format!("operation-{minute}"),
            },
        }
    }

    const ENVELOPE: i64 = 30_000;

    /// Processes limits in TRUs (0 for on-demand), and returns the steps as minute and size.
    fn steps(observations: Vec<Observation>, minutes: &[(i64, u32)], end: i64) -> Vec<(i64, u32)> {
        let mut tracker = Tracker::new(observations);
        for (minute, trus) in minutes {
            let limit = if *trus == 0 {
                ENVELOPE
            } else {
                30_000 * i64::from(*trus)
            };
            tracker.minute(*minute, Some(limit), Some(ENVELOPE));
        }
        tracker
            .finish(end)
            .iter()
            .map(|step| (step.minute, step.trus))
            .collect()
    }

    #[test]
    fn a_change_counts_in_the_last_minute_that_shows_the_old_limit() {
        let minutes: Vec<(i64, u32)> = (0..10)
            .map(|minute| (minute, if minute < 5 { 0 } else { 6 }))
            .collect();
        assert_eq!(steps(vec![changed(5, 6)], &minutes, 10), [(0, 0), (4, 6)]);
        assert_eq!(
            steps(Vec::new(), &minutes, 10),
            [(0, 0), (4, 6)],
            "by someone else"
        );
    }

    #[test]
    fn between_evaluations_the_limits_show_what_others_did() {
        let minutes: Vec<(i64, u32)> = (0..60)
            .map(|minute| (minute, if (20..40).contains(&minute) { 8 } else { 2 }))
            .collect();
        let both = vec![observed(0, 2), observed(59, 2)];
        assert_eq!(steps(both, &minutes, 60), [(0, 2), (19, 8), (39, 2)]);
    }

    #[test]
    fn without_metrics_decisions_and_changes_determine_the_size() {
        let observations = vec![observed(3, 0), changed(7, 4), observed(50, 4)];
        assert_eq!(steps(observations.clone(), &[], 60), [(3, 0), (7, 4)]);
        // There are metrics before and after; the change ended in between.
        assert_eq!(
            steps(observations, &[(1, 0), (2, 0), (20, 4)], 60),
            [(1, 0), (7, 4)]
        );
    }

    #[rstest]
    #[case::the_observed_size(1_000, 1_000, vec![observed(0, 2)], 2)]
    #[case::on_demand_otherwise(1_000, 1_000, vec![], 0)]
    #[case::a_size_that_nobody_observed(1_500, 1_000, vec![], 3)]
    #[case::a_limit_that_is_no_size(1_700, 1_000, vec![observed(0, 3)], 3)]
    fn an_ambiguous_limit_is_resolved_by_observations(
        #[case] limit: i64,
        #[case] envelope: i64,
        #[case] observations: Vec<Observation>,
        #[case] expected: u32,
    ) {
        let mut tracker = Tracker::new(observations);
        tracker.minute(1, Some(limit * 60), Some(envelope * 60));
        assert_eq!(tracker.finish(2).last().map(|step| step.trus), Some(expected));
    }
}
