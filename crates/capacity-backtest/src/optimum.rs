//! Two bounds that use the future load: dynamic programs over the hours of a series.
//!
//! For each option, the courses that end an hour with it and may still become the best are carried to the
//! next hour, because a course that has spent more may have less work waiting. Memory does not grow with the
//! series. The envelope is computed from the load, because the served actions differ with every course.

use crate::envelope::Envelope;
use crate::model::{Backlog, WAITED_PER_MINUTE};
use crate::policy::limit;
use crate::score::{Score, change_actions};
use crate::settings::{HOUR, Settings, topup};
use crate::trace::{Load, Trace};

/// Minutes from the first throttled minute until a scale-up can be in effect: metrics 3, alert 1, change 2.
const MINUTES_UNTIL_SCALED_UP: i64 = 6;

/// Number of courses kept for each option. With only the cheapest, the reactive optimum of the
/// specification's traces is 3% too high at a delay value of 10; with eight it matches the specification, and
/// more make no difference.
const MOST_COURSES: usize = 32;

/// The knowledge that a course may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knowledge {
    /// The whole future.
    All,
    /// The future, except for scale-ups, which may only respond to observable throttling.
    Reactive,
}

/// One hour of the load.
struct Hour<'a> {
    trace: &'a Trace,
    begin: i64,
    minutes: i64,
    envelope: i64,
    /// Actions in the busiest ten seconds of the hour.
    peak: i64,
    actions: i64,
}

impl Hour<'_> {
    fn load(&self, minute: i64) -> Load {
        let index = usize::try_from(minute).unwrap_or(usize::MAX);
        self.trace.minute(index).unwrap_or(Load { actions: 0, peak: 0 })
    }
}

/// Returns the hours of a trace, in order.
fn hours(trace: &Trace) -> impl Iterator<Item = Hour<'_>> {
    let mut envelope = Envelope::new();
    let length = i64::try_from(trace.len()).unwrap_or(i64::MAX);
    (0..length).step_by(60).map(move |begin| {
        let minutes = HOUR.min(length - begin);
        let mut hour = Hour {
            trace,
            begin,
            minutes,
            envelope: envelope.limit(),
            peak: 0,
            actions: 0,
        };
        for minute in begin..begin + minutes {
            let load = hour.load(minute);
            hour.peak = hour.peak.max(i64::from(load.peak));
            hour.actions += i64::from(load.actions);
            envelope.add(load.actions);
        }
        envelope.update();
        hour
    })
}

/// One course through the load up to some minute.
#[derive(Debug, Clone, Copy)]
struct Path {
    option: u32,
    backlog: Backlog,
    score: Score,
    topup: i64,
    changes: i64,
    waited: i64,
    /// First throttled minute of a burst to which no scale-up has responded; none after a burst to which one
    /// could have responded.
    unanswered: Option<i64>,
}

struct Program<'a> {
    settings: &'a Settings,
    knowledge: Knowledge,
    options: Vec<u32>,
    change: i64,
    warmup: i64,
}

impl<'a> Program<'a> {
    fn new(settings: &'a Settings, knowledge: Knowledge) -> Self {
        let options = std::iter::once(0).chain(settings.ladder.iter().map(|size| size.trus));
        Self {
            settings,
            knowledge,
            options: options.collect(),
            change: change_actions(settings.price),
            warmup: settings.warmup_minutes(),
        }
    }

    fn limit(&self, hour: &Hour<'_>, option: u32) -> i64 {
        limit(&self.settings.ladder, hour.envelope, option)
    }

    fn delay(&self, action_minutes: i128) -> i64 {
        let cost = action_minutes * i128::from(self.settings.parameters.delay_milli) / 1000;
        // Leaves room for adding up.
        i64::try_from(cost).unwrap_or(i64::MAX / 8).min(i64::MAX / 8)
    }

    /// Returns the cost so far.
    fn spent(&self, path: &Path) -> i64 {
        self.with_waiting(path, 0)
    }

    /// Returns the cost so far, plus the cost of the remaining backlog.
    fn cost(&self, hour: &Hour<'_>, path: &Path) -> i64 {
        self.with_waiting(path, path.backlog.tail(self.limit(hour, path.option)))
    }

    fn with_waiting(&self, path: &Path, tail: i64) -> i64 {
        let waited = i128::from(path.waited / WAITED_PER_MINUTE) + i128::from(tail);
        path.topup + path.changes * self.change + self.delay(waited)
    }

    fn changed(&self, path: &Path, option: u32, minute: i64) -> Path {
        let mut changed = *path;
        if option != path.option {
            changed.option = option;
            changed.changes += 1;
            changed.unanswered = None;
            if minute >= self.warmup {
                changed.score.changes += 1;
            }
        }
        changed
    }

    /// Simulates minutes of an hour at the path's option. If `stop` is set, ends before the first minute in
    /// which a scale-up could respond to a burst. Returns the minute after the last simulated one.
    fn live(&self, hour: &Hour<'_>, path: &mut Path, from: i64, stop: bool) -> i64 {
        let end = hour.begin + hour.minutes;
        let limit = self.limit(hour, path.option);
        let counted = from >= self.warmup;
        // The busiest ten seconds fit, so everything in the hour is served at once.
        if from == hour.begin && path.backlog.queue == 0 && hour.peak <= limit / 6 {
            if counted {
                path.score.add_quiet(hour.minutes, hour.actions);
            }
            path.unanswered = None;
            return end;
        }
        for minute in from..end {
            if stop
                && minute > from
                && path
                    .unanswered
                    .is_some_and(|first| minute == first + MINUTES_UNTIL_SCALED_UP)
            {
                return minute;
            }
            let lived = path.backlog.minute(hour.load(minute), limit);
            path.waited += lived.waited;
            let over = lived.throttled == 0 && path.backlog.queue == 0;
            if over
                && path
                    .unanswered
                    .is_some_and(|first| minute >= first + MINUTES_UNTIL_SCALED_UP)
            {
                path.unanswered = None;
            }
            if lived.throttled > 0 {
                path.unanswered = path.unanswered.or(Some(minute));
            }
            if counted {
                path.score.add(&lived);
            }
        }
        end
    }

    fn bill(&self, hour: &Hour<'_>, path: &mut Path, served_before: i64, highest: u32) {
        // No work is lost: what waited before and what arrived was served, except for what still waits.
        let served = served_before + hour.actions - path.backlog.queue;
        let billed = topup(highest, served.max(0));
        path.topup += billed;
        if hour.begin >= self.warmup {
            path.score.topup_actions += billed;
        }
    }

    fn start() -> Path {
        Path {
            option: 0,
            backlog: Backlog::default(),
            score: Score::default(),
            topup: 0,
            changes: 0,
            waited: 0,
            unanswered: None,
        }
    }

    fn best(&self, hour: &Hour<'_>, paths: Vec<Path>) -> Option<Path> {
        paths.into_iter().min_by_key(|path| self.cost(hour, path))
    }

    /// Returns, among courses with the same option, those that no other course beats in everything that matters from now on.
    fn promising(&self, hour: &Hour<'_>, paths: impl Iterator<Item = Path>) -> Vec<Path> {
        let mut paths: Vec<Path> = paths.collect();
        paths.sort_by_cached_key(|path| (self.spent(path), path.backlog.queue, path.answerable_since()));
        let mut kept: Vec<Path> = Vec::new();
        for path in paths {
            // Paths come in the order of what they have spent, so all that are kept by now have spent no
            // more.
            let beaten = kept.iter().any(|cheaper| {
                cheaper.backlog.queue <= path.backlog.queue
                    && cheaper.answerable_since() <= path.answerable_since()
            });
            if !beaten {
                kept.push(path);
            }
        }
        if kept.len() > MOST_COURSES {
            kept.sort_by_cached_key(|path| self.cost(hour, path));
            kept.truncate(MOST_COURSES);
        }
        kept
    }
}

/// Returns the best course with one option per hour and full knowledge.
pub(crate) fn oracle(trace: &Trace, settings: &Settings) -> Score {
    Program::new(settings, Knowledge::All).score(trace)
}

/// Returns the best course whose scale-ups respond only to observable throttling; releases and holds use hindsight.
pub(crate) fn reactive(trace: &Trace, settings: &Settings) -> Score {
    Program::new(settings, Knowledge::Reactive).score(trace)
}

impl Path {
    /// Returns the first minute of a burst to which a scale-up may respond.
    fn answerable_since(&self) -> i64 {
        self.unanswered.unwrap_or(i64::MAX)
    }
}

impl Program<'_> {
    fn score(&self, trace: &Trace) -> Score {
        let mut paths = vec![Self::start()];
        let mut last = None;
        for hour in hours(trace) {
            let mut ended = Vec::new();
            for option in &self.options {
                let entries = paths.iter().filter(|path| self.may_enter(&hour, path, *option));
                let entries = entries.map(|path| self.changed(path, *option, hour.begin));
                for path in self.promising(&hour, entries) {
                    self.branches(&hour, path, &mut ended);
                }
            }
            let of = |option: u32| ended.iter().filter(move |path| path.option == option).copied();
            paths = self
                .options
                .iter()
                .flat_map(|option| self.promising(&hour, of(*option)))
                .collect();
            last = Some(hour);
        }
        last.and_then(|hour| self.best(&hour, paths))
            .map_or_else(Score::default, |mut path| {
                path.score.waiting = path.backlog.queue;
                path.score
            })
    }

    /// Returns whether a course may begin an hour with an option: the same, a smaller one, or a larger one that
    /// responds to throttling.
    fn may_enter(&self, hour: &Hour<'_>, path: &Path, option: u32) -> bool {
        let larger = self.limit(hour, option) > self.limit(hour, path.option);
        let seen = path
            .unanswered
            .is_some_and(|first| first + MINUTES_UNTIL_SCALED_UP <= hour.begin);
        !larger || seen || self.knowledge == Knowledge::All
    }

    /// Simulates an hour without a scale-up and, unless the whole future is known at its start, with each
    /// scale-up that responds to a burst.
    fn branches(&self, hour: &Hour<'_>, entry: Path, ended: &mut Vec<Path>) {
        let (waiting, entered) = (entry.backlog.queue, entry.option);
        let answers = self.knowledge == Knowledge::Reactive;
        let mut path = entry;
        let mut minute = self.live(hour, &mut path, hour.begin, answers);
        while minute < hour.begin + hour.minutes {
            for option in &self.options {
                if self.limit(hour, *option) > self.limit(hour, entered) {
                    let mut scaled = self.changed(&path, *option, minute);
                    self.live(hour, &mut scaled, minute, false);
                    self.bill(hour, &mut scaled, waiting, entered.max(*option));
                    ended.push(scaled);
                }
            }
            minute = self.live(hour, &mut path, minute, answers);
        }
        self.bill(hour, &mut path, waiting, entered);
        // It makes no difference with full knowledge; courses that differ only in it are the same.
        if self.knowledge == Knowledge::All {
            path.unanswered = None;
        }
        ended.push(path);
    }
}
