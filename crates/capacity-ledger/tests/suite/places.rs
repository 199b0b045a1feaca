//! Creates a separate ledger for each test, and fills it.

use std::sync::Arc;

use capacity_ledger::{
    ChangeRecord, DecisionInputsRecord, DecisionRecord, EvaluationRecord, Location, Minute, NamespaceMinute,
    PolicyDecisionRecord, PolicyStateRecord,
};
use jiff::Timestamp;
use secrecy::ExposeSecret;

use crate::postgres::new_database;

pub(crate) const ACCOUNT: &str = "a1b2c";

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

/// A ledger of one test. Its folder is deleted with it.
pub(crate) struct Place {
    pub(crate) location: Location,
    _folder: tempfile::TempDir,
}

pub(crate) fn place(kind: Kind, test: &str) -> Option<Place> {
    let folder = tempfile::tempdir().expect("a folder");
    let location = match kind {
        Kind::Sqlite => Location::Sqlite(folder.path().join("new/ledger.db")),
        Kind::Postgres => Location::parse(&new_database(test)?).expect("a location"),
    };
    Some(Place {
        location,
        _folder: folder,
    })
}

/// Opens a new ledger. Returns from the test if its server is skipped.
macro_rules! opened {
    ($kind:expr, $test:expr, $place:ident, $ledger:ident) => {
        let Some($place) = $crate::places::place($kind, $test) else {
            return;
        };
        let $ledger = capacity_ledger::Ledger::open(&$place.location)
            .await
            .expect("opened");
    };
}
pub(crate) use opened;

pub(crate) fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_040 + minute * 60).expect("in range")
}

pub(crate) fn sample(name: &str, actions: u64) -> NamespaceMinute {
    NamespaceMinute {
        namespace: Arc::from(format!("{name}.{ACCOUNT}")),
        unread: [false, actions % 2 == 1, false],
        reported: true,
        served: [actions, actions * 2, 0],
        throttled: [0, 0, actions / 10],
        limits: [Some(500_000_000), None, Some(4_000_000_000)],
        envelopes: [Some(500_000_000), None, None],
    }
}

pub(crate) fn minute(number: i64, samples: Vec<NamespaceMinute>) -> Minute {
    Minute {
        minute: at(number),
        complete: true,
        source: "metrics".to_owned(),
        samples,
    }
}

pub(crate) fn evaluation(plan: &str, minute: i64, dry_run: bool) -> EvaluationRecord {
    EvaluationRecord {
        account: ACCOUNT.to_owned(),
        plan_id: plan.to_owned(),
        evaluated_at_ms: at(minute).as_millisecond(),
        dry_run,
        blind: false,
        by: "worker-1".to_owned(),
        usage_window: "ledger".to_owned(),
        price_micro_dollars: 50_000_000,
    }
}

pub(crate) fn decision(plan: &str, namespace: &str, action: &str) -> DecisionRecord {
    DecisionRecord {
        account: ACCOUNT.to_owned(),
        plan_id: plan.to_owned(),
        namespace: namespace.to_owned(),
        action: action.to_owned(),
        current_trus: Some(4),
        wanted_trus: Some(0),
        reason_code: "idle".to_owned(),
        reason: "45 actions, \"quoted\", below 100".to_owned(),
        price_before_micro_dollars: Some(54_000_000),
        price_after_micro_dollars: Some(0),
        known_minutes: Some(60),
    }
}

pub(crate) fn change(plan: &str, namespace: &str, outcome: &str) -> ChangeRecord {
    ChangeRecord {
        operation_id: format!("{plan}-{namespace}"),
        account: ACCOUNT.to_owned(),
        plan_id: plan.to_owned(),
        namespace: namespace.to_owned(),
        from_trus: 4,
        to_trus: 0,
        outcome: outcome.to_owned(),
        error: None,
        ended_at_ms: at(2).as_millisecond(),
        by: "worker-1".to_owned(),
    }
}

pub(crate) fn policy_decision(plan: &str, namespace: &str, shadow: bool) -> PolicyDecisionRecord {
    PolicyDecisionRecord {
        account: ACCOUNT.to_owned(),
        plan_id: plan.to_owned(),
        namespace: namespace.to_owned(),
        policy: "break-even".to_owned(),
        version: 1,
        shadow,
        action: "Resize".to_owned(),
        current_trus: Some(4),
        wanted_trus: Some(6),
        blocked_trus: None,
        reason_code: "waiting_costs_more".to_owned(),
        reason: "throttled in 2 of the last 10 min".to_owned(),
        options: r#"[{"trus":6,"verdict":"chosen, \"quoted\""}]"#.to_owned(),
    }
}

pub(crate) fn inputs(plan: &str, namespace: &str) -> DecisionInputsRecord {
    DecisionInputsRecord {
        account: ACCOUNT.to_owned(),
        plan_id: plan.to_owned(),
        namespace: namespace.to_owned(),
        inputs: "{}".to_owned(),
    }
}

pub(crate) fn policy_state(namespace: &str, minute: i64, state: &str) -> PolicyStateRecord {
    PolicyStateRecord {
        account: ACCOUNT.to_owned(),
        namespace: namespace.to_owned(),
        policy: "break-even".to_owned(),
        version: 1,
        minute: at(minute).as_second() / 60,
        state: state.to_owned(),
    }
}

/// Runs statements on the database directly.
pub(crate) async fn execute(location: &Location, statements: &str) {
    match location {
        Location::Sqlite(path) => {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
            let pool = sqlx::SqlitePool::connect_with(options).await.expect("connected");
            let sql = sqlx::AssertSqlSafe(statements.to_owned());
            sqlx::raw_sql(sql).execute(&pool).await.expect("executed");
            pool.close().await;
        }
        Location::Postgres(url) => {
            let pool = sqlx::PgPool::connect(url.expose_secret())
                .await
                .expect("connected");
            let sql = sqlx::AssertSqlSafe(statements.to_owned());
            sqlx::raw_sql(sql).execute(&pool).await.expect("executed");
            pool.close().await;
        }
        _ => unreachable!("a location that this test does not know"),
    }
}

/// Downgrades the tables to the release before policies had state.
pub(crate) async fn downgrade(location: &Location) {
    execute(
        location,
        "DROP TABLE capacity_additions; DROP TABLE capacity_decision_blocks; DROP TABLE capacity_decision_inputs; DROP TABLE capacity_policy_decisions; DROP TABLE capacity_policy_state; CREATE TABLE capacity_policy_state \
         (account TEXT NOT NULL, namespace TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (account, namespace))",
    )
    .await;
}
