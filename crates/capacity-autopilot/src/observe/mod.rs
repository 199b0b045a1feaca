//! Observing an account and deciding on what was seen.
//!
//! The order: list all namespaces; take the newest minute of the ledger if it is fresh, else read the families that name
//! candidates, for the whole account; judge once with the pure rule; read the many per-operation series, all of one
//! minute with the rest, and capacity info for candidates only; decide. A small account fits into one response and is read
//! whole at once. Releases are based on metrics that were read in this evaluation.

mod capacity_infos;
mod families;
mod foreign;
mod history;
mod metrics;
mod moving;
mod namespaces;
mod observation;
mod policies;
mod reading;
mod recalled;
mod recorded;
mod sampling;
mod source;
mod stored;
mod unknown_throttling;
mod usage;
mod warnings;

use std::time::Duration;

use capacity_engine::{
    AccountView, Capacity, Direction, LimitKind, MetricsHealth, MetricsProblem, NamespaceId, PerLimit,
    ReasonCode, ReportedUsage, Restriction, RestrictionOrigin, Snapshot, UsageGap,
};
use jiff::{SignedDuration, Timestamp};

use crate::autopilot::{
    Autopilot, Evaluation, EvaluationRequest, Judged, Scope, ShadowDecision, UsageSource,
};
use crate::ledger_handle::ledger_unavailable;
use crate::text::counted;

pub use families::metric_families;
pub(crate) use foreign::SizesSeen;
pub use namespaces::may_be_provisioned;
pub(crate) use namespaces::{present_capacity, request_state, somebody_elses_change, wanted_capacity};
pub use observation::{Observation, ObservedNamespace};
pub(crate) use policies::state_key;
pub use recalled::{RecalledDecision, decision_in_ledger};
pub use recorded::{
    RecordedMinute, RecordedNotes, minutes_of_ledger, minutes_of_prometheus, namespaces_of_prometheus,
};
pub use sampling::{Sampled, Sampler, Sampling, SamplingRule, sampling_rule};
pub use source::MetricsSource;
pub use stored::{StoredSeries, stored_series};
pub use unknown_throttling::families_of_unknown_throttling;
pub(crate) use usage::StandbySeen;
pub(crate) use warnings::METRICS_UNAVAILABLE;

use history::Histories;
use metrics::Detail;
use namespaces::Listed;
use policies::Judge;
use reading::{Purpose, Reading, Recalled};
use usage::{AccountMetrics, NamespaceMetrics};

/// How much of its allowed age a ledger's newest minute must have left to be used: the evaluation takes time as well.
const MARGIN: SignedDuration = SignedDuration::from_mins(1);

/// How often, and how long each time, deciding again waits for the next minute of a working sampler: one that samples every
/// minute has written it by then.
const SAMPLER_WAITS: u32 = 8;
const SAMPLER_WAIT: Duration = Duration::from_secs(10);
/// A sampler whose last minute is too old by no more than this is still working.
const SAMPLED_LATELY: SignedDuration = SignedDuration::from_mins(3);

/// Up to this number of points per minute, everything is read from Prometheus at once: an hour of them takes a few seconds.
const STORED_POINTS: usize = 30_000;

/// What an evaluation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Listing namespaces; the number found so far.
    Listing(usize),
    /// Reading the metrics of this number of namespaces.
    ReadingMetrics(usize),
    /// Reading the capacity info of this number of candidates.
    ReadingCapacityInfo(usize),
}

/// The causes follow in the alternate form (`{error:#}`), as in the errors of the clients.
fn not_listed(source: &cloud_ops_client::Error, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    f.write_str("the namespaces of the account could not be listed; nothing was decided")?;
    if f.alternate() {
        write!(f, ": {source:#}")?;
    }
    Ok(())
}

/// An account that could not be observed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObserveError {
    /// The list of namespaces could not be read completely.
    #[error(fmt = not_listed)]
    List(#[source] cloud_ops_client::Error),
    /// The list names a namespace in a way we cannot read.
    #[error("the list of namespaces contains an invalid id: {0}")]
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
    /// Metrics that cannot be read are not an error: every namespace is held then.
    ///
    /// # Errors
    ///
    /// If the list of namespaces cannot be read completely: nothing is decided on half a list.
    pub async fn evaluate(&self, scope: &Scope) -> Result<Evaluation, ObserveError> {
        let request = EvaluationRequest::of(scope.clone());
        self.evaluate_on(&request, &|_| ()).await
    }

    /// As [`Autopilot::evaluate`], under the restrictions of a request, reporting progress.
    ///
    /// # Errors
    ///
    /// As [`Autopilot::evaluate`].
    pub async fn evaluate_on(
        &self,
        request: &EvaluationRequest,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Evaluation, ObserveError> {
        evaluate(self, request, progress).await
    }
}

async fn evaluate(
    autopilot: &Autopilot,
    request: &EvaluationRequest,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Evaluation, ObserveError> {
    let (ops_before, metrics_before) = (
        autopilot.ops().requests_made(),
        autopilot.metrics().counted_requests(),
    );
    let mut warnings = Vec::new();
    let listed = list(autopilot, progress).await?;
    warnings::of_clock(autopilot.clock_skew(), &mut warnings);
    let in_scope = in_scope(&listed, &request.scope)?;
    warnings::of_filters(autopilot, &listed, &mut warnings);
    let account = account_of(listed.iter().map(|listed| &listed.id));

    let mut round = Round::new(autopilot, &in_scope, account.clone(), request);
    round.look(request, progress, &mut warnings).await;
    let candidates = round.candidates_of_all(autopilot.now());
    progress(Progress::ReadingCapacityInfo(candidates.len()));
    round
        .errors
        .extend(capacity_infos::read(autopilot, &mut round.snapshots, candidates).await);

    let now = autopilot.now();
    let decisions = round.decide(now);
    autopilot.sizes_seen().take(&decisions);
    for error in &round.errors {
        tracing::warn!("{error}");
    }
    warnings::of_decisions(&round.account, &decisions, &mut warnings);
    Ok(Evaluation {
        evaluated_at: now,
        account,
        price: autopilot.settings().policy.threshold.price.clone(),
        metrics_unavailable: metrics_unavailable(&round.account, &decisions),
        decisions,
        policy: autopilot.settings().policy.clone(),
        usage_source: round.usage_source(),
        ledger_problem: round.reading.ledger_failure.as_ref().map(ToString::to_string),
        warnings,
        errors: round.errors,
        view: round.account,
        ops_requests: autopilot.ops().requests_made() - ops_before,
        metrics_requests: autopilot.metrics().counted_requests() - metrics_before,
    })
}

/// The account before its metrics are read.
fn account_view(autopilot: &Autopilot, request: &EvaluationRequest) -> AccountView {
    let mut account = AccountView::new(MetricsHealth::Complete);
    account.home.clone_from(&autopilot.settings().home);
    account.restrictions.clone_from(&request.restrictions);
    account
}

/// The account, if a namespace id contains it.
fn account_of<'a>(mut namespaces: impl Iterator<Item = &'a NamespaceId>) -> Option<String> {
    namespaces.find_map(|namespace| namespace.account().map(str::to_owned))
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
    // Metrics may come from the ledger, without an answer that has the time.
    if let Some(date) = autopilot.ops().server_time() {
        autopilot.clock().correct(date);
    }
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

/// The state of one evaluation: snapshots of everything in scope, in the order of their names.
struct Round<'a> {
    autopilot: &'a Autopilot,
    reading: Reading<'a>,
    names: Vec<NamespaceId>,
    versions: Vec<&'a str>,
    snapshots: Vec<Snapshot>,
    /// Minutes before the newest ones.
    older: Histories,
    account: AccountView,
    /// Whether releases may be based on a fresh and complete minute of the ledger.
    ledger_is_enough: bool,
    /// What failed and does not stop the evaluation.
    errors: Vec<String>,
    /// The policy that decides, with its state.
    acting: Judge,
    /// The policy in shadow.
    shadow: Option<Judge>,
}

impl<'a> Round<'a> {
    fn new(
        autopilot: &'a Autopilot,
        in_scope: &[&'a Listed],
        account: Option<String>,
        request: &EvaluationRequest,
    ) -> Self {
        let snapshot = |listed: &&Listed| {
            let mut snapshot = listed.snapshot.clone();
            snapshot.change_refused = autopilot.refusal_of(&listed.id, &listed.resource_version);
            snapshot
        };
        Self {
            autopilot,
            reading: Reading::new(autopilot, account),
            names: in_scope.iter().map(|listed| listed.id.clone()).collect(),
            versions: in_scope
                .iter()
                .map(|listed| listed.resource_version.as_str())
                .collect(),
            snapshots: in_scope.iter().map(snapshot).collect(),
            older: Histories::default(),
            account: account_view(autopilot, request),
            ledger_is_enough: request.ledger_is_enough,
            errors: Vec::new(),
            acting: Judge::acting(&autopilot.settings().policy),
            shadow: Judge::in_shadow(&autopilot.settings().policy),
        }
    }

    /// Reads everything that decisions are based on, except capacity infos.
    async fn look(
        &mut self,
        request: &EvaluationRequest,
        progress: &(dyn Fn(Progress) + Sync),
        warnings: &mut Vec<String>,
    ) {
        progress(Progress::ReadingMetrics(self.names.len()));
        self.recall_states().await;
        self.observe(matches!(request.scope, Scope::All), progress, warnings)
            .await;
        self.look_for_unknown_throttling(warnings).await;
        self.fill_in_standby();
        moving::look_up(self.autopilot, &mut self.snapshots).await;
        foreign::look_up(&mut self.reading, &mut self.snapshots, self.autopilot.now()).await;
    }

    /// Fills in what was used.
    async fn observe(
        &mut self,
        whole_account: bool,
        progress: &(dyn Fn(Progress) + Sync),
        warnings: &mut Vec<String>,
    ) {
        let remembered = self.remember().await;
        // In an account too large for one answer, families with many series are read only for namespaces that need them.
        let detail = match self.autopilot.metrics() {
            MetricsSource::Endpoint(scraper) if whole_account => {
                metrics::first_detail(scraper.config().points_per_answer, self.names.len())
            }
            MetricsSource::Prometheus(_) if whole_account => {
                metrics::first_detail(STORED_POINTS, self.names.len())
            }
            MetricsSource::Endpoint(_) | MetricsSource::Prometheus(_) => Detail::Everything,
        };
        if !remembered {
            self.read_metrics(detail, whole_account, warnings).await;
        }
        let numbers = match (remembered, detail) {
            (true, _) => self.worth_reading_again(self.autopilot.now()),
            (false, Detail::Candidates) => self.worth_details(self.autopilot.now()),
            (false, Detail::Everything) => Vec::new(),
        };
        if !numbers.is_empty() {
            progress(Progress::ReadingMetrics(numbers.len()));
            self.read_details(&numbers, warnings).await;
        }
        for snapshot in &mut self.snapshots {
            note_unread(snapshot);
        }
        if let Some(error) = &self.reading.ledger_failure {
            warnings.push(error.to_string());
            self.account.restrictions.push(ledger_unavailable(error));
        }
    }

    /// Reads the hours in the ledger. Returns whether its newest minute is fresh enough to skip another reading.
    async fn remember(&mut self) -> bool {
        let MetricsSource::Endpoint(_) = self.autopilot.metrics() else {
            // Prometheus has the minutes itself.
            return false;
        };
        let fresh = self.autopilot.settings().metrics_max_age() - MARGIN;
        let mut waits = if self.ledger_is_enough { SAMPLER_WAITS } else { 0 };
        loop {
            let now = self.autopilot.now();
            let Recalled {
                newest,
                complete,
                older,
            } = self.reading.recall(now).await;
            self.older = older;
            let age = complete.map(|minute| now.duration_since(minute));
            if age.is_some_and(|age| age <= fresh) {
                self.fill_all(newest);
                return true;
            }
            // The sampler's next minute is due soon, and its requests are reserved.
            let is_sampled = age.is_some_and(|age| age <= fresh + SAMPLED_LATELY);
            if waits == 0 || !is_sampled {
                return false;
            }
            waits -= 1;
            tokio::time::sleep(self.autopilot.clock().in_our_time(SAMPLER_WAIT)).await;
        }
    }

    /// Deciding again never takes the requests of the sampler's next minute, on which it would decide as well.
    fn purpose(&self) -> Purpose {
        if !self.ledger_is_enough {
            return Purpose::Evaluation;
        }
        let pairs = self.names.iter().zip(&self.snapshots);
        let provisioned: Vec<NamespaceId> = pairs
            .filter(|(_, snapshot)| !is_on_demand(snapshot))
            .map(|(name, _)| name.clone())
            .collect();
        let rule = sampling_rule(self.autopilot.metrics(), &self.names, &provisioned);
        Purpose::EvaluationAgain {
            spared: rule.requests,
        }
    }

    fn fill_all(&mut self, mut metrics: AccountMetrics) {
        for (name, snapshot) in self.names.iter().zip(&mut self.snapshots) {
            let read = metrics.namespaces.remove(name.as_str());
            fill(snapshot, read, metrics.missing_families, &self.older);
        }
    }

    /// Reads the metrics of everything in scope.
    async fn read_metrics(&mut self, detail: Detail, whole_account: bool, warnings: &mut Vec<String>) {
        let purpose = self.purpose();
        let names = std::mem::take(&mut self.names);
        let read = self.reading.read(&names, detail, !whole_account, purpose).await;
        self.names = names;
        match read {
            Err(unread) => {
                self.errors.extend(unread.rejection());
                self.account.metrics = MetricsHealth::Incomplete {
                    problem: unread.problem,
                    why: unread.why,
                };
            }
            Ok(read) => {
                warnings::of_metrics(&read.metrics, whole_account, warnings);
                self.reading.record(&read.metrics, whole_account).await;
                if !read.older.is_empty() {
                    self.older = read.older;
                }
                self.fill_all(read.metrics);
            }
        }
    }

    /// Reads all metrics of some namespaces, replacing what was known before.
    async fn read_details(&mut self, numbers: &[usize], warnings: &mut Vec<String>) {
        let names: Vec<NamespaceId> = numbers.iter().map(|number| self.names[*number].clone()).collect();
        let purpose = self.purpose();
        let read = self.reading.read(&names, Detail::Everything, true, purpose).await;
        match read {
            // Throttling was read before, so scaling up continues.
            Err(unread) => {
                self.errors.extend(unread.rejection());
                let why = format!(
                    "the metrics of {} are incomplete: {}",
                    counted(names.len(), "candidate"),
                    unread.why
                );
                // Whatever else may be released was read: a queued release stays queued.
                self.account.restrictions.extend(names.into_iter().map(|name| {
                    Restriction::new(
                        Direction::ScaleDown,
                        ReasonCode::MetricsIncomplete,
                        why.clone(),
                        RestrictionOrigin::Metrics,
                    )
                    .on(name)
                }));
            }
            Ok(mut read) => {
                warnings::of_metrics(&read.metrics, false, warnings);
                self.reading.record(&read.metrics, false).await;
                let older = if read.older.is_empty() {
                    &self.older
                } else {
                    &read.older
                };
                for (number, name) in numbers.iter().zip(&names) {
                    let metrics = read.metrics.namespaces.remove(name.as_str());
                    let snapshot = &mut self.snapshots[*number];
                    fill(snapshot, metrics, read.metrics.missing_families, older);
                }
            }
        }
    }

    /// Namespaces that are throttled in a way that this version does not know are not scaled down.
    async fn look_for_unknown_throttling(&mut self, warnings: &mut Vec<String>) {
        let candidates = self.candidates(self.autopilot.now()).into_iter();
        let scaled_down: Vec<NamespaceId> = candidates
            .filter(|number| !is_on_demand(&self.snapshots[*number]))
            .map(|number| self.names[number].clone())
            .collect();
        match unknown_throttling::restrictions(self.autopilot, &scaled_down).await {
            Ok(restrictions) => self.account.restrictions.extend(restrictions),
            Err(why) => warnings.push(format!(
                "cannot check for kinds of throttling that this version does not know: {why}"
            )),
        }
    }

    /// A minute of the ledger does not contain what standby replicas served: this process reports what it read last.
    fn fill_in_standby(&mut self) {
        let now = self.autopilot.now();
        for (name, snapshot) in self.names.iter().zip(&mut self.snapshots) {
            if let Some(standby) = self.autopilot.standby_seen().of(name, now) {
                snapshot.standby = standby;
            }
        }
    }

    /// Takes what policies remember.
    async fn recall_states(&mut self) {
        for judge in std::iter::once(&mut self.acting).chain(&mut self.shadow) {
            judge.recall(&mut self.reading).await;
        }
    }

    fn wants_info(&self, snapshot: &Snapshot, now: Timestamp) -> bool {
        self.acting.wants_capacity_info(snapshot, &self.account, now)
    }

    /// Namespaces for which the policy wants a change.
    fn candidates(&self, now: Timestamp) -> Vec<usize> {
        self.numbers(|snapshot| self.wants_info(snapshot, now))
    }

    /// Namespaces for which the policy, or the one in shadow, wants a change.
    fn candidates_of_all(&self, now: Timestamp) -> Vec<usize> {
        let in_shadow = |snapshot: &Snapshot| {
            let mut shadow = self.shadow.iter();
            shadow.any(|shadow| shadow.wants_capacity_info(snapshot, &self.account, now))
        };
        self.numbers(|snapshot| self.wants_info(snapshot, now) || in_shadow(snapshot))
    }

    /// Namespaces for which the rule may want a change, or whose share of throttled work is reported.
    fn worth_details(&self, now: Timestamp) -> Vec<usize> {
        self.numbers(|snapshot| is_throttled(snapshot) || self.wants_info(snapshot, now))
    }

    /// Of what the ledger holds: what may be released, and what throttles and was not read whole.
    fn worth_reading_again(&self, now: Timestamp) -> Vec<usize> {
        self.numbers(|snapshot| {
            let wants = self.wants_info(snapshot, now);
            (wants && !is_on_demand(snapshot) && !self.ledger_is_enough)
                || ((wants || is_throttled(snapshot)) && !is_read_whole(snapshot))
        })
    }

    fn numbers(&self, holds: impl Fn(&Snapshot) -> bool) -> Vec<usize> {
        (0..self.snapshots.len())
            .filter(|number| holds(&self.snapshots[*number]))
            .collect()
    }

    /// Where the data of the hour came from.
    fn usage_source(&self) -> UsageSource {
        match (self.autopilot.metrics(), self.autopilot.ledger()) {
            (MetricsSource::Prometheus(_), _) => UsageSource::Prometheus,
            (MetricsSource::Endpoint(_), Some(_)) if self.reading.ledger_failure.is_none() => {
                UsageSource::Ledger
            }
            (MetricsSource::Endpoint(_), _) => UsageSource::OneMinute,
        }
    }

    fn decide(&mut self, now: Timestamp) -> Vec<Judged> {
        let snapshots = std::mem::take(&mut self.snapshots);
        let pairs = snapshots.into_iter().zip(&self.versions);
        pairs
            .map(|(snapshot, version)| {
                let (decision, next_state) = self.acting.decide(&snapshot, &self.account, now);
                let reason = decision.reason_code.as_str();
                if decision.action.is_change() || decision.announce {
                    tracing::info!(namespace = %decision.namespace, reason, "{decision}");
                } else {
                    tracing::debug!(namespace = %decision.namespace, reason, "{decision}");
                }
                Judged {
                    decision,
                    resource_version: (*version).to_owned(),
                    next_state,
                    shadow: self.shadow.as_ref().map(|shadow| {
                        let (decision, next_state) = shadow.decide(&snapshot, &self.account, now);
                        ShadowDecision { decision, next_state }
                    }),
                    state: self.acting.state(&snapshot.namespace).cloned(),
                    snapshot,
                }
            })
            .collect()
    }
}

/// The account's metrics are incomplete, or none of the namespaces that were judged has usable ones.
fn metrics_unavailable(account: &AccountView, decisions: &[Judged]) -> Option<MetricsProblem> {
    let mut without_metrics = None;
    for judged in decisions {
        match judged.decision.reason_code {
            // Also if only scaling down is blocked because of that.
            ReasonCode::MetricsIncomplete => {
                return match &account.metrics {
                    MetricsHealth::Incomplete { problem, .. } => Some(*problem),
                    _ => None,
                };
            }
            ReasonCode::MetricsMissing | ReasonCode::MetricsStale => {
                without_metrics = Some(MetricsProblem::Stale);
            }
            // Decided before the metrics were checked, so it says nothing about them.
            ReasonCode::Denied
            | ReasonCode::NotAllowed
            | ReasonCode::NamespaceNotActive
            | ReasonCode::ReplicaMoving
            | ReasonCode::ChangeInProgress
            | ReasonCode::CapacityUnknown => {}
            _ => return None,
        }
    }
    without_metrics
}

fn fill(
    snapshot: &mut Snapshot,
    metrics: Option<NamespaceMetrics>,
    missing: PerLimit<bool>,
    older: &Histories,
) {
    let Some(metrics) = metrics else {
        snapshot.usage = ReportedUsage::Missing;
        return;
    };
    snapshot.limits = metrics.limits;
    snapshot.envelopes = metrics.envelopes;
    snapshot.standby = metrics.standby;
    snapshot.usage_gaps = PerLimit::from_fn(|kind| {
        if missing[kind] {
            Some(UsageGap::FamilyMissing)
        } else {
            metrics.gaps[kind]
        }
    });
    snapshot.usage = match metrics.sample {
        Ok(newest) => ReportedUsage::Known(older.window(&snapshot.namespace, newest)),
        Err(why) => ReportedUsage::Unknown { why },
    };
}

fn is_on_demand(snapshot: &Snapshot) -> bool {
    let Snapshot {
        status,
        spec,
        latest_request,
        ..
    } = snapshot;
    capacity_engine::present_capacity(status, spec, latest_request.as_ref()) == Ok(Capacity::OnDemand)
}

fn is_throttled(snapshot: &Snapshot) -> bool {
    match &snapshot.usage {
        ReportedUsage::Known(window) => {
            let usage = &window.newest().usage;
            LimitKind::ALL
                .into_iter()
                .any(|kind| !usage[kind].throttled.is_zero())
        }
        ReportedUsage::Missing | ReportedUsage::Unknown { .. } => false,
    }
}

fn is_read_whole(snapshot: &Snapshot) -> bool {
    match &snapshot.usage {
        ReportedUsage::Known(window) => LimitKind::ALL
            .into_iter()
            .all(|kind| window.newest().served_read[kind]),
        ReportedUsage::Missing | ReportedUsage::Unknown { .. } => false,
    }
}

/// What of the newest minute was not read is a gap, unless a worse one is known.
fn note_unread(snapshot: &mut Snapshot) {
    if let ReportedUsage::Known(window) = &snapshot.usage {
        let read = window.newest().served_read;
        for kind in LimitKind::ALL {
            if !read[kind] && snapshot.usage_gaps[kind].is_none() {
                snapshot.usage_gaps[kind] = Some(UsageGap::NotRead);
            }
        }
    }
}
