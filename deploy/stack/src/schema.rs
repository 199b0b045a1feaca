//! Sets up and upgrades both schemas. Safe to repeat, and rejects anything that would lose data.
//!
//! Pure code first decides what to do with the contents of a database. Only then does Temporal's own schema tool
//! change it.

use std::process::{Command, Stdio};

use anyhow::Context;

use crate::database::direct;
use crate::place::{DATABASES, Place, Stack, USER};
use crate::query_error::QueryError;
use crate::tell;

/// Number of visibility rows from which a migration that rewrites the table requires `--force`.
const MANY_ROWS: u64 = 1_000_000;

/// Visibility schema version whose migration rewrites the table under an exclusive lock.
const REWRITES: Version = Version(1, 13);

/// Tables by which Temporal's databases are recognized, for each database.
const SIGNS: [&[&str]; 2] = [&["executions", "namespaces"], &["executions_visibility"]];

/// Version of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}", self.0, self.1)
    }
}

/// The contents of a database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Whether the database exists.
    pub exists: bool,
    /// Names of all tables in the database.
    pub tables: Vec<String>,
    /// Version of Temporal's schema, if the version table is Temporal's.
    pub version: Option<Version>,
    /// Whether there is a version table that is not Temporal's.
    pub foreign_versions: bool,
    /// Number of rows in the visibility table, as estimated by PostgreSQL.
    pub rows: u64,
    /// Whether it contains workflows.
    pub has_workflows: bool,
}

/// The action for a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Do nothing, because the schema is up to date.
    Nothing,
    /// Set up an empty database.
    SetUp,
    /// Continue an interrupted set-up or upgrade.
    Continue(Version),
    /// Upgrade from this version.
    Upgrade(Version),
    /// Refuse, for this reason.
    Refuse(String),
}

/// Decides what to do with a database. `which` is 0 for the main database and 1 for visibility.
pub fn judge(which: usize, found: &Found, target: Version, force: bool) -> Step {
    let name = DATABASES[which];
    let has = |table: &str| found.tables.iter().any(|it| it == table);
    if !found.exists || found.tables.is_empty() {
        return Step::SetUp;
    }
    let other = SIGNS[1 - which].iter().find(|table| has(table));
    if let Some(table) = other {
        return Step::Refuse(format!(
            "the database `{name}` contains the table {table} of Temporal's other database; are the two databases mixed up?"
        ));
    }
    let Some(version) = found.version else {
        let shown: Vec<&str> = found.tables.iter().take(5).map(String::as_str).collect();
        let why = if found.foreign_versions {
            "its table schema_version is not Temporal's"
        } else {
            "it has no table schema_version"
        };
        return Step::Refuse(format!(
            "the database `{name}` contains something else ({}): {why}. Use another server or database; nothing was changed",
            shown.join(", ")
        ));
    };
    let has_signs = SIGNS[which].iter().any(|table| has(table));
    if version == Version(0, 0) && found.has_workflows {
        return Step::Refuse(format!(
            "the database `{name}` claims schema 0.0 and contains workflows: setting it up again would drop columns. Restore \
             schema_version from a backup; nothing was changed"
        ));
    }
    if version == Version(0, 0) {
        let only_versions = found.tables.iter().all(|table| table.starts_with("schema_"));
        return if has_signs || only_versions {
            Step::Continue(version)
        } else {
            Step::Refuse(format!(
                "the database `{name}` has a schema_version of 0.0 and tables that are not Temporal's ({}); nothing was changed",
                found
                    .tables
                    .iter()
                    .take(5)
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(", ")
            ))
        };
    }
    if !has_signs {
        return Step::Refuse(format!(
            "the database `{name}` claims schema {version} but lacks the table {}: restore it from a backup; nothing was changed",
            SIGNS[which][0]
        ));
    }
    if version > target {
        return Step::Refuse(format!(
            "the database `{name}` has schema {version}, newer than {target} of this server: use the newer server again, \
             since a schema cannot be downgraded; nothing was changed"
        ));
    }
    if version == target {
        return Step::Nothing;
    }
    if which == 1 && target >= REWRITES && version < REWRITES && found.rows > MANY_ROWS && !force {
        return Step::Refuse(format!(
            "upgrading `{name}` from {version} to {target} rewrites executions_visibility ({} rows) under an exclusive lock, \
             which took 57 minutes for 35 million rows in one reported case; plan for it, then run `temporal-stack schema --force`",
            found.rows
        ));
    }
    Step::Upgrade(version)
}

/// Sets up or upgrades both databases to the versions that the server needs.
///
/// # Errors
///
/// If the schema of either database is rejected, in which case neither is changed, or if the schema tool
/// fails.
pub fn apply(place: &Place, stack: &Stack, force: bool) -> anyhow::Result<()> {
    let targets = targets(place, stack)?;
    let mut steps = Vec::new();
    let mut refusals = Vec::new();
    for (which, target) in targets.into_iter().enumerate() {
        let found = look(place, stack, which)?;
        match judge(which, &found, target, force) {
            Step::Refuse(reason) => refusals.push(reason),
            step => steps.push((which, step)),
        }
    }
    anyhow::ensure!(refusals.is_empty(), "{}", refusals.join("\n"));
    for (which, step) in steps {
        let (name, target) = (DATABASES[which], targets[which]);
        match step {
            Step::Nothing => continue,
            Step::SetUp => tell(&format!("setting up schema {target} in `{name}`")),
            Step::Continue(version) => tell(&format!(
                "the schema of `{name}` is half applied (version {version}): continuing to {target}"
            )),
            Step::Upgrade(version) => tell(&format!(
                "upgrading the schema of `{name}` from {version} to {target}"
            )),
            Step::Refuse(_) => unreachable!("refusals have ended this"),
        }
        set_up(place, stack, name, which)?;
        let reached = look(place, stack, which)?.version;
        anyhow::ensure!(
            reached == Some(target),
            "the schema of `{name}` is {} after the upgrade, not {target}",
            reached.map_or_else(|| "unknown".to_owned(), |version| version.to_string())
        );
    }
    Ok(())
}

/// Reads the state of a database without changing it.
///
/// # Errors
///
/// If PostgreSQL does not respond.
pub fn look(place: &Place, stack: &Stack, which: usize) -> Result<Found, QueryError> {
    look_at(place, stack, DATABASES[which])
}

fn look_at(place: &Place, stack: &Stack, name: &str) -> Result<Found, QueryError> {
    let ask = |database: &str, sql: &str| direct(place, stack, database, sql);
    let exists = !ask(
        "postgres",
        &format!("select 1 from pg_database where datname = '{name}'"),
    )?
    .is_empty();
    let mut found = Found {
        exists,
        ..Found::default()
    };
    if !exists {
        return Ok(found);
    }
    let first = |rows: Vec<Vec<String>>| rows.into_iter().filter_map(|row| row.into_iter().next());
    let tables = "select tablename from pg_tables where schemaname not in ('pg_catalog', 'information_schema') order by 1";
    found.tables = first(ask(name, tables)?).collect();
    if found.tables.iter().any(|table| table == "schema_version") {
        let columns = "select string_agg(column_name, ',' order by column_name) from information_schema.columns \
                       where table_name = 'schema_version'";
        let columns = first(ask(name, columns)?).next().unwrap_or_default();
        if columns == "creation_time,curr_version,db_name,min_compatible_version,version_partition" {
            let versions = first(ask(name, "select curr_version from schema_version")?).next();
            // The version tables are empty: the set-up was interrupted right after creating them.
            found.version = Version::parse(versions.as_deref().unwrap_or("0.0"));
        } else {
            found.foreign_versions = true;
        }
    }
    for table in SIGNS.concat() {
        // A server that has never been used has namespaces too.
        if table != "namespaces" && found.tables.iter().any(|it| it == table) {
            found.has_workflows |= !ask(name, &format!("select 1 from {table} limit 1"))?.is_empty();
        }
    }
    if found.tables.iter().any(|table| table == "executions_visibility") {
        let rows =
            // Counting a large table takes minutes. The estimate is -1 if the table was never analyzed.
            "select greatest(reltuples, 0)::bigint from pg_class where relname = 'executions_visibility'";
        found.rows = first(ask(name, rows)?)
            .next()
            .and_then(|rows| rows.parse().ok())
            .unwrap_or_default();
    }
    Ok(found)
}

/// Returns the schema versions that the server needs. They are determined by setting up a scratch database
/// with the schema tool, and cached for each server version.
///
/// # Errors
///
/// If the scratch database cannot be set up.
pub fn targets(place: &Place, stack: &Stack) -> anyhow::Result<[Version; 2]> {
    if let Some(remembered) = remembered_targets(place, stack) {
        return Ok(remembered);
    }
    let mut targets = [Version(0, 0); 2];
    for (which, target) in targets.iter_mut().enumerate() {
        let scratch = format!("temporal_stack_scratch_{which}");
        let drop_scratch = format!("drop database if exists {scratch}");
        // Left behind by an interrupted run.
        direct(place, stack, "postgres", &drop_scratch)?;
        set_up(place, stack, &scratch, which)?;
        let version = look_at(place, stack, &scratch)?.version;
        direct(place, stack, "postgres", &drop_scratch)?;
        *target = version.context("the schema tool did not record a version")?;
    }
    crate::place::write_whole(
        &target_record(place, stack),
        &format!("{} {}\n", targets[0], targets[1]),
    )?;
    Ok(targets)
}

fn target_record(place: &Place, stack: &Stack) -> std::path::PathBuf {
    place
        .folder()
        .join(format!("schema-{}", stack.settings.server.version))
}

/// Returns the cached versions that the server needs, if any.
pub fn remembered_targets(place: &Place, stack: &Stack) -> Option<[Version; 2]> {
    let remembered = std::fs::read_to_string(target_record(place, stack)).ok()?;
    let (main, visibility) = remembered.trim_end().split_once(' ')?;
    Some([Version::parse(main)?, Version::parse(visibility)?])
}

/// Runs the three steps of the schema tool. Each step has no effect if it is not needed.
fn set_up(place: &Place, stack: &Stack, database: &str, which: usize) -> anyhow::Result<()> {
    let schema = ["postgresql/v12/temporal", "postgresql/v12/visibility"][which];
    let exists = format!("select 1 from pg_database where datname = '{database}'");
    if direct(place, stack, "postgres", &exists)?.is_empty() {
        tool(
            place,
            stack,
            database,
            &["create-database", "--defaultdb", "postgres"],
        )?;
    }
    // Version 0.0 creates only the version tables; the next step starts from there.
    tool(place, stack, database, &["setup-schema", "--version", "0.0"])?;
    tool(
        place,
        stack,
        database,
        &["update-schema", "--schema-name", schema],
    )
}

fn tool(place: &Place, stack: &Stack, database: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let address = stack.network().postgres();
    let (host, port) = address.rsplit_once(':').context("an address has a port")?;
    // Directly on PostgreSQL, because `create-database` does not work through the pooler.
    let output = Command::new(&stack.programs.sql_tool)
        .args([
            "--plugin",
            "postgres12",
            "--endpoint",
            host,
            "--port",
            port,
            "--user",
            USER,
            "--database",
            database,
        ])
        .args(arguments)
        // Not an argument, which other users could read.
        .env("SQL_PASSWORD", place.password()?)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", stack.programs.sql_tool.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines[lines.len().saturating_sub(3)..].join("\n  ");
    let hint = if last.contains("btree_gin") {
        "\nInstall the extension: `create extension btree_gin` in that database, or the package postgresql-contrib"
    } else if last.contains("permission denied to create database") {
        "\nThe user may not create databases: run `alter role temporal createdb` as a superuser, or create that database \
         yourself, owned by temporal, then run this again. Nothing was changed"
    } else {
        "\nApplied changes are kept, and `temporal-stack schema` continues from there. Nothing was dropped"
    };
    anyhow::bail!(
        "temporal-sql-tool {} failed for `{database}`:\n  {last}{hint}",
        arguments.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const TARGETS: [Version; 2] = [Version(1, 18), Version(1, 9)];

    fn found(tables: &[&str], version: Option<Version>) -> Found {
        Found {
            exists: true,
            tables: tables.iter().map(|table| (*table).to_owned()).collect(),
            version,
            ..Found::default()
        }
    }

    const MAIN: [&str; 4] = [
        "executions",
        "namespaces",
        "schema_update_history",
        "schema_version",
    ];

    #[rstest]
    #[case::missing(Found::default(), Step::SetUp)]
    #[case::empty(found(&[], None), Step::SetUp)]
    #[case::current(found(&MAIN, Some(Version(1, 18))), Step::Nothing)]
    #[case::older(found(&MAIN, Some(Version(1, 9))), Step::Upgrade(Version(1, 9)))]
    #[case::half(found(&MAIN, Some(Version(0, 0))), Step::Continue(Version(0, 0)))]
    #[case::only_versions(found(&["schema_version"], Some(Version(0, 0))), Step::Continue(Version(0, 0)))]
    fn a_database_is_set_up_continued_or_upgraded(#[case] found: Found, #[case] expected: Step) {
        assert_eq!(judge(0, &found, TARGETS[0], false), expected);
    }

    #[rstest]
    #[case::newer(0, found(&MAIN, Some(Version(1, 19))), "newer than 1.18")]
    #[case::other_product(0, found(&["invoices", "customers"], None), "contains something else (invoices, customers)")]
    #[case::visibility_as_main(0, found(&["executions_visibility", "schema_version"], Some(Version(1, 9))), "mixed up")]
    #[case::main_as_visibility(1, found(&MAIN, Some(Version(1, 18))), "mixed up")]
    #[case::lost_tables(0, found(&["schema_version"], Some(Version(1, 18))), "lacks the table executions")]
    #[case::foreign_half(0, found(&["invoices", "schema_version"], Some(Version(0, 0))), "not Temporal's (invoices")]
    fn anything_that_would_lose_data_is_refused(
        #[case] which: usize,
        #[case] found: Found,
        #[case] expected: &str,
    ) {
        let step = judge(which, &found, TARGETS[which], true);
        let Step::Refuse(reason) = &step else {
            panic!("{step:?}")
        };
        assert!(reason.contains(expected), "{reason}");
    }

    #[test]
    fn workflows_without_a_version_are_never_set_up_again() {
        let found = Found {
            has_workflows: true,
            ..found(&MAIN, Some(Version(0, 0)))
        };
        let Step::Refuse(reason) = judge(0, &found, TARGETS[0], true) else {
            panic!("not refused")
        };
        assert!(reason.contains("would drop columns"), "{reason}");
    }

    #[rstest]
    #[case::few(1_000, false, Step::Upgrade(Version(1, 9)))]
    #[case::forced(5_000_000, true, Step::Upgrade(Version(1, 9)))]
    fn a_rewrite_of_a_small_table_is_allowed(#[case] rows: u64, #[case] force: bool, #[case] expected: Step) {
        let found = Found {
            rows,
            ..found(&["executions_visibility", "schema_version"], Some(Version(1, 9)))
        };
        assert_eq!(judge(1, &found, Version(1, 14), force), expected);
    }

    #[test]
    fn a_rewrite_of_a_large_table_is_refused_until_forced() {
        let found = Found {
            rows: 5_000_000,
            ..found(&["executions_visibility", "schema_version"], Some(Version(1, 9)))
        };
        let Step::Refuse(reason) = judge(1, &found, Version(1, 14), false) else {
            panic!("not refused")
        };
        assert!(
            reason.contains("5000000 rows") && reason.contains("--force"),
            "{reason}"
        );
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(Version::parse("1.10") > Version::parse("1.9"));
    }
}
