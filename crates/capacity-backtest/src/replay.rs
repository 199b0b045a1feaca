//! One policy lives through a load: evaluations, changes that take two minutes, the bill of each hour.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use capacity_engine::PricePerMillion;
use capacity_engine::break_even::{MinuteActions, Parameters, Size, WINDOW_MINUTES, Window};

use crate::baselines::{Fixed, OneStep, TargetUtilization, Threshold};
use crate::envelope::Envelope;
use crate::model::Backlog;
use crate::optimum;
use crate::policy::{BacktestPolicy, BreakEven, View, limit};
use crate::score::Score;
use crate::trace::Trace;

/// Minutes that the newest sample is behind.
const METRICS_LAG: usize = 3;

/// Minutes from a sample to the evaluation that its alert starts: the lag, and one for the alert.
const ALERT_LAG: usize = METRICS_LAG + 1;

/// Minutes between the evaluations that alerts start.
const ALERT_PAUSE: i64 = 3;

/// Share of the limit that starts an evaluation, in percent.
const ALERT_PERCENT: i64 = 80;

/// Minutes until a change takes effect.
pub(crate) const MINUTES_UNTIL_EFFECT: i64 = 2;

/// Minutes of an hour.
pub(crate) const HOUR: i64 = 60;

/// When evaluations run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cadence {
    /// At minutes 55 and 0, and when a fresh sample shows throttling or much use.
    HourEndAndAlerts,
    /// Every five minutes, and when a fresh sample shows throttling or much use.
    FiveMinutesAndAlerts,
    /// At minutes 55 and 0 only.
    HourEnd,
    /// At minute 0 only.
    FullHour,
}

impl Cadence {
    fn is_due(self, minute: i64) -> bool {
        match self {
            Self::HourEndAndAlerts | Self::HourEnd => matches!(minute % HOUR, 0 | 55),
            Self::FullHour => minute % HOUR == 0,
            Self::FiveMinutesAndAlerts => minute % 5 == 0,
        }
    }

    fn alerts(self) -> bool {
        matches!(self, Self::HourEndAndAlerts | Self::FiveMinutesAndAlerts)
    }
}

/// A name that stands for nothing here; the text lists what does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {kind} `{name}`; choose from {choices}")]
pub struct UnknownName {
    kind: &'static str,
    name: String,
    choices: String,
}

impl FromStr for Cadence {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "55+alerts" => Ok(Self::HourEndAndAlerts),
            "5min+alerts" => Ok(Self::FiveMinutesAndAlerts),
            "hourly" => Ok(Self::HourEnd),
            "full-hour" => Ok(Self::FullHour),
            _ => Err(UnknownName {
                kind: "cadence",
                name: name.to_owned(),
                choices: "55+alerts, 5min+alerts, hourly, full-hour".to_owned(),
            }),
        }
    }
}

/// What is compared. The names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Contender {
    /// No provisioned capacity at all.
    OnDemand,
    /// The size that carries the highest ten seconds, for all time.
    StaticPeak,
    /// The `threshold` policy at every full hour.
    Threshold,
    /// A utilization of 70 %, every five minutes.
    TargetUtilization,
    /// One step at 70 % with cooldowns, every five minutes.
    OneStep,
    /// The `break-even` policy.
    BreakEven,
    /// One option per hour with full knowledge of the future.
    Oracle,
    /// Scale-ups only after throttling was seen; releases and holds with hindsight.
    ReactiveOptimum,
}

impl Contender {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 8] = [
        Self::OnDemand,
        Self::StaticPeak,
        Self::Threshold,
        Self::TargetUtilization,
        Self::OneStep,
        Self::BreakEven,
        Self::Oracle,
        Self::ReactiveOptimum,
    ];

    /// Returns the stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::StaticPeak => "static-peak",
            Self::Threshold => "threshold",
            Self::TargetUtilization => "target-utilization",
            Self::OneStep => "one-step",
            Self::BreakEven => "break-even",
            Self::Oracle => "oracle",
            Self::ReactiveOptimum => "reactive-optimum",
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a backtest runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// When `break-even` is evaluated.
    pub cadence: Cadence,
    /// Parameters of `break-even`; its delay value also prices the waiting of every policy for the optima.
    pub parameters: Parameters,
    /// Sizes that may be chosen, smallest first.
    pub ladder: Vec<Size>,
    /// Days that fill envelope and history before results count.
    pub warmup_days: usize,
    /// What a million actions cost: the optima weigh a change (one dollar) with it.
    pub price: PricePerMillion,
}

impl Settings {
    /// Returns the usual settings for a trace, on the documented ladder.
    pub fn for_trace(trace: &Trace) -> Self {
        Self {
            cadence: Cadence::HourEndAndAlerts,
            parameters: Parameters::default(),
            ladder: [2, 3, 4, 6, 8, 10, 12].map(Size::documented).to_vec(),
            warmup_days: trace.usual_warmup_days(),
            price: PricePerMillion::FIRST_TIER,
        }
    }

    pub(crate) fn warmup_minutes(&self) -> i64 {
        i64::try_from(self.warmup_days).unwrap_or(0) * 24 * HOUR
    }
}

/// One decision that changed the capacity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRecord {
    /// Minute of the series at which it was made.
    pub minute: i64,
    /// TRUs before; 0 is on-demand.
    pub from: u32,
    /// TRUs requested.
    pub to: u32,
    /// Why, in one sentence.
    pub reason: String,
}

/// The course of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Course {
    /// For each minute: actions served.
    pub served: Vec<u32>,
    /// For each minute: attempts that were throttled.
    pub throttled: Vec<u32>,
    /// For each minute: the limit in actions per minute.
    pub limits: Vec<u32>,
    /// For each minute: TRUs in force.
    pub trus: Vec<u16>,
    /// Decisions that changed the capacity.
    pub decisions: Vec<DecisionRecord>,
}

/// Replays a trace through one contender.
pub fn run(trace: &Trace, contender: Contender, settings: &Settings) -> Score {
    replayed(trace, contender, settings, None)
}

/// Replays a trace and also returns the course; empty for the two optima, which are bounds and not policies.
pub fn run_recorded(trace: &Trace, contender: Contender, settings: &Settings) -> (Score, Course) {
    let mut course = Course::default();
    let score = replayed(trace, contender, settings, Some(&mut course));
    (score, course)
}

/// Replays a trace through a policy of the caller.
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

/// The smallest size that carries the busiest ten seconds; the largest if none does.
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
            samples: std::iter::repeat_n(None, WINDOW_MINUTES + METRICS_LAG - 1).collect(),
            alert: false,
            evaluated: -1000,
            score: Score::default(),
        }
    }

    fn run(mut self, trace: &Trace, policy: &mut dyn BacktestPolicy) -> Score {
        for (t, load) in (0_i64..).zip(trace.minutes()) {
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
        self.score
    }

    fn take_effect(&mut self, t: i64) {
        while let Some((effect, option)) = self.pending.front().copied()
            && effect <= t
        {
            self.pending.pop_front();
            self.current = option;
            // At a full hour the change belongs to the hour that begins.
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

    /// Looks at the sample whose alert could start an evaluation at the next minute.
    fn note_alert(&mut self, limit: i64) {
        let seen = self.samples.len() - ALERT_LAG;
        let alerting = self.samples[seen]
            .is_some_and(|sample| sample.throttled > 0 || sample.served * 100 >= limit * ALERT_PERCENT);
        self.alert |= alerting;
    }
}

/// Actions billed in addition to those used, in an hour whose highest option had this many TRUs.
pub(crate) fn topup(trus: u32, used: i64) -> i64 {
    (360_000 * i64::from(trus.saturating_sub(1)) - used).max(0)
}
