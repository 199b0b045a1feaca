//! A policy and its state for the namespaces of one evaluation.

use std::collections::BTreeMap;

use capacity_engine::{
    AccountView, Decision, NamespaceId, PolicyState, Rules, Snapshot, decide, wants_capacity_info,
};
use jiff::Timestamp;

use crate::policy_state::state_key;
use crate::reading::Reading;

/// A policy and its stored state.
pub(super) struct Judge {
    rules: Rules,
    key: String,
    states: BTreeMap<String, PolicyState>,
}

impl Judge {
    pub(super) fn acting(rules: &Rules) -> Self {
        Self {
            key: state_key(rules.policy.name(), false),
            rules: rules.clone(),
            states: BTreeMap::new(),
        }
    }

    pub(super) fn in_shadow(rules: &Rules) -> Option<Self> {
        let shadow = rules.shadow.clone()?;
        Some(Self {
            key: state_key(shadow.name(), true),
            rules: rules.clone().with_policy(shadow).with_shadow(None),
            states: BTreeMap::new(),
        })
    }

    /// Reads the stored state. If the ledger fails, the failure is kept, and nothing is scaled down.
    pub(super) async fn recall(&mut self, reading: &mut Reading<'_>) {
        if !self.rules.policy.keeps_state() {
            return;
        }
        self.states = reading.ledger.policy_states(&self.key).await;
    }

    pub(super) fn state(&self, namespace: &NamespaceId) -> Option<&PolicyState> {
        self.states.get(namespace.as_str())
    }

    pub(super) fn wants_capacity_info(
        &self,
        snapshot: &Snapshot,
        account: &AccountView,
        now: Timestamp,
    ) -> bool {
        let state = self.state(&snapshot.namespace);
        wants_capacity_info(snapshot, account, &self.rules, state, now)
    }

    /// Decides, and returns the state to store if it changed.
    pub(super) fn decide(
        &self,
        snapshot: &Snapshot,
        account: &AccountView,
        now: Timestamp,
    ) -> (Decision, Option<PolicyState>) {
        let state = self.state(&snapshot.namespace);
        let (decision, next) = decide(snapshot, account, &self.rules, state, now);
        // Compares the text without its minute: storing an unchanged state for every namespace and
        // evaluation would only write rows.
        let is_new = |next: &PolicyState| state.is_none_or(|state| state.text != next.text);
        (decision, next.filter(is_new))
    }
}
