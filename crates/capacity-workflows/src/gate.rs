//! The gate: how many changes may be in progress before one is known to have changed only the capacity.
//!
//! While the gate is closed, changes start one at a time. A *verdict* opens it: a reading of a namespace
//! after the POST whose spec shows the posted capacity and otherwise equals the digests taken before. Pure;
//! times are milliseconds since 1970 of the workflow's clock.

use serde::{Deserialize, Serialize};

/// Time for which a verdict keeps the gate open.
const OPEN_FOR_MS: u64 = 60 * 60 * 1_000;
/// Time that a scale-up waits behind a change without a verdict.
const SCALE_UP_BEHIND_MS: u64 = 30 * 1_000;
/// Time that a scale-down waits behind a change without a verdict.
const SCALE_DOWN_BEHIND_MS: u64 = 2 * 60 * 1_000;
/// Maximum number of posted changes without a verdict.
const MOST_WITHOUT_VERDICT: usize = 3;
/// Maximum number of scale-downs among them.
const MOST_SCALE_DOWNS_WITHOUT_VERDICT: usize = 2;

/// The gate, as the controller carries it from run to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Gate {
    /// Time of the last verdict; `None` if the gate is closed for a reason other than age.
    pub verdict_ms: Option<u64>,
    /// Scale-ups that posted and ended without a verdict since the gate closed.
    pub scale_ups_without_verdict: usize,
    /// Scale-downs that posted and ended without a verdict since the gate closed.
    pub scale_downs_without_verdict: usize,
    /// Start time of the last of these changes.
    pub last_without_verdict_ms: Option<u64>,
    /// Builds (version and commit) whose changes had a verdict.
    pub verified_builds: Vec<String>,
}

/// A change that has started and has no verdict yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unverified {
    /// Whether it scales up.
    pub scales_up: bool,
    /// Start time of the change.
    pub started_ms: u64,
}

/// Whether a change may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Passage {
    /// Now.
    Now,
    /// Not before this time (milliseconds since 1970), unless a verdict comes first.
    At(u64),
    /// Not until there is a verdict, or a person resumes changes.
    Blocked,
}

impl Gate {
    /// Returns whether changes may run at the same time.
    pub fn is_open(&self, now_ms: u64) -> bool {
        self.verdict_ms
            .is_some_and(|verdict| now_ms.saturating_sub(verdict) < OPEN_FOR_MS)
    }

    /// Closes the gate: the next change is a canary.
    pub fn close(&mut self) {
        self.verdict_ms = None;
    }

    /// Closes the gate and forgets the posted changes without a verdict, because a person has checked them.
    pub fn reset(&mut self) {
        *self = Self {
            // What a build does to a spec does not change, so it stays proven.
            verified_builds: std::mem::take(&mut self.verified_builds),
            ..Self::default()
        };
    }

    /// Records a verdict on a change that a build posted.
    pub fn verdict(&mut self, now_ms: u64, build: &str) {
        self.reset();
        self.verdict_ms = Some(now_ms);
        if !build.is_empty() && !self.verified_builds.iter().any(|known| known == build) {
            self.verified_builds.push(build.to_owned());
            // A fleet runs few builds at a time; the oldest ones are dropped.
            if self.verified_builds.len() > 8 {
                self.verified_builds.remove(0);
            }
        }
    }

    /// Records the end of a change that was posted and had no verdict.
    pub fn ended_without_verdict(&mut self, change: Unverified) {
        self.close();
        if change.scales_up {
            self.scale_ups_without_verdict += 1;
        } else {
            self.scale_downs_without_verdict += 1;
        }
        self.last_without_verdict_ms = self.last_without_verdict_ms.max(Some(change.started_ms));
    }

    /// Returns whether another change may start as a canary while changes in progress have no verdict.
    pub fn canary(&self, scales_up: bool, under_way: &[Unverified], now_ms: u64) -> Passage {
        let downs = under_way.iter().filter(|change| !change.scales_up).count();
        let downs = downs + self.scale_downs_without_verdict;
        let ended = self.scale_ups_without_verdict + self.scale_downs_without_verdict;
        let without_verdict = under_way.len() + ended;
        if without_verdict == 0 {
            return Passage::Now;
        }
        if without_verdict >= MOST_WITHOUT_VERDICT
            || (!scales_up && downs >= MOST_SCALE_DOWNS_WITHOUT_VERDICT)
        {
            return Passage::Blocked;
        }
        let started = under_way.iter().map(|change| change.started_ms);
        let last = started
            .chain(self.last_without_verdict_ms)
            .max()
            .unwrap_or(now_ms);
        let behind = if scales_up {
            SCALE_UP_BEHIND_MS
        } else {
            SCALE_DOWN_BEHIND_MS
        };
        match last.saturating_add(behind) {
            at if at <= now_ms => Passage::Now,
            at => Passage::At(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: Unverified = Unverified {
        scales_up: true,
        started_ms: 1_000,
    };
    const DOWN: Unverified = Unverified {
        scales_up: false,
        started_ms: 1_000,
    };

    #[test]
    fn only_a_verdict_opens_the_gate_and_only_for_an_hour() {
        let mut gate = Gate::default();
        assert!(!gate.is_open(0));
        gate.verdict(5_000, "v1");
        assert!(gate.is_open(5_000 + OPEN_FOR_MS - 1) && !gate.is_open(5_000 + OPEN_FOR_MS));
        gate.ended_without_verdict(DOWN);
        assert!(!gate.is_open(6_000));
        assert_eq!(gate.verified_builds, ["v1"]);
    }

    #[test]
    fn the_first_canary_passes_and_the_next_waits_thirty_seconds_or_two_minutes() {
        let gate = Gate::default();
        assert_eq!(gate.canary(false, &[], 1_000), Passage::Now);
        assert_eq!(gate.canary(true, &[DOWN], 1_000), Passage::At(31_000));
        assert_eq!(gate.canary(true, &[DOWN], 31_000), Passage::Now);
        assert_eq!(gate.canary(false, &[DOWN], 31_000), Passage::At(121_000));
    }

    #[test]
    fn never_more_than_three_without_a_verdict_and_two_of_them_scale_downs() {
        let mut gate = Gate::default();
        let late = 10_000_000;
        assert_eq!(gate.canary(false, &[DOWN, DOWN], late), Passage::Blocked);
        assert_eq!(gate.canary(true, &[DOWN, DOWN], late), Passage::Now);
        assert_eq!(gate.canary(true, &[DOWN, DOWN, UP], late), Passage::Blocked);
        // Changes that ended without a verdict count as well, until there is a verdict or someone resumes.
        gate.ended_without_verdict(DOWN);
        gate.ended_without_verdict(DOWN);
        assert_eq!(gate.canary(false, &[], late), Passage::Blocked);
        gate.ended_without_verdict(UP);
        assert_eq!(gate.canary(true, &[], late), Passage::Blocked);
        gate.reset();
        assert_eq!(gate.canary(true, &[], late), Passage::Now);
    }
}
