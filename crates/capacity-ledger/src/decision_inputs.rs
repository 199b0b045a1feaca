//! The inputs of decisions, in addition to the minutes of usage.

use crate::backend::{Access, kept, query_as, within};
use crate::error::{ErrorKind, LedgerError};
use crate::records::DecisionInputsRecord;
use crate::rows;
use crate::store::{AT_A_TIME, Ledger};
use crate::tables::WITH_DECISION_INPUTS;

impl Ledger {
    /// Records the inputs of decisions, once: recording them again changes nothing. A database without these tables, or a role
    /// that may not write them, keeps none; decisions are still recorded.
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

    /// Returns the inputs of the decision of a plan about a namespace: first those that all decisions of the plan share.
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
            "WHERE account = $1 AND plan_id = $2 AND namespace IN ('', $3) ORDER BY namespace",
        );
        permitted(within!(self, Access::Read, transaction => {
            query_as(sql).bind(account).bind(plan_id).bind(namespace).fetch_all(&mut *transaction).await?
        }))
    }
}

/// A role keeps the rights that it was given before the table existed: to it, the table is as good as absent.
fn permitted<T: Default>(result: Result<T, LedgerError>) -> Result<T, LedgerError> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotPermitted => Ok(T::default()),
        other => other,
    }
}
