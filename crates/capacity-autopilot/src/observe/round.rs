//! One round of observing: reads what is known about each namespace from the best source.

use capacity_engine::{
    AccountView, Direction, LimitKind, MetricsHealth, NamespaceId, PerLimit, ReasonCode, ReportedUsage,
    Restriction, RestrictionOrigin, Snapshot, UsageGap,
};
use human_text::{chain, counted};

use super::candidates::Candidates;
use super::capacity_infos::{CapacityInfos, Wanted};
use super::first::{First, Usage, list_and_read};
use super::policies::Judge;
use super::{foreign, moving, unknown_throttling, warnings};
use crate::autopilot::Autopilot;
use crate::clock::machine_time;
use crate::evaluation::{EvaluationRequest, ObservedAccount, ObservedNamespace, Scope, UsageSource};
use crate::listing::{ObserveError, Progress, in_scope};
use crate::metrics::{AccountMetrics, Detail, Histories, MetricsSource, NamespaceMetrics};
use crate::namespaces::{account_of, is_on_demand};
use crate::reading::{Purpose, Reading};
use crate::sampling::sampling_rule;
use crate::timing::{Part, Running, Timing};
use crate::warning::{ObserveFailure, Warning};

/// Returns the view of the account before its metrics are read.
fn account_view(autopilot: &Autopilot, request: &EvaluationRequest) -> AccountView {
    let mut account = AccountView::new(MetricsHealth::Complete);
    account.home.clone_from(&autopilot.settings().home);
    account.restrictions.clone_from(&request.restrictions);
    account
}

/// The state of one evaluation: snapshots of everything in scope, ordered by name.
struct Round<'a> {
    autopilot: &'a Autopilot,
    reading: Reading<'a>,
    /// Account id, if the namespace ids contain it.
    account_id: Option<String>,
    names: Vec<NamespaceId>,
    versions: Vec<String>,
    snapshots: Vec<Snapshot>,
    /// Minutes before the newest ones, for namespaces whose window has not been built yet.
    older: Histories,
    /// Whether the ledger has any minutes.
    has_history: bool,
    account: AccountView,
    /// Why metrics are read. In a re-evaluation, releases may be based on a fresh and complete minute of the ledger.
    purpose: Purpose,
    /// Failures that do not stop the evaluation.
    errors: Vec<ObserveFailure>,
    timings: Vec<Timing>,
    /// The active policy and its state.
    acting: Judge,
    /// The shadow policy and its state.
    shadow: Option<Judge>,
}

/// The namespaces whose capacity info is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Infos {
    /// Namespaces that a policy wants to change.
    OfCandidates,
    /// All namespaces.
    OfAll,
}

/// The result of a round, and the policies that decide on it.
pub(super) struct Observed {
    pub(super) account: ObservedAccount,
    /// Namespaces, sorted by name.
    pub(super) namespaces: Vec<ObservedNamespace>,
    pub(super) acting: Judge,
    pub(super) shadow: Option<Judge>,
}

/// Reads everything that decisions are based on.
///
/// # Errors
///
/// If the account cannot be listed.
pub(super) async fn observe(
    autopilot: &Autopilot,
    request: &EvaluationRequest,
    infos: Infos,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Observed, ObserveError> {
    let requests = || {
        (
            autopilot.ops().requests_made(),
            autopilot.metrics().counted_requests(),
        )
    };
    let (ops_before, metrics_before) = requests();
    let mut warnings = Vec::new();
    // Boxed, because the layout of its callers would otherwise be nested too deeply for the compiler.
    let round = Box::pin(Round::observed(
        autopilot,
        request,
        infos,
        progress,
        &mut warnings,
    ))
    .await?;
    let (ops_after, metrics_after) = requests();
    Ok(Observed {
        account: ObservedAccount {
            at: autopilot.now(),
            rules: autopilot.settings().rules.clone(),
            usage_source: round.usage_source(),
            ledger_problem: round.reading.ledger.failure().map(ToString::to_string),
            id: round.account_id,
            warnings,
            errors: round.errors,
            timings: round.timings,
            view: round.account,
            ops_requests: ops_after - ops_before,
            metrics_requests: metrics_after - metrics_before,
        },
        namespaces: round
            .snapshots
            .into_iter()
            .zip(round.versions)
            .map(|(snapshot, resource_version)| ObservedNamespace {
                state: round.acting.state(&snapshot.namespace).cloned(),
                snapshot,
                resource_version,
            })
            .collect(),
        acting: round.acting,
        shadow: round.shadow,
    })
}

impl<'a> Round<'a> {
    /// Reads everything that decisions are based on.
    ///
    /// # Errors
    ///
    /// If the account cannot be listed.
    async fn observed(
        autopilot: &'a Autopilot,
        request: &EvaluationRequest,
        infos: Infos,
        progress: &(dyn Fn(Progress) + Sync),
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, ObserveError> {
        let (listed, listing, early) = list_and_read(autopilot, request, progress).await?;
        // Only now: the list has just set the clock.
        warnings.extend(autopilot.clock_skew().map(|behind| Warning::Clock { behind }));
        warnings::of_filters(autopilot, &listed, warnings);
        let account_id = account_of(listed.iter().map(|listed| &listed.id));
        let (mut names, mut versions, mut snapshots) = (Vec::new(), Vec::new(), Vec::new());
        for mut listed in in_scope(listed, &request.scope)? {
            listed.snapshot.change_refused = autopilot.refusal_of(&listed.id, &listed.resource_version);
            names.push(listed.id);
            versions.push(listed.resource_version);
            snapshots.push(listed.snapshot);
        }
        progress(Progress::ReadingMetrics(names.len()));
        let whole_account = matches!(request.scope, Scope::All);
        let purpose = purpose(autopilot, request.ledger_is_enough, &names, &snapshots);
        let first = match early {
            Some(first) => first,
            None => First::read(autopilot, account_id.clone(), &names, whole_account, purpose).await,
        };
        let mut round = Self {
            autopilot,
            reading: first.reading,
            account_id,
            names,
            versions,
            snapshots,
            has_history: !first.older.is_empty(),
            older: first.older,
            account: account_view(autopilot, request),
            purpose,
            errors: Vec::new(),
            timings: vec![listing, first.timing],
            acting: first.acting,
            shadow: first.shadow,
        };
        let is_remembered = matches!(first.usage, Usage::Remembered(_));
        round.take(first.usage, whole_account, warnings).await;
        round
            .look_closer(is_remembered, first.detail, infos, progress, warnings)
            .await;
        Ok(round)
    }

    /// Reads what depends on the first pass of the rule: capacity infos, and at the same time everything else. If the
    /// details show that a candidate needs no change, its capacity info is not used.
    async fn look_closer(
        &mut self,
        is_remembered: bool,
        detail: Detail,
        infos: Infos,
        progress: &(dyn Fn(Progress) + Sync),
        warnings: &mut Vec<Warning>,
    ) {
        let mut capacity_infos = CapacityInfos::new(self.autopilot);
        // While the ledger fails, nothing is released, so wait for the final candidates.
        let early = match self.reading.ledger.failure() {
            None => self.numbers_of(infos),
            Some(_) => Vec::new(),
        };
        let wanted = Wanted::of(&self.snapshots, &early);
        let details = async {
            let running = Running::begin(Part::Details);
            self.look_at_details(is_remembered, detail, progress, warnings)
                .await;
            self.look_for_unknown_throttling(warnings).await;
            self.fill_in_standby();
            moving::look_up(self.autopilot, &mut self.snapshots).await;
            foreign::look_up(&mut self.reading, &mut self.snapshots, self.autopilot.now()).await;
            running.end(self.names.len(), None)
        };
        let reading = async {
            let running = Running::begin(Part::CapacityInfo);
            capacity_infos.read(wanted).await;
            running.end(early.len(), None)
        };
        let (mut read, details) = tokio::join!(reading, details);
        let candidates = self.numbers_of(infos);
        progress(Progress::ReadingCapacityInfo(candidates.len()));
        capacity_infos
            .read(Wanted::of(&self.snapshots, &candidates))
            .await;
        let failure = capacity_infos.fill_in(&mut self.snapshots, &candidates);
        // The second reading belongs to the same span of the trace.
        if candidates.iter().any(|number| !early.contains(number)) {
            read.until = machine_time();
        }
        read.namespaces = candidates.len();
        read.error = failure.as_ref().map(ToString::to_string);
        self.timings.extend([details, read]);
        self.errors.extend(failure);
    }

    /// Returns the namespaces whose capacity info is needed, as far as is known at this point.
    fn numbers_of(&self, infos: Infos) -> Vec<usize> {
        match infos {
            Infos::OfCandidates => self.candidates().of_both(&self.snapshots),
            Infos::OfAll => (0..self.snapshots.len()).collect(),
        }
    }

    async fn look_at_details(
        &mut self,
        is_remembered: bool,
        detail: Detail,
        progress: &(dyn Fn(Progress) + Sync),
        warnings: &mut Vec<Warning>,
    ) {
        let candidates = self.candidates();
        let numbers = match (is_remembered, detail) {
            (true, _) => {
                let ledger_is_enough = self.purpose != Purpose::Evaluation;
                candidates.worth_reading_again(&self.snapshots, ledger_is_enough)
            }
            (false, Detail::Candidates) => candidates.worth_details(&self.snapshots),
            (false, Detail::Everything) => Vec::new(),
        };
        if !numbers.is_empty() {
            progress(Progress::ReadingMetrics(numbers.len()));
            self.read_details(&numbers, warnings).await;
        }
        for snapshot in &mut self.snapshots {
            note_unread(snapshot);
        }
        if let Some(error) = self.reading.ledger.failure() {
            warnings.push(Warning::Ledger(error.to_string()));
            self.account.restrictions.push(ledger_unavailable(error));
        }
    }

    /// Fills in the usage that was read first.
    async fn take(&mut self, usage: Usage, whole_account: bool, warnings: &mut Vec<Warning>) {
        match usage {
            Usage::Remembered(newest) => self.fill_all(newest),
            Usage::Read(Err(unread)) => {
                self.errors.extend(unread.rejection());
                self.account.metrics = MetricsHealth::Incomplete {
                    problem: unread.problem,
                    why: unread.why,
                };
            }
            Usage::Read(Ok(mut read)) => {
                let is_listed = |name: &str| {
                    let found = self.names.binary_search_by(|it| it.as_str().cmp(name));
                    found.is_ok()
                };
                read.metrics.keep(is_listed);
                warnings::of_metrics(&read.metrics, whole_account, warnings);
                // Before deciding: a failure to record is a ledger failure, and then nothing is scaled
                // down.
                self.reading.record(&read.metrics, whole_account).await;
                if !read.older.is_empty() {
                    self.older = read.older;
                }
                self.fill_all(read.metrics);
            }
        }
    }

    fn fill_all(&mut self, mut metrics: AccountMetrics) {
        for (name, snapshot) in self.names.iter().zip(&mut self.snapshots) {
            let read = metrics.namespaces.remove(name.as_str());
            fill(snapshot, read, metrics.missing_families, &mut self.older);
        }
    }

    /// Reads all metrics of some namespaces, replacing what was known before.
    async fn read_details(&mut self, numbers: &[usize], warnings: &mut Vec<Warning>) {
        let names: Vec<NamespaceId> = numbers.iter().map(|number| self.names[*number].clone()).collect();
        let purpose = self.purpose;
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
                // All other namespaces that may be released were read: a queued release stays queued.
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
                let is_recalled = self.has_history && read.older.is_empty();
                let older = if read.older.is_empty() {
                    &mut self.older
                } else {
                    &mut read.older
                };
                for (number, name) in numbers.iter().zip(&names) {
                    let metrics = read.metrics.namespaces.remove(name.as_str());
                    let snapshot = &mut self.snapshots[*number];
                    if let (true, ReportedUsage::Known(window)) = (is_recalled, &snapshot.usage) {
                        older.put_back(name, window);
                    }
                    fill(snapshot, metrics, read.metrics.missing_families, older);
                }
            }
        }
    }

    /// Restricts namespaces that are throttled in a way that this version does not know, so that they are not scaled down.
    async fn look_for_unknown_throttling(&mut self, warnings: &mut Vec<Warning>) {
        let candidates = self.candidates().of_acting(&self.snapshots).into_iter();
        let scaled_down: Vec<NamespaceId> = candidates
            .filter(|number| !is_on_demand(&self.snapshots[*number]))
            .map(|number| self.names[number].clone())
            .collect();
        match unknown_throttling::restrictions(self.autopilot, &scaled_down).await {
            Ok(restrictions) => self.account.restrictions.extend(restrictions),
            Err(error) => warnings.push(Warning::UnknownThrottling(chain(&error))),
        }
    }

    /// Fills in the traffic of standby replicas. A ledger minute does not contain it, so the last value that this process read is
    /// used.
    fn fill_in_standby(&mut self) {
        let now = self.autopilot.now();
        for (name, snapshot) in self.names.iter().zip(&mut self.snapshots) {
            if let Some(standby) = self.autopilot.standby_seen().of(name, now) {
                snapshot.standby = standby;
            }
        }
    }

    /// Runs the first pass of the pure rule on what is known now.
    fn candidates(&self) -> Candidates<'_> {
        Candidates {
            acting: &self.acting,
            shadow: self.shadow.as_ref(),
            account: &self.account,
            now: self.autopilot.now(),
        }
    }

    /// Returns where the data of the last hour came from.
    fn usage_source(&self) -> UsageSource {
        match (self.autopilot.metrics(), self.autopilot.ledger()) {
            (MetricsSource::Prometheus(_), _) => UsageSource::Prometheus,
            (MetricsSource::Endpoint(_), Some(_)) if self.reading.ledger.failure().is_none() => {
                UsageSource::Ledger
            }
            (MetricsSource::Endpoint(_), _) => UsageSource::OneMinute,
        }
    }
}

/// Returns why metrics are read. A re-evaluation leaves the requests for the next sample to the sampler, because it can use that
/// sample.
fn purpose(
    autopilot: &Autopilot,
    ledger_is_enough: bool,
    names: &[NamespaceId],
    snapshots: &[Snapshot],
) -> Purpose {
    if !ledger_is_enough {
        return Purpose::Evaluation;
    }
    let provisioned: Vec<NamespaceId> = names
        .iter()
        .zip(snapshots)
        .filter(|(_, snapshot)| !is_on_demand(snapshot))
        .map(|(name, _)| name.clone())
        .collect();
    let rule = sampling_rule(autopilot.metrics(), names, &provisioned);
    Purpose::EvaluationAgain {
        spared: rule.requests,
    }
}

/// Returns the restriction that applies while the ledger fails: nothing is scaled down; scaling up continues.
fn ledger_unavailable(error: &dyn std::error::Error) -> Restriction {
    Restriction::new(
        Direction::ScaleDown,
        ReasonCode::LedgerUnavailable,
        format!(
            "{}; nothing is scaled down while the ledger is unavailable",
            chain(error)
        ),
        RestrictionOrigin::Ledger,
    )
}

fn fill(
    snapshot: &mut Snapshot,
    metrics: Option<NamespaceMetrics>,
    missing: PerLimit<bool>,
    older: &mut Histories,
) {
    let Some(metrics) = metrics else {
        snapshot.usage = ReportedUsage::Missing;
        return;
    };
    snapshot.limits = metrics.limits;
    snapshot.envelopes = metrics.envelopes;
    snapshot.standby = metrics.standby;
    snapshot.usage_gaps = PerLimit::from_fn(|kind| {
        // A family that is missing for everyone outranks what is wrong with one namespace.
        if missing[kind] {
            Some(UsageGap::FamilyMissing)
        } else {
            metrics.gaps[kind]
        }
    });
    snapshot.usage = match metrics.sample {
        Ok(newest) => ReportedUsage::Known(older.take_window(&snapshot.namespace, newest)),
        Err(why) => ReportedUsage::Unknown { why: why.to_string() },
    };
}

/// Marks what was not read of the newest minute as a gap, unless a more serious one is known.
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
