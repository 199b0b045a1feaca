//! The stored state of policies.

use std::collections::BTreeMap;

use crate::backend::{Access, kept, query_as, within};
use crate::error::LedgerError;
use crate::records::PolicyStateRecord;
use crate::rows::{self, Record};
use crate::store::{AT_A_TIME, Ledger};
use crate::tables::WITH_POLICY_STATE;

impl Ledger {
    /// Returns a policy's state for the namespaces of an account, by name.
    ///
    /// # Errors
    ///
    /// If the database cannot be read.
    pub async fn policy_states(
        &self,
        account: &str,
        policy: &str,
    ) -> Result<Vec<PolicyStateRecord>, LedgerError> {
        if self.additions < WITH_POLICY_STATE {
            return Ok(Vec::new());
        }
        let order = format!(
            "WHERE account = $1 AND policy = $2 ORDER BY namespace {}",
            self.bytewise()
        );
        let sql = rows::select::<PolicyStateRecord>(&order);
        within!(self, Access::Read, transaction => {
            query_as(sql).bind(account).bind(policy).fetch_all(&mut *transaction).await?
        })
    }

    /// Stores policy state, all or nothing. State only moves forward in time: a record of an earlier minute
    /// than the stored one is ignored, and one of the same minute replaces it. Returns how many records were
    /// stored.
    ///
    /// # Errors
    ///
    /// If a state is longer than [`PolicyStateRecord::LONGEST`], or the database cannot be written.
    pub async fn store_policy_states(&self, states: &[PolicyStateRecord]) -> Result<u64, LedgerError> {
        // A statement may modify a row only once, and writers that lock rows in the same order cannot
        // deadlock.
        let mut newest: BTreeMap<[&str; 3], &PolicyStateRecord> = BTreeMap::new();
        for state in states {
            if let Some(problem) = state.problem() {
                return Err(self.input(problem));
            }
            let key = [state.account.as_str(), &state.namespace, &state.policy];
            let kept = newest.entry(key).or_insert(state);
            if state.minute >= kept.minute {
                *kept = state;
            }
        }
        let states: Vec<&PolicyStateRecord> = newest.into_values().collect();
        within!(self, Access::Write, transaction => {
            let mut stored = 0;
            for states in states.chunks(AT_A_TIME) {
                let mut insert = rows::insert_all(states.iter().copied());
                stored += kept(insert.build()).execute(&mut *transaction).await?.rows_affected();
            }
            stored
        })
    }
}
