//! Compares the expected members of the cluster with those that have a heartbeat in the database, and with
//! those that each process sees.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::membership::{HEARTBEAT, unknown_members};
use crate::place::{Place, Stack};
use crate::process::{self, State};
use crate::roles::{Member, Role};

use super::report::{Report, Verdict};

/// Time within which every process should have noticed a membership change.
const SETTLED: Duration = Duration::from_secs(15);

/// Reports membership problems that persist. All processes see a change of the membership after a few seconds.
pub(super) async fn membership(place: &Place, stack: &Stack, report: &mut Report) {
    let begun = Instant::now();
    loop {
        let mut attempt = Report::default();
        judge(place, stack, &mut attempt);
        let is_good = attempt.0.iter().all(|finding| finding.verdict == Verdict::Good);
        if is_good || begun.elapsed() > SETTLED {
            report.0.extend(attempt.0);
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Compares the expected members with those that have a heartbeat in the database, and with those that each
/// process sees.
fn judge(place: &Place, stack: &Stack, report: &mut Report) {
    const CHECK: &str = "membership";
    let loopback = &stack.network().loopback;
    let unknown = match unknown_members(place, stack) {
        Ok(unknown) => unknown,
        Err(error) => {
            let why = "the roles find each other through the database";
            report.fail(CHECK, error.to_string(), why, error.remedy());
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
            "the other processes send it no work",
            "`temporal-stack status` shows whether it is running; `deploy/stack/up` starts it if it is not",
        );
    }
    // Not those without a heartbeat, or each viewer would repeat that finding.
    let known: Vec<Member> = members
        .iter()
        .filter(|member| !unknown.contains(member))
        .copied()
        .collect();
    for viewer in members {
        let name = viewer.to_string();
        // Ignore the log of a process that has ended; another check reports it.
        if !matches!(process::state(place, &name), State::Running(_)) {
            continue;
        }
        // A role that has not changed for a long time was logged further up, so search a larger part of the log.
        let complete = |log: &str| Some(views(log)).filter(|views| views.len() == Role::ALL.len());
        if let Some(views) = process::find_in_log(place, &name, complete) {
            judge_view(viewer, &views, &known, loopback, report);
        } else {
            let level = &stack.settings.server.log_level;
            report.warn(
                &format!("membership as {viewer} sees it"),
                format!("its log, {}, does not show which members it sees", place.log(&name).display()),
                "it is unknown whether the cluster is split",
                // The server logs its view at level info.
                if level == "info" || level == "debug" {
                    format!("`temporal-stack restart {viewer}` makes it join and log again")
                } else {
                    format!("set server.log_level to \"info\" instead of \"{level}\", run `up`, and restart the roles")
                },
            );
        }
    }
}

/// Compares the members that one process sees with those that have a heartbeat.
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

/// Returns the members of each role, as a process last logged them.
fn views(log: &str) -> BTreeMap<Role, Vec<String>> {
    let mut views = BTreeMap::new();
    for line in log
        .lines()
        .filter(|line| line.contains("Current reachable members"))
    {
        let Ok(entry) = serde_json::from_str::<serde_json::Value>(line) else {
            continue;
        };
        // The role that it observed, not its own.
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
    views
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::tests::{only, verdicts};

    const LOG: &str = r#"
{"level":"info","msg":"Current reachable members","component":"service-resolver","service":"matching","addresses":["127.77.3.1:7235","127.77.3.2:7235"]}
not a line of JSON: Current reachable members
{"level":"info","msg":"Current reachable members","component":"service-resolver","service":"matching","addresses":["127.77.3.2:7235"]}"#;

    #[test]
    fn the_last_view_of_each_role_counts() {
        let views = views(LOG);
        assert_eq!(views[&Role::Matching], ["127.77.3.2"]);
    }

    #[test]
    fn a_process_that_does_not_see_a_member_has_split_off() {
        let known =
            ["history-1", "matching-1", "matching-2"].map(|name| Member::parse(name).expect("a member"));
        let views = views(LOG);
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
}
