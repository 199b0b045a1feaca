//! Reads the capacity info of namespaces for which the rule wants a change.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capacity_engine::{CapacityInfo, NamespaceId, Snapshot};
use futures::StreamExt;

use super::candidates::is_throttled;
use crate::autopilot::Autopilot;
use crate::namespaces;
use crate::warning::{ObserveFailure, StoppedAsking};

/// How many capacity infos are requested at a time. The client's own rate limit also applies.
const CONCURRENT: usize = 8;

/// Time without a response after which no more capacity infos are requested, so that decisions do not wait for the rest. Longer
/// than any pause in a single call.
const NO_ANSWER: Duration = Duration::from_secs(35);

/// Reads the capacity infos for one evaluation.
pub(super) struct CapacityInfos<'a> {
    autopilot: &'a Autopilot,
    /// Namespaces that the last evaluation left out.
    left_out: BTreeSet<NamespaceId>,
    read: BTreeMap<usize, CapacityInfo>,
    /// Why reading stopped early.
    stopped: Option<StoppedAsking>,
}

/// A namespace whose capacity info is needed.
pub(super) struct Wanted {
    number: usize,
    namespace: NamespaceId,
    is_throttled: bool,
}

impl Wanted {
    /// Returns the candidates with these numbers.
    pub(super) fn of(snapshots: &[Snapshot], candidates: &[usize]) -> Vec<Self> {
        let wanted = |number: &usize| {
            let snapshot = &snapshots[*number];
            Self {
                number: *number,
                namespace: snapshot.namespace.clone(),
                is_throttled: is_throttled(snapshot),
            }
        };
        candidates.iter().map(wanted).collect()
    }
}

impl<'a> CapacityInfos<'a> {
    pub(super) fn new(autopilot: &'a Autopilot) -> Self {
        Self {
            autopilot,
            left_out: autopilot.take_left_out(),
            read: BTreeMap::new(),
            stopped: None,
        }
    }

    /// Reads the capacity infos that have not been read yet.
    ///
    /// Throttled namespaces come first, then those that the last evaluation left out, so that each gets its turn
    /// under a rate limit.
    pub(super) async fn read(&mut self, mut wanted: Vec<Wanted>) {
        wanted.retain(|it| !self.read.contains_key(&it.number));
        // A second request in the same evaluation would be refused again.
        if self.stopped.is_some() {
            return;
        }
        wanted.sort_by_key(|it| (!it.is_throttled, !self.left_out.contains(&it.namespace)));
        let ops = self.autopilot.ops();
        let reads = wanted.into_iter().map(|it| async move {
            let info = ops.capacity_info(it.namespace.as_str()).await;
            let is_rate_limited = info.as_ref().is_err_and(cloud_ops_client::Error::is_rate_limited);
            (it.number, namespaces::capacity_info(info), is_rate_limited)
        });
        let mut reads = futures::stream::iter(reads).buffer_unordered(CONCURRENT);
        self.stopped = loop {
            match tokio::time::timeout(NO_ANSWER, reads.next()).await {
                Ok(None) => break None,
                Ok(Some((_, _, true))) => break Some(StoppedAsking::RateLimited),
                Ok(Some((number, info, false))) => {
                    self.read.insert(number, info);
                }
                // After a 429, the client makes all requests wait, which looks like no answer.
                Err(_) if ops.is_rate_limited() => break Some(StoppedAsking::RateLimited),
                Err(_) => break Some(StoppedAsking::NoAnswer),
            }
        };
    }

    /// Fills in the capacity infos of candidates. Returns the failure to read some of them.
    pub(super) fn fill_in(
        mut self,
        snapshots: &mut [Snapshot],
        candidates: &[usize],
    ) -> Option<ObserveFailure> {
        let (mut failed, mut left) = (0, BTreeSet::new());
        for number in candidates {
            let snapshot = &mut snapshots[*number];
            snapshot.capacity_info = self.read.remove(number).unwrap_or_else(|| {
                left.insert(snapshot.namespace.clone());
                CapacityInfo::Unavailable {
                    why: self.stopped.map(|why| why.to_string()).unwrap_or_default(),
                }
            });
            failed += usize::from(matches!(snapshot.capacity_info, CapacityInfo::Unavailable { .. }));
        }
        let (all, left_count) = (candidates.len(), left.len());
        self.autopilot.leave_out(left);
        let failed = failed - left_count;
        match self.stopped.filter(|_| left_count > 0) {
            Some(why) => Some(ObserveFailure::CapacityInfosLeft {
                left: left_count,
                failed,
                all,
                why,
            }),
            None => (failed > 0).then_some(ObserveFailure::CapacityInfos { failed, all }),
        }
    }
}
