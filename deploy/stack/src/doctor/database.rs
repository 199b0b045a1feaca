//! Checks PostgreSQL, its disk and its schemas.

use std::process::Command;
use std::time::Duration;

use crate::database::direct;
use crate::place::{DATABASES, Place, Stack};
use crate::process;
use crate::schema::{Version, look, remembered_targets};

use super::report::Report;

/// Returns whether PostgreSQL responds.
pub(super) fn postgres(place: &Place, stack: &Stack, report: &mut Report) -> bool {
    const CHECK: &str = "PostgreSQL";
    // Only client connections count towards the limit; PostgreSQL's own processes do not.
    let sql = "select current_setting('server_version'), current_setting('max_connections'), \
               (select count(*) from pg_stat_activity where backend_type = 'client backend'), \
               pg_size_pretty(sum(pg_database_size(oid))) from pg_database";
    let row = match direct(place, stack, "postgres", sql) {
        Ok(rows) => rows.into_iter().next().unwrap_or_default(),
        Err(error) => {
            let why = "every call fails, because PostgreSQL stores everything";
            report.fail(
                CHECK,
                format!("{}: {}", stack.network().postgres(), error.failure()),
                why,
                error.remedy(),
            );
            return false;
        }
    };
    let number = |text: &String| text.parse::<u32>().ok();
    let (Some([version, _, _, size]), Some(limit), Some(used)) = (
        row.first_chunk::<4>(),
        row.get(1).and_then(number),
        row.get(2).and_then(number),
    ) else {
        report.fail(
            CHECK,
            "unexpected response",
            "another program may be listening at its address",
            "check which program listens at its address",
        );
        return false;
    };
    let found = format!(
        "{version} at {}, {used} of {limit} connections, {size}",
        stack.network().postgres()
    );
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
    // Not `targets`, which would create a scratch database: the doctor changes nothing.
    let targets = remembered_targets(place, stack);
    for (which, name) in DATABASES.iter().enumerate() {
        let check = format!("schema of {name}");
        let found = match look(place, stack, which) {
            Ok(found) => found,
            Err(error) => {
                report.fail(
                    &check,
                    error.to_string(),
                    "the server cannot use it",
                    error.remedy(),
                );
                continue;
            }
        };
        let shown = found
            .version
            .map_or_else(|| "none".to_owned(), |version| version.to_string());
        let remedy =
            "`temporal-stack schema` sets up missing parts, and refuses changes that would lose data";
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
            (Some(_), Some(_)) => report.good(&check, format!("{shown}, as required by server {version}")),
            (Some(_), None) => report.warn(
                &check,
                format!("{shown}; the version that server {version} needs is not recorded"),
                "an older schema keeps the server from starting",
                "`temporal-stack schema` compares and records it",
            ),
        }
    }
    // Only the visibility schema needs it.
    let extension = direct(
        place,
        stack,
        DATABASES[1],
        "select 1 from pg_extension where extname = 'btree_gin'",
    );
    let why = "the next upgrade of the visibility schema will fail halfway, when it creates an index that needs this extension";
    match extension {
        Ok(rows) if rows.is_empty() => report.fail(
            "extension btree_gin",
            format!("missing in {}", DATABASES[1]),
            why,
            format!(
                "run `create extension btree_gin` in {} (package postgresql-contrib)",
                DATABASES[1]
            ),
        ),
        Ok(_) => {}
        Err(error) => report.warn(
            "extension btree_gin",
            format!("cannot be determined: {error}"),
            why,
            error.remedy(),
        ),
    }
}

/// With less free space than this, PostgreSQL can fail to write, because its write-ahead log grows in files of
/// 16 MiB.
const NO_SPACE_KIB: u64 = 64 << 10;

/// A disk with a smaller percentage of free space is reported, unless it has [`MUCH_SPACE_KIB`].
const LITTLE_SPACE_PERCENT: u64 = 10;

/// Enough free space for a while, on a disk of any size.
const MUCH_SPACE_KIB: u64 = 10 << 20;

/// Checks the free space on the disk of the databases.
pub(super) fn disk(place: &Place, report: &mut Report) {
    let folder = place.database();
    let mut df = Command::new("df");
    // The POSIX format keeps a file system with a long name on one line.
    df.args(["-P", "-k"]).arg(&folder);
    // df blocks while a network file system does not respond.
    let shown = match process::output_within(&mut df, Duration::from_secs(10)) {
        Ok(Some(output)) => [output.stdout, output.stderr].concat(),
        Ok(None) => b"df does not respond".to_vec(),
        Err(error) => format!("cannot run df: {error}").into_bytes(),
    };
    let shown = String::from_utf8_lossy(&shown);
    judge_df(&folder.display().to_string(), &shown, report);
}

fn judge_df(folder: &str, shown: &str, report: &mut Report) {
    if let Some((size, free)) = size_and_free(shown) {
        judge_disk(folder, size, free, report);
    } else {
        report.warn(
            DISK,
            format!("its free space cannot be determined: {}", shown.trim()),
            "when it is full, PostgreSQL refuses every write: no workflow starts or makes progress",
            format!("`df -P -k {folder}` shows what is wrong"),
        );
    }
}

const DISK: &str = "disk of PostgreSQL";

/// Parses size and free space in KiB from the line below the header of `df -P -k`.
fn size_and_free(text: &str) -> Option<(u64, u64)> {
    let fields: Vec<&str> = text.lines().nth(1)?.split_whitespace().collect();
    // The name of the file system may contain spaces, so count the fields from the end of the line.
    let at = |from_end: usize| fields.iter().rev().nth(from_end)?.parse().ok();
    Some((at(4)?, at(2)?))
}

fn judge_disk(folder: &str, size: u64, free: u64, report: &mut Report) {
    let percent = (free * 100).checked_div(size).unwrap_or_default();
    let found = format!("{} MiB free ({percent}%) under {folder}", free >> 10);
    let remedy = "delete unneeded files there or enlarge the disk; PostgreSQL then continues on its own; if it has stopped, `deploy/stack/up` starts it";
    if free < NO_SPACE_KIB {
        report.fail(
            DISK,
            found,
            "PostgreSQL refuses every write, or stops: no workflow starts or makes progress",
            remedy,
        );
    } else if percent < LITTLE_SPACE_PERCENT && free < MUCH_SPACE_KIB {
        report.warn(
            DISK,
            found,
            "when it is full, PostgreSQL refuses every write: no workflow starts or makes progress",
            remedy,
        );
    } else {
        report.good(DISK, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use crate::doctor::tests::verdicts;
    use rstest::rstest;

    #[test]
    fn a_disk_that_cannot_be_measured_is_not_good() {
        let mut report = Report::default();
        judge_df("/var", "df: /var: No such file or directory", &mut report);
        assert_eq!(verdicts(report), [Verdict::Warning]);
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
