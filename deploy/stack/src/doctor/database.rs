//! PostgreSQL, its schemas, `PgBouncer`, and the members that the database knows.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use crate::database::{direct, pooled};
use crate::membership::{HEARTBEAT, unknown_members};
use crate::place::{DATABASES, Place, Stack};
use crate::process;
use crate::roles::{Member, Role};
use crate::schema::{Version, look, remembered_targets};

use super::report::Report;

/// Returns whether it answers.
pub(super) fn postgres(place: &Place, stack: &Stack, report: &mut Report) -> bool {
    const CHECK: &str = "PostgreSQL";
    let sql = "select current_setting('server_version'), current_setting('max_connections'), \
               (select count(*) from pg_stat_activity where backend_type = 'client backend'), \
               pg_size_pretty(sum(pg_database_size(oid))) from pg_database";
    let row = match direct(place, stack, "postgres", sql) {
        Ok(rows) => rows.into_iter().next().unwrap_or_default(),
        Err(error) => {
            let why = "everything is stored there: every call fails";
            report.fail(
                CHECK,
                format!("{error:#}"),
                why,
                "`deploy/stack/up` starts it; `temporal-stack logs postgres` shows why it stopped",
            );
            return false;
        }
    };
    let [version, limit, used, size] = row.as_slice() else {
        report.fail(
            CHECK,
            "it gave an unexpected response",
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
        let why = "once all connections are in use, PgBouncer and the schema tool are refused";
        report.warn(
            CHECK,
            found,
            why,
            "raise database.max_connections, or find out what uses them: `select * from pg_stat_activity`",
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
                format!("{shown}; what server {version} needs is not recorded"),
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
            "the next upgrade of the visibility schema fails halfway on an index that needs it",
            format!(
                "`create extension btree_gin` in {} (package postgresql-contrib)",
                DATABASES[1]
            ),
        );
    }
}

/// A disk with less free is full for PostgreSQL: its write-ahead log grows in files of 16 MiB.
const NO_SPACE_KIB: u64 = 64 << 10;

/// A disk with a smaller share free is reported, unless much is free.
const LITTLE_SPACE_PERCENT: u64 = 10;

/// This much lasts for a while on a disk of any size.
const MUCH_SPACE_KIB: u64 = 10 << 20;

/// The disk under the databases.
pub(super) fn disk(place: &Place, report: &mut Report) {
    let folder = place.database();
    let asked = process::output_within(
        Command::new("df").args(["-P", "-k"]).arg(&folder),
        Duration::from_secs(10),
    );
    let text = asked
        .ok()
        .flatten()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    if let Some((size, free)) = text.as_deref().and_then(size_and_free) {
        judge_disk(&folder.display().to_string(), size, free, report);
    }
}

/// Reads KiB of size and free space from the one line that `df -P -k` prints below its headings.
fn size_and_free(text: &str) -> Option<(u64, u64)> {
    let fields: Vec<&str> = text.lines().nth(1)?.split_whitespace().collect();
    // The name of the file system may hold spaces: the fields are counted from the end, where the mount point is.
    let at = |from_end: usize| fields.iter().rev().nth(from_end)?.parse().ok();
    Some((at(4)?, at(2)?))
}

fn judge_disk(folder: &str, size: u64, free: u64, report: &mut Report) {
    const CHECK: &str = "disk of PostgreSQL";
    let percent = (free * 100).checked_div(size).unwrap_or_default();
    let found = format!("{} MiB free ({percent}%) under {folder}", free >> 10);
    let remedy = "delete what is not needed there or enlarge the disk; PostgreSQL continues by itself, or `deploy/stack/up` starts it";
    if free < NO_SPACE_KIB {
        report.fail(
            CHECK,
            found,
            "PostgreSQL refuses every write, or stops: no workflow starts or moves",
            remedy,
        );
    } else if percent < LITTLE_SPACE_PERCENT && free < MUCH_SPACE_KIB {
        report.warn(
            CHECK,
            found,
            "when it is full, PostgreSQL refuses every write: no workflow starts or moves",
            remedy,
        );
    } else {
        report.good(CHECK, found);
    }
}

pub(super) fn pgbouncer(place: &Place, stack: &Stack, is_database_up: bool, report: &mut Report) {
    let address = stack.network().pgbouncer();
    let ask = |sql: &str| pooled(place, stack, "pgbouncer", sql);
    let rows = match ask("show config") {
        Ok(rows) => rows,
        Err(problem) => {
            let why = "the roles reach the database only through it";
            report.fail(
                POOLER,
                format!("{address}: {problem}"),
                why,
                "`deploy/stack/up` starts it; `temporal-stack logs pgbouncer` shows why it stopped",
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
    let accepted = is_database_up
        .then(|| direct(place, stack, "postgres", "show max_connections").ok())
        .flatten()
        .and_then(|rows| rows.first()?.first()?.parse().ok());
    let processes = u32::try_from(stack.settings.members().len()).unwrap_or(u32::MAX);
    let max_conns = u32::from(stack.settings.database.max_conns);
    judge_pooler(&address, &config, processes, max_conns, accepted, report);
    let waiting = ask("show pools").map(|rows| {
        let waits = rows
            .into_iter()
            .filter(|row| row.get(3).is_some_and(|waiting| waiting != "0"));
        waits.filter_map(|row| row.into_iter().next()).collect::<Vec<_>>()
    });
    if let Ok(waiting) = waiting
        && !waiting.is_empty()
        && is_database_up
    {
        report.warn(
            "PgBouncer's queue",
            format!("clients wait for a connection to {}", waiting.join(", ")),
            "each of them adds its wait to every call",
            "raise database.pool_size (and max_connections), or find the slow query in pg_stat_activity",
        );
    }
}

const POOLER: &str = "PgBouncer";

/// Judges the pooler's configuration against what the processes open, and what PostgreSQL accepts.
fn judge_pooler(
    address: &str,
    config: &BTreeMap<String, String>,
    processes: u32,
    max_conns: u32,
    accepted: Option<u32>,
    report: &mut Report,
) {
    let text = |key: &str| config.get(key).map_or("", String::as_str);
    let number = |key: &str| text(key).parse().unwrap_or(0_u32);
    let mode = text("pool_mode");
    let opened = processes * 2 * max_conns;
    let (pool, clients) = (number("default_pool_size"), number("max_client_conn"));
    // Temporal's two and the ledger's.
    let databases = u32::try_from(DATABASES.len() + 1).unwrap_or(u32::MAX);
    let found = format!("{mode} mode, {pool} connections per database, {clients} clients at {address}");
    if mode == "statement" {
        report.fail(
            POOLER,
            found,
            "Temporal needs transactions: every write fails",
            "set pool_mode to transaction, and restart PgBouncer",
        );
    } else if mode == "session" && pool < opened / 2 {
        report.fail(
            POOLER,
            found,
            "in session mode each connection of a role holds one of the pool: the roles wait for each other and time out",
            format!("set pool_mode to transaction, or default_pool_size to {} or more", opened / 2),
        );
    } else if clients < opened {
        report.warn(
            POOLER,
            found,
            "after an outage of the database all roles connect at once, and the last ones are refused",
            format!(
                "set max_client_conn to {opened} or more: {processes} processes open 2 x {max_conns} each"
            ),
        );
    } else if let Some(accepted) = accepted
        && accepted < pool.saturating_mul(databases).saturating_add(10)
    {
        report.warn(
            POOLER,
            format!("{found}; PostgreSQL accepts {accepted}"),
            "under load PgBouncer opens more connections than PostgreSQL accepts, and calls fail",
            format!(
                "raise database.max_connections to {} or lower database.pool_size: {databases} databases, and 10 for the schema tool and for people",
                pool.saturating_mul(databases).saturating_add(10)
            ),
        );
    } else {
        report.good(POOLER, found);
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
        let names: Vec<String> = unknown.iter().map(ToString::to_string).collect();
        report.fail(
            CHECK,
            format!("no heartbeat of {} within {HEARTBEAT}", names.join(", ")),
            "the others do not send it any work",
            "`temporal-stack status` shows whether it runs; `deploy/stack/up` starts what does not",
        );
    }
    let known: Vec<Member> = members
        .iter()
        .filter(|member| !unknown.contains(member))
        .copied()
        .collect();
    for viewer in members {
        if let Some(views) = views(&process::last_bytes(place, &viewer.to_string())) {
            judge_view(viewer, &views, &known, loopback, report);
        }
    }
}

/// Compares what one process sees with the processes that have a heartbeat.
fn judge_view(
    viewer: Member,
    views: &BTreeMap<Role, Vec<String>>,
    known: &[Member],
    loopback: &str,
    report: &mut Report,
) {
    for (role, seen) in views {
        let expected = known.iter().filter(|member| member.role == *role);
        let unseen: Vec<String> = expected
            .map(|member| member.ip(loopback))
            .filter(|ip| !seen.contains(ip))
            .collect();
        if !unseen.is_empty() {
            report.fail(
                &format!("membership as {viewer} sees it"),
                format!("{viewer} does not see {role} at {}", unseen.join(", ")),
                "the cluster is split: calls go to different owners of the same shard or task queue",
                format!("`temporal-stack restart {viewer}` makes it rejoin"),
            );
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
    use crate::doctor::Verdict;
    use crate::doctor::tests::{only, verdicts};
    use rstest::rstest;

    const LOG: &str = r#"
{"level":"info","msg":"Current reachable members","component":"service-resolver","service":"matching","addresses":["127.77.3.1:7235","127.77.3.2:7235"]}
not a line of JSON: Current reachable members
{"level":"info","msg":"Current reachable members","component":"service-resolver","service":"matching","addresses":["127.77.3.2:7235"]}"#;

    #[test]
    fn the_last_view_of_each_role_counts() {
        let views = views(LOG).expect("a view");
        assert_eq!(views[&Role::Matching], ["127.77.3.2"]);
    }

    #[test]
    fn a_process_that_does_not_see_a_member_has_split_off() {
        let known =
            ["history-1", "matching-1", "matching-2"].map(|name| Member::parse(name).expect("a member"));
        let views = views(LOG).expect("a view");
        let mut report = Report::default();
        judge_view(known[0], &views, &known, "127.77", &mut report);
        let finding = only(report);
        assert_eq!(finding.verdict, Verdict::Failure);
        assert_eq!(finding.found, "history-1 does not see matching at 127.77.3.1");
        assert!(
            finding.remedy.contains("temporal-stack restart history-1"),
            "{finding:?}"
        );
        let mut report = Report::default();
        judge_view(known[0], &views, &known[2..], "127.77", &mut report);
        assert_eq!(verdicts(report), [], "it sees every member that has a heartbeat");
    }

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
        // A session pool that is large enough needs a PostgreSQL that accepts it.
        let accepted = if mode == "session" { 300 } else { 100 };
        let mut report = Report::default();
        judge_pooler("127.77.0.1:6432", &config, 4, 20, Some(accepted), &mut report);
        let finding = only(report);
        assert_eq!(finding.verdict, verdict, "{finding:?}");
        assert!(
            format!("{} {}", finding.why, finding.remedy).contains(expected),
            "{finding:?}"
        );
    }

    #[rstest]
    #[case::plenty(50 << 20, Verdict::Good)]
    #[case::little(9 << 20, Verdict::Warning)]
    #[case::none(63 << 10, Verdict::Failure)]
    fn a_disk_is_reported_before_it_is_full(#[case] free: u64, #[case] verdict: Verdict) {
        let text = format!(
            "Filesystem     1024-blocks      Used Available Capacity Mounted on\n/dev/my disk  104857600  1 {free}  53% /var\n"
        );
        let (size, free) = size_and_free(&text).expect("read");
        let mut report = Report::default();
        judge_disk("/var", size, free, &mut report);
        assert_eq!(verdicts(report), [verdict]);
    }
}
