//! What an evaluation reads first: the usage of everything in scope, from the ledger or from the metrics.
//!
//! This needs the names of the namespaces, but not their state. Names rarely change, so an evaluation of the whole
//! account starts with the names of the previous list while the new list is still being read. It waits for the
//! first page, because requests for metrics are limited per hour and an unreachable API should not cost any.

use std::time::Duration;

use capacity_engine::NamespaceId;
use jiff::SignedDuration;
use tokio::sync::Notify;

use super::policies::Judge;
use crate::autopilot::Autopilot;
use crate::evaluation::{EvaluationRequest, Scope};
use crate::listing::{ObserveError, Progress, list};
use crate::metrics::{
    AccountMetrics, Detail, Histories, MetricsSource, Read, Recalled, Unread, first_detail,
};
use crate::namespaces::{Listed, Names, account_of};
use crate::reading::{Purpose, Reading};
use crate::timing::{Part, Running, Timing};

/// Time that must remain until the ledger's newest minute exceeds the allowed age, because the evaluation takes
/// time too.
const MARGIN: SignedDuration = SignedDuration::from_mins(1);

/// Maximum number of times that a re-evaluation waits for the next minute of a working sampler, and the length
/// of each wait. A sampler with an interval of one minute has written it by then.
const SAMPLER_WAITS: u32 = 8;
const SAMPLER_WAIT: Duration = Duration::from_secs(10);
/// Time by which a sampler's last minute may exceed the allowed age for the sampler to count as working.
const SAMPLED_LATELY: SignedDuration = SignedDuration::from_mins(3);

/// The usage that was read first, by its source.
pub(super) enum Usage {
    /// From the ledger, whose newest minute is fresh enough.
    Remembered(AccountMetrics),
    /// From the metrics, or why they could not be read.
    Read(Result<Read, Unread>),
}

/// The result of the first reading.
pub(super) struct First<'a> {
    pub(super) reading: Reading<'a>,
    /// The active policy and its state.
    pub(super) acting: Judge,
    /// The shadow policy and its state.
    pub(super) shadow: Option<Judge>,
    /// Minutes of the ledger.
    pub(super) older: Histories,
    pub(super) detail: Detail,
    pub(super) usage: Usage,
    pub(super) timing: Timing,
}

impl<'a> First<'a> {
    pub(super) async fn read(
        autopilot: &'a Autopilot,
        account: Option<String>,
        names: &[NamespaceId],
        whole_account: bool,
        purpose: Purpose,
    ) -> Self {
        let running = Running::begin(Part::Metrics);
        let mut reading = Reading::new(autopilot, account);
        let rules = &autopilot.settings().rules;
        let (mut acting, mut shadow) = (Judge::acting(rules), Judge::in_shadow(rules));
        for judge in std::iter::once(&mut acting).chain(&mut shadow) {
            judge.recall(&mut reading).await;
        }
        // In an account that does not fit into one response, families with many series are read only for
        // namespaces that need them.
        let detail = if whole_account {
            first_detail(autopilot.metrics(), names.len())
        } else {
            Detail::Everything
        };
        let (remembered, older) = remember(autopilot, &mut reading, purpose).await;
        let usage = match remembered {
            Some(metrics) => Usage::Remembered(metrics),
            None => Usage::Read(reading.read(names, detail, !whole_account, purpose).await),
        };
        let error = match &usage {
            Usage::Read(Err(unread)) => Some(unread.why.clone()),
            Usage::Read(Ok(_)) | Usage::Remembered(_) => None,
        };
        Self {
            timing: running.end(names.len(), error),
            reading,
            acting,
            shadow,
            older,
            detail,
            usage,
        }
    }

    /// Returns whether this is the usage of the account as it was listed since. A namespace that was unknown when the
    /// metrics were read would look as if it had none.
    fn is_of(&self, before: &Names, listed: &[Listed]) -> bool {
        let account = account_of(listed.iter().map(|listed| &listed.id));
        let is_known = || listed.iter().all(|listed| before.contains(&listed.id));
        before.account == account && (matches!(self.usage, Usage::Remembered(_)) || is_known())
    }
}

/// Lists the account and, if the request covers the whole account and its names are known, reads usage at the same time.
///
/// # Errors
///
/// If the account cannot be listed.
pub(super) async fn list_and_read<'a>(
    autopilot: &'a Autopilot,
    request: &EvaluationRequest,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(Vec<Listed>, Timing, Option<First<'a>>), ObserveError> {
    // How many requests are reserved for the sampler depends on which namespaces are provisioned now.
    let is_early = matches!(request.scope, Scope::All) && !request.ledger_is_enough;
    let before = autopilot.last_listed().filter(|_| is_early);
    let begun = Notify::new();
    let early = async {
        let before = before.as_ref()?;
        begun.notified().await;
        let Names { account, names } = &**before;
        Some(First::read(autopilot, account.clone(), names, true, Purpose::Evaluation).await)
    };
    let listing = async {
        let running = Running::begin(Part::List);
        let listed = list(autopilot, progress, || begun.notify_one()).await?;
        let timing = running.end(listed.len(), None);
        Ok::<_, ObserveError>((listed, timing))
    };
    let ((listed, timing), early) = tokio::try_join!(listing, async { Ok(early.await) })?;
    let early = before.zip(early);
    // What was read early is dropped if it is not from this list; `Round::observed` then reads again.
    let early = early.filter(|(before, early)| early.is_of(before, &listed));
    Ok((listed, timing, early.map(|(_, early)| early)))
}

/// Reads the last hour from the ledger. Returns its newest minute if it is fresh enough to skip another reading, and
/// all minutes.
async fn remember(
    autopilot: &Autopilot,
    reading: &mut Reading<'_>,
    purpose: Purpose,
) -> (Option<AccountMetrics>, Histories) {
    let MetricsSource::Endpoint(_) = autopilot.metrics() else {
        // Prometheus stores the minutes itself.
        return (None, Histories::default());
    };
    let fresh = autopilot.settings().metrics_max_age() - MARGIN;
    let mut waits = match purpose {
        Purpose::EvaluationAgain { .. } => SAMPLER_WAITS,
        Purpose::Evaluation | Purpose::Sampling => 0,
    };
    loop {
        let now = autopilot.now();
        let Recalled {
            newest,
            complete,
            older,
        } = reading.ledger.recall(now).await;
        let age = complete.map(|minute| now.duration_since(minute));
        if age.is_some_and(|age| age <= fresh) {
            return (Some(newest), older);
        }
        // The sampler's next minute is due soon, and its requests are reserved.
        let is_sampled = age.is_some_and(|age| age <= fresh + SAMPLED_LATELY);
        if waits == 0 || !is_sampled {
            return (None, older);
        }
        waits -= 1;
        tokio::time::sleep(autopilot.clock().in_our_time(SAMPLER_WAIT)).await;
    }
}
