//! Implements `break-even` as a policy: converts a snapshot to the integers of `evaluate`, and the result
//! back.
//!
//! Three limits can throttle. The one that came closest to its limit in the last hour decides. Its rates are
//! converted to the actions that a TRU admits at the same time, so that the cost of waiting and the cost of
//! idle minimums are comparable.
//!
//! The stored state never assumes that a change was made. The next evaluation reads that from the namespace:
//! the time of its latest request shows whether the change was carried out.

use std::collections::BTreeMap;

use human_text::grouped;
use rust_decimal::Decimal;

use super::evaluate::evaluate_only;
use super::load::{MinuteActions, WINDOW_MINUTES, Window};
use super::model::{Outcome, Rule, Situation, Size};
use super::parameters::Parameters;
use super::state::{BreakEvenState, MINUTES_UNTIL_EFFECT};
use crate::capacity::{Capacity, RequestState, Trus};
use crate::decision::{ConsideredOption, ReasonCode};
use crate::limit::LimitKind;
use crate::policy::contract::{CapacityPolicy, PolicyState, PolicyTarget, PolicyView, Wish};
use crate::policy::threshold;
use crate::pricing::in_dollars;
use crate::rate::Rate;
use crate::snapshot::CapacityInfo;

/// The `break-even` policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BreakEven {
    parameters: Parameters,
}

/// Published sizes, used if the ladder was not read.
const PUBLISHED: [u32; 7] = [2, 3, 4, 6, 8, 10, 12];

/// Number of newest slots in which throttling counts toward a scale-up.
const RECENT_SLOTS: usize = 10;

impl BreakEven {
    /// The name of the policy.
    pub const NAME: &str = "break-even";

    const VERSION: i64 = 1;

    /// Returns the policy with its parameters.
    pub fn new(parameters: Parameters) -> Self {
        Self { parameters }
    }

    /// Returns the parameters that the operator has set.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }
}

impl CapacityPolicy for BreakEven {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn version(&self) -> i64 {
        Self::VERSION
    }

    fn parameters(&self) -> BTreeMap<String, String> {
        self.parameters.assignments()
    }

    fn keeps_state(&self) -> bool {
        true
    }

    fn recent_minutes(&self) -> usize {
        self.parameters.look_back_minutes
    }

    fn follows_throttling(&self) -> bool {
        true
    }

    fn evaluation_minutes(&self) -> &[u8] {
        // Minute 55 plans and releases in time to take effect before the hour turns; minute 0 starts the
        // larger sizes that would have been billed for the old hour.
        &[0, 55]
    }

    fn target(&self, view: &PolicyView<'_>) -> PolicyTarget {
        let Some(basis) = Basis::of(view) else {
            return PolicyTarget::hold(
                ReasonCode::LimitsUnknown,
                "the limit that on-demand would provide is missing from the metrics; will re-evaluate when it is reported",
            );
        };
        let max_trus = self.parameters.max_trus.min(view.bounds.max_trus.get());
        let parameters = Parameters {
            max_trus,
            // `MAX_TRU_COUNT` wins. Otherwise every evaluation would want a size that the bounds
            // refuse.
            min_trus: self.parameters.min_trus.min(max_trus),
            ..self.parameters.clone()
        };
        let ladder = ladder(view);
        let situation = Situation {
            now: view.now.as_second().div_euclid(60),
            newest: view.window.newest().number(),
            current: view.present.trus(),
            envelope: basis.envelope,
            ladder: &ladder,
            window: &basis.window,
            billed_permille: basis.billed_permille,
        };
        let state = remembered(view, &situation);
        // Not `evaluate`: whether the change happens is up to restrictions, guards and the service. The
        // next evaluation reads it from the namespace.
        let (outcome, next) = evaluate_only(&situation, &state, &parameters);
        // With `free_share`, every namespace needs its remembered hours.
        let is_stored = !next.is_blank() || parameters.free_share_percent > 0 || view.state.is_some();
        let told = Told {
            view,
            basis: &basis,
            situation: &situation,
            parameters: &parameters,
            outcome: &outcome,
        };
        PolicyTarget {
            wish: told.wish(),
            options: told.options(),
            next_state: is_stored.then(|| PolicyState::new(Self::VERSION, situation.now, next.encode())),
        }
    }
}

/// Returns the available sizes: those of the API that the region can provide, and the current one.
fn ladder(view: &PolicyView<'_>) -> Vec<Size> {
    let present = view.present.trus();
    let told = match &view.snapshot.capacity_info {
        CapacityInfo::Known(info) if !info.ladder.is_empty() => Some(info),
        _ => None,
    };
    let sizes: Vec<u32> = match told {
        Some(info) => info
            .ladder
            .steps()
            .iter()
            // The current size stays an option even above what the region can provide now, because it is already running.
            .filter(|step| info.ceiling.is_none_or(|ceiling| **step <= ceiling) || step.get() == present)
            .map(|step| step.get())
            .collect(),
        None => PUBLISHED.to_vec(),
    };
    sizes.into_iter().map(Size::documented).collect()
}

/// Returns the stored state of the namespace, corrected by what is observed. If it is lost, damaged or from
/// the future, the policy starts without state, and plans nothing before the end of the hour.
fn remembered(view: &PolicyView<'_>, situation: &Situation<'_>) -> BreakEvenState {
    let now = situation.now;
    // A minute of tolerance, since another worker's clock may be ahead.
    let stored = view.state.filter(|state| state.minute <= now + 1);
    let stored = stored.and_then(|state| BreakEvenState::decode(&state.text).ok());
    let coming = (now + 5).div_euclid(60);
    let mut state = stored.unwrap_or_else(|| BreakEvenState {
        // After minute 55 the plan for the coming hour is still due, and is made now.
        last_plan_hour: if now.rem_euclid(60) < 55 {
            coming
        } else {
            coming - 1
        },
        ..BreakEvenState::default()
    });
    state.changed_minute = state.changed_minute.min(now);
    let request = view.snapshot.latest_request.as_ref();
    let completed = request.filter(|request| request.state == RequestState::Completed);
    let minute = |time: jiff::Timestamp| time.as_second().div_euclid(60);
    let began = completed.and_then(|request| request.started_at).map(minute);
    let took_effect = completed.and_then(|request| request.ended_at).map(minute);
    // A change that took longer than the assumed 2 minutes: throttling before it took effect must not count
    // against the new size.
    let changed = began.max(took_effect.map(|effect| effect - MINUTES_UNTIL_EFFECT));
    if let Some(changed) = changed.map(|changed| changed.min(now))
        && changed > state.changed_minute
    {
        state.changed_minute = changed;
        // The earlier plan was carried out, or someone else changed the capacity.
        if changed >= state.last_plan_hour * 60 - 5 {
            state.planned = None;
        }
    }
    if view.scale_up_only && state.last_plan_hour != coming {
        // The next full evaluation makes the plan; it reads the stored state.
        state.last_plan_hour = coming;
        state.planned = None;
    }
    state
}

/// The limit that decides, in the policy's units.
struct Basis {
    kind: LimitKind,
    envelope: i64,
    window: Window,
    billed_permille: i64,
}

impl Basis {
    /// Returns `None` if the limit that on-demand would provide is unknown.
    fn of(view: &PolicyView<'_>) -> Option<Self> {
        let mut deciding: Option<(LimitKind, Rate, Pressure)> = None;
        for kind in LimitKind::ALL {
            let asked = view.window.highest_asked(kind);
            let in_force = view.limits[kind];
            let envelope = view.snapshot.envelopes[kind].or(match view.present {
                Capacity::OnDemand => Some(in_force),
                Capacity::Provisioned(_) => api_envelope(view, kind),
            });
            let Some(envelope) = envelope else {
                // An unused limit cannot be the deciding one. Actions always need an envelope, because
                // sizes are compared by it.
                if kind != LimitKind::Actions && asked.is_zero() {
                    continue;
                }
                return None;
            };
            let pressure = Pressure {
                asked,
                // The lower of the two: it throttles now, or would after a release.
                limit: envelope.min(in_force),
            };
            if deciding.is_none_or(|(_, _, most)| pressure.is_above(most)) {
                deciding = Some((kind, envelope, pressure));
            }
        }
        let (kind, envelope, _) = deciding?;
        let window = window(view, kind);
        Some(Self {
            kind,
            envelope: as_actions(envelope, kind),
            billed_permille: billed_permille(view, kind, &window),
            window,
        })
    }
}

fn api_envelope(view: &PolicyView<'_>, kind: LimitKind) -> Option<Rate> {
    match &view.snapshot.capacity_info {
        CapacityInfo::Known(info) if kind == LimitKind::Actions => info.on_demand_actions,
        _ => None,
    }
}

/// How close the usage is to a limit.
#[derive(Clone, Copy)]
struct Pressure {
    asked: Rate,
    limit: Rate,
}

impl Pressure {
    fn is_above(self, other: Self) -> bool {
        let product = |asked: Rate, limit: Rate| {
            // Compares two fractions without dividing. In 128 bits, because a rate may be 10^18 millionths.
            u128::from(asked.micros_per_second()) * u128::from(limit.micros_per_second().max(1))
        };
        product(self.asked, other.limit) > product(other.asked, self.limit)
    }
}

/// Converts a rate per minute to the actions that a TRU admits at the same time.
fn as_actions(rate: Rate, kind: LimitKind) -> i64 {
    let per_tru = |kind: LimitKind| {
        Trus::try_new(1).map_or(1, |one| u128::from(kind.at(one).micros_per_second().max(1)))
    };
    let micros = u128::from(rate.micros_per_second()) * 60 * per_tru(LimitKind::Actions) / per_tru(kind);
    i64::try_from((micros + 500_000) / 1_000_000).unwrap_or(i64::MAX)
}

/// Returns the last hour of samples. If the served rate was not read, it is assumed to be at the limit while something is
/// throttled, and the minute counts as missing otherwise.
fn window(view: &PolicyView<'_>, kind: LimitKind) -> Window {
    let mut window: Window = [None; WINDOW_MINUTES];
    let newest = view.window.newest().number();
    for sample in view.window.minutes() {
        let behind = usize::try_from(newest - sample.number()).unwrap_or(usize::MAX);
        let usage = sample.usage[kind];
        let served = if sample.served_read[kind] {
            usage.served
        } else if usage.throttled.is_zero() {
            continue;
        } else {
            view.limits[kind]
        };
        if let Some(slot) = WINDOW_MINUTES
            .checked_sub(1 + behind)
            .and_then(|at| window.get_mut(at))
        {
            *slot = Some(MinuteActions {
                served: as_actions(served, kind),
                throttled: as_actions(usage.throttled, kind),
            });
        }
    }
    window
}

fn billed_permille(view: &PolicyView<'_>, kind: LimitKind, window: &Window) -> i64 {
    const ALL: i64 = 1000;
    if kind == LimitKind::Actions {
        return ALL;
    }
    let counted: i64 = window.iter().flatten().map(|minute| minute.served).sum();
    let actions = view
        .window
        .minutes()
        .map(|sample| sample.usage[LimitKind::Actions].served);
    let actions: i64 = actions.map(|rate| as_actions(rate, LimitKind::Actions)).sum();
    if counted == 0 {
        ALL
    } else {
        (actions.saturating_mul(ALL) / counted).clamp(0, 100 * ALL)
    }
}

/// A decision, ready to be formatted.
struct Told<'a> {
    view: &'a PolicyView<'a>,
    basis: &'a Basis,
    situation: &'a Situation<'a>,
    parameters: &'a Parameters,
    outcome: &'a Outcome,
}

impl Told<'_> {
    fn wish(&self) -> Wish {
        let Outcome { option, rule, .. } = *self.outcome;
        let present = self.view.present;
        let wanted = Capacity::from_trus(option);
        if wanted != present {
            return Wish::Change {
                to: wanted,
                code: match rule {
                    Rule::Raise => ReasonCode::WaitingCostsMore,
                    Rule::Planned => ReasonCode::PlannedForTheHour,
                    Rule::Bounds => ReasonCode::BelowMinimum,
                    // Only a release gets here: the others keep the option. The arm is spelled out so that
                    // a new rule must choose a code.
                    Rule::Release | Rule::Keep | Rule::Later | Rule::Hold | Rule::Blind => {
                        ReasonCode::NotWorthKeeping
                    }
                },
                because: self.because(),
            };
        }
        if rule == Rule::Blind {
            return PolicyTarget::hold(ReasonCode::RecentMinutesMissing, self.because()).wish;
        }
        if self.throttled() > 0 {
            let reason = self.waits();
            return PolicyTarget::keep(ReasonCode::CheaperToWait, reason).wish;
        }
        match (present, rule) {
            (_, Rule::Later) => {
                let reason = format!(
                    "{} from the start of the next hour: {}",
                    self.planned(),
                    self.because()
                );
                PolicyTarget::keep(ReasonCode::PlannedForTheHour, reason).wish
            }
            (Capacity::OnDemand, _) => {
                let (code, reason) = threshold::on_demand(self.view);
                PolicyTarget::keep(code, reason).wish
            }
            (Capacity::Provisioned(trus), Rule::Keep) => {
                let reason = format!("{trus} for the coming hour: {}", self.because());
                PolicyTarget::keep(ReasonCode::WorthKeeping, reason).wish
            }
            (Capacity::Provisioned(trus), _) => {
                let sample = self.view.window.newest();
                let used = sample.usage[LimitKind::Actions].served.measured();
                let limit = self.view.limits[LimitKind::Actions].limit();
                let reason = format!(
                    "{trus}, {used} of {limit} actions/s; the next hour is planned from minute 55, because this hour is already billed"
                );
                PolicyTarget::keep(ReasonCode::WorthKeeping, reason).wish
            }
        }
    }

    fn planned(&self) -> Capacity {
        let cheapest = self.outcome.costs.iter().min_by_key(|cost| cost.cost);
        Capacity::from_trus(cheapest.map_or(self.outcome.option, |cheapest| cheapest.trus))
    }

    fn because(&self) -> String {
        let because = self.outcome.because(self.situation, &|cost| self.money(cost));
        self.counted(because)
    }

    /// Explains why nothing is done although something is throttled.
    fn waits(&self) -> String {
        if let Some(waiting) = &self.outcome.waiting {
            let compared = waiting.reason.raised(&|cost| self.money(cost));
            return self.counted(format!("{compared}; waiting is cheaper"));
        }
        let throttled = grouped(self.throttled().unsigned_abs());
        let let_pass = self.money(self.parameters.let_pass());
        self.counted(format!(
            "{throttled} actions throttled in the last {RECENT_SLOTS} min; waiting for them costs less than {let_pass}, or they were throttled before the last change took effect"
        ))
    }

    /// Returns the actions that were throttled in the last minutes.
    fn throttled(&self) -> i64 {
        let recent = &self.basis.window[WINDOW_MINUTES - RECENT_SLOTS..];
        recent.iter().flatten().map(|minute| minute.throttled).sum()
    }

    /// Adds the counted unit if it is not actions.
    fn counted(&self, because: String) -> String {
        match self.basis.kind {
            LimitKind::Actions => because,
            kind => format!(
                "{because} (the limit on {} decides; its numbers are converted to actions)",
                kind.noun()
            ),
        }
    }

    fn dollars(&self, cost: i64) -> Decimal {
        self.view.prices.of(u64::try_from(cost).unwrap_or(0))
    }

    fn money(&self, cost: i64) -> String {
        in_dollars(self.dollars(cost))
    }

    fn options(&self) -> Vec<ConsideredOption> {
        let Outcome {
            option,
            costs,
            waiting,
            ..
        } = self.outcome;
        let costs = match (costs.is_empty(), waiting) {
            (true, Some(waiting)) => &waiting.costs,
            (_, _) => costs,
        };
        if costs.is_empty() {
            return Vec::new();
        }
        let wanted = match self.outcome.rule {
            Rule::Later => self.planned().trus(),
            _ => *option,
        };
        let cost_of = |trus: u32| {
            let found = costs.iter().find(|cost| cost.trus == trus);
            found.map(|found| found.cost).filter(|cost| *cost >= 0)
        };
        let chosen_cost = cost_of(wanted);
        self.situation
            .options()
            .map(|(trus, limit)| {
                let cost = cost_of(trus);
                let chosen = trus == wanted;
                ConsideredOption {
                    trus,
                    limit: u64::try_from((limit + 30) / 60).unwrap_or(0),
                    idle_hour: self.view.prices.idle_hour(Capacity::from_trus(trus)),
                    cost_actions: cost,
                    cost: cost.map(|cost| self.dollars(cost)),
                    chosen,
                    verdict: self.verdict(trus, limit, chosen, cost, chosen_cost),
                }
            })
            .collect()
    }

    fn verdict(
        &self,
        trus: u32,
        limit: i64,
        chosen: bool,
        cost: Option<i64>,
        chosen_cost: Option<i64>,
    ) -> String {
        let current = self.situation.current;
        if chosen {
            return if trus == current { "kept" } else { "chosen" }.to_owned();
        }
        if trus > self.parameters.max_trus {
            return format!("above the maximum of {} TRUs", self.parameters.max_trus);
        }
        let Some(cost) = cost else {
            return if limit <= self.situation.limit(current) {
                "does not raise the limit"
            } else {
                "not compared"
            }
            .to_owned();
        };
        match chosen_cost.map(|chosen| cost - chosen) {
            Some(more) if more > 0 => format!("costs {} more", self.money(more)),
            Some(_) if trus != current => format!(
                "saves less than the cost of a change ({})",
                self.money(self.parameters.change_cost())
            ),
            _ => "another rule decided".to_owned(),
        }
    }
}
