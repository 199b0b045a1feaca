//! Observing an account and deciding on what was seen.
//!
//! The order: list all namespaces; read the families that name candidates, for the whole account; judge once
//! with the pure rule; read the many per-operation series, all of one minute with the rest, and capacity info
//! for candidates only; decide. A small account fits one answer and is read whole at once.

mod families;
mod metrics;
mod namespaces;
mod usage;

use std::collections::HashMap;

use capacity_engine::{AccountView, CapacityInfo, MetricsHealth, NamespaceId, Snapshot, decide, wants_capacity_info};
use futures::StreamExt;
use jiff::Timestamp;

use crate::autopilot::{Autopilot, Evaluation, Judged, Scope};
use crate::change::chain;
use crate::clock::ANNOUNCED_SKEW;

pub(crate) use namespaces::{capacity_spec, present_capacity};

use metrics::{MetricsReading, Reading};
use namespaces::Listed;
use usage::{AccountMetrics, NamespaceMetrics};

/// How many capacity infos are asked for at a time; the client's own rate limit bounds the rest.
const CONCURRENT_INFOS: usize = 8;

/// What an evaluation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Listing namespaces; so many so far.
    Listing(usize),
    /// Reading metrics of so many namespaces.
    ReadingMetrics(usize),
    /// Reading capacity info of so many candidates.
    ReadingCapacityInfo(usize),
}

/// An account that could not be observed.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The list of namespaces could not be read to its end.
    #[error("the namespaces of the account could not be listed; nothing was decided")]
    List(#[source] cloud_ops_client::Error),
    /// The list names a namespace in a way we cannot read.
    #[error("the list of namespaces holds an id that is none: {0}")]
    Id(#[source] capacity_engine::NamespaceIdError),
    /// A glob matches none of the listed namespaces.
    #[error("no namespace of the account matches {patterns}; the account lists {listed} namespaces")]
    NothingMatches {
        /// The globs that match nothing.
        patterns: String,
        /// How many namespaces are listed.
        listed: usize,
    },
}

pub(crate) async fn evaluate(
    autopilot: &Autopilot,
    scope: &Scope,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Evaluation, ObserveError> {
    let (ops_before, metrics_before) = (autopilot.ops().requests_made(), autopilot.metrics().requests_made());
    let mut warnings = Vec::new();
    let listed = list(autopilot, progress).await?;
    let in_scope = in_scope(&listed, scope)?;
    warn_of_idle_filters(autopilot, &listed, &mut warnings);

    progress(Progress::ReadingMetrics(in_scope.len()));
    let mut round = Round::new(autopilot, &in_scope);
    let reading = Reading::of_account(autopilot.metrics(), &round.names, listed.len(), matches!(scope, Scope::All));
    let first = reading.first().await;
    round.take(autopilot, first, &mut warnings);

    let now = autopilot.now();
    let mut candidates = round.candidates(now);
    if round.is_partial && !candidates.is_empty() {
        let names: Vec<NamespaceId> = candidates.iter().map(|number| round.names[*number].clone()).collect();
        let second = reading.of_candidates(&names).await;
        round.take_candidates(autopilot, &candidates, second, &mut warnings);
        candidates = round.candidates(autopilot.now());
    }
    progress(Progress::ReadingCapacityInfo(candidates.len()));
    round.read_capacity_info(autopilot, &candidates).await;

    let now = autopilot.now();
    let decisions = round.decide(now);
    Ok(Evaluation {
        evaluated_at: now,
        account: listed.iter().find_map(|listed| listed.id.account().map(str::to_owned)),
        blind: round.is_blind(),
        decisions,
        warnings,
        ops_requests: autopilot.ops().requests_made() - ops_before,
        metrics_requests: autopilot.metrics().requests_made() - metrics_before,
    })
}

async fn list(autopilot: &Autopilot, progress: &(dyn Fn(Progress) + Sync)) -> Result<Vec<Listed>, ObserveError> {
    let mut listed: Vec<Listed> = Vec::new();
    let mut problem = None;
    progress(Progress::Listing(0));
    autopilot
        .ops()
        .for_each_namespace(|namespace| {
            match Listed::try_from(namespace) {
                Ok(one) => listed.push(one),
                Err(error) => problem = Some(error),
            }
            if listed.len().is_multiple_of(1000) {
                progress(Progress::Listing(listed.len()));
            }
        })
        .await
        .map_err(ObserveError::List)?;
    if let Some(error) = problem {
        return Err(ObserveError::Id(error));
    }
    listed.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(listed)
}

fn in_scope<'a>(listed: &'a [Listed], scope: &Scope) -> Result<Vec<&'a Listed>, ObserveError> {
    let chosen: Vec<&Listed> = listed.iter().filter(|listed| scope.contains(&listed.id)).collect();
    if let Scope::Matching(patterns) = scope {
        let ids: Vec<&NamespaceId> = listed.iter().map(|listed| &listed.id).collect();
        let idle = patterns.unmatched(ids.iter().copied());
        if !idle.is_empty() {
            return Err(ObserveError::NothingMatches { patterns: idle.join(", "), listed: listed.len() });
        }
    }
    Ok(chosen)
}

fn warn_of_idle_filters(autopilot: &Autopilot, listed: &[Listed], warnings: &mut Vec<String>) {
    let filter = &autopilot.settings().policy.filter;
    for unmatched in filter.unmatched(listed.iter().map(|listed| &listed.id)) {
        warnings.push(format!("{unmatched} matches no namespace of the account: is it misspelt?"));
    }
}

/// The state of one evaluation: snapshots of everything in scope, in the order of their names.
struct Round<'a> {
    names: Vec<NamespaceId>,
    versions: Vec<&'a str>,
    snapshots: Vec<Snapshot>,
    account: AccountView,
    policy: &'a capacity_engine::Policy,
    /// Whether the per-operation families have been read for nobody yet.
    is_partial: bool,
}

impl<'a> Round<'a> {
    fn new(autopilot: &'a Autopilot, in_scope: &[&'a Listed]) -> Self {
        Self {
            names: in_scope.iter().map(|listed| listed.id.clone()).collect(),
            versions: in_scope.iter().map(|listed| listed.resource_version.as_str()).collect(),
            snapshots: in_scope.iter().map(|listed| listed.snapshot.clone()).collect(),
            account: AccountView {
                metrics: MetricsHealth::Complete,
                home: autopilot.settings().home.clone(),
            },
            policy: &autopilot.settings().policy,
            is_partial: false,
        }
    }

    /// Takes in the first reading: of all namespaces in scope.
    fn take(&mut self, autopilot: &Autopilot, reading: MetricsReading, warnings: &mut Vec<String>) {
        correct_clock(autopilot, reading.date, warnings);
        self.is_partial = reading.is_partial;
        match reading.metrics {
            Err(why) => self.account.metrics = MetricsHealth::Incomplete { why },
            Ok(metrics) => {
                warn_of_metrics(&metrics, warnings);
                let AccountMetrics { mut namespaces, missing_families, .. } = metrics;
                for (name, snapshot) in self.names.iter().zip(&mut self.snapshots) {
                    fill(snapshot, namespaces.remove(name), &missing_families);
                }
            }
        }
    }

    /// Takes in the second reading, which replaces what the first said of the candidates.
    fn take_candidates(
        &mut self,
        autopilot: &Autopilot,
        candidates: &[usize],
        reading: MetricsReading,
        warnings: &mut Vec<String>,
    ) {
        correct_clock(autopilot, reading.date, &mut Vec::new());
        match reading.metrics {
            Err(why) => {
                warnings.push(format!("the metrics of {} candidates could not be read: {why}", candidates.len()));
                self.account.metrics = MetricsHealth::Incomplete { why };
            }
            Ok(AccountMetrics { mut namespaces, missing_families, .. }) => {
                for number in candidates {
                    fill(&mut self.snapshots[*number], namespaces.remove(&self.names[*number]), &missing_families);
                }
            }
        }
    }

    /// The namespaces for which the rule wants a change.
    fn candidates(&self, now: Timestamp) -> Vec<usize> {
        let wants = |snapshot: &Snapshot| wants_capacity_info(snapshot, &self.account, self.policy, now);
        (0..self.snapshots.len()).filter(|number| wants(&self.snapshots[*number])).collect()
    }

    async fn read_capacity_info(&mut self, autopilot: &Autopilot, candidates: &[usize]) {
        let names = &self.names;
        let read = |number: usize| async move {
            (number, namespaces::capacity_info(autopilot.ops().capacity_info(names[number].as_str()).await))
        };
        let infos: HashMap<usize, CapacityInfo> = futures::stream::iter(candidates.iter().copied().map(read))
            .buffer_unordered(CONCURRENT_INFOS)
            .collect()
            .await;
        for (number, info) in infos {
            self.snapshots[number].capacity_info = info;
        }
    }

    fn decide(&self, now: Timestamp) -> Vec<Judged> {
        self.snapshots
            .iter()
            .zip(&self.versions)
            .map(|(snapshot, version)| {
                let decision = decide(snapshot, &self.account, self.policy, now);
                if decision.action.is_change() || decision.announce {
                    tracing::info!(namespace = %decision.namespace, reason = decision.reason_code.as_str(), "{decision}");
                } else {
                    tracing::debug!(namespace = %decision.namespace, reason = decision.reason_code.as_str(), "{decision}");
                }
                Judged { decision, resource_version: (*version).to_owned() }
            })
            .collect()
    }

    /// Blind: no namespace that is ours to judge has usable metrics, because the account's are missing,
    /// incomplete or stale.
    fn is_blind(&self) -> bool {
        matches!(self.account.metrics, MetricsHealth::Incomplete { .. })
    }
}

fn fill(snapshot: &mut Snapshot, metrics: Option<NamespaceMetrics>, missing: &capacity_engine::PerLimit<bool>) {
    let Some(metrics) = metrics else { return };
    snapshot.limits = metrics.limits;
    snapshot.envelopes = metrics.envelopes;
    snapshot.missing_families =
        capacity_engine::PerLimit::from_fn(|kind| missing[kind] || metrics.gaps[kind]);
    snapshot.usage = metrics.sample.into();
}

fn correct_clock(autopilot: &Autopilot, date: Option<Timestamp>, warnings: &mut Vec<String>) {
    let Some(date) = date else { return };
    let behind = autopilot.clock().correct(date);
    if behind.abs() > ANNOUNCED_SKEW {
        let word = if behind.is_positive() { "behind" } else { "ahead of" };
        warnings.push(format!(
            "this machine's clock is {} s {word} the service's; its time was used instead: synchronise the clock",
            behind.abs().as_secs()
        ));
    }
}

fn warn_of_metrics(metrics: &AccountMetrics, warnings: &mut Vec<String>) {
    if metrics.unlabelled > 0 {
        warnings.push(format!("{} samples carry no namespace and were given to nobody", metrics.unlabelled));
    }
    if metrics.stranger_count > 0 {
        let named: Vec<&str> = metrics.strangers.iter().map(String::as_str).collect();
        let more = if metrics.stranger_count > named.len() { ", ..." } else { "" };
        warnings.push(format!(
            "the metrics show {} namespaces that the list does not ({}{more}): the ops key may not see them",
            metrics.stranger_count,
            named.join(", ")
        ));
    }
    for kind in capacity_engine::LimitKind::ALL {
        if metrics.missing_families[kind] {
            warnings.push(format!(
                "the metrics of {} appear nowhere in the account while others show traffic: nothing is given back on that",
                kind.noun()
            ));
        }
    }
}

/// One line for an error of a client, with its causes.
pub(crate) fn line(error: &dyn std::error::Error) -> String {
    chain(error)
}
