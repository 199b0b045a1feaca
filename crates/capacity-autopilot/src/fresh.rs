//! Re-evaluates changes whose decision has become too old or whose namespace has changed.
//!
//! One evaluation serves all changes that are waiting, so that re-evaluating does not take one scrape per
//! namespace.

use std::collections::{BTreeSet, HashMap};

use capacity_engine::{Capacity, NamespaceId};
use jiff::Timestamp;
use tokio::sync::Mutex;

use crate::autopilot::Autopilot;
use crate::evaluation::{Evaluation, Scope};
use crate::listing::ObserveError;

/// The decision of a re-evaluation.
#[derive(Debug, Clone)]
pub(crate) struct FreshDecision {
    /// Current and target capacity, if the decision is a change.
    pub(crate) capacity: Option<(Capacity, Capacity)>,
    pub(crate) resource_version: String,
    pub(crate) sample_minute: Option<Timestamp>,
    /// The decision as an operator reads it.
    pub(crate) line: String,
}

/// The condition for a decision to be fresh enough.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Need {
    /// Made at or after this time, because the namespace changed.
    MadeSince(Timestamp),
    /// Based on metrics of this minute or later, because the metrics behind the decision are too old.
    MeasuredSince(Timestamp),
}

impl Need {
    fn is_met_by(self, decided: &Decided, namespace: &NamespaceId) -> bool {
        match self {
            Self::MadeSince(time) => decided.at >= time,
            Self::MeasuredSince(time) => decided
                .by_namespace
                .get(namespace)
                .is_some_and(|decision| decision.sample_minute.is_some_and(|minute| minute >= time)),
        }
    }
}

#[derive(Debug)]
struct Decided {
    at: Timestamp,
    by_namespace: HashMap<NamespaceId, FreshDecision>,
}

/// Re-evaluates a fixed set of namespaces when needed.
#[derive(Debug)]
pub(crate) struct FreshDecisions<'a> {
    autopilot: &'a Autopilot,
    namespaces: BTreeSet<NamespaceId>,
    newest: Mutex<Option<Decided>>,
}

impl<'a> FreshDecisions<'a> {
    pub(crate) fn new(autopilot: &'a Autopilot, namespaces: BTreeSet<NamespaceId>) -> Self {
        Self {
            autopilot,
            namespaces,
            newest: Mutex::new(None),
        }
    }

    /// Returns a decision that is fresh enough; `None` if the account no longer lists the namespace.
    pub(crate) async fn of(
        &self,
        namespace: &NamespaceId,
        need: Need,
    ) -> Result<Option<FreshDecision>, ObserveError> {
        // Locked during the evaluation: other changes that wait for a fresh decision take this one instead of
        // starting their own.
        let mut newest = self.newest.lock().await;
        if newest
            .as_ref()
            .is_none_or(|decided| !need.is_met_by(decided, namespace))
        {
            let evaluation = self
                .autopilot
                .evaluate(&Scope::only(self.namespaces.iter().cloned()))
                .await?;
            *newest = Some(decided(evaluation));
        }
        Ok(newest
            .as_ref()
            .and_then(|decided| decided.by_namespace.get(namespace).cloned()))
    }
}

fn decided(evaluation: Evaluation) -> Decided {
    let by_namespace = evaluation.decisions.into_iter().map(|judged| {
        let decision = judged.decision;
        let capacity = decision
            .action
            .is_change()
            .then_some(decision.current)
            .flatten()
            .zip(decision.wanted);
        let fresh = FreshDecision {
            capacity,
            resource_version: judged.observed.resource_version,
            sample_minute: decision.sample_minute,
            line: decision.to_string(),
        };
        (decision.namespace, fresh)
    });
    Decided {
        at: evaluation.account.at,
        by_namespace: by_namespace.collect(),
    }
}
