//! How decisions are stored: changes as rows, and all others packed into blocks, because a large account has thousands of them in
//! every evaluation, and a row takes more than ten times the space.
//!
//! Rows written by earlier releases stay rows. Reading returns both in the same form.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use sqlx::{Encode, FromRow, QueryBuilder, Row, Type};

use crate::backend::{Access, Backend, kept, query, query_as, within};
use crate::decision_block;
use crate::error::{ErrorKind, LedgerError};
use crate::records::{DecisionRecord, EvaluationRecord, HistoryRow};
use crate::rows;
use crate::store::{AT_A_TIME, Ledger};
use crate::tables::WITH_DECISION_BLOCKS;

/// Maximum number of decisions per block. The history of one namespace reads one block per evaluation.
const OF_A_BLOCK: usize = 500;
/// Maximum number of names in a query.
const NAMED: usize = 500;

/// Returns whether a decision is stored as a row, so that queries can join it with its outcome.
fn is_change(decision: &DecisionRecord) -> bool {
    matches!(decision.action.as_str(), "Enable" | "Resize" | "Disable")
}

/// A block to write.
struct Block<'a> {
    account: &'a str,
    plan_id: &'a str,
    first: i64,
    last: i64,
    decisions: i64,
    bytes: Vec<u8>,
}

/// The names of namespaces by number: all, or the requested ones.
pub(crate) struct Names {
    names: HashMap<u64, Arc<str>>,
    /// Whether these are all namespaces.
    are_all: bool,
}

/// A range of evaluation times in milliseconds, both ends inclusive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Evaluated {
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
}

/// A block with its evaluation.
struct Packed {
    evaluation: EvaluationRecord,
    block: Vec<u8>,
}

impl Ledger {
    fn has_blocks(&self) -> bool {
        self.additions >= WITH_DECISION_BLOCKS
    }

    /// Writes decisions, and their evaluation if given, in one transaction. Existing decisions stay unchanged. Returns how many were
    /// new.
    pub(crate) async fn write_decisions(
        &self,
        evaluation: Option<&EvaluationRecord>,
        decisions: &[&DecisionRecord],
    ) -> Result<u64, LedgerError> {
        if self.has_blocks() {
            match self.write_packed(evaluation, decisions).await {
                // The role may have been granted its rights before the table existed.
                Err(error) if error.kind() == ErrorKind::NotPermitted => {}
                written => return written,
            }
        }
        self.write_rows_and_blocks(evaluation, decisions, &[]).await
    }

    async fn write_packed(
        &self,
        evaluation: Option<&EvaluationRecord>,
        decisions: &[&DecisionRecord],
    ) -> Result<u64, LedgerError> {
        let (changes, others): (Vec<&DecisionRecord>, Vec<&DecisionRecord>) =
            decisions.iter().partition(|decision| is_change(decision));
        let mut accounts: BTreeMap<&str, Vec<&DecisionRecord>> = BTreeMap::new();
        for decision in others {
            accounts.entry(&decision.account).or_default().push(decision);
        }
        let mut plans: BTreeMap<(&str, &str), BTreeMap<u64, &DecisionRecord>> = BTreeMap::new();
        for (account, decisions) in accounts {
            let names: Vec<Arc<str>> = decisions.iter().map(|it| it.namespace.as_str().into()).collect();
            // Before the transaction of the write: new numbers lock a table, and stay valid if the write
            // fails.
            let numbers = self.numbers_of(account, &names).await?;
            for (number, decision) in numbers.into_iter().zip(decisions) {
                let plan = plans.entry((account, &decision.plan_id)).or_default();
                plan.entry(u64::try_from(number).unwrap_or_default())
                    .or_insert(decision);
            }
        }
        let mut blocks = Vec::new();
        for ((account, plan_id), mut decisions) in plans {
            // A row of an earlier release, or of another worker, counts as recorded. Without this, a
            // decision could be in a row and in a block.
            let there = self.decisions_of_plan(account, plan_id, None).await?;
            if !there.is_empty() {
                let there: HashSet<&str> = there.iter().map(|it| it.namespace.as_str()).collect();
                decisions.retain(|_, decision| !there.contains(decision.namespace.as_str()));
            }
            let decisions: Vec<(u64, &DecisionRecord)> = decisions.into_iter().collect();
            let number = |end: Option<&(u64, _)>| end.and_then(|(number, _)| i64::try_from(*number).ok());
            blocks.extend(decisions.chunks(OF_A_BLOCK).map(|decisions| Block {
                account,
                plan_id,
                first: number(decisions.first()).unwrap_or_default(),
                last: number(decisions.last()).unwrap_or_default(),
                decisions: i64::try_from(decisions.len()).unwrap_or_default(),
                bytes: decision_block::encode(decisions),
            }));
        }
        self.write_rows_and_blocks(evaluation, &changes, &blocks).await
    }

    async fn write_rows_and_blocks(
        &self,
        evaluation: Option<&EvaluationRecord>,
        decisions: &[&DecisionRecord],
        blocks: &[Block<'_>],
    ) -> Result<u64, LedgerError> {
        within!(self, Access::Write, transaction => {
            if let Some(evaluation) = evaluation {
                kept(rows::insert_all([evaluation]).build()).execute(&mut *transaction).await?;
            }
            let mut new = 0;
            for decisions in decisions.chunks(AT_A_TIME) {
                let mut insert = rows::insert_all(decisions.iter().copied());
                new += kept(insert.build()).execute(&mut *transaction).await?.rows_affected();
            }
            for block in blocks {
                let written = query(
                    "INSERT INTO capacity_decision_blocks (account, plan_id, first_namespace, last_namespace, decisions, block) \
                     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (account, plan_id, first_namespace) DO NOTHING",
                )
                .bind(block.account)
                .bind(block.plan_id)
                .bind(block.first)
                .bind(block.last)
                .bind(block.decisions)
                .bind(&block.bytes)
                .execute(&mut *transaction)
                .await?;
                new += written.rows_affected() * u64::try_from(block.decisions).unwrap_or_default();
            }
            new
        })
    }

    /// Returns the decisions of a plan, sorted by namespace. Reads the names if they are needed and not given.
    pub(crate) async fn decisions_of_plan(
        &self,
        account: &str,
        plan_id: &str,
        names: Option<&Names>,
    ) -> Result<Vec<DecisionRecord>, LedgerError> {
        let sql = rows::select::<DecisionRecord>("WHERE account = $1 AND plan_id = $2");
        let mut decisions: Vec<DecisionRecord> = within!(self, Access::Read, transaction => {
            query_as(sql).bind(account).bind(plan_id).fetch_all(&mut *transaction).await?
        })?;
        // A transaction of its own: in PostgreSQL, a missing table or permission ends the transaction.
        let blocks: Vec<Vec<u8>> = self.of_blocks(within!(self, Access::Read, transaction => {
            let rows = query("SELECT block FROM capacity_decision_blocks WHERE account = $1 AND plan_id = $2")
                .bind(account)
                .bind(plan_id)
                .fetch_all(&mut *transaction)
                .await?;
            rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?
        }))?;
        if !blocks.is_empty() {
            let read = match names {
                Some(_) => None,
                None => Some(self.names(&[]).await?),
            };
            for block in blocks {
                if let Some(names) = names.or(read.as_ref()) {
                    decisions.extend(self.unpacked(&block, account, plan_id, names)?);
                }
            }
        }
        decisions.sort_by(|one, other| one.namespace.cmp(&other.namespace));
        Ok(decisions)
    }

    /// Returns the accounts and plans that have decisions, sorted.
    pub(crate) async fn decided_plans(&self) -> Result<Vec<(String, String)>, LedgerError> {
        let mut plans = Vec::new();
        for sql in [
            "SELECT DISTINCT account, plan_id FROM capacity_decisions",
            "SELECT DISTINCT account, plan_id FROM capacity_decision_blocks",
        ] {
            let found: Vec<(String, String)> = self.of_blocks(within!(self, Access::Read, transaction => {
                let rows = query(sql).fetch_all(&mut *transaction).await?;
                rows.iter().map(|row| Ok::<_, sqlx::Error>((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, _>>()?
            }))?;
            plans.extend(found);
        }
        plans.sort_unstable();
        plans.dedup();
        Ok(plans)
    }

    /// Returns the names of namespaces for which blocks may contain decisions.
    pub(crate) async fn packed_namespaces(&self) -> Result<Vec<String>, LedgerError> {
        self.of_blocks(within!(self, Access::Read, transaction => {
            let rows = query(
                "SELECT namespaces.name FROM capacity_namespaces namespaces JOIN (SELECT account, MIN(first_namespace) AS first_namespace, \
                 MAX(last_namespace) AS last_namespace FROM capacity_decision_blocks GROUP BY account) blocks \
                 ON namespaces.account = blocks.account AND namespaces.id >= blocks.first_namespace AND namespaces.id <= blocks.last_namespace",
            )
            .fetch_all(&mut *transaction)
            .await?;
            rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?
        }))
    }

    /// Returns how many decisions the blocks contain.
    pub(crate) async fn packed_decisions(&self) -> Result<i64, LedgerError> {
        self.of_blocks(within!(self, Access::Read, transaction => {
            // PostgreSQL returns the sum of BIGINT as NUMERIC, which is not read as an integer.
            let sum = "SELECT CAST(COALESCE(SUM(decisions), 0) AS BIGINT) FROM capacity_decision_blocks";
            query(sum).fetch_one(&mut *transaction).await?.try_get::<i64, _>(0)?
        }))
    }

    /// Returns the problems of damaged blocks.
    pub(crate) async fn damaged_blocks(&self) -> Result<Vec<String>, LedgerError> {
        let mut problems = Vec::new();
        let plans = self.decided_plans().await?;
        let names = self.names(&[]).await?;
        for (account, plan_id) in plans {
            match self.decisions_of_plan(&account, &plan_id, Some(&names)).await {
                Err(error) if error.kind() == ErrorKind::Corrupted => problems.push(error.to_string()),
                read => drop(read?),
            }
        }
        Ok(problems)
    }

    /// Treats blocks as absent where they cannot be read: in a ledger of an earlier release that is open read-only, and for a role
    /// that was granted its rights before the table existed.
    fn of_blocks<T: Default>(&self, result: Result<T, LedgerError>) -> Result<T, LedgerError> {
        match result {
            Err(error) if error.kind() == ErrorKind::NotPermitted || !self.has_blocks() => Ok(T::default()),
            other => other,
        }
    }

    /// Returns the namespaces with these names by number, or all namespaces if no names are given.
    pub(crate) async fn names(&self, names: &[String]) -> Result<Names, LedgerError> {
        let are_all = names.is_empty() || names.len() > NAMED;
        let mut found: Vec<(i64, String)> = within!(self, Access::Read, transaction => {
            let mut select = QueryBuilder::new("SELECT id, name FROM capacity_namespaces");
            if !are_all {
                select.push(" WHERE name IN (");
                let mut list = select.separated(", ");
                for name in names {
                    list.push_bind(name.as_str());
                }
                select.push(")");
            }
            let rows = kept(select.build()).fetch_all(&mut *transaction).await?;
            rows.iter().map(|row| Ok::<_, sqlx::Error>((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, _>>()?
        })?;
        // Too many names for one statement: all were read, and the others are left out here.
        if are_all && !names.is_empty() {
            let names: HashSet<&str> = names.iter().map(String::as_str).collect();
            found.retain(|(_, name)| names.contains(name.as_str()));
        }
        let numbered =
            |(number, name): (i64, String)| (u64::try_from(number).unwrap_or_default(), name.into());
        Ok(Names {
            names: found.into_iter().map(numbered).collect(),
            are_all: names.is_empty(),
        })
    }

    /// Returns the decisions in blocks of evaluations, in the order of a history, with their outcomes.
    pub(crate) async fn unpacked_history(
        &self,
        account: Option<&str>,
        names: &Names,
        evaluated: Evaluated,
    ) -> Result<Vec<HistoryRow>, LedgerError> {
        let mut history = Vec::new();
        for Packed { evaluation, block } in self.packed(account, names, evaluated).await? {
            let decisions = self.unpacked(&block, &evaluation.account, &evaluation.plan_id, names)?;
            history.extend(
                decisions
                    .into_iter()
                    .map(|decision| HistoryRow::of(&evaluation, decision)),
            );
        }
        if history.is_empty() {
            return Ok(history);
        }
        // A change that was approved later may belong to a decision that was not a change.
        let mut outcomes = self.outcomes(evaluated).await?;
        if !outcomes.is_empty() {
            for row in &mut history {
                let it = &row.decision;
                let key = (it.account.clone(), it.plan_id.clone(), it.namespace.clone());
                if let Some((outcome, error)) = outcomes.remove(&key) {
                    (row.outcome, row.error) = (Some(outcome), error);
                }
            }
        }
        history.sort_by(|one, other| order_of(one).cmp(&order_of(other)));
        Ok(history)
    }

    async fn packed(
        &self,
        account: Option<&str>,
        names: &Names,
        evaluated: Evaluated,
    ) -> Result<Vec<Packed>, LedgerError> {
        self.of_blocks(within!(self, Access::Read, transaction => {
            let mut select = blocks_of(account, names, evaluated);
            let rows = kept(select.build()).fetch_all(&mut *transaction).await?;
            let packed = rows.iter().map(|row| {
                Ok::<_, sqlx::Error>(Packed {
                    evaluation: EvaluationRecord::from_row(row)?,
                    block: row.try_get("block")?,
                })
            });
            packed.collect::<Result<_, _>>()?
        }))
    }

    fn unpacked(
        &self,
        block: &[u8],
        account: &str,
        plan_id: &str,
        names: &Names,
    ) -> Result<Vec<DecisionRecord>, LedgerError> {
        let damaged =
            |what: &str| self.damaged(format!("the evaluation {plan_id} of {account} contains {what}"));
        let wanted = |number| names.are_all || names.names.contains_key(&number);
        let decisions = decision_block::decode(block, wanted).map_err(|damage| damaged(damage.as_str()))?;
        let decisions = decisions.into_iter().map(|(number, decision)| {
            let name = names.names.get(&number);
            let name =
                name.ok_or_else(|| damaged(&format!("namespace number {number}, which does not exist")))?;
            Ok(DecisionRecord {
                account: account.to_owned(),
                plan_id: plan_id.to_owned(),
                namespace: name.to_string(),
                ..decision
            })
        });
        decisions.collect()
    }

    /// Returns the outcomes of changes of evaluations, by account, plan and namespace.
    async fn outcomes(&self, evaluated: Evaluated) -> Result<Outcomes, LedgerError> {
        within!(self, Access::Read, transaction => {
            let rows = query(
                "SELECT c.account, c.plan_id, c.namespace, c.outcome, c.error FROM capacity_changes c \
                 JOIN capacity_evaluations e ON e.account = c.account AND e.plan_id = c.plan_id \
                 WHERE e.evaluated_at_ms >= $1 AND e.evaluated_at_ms <= $2",
            )
            .bind(evaluated.first_ms)
            .bind(evaluated.last_ms)
            .fetch_all(&mut *transaction)
            .await?;
            let outcomes = rows.iter().map(|row| {
                let key = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
                Ok::<_, sqlx::Error>((key, (row.try_get(3)?, row.try_get(4)?)))
            });
            outcomes.collect::<Result<_, _>>()?
        })
    }

    /// Returns the times of the oldest or newest evaluations in a range, at most `most`, in that order.
    pub(crate) async fn times_of_evaluations(
        &self,
        account: Option<&str>,
        evaluated: Evaluated,
        is_newest_first: bool,
        most: i64,
    ) -> Result<Vec<i64>, LedgerError> {
        let order = if is_newest_first { "DESC" } else { "ASC" };
        let sql = sqlx::AssertSqlSafe(format!(
            "SELECT DISTINCT evaluated_at_ms FROM capacity_evaluations WHERE evaluated_at_ms >= $1 AND evaluated_at_ms <= $2 \
             AND ($3 = '' OR account = $3) ORDER BY evaluated_at_ms {order} LIMIT $4"
        ));
        within!(self, Access::Read, transaction => {
            let rows = query(sql)
                .bind(evaluated.first_ms)
                .bind(evaluated.last_ms)
                .bind(account.unwrap_or_default())
                .bind(most)
                .fetch_all(&mut *transaction)
                .await?;
            rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?
        })
    }
}

type Outcomes = HashMap<(String, String, String), (String, Option<String>)>;

/// Returns the sort key of the history.
pub(crate) fn order_of(row: &HistoryRow) -> (i64, &str, &str) {
    (
        row.evaluated_at_ms,
        &row.decision.namespace,
        &row.decision.plan_id,
    )
}

fn blocks_of<'q, DB>(account: Option<&'q str>, names: &Names, evaluated: Evaluated) -> QueryBuilder<DB>
where
    DB: Backend,
    &'q str: Encode<'q, DB> + Type<DB>,
    i64: Encode<'q, DB> + Type<DB>,
{
    let mut select = QueryBuilder::new(format!(
        "SELECT {}, b.block FROM capacity_evaluations e \
         JOIN capacity_decision_blocks b ON b.account = e.account AND b.plan_id = e.plan_id WHERE e.evaluated_at_ms >= ",
        rows::columns::<EvaluationRecord>("e").join(", ")
    ));
    select.push_bind(evaluated.first_ms);
    select
        .push(" AND e.evaluated_at_ms <= ")
        .push_bind(evaluated.last_ms);
    if let Some(account) = account {
        select.push(" AND e.account = ").push_bind(account);
    }
    if !names.are_all {
        // Without any namespace, the range is empty.
        let number = |number: Option<&u64>| number.and_then(|number| i64::try_from(*number).ok());
        let (first, last) = (names.names.keys().min(), names.names.keys().max());
        select
            .push(" AND b.last_namespace >= ")
            .push_bind(number(first).unwrap_or(1));
        select
            .push(" AND b.first_namespace <= ")
            .push_bind(number(last).unwrap_or(0));
    }
    select
}
