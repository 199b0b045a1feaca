//! Tests of the `break-even` policy against a simulated account, with minutes and state in a ledger and on
//! the cloud's own clock.

use std::sync::Arc;

use capacity_autopilot::{
    Autopilot, ChangeState, Clock, Evaluation, EvaluationRequest, LedgerHandle, Plan, Sampler, Scope,
    record_evaluation, record_policies,
};
use capacity_engine::break_even::Parameters;
use capacity_engine::{Direction, PolicyRef, ReasonCode, Restriction, RestrictionOrigin, Rules};
use capacity_ledger::{HistoryFilter, Ledger, Location};
use cloud_simulator::{Account, Load, NamespaceSetup, RunningSimulator, SimulatorOptions, Trace};
use jiff::{SignedDuration, Timestamp};

use crate::harness;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// Minimum interval between evaluations triggered by throttling.
const TRIGGERS_APART: SignedDuration = SignedDuration::from_mins(3);

pub(crate) fn break_even() -> PolicyRef {
    PolicyRef::break_even(Parameters::default())
}

/// The kind of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A scheduled, full evaluation.
    Full,
    /// An evaluation triggered by throttling, which only scales up.
    ScaleUpOnly,
}

/// Runs the autopilot without Temporal: samples every minute, evaluates at the policy's minutes and on throttling,
/// posts changes, and records everything.
pub(crate) struct Life {
    pub(crate) cloud: RunningSimulator,
    autopilot: Autopilot,
    location: Location,
    _folder: tempfile::TempDir,
    evaluated: Option<Timestamp>,
    dry_run: bool,
    /// One line for each decision to change capacity.
    pub(crate) lines: Vec<String>,
}

impl Life {
    pub(crate) async fn new(account: Account, rules: Rules, start: &str) -> Self {
        let cloud = cloud_simulator::start(SimulatorOptions {
            speed: 0.0,
            start: start.parse().expect("a time"),
            scrapes_per_hour: None,
            // In effect two minutes after the request.
            operation_lag: SignedDuration::from_secs(60),
            capacity_lag: SignedDuration::from_secs(55),
            ..SimulatorOptions::new(account)
        })
        .await
        .expect("started");
        let folder = tempfile::tempdir().expect("a folder");
        let location = Location::Sqlite(folder.path().join("ledger.db"));
        let autopilot = harness::autopilot_within(&cloud, rules, u32::MAX)
            .with_clock(Clock::running_at(0.0))
            .with_ledger(LedgerHandle::at(location.clone()));
        Self {
            cloud,
            autopilot,
            location,
            _folder: folder,
            evaluated: None,
            dry_run: false,
            lines: Vec::new(),
        }
    }

    pub(crate) async fn ledger(&self) -> Ledger {
        Ledger::open(&self.location).await.expect("opened")
    }

    fn minute_of_hour(&self) -> i64 {
        self.cloud.now().as_second().div_euclid(60).rem_euclid(60)
    }

    /// Simulates this number of minutes.
    pub(crate) async fn live(&mut self, minutes: usize) {
        let autopilot = harness::autopilot_within(&self.cloud, self.rules(), u32::MAX)
            .with_clock(Clock::running_at(0.0))
            .with_ledger(LedgerHandle::at(self.location.clone()));
        let mut sampler = Sampler::new(&autopilot);
        for _ in 0..minutes {
            self.cloud.advance(MINUTE);
            let round = sampler.round().await;
            assert_eq!(round.problem, None);
            let minute = self.minute_of_hour();
            let policy = self.rules().policy;
            let mut due = policy.evaluation_minutes().iter();
            let is_due = due.any(|due| i64::from(*due) == minute);
            let now = self.cloud.now();
            let is_quiet = self
                .evaluated
                .is_none_or(|at| now.duration_since(at) >= TRIGGERS_APART);
            if is_due {
                self.evaluate(Kind::Full).await;
            } else if !round.short.is_empty() && is_quiet {
                self.evaluate(Kind::ScaleUpOnly).await;
            }
        }
    }

    fn rules(&self) -> Rules {
        self.autopilot.settings().rules.clone()
    }

    async fn evaluate(&mut self, kind: Kind) -> Evaluation {
        self.evaluated = Some(self.cloud.now());
        let only_up = Restriction::new(
            Direction::ScaleDown,
            ReasonCode::ScaleUpOnly,
            "this evaluation only scales up",
            RestrictionOrigin::Evaluation,
        );
        let request = EvaluationRequest::of(Scope::All)
            .with_restrictions((kind == Kind::ScaleUpOnly).then_some(only_up))
            .with_ledger_is_enough(true);
        let evaluation = self
            .autopilot
            .evaluate_on(&request, &|_| ())
            .await
            .expect("evaluated");
        let plan = Plan::of(&evaluation);
        let ledger = self.autopilot.ledger().expect("a ledger");
        record_evaluation(ledger, &plan, self.dry_run, "test")
            .await
            .expect("recorded");
        let acts = !self.dry_run && kind == Kind::Full;
        record_policies(ledger, &plan, &evaluation, acts)
            .await
            .expect("recorded");
        for order in plan.orders() {
            let judged = evaluation
                .decisions
                .iter()
                .find(|judged| judged.decision.namespace == order.namespace)
                .expect("decided");
            let at = self.cloud.now().strftime("%H:%M");
            self.lines.push(format!("{at} {}", judged.decision));
            if !self.dry_run {
                // The first step posts the change; the cloud completes it as its time advances.
                self.autopilot.step(&order, ChangeState::begin()).await;
            }
        }
        evaluation
    }

    /// Returns a policy's state by namespace.
    async fn states(&self, policy: &str) -> Vec<(String, String)> {
        let states = self
            .ledger()
            .await
            .policy_states("a1b2c", policy)
            .await
            .expect("read");
        states.into_iter().map(|it| (it.namespace, it.state)).collect()
    }
}

/// Returns a load from phases: actions per second, and the number of minutes at that rate.
fn load(phases: &[(u32, usize)]) -> Load {
    let minutes = phases
        .iter()
        .flat_map(|(rate, minutes)| std::iter::repeat_n(*rate, *minutes));
    let rows: Vec<String> = minutes.map(|rate| format!("{rate},{rate}\n")).collect();
    let trace = Trace::read(format!("aps,peak10s\n{}", rows.concat()).as_bytes()).expect("a trace");
    Load::Replay(Arc::new(trace))
}

fn setup(name: &str, load: Load) -> NamespaceSetup {
    NamespaceSetup {
        // The on-demand envelope is at its minimum.
        usual: Some(50.0),
        ..NamespaceSetup::new(name, load)
    }
}

/// Returns a namespace with quiet periods, a burst of 900/s and one of 2,500/s, and a second namespace that
/// is always quiet.
fn bursts() -> Account {
    let phases = [(40, 73), (900, 12), (2_500, 12), (40, 1_000)];
    let quiet = setup("quiet", Load::Steady(30.0));
    Account::new("a1b2c", vec![setup("orders", load(&phases)), quiet])
}

fn actions(lines: &[String]) -> Vec<&str> {
    lines
        .iter()
        .filter_map(|line| line.split("] ").nth(1)?.split([' ', ':']).next())
        .collect()
}

#[tokio::test]
async fn bursts_are_enabled_resized_and_released_with_reasons_in_plain_english() {
    let rules = Rules::default().with_policy(break_even());
    let mut life = Life::new(bursts(), rules, "2026-11-20T08:00:00Z").await;
    life.live(200).await;
    let lines = &life.lines;
    let words = actions(lines);
    assert_eq!(words.first(), Some(&"Enable"), "{lines:#?}");
    assert!(words.contains(&"Resize"), "{lines:#?}");
    assert_eq!(words.last(), Some(&"Disable"), "{lines:#?}");
    assert!(
        lines[0].contains("min, ") && lines[0].contains("without scaling up"),
        "{lines:#?}"
    );
    let last = lines.last().expect("released");
    assert!(last.contains("in top-up") && last.contains(":55 "), "{lines:#?}");
    assert_eq!(life.cloud.namespace("orders.a1b2c").expect("listed").trus, 0);
    assert_eq!(life.cloud.incidents(), []);
    // Decisions are recorded with the compared costs. A namespace that never left its envelope has no state.
    let states = life.states("break-even").await;
    assert_eq!(states.len(), 1, "{states:?}");
    assert!(states[0].0 == "orders.a1b2c" && states[0].1.len() < 1_000);
    let ledger = life.ledger().await;
    let decisions = ledger
        .policy_decisions(Some("a1b2c"), &HistoryFilter::default())
        .await
        .expect("read");
    let enabled = decisions
        .iter()
        .map(|row| &row.decision)
        .find(|decision| decision.action == "Enable")
        .expect("recorded");
    assert!((enabled.policy.as_str(), enabled.shadow) == ("break-even", false));
    let options: Vec<capacity_engine::ConsideredOption> =
        serde_json::from_str(&enabled.options).expect("a list of options");
    assert_eq!(options.len(), 8);
    assert_eq!(options.iter().filter(|option| option.chosen).count(), 1);
    assert!(
        decisions
            .iter()
            .all(|row| row.decision.namespace == "orders.a1b2c")
    );
}

#[tokio::test]
async fn a_dry_run_and_a_plan_store_no_state() {
    let rules = Rules::default().with_policy(break_even());
    let mut life = Life::new(bursts(), rules, "2026-11-20T08:00:00Z").await;
    life.dry_run = true;
    life.live(120).await;
    assert!(!life.lines.is_empty(), "it would scale up");
    assert_eq!(life.states("break-even").await, []);
    life.autopilot.evaluate(&Scope::All).await.expect("evaluated");
    assert_eq!(life.states("break-even").await, []);
}

#[tokio::test]
async fn a_shadow_policy_is_recorded_and_changes_nothing() {
    let shadowed = Rules::default().with_shadow(break_even());
    let mut life = Life::new(bursts(), shadowed, "2026-11-20T08:00:00Z").await;
    // `threshold` is evaluated at minute 45 and when throttling begins.
    life.live(120).await;
    assert!(life.lines[0].contains("Enable 6 TRUs: "), "{:#?}", life.lines);
    assert!(
        life.lines[0].contains("throttled ("),
        "the reasons of `threshold`: {:#?}",
        life.lines
    );
    let ledger = life.ledger().await;
    let rows = ledger
        .policy_decisions(Some("a1b2c"), &HistoryFilter::default())
        .await
        .expect("read");
    assert!(!rows.is_empty());
    assert!(
        rows.iter()
            .all(|row| row.decision.shadow && row.decision.policy == "break-even")
    );
    assert!(rows.iter().any(|row| row.decision.namespace == "quiet.a1b2c"));
    let history = ledger
        .history(Some("a1b2c"), &HistoryFilter::default())
        .await
        .expect("read");
    assert_eq!(
        history.len(),
        rows.len(),
        "one for each decision of the acting policy"
    );
    // The state of a policy in shadow mode is stored under a different name.
    assert_eq!(life.states("break-even").await, []);
    let in_shadow = life.states("shadow:break-even").await;
    assert!(
        in_shadow.iter().all(|(name, _)| name == "orders.a1b2c"),
        "{in_shadow:?}"
    );
}
