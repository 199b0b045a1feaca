//! Checks a stack and reports problems with their impact and remedy.
//!
//! Each check queries the component itself, because `temporal operator cluster health` still reports SERVING
//! while matching is down. Writes nothing except for one probe workflow, which the same check completes.

mod addresses;
mod archives;
mod client;
mod database;
mod membership;
mod pooler;
pub mod probe;
pub(crate) mod queue;
mod report;
mod search;
mod settings;

pub use self::client::elsewhere;
pub use self::report::{Finding, Report, Verdict};
use crate::client::NotServing;
use crate::place::Place;
use crate::run::{Line, status};

/// Runs all checks. A check is skipped if its precondition failed, because that failure shows what to repair
/// first.
///
/// # Errors
///
/// If there is no stack in this run directory.
pub async fn examine(place: &Place, progress: &(dyn Fn(&str) + Sync)) -> anyhow::Result<Vec<Finding>> {
    let stack = place.stack()?;
    let mut report = Report::default();
    progress("querying every process");
    let lines = status(place).await?;
    processes(&lines, &mut report);
    progress("checking the databases");
    database::disk(place, &mut report);
    let is_database_up = database::postgres(place, &stack, &mut report);
    if is_database_up {
        database::schemas(place, &stack, &mut report);
        membership::membership(place, &stack, &mut report).await;
    }
    pooler::pgbouncer(place, &stack, is_database_up, &mut report);
    search::cluster(place, &stack, &mut report);
    progress("checking certificates");
    addresses::certificates(place, &stack, &mut report).await;
    settings::replicas(&stack, &mut report);
    settings::dynamic_config(place, &stack, &mut report);
    progress("running a probe workflow");
    client::frontend(place, &stack, &mut report).await;
    Ok(report.findings())
}

fn processes(lines: &[Line], report: &mut Report) {
    for line in lines {
        let check = format!("process {}", line.name);
        match &line.serving {
            Ok(()) => report.good(&check, format!("serving at {}", line.address)),
            Err(problem) => {
                let found = match problem {
                    NotServing::Stopped | NotServing::Died => format!("{problem} at {}", line.address),
                    problem => format!("{}: {problem}", line.address),
                };
                report.fail(&check, found, effect(&line.name), problem.remedy(&line.name));
            }
        }
    }
}

/// Returns the impact of a stopped process.
fn effect(name: &str) -> &'static str {
    // This turns `capacity-worker` into `capacity`, which keeps it apart from the role `worker`.
    let role = name.rsplit_once('-').map_or(name, |(role, _)| role);
    match role {
        "postgres" => "nothing can be read or written: every call fails",
        "pgbouncer" => "the roles reach the database only through it: every call fails",
        "history" => "the workflows of its shards stop until another history process takes over",
        "matching" => "no tasks from its queues are dispatched; `cluster health` does not detect this",
        "frontend" => "clients that connect to it get no responses",
        "worker" => "Temporal's own workflows stop: schedules, batch operations, deletion of namespaces",
        "ui" => "the web UI is not reachable; workflows are not affected",
        _ => "the autopilot makes no decisions",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the verdicts of all findings. Asserts that every problem has an impact and a remedy.
    pub(super) fn verdicts(report: Report) -> Vec<Verdict> {
        let complete = |finding: &Finding| {
            finding.verdict == Verdict::Good || !(finding.why.is_empty() || finding.remedy.is_empty())
        };
        let findings = report.findings().into_iter();
        findings
            .inspect(|finding| assert!(complete(finding), "{finding:?}"))
            .map(|finding| finding.verdict)
            .collect()
    }

    /// Returns the only finding of a check.
    pub(super) fn only(report: Report) -> Finding {
        let mut findings = report.findings();
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings.remove(0)
    }
}
