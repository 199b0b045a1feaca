//! The inputs of decisions, apart from the minutes of usage.

use crate::backend::{Access, kept, query_as, within};
use crate::error::{ErrorKind, LedgerError};
use crate::records::DecisionInputsRecord;
use crate::rows;
use crate::store::{AT_A_TIME, Ledger};
use crate::tables::WITH_DECISION_INPUTS;

impl Ledger {
    /// Records the inputs of decisions once; recording them again changes nothing. If the database has no table for them, or the
    /// role is not allowed to write to it, nothing is recorded and no error is returned.
    ///
    /// # Errors
    ///
    /// If the database cannot be written.
    pub async fn record_decision_inputs(&self, inputs: &[DecisionInputsRecord]) -> Result<(), LedgerError> {
        if self.additions < WITH_DECISION_INPUTS {
            return Ok(());
        }
        permitted(within!(self, Access::Write, transaction => {
            for inputs in inputs.chunks(AT_A_TIME) {
                kept(rows::insert_all(inputs).build()).execute(&mut *transaction).await?;
            }
        }))
    }

    /// Returns the inputs of a plan's decision about a namespace. The inputs that all decisions of the plan
    /// share come first.
    ///
    /// # Errors
    ///
    /// If the database cannot be read.
    pub async fn decision_inputs(
        &self,
        account: &str,
        plan_id: &str,
        namespace: &str,
    ) -> Result<Vec<DecisionInputsRecord>, LedgerError> {
        if self.additions < WITH_DECISION_INPUTS {
            return Ok(Vec::new());
        }
        let sql = rows::select::<DecisionInputsRecord>(
            // The empty name sorts first in every collation.
            "WHERE account = $1 AND plan_id = $2 AND namespace IN ('', $3) ORDER BY namespace",
        );
        permitted(within!(self, Access::Read, transaction => {
            query_as(sql).bind(account).bind(plan_id).bind(namespace).fetch_all(&mut *transaction).await?
        }))
    }
}

/// Treats the table as missing for a role whose permissions predate it.
fn permitted<T: Default>(result: Result<T, LedgerError>) -> Result<T, LedgerError> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotPermitted => Ok(T::default()),
        other => other,
    }
}
