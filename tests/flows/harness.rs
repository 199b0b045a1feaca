//! A simulated cloud and an autopilot for it.

use capacity_autopilot::{
    Autopilot, AutopilotSettings, CarryOut, ChangeResult, Evaluation, Plan, Scope, Stop,
};
use capacity_engine::{NamespaceFilter, NamespacePatterns, Rules};
use cloud_ops_client::Client;
use cloud_simulator::{Account, RunningSimulator, SimulatorOptions};
use jiff::SignedDuration;
use openmetrics_reader::scrape::Scraper;

/// A cloud and its autopilot.
pub(crate) struct World {
    pub(crate) cloud: RunningSimulator,
    pub(crate) autopilot: Autopilot,
}

/// Returns options for a cloud in which a minute passes in 50 ms by default.
pub(crate) fn options(account: Account) -> SimulatorOptions {
    SimulatorOptions {
        speed: 100.0,
        // Always start at the same minute of the hour, because envelopes are recalculated at the start of an
        // hour.
        start: "2026-11-24T10:20:45Z".parse().expect("a time"),
        ..SimulatorOptions::new(account)
    }
}

/// Returns default rules with `DISABLE_ON_ESTIMATE=true`, so that capacity is released based on a single
/// minute.
pub(crate) fn on_estimates() -> Rules {
    let mut rules = Rules::default();
    rules.guards.disable_on_estimate = true;
    rules
}

pub(crate) fn listed(allow: &[&str], deny: &[&str]) -> Rules {
    let patterns = |list: &[&str]| NamespacePatterns::try_new(list).expect("parses");
    on_estimates().with_filter(NamespaceFilter {
        allow: patterns(allow),
        deny: patterns(deny),
    })
}

impl World {
    pub(crate) async fn new(options: SimulatorOptions) -> Self {
        Self::with_rules(options, on_estimates()).await
    }

    pub(crate) async fn with_rules(options: SimulatorOptions, rules: Rules) -> Self {
        let cloud = cloud_simulator::start(options).await.expect("started");
        let autopilot = autopilot(&cloud, rules);
        Self { cloud, autopilot }
    }

    pub(crate) async fn evaluate(&self) -> Evaluation {
        self.autopilot.evaluate(&Scope::All).await.expect("evaluated")
    }

    /// Makes a plan and carries it out.
    pub(crate) async fn apply(&self) -> Vec<ChangeResult> {
        let evaluation = self.evaluate().await;
        let plan = Plan::of(&evaluation);
        let how = CarryOut::new();
        self.autopilot
            .carry_out(plan.orders(), how, &Stop::new(), |_| ())
            .await
    }

    /// Advances the time until the metrics show the changes.
    pub(crate) fn let_metrics_catch_up(&self) {
        self.cloud.advance(SignedDuration::from_mins(6));
    }
}

pub(crate) fn autopilot(cloud: &RunningSimulator, rules: Rules) -> Autopilot {
    autopilot_within(cloud, rules, 1_000)
}

/// Returns an autopilot with a different request budget for the metrics endpoint.
pub(crate) fn autopilot_within(cloud: &RunningSimulator, rules: Rules, requests_per_hour: u32) -> Autopilot {
    let mut ops = cloud_ops_client::Config::try_new(&cloud.ops_url(), cloud.ops_key().into()).expect("valid");
    ops.requests_per_second = 1_000;
    let mut metrics =
        openmetrics_reader::scrape::Config::try_new(&cloud.metrics_url(), cloud.metrics_key().into())
            .expect("valid");
    metrics.requests_per_hour = requests_per_hour;
    Autopilot::new(
        Client::new(ops),
        Scraper::new(metrics),
        AutopilotSettings::new(rules),
    )
}

/// Returns each decision as `name: Action reason_code`.
pub(crate) fn outcomes(evaluation: &Evaluation) -> Vec<String> {
    let decisions = evaluation.decisions.iter().map(|judged| &judged.decision);
    decisions
        .map(|it| format!("{}: {} {}", it.namespace.name(), it.action, it.reason_code))
        .collect()
}

pub(crate) fn results(changes: &[ChangeResult]) -> Vec<String> {
    let mut results: Vec<String> = changes
        .iter()
        .map(|it| {
            format!(
                "{} {} -> {}: {}",
                it.namespace,
                it.from_trus,
                it.to_trus,
                it.outcome.as_str()
            )
        })
        .collect();
    results.sort();
    results
}
