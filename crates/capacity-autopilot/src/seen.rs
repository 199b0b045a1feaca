//! What this process has seen and the service does not report again: sizes before changes, and traffic of
//! standby replicas.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use capacity_engine::{Capacity, CapacityRequest, LimitKind, NamespaceId, PerLimit, Rate};
use jiff::{SignedDuration, Timestamp};

use crate::evaluation::Judged;
use crate::metrics::AccountMetrics;

/// Sizes that this process has seen.
#[derive(Debug, Default)]
pub(crate) struct SizesSeen(Mutex<HashMap<NamespaceId, Seen>>);

#[derive(Debug, Clone, Default)]
struct Seen {
    /// Capacity in the last evaluation; `None` if it was about to change, or unknown.
    size: Option<Capacity>,
    /// The latest request at that time.
    operation: Option<String>,
    /// The capacity before that request.
    before: Option<Capacity>,
}

impl SizesSeen {
    /// Records what an evaluation has seen and decided. A namespace that is about to change becomes unknown.
    pub(crate) fn take(&self, decisions: &[Judged]) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for Judged {
            decision, observed, ..
        } in decisions
        {
            let snapshot = &observed.snapshot;
            let request = snapshot.latest_request.as_ref();
            seen.insert(
                snapshot.namespace.clone(),
                Seen {
                    // Our change may or may not happen, so the size before someone else's change would be a
                    // guess.
                    size: decision.current.filter(|_| !decision.action.is_change()),
                    operation: request.and_then(|request| request.operation_id.clone()),
                    before: request.and_then(|request| request.from),
                },
            );
        }
    }

    /// Returns the capacity of a namespace before a request.
    pub(crate) fn before(&self, namespace: &NamespaceId, request: &CapacityRequest) -> Option<Capacity> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.get(namespace)?;
        // The request was there at the last evaluation already, so `size` is the size after it.
        if request.operation_id.is_some() && seen.operation == request.operation_id {
            seen.before
        } else {
            seen.size
        }
    }
}

/// Last read traffic of standby replicas, by full id. Contains only namespaces with standby traffic.
#[derive(Debug, Default)]
pub(crate) struct StandbySeen(Mutex<HashMap<Arc<str>, ReadAt>>);

/// Time at which the traffic was read, and its rates.
type ReadAt = (Timestamp, PerLimit<Rate>);

/// Maximum age of standby traffic that is reported.
const STANDBY_MEMORY: SignedDuration = SignedDuration::from_mins(15);

impl StandbySeen {
    /// Records the traffic that was just read.
    pub(crate) fn take(&self, metrics: &AccountMetrics, now: Timestamp) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|name, (at, _)| {
            now.duration_since(*at) <= STANDBY_MEMORY && !metrics.namespaces.contains_key(name)
        });
        for (name, read) in &metrics.namespaces {
            if LimitKind::ALL
                .into_iter()
                .any(|kind| !read.standby[kind].is_zero())
            {
                seen.insert(Arc::clone(name), (now, read.standby));
            }
        }
    }

    /// Returns the recently read standby traffic of a namespace.
    pub(crate) fn of(&self, namespace: &NamespaceId, now: Timestamp) -> Option<PerLimit<Rate>> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, standby) = seen.get(namespace.as_str())?;
        (now.duration_since(*at) <= STANDBY_MEMORY).then_some(*standby)
    }
}
