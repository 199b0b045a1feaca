//! What this process has seen and the service does not report again: sizes before changes, and traffic of standby replicas.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use capacity_engine::{Capacity, CapacityRequest, LimitKind, NamespaceId, PerLimit, Rate};
use jiff::{SignedDuration, Timestamp};

use crate::evaluation::Judged;
use crate::metrics::AccountMetrics;

/// What this process saw of sizes.
#[derive(Debug, Default)]
pub(crate) struct SizesSeen(Mutex<HashMap<NamespaceId, Seen>>);

#[derive(Debug, Clone, Default)]
struct Seen {
    /// What it had at the last evaluation; `None` if that was to be changed, or unknown.
    size: Option<Capacity>,
    /// The latest request then.
    operation: Option<String>,
    /// What it had before that request.
    before: Option<Capacity>,
}

impl SizesSeen {
    /// Takes what an evaluation has seen and decided: a namespace that is about to change becomes unknown.
    pub(crate) fn take(&self, decisions: &[Judged]) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for Judged {
            decision, snapshot, ..
        } in decisions
        {
            let request = snapshot.latest_request.as_ref();
            seen.insert(
                snapshot.namespace.clone(),
                Seen {
                    size: decision.current.filter(|_| !decision.action.is_change()),
                    operation: request.and_then(|request| request.operation_id.clone()),
                    before: request.and_then(|request| request.from),
                },
            );
        }
    }

    /// Returns what a namespace had before a request.
    pub(crate) fn before(&self, namespace: &NamespaceId, request: &CapacityRequest) -> Option<Capacity> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.get(namespace)?;
        if request.operation_id.is_some() && seen.operation == request.operation_id {
            seen.before
        } else {
            seen.size
        }
    }
}

/// What standby replicas served when this process read it last, by full id. Only the namespaces that have such traffic.
#[derive(Debug, Default)]
pub(crate) struct StandbySeen(Mutex<HashMap<Arc<str>, ReadAt>>);

/// When it was read, and what it was.
type ReadAt = (Timestamp, PerLimit<Rate>);

/// Traffic that was read longer ago is not reported.
const STANDBY_MEMORY: SignedDuration = SignedDuration::from_mins(15);

impl StandbySeen {
    /// Takes what was read just now.
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

    /// Returns what was read of a namespace lately.
    pub(crate) fn of(&self, namespace: &NamespaceId, now: Timestamp) -> Option<PerLimit<Rate>> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, standby) = seen.get(namespace.as_str())?;
        (now.duration_since(*at) <= STANDBY_MEMORY).then_some(*standby)
    }
}
