//! One round of observing: reads what is known about each namespace from the best source.

use std::time::Duration;

use capacity_engine::{
    AccountView, Direction, LimitKind, MetricsHealth, NamespaceId, PerLimit, ReasonCode, ReportedUsage,
    Restriction, RestrictionOrigin, Snapshot, UsageGap,
};
use jiff::{SignedDuration, Timestamp};

use super::candidates::Candidates;
use super::policies::Judge;
use super::{foreign, moving, unknown_throttling, warnings};
use crate::autopilot::Autopilot;
use crate::evaluation::{EvaluationRequest, Judged, Scope, ShadowDecision, UsageSource};
use crate::listing::Progress;
use crate::metrics::{
    AccountMetrics, Detail, Histories, MetricsSource, NamespaceMetrics, Recalled, first_detail,
};
use crate::namespaces::{Listed, is_on_demand};
use crate::reading::{Purpose, Reading};
use crate::sampling::sampling_rule;
use crate::text::{chain, counted};

/// How much of the allowed age a ledger's newest minute must have left to be used, because the evaluation
/// takes time too.
const MARGIN: SignedDuration = SignedDuration::from_mins(1);

/// How many times, and how long each time, a re-evaluation waits for the next minute of a working sampler. A
/// sampler with an interval of one minute has written it by then.
const SAMPLER_WAITS: u32 = 8;
const SAMPLER_WAIT: Duration = Duration::from_secs(10);
/// A sampler whose last minute exceeds the allowed age by at most this much still counts as working.
const SAMPLED_LATELY: SignedDuration = SignedDuration::from_mins(3);

/// The view of the account before its metrics are read.
fn account_view(autopilot: &Autopilot, request: &EvaluationRequest) -> AccountView {
    let mut account = AccountView::new(MetricsHealth::Complete);
    account.home.clone_from(&autopilot.settings().home);
    account.restrictions.clone_from(&request.restrictions);
    account
}

/// The state of one evaluation: snapshots of everything in scope, ordered by name.
pub(super) struct Round<'a> {
    autopilot: &'a Autopilot,
    pub(super) reading: Reading<'a>,
    pub(super) names: Vec<NamespaceId>,
    pub(super) versions: Vec<String>,
    pub(super) snapshots: Vec<Snapshot>,
    /// Minutes before the newest ones, for namespaces whose window has not been built yet.
    older: Histories,
    /// Whether the ledger has any minutes.
    has_history: bool,
    pub(super) account: AccountView,
    /// Whether releases may be based on a fresh and complete minute of the ledger.
    ledger_is_enough: bool,
    /// Failures that do not stop the evaluation.
    pub(super) errors: Vec<String>,
    /// The active policy and its state.
    pub(super) acting: Judge,
    /// The shadow policy and its state.
    pub(super) shadow: Option<Judge>,
}

impl<'a> Round<'a> {
    pub(super) fn new(
        autopilot: &'a Autopilot,
        in_scope: Vec<Listed>,
        account: Option<String>,
        request: &EvaluationRequest,
    ) -> Self {
        let (mut names, mut versions, mut snapshots) = (Vec::new(), Vec::new(), Vec::new());
        for mut listed in in_scope {
            listed.snapshot.change_refused = autopilot.refusal_of(&listed.id, &listed.resource_version);
            names.push(listed.id);
            versions.push(listed.resource_version);
            snapshots.push(listed.snapshot);
        }
        Self {
            autopilot,
            reading: Reading::new(autopilot, account),
            names,
            versions,
            snapshots,
            older: Histories::default(),
            has_history: false,
            account: account_view(autopilot, request),
            ledger_is_enough: request.ledger_is_enough,
            errors: Vec::new(),
            acting: Judge::acting(&autopilot.settings().rules),
            shadow: Judge::in_shadow(&autopilot.settings().rules),
        }
    }

    /// Reads everything that decisions are based on, except capacity info.
    pub(super) async fn look(
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

    /// Fills in the usage.
    async fn observe(
        &mut self,
        whole_account: bool,
        progress: &(dyn Fn(Progress) + Sync),
        warnings: &mut Vec<String>,
    ) {
        let remembered = self.remember().await;
        // In an account that does not fit into one response, families with many series are read only for
        // namespaces that need them.
        let detail = if whole_account {
            first_detail(self.autopilot.metrics(), self.names.len())
        } else {
            Detail::Everything
        };
        if !remembered {
            self.read_metrics(detail, whole_account, warnings).await;
        }
        let candidates = self.candidates();
        let numbers = match (remembered, detail) {
            (true, _) => candidates.worth_reading_again(&self.snapshots, self.ledger_is_enough),
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
            warnings.push(error.to_string());
            self.account.restrictions.push(ledger_unavailable(error));
        }
    }

    /// Reads the last hour from the ledger. Returns whether its newest minute is fresh enough to skip another
    /// reading.
    async fn remember(&mut self) -> bool {
        let MetricsSource::Endpoint(_) = self.autopilot.metrics() else {
            // Prometheus stores the minutes itself.
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
            } = self.reading.ledger.recall(now).await;
            self.has_history = !older.is_empty();
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

    /// A re-evaluation never uses the requests of the sampler's next minute, on which it would decide as
    /// well.
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
            fill(snapshot, read, metrics.missing_families, &mut self.older);
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

    /// Namespaces that are throttled in a way that this version does not know are not scaled down.
    async fn look_for_unknown_throttling(&mut self, warnings: &mut Vec<String>) {
        let candidates = self.candidates().of_acting(&self.snapshots).into_iter();
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

    /// A ledger minute does not contain the traffic of standby replicas, so the last value that this process
    /// read is reported.
    fn fill_in_standby(&mut self) {
        let now = self.autopilot.now();
        for (name, snapshot) in self.names.iter().zip(&mut self.snapshots) {
            if let Some(standby) = self.autopilot.standby_seen().of(name, now) {
                snapshot.standby = standby;
            }
        }
    }

    /// Reads the stored state of policies.
    async fn recall_states(&mut self) {
        for judge in std::iter::once(&mut self.acting).chain(&mut self.shadow) {
            judge.recall(&mut self.reading).await;
        }
    }

    /// Runs the first pass of the pure rule on what is known now.
    pub(super) fn candidates(&self) -> Candidates<'_> {
        Candidates {
            acting: &self.acting,
            shadow: self.shadow.as_ref(),
            account: &self.account,
            now: self.autopilot.now(),
        }
    }

    /// Returns where the data of the last hour came from.
    pub(super) fn usage_source(&self) -> UsageSource {
        match (self.autopilot.metrics(), self.autopilot.ledger()) {
            (MetricsSource::Prometheus(_), _) => UsageSource::Prometheus,
            (MetricsSource::Endpoint(_), Some(_)) if self.reading.ledger.failure().is_none() => {
                UsageSource::Ledger
            }
            (MetricsSource::Endpoint(_), _) => UsageSource::OneMinute,
        }
    }

    pub(super) fn decide(&mut self, now: Timestamp) -> Vec<Judged> {
        let snapshots = std::mem::take(&mut self.snapshots);
        let versions = std::mem::take(&mut self.versions);
        let pairs = snapshots.into_iter().zip(versions);
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
                    resource_version: version,
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

/// While the ledger fails, nothing is scaled down; scaling up continues.
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
        if missing[kind] {
            Some(UsageGap::FamilyMissing)
        } else {
            metrics.gaps[kind]
        }
    });
    snapshot.usage = match metrics.sample {
        Ok(newest) => ReportedUsage::Known(older.take_window(&snapshot.namespace, newest)),
        Err(why) => ReportedUsage::Unknown { why },
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
