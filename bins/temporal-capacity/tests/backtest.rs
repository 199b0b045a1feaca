//! Tests of `backtest`: output formats, and errors of invalid files.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use rstest::rstest;
use serde_json::Value;

fn backtest(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("temporal-capacity").expect("the program");
    command
        .env_clear()
        .current_dir(std::env::temp_dir())
        .arg("backtest")
        .args(arguments);
    command
}

fn trace(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/traces");
    folder.join(name).display().to_string()
}

fn output(arguments: &[&str]) -> String {
    let output = backtest(arguments).output().expect("it runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// Creates a file for one test.
fn file(name: &str, text: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("backtest-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

#[test]
fn json_contains_every_policy_for_every_trace() {
    let text = output(&[
        "-o",
        "json",
        &trace("ms-ingress-05.csv"),
        &trace("ms-mongo-04.csv"),
    ]);
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let results = document["results"].as_array().expect("results");
    assert_eq!(results.len(), 16);
    let policies: Vec<&str> = results[8..]
        .iter()
        .filter_map(|row| row["policy"].as_str())
        .collect();
    let expected = [
        "on-demand",
        "static-peak",
        "threshold",
        "target-utilization",
        "one-step",
        "break-even",
        "oracle",
        "reactive-optimum",
    ];
    assert_eq!(policies, expected);
    for row in results {
        let number = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("{key} of {row}"));
        let parts = number("waste_usd") + number("delay_usd") + number("changes");
        assert!((parts - number("total_usd")).abs() < 0.001, "{row}");
        assert!((number("days") - 7.0).abs() < 0.001);
        assert!((0.0..=1.0).contains(&number("delayed_share")));
    }
}

#[test]
fn parameters_price_and_delay_value_move_the_result() {
    let total = |more: &[&str]| {
        let trace = trace("nab-ec2net.csv");
        let mut arguments = vec!["-o", "json", &trace];
        arguments.extend(more);
        let document: Value = serde_json::from_str(&output(&arguments)).expect("JSON");
        document["means"][5]["total_usd"].as_f64().expect("a number")
    };
    let usual = total(&[]);
    assert!(total(&["--price", "25"]) < 0.6 * usual);
    assert!(total(&["--delay-value", "0.1"]) < 0.5 * usual);
    assert!((total(&["--policy-param", "max_trus=2"]) - usual).abs() > 1.0);
    assert!(total(&["--cadence", "hourly"]) > usual);
}

#[test]
fn csv_and_table_contain_every_policy() {
    let csv = output(&["-o", "csv", &trace("ms-ingress-05.csv")]);
    assert_eq!(csv.lines().count(), 9);
    assert!(csv.starts_with("trace,policy,days,waste_usd,delay_usd,changes,total_usd,delayed_share\n"));
    let table = output(&[&trace("ms-ingress-05.csv")]);
    assert!(
        table.contains("break-even") && table.contains("reactive-optimum"),
        "{table}"
    );
}

#[test]
fn a_sweep_shows_delay_values_and_prices() {
    let document = output(&["--sweep", "-o", "json", &trace("ms-ingress-05.csv")]);
    let document: Value = serde_json::from_str(&document).expect("JSON");
    assert_eq!(document["sweep"].as_array().expect("points").len(), 5 * 3 * 4);
}

#[test]
fn a_sweep_as_csv_includes_the_price_and_delay_value_of_the_run() {
    let csv = output(&[
        "--sweep",
        "-o",
        "csv",
        "--price",
        "40",
        "--delay-value",
        "0.5",
        &trace("ms-ingress-05.csv"),
    ]);
    assert!(
        csv.starts_with("delay_value,price_per_million,policy,total_usd\n"),
        "{csv}"
    );
    assert_eq!(csv.lines().count(), 1 + 6 * 4 * 4);
    assert!(csv.contains("\n0.5,40,break-even,"), "{csv}");
}

#[test]
fn the_tables_in_the_docs_match_the_output_of_their_command() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("docs/backtest.md")).expect("the page");
    let after = page
        .split_once("temporal-capacity backtest --sweep $(ls fixtures/traces/*.csv | grep -v traces.csv)")
        .expect("the command")
        .1;
    let printed = after
        .split("```text\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("the block below the command");
    let folder = std::fs::read_dir(root.join("fixtures/traces")).expect("the folder");
    let mut files: Vec<String> = folder
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|it| it == "csv") && !path.ends_with("traces.csv"))
        .map(|path| path.display().to_string())
        .collect();
    files.sort();
    let arguments: Vec<&str> = std::iter::once("--sweep")
        .chain(files.iter().map(String::as_str))
        .collect();
    let now = output(&arguments);
    assert_eq!(
        now, printed,
        "update docs/backtest.md with the output of its command"
    );
}

#[test]
fn the_report_is_one_self_contained_file_with_tables() {
    let page = output(&["-o", "html", &trace("nab-ec2net.csv")]);
    for address in ["src=", "href=", "url(http", "fetch(", "@import"] {
        assert!(
            !page.contains(address),
            "the page loads an external resource: {address}"
        );
    }
    for part in [
        "<meta name=\"viewport\"",
        "<caption>",
        "uPlot",
        "Permission is hereby granted",
        "similar bursts",
    ] {
        assert!(page.contains(part), "{part} is missing");
    }
}

#[test]
fn a_name_cannot_inject_markup_into_the_report() {
    let path = file("<img onerror=x>.csv", "aps\n1\n2\n");
    let page = output(&["-o", "html", &path.display().to_string()]);
    assert!(!page.contains("<img"));
}

#[rstest]
#[case::no_header("1,2\n", "line 1: the header is missing")]
#[case::negative("aps\n1\n-2\n", "line 3: -2 is negative")]
#[case::cut_short("aps,peak10s\n1,2\n3", "line 3: the row has fewer than 2 values")]
#[case::no_minutes("aps\n", "the file has no minutes")]
#[case::empty("", "line 1: the file is empty")]
#[case::absurd(
    "aps\n1e300\n",
    "line 2: 1e300 actions per second is more than any namespace can have"
)]
#[case::semicolons("aps;peak10s\n1;2\n", "line 1: `aps;peak10s` is not separated by commas")]
fn an_invalid_file_is_refused_with_its_line(#[case] text: &str, #[case] expected: &str) {
    let name = expected.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
    let path = file(&format!("bad-{name}.csv"), text);
    let path = path.display().to_string();
    let mut explain = Command::cargo_bin("temporal-capacity").expect("the program");
    explain
        .env_clear()
        .args(["explain", "--at", "1", "--trace", &path]);
    for command in [&mut backtest(&[&path]), &mut explain] {
        let output = command.output().expect("it runs");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(&path) && error.contains(expected), "{error}");
    }
}

#[rstest]
#[case::missing(&["no-such-file.csv"], "cannot read no-such-file.csv")]
#[case::price(&["--price", "0", "TRACE"], "PRICE_PER_MILLION_ACTIONS")]
#[case::negative_price(&["--price", "-5", "TRACE"], "PRICE_PER_MILLION_ACTIONS")]
#[case::delay_value(&["--delay-value", "0", "TRACE"], "use a number from 0.001 to 100")]
#[case::parameter(&["--policy-param", "margin=9", "TRACE"], "margin=9 is out of range")]
#[case::cadence(&["--cadence", "daily", "TRACE"], "choose from 55+alerts")]
#[case::warm_up(&["--warmup-days", "40", "TRACE"], "Use fewer warm-up days")]
fn invalid_flags_are_refused(#[case] arguments: &[&str], #[case] expected: &str) {
    let trace = trace("ms-ingress-05.csv");
    let arguments: Vec<&str> = arguments
        .iter()
        .map(|argument| if *argument == "TRACE" { &trace } else { *argument })
        .collect();
    let output = backtest(&arguments).output().expect("it runs");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains(expected), "{error}");
}

#[test]
fn gaps_and_short_loads_are_reported() {
    let path = file("gaps.csv", "time,aps\n3600,1\n3720,2\n");
    let output = backtest(&[&path.display().to_string()])
        .output()
        .expect("it runs");
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{notes}");
    assert!(notes.contains("1 of 3 minutes (33%) are unknown"), "{notes}");
    assert!(
        notes.contains("only 3 minutes are counted, less than a day"),
        "{notes}"
    );
}
