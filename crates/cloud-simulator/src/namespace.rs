//! One namespace: its capacity, its load, and what it serves.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde_json::Value;

use crate::account::NamespaceSetup;
use crate::billing::HourBill;
use crate::load::Demand;

/// Number of limits. All arrays here are in the order actions, requests, operations.
pub(crate) const KINDS: usize = 3;

/// Limits per TRU (Temporal's documentation, capacity modes page, June 2026).
const PER_TRU: [f64; KINDS] = [500.0, 1_500.0, 4_000.0];

/// Minimum on-demand limits (500 as published; the others as last published in December 2025).
const FLOOR: [f64; KINDS] = [500.0, 2_000.0, 4_000.0];

/// Minutes that count for the on-demand envelope: seven days.
const WEEK_MINUTES: usize = 7 * 24 * 60;

/// Number of ten-second steps in a minute.
const STEPS: u8 = 6;

/// Minimum number of minutes to keep: those of the hour that the Prometheus API shows, plus the maximum
/// delay.
const KEPT_MINUTES: usize = 80;

/// One minute, with rates per second.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Minute {
    /// Minutes since 1970.
    pub(crate) at: i64,
    pub(crate) served: [f64; KINDS],
    pub(crate) throttled: [f64; KINDS],
    pub(crate) limits: [f64; KINDS],
    pub(crate) envelopes: [f64; KINDS],
    pub(crate) trus: u32,
}

/// Status of the latest capacity request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestState {
    InProgress,
    Completed,
    Failed,
}

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) state: RequestState,
    pub(crate) started: Timestamp,
    pub(crate) ended: Option<Timestamp>,
    pub(crate) operation: String,
    pub(crate) wanted: u32,
}

#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) id: String,
    pub(crate) setup: NamespaceSetup,
    pub(crate) seed: u64,
    pub(crate) spec: Value,
    pub(crate) version: u64,
    pub(crate) modified: Option<Timestamp>,
    /// Id of the running operation.
    pub(crate) running: Option<String>,
    /// TRUs in effect; 0 means on-demand.
    pub(crate) trus: u32,
    pub(crate) request: Option<Request>,
    /// Whether its capacity was ever set. The service does not report it before that.
    pub(crate) ever_set: bool,
    pub(crate) minutes: VecDeque<Minute>,
    /// Number of minutes to keep.
    kept_minutes: usize,
    /// Actions waiting.
    waiting: f64,
    /// Total minutes that actions have waited.
    pub(crate) action_minutes: f64,
    /// Actions per second in the last seven days, newest last.
    week: VecDeque<f32>,
    /// On-demand limits, updated every full hour.
    envelopes: [f64; KINDS],
    pub(crate) bills: BTreeMap<i64, HourBill>,
}

impl Namespace {
    pub(crate) fn new(account: &str, setup: NamespaceSetup, seed: u64, past_minutes: u16) -> Self {
        let trus = setup.trus;
        let mut namespace = Self {
            id: format!("{}.{account}", setup.name),
            spec: crate::account::spec_of(&setup),
            ever_set: trus > 0,
            setup,
            seed,
            version: 1,
            modified: None,
            running: None,
            trus,
            request: None,
            minutes: VecDeque::new(),
            kept_minutes: KEPT_MINUTES.max(past_minutes.into()),
            waiting: 0.0,
            action_minutes: 0.0,
            week: VecDeque::new(),
            envelopes: [0.0; KINDS],
            bills: BTreeMap::new(),
        };
        namespace.renew_envelopes();
        namespace
    }

    /// Returns the on-demand limits of this hour.
    pub(crate) fn envelopes(&self) -> [f64; KINDS] {
        self.envelopes
    }

    /// Updates the on-demand limits: max(floor, min(4 x mean, 2 x p90)) over the last seven days. Minutes
    /// before the simulation count as typical load. If that is unknown, only simulated minutes count.
    fn renew_envelopes(&mut self) {
        let usual = self.setup.usual_actions();
        let before = usual.map_or(0, |_| WEEK_MINUTES.saturating_sub(self.week.len()));
        let usual = usual.unwrap_or(0.0);
        let minutes = self.week.len() + before;
        #[expect(clippy::cast_precision_loss, reason = "at most the minutes of seven days")]
        let mean = {
            let lived: f64 = self.week.iter().map(|rate| f64::from(*rate)).sum();
            (lived + usual * before as f64) / minutes.max(1) as f64
        };
        // The percentile can only lower the result, so it is not needed if the mean alone is below the floor.
        let is_more_than_the_floor = (0..KINDS).any(|kind| 4.0 * mean * self.setup.ratio(kind) > FLOOR[kind]);
        let actions = if is_more_than_the_floor {
            let lived = self.week.iter().map(|rate| f64::from(*rate));
            let mut all: Vec<f64> = lived.chain(std::iter::repeat_n(usual, before)).collect();
            let rank = minutes * 9 / 10;
            let (_, p90, _) = all.select_nth_unstable_by(rank, f64::total_cmp);
            (4.0 * mean).min(2.0 * *p90)
        } else {
            0.0
        };
        self.envelopes = std::array::from_fn(|kind| {
            let by_usage = (actions * self.setup.ratio(kind)).max(FLOOR[kind]).round();
            by_usage.max(self.setup.support_limit(kind))
        });
    }

    pub(crate) fn limits(&self) -> [f64; KINDS] {
        match self.trus {
            0 => self.envelopes(),
            trus => PER_TRU.map(|per_tru| per_tru * f64::from(trus)),
        }
    }

    /// Simulates one minute: serves what the limits allow, queues the rest, and updates the bill.
    pub(crate) fn live(&mut self, minute: i64, since: i64) {
        let demand = self.setup.load.at(minute, since, self.seed);
        if minute % 60 == 0 {
            self.renew_envelopes();
        }
        let (limits, envelopes) = (self.limits(), self.envelopes);
        // The limit that allows the fewest actions throttles. The other two are not reached then.
        let binding = (0..KINDS)
            .min_by(|one, other| {
                let actions = |kind: usize| limits[kind] / self.setup.ratio(kind);
                actions(*one).total_cmp(&actions(*other))
            })
            .unwrap_or(0);
        let limit = limits[binding] / self.setup.ratio(binding);
        let (served, refused) = self.serve(demand, limit);
        let mut throttled = [0.0; KINDS];
        throttled[binding] = refused * self.setup.ratio(binding);
        self.minutes.push_back(Minute {
            at: minute,
            served: std::array::from_fn(|kind| served * self.setup.ratio(kind)),
            throttled,
            limits,
            envelopes,
            trus: self.trus,
        });
        if self.minutes.len() > self.kept_minutes {
            self.minutes.pop_front();
        }
        self.remember(served);
        self.bill(minute, served);
    }

    /// Simulates six steps of ten seconds: the first has the minute's peak, and the others share the rest.
    /// Work above the limit waits until its callers give up, and drains at the limit, oldest first. Throttled
    /// attempts are new work that has to wait plus, once a minute, the work that is already waiting; there
    /// are none in a minute in which no new work had to wait. Returns the served and throttled rates per
    /// second.
    fn serve(&mut self, demand: Demand, limit: f64) -> (f64, f64) {
        let steps = f64::from(STEPS);
        let actions = demand.mean * 60.0;
        let peak = (demand.peak * 10.0).min(actions).max(actions / steps);
        let rest = (actions - peak) / (steps - 1.0);
        let admitted = limit * 60.0 / steps;
        let most_waiting = self
            .setup
            .patience
            .map_or(f64::INFINITY, |patience| limit * patience.as_secs_f64());
        let (mut served, mut delayed, mut retried) = (0.0, 0.0, 0.0);
        for step in 0..STEPS {
            let arriving = if step == 0 { peak } else { rest };
            let served_from_queue = admitted.min(self.waiting);
            let done = admitted.min(self.waiting + arriving);
            let left = self.waiting + arriving - done;
            served += done;
            delayed += left.min(arriving);
            self.action_minutes += (self.waiting + left) / (2.0 * steps);
            // A sixth of the waiting work is retried in each step; work served from the queue was among these
            // attempts.
            retried += left / steps - served_from_queue;
            self.waiting = left.min(most_waiting);
        }
        let throttled = if delayed < 1e-6 {
            0.0
        } else {
            delayed + f64::max(retried, 0.0)
        };
        (served / 60.0, throttled / 60.0)
    }

    fn remember(&mut self, served: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a limit of seven digits is exact enough"
        )]
        self.week.push_back(served as f32);
        if self.week.len() > WEEK_MINUTES {
            self.week.pop_front();
        }
    }

    fn bill(&mut self, minute: i64, served: f64) {
        let bill = self.bills.entry(minute.div_euclid(60)).or_default();
        bill.highest_trus = bill.highest_trus.max(self.trus);
        bill.millionths_of_actions += millionths(served * 60.0);
    }

    /// Records that the current capacity was in effect during an hour.
    pub(crate) fn touch_bill(&mut self, time: Timestamp) {
        // Also for an hour without a complete minute at this size.
        let bill = self.bills.entry(time.as_second().div_euclid(3_600)).or_default();
        bill.highest_trus = bill.highest_trus.max(self.trus);
    }

    pub(crate) fn minute(&self, minute: i64) -> Option<&Minute> {
        let oldest = self.minutes.front()?.at;
        self.minutes.get(usize::try_from(minute - oldest).ok()?)
    }

    pub(crate) fn version_text(&self) -> String {
        format!("{:016x}-{}", self.seed, self.version)
    }

    pub(crate) fn modify(&mut self, now: Timestamp) {
        self.version += 1;
        self.modified = Some(now);
    }
}

fn millionths(actions: f64) -> u128 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rates are finite and not negative"
    )]
    let millionths = (actions.max(0.0) * 1e6).round() as u128;
    millionths
}
