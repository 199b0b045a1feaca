//! Checks `PgBouncer`: its mode, its limits, and clients that wait for a connection.

use std::collections::BTreeMap;

use crate::database::{direct, pooled};
use crate::place::{DATABASES, Place, Stack};

use super::report::Report;

pub(super) fn pgbouncer(place: &Place, stack: &Stack, is_database_up: bool, report: &mut Report) {
    let address = stack.network().pgbouncer();
    let ask = |sql: &str| pooled(place, stack, "pgbouncer", sql);
    let rows = match ask("show config") {
        Ok(rows) => rows,
        Err(error) => {
            let why = "the roles reach the database only through it";
            report.fail(
                POOLER,
                format!("{address}: {}", error.failure()),
                why,
                error.remedy(),
            );
            return;
        }
    };
    let config: BTreeMap<String, String> = rows
        .into_iter()
        .filter_map(|row| {
            let mut fields = row.into_iter();
            Some((fields.next()?, fields.next()?))
        })
        .collect();
    let accepted = if is_database_up {
        let asked = direct(place, stack, "postgres", "show max_connections").ok();
        let accepted: Option<u32> = asked.and_then(|rows| rows.first()?.first()?.parse().ok());
        accepted.map_or(Accepted::Unknown, Accepted::Known)
    } else {
        Accepted::NotAsked
    };
    let processes = u32::try_from(stack.settings.members().len()).unwrap_or(u32::MAX);
    let max_conns = u32::from(stack.settings.database.max_conns);
    judge_pooler(&address, &config, processes, max_conns, accepted, report);
    // With PostgreSQL down, every client waits.
    if !is_database_up {
        return;
    }
    let waiting: Vec<String> = match ask("show pools") {
        Ok(rows) => rows
            .into_iter()
            // Columns: database, user, active clients, waiting clients.
            .filter(|row| row.get(3).is_some_and(|waiting| waiting != "0"))
            .filter_map(|row| row.into_iter().next())
            .collect(),
        Err(error) => {
            let why = "it is unknown whether clients wait for a connection";
            report.warn(QUEUE, error.failure().to_string(), why, error.remedy());
            return;
        }
    };
    if !waiting.is_empty() {
        report.warn(
            QUEUE,
            format!("clients wait for a connection to {}", waiting.join(", ")),
            "the wait delays every call",
            "raise database.pool_size (and max_connections), or find the slow query in pg_stat_activity",
        );
    }
}

const QUEUE: &str = "PgBouncer's queue";

/// The number of connections that PostgreSQL accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accepted {
    Known(u32),
    Unknown,
    /// PostgreSQL is down, which another check reports.
    NotAsked,
}

const POOLER: &str = "PgBouncer";

/// Checks the pooler's configuration against the connections that the processes open and that PostgreSQL
/// accepts.
fn judge_pooler(
    address: &str,
    config: &BTreeMap<String, String>,
    processes: u32,
    max_conns: u32,
    accepted: Accepted,
    report: &mut Report,
) {
    let text = |key: &str| config.get(key).map_or("", String::as_str);
    let number = |key: &str| text(key).parse::<u32>().ok();
    let mode = text("pool_mode");
    let opened = processes * 2 * max_conns;
    let (Some(pool), Some(clients), false) = (
        number("default_pool_size"),
        number("max_client_conn"),
        mode.is_empty(),
    ) else {
        report.warn(
            POOLER,
            format!("its configuration at {address} lacks pool_mode, default_pool_size or max_client_conn"),
            "it is unknown whether its mode and limits suit Temporal",
            "check which program listens at that address, and its version",
        );
        return;
    };
    // Two databases of Temporal, and the ledger's.
    let databases = u32::try_from(DATABASES.len() + 1).unwrap_or(u32::MAX);
    let found = format!("{mode} mode, {pool} connections per database, {clients} clients at {address}");
    if mode == "statement" {
        report.fail(
            POOLER,
            found,
            "Temporal needs transactions: every write fails",
            "set pool_mode to transaction, and restart PgBouncer",
        );
    // Half, because `opened` counts two databases, and each has its own pool.
    } else if mode == "session" && pool < opened / 2 {
        report.fail(
            POOLER,
            found,
            "in session mode, each connection of a role occupies a connection of the pool: the roles wait for each other and time out",
            format!("set pool_mode to transaction, or default_pool_size to {} or more", opened / 2),
        );
    } else if clients < opened {
        report.warn(
            POOLER,
            found,
            "after an outage of the database, all roles connect at once, and the last connections are refused",
            format!(
                "set max_client_conn to {opened} or more: {processes} processes open 2 x {max_conns} each"
            ),
        );
    } else if accepted == Accepted::Unknown {
        report.warn(
            POOLER,
            format!("{found}; the limit of PostgreSQL cannot be determined"),
            "it is unknown whether PgBouncer may open more connections than PostgreSQL accepts",
            "run `show max_connections` in PostgreSQL",
        );
    } else if let Accepted::Known(accepted) = accepted
        && accepted < pool.saturating_mul(databases).saturating_add(10)
    {
        report.warn(
            POOLER,
            format!("{found}; PostgreSQL accepts {accepted}"),
            "under load PgBouncer opens more connections than PostgreSQL accepts, and calls fail",
            format!(
                "raise database.max_connections to {} or lower database.pool_size: {databases} databases, and 10 for the schema tool and for administrators",
                pool.saturating_mul(databases).saturating_add(10)
            ),
        );
    } else {
        report.good(POOLER, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use crate::doctor::tests::{only, verdicts};
    use rstest::rstest;

    #[rstest]
    #[case::as_rendered("transaction", 20, 260, Verdict::Good, "")]
    #[case::statement("statement", 20, 260, Verdict::Failure, "Temporal needs transactions")]
    #[case::session_with_too_few("session", 20, 260, Verdict::Failure, "default_pool_size to 80 or more")]
    #[case::session_with_enough("session", 80, 260, Verdict::Good, "")]
    #[case::too_few_clients("transaction", 20, 159, Verdict::Warning, "max_client_conn to 160 or more")]
    #[case::more_than_postgres_accepts("transaction", 64, 260, Verdict::Warning, "max_connections to 202")]
    fn the_pooler_is_judged_by_what_the_processes_open(
        #[case] mode: &str,
        #[case] pool: u32,
        #[case] clients: u32,
        #[case] verdict: Verdict,
        #[case] expected: &str,
    ) {
        let config = [
            ("pool_mode", mode.to_owned()),
            ("default_pool_size", pool.to_string()),
            ("max_client_conn", clients.to_string()),
        ];
        let config = config.map(|(key, value)| (key.to_owned(), value)).into();
        // A large session pool needs a PostgreSQL that accepts that many connections.
        let accepted = if mode == "session" { 300 } else { 100 };
        let mut report = Report::default();
        let accepted = Accepted::Known(accepted);
        judge_pooler("127.77.0.1:6432", &config, 4, 20, accepted, &mut report);
        let finding = only(report);
        assert_eq!(finding.verdict, verdict, "{finding:?}");
        assert!(
            format!("{} {}", finding.why, finding.remedy).contains(expected),
            "{finding:?}"
        );
    }

    #[test]
    fn a_pooler_with_an_incomplete_configuration_is_not_good() {
        let config = [
            ("pool_mode", "transaction"),
            ("default_pool_size", "20"),
            ("max_client_conn", "260"),
        ];
        let whole: BTreeMap<String, String> = config
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let judged = |config: &BTreeMap<String, String>, accepted| {
            let mut report = Report::default();
            judge_pooler("127.77.0.1:6432", config, 4, 20, accepted, &mut report);
            verdicts(report)
        };
        assert_eq!(judged(&whole, Accepted::Known(100)), [Verdict::Good]);
        assert_eq!(judged(&whole, Accepted::Unknown), [Verdict::Warning]);
        for key in whole.keys() {
            let mut part = whole.clone();
            part.remove(key);
            assert_eq!(judged(&part, Accepted::Known(100)), [Verdict::Warning], "{key}");
        }
    }
}
