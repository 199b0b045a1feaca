//! PostgreSQL, its schemas, `PgBouncer`, and the members that the database knows.

use std::collections::BTreeMap;

use crate::database::{direct, query};
use crate::membership::{HEARTBEAT, unknown_members};
use crate::place::{DATABASES, Place, Stack};
use crate::process;
use crate::roles::Role;
use crate::schema::{Version, look, remembered_targets};

use super::Report;

/// Returns whether it answers.
pub(super) fn postgres(place: &Place, stack: &Stack, report: &mut Report) -> bool {
    const CHECK: &str = "PostgreSQL";
    let sql = "select current_setting('server_version'), current_setting('max_connections'), \
               (select count(*) from pg_stat_activity where backend_type = 'client backend'), \
               pg_size_pretty(sum(pg_database_size(oid))) from pg_database";
    let row = match direct(place, stack, "postgres", sql) {
        Ok(rows) => rows.into_iter().next().unwrap_or_default(),
        Err(error) => {
            let why = "everything is stored there: no call is answered";
            report.fail(
                CHECK,
                format!("{error:#}"),
                why,
                "`deploy/stack/up` starts it; `temporal-stack logs postgres` says why it stopped",
            );
            return false;
        }
    };
    let [version, limit, used, size] = row.as_slice() else {
        report.fail(
            CHECK,
            "it gave an unexpected answer",
            "it may be another server",
            "check what listens at its address",
        );
        return false;
    };
    let found = format!(
        "{version} at {}, {used} of {limit} connections, {size}",
        stack.network().postgres()
    );
    let (used, limit) = (used.parse().unwrap_or(0_u32), limit.parse().unwrap_or(0_u32));
    if used * 10 > limit * 8 {
        let why = "when no connection is left, PgBouncer and the schema tool are refused";
        report.warn(
            CHECK,
            found,
            why,
            "raise database.max_connections, or find who holds them: `select * from pg_stat_activity`",
        );
    } else {
        report.good(CHECK, found);
    }
    true
}

pub(super) fn schemas(place: &Place, stack: &Stack, report: &mut Report) {
    let version = &stack.settings.server.version;
    let targets = remembered_targets(place, stack);
    for (which, name) in DATABASES.iter().enumerate() {
        let check = format!("schema of {name}");
        let found = match look(place, stack, which) {
            Ok(found) => found,
            Err(error) => {
                report.fail(
                    &check,
                    format!("{error:#}"),
                    "the server cannot use it",
                    "`temporal-stack schema` sets it up",
                );
                continue;
            }
        };
        let shown = found
            .version
            .map_or_else(|| "none".to_owned(), |version| version.to_string());
        let remedy = "`temporal-stack schema` sets up what is missing, and refuses what would lose data";
        match (found.version, targets.map(|targets| targets[which])) {
            (None, _) => report.fail(
                &check,
                "no schema of Temporal",
                "the server refuses to start",
                remedy,
            ),
            (Some(Version(0, 0)), _) => {
                report.fail(
                    &check,
                    "half applied (version 0.0)",
                    "the server refuses to start",
                    remedy,
                );
            }
            (Some(is), Some(target)) if is < target => report.fail(
                &check,
                format!("{shown}, and server {version} needs {target}"),
                "the server refuses to start with an older schema",
                "`temporal-stack schema` upgrades it",
            ),
            (Some(is), Some(target)) if is > target => report.warn(
                &check,
                format!("{shown}, newer than {target} of server {version}"),
                "a server accepts a newer schema, but was not tested with it",
                "upgrade the server to the version that this schema came with",
            ),
            (Some(_), Some(_)) => report.good(&check, format!("{shown}, as server {version} needs it")),
            (Some(_), None) => report.warn(
                &check,
                format!("{shown}; what server {version} needs is not on record"),
                "an older schema keeps the server from starting",
                "`temporal-stack schema` compares and records it",
            ),
        }
    }
    let extension = direct(
        place,
        stack,
        DATABASES[1],
        "select 1 from pg_extension where extname = 'btree_gin'",
    );
    if extension.is_ok_and(|rows| rows.is_empty()) {
        report.fail(
            "extension btree_gin",
            format!("missing in {}", DATABASES[1]),
            "the next upgrade of the visibility schema stops half-way on an index that needs it",
            format!(
                "`create extension btree_gin` in {} (package postgresql-contrib)",
                DATABASES[1]
            ),
        );
    }
}

pub(super) fn pgbouncer(place: &Place, stack: &Stack, report: &mut Report) {
    const CHECK: &str = "PgBouncer";
    let Ok(password) = place.password() else {
        return;
    };
    let address = stack.network().pgbouncer();
    let ask = |sql: &str| query(&stack.postgres_programs, &address, "pgbouncer", &password, sql);
    let rows = match ask("show config") {
        Ok(rows) => rows,
        Err(problem) => {
            let why = "the roles reach the database through it alone";
            report.fail(
                CHECK,
                format!("{address}: {problem}"),
                why,
                "`deploy/stack/up` starts it; `temporal-stack logs pgbouncer` says why it stopped",
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
    let text = |key: &str| config.get(key).cloned().unwrap_or_default();
    let number = |key: &str| text(key).parse().unwrap_or(0_u32);
    let mode = text("pool_mode");
    let database = &stack.settings.database;
    let processes = u32::try_from(stack.settings.members().len()).unwrap_or(u32::MAX);
    let opened = processes * 2 * u32::from(database.max_conns);
    let (pool, clients) = (number("default_pool_size"), number("max_client_conn"));
    let found = format!("{mode} mode, {pool} connections per database, {clients} clients at {address}");
    if mode == "statement" {
        report.fail(
            CHECK,
            found,
            "Temporal needs transactions: every write fails",
            "set pool_mode to transaction, and restart PgBouncer",
        );
    } else if mode == "session" && pool < opened / 2 {
        report.fail(
            CHECK,
            found,
            "in session mode each connection of a role holds one of the pool: the roles wait for each other and time out",
            format!("set pool_mode to transaction, or default_pool_size to {} or more", opened / 2),
        );
    } else if clients < opened {
        report.warn(
            CHECK,
            found,
            "after an outage of the database all roles connect at once, and the last ones are refused",
            format!(
                "set max_client_conn to {opened} or more: {processes} processes open 2 x {} each",
                database.max_conns
            ),
        );
    } else {
        report.good(CHECK, found);
    }
    let waiting = ask("show pools").map(|rows| {
        let waits = rows
            .into_iter()
            .filter(|row| row.get(3).is_some_and(|waiting| waiting != "0"));
        waits.filter_map(|row| row.into_iter().next()).collect::<Vec<_>>()
    });
    if let Ok(waiting) = waiting
        && !waiting.is_empty()
    {
        report.warn(
            "PgBouncer's queue",
            format!("clients wait for a connection to {}", waiting.join(", ")),
            "each of them adds its wait to every call",
            "raise database.pool_size (and max_connections), or find the slow query in pg_stat_activity",
        );
    }
}

/// Compares the members that are expected, those with a heartbeat in the database, and those that each process sees.
pub(super) fn membership(place: &Place, stack: &Stack, report: &mut Report) {
    const CHECK: &str = "membership";
    let loopback = &stack.network().loopback;
    let unknown = match unknown_members(place, stack) {
        Ok(unknown) => unknown,
        Err(error) => {
            let why = "the roles find each other through the database";
            report.fail(CHECK, format!("{error:#}"), why, "`temporal-stack schema`");
            return;
        }
    };
    let members = stack.settings.members();
    if unknown.is_empty() {
        report.good(
            CHECK,
            format!("{} processes with a current heartbeat", members.len()),
        );
    } else {
        let unknown: Vec<String> = unknown.iter().map(ToString::to_string).collect();
        report.fail(
            CHECK,
            format!("no heartbeat of {} within {HEARTBEAT}", unknown.join(", ")),
            "the others do not send it any work",
            "`temporal-stack status` shows whether it runs; `deploy/stack/up` starts what does not",
        );
    }
    for viewer in &members {
        let Some(views) = views(&process::last_bytes(place, &viewer.to_string())) else {
            continue;
        };
        for role in Role::ALL {
            let Some(seen) = views.get(&role) else { continue };
            let expected: Vec<String> = members
                .iter()
                .filter(|member| member.role == role && !unknown.contains(member))
                .map(|member| member.ip(loopback))
                .collect();
            let unseen: Vec<&String> = expected.iter().filter(|ip| !seen.contains(ip)).collect();
            if !unseen.is_empty() {
                report.fail(
                    &format!("membership as {viewer} sees it"),
                    format!(
                        "{viewer} does not see {role} at {}",
                        unseen.iter().map(|ip| ip.as_str()).collect::<Vec<_>>().join(", ")
                    ),
                    "the cluster is split: calls go to different owners of the same shard or task queue",
                    format!("`temporal-stack restart {viewer}` makes it join again"),
                );
            }
        }
    }
}

/// The members of each role that a process logged last.
fn views(log: &str) -> Option<BTreeMap<Role, Vec<String>>> {
    let mut views = BTreeMap::new();
    for line in log
        .lines()
        .filter(|line| line.contains("Current reachable members"))
    {
        let Ok(entry) = serde_json::from_str::<serde_json::Value>(line) else {
            continue;
        };
        // The role that it looked at, not its own.
        let role = entry["service"].as_str().and_then(Role::parse);
        let addresses = entry["addresses"].as_array().into_iter().flatten();
        let ips = addresses.filter_map(|address| {
            let address = address.as_str()?;
            Some(address.split(':').next()?.to_owned())
        });
        if let Some(role) = role {
            views.insert(role, ips.collect());
        }
    }
    (!views.is_empty()).then_some(views)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_view_of_each_role_counts() {
        let log = r#"
{"level":"info","msg":"Current reachable members","component":"service-resolver","service":"matching","addresses":["127.77.3.1:7235","127.77.3.2:7235"]}
not a line of JSON: Current reachable members
{"level":"info","msg":"Current reachable members","component":"service-resolver","service":"matching","addresses":["127.77.3.2:7235"]}"#;
        let views = views(log).expect("a view");
        assert_eq!(views[&Role::Matching], ["127.77.3.2"]);
    }
}
