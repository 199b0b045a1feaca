//! The accept/reject vectors of the `OpenMetrics` project, in strict mode.

use openmetrics_reader::{Options, Reader};
use serde_json::Value;

const CASES: &str = include_str!("conformance/cases.jsonl");

#[test]
fn all_vectors_have_the_result_that_the_openmetrics_project_expects() {
    let mut failures = Vec::new();
    let mut count = 0;
    for line in CASES.lines() {
        let case: Value = serde_json::from_str(line).expect("one JSON object per line");
        let text = case["text"].as_str().expect("the document is given as text");
        let accept = case["accept"].as_bool().expect("accept is given");
        let verdict = Reader::new(text.as_bytes(), Options::strict()).find_map(Result::err);
        if verdict.is_none() != accept {
            failures.push(format!(
                "{}: accept is {accept}, verdict {verdict:?}",
                case["name"]
            ));
        }
        count += 1;
    }
    assert_eq!(count, 211);
    assert!(
        failures.is_empty(),
        "{} of {count} fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
