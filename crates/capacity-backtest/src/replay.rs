//! Replays a load through one policy: evaluations, changes that take two minutes, the bill of each hour.

use std::collections::VecDeque;

use capacity_engine::break_even::{MinuteActions, Size, WINDOW_MINUTES, Window};

use crate::baselines::{Fixed, OneStep, TargetUtilization, Threshold};
use crate::envelope::Envelope;
use crate::model::Backlog;
use crate::optimum;
use crate::policy::{BacktestPolicy, BreakEven, View, limit};
use crate::score::Score;
use crate::settings::{Cadence, Contender, HOUR, Settings, topup};
use crate::trace::Trace;

/// Number of minutes that the newest sample lags.
const METRICS_LAG: usize = 3;

/// Minutes from a sample to the evaluation that its alert triggers: the lag, and one for the alert.
const ALERT_LAG: usize = METRICS_LAG + 1;

/// Minimum minutes between evaluations triggered by alerts.
const ALERT_PAUSE: i64 = 3;

/// Percentage of the limit that triggers an evaluation.
const ALERT_PERCENT: i64 = 80;

/// Minutes until a change takes effect.
pub(crate) const MINUTES_UNTIL_EFFECT: i64 = 2;

/// A decision that changed the capacity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRecord {
    /// Minute of the series.
    pub minute: i64,
    /// TRUs before; 0 is on-demand.
    pub from: u32,
    /// TRUs requested.
    pub to: u32,
    /// The reason, in one sentence.
    pub reason: String,
}

/// The course of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Course {
    /// Actions served, for each minute.
    pub served: Vec<u32>,
    /// Attempts that were throttled, for each minute.
    pub throttled: Vec<u32>,
    /// Limit in actions per minute, for each minute.
    pub limits: Vec<u32>,
    /// TRUs in effect, for each minute.
    pub trus: Vec<u16>,
    /// Decisions that changed the capacity.
    pub decisions: Vec<DecisionRecord>,
}

/// Replays a trace through one contender.
pub fn run(trace: &Trace, contender: Contender, settings: &Settings) -> Score {
    replayed(trace, contender, settings, None)
}

/// Replays a trace and also returns its course, which is empty for the two optima, because they are bounds
/// and not policies.
pub fn run_recorded(trace: &Trace, contender: Contender, settings: &Settings) -> (Score, Course) {
    let mut course = Course::default();
    let score = replayed(trace, contender, settings, Some(&mut course));
    (score, course)
}

/// Replays a trace through the caller's policy.
pub fn run_policy(trace: &Trace, policy: &mut dyn BacktestPolicy, settings: &Settings) -> (Score, Course) {
    let mut course = Course::default();
    let score = Replay::new(settings, settings.cadence, 0, Some(&mut course)).run(trace, policy);
    (score, course)
}

fn replayed(trace: &Trace, contender: Contender, settings: &Settings, course: Option<&mut Course>) -> Score {
    let simple = |policy: &mut dyn BacktestPolicy, cadence, start| {
        Replay::new(settings, cadence, start, course).run(trace, policy)
    };
    match contender {
        Contender::OnDemand => simple(&mut Fixed, Cadence::HourEnd, 0),
        Contender::StaticPeak => simple(&mut Fixed, Cadence::HourEnd, peak_size(trace, &settings.ladder)),
        Contender::Threshold => simple(&mut Threshold, Cadence::FullHour, 0),
        Contender::TargetUtilization => simple(
            &mut TargetUtilization::default(),
            Cadence::FiveMinutesAndAlerts,
            0,
        ),
        Contender::OneStep => simple(&mut OneStep::default(), Cadence::FiveMinutesAndAlerts, 0),
        Contender::BreakEven => simple(
            &mut BreakEven::new(settings.parameters.clone()).with_price(settings.price),
            settings.cadence,
            0,
        ),
        Contender::Oracle => optimum::oracle(trace, settings),
        Contender::ReactiveOptimum => optimum::reactive(trace, settings),
    }
}

/// Returns the smallest size that carries the busiest ten seconds; the largest if none does.
fn peak_size(trace: &Trace, ladder: &[Size]) -> u32 {
    let peak = trace.peak();
    let carries = ladder.iter().find(|size| size.limit >= peak);
    carries.or(ladder.last()).map_or(0, |size| size.trus)
}

struct Replay<'a> {
    settings: &'a Settings,
    cadence: Cadence,
    course: Option<&'a mut Course>,
    envelope: Envelope,
    backlog: Backlog,
    current: u32,
    pending: VecDeque<(i64, u32)>,
    top: u32,
    served_in_hour: i64,
    samples: VecDeque<Option<MinuteActions>>,
    alert: bool,
    evaluated: i64,
    score: Score,
}

impl<'a> Replay<'a> {
    fn new(settings: &'a Settings, cadence: Cadence, start: u32, course: Option<&'a mut Course>) -> Self {
        Self {
            settings,
            cadence,
            course,
            envelope: Envelope::new(),
            backlog: Backlog::default(),
            current: start,
            pending: VecDeque::new(),
            top: start,
            served_in_hour: 0,
            // Two more than a window. A policy sees the oldest 60, and the newest of those is three minutes
            // old.
            samples: std::iter::repeat_n(None, WINDOW_MINUTES + METRICS_LAG - 1).collect(),
            alert: false,
            // Before any minute, so that the first alert is not held back.
            evaluated: -1000,
            score: Score::default(),
        }
    }

    fn run(mut self, trace: &Trace, policy: &mut dyn BacktestPolicy) -> Score {
        for (t, load) in (0_i64..).zip(trace.minutes()) {
            // In this order: a change is in effect before its minute is served, and a policy decides before
            // it could see that minute.
            self.take_effect(t);
            if t % HOUR == 0 && t > 0 {
                self.close_hour(t);
            }
            if self.is_due(t) {
                self.evaluate(t, policy);
            }
            let limit = limit(&self.settings.ladder, self.envelope.limit(), self.current);
            let minute = self
                .backlog
                // An unknown minute has no demand here, and no sample either: policies see a gap.
                .minute(load.unwrap_or(crate::trace::Load { actions: 0, peak: 0 }), limit);
            self.served_in_hour += minute.served;
            self.envelope
                .add(u32::try_from(minute.served).unwrap_or(u32::MAX));
            if t >= self.settings.warmup_minutes() {
                self.score.add(&minute);
            }
            let sample = load.map(|_| MinuteActions {
                served: minute.served,
                throttled: minute.throttled,
            });
            self.record(&minute, limit);
            self.samples.pop_front();
            self.samples.push_back(sample);
            self.note_alert(limit);
        }
        let minutes = i64::try_from(trace.len()).unwrap_or(i64::MAX);
        self.bill(minutes);
        self.score.waiting = self.backlog.queue;
        self.score
    }

    fn take_effect(&mut self, t: i64) {
        while let Some((effect, option)) = self.pending.front().copied()
            && effect <= t
        {
            self.pending.pop_front();
            self.current = option;
            // At a full hour, the change belongs to the hour that begins.
            if t % HOUR != 0 {
                self.top = self.top.max(option);
            }
        }
    }

    fn close_hour(&mut self, t: i64) {
        self.bill(t);
        self.top = self.current;
        self.served_in_hour = 0;
        self.envelope.update();
    }

    /// Bills the hour that ends at a minute.
    fn bill(&mut self, end: i64) {
        if end > self.settings.warmup_minutes() {
            self.score.topup_actions += topup(self.top, self.served_in_hour);
        }
    }

    fn is_due(&mut self, t: i64) -> bool {
        if self.cadence.is_due(t) {
            return true;
        }
        self.cadence.alerts() && self.alert && t - self.evaluated >= ALERT_PAUSE
    }

    fn evaluate(&mut self, t: i64, policy: &mut dyn BacktestPolicy) {
        self.evaluated = t;
        self.alert = false;
        let newest = t - i64::try_from(METRICS_LAG).unwrap_or(0);
        let mut window: Window = [None; WINDOW_MINUTES];
        for (slot, sample) in window.iter_mut().zip(&self.samples) {
            *slot = *sample;
        }
        // As in the product, a policy sees the option that is being provisioned.
        let current = self.pending.back().map_or(self.current, |(_, option)| *option);
        let view = View {
            now: t,
            newest,
            current,
            envelope: self.envelope.limit(),
            ladder: &self.settings.ladder,
            window: &window,
        };
        let decided = policy.decide(&view, self.course.is_some());
        if decided.option == current {
            return;
        }
        self.pending.push_back((t + MINUTES_UNTIL_EFFECT, decided.option));
        if t >= self.settings.warmup_minutes() {
            self.score.changes += 1;
        }
        if let Some(course) = self.course.as_deref_mut() {
            course.decisions.push(DecisionRecord {
                minute: t,
                from: current,
                to: decided.option,
                reason: decided.reason,
            });
        }
    }

    fn record(&mut self, minute: &crate::model::Minute, limit: i64) {
        let Some(course) = self.course.as_deref_mut() else {
            return;
        };
        let count = |actions: i64| u32::try_from(actions).unwrap_or(u32::MAX);
        course.served.push(count(minute.served));
        course.throttled.push(count(minute.throttled));
        course.limits.push(count(limit));
        course.trus.push(u16::try_from(self.current).unwrap_or(u16::MAX));
    }

    /// Checks whether the sample's alert triggers an evaluation in the next minute.
    fn note_alert(&mut self, limit: i64) {
        let seen = self.samples.len() - ALERT_LAG;
        let alerting = self.samples[seen]
            .is_some_and(|sample| sample.throttled > 0 || sample.served * 100 >= limit * ALERT_PERCENT);
        self.alert |= alerting;
    }
}
