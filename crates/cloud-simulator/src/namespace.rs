//! One namespace: what it has, what it is asked, and what it serves.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde_json::Value;

use crate::account::NamespaceSetup;
use crate::billing::HourBill;
use crate::load::Demand;

/// The limits, in the order of all arrays here: actions, requests, operations.
pub(crate) const KINDS: usize = 3;

/// Limits per TRU (Temporal's documentation, capacity modes page, June 2026).
const PER_TRU: [f64; KINDS] = [500.0, 1_500.0, 4_000.0];

/// What on-demand gives at least (500 as published; the others as last published in December 2025).
const FLOOR: [f64; KINDS] = [500.0, 2_000.0, 4_000.0];

/// Hours that count for the on-demand envelope: seven days.
const ENVELOPE_HOURS: usize = 7 * 24;

/// Work that waits longer than this, at the limit's pace, is given up by its callers.
const PATIENCE_SECONDS: f64 = 30.0;

/// Minutes kept: those of the hour that the Prometheus API shows, and as many as they may be late.
const KEPT_MINUTES: usize = 80;

/// One minute, per second.
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

/// How the latest capacity request stands.
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
    /// The operation that runs.
    pub(crate) running: Option<String>,
    /// TRUs in force, 0 meaning on-demand.
    pub(crate) trus: u32,
    pub(crate) request: Option<Request>,
    /// Whether its capacity was ever set: before that the service says nothing of it.
    pub(crate) ever_set: bool,
    pub(crate) minutes: VecDeque<Minute>,
    /// Work that waits, in actions.
    waiting: f64,
    /// Mean actions a second of past full hours, newest last; hours before the simulation were as usual.
    hours: VecDeque<f64>,
    hour_sum: f64,
    pub(crate) bills: BTreeMap<i64, HourBill>,
}

impl Namespace {
    pub(crate) fn new(account: &str, setup: NamespaceSetup, seed: u64) -> Self {
        let trus = setup.trus;
        Self {
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
            waiting: 0.0,
            hours: VecDeque::new(),
            hour_sum: 0.0,
            bills: BTreeMap::new(),
        }
    }

    /// What on-demand would give now: max(floor, min(4 x mean, 2 x p90)) of the last seven days, by full hours.
    pub(crate) fn envelopes(&self) -> [f64; KINDS] {
        let usual = self.setup.usual_actions();
        #[expect(clippy::cast_precision_loss, reason = "at most 168 hours")]
        let (mean, p90) = {
            let before = ENVELOPE_HOURS.saturating_sub(self.hours.len());
            let known: f64 = self.hours.iter().sum();
            let mean = (known + usual * before as f64) / ENVELOPE_HOURS as f64;
            let mut all: Vec<f64> = self
                .hours
                .iter()
                .copied()
                .chain(std::iter::repeat_n(usual, before))
                .collect();
            all.sort_by(f64::total_cmp);
            (mean, all[ENVELOPE_HOURS * 9 / 10])
        };
        let actions = (4.0 * mean).min(2.0 * p90);
        let by_usage = |kind: usize| (actions * self.setup.ratio(kind)).max(FLOOR[kind]).round();
        std::array::from_fn(|kind| by_usage(kind).max(self.setup.support_limit(kind)))
    }

    pub(crate) fn limits(&self) -> [f64; KINDS] {
        match self.trus {
            0 => self.envelopes(),
            trus => PER_TRU.map(|per_tru| per_tru * f64::from(trus)),
        }
    }

    /// Lives through one minute: serves what the limits allow, lets the rest wait, and writes the bill.
    pub(crate) fn live(&mut self, minute: i64, since: i64) {
        let demand = self.setup.load.at(minute, since, self.seed);
        // A replayed or fluctuating envelope is renewed at full hours only, like the service's; within one it stands.
        let (limits, envelopes) = match self.minutes.back() {
            Some(last) if last.trus == self.trus && minute % 60 != 0 => (last.limits, last.envelopes),
            _ => (self.limits(), self.envelopes()),
        };
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
        if self.minutes.len() > KEPT_MINUTES {
            self.minutes.pop_front();
        }
        self.count_hour(minute, served);
        self.bill(minute, served);
    }

    /// Six steps of ten seconds: the first carries the minute's peak, the rest share the remainder. Work above the limit
    /// waits and drains at the limit. Returns served and refused attempts, per second.
    fn serve(&mut self, demand: Demand, limit: f64) -> (f64, f64) {
        let rest = ((demand.mean * 6.0 - demand.peak) / 5.0).max(0.0);
        let mut served = 0.0;
        // Work already waiting tries again once a minute.
        let mut refused = (self.waiting - limit * 60.0).max(0.0);
        for step in 0..6 {
            let arriving = if step == 0 {
                demand.peak.min(demand.mean * 6.0)
            } else {
                rest
            } * 10.0;
            let done = (self.waiting + arriving).min(limit * 10.0);
            let left = self.waiting + arriving - done;
            refused += (left - self.waiting).max(0.0);
            served += done;
            self.waiting = left.min(limit * PATIENCE_SECONDS);
        }
        let refused = if refused < 1e-6 {
            0.0
        } else {
            refused + self.waiting
        };
        (served / 60.0, refused / 60.0)
    }

    fn count_hour(&mut self, minute: i64, served: f64) {
        self.hour_sum += served;
        if minute.rem_euclid(60) == 59 {
            self.hours.push_back(self.hour_sum / 60.0);
            self.hour_sum = 0.0;
            if self.hours.len() > ENVELOPE_HOURS {
                self.hours.pop_front();
            }
        }
    }

    fn bill(&mut self, minute: i64, served: f64) {
        let bill = self.bills.entry(minute.div_euclid(60)).or_default();
        bill.highest_trus = bill.highest_trus.max(self.trus);
        bill.millionths_of_actions += millionths(served * 60.0);
    }

    /// Notes that the present capacity was in force at some moment of an hour.
    pub(crate) fn touch_bill(&mut self, time: Timestamp) {
        let bill = self.bills.entry(time.as_second().div_euclid(3_600)).or_default();
        bill.highest_trus = bill.highest_trus.max(self.trus);
    }

    pub(crate) fn minute(&self, minute: i64) -> Option<&Minute> {
        self.minutes.iter().rev().find(|kept| kept.at == minute)
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
