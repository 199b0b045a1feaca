//! `metrics check` and `metrics dump` as a user runs them.

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
fn dump_prints_one_object_a_line_with_the_timestamp_as_written() {
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
    assert!(error.contains("check that address and key are right"), "{error}");
}

#[test]
fn strict_wants_the_end_marker_and_lenient_does_not() {
    let document = "# TYPE a gauge\na 1\n";
    metrics(&["check", "--strict"], document).code(1);
    metrics(&["check", "--lenient"], document).success();
    metrics(&["check", "--strict"], &format!("{document}# EOF\n")).success();
}

#[test]
fn a_usage_error_exits_with_1() {
    metrics(&["check", "--strict", "--lenient"], "").code(1);
}
