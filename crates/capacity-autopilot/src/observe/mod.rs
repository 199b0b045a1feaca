//! Observing an account and deciding on what was seen.
//!
//! The order: list all namespaces; read the families that name candidates, for the whole account; judge once
//! with the pure rule; read the many per-operation series, all of one minute with the rest, and capacity info
//! for candidates only; decide. A small account fits one answer and is read whole at once.

mod families;
mod metrics;
mod namespaces;
mod usage;

use capacity_engine::{
    AccountView, CapacityInfo, LimitKind, MetricsHealth, NamespaceId, PerLimit, Policy, ReasonCode,
    ReportedUsage, Snapshot, UsageGap, decide, wants_capacity_info,
};
use futures::StreamExt;
use jiff::Timestamp;

use crate::autopilot::{Autopilot, Evaluation, Judged, Scope};
use crate::clock::ANNOUNCED_SKEW;

pub use families::metric_families;
pub(crate) use namespaces::{present_capacity, request_state, wanted_capacity};

use metrics::Detail;
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
    Id(#[source] capacity_engine::InvalidNamespaceId),
    /// A glob matches none of the listed namespaces.
    #[error("no namespace of the account matches {patterns}; the account lists {listed} namespaces")]
    NothingMatches {
        /// The globs that match nothing.
        patterns: String,
        /// How many namespaces are listed.
        listed: usize,
    },
}

impl Autopilot {
    /// Observes the account and decides; changes nothing.
    ///
    /// Metrics that cannot be read make the account blind: every namespace is held then, and that is no error.
    ///
    /// # Errors
    ///
    /// When the list of namespaces cannot be read to its end: nothing is decided on half a list.
    pub async fn evaluate(&self, scope: &Scope) -> Result<Evaluation, ObserveError> {
        self.evaluate_with_progress(scope, &|_| ()).await
    }

    /// As [`Autopilot::evaluate`], telling what it does.
    ///
    /// # Errors
    ///
    /// As [`Autopilot::evaluate`].
    pub async fn evaluate_with_progress(
        &self,
        scope: &Scope,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Evaluation, ObserveError> {
        evaluate(self, scope, progress).await
    }
}

async fn evaluate(
    autopilot: &Autopilot,
    scope: &Scope,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Evaluation, ObserveError> {
    let (ops_before, metrics_before) = (
        autopilot.ops().requests_made(),
        autopilot.metrics().requests_made(),
    );
    let mut warnings = Vec::new();
    let listed = list(autopilot, progress).await?;
    let in_scope = in_scope(&listed, scope)?;
    warn_of_idle_filters(autopilot, &listed, &mut warnings);

    let mut round = Round::new(autopilot, &in_scope);
    progress(Progress::ReadingMetrics(round.names.len()));
    let whole_account = matches!(scope, Scope::All);
    // Of an account too large for one answer, what has many series is read for those namespaces only that need it.
    let detail = if whole_account {
        metrics::first_detail(autopilot.metrics(), round.names.len())
    } else {
        Detail::Everything
    };
    round
        .read_metrics(autopilot, detail, whole_account, &mut warnings)
        .await;
    if detail == Detail::Candidates {
        let numbers = round.worth_details(autopilot.now());
        progress(Progress::ReadingMetrics(numbers.len()));
        round.read_details(autopilot, &numbers, &mut warnings).await;
    }
    let candidates = round.candidates(autopilot.now());
    progress(Progress::ReadingCapacityInfo(candidates.len()));
    round.read_capacity_info(autopilot, &candidates).await;

    let now = autopilot.now();
    let decisions = round.decide(now);
    Ok(Evaluation {
        evaluated_at: now,
        account: listed
            .iter()
            .find_map(|listed| listed.id.account().map(str::to_owned)),
        blind: is_blind(&decisions),
        decisions,
        warnings,
        ops_requests: autopilot.ops().requests_made() - ops_before,
        metrics_requests: autopilot.metrics().requests_made() - metrics_before,
    })
}

async fn list(
    autopilot: &Autopilot,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Vec<Listed>, ObserveError> {
    let mut listed: Vec<Listed> = Vec::new();
    let mut problem = None;
    progress(Progress::Listing(0));
    let each = |namespace| {
        match Listed::try_from(namespace) {
            Ok(one) => listed.push(one),
            Err(error) => problem = Some(error),
        }
        if listed.len().is_multiple_of(1_000) {
            progress(Progress::Listing(listed.len()));
        }
    };
    autopilot
        .ops()
        .for_each_namespace(each)
        .await
        .map_err(ObserveError::List)?;
    if let Some(error) = problem {
        return Err(ObserveError::Id(error));
    }
    listed.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(listed)
}

fn in_scope<'a>(listed: &'a [Listed], scope: &Scope) -> Result<Vec<&'a Listed>, ObserveError> {
    if let Scope::Matching(patterns) = scope {
        let unmatched = patterns.unmatched(listed.iter().map(|listed| &listed.id));
        if !unmatched.is_empty() {
            return Err(ObserveError::NothingMatches {
                patterns: unmatched.join(", "),
                listed: listed.len(),
            });
        }
    }
    Ok(listed
        .iter()
        .filter(|listed| scope.contains(&listed.id))
        .collect())
}

fn warn_of_idle_filters(autopilot: &Autopilot, listed: &[Listed], warnings: &mut Vec<String>) {
    let filter = &autopilot.settings().policy.filter;
    for (setting, patterns) in [
        ("NAMESPACE_ALLOWLIST", &filter.allow),
        ("NAMESPACE_DENYLIST", &filter.deny),
    ] {
        for entry in patterns.unmatched(listed.iter().map(|listed| &listed.id)) {
            warnings.push(format!(
                "{setting}: `{entry}` matches no namespace of the account; is it misspelt?"
            ));
        }
    }
}

/// The state of one evaluation: snapshots of everything in scope, in the order of their names.
struct Round<'a> {
    names: Vec<NamespaceId>,
    versions: Vec<&'a str>,
    snapshots: Vec<Snapshot>,
    account: AccountView,
    policy: &'a Policy,
}

impl<'a> Round<'a> {
    fn new(autopilot: &'a Autopilot, in_scope: &[&'a Listed]) -> Self {
        let snapshot = |listed: &&Listed| Snapshot {
            change_refused: autopilot.refusal_of(&listed.id),
            ..listed.snapshot.clone()
        };
        Self {
            names: in_scope.iter().map(|listed| listed.id.clone()).collect(),
            versions: in_scope
                .iter()
                .map(|listed| listed.resource_version.as_str())
                .collect(),
            snapshots: in_scope.iter().map(snapshot).collect(),
            account: AccountView {
                metrics: MetricsHealth::Complete,
                home: autopilot.settings().home.clone(),
            },
            policy: &autopilot.settings().policy,
        }
    }

    /// Reads the metrics of everything in scope.
    async fn read_metrics(
        &mut self,
        autopilot: &Autopilot,
        detail: Detail,
        whole_account: bool,
        warnings: &mut Vec<String>,
    ) {
        let read = metrics::read(autopilot.metrics(), &self.names, detail, !whole_account).await;
        correct_clock(autopilot, warnings);
        match read {
            Err(why) => self.account.metrics = MetricsHealth::Incomplete { why },
            Ok(mut metrics) => {
                warn_of_metrics(&metrics, whole_account, warnings);
                for (name, snapshot) in self.names.iter().zip(&mut self.snapshots) {
                    fill(
                        snapshot,
                        metrics.namespaces.remove(name.as_str()),
                        metrics.missing_families,
                    );
                }
            }
        }
    }

    /// Reads everything there is of some namespaces, in place of what was read before.
    async fn read_details(&mut self, autopilot: &Autopilot, numbers: &[usize], warnings: &mut Vec<String>) {
        if numbers.is_empty() {
            return;
        }
        let names: Vec<NamespaceId> = numbers.iter().map(|number| self.names[*number].clone()).collect();
        match metrics::read(autopilot.metrics(), &names, Detail::Everything, true).await {
            Err(why) => {
                self.account.metrics = MetricsHealth::Incomplete {
                    why: format!("of {} candidates: {why}", names.len()),
                };
            }
            Ok(mut metrics) => {
                warn_of_metrics(&metrics, false, warnings);
                for (number, name) in numbers.iter().zip(&names) {
                    let read = metrics.namespaces.remove(name.as_str());
                    fill(&mut self.snapshots[*number], read, metrics.missing_families);
                }
            }
        }
    }

    /// Namespaces for which the rule wants a change.
    fn candidates(&self, now: Timestamp) -> Vec<usize> {
        let wants = |snapshot: &Snapshot| wants_capacity_info(snapshot, &self.account, self.policy, now);
        (0..self.snapshots.len())
            .filter(|number| wants(&self.snapshots[*number]))
            .collect()
    }

    /// Namespaces for which the rule may want a change, or whose share of throttled work is to be told.
    fn worth_details(&self, now: Timestamp) -> Vec<usize> {
        let throttled = |snapshot: &Snapshot| match &snapshot.usage {
            ReportedUsage::Known(window) => {
                let usage = &window.newest().usage;
                LimitKind::ALL
                    .into_iter()
                    .any(|kind| !usage[kind].throttled.is_zero())
            }
            ReportedUsage::Missing | ReportedUsage::Unknown { .. } => false,
        };
        let worth = |snapshot: &Snapshot| {
            throttled(snapshot) || wants_capacity_info(snapshot, &self.account, self.policy, now)
        };
        (0..self.snapshots.len())
            .filter(|number| worth(&self.snapshots[*number]))
            .collect()
    }

    async fn read_capacity_info(&mut self, autopilot: &Autopilot, candidates: &[usize]) {
        let names = &self.names;
        let read = |number: usize| async move {
            let info = autopilot.ops().capacity_info(names[number].as_str()).await;
            (number, namespaces::capacity_info(info))
        };
        let infos: Vec<(usize, CapacityInfo)> = futures::stream::iter(candidates.iter().copied().map(read))
            .buffer_unordered(CONCURRENT_INFOS)
            .collect()
            .await;
        for (number, info) in infos {
            self.snapshots[number].capacity_info = info;
        }
    }

    fn decide(&self, now: Timestamp) -> Vec<Judged> {
        let pairs = self.snapshots.iter().zip(&self.versions);
        pairs
            .map(|(snapshot, version)| {
                let decision = decide(snapshot, &self.account, self.policy, now);
                let reason = decision.reason_code.as_str();
                if decision.action.is_change() || decision.announce {
                    tracing::info!(namespace = %decision.namespace, reason, "{decision}");
                } else {
                    tracing::debug!(namespace = %decision.namespace, reason, "{decision}");
                }
                Judged {
                    decision,
                    resource_version: (*version).to_owned(),
                }
            })
            .collect()
    }
}

/// Blind: the account's metrics are incomplete, or of all that was judged nothing has usable ones.
fn is_blind(decisions: &[Judged]) -> bool {
    let mut without_metrics = false;
    for judged in decisions {
        match judged.decision.reason_code {
            ReasonCode::MetricsIncomplete => return true,
            ReasonCode::MetricsMissing | ReasonCode::MetricsStale => without_metrics = true,
            // Ended before the metrics were looked at: says nothing about them.
            ReasonCode::Denied
            | ReasonCode::NotAllowed
            | ReasonCode::NamespaceNotActive
            | ReasonCode::ReplicaMoving
            | ReasonCode::ChangeInProgress
            | ReasonCode::CapacityUnknown => {}
            _ => return false,
        }
    }
    without_metrics
}

fn fill(snapshot: &mut Snapshot, metrics: Option<NamespaceMetrics>, missing: PerLimit<bool>) {
    let Some(metrics) = metrics else {
        snapshot.usage = ReportedUsage::Missing;
        return;
    };
    snapshot.limits = metrics.limits;
    snapshot.envelopes = metrics.envelopes;
    snapshot.usage_gaps = PerLimit::from_fn(|kind| {
        if missing[kind] {
            Some(UsageGap::FamilyMissing)
        } else {
            metrics.gaps[kind]
        }
    });
    snapshot.usage = metrics.sample.into();
}

fn correct_clock(autopilot: &Autopilot, warnings: &mut Vec<String>) {
    let Some(date) = autopilot.metrics().server_time() else {
        return;
    };
    let behind = autopilot.clock().correct(date);
    if behind.abs() > ANNOUNCED_SKEW {
        let word = if behind.is_positive() {
            "behind"
        } else {
            "ahead of"
        };
        warnings.push(format!(
            "this machine's clock is {} s {word} the service's, whose time was used instead: synchronise the clock",
            behind.abs().as_secs()
        ));
    }
}

fn warn_of_metrics(metrics: &AccountMetrics, whole_account: bool, warnings: &mut Vec<String>) {
    if metrics.unlabelled > 0 {
        warnings.push(format!(
            "{} metrics samples carry no namespace and count for nobody",
            metrics.unlabelled
        ));
    }
    if whole_account && metrics.stranger_count > 0 {
        let named: Vec<&str> = metrics.strangers.iter().map(String::as_str).collect();
        let more = if metrics.stranger_count > named.len() {
            ", ..."
        } else {
            ""
        };
        warnings.push(format!(
            "the metrics show {} namespaces that the list does not ({}{more}): the Cloud Ops key may not see them",
            metrics.stranger_count,
            named.join(", ")
        ));
    }
    for kind in LimitKind::ALL {
        if metrics.missing_families[kind] {
            warnings.push(format!(
                "the metrics of {} appear nowhere in the account while others do: nothing is given back on that",
                kind.noun()
            ));
        }
    }
}
