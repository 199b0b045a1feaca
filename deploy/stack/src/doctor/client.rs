//! Checks that need a client: connections, namespaces, and a probe workflow.

use temporalio_client::Client;

use crate::client::{NotServing, connect, connection};
use crate::handshake::HandshakeError;
use crate::namespaces::{Present, Wanted, difference, read, wanted};
use crate::place::{Place, Stack};
use crate::roles::Role;

use super::archives::archives;
use super::probe::{CallError, STEP, round_trip};
use super::queue::task_queue;
use super::report::{Finding, Report};

pub(super) async fn frontend(place: &Place, stack: &Stack, report: &mut Report) {
    const CHECK: &str = "client connection";
    let mut first = None;
    for member in stack.settings.members_of(Role::Frontend) {
        let mut settings = connection(place, stack, "default");
        // Check every frontend, because clients may use any of them.
        settings.address = member.grpc(&stack.network().loopback);
        let connected = tokio::time::timeout(STEP, connect(place, &settings)).await;
        let problem = match connected {
            Ok(Ok(client)) => {
                report.good(
                    CHECK,
                    format!("TLS with a client certificate to {}", settings.address),
                );
                first = first.or(Some(client));
                continue;
            }
            Ok(Err(problem)) => problem,
            Err(_) => NotServing::Handshake(HandshakeError::Late),
        };
        report.fail(
            CHECK,
            format!("{member} at {}: {problem}", settings.address),
            "workers and commands that use this address cannot reach Temporal",
            problem.remedy(&member.to_string()),
        );
    }
    let Some(client) = first else {
        return;
    };
    namespaces(wanted(place, stack), &client, report).await;
    archives(place, stack, report).await;
    let Some(namespace) = stack.settings.namespaces.first() else {
        report.warn(
            "round trip",
            "stack.toml declares no namespace to run a probe in",
            "it is unknown whether workflows run",
            "declare a [[namespace]] in stack.toml, then run `temporal-stack apply`",
        );
        return;
    };
    round_trip(&client, &namespace.name, report).await;
    if stack.settings.autopilot.enabled {
        task_queue(&client, &stack.settings.autopilot.namespace, report).await;
    }
}

/// Checks the namespaces of a stack that runs elsewhere, and runs a workflow through every role.
pub async fn elsewhere(client: &Client, wanted: Vec<Wanted>) -> Vec<Finding> {
    let mut report = Report::default();
    let first = wanted.first().map(|wanted| wanted.declared.name.clone());
    namespaces(wanted, client, &mut report).await;
    if let Some(namespace) = first {
        round_trip(client, &namespace, &mut report).await;
    }
    report.findings()
}

async fn namespaces(wanted: Vec<Wanted>, client: &Client, report: &mut Report) {
    for wanted in wanted {
        let name = &wanted.declared.name;
        let check = format!("namespace {name}");
        let read = tokio::time::timeout(STEP, read(client, name)).await;
        match read.unwrap_or_else(|_| Err(CallError::Late.into())) {
            Err(problem) => report.fail(
                &check,
                format!("{problem:#}"),
                "its workflows cannot be reached",
                "`temporal-stack logs frontend` shows why",
            ),
            Ok(None) => report.fail(
                &check,
                "it does not exist",
                "its workers and clients are refused",
                "`temporal-stack apply` creates it",
            ),
            Ok(present) => judge_namespace(&check, &wanted, present.as_ref(), report),
        }
    }
}

/// Compares a namespace with its declaration.
fn judge_namespace(check: &str, wanted: &Wanted, present: Option<&Present>, report: &mut Report) {
    const REMEDY: &str = "`temporal-stack apply` applies the declaration";
    let difference = difference(wanted, present);
    let lines = difference.lines.join("; ");
    if difference.is_empty() {
        let attributes = wanted.declared.search_attributes.len();
        report.good(
            check,
            format!("as declared; custom search attributes: {attributes}"),
        );
    // Before the missing attributes, because `apply` refuses everything while there is a conflict.
    } else if !difference.conflicts.is_empty() {
        report.fail(
            check,
            lines,
            "a workflow that sets a search attribute of another type is rejected",
            "use another name in stack.toml and in the workflow, or remove the attribute and lose its values",
        );
    } else if !difference.attributes.is_empty() {
        report.fail(
            check,
            lines,
            "a workflow that sets a missing search attribute is refused",
            REMEDY,
        );
    } else {
        report.warn(
            check,
            lines,
            "the declaration in stack.toml is not in effect",
            REMEDY,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use crate::doctor::tests::only;
    use crate::settings::Namespace;
    use rstest::rstest;

    fn wanted() -> Wanted {
        Wanted {
            declared: Namespace {
                name: "pay".to_owned(),
                description: String::new(),
                retention_days: 7,
                archive_history: false,
                archive_visibility: false,
                search_attributes: [("Customer".to_owned(), "Keyword".to_owned())].into(),
            },
            history_archive: None,
            visibility_archive: None,
        }
    }

    #[rstest]
    #[case::as_declared(7, Some("Keyword"), Verdict::Good, "as declared")]
    #[case::another_retention(1, Some("Keyword"), Verdict::Warning, "retention 24 h -> 7 days")]
    #[case::a_missing_attribute(7, None, Verdict::Failure, "search attribute Customer")]
    #[case::another_type(7, Some("Int"), Verdict::Failure, "has the type Int")]
    fn a_namespace_is_judged_by_what_is_declared(
        #[case] days: u64,
        #[case] kind: Option<&str>,
        #[case] verdict: Verdict,
        #[case] expected: &str,
    ) {
        let attributes = kind.map(|kind| ("Customer".to_owned(), kind.to_owned()));
        let present = Present {
            retention_seconds: days * 24 * 3600,
            search_attributes: attributes.into_iter().collect(),
            ..Present::default()
        };
        let mut report = Report::default();
        judge_namespace("namespace pay", &wanted(), Some(&present), &mut report);
        let finding = only(report);
        assert_eq!(finding.verdict, verdict, "{finding:?}");
        assert!(finding.found.contains(expected), "{finding:?}");
    }
}
