//! Checks the search cluster, if visibility is not in PostgreSQL.

use serde_json::Value;

use crate::place::{Place, Stack};
use crate::search::{Found, Step, judge, look, recorded_template};

use super::report::Report;

const CHECK: &str = "search cluster";

const REMEDY: &str = "`temporal-stack schema` sets it up";

pub(super) fn cluster(place: &Place, stack: &Stack, report: &mut Report) {
    let search = &stack.settings.search;
    let Some(url) = &search.url else { return };
    match look(place, search) {
        Err(problem) => report.fail(
            CHECK,
            format!("{url}: {problem}"),
            "visibility is stored only there: lists and counts fail, and records wait in the queues of history",
            "start it, or correct search.url in stack.toml",
        ),
        Ok(found) => judge_cluster(
            url,
            &search.index,
            &found,
            recorded_template(place).as_ref(),
            report,
        ),
    }
}

fn judge_cluster(url: &str, index: &str, found: &Found, template: Option<&Value>, report: &mut Report) {
    let shown = format!("{} at {url}, {}", found.product, found.status);
    // Yellow is good enough: a cluster of one node has no place for replicas.
    if found.status == "red" {
        report.fail(
            CHECK,
            shown,
            "some records can be neither read nor written",
            "`GET _cluster/allocation/explain` shows which shard is missing, and why",
        );
    } else if found.status.is_empty() {
        report.warn(
            CHECK,
            format!("{} at {url} does not report its health", found.product),
            "it is unknown whether every record can be read and written",
            "`GET _cluster/health` shows it",
        );
    } else {
        report.good(CHECK, shown);
    }
    let check = format!("search index {index}");
    let Some(template) = template else {
        report.warn(
            &check,
            "cannot be checked: the template of this server version is not recorded",
            "lists cannot be sorted by fields of the wrong types",
            "`temporal-stack schema` records the template and compares the fields",
        );
        return;
    };
    let steps = match judge(found, index, template) {
        Ok(steps) => steps,
        Err(problem) => {
            report.fail(
                &check,
                problem.to_string(),
                "lists and counts fail",
                "set another search.index in stack.toml, then run `up` and restart history and frontend",
            );
            return;
        }
    };
    let is_complete = steps.is_empty();
    for step in steps {
        match step {
            Step::Settings(_) => report.warn(
                &check,
                "the cluster creates it automatically",
                "if the index is deleted, the cluster recreates it with fields of the wrong types",
                REMEDY,
            ),
            Step::Template => report.warn(
                &check,
                "its template is missing or has a different version",
                "a new index would get fields of the wrong types",
                REMEDY,
            ),
            Step::Index => report.fail(
                &check,
                "it does not exist",
                "no workflow can be found, and records wait in the queues of history",
                REMEDY,
            ),
            Step::Fields(fields) => report.fail(
                &check,
                format!("it lacks {}", fields.join(", ")),
                "queries by these fields fail",
                REMEDY,
            ),
        }
    }
    if is_complete {
        report.good(
            &check,
            format!("{} records, with every field the server needs", found.records),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;
    use crate::doctor::tests::verdicts;
    use crate::search::Automatic;
    use rstest::rstest;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn fields(kind: &str) -> BTreeMap<String, String> {
        [("WorkflowId".to_owned(), kind.to_owned())].into()
    }

    #[rstest]
    #[case::complete(|_: &mut Found| {}, &[Verdict::Good, Verdict::Good])]
    #[case::red(|found: &mut Found| found.status = "red".to_owned(), &[Verdict::Failure, Verdict::Good])]
    #[case::unknown(|found: &mut Found| found.status = String::new(), &[Verdict::Warning, Verdict::Good])]
    #[case::auto_create(|found: &mut Found| found.automatic = Automatic::default(), &[Verdict::Good, Verdict::Warning])]
    #[case::no_template(|found: &mut Found| found.template = None, &[Verdict::Good, Verdict::Warning])]
    #[case::no_index(|found: &mut Found| found.index = None, &[Verdict::Good, Verdict::Failure])]
    #[case::missing_field(|found: &mut Found| found.index = Some(BTreeMap::new()), &[Verdict::Good, Verdict::Failure])]
    #[case::wrong_type(|found: &mut Found| found.index = Some(fields("text")), &[Verdict::Good, Verdict::Failure])]
    fn a_cluster_is_judged_by_what_the_server_needs(
        #[case] change: impl FnOnce(&mut Found),
        #[case] expected: &[Verdict],
    ) {
        let template = json!({ "mappings": { "properties": { "WorkflowId": { "type": "keyword" } } } });
        let mut found = Found {
            status: "green".to_owned(),
            automatic: Automatic {
                persistent: Some("false".to_owned()),
                ..Automatic::default()
            },
            template: Some(fields("keyword")),
            index: Some(fields("keyword")),
            ..Found::default()
        };
        change(&mut found);
        let mut report = Report::default();
        judge_cluster(
            "http://search:9200",
            "temporal_visibility_v1",
            &found,
            Some(&template),
            &mut report,
        );
        assert_eq!(verdicts(report), expected);
    }
}
