//! Rows of tables: each record names its columns once, for reading, writing and transferring.

use serde::de::DeserializeOwned;
use sqlx::postgres::PgRow;
use sqlx::query::Query;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Encode, FromRow, QueryBuilder, Row, SqlSafeStr, SqlStr, Transaction, Type};

use crate::backend::{Backend, query};
use crate::line::Line;
use crate::records::{
    ChangeRecord, DecisionInputsRecord, DecisionRecord, EvaluationRecord, HourRecord, PolicyDecisionRecord,
    PolicyStateRecord,
};
use crate::tables::{WITH_DECISION_INPUTS, WITH_POLICY_DECISIONS, WITH_POLICY_STATE};

/// The value of a column.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cell<'a> {
    Text(Option<&'a str>),
    Number(Option<i64>),
}

/// A field that is stored in a column.
trait Field {
    /// The type of the stored value.
    type Stored;

    fn read(stored: Self::Stored) -> Self;
    fn cell(&self) -> Cell<'_>;
}

impl Field for String {
    type Stored = Self;

    fn read(stored: Self) -> Self {
        stored
    }

    fn cell(&self) -> Cell<'_> {
        Cell::Text(Some(self))
    }
}

impl Field for Option<String> {
    type Stored = Self;

    fn read(stored: Self) -> Self {
        stored
    }

    fn cell(&self) -> Cell<'_> {
        Cell::Text(self.as_deref())
    }
}

impl Field for i64 {
    type Stored = Self;

    fn read(stored: Self) -> Self {
        stored
    }

    fn cell(&self) -> Cell<'_> {
        Cell::Number(Some(*self))
    }
}

impl Field for Option<i64> {
    type Stored = Self;

    fn read(stored: Self) -> Self {
        stored
    }

    fn cell(&self) -> Cell<'_> {
        Cell::Number(*self)
    }
}

/// SQLite has no booleans, so they are stored as integers in both databases.
impl Field for bool {
    type Stored = i64;

    fn read(stored: i64) -> Self {
        stored != 0
    }

    fn cell(&self) -> Cell<'_> {
        Cell::Number(Some(i64::from(*self)))
    }
}

/// A record that is one row of a table and one line of a file.
pub(crate) trait Record:
    Line + DeserializeOwned + Send + Sync + Unpin + for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow>
{
    const TABLE: &'static str;
    const COLUMNS: &'static [&'static str];
    /// The order of an export, which is the same in both databases. `{bytewise}` is replaced by the collation
    /// that orders text the same way on every machine.
    const ORDER: &'static str;
    /// Minimum number of schema additions in a database that has this table.
    const ADDITIONS: usize = 0;
    /// The condition for inserting a record, in terms of the values `$1`, `$2`...
    const TAKEN_IN_IF: &'static str = "true";
    /// How to handle an existing row. `{bytewise}` as in [`Record::ORDER`].
    const ON_CONFLICT: &'static str = "DO NOTHING";

    fn cells(&self) -> Vec<Cell<'_>>;

    /// Returns a problem that no database would reject, but that makes the record unusable.
    fn problem(&self) -> Option<String> {
        None
    }
}

macro_rules! record {
    ($record:ident in $table:literal by $order:literal: $($field:ident = $column:literal),+; $($rest:tt)*) => {
        impl Line for $record {
            const NAMES: &'static [&'static str] = &[$(stringify!($field)),+];
        }

        impl Record for $record {
            const TABLE: &'static str = $table;
            const COLUMNS: &'static [&'static str] = &[$($column),+];
            const ORDER: &'static str = $order;

            fn cells(&self) -> Vec<Cell<'_>> {
                vec![$(self.$field.cell()),+]
            }

            $($rest)*
        }

        record!(read $record, SqliteRow: $($field = $column),+);
        record!(read $record, PgRow: $($field = $column),+);
    };
    (read $record:ident, $row:ty: $($field:ident = $column:literal),+) => {
        impl FromRow<'_, $row> for $record {
            fn from_row(row: &$row) -> Result<Self, sqlx::Error> {
                Ok(Self { $($field: Field::read(row.try_get($column)?)),+ })
            }
        }
    };
}

record! {
    HourRecord in "capacity_hours" by "account {bytewise}, hour, namespace {bytewise}":
    account = "account",
    namespace = "namespace",
    hour = "hour",
    known_minutes = "known_minutes",
    throttled_minutes = "throttled_minutes",
    actions_sum = "actions_sum",
    requests_sum = "requests_sum",
    operations_sum = "operations_sum",
    actions_highest = "actions_highest",
    requests_highest = "requests_highest",
    operations_highest = "operations_highest",
    actions_known_minutes = "actions_known_minutes",
    requests_known_minutes = "requests_known_minutes",
    operations_known_minutes = "operations_known_minutes";

    /// If its minutes still exist and will be aggregated, the hour would be counted twice.
    const TAKEN_IN_IF: &'static str = "NOT EXISTS (SELECT 1 FROM capacity_minutes \
        WHERE account = $1 AND minute >= $3 * 60 AND minute < $3 * 60 + 60)";

    fn problem(&self) -> Option<String> {
        let second = self.hour.checked_mul(3_600);
        let is_time = second.is_some_and(|second| jiff::Timestamp::from_second(second).is_ok());
        (!is_time).then(|| format!("the hour {} is out of range", self.hour))
    }
}

record! {
    EvaluationRecord in "capacity_evaluations" by "evaluated_at_ms, account {bytewise}, plan_id {bytewise}":
    account = "account",
    plan_id = "plan_id",
    evaluated_at_ms = "evaluated_at_ms",
    dry_run = "dry_run",
    blind = "blind",
    by = "made_by",
    usage_window = "usage_window",
    price_micro_dollars = "price_micro_dollars";

    fn problem(&self) -> Option<String> {
        no_time(self.evaluated_at_ms)
    }
}

record! {
    DecisionRecord in "capacity_decisions" by "account {bytewise}, plan_id {bytewise}, namespace {bytewise}":
    account = "account",
    plan_id = "plan_id",
    namespace = "namespace",
    action = "action",
    current_trus = "current_trus",
    wanted_trus = "wanted_trus",
    reason_code = "reason_code",
    reason = "reason",
    price_before_micro_dollars = "price_before",
    price_after_micro_dollars = "price_after",
    known_minutes = "known_minutes";
}

record! {
    PolicyDecisionRecord in "capacity_policy_decisions"
        by "account {bytewise}, plan_id {bytewise}, namespace {bytewise}, policy {bytewise}, shadow":
    account = "account",
    plan_id = "plan_id",
    namespace = "namespace",
    policy = "policy",
    version = "version",
    shadow = "shadow",
    action = "action",
    current_trus = "current_trus",
    wanted_trus = "wanted_trus",
    blocked_trus = "blocked_trus",
    reason_code = "reason_code",
    reason = "reason",
    options = "options";

    const ADDITIONS: usize = WITH_POLICY_DECISIONS;
}

record! {
    DecisionInputsRecord in "capacity_decision_inputs" by "account {bytewise}, plan_id {bytewise}, namespace {bytewise}":
    account = "account",
    plan_id = "plan_id",
    namespace = "namespace",
    inputs = "inputs";

    const ADDITIONS: usize = WITH_DECISION_INPUTS;
}

/// How final an outcome is. A change without a POST may be queued again under the same operation id. An
/// outcome that is still open, or whose workflow was lost, is replaced by an observed outcome.
macro_rules! finality {
    ($row:literal) => {
        concat!(
            "CASE ",
            $row,
            ".outcome WHEN 'not_started' THEN 0 WHEN 'replaced' THEN 0 WHEN 'in_progress' THEN 1 WHEN 'unknown' THEN 2 \
             WHEN 'terminated' THEN 3 ELSE 4 END"
        )
    };
}

record! {
    ChangeRecord in "capacity_changes" by "ended_at_ms, operation_id {bytewise}":
    operation_id = "operation_id",
    account = "account",
    plan_id = "plan_id",
    namespace = "namespace",
    from_trus = "from_trus",
    to_trus = "to_trus",
    outcome = "outcome",
    error = "error",
    ended_at_ms = "ended_at_ms",
    by = "made_by";

    /// The order in which rows of one operation arrive does not matter: the more final outcome wins. Among
    /// equally final ones, the earlier one wins; in the same millisecond, text order decides.
    const ON_CONFLICT: &'static str = concat!(
        "(operation_id) DO UPDATE SET account = excluded.account, plan_id = excluded.plan_id, namespace = excluded.namespace, \
         from_trus = excluded.from_trus, to_trus = excluded.to_trus, outcome = excluded.outcome, error = excluded.error, \
         ended_at_ms = excluded.ended_at_ms, made_by = excluded.made_by WHERE (",
        finality!("excluded"),
        // The times are swapped, so that the earlier one wins. A NULL would make the whole comparison NULL,
        // hence COALESCE.
        ", capacity_changes.ended_at_ms, excluded.outcome {bytewise}, COALESCE(excluded.error, '') {bytewise}, \
         excluded.made_by {bytewise}, excluded.plan_id {bytewise}) > (",
        finality!("capacity_changes"),
        ", excluded.ended_at_ms, capacity_changes.outcome {bytewise}, COALESCE(capacity_changes.error, '') {bytewise}, \
         capacity_changes.made_by {bytewise}, capacity_changes.plan_id {bytewise})"
    );

    fn problem(&self) -> Option<String> {
        no_time(self.ended_at_ms)
    }
}

record! {
    PolicyStateRecord in "capacity_policy_state" by "account {bytewise}, namespace {bytewise}, policy {bytewise}":
    account = "account",
    namespace = "namespace",
    policy = "policy",
    version = "version",
    minute = "minute",
    state = "state";

    const ADDITIONS: usize = WITH_POLICY_STATE;

    /// State only moves forward in time. In the same minute, the later write wins.
    const ON_CONFLICT: &'static str = "(account, namespace, policy) DO UPDATE SET version = excluded.version, \
        minute = excluded.minute, state = excluded.state WHERE excluded.minute > capacity_policy_state.minute \
        OR (excluded.minute = capacity_policy_state.minute \
        AND (excluded.version <> capacity_policy_state.version OR excluded.state <> capacity_policy_state.state))";

    fn problem(&self) -> Option<String> {
        if self.state.len() > Self::LONGEST {
            return Some(format!(
                "the state of {} for {} is {} bytes long, but the maximum is {}",
                self.policy, self.namespace, self.state.len(), Self::LONGEST
            ));
        }
        let second = self.minute.checked_mul(60);
        let is_time = second.is_some_and(|second| jiff::Timestamp::from_second(second).is_ok());
        (!is_time).then(|| format!("minute: {} is out of range", self.minute))
    }
}

fn no_time(milliseconds: i64) -> Option<String> {
    let is_time = jiff::Timestamp::from_millisecond(milliseconds).is_ok();
    (!is_time).then(|| format!("{milliseconds} is not a valid time in milliseconds"))
}

/// Returns the columns of a record, each with the alias of its table.
pub(crate) fn columns<T: Record>(alias: &str) -> Vec<String> {
    T::COLUMNS
        .iter()
        .map(|column| format!("{alias}.{column}"))
        .collect()
}

/// Selects the columns of a record, to be read with `sqlx::query_as`.
pub(crate) fn select<T: Record>(rest: &str) -> SqlStr {
    AssertSqlSafe(format!(
        "SELECT {} FROM {} {rest}",
        T::COLUMNS.join(", "),
        T::TABLE
    ))
    .into_sql_str()
}

/// Inserts a record if its condition holds.
pub(crate) fn insert<DB: Backend, T: Record>(_: &Transaction<'_, DB>) -> SqlStr {
    let values: Vec<String> = (1..=T::COLUMNS.len())
        .map(|number| format!("${number}"))
        .collect();
    AssertSqlSafe(format!(
        "INSERT INTO {} ({}) SELECT {} WHERE {} ON CONFLICT {}",
        T::TABLE,
        T::COLUMNS.join(", "),
        values.join(", "),
        T::TAKEN_IN_IF,
        T::ON_CONFLICT.replace("{bytewise}", DB::BYTEWISE)
    ))
    .into_sql_str()
}

/// Creates a statement that inserts several records, which must belong to different rows.
pub(crate) fn insert_all<'q, DB, T: Record + 'q>(records: impl IntoIterator<Item = &'q T>) -> QueryBuilder<DB>
where
    DB: Backend,
    Option<&'q str>: Encode<'q, DB> + Type<DB>,
    Option<i64>: Encode<'q, DB> + Type<DB>,
{
    let mut insert = QueryBuilder::new(format!("INSERT INTO {} ({}) ", T::TABLE, T::COLUMNS.join(", ")));
    insert.push_values(records, |mut row, record| {
        for cell in record.cells() {
            match cell {
                Cell::Text(text) => row.push_bind(text),
                Cell::Number(number) => row.push_bind(number),
            };
        }
    });
    insert
        .push(" ON CONFLICT ")
        .push(T::ON_CONFLICT.replace("{bytewise}", DB::BYTEWISE));
    insert
}

/// Binds the values of a record to a statement.
pub(crate) fn bound<'q, DB>(sql: &SqlStr, record: &'q impl Record) -> Query<'q, DB, DB::Arguments>
where
    DB: Backend,
    Option<&'q str>: Encode<'q, DB> + Type<DB>,
    Option<i64>: Encode<'q, DB> + Type<DB>,
{
    record
        .cells()
        .into_iter()
        .fold(query(sql.clone()), |query, cell| match cell {
            Cell::Text(text) => query.bind(text),
            Cell::Number(number) => query.bind(number),
        })
}
