//! Checks the archives of closed workflows.

use std::collections::BTreeSet;

use crate::client::http;
use crate::namespaces::{Wanted, wanted};
use crate::place::{Place, Stack};
use crate::roles::Role;

use super::report::Report;

/// Checks file stores directly. Only the server has the credentials of a bucket, so its counters of archived
/// workflows are checked instead.
pub(super) async fn archives(place: &Place, stack: &Stack, report: &mut Report) {
    let mut is_archiving = false;
    let mut has_counted = false;
    let mut counts = None;
    for kind in KINDS {
        let archives = |wanted: Wanted| match kind {
            Kind::History => wanted.history_archive,
            Kind::Visibility => wanted.visibility_archive,
        };
        // Namespaces often share an archive; check it once.
        let uris: BTreeSet<String> = wanted(place, stack).into_iter().filter_map(archives).collect();
        for uri in uris {
            is_archiving = true;
            if let Some(folder) = uri.strip_prefix("file://") {
                folder_written(folder, report);
                continue;
            }
            // `None` means that the metrics are unavailable, so it cannot also mean that they were not
            // requested.
            if !has_counted {
                counts = history_metrics(stack).await;
                has_counted = true;
            }
            judge_bucket(kind, &uri, counts.as_deref(), report);
        }
    }
    if !is_archiving {
        report.good(ARCHIVAL, "no namespace uses archival");
    }
}

const ARCHIVAL: &str = "archival";

/// The kind of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    History,
    Visibility,
}

const KINDS: [Kind; 2] = [Kind::History, Kind::Visibility];

impl Kind {
    /// Returns the common prefix of the server's metrics about these archives.
    fn prefix(self) -> &'static str {
        match self {
            Self::History => "history_archiver_archive",
            Self::Visibility => "visibility_archiver_archive",
        }
    }
}

fn folder_written(folder: &str, report: &mut Report) {
    // The folder is created with the first archived workflow. Until then, check the nearest existing folder
    // above it.
    let nearest = std::path::Path::new(folder)
        .ancestors()
        .find(|folder| folder.exists());
    // Permissions alone do not tell: the file system may be mounted read-only.
    let writable = nearest.is_some_and(|nearest| {
        nearest.is_dir()
            && tempfile::Builder::new()
                .prefix(".doctor")
                .tempfile_in(nearest)
                .is_ok()
    });
    if writable {
        report.good(ARCHIVAL, format!("{folder} is writable"));
    } else {
        report.fail(
            ARCHIVAL,
            format!("{folder} is not writable"),
            "closed workflows stay in the database past their retention until they can be archived",
            "make the folder writable for this user",
        );
    }
}

/// Returns the metrics of all history processes; `None` if those of any process are unavailable.
async fn history_metrics(stack: &Stack) -> Option<String> {
    let mut all = String::new();
    for member in stack.settings.members_of(Role::History) {
        let address = member.metrics(&stack.network().loopback);
        all.push_str(&http(&address, "/metrics").await.ok()?);
        all.push('\n');
    }
    Some(all)
}

/// Returns the sum of a counter over its labels. The counter does not exist before it is first incremented.
fn sum(metrics: &str, name: &str) -> f64 {
    let values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        // Skip a longer name with the same beginning.
        if !rest.starts_with(['{', ' ']) {
            return None;
        }
        rest.rsplit_once(' ')?.1.parse::<f64>().ok()
    });
    values.sum()
}

/// Checks a bucket by the counters that the history processes have kept since they started.
fn judge_bucket(kind: Kind, uri: &str, metrics: Option<&str>, report: &mut Report) {
    const WHY: &str = "closed workflows stay in the database past their retention until they can be archived";
    let Some(metrics) = metrics else {
        report.warn(
            ARCHIVAL,
            format!("{uri}: the metrics of history cannot be read"),
            "it is unknown whether the server can write to it",
            "`temporal-stack status` shows whether history serves",
        );
        return;
    };
    let count = |what: &str| sum(metrics, &format!("{}_{what}", kind.prefix()));
    let written = count("success");
    let failed = count("non_retryable_error") + count("transient_error");
    if failed > 0.0 {
        let found = format!("{uri}: {failed} failures and {written} archived since history started");
        let remedy =
            "`temporal-stack logs history` shows why; check the bucket and the credentials of the server";
        // Some succeed, so neither the bucket nor the credentials are entirely wrong.
        if written > 0.0 {
            report.warn(ARCHIVAL, found, WHY, remedy);
        } else {
            report.fail(ARCHIVAL, found, WHY, remedy);
        }
    } else if written > 0.0 {
        report.good(
            ARCHIVAL,
            format!("{uri}: {written} archived since history started"),
        );
    } else {
        report.warn(
            ARCHIVAL,
            format!("{uri}: nothing was archived since history started"),
            "it is unknown whether the server can write to it",
            "run the doctor again five minutes after a workflow has closed",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use crate::doctor::tests::verdicts;
    use rstest::rstest;

    #[rstest]
    #[case::written(
        "history_archiver_archive_success{operation=\"HistoryArchiver\"} 3\n",
        Verdict::Good
    )]
    #[case::nothing("history_archiver_archive_success_other 3\n", Verdict::Warning)]
    #[case::visibility_only("visibility_archiver_archive_success 3\n", Verdict::Warning)]
    #[case::some_failed(
        "history_archiver_archive_success{a=\"1\"} 3\nhistory_archiver_archive_transient_error{a=\"1\"} 1\n",
        Verdict::Warning
    )]
    #[case::all_failed("history_archiver_archive_non_retryable_error{a=\"1\"} 2\n", Verdict::Failure)]
    fn a_bucket_is_judged_by_what_history_has_archived(#[case] metrics: &str, #[case] verdict: Verdict) {
        let mut report = Report::default();
        judge_bucket(Kind::History, "s3://archive/history", Some(metrics), &mut report);
        assert_eq!(verdicts(report), [verdict]);
    }

    #[test]
    fn a_bucket_without_figures_is_not_good() {
        let mut report = Report::default();
        judge_bucket(Kind::Visibility, "s3://archive/visibility", None, &mut report);
        assert_eq!(verdicts(report), [Verdict::Warning]);
    }
}
