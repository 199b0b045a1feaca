//! When the parts of an evaluation and the steps of a change ran.

use std::time::SystemTime;

use crate::clock::machine_time;

/// A part of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Part {
    /// Listing the namespaces of the account.
    List,
    /// Reading what the first pass of the rule needs: metrics, or minutes of the ledger.
    Metrics,
    /// Reading what depends on the first pass: details of candidates, changes by others, moving replicas.
    Details,
    /// Reading the capacity info of candidates.
    CapacityInfo,
    /// Deciding on every namespace.
    Decide,
}

/// When a part of an evaluation ran. Parts may overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// Which part of the evaluation.
    pub part: Part,
    /// When the part began.
    pub from: SystemTime,
    /// When the part ended.
    pub until: SystemTime,
    /// Number of namespaces that the part handled.
    pub namespaces: usize,
    /// The error, if the part failed. The evaluation continues without its results.
    pub error: Option<String>,
}

/// A part that is running.
#[derive(Debug)]
pub(crate) struct Running(Part, SystemTime);

impl Running {
    pub(crate) fn begin(part: Part) -> Self {
        Self(part, machine_time())
    }

    pub(crate) fn end(self, namespaces: usize, error: Option<String>) -> Timing {
        let Self(part, from) = self;
        Timing {
            part,
            from,
            until: machine_time(),
            namespaces,
            error,
        }
    }
}

/// When a change ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeTiming {
    /// When the change began.
    pub from: SystemTime,
    /// When the change ended.
    pub until: SystemTime,
    /// Its steps, in order.
    pub steps: Vec<StepTiming>,
}

/// When a step of a change ran, including the waits between its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepTiming {
    /// `request`, `read back`, `wait` or `verify`.
    pub step: &'static str,
    /// When the step began.
    pub from: SystemTime,
    /// When the step ended.
    pub until: SystemTime,
}

/// The steps of a running change.
#[derive(Debug)]
pub(crate) struct Steps {
    from: SystemTime,
    steps: Vec<StepTiming>,
}

impl Steps {
    pub(crate) fn begin() -> Self {
        Self {
            from: machine_time(),
            steps: Vec::new(),
        }
    }

    /// Records that this step is running now; a new name begins a new step.
    pub(crate) fn now(&mut self, step: &'static str) {
        let now = machine_time();
        if let Some(last) = self.steps.last_mut() {
            last.until = now;
        }
        if self.steps.last().is_none_or(|last| last.step != step) {
            self.steps.push(StepTiming {
                step,
                from: now,
                until: now,
            });
        }
    }

    pub(crate) fn end(mut self) -> ChangeTiming {
        let until = machine_time();
        if let Some(last) = self.steps.last_mut() {
            last.until = until;
        }
        ChangeTiming {
            from: self.from,
            until,
            steps: self.steps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_steps_are_one_and_follow_each_other() {
        let mut steps = Steps::begin();
        for step in ["request", "wait", "wait", "wait", "verify"] {
            steps.now(step);
        }
        let timing = steps.end();
        let names: Vec<&str> = timing.steps.iter().map(|it| it.step).collect();
        assert_eq!(names, ["request", "wait", "verify"]);
        for pair in timing.steps.windows(2) {
            assert_eq!(pair[0].until, pair[1].from);
        }
        assert_eq!(timing.steps[2].until, timing.until);
    }
}
