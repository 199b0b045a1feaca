//! Tests of `metrics check` and `metrics dump`.

use assert_cmd::Command;

fn metrics(arguments: &[&str], document: &str) -> assert_cmd::assert::Assert {
    let mut command = Command::cargo_bin("temporal-capacity").expect("the binary is built");
    command
        .arg("metrics")
        .args(arguments)
        .write_stdin(document)
        .assert()
}

#[test]
fn dump_prints_one_object_per_line_with_the_timestamp_as_written() {
    let assert = metrics(&["dump"], "a{x=\"1\"} 5 1790000000.250\nb NaN\nc +Inf\n");
    let output = String::from_utf8(assert.success().get_output().stdout.clone()).expect("UTF-8");
    let lines: Vec<serde_json::Value> = output
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["labels"]["x"], "1");
    assert!((lines[0]["timestamp"].as_f64().expect("a number") - 1_790_000_000.25).abs() < 1e-6);
    assert!(output.contains(r#""timestamp":1790000000.250}"#), "{output}");
    assert_eq!(lines[1]["value"], "NaN");
    assert_eq!(lines[1]["timestamp"], serde_json::Value::Null);
    assert_eq!(lines[2]["value"], "+Inf");
}

#[test]
fn check_rejects_plain_text_with_exit_code_1_and_a_remedy() {
    let assert = metrics(&["check"], "Jwt is missing").code(1);
    let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(error.contains("check the address and the key"), "{error}");
}

#[test]
fn a_document_without_the_end_marker_is_rejected_in_both_modes_with_the_reason() {
    let document = "# TYPE a gauge\na 1\n";
    for mode in ["--strict", "--lenient"] {
        let assert = metrics(&["check", mode], document).code(1);
        let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(
            error.contains("without the end marker `# EOF`"),
            "{mode}: {error}"
        );
        metrics(&["check", mode], &format!("{document}# EOF\n")).success();
    }
}

#[test]
fn dump_prints_a_truncated_document_and_warns_of_the_missing_end_marker() {
    let assert = metrics(&["dump", "--lenient"], "a 1\n").success();
    let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(
        error.contains("warning: the document ends without the end marker"),
        "{error}"
    );
    let output = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    assert_eq!(output.lines().count(), 1, "{output}");
}

#[test]
fn a_malformed_line_is_reported_with_family_and_namespace() {
    let document = "# TYPE a gauge\na{temporal_namespace=\"pay.a1b2c\"} x\n# EOF\n";
    let assert = metrics(&["check"], document).code(1);
    let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(
        error.contains("line 2, column 35 (family `a`, namespace `pay.a1b2c`): cannot parse the line"),
        "{error}"
    );
}

#[test]
fn a_usage_error_exits_with_1() {
    metrics(&["check", "--strict", "--lenient"], "").code(1);
}
