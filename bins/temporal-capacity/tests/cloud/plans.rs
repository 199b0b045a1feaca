//! Tests of a plan's output, decisions and exit codes.

use cloud_simulator::{Faults, MetricsFault, SimulatorOptions};
use rstest::rstest;
use serde_json::Value;

use crate::actions;
use crate::world::{World, errors, options, output};

#[test]
fn a_plan_shows_changes_first_and_only_counts_unchanged_namespaces() {
    let world = World::new(options());
    let assert = world.run(&["plan"]).success();
    let text = output(&assert);
    let names: Vec<&str> = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let expected = [
        "checkout.a1b2c",
        "analytics.a1b2c",
        "orders.a1b2c",
        "reports.a1b2c",
        "batch-legacy.a1b2c",
        "ledger-eu.a1b2c",
        "6",
        "12",
    ];
    assert_eq!(names, expected, "{text}");
    assert!(text.contains("6 unchanged (--all shows them)"), "{text}");
    assert!(
        text.contains(
            "12 namespaces: 1 enable, 3 disable, 2 hold, 6 keep; idle minimum $396.00/h -> $288.00/h at $50/M"
        ),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "no colors without a terminal");
    assert!(output(&world.run(&["plan", "--all"]).success()).contains("crm-sync.a1b2c"));
    assert!(output(&world.run(&["plan", "--color", "always"]).success()).contains('\u{1b}'));
    assert_eq!(world.cloud.changes(), [], "a plan never changes anything");
}

#[test]
fn the_output_format_of_a_plan_is_selected_by_format_or_output() {
    let world = World::new(options());
    let json = world.json(&["plan", "-o", "json"], 0);
    assert_eq!(json["schema"], "temporal-capacity/plan/v1");
    assert_eq!(json["decisions"].as_array().map(Vec::len), Some(12));
    // The Temporal CLI passes its flags before the command.
    assert_eq!(actions(&world.json(&["-o", "json", "plan"], 0)), actions(&json));
    let lines = output(&world.run(&["plan", "-o", "jsonl"]).success());
    assert_eq!(
        lines
            .lines()
            .filter(|line| serde_json::from_str::<Value>(line).is_ok())
            .count(),
        12
    );
    assert_eq!(output(&world.run(&["plan", "-o", "none"]).success()), "");
    let csv = output(&world.run(&["plan", "-o", "csv"]).success());
    assert!(csv.starts_with("namespace,action,current_trus"), "{csv}");
    assert_eq!(csv.lines().count(), 13);
    let markdown = output(&world.run(&["plan", "-o", "markdown"]).success());
    assert!(markdown.contains("| checkout.a1b2c | Enable |"), "{markdown}");
}

#[rstest]
#[case::plain(&["plan"], 0)]
#[case::changes(&["plan", "--detailed-exitcode"], 2)]
#[case::nothing_planned(&["plan", "--detailed-exitcode", "crm-sync"], 0)]
#[case::usage(&["plan", "--nonsense"], 1)]
#[case::unknown_glob(&["plan", "ghost*"], 1)]
#[case::broken_glob(&["plan", "[x"], 1)]
#[case::help(&["plan", "--help"], 0)]
fn exit_codes_of_a_plan(#[case] arguments: &[&str], #[case] code: i32) {
    World::new(options()).run(arguments).code(code);
}

#[test]
fn unavailable_metrics_have_an_exit_code_and_outrank_changes() {
    let mut options = options();
    options.faults.metrics = MetricsFault::Limited;
    let world = World::new(options);
    world.run(&["plan", "--detailed-exitcode"]).code(3);
    world.run(&["plan"]).code(0);
    assert_eq!(
        world.json(&["plan", "-o", "json"], 0)["metrics_unavailable"],
        true
    );
    world.run(&["apply", "--yes", "--detailed-exitcode"]).code(3);
    assert_eq!(world.cloud.changes(), []);
}

#[test]
fn transient_faults_do_not_change_a_plan() {
    let calm = World::new(options());
    let mut options = options();
    options.faults = Faults {
        too_many_requests: 0.1,
        unavailable: 0.1,
        dropped_before: 0.1,
        ..Faults::default()
    };
    let stormy = World::new(options);
    assert_eq!(
        actions(&calm.json(&["plan", "-o", "json"], 0)),
        actions(&stormy.json(&["plan", "-o", "json"], 0))
    );
}

/// A single quiet minute proves nothing about an hourly job, so the plan shows what a release would save and
/// how to enable it.
#[test]
fn nothing_is_released_based_on_one_minute_unless_configured() {
    let world = World::new(options());
    let default = |arguments: &[&str]| {
        let mut command = world.command(arguments);
        command.env_remove("DISABLE_ON_ESTIMATE");
        command
    };
    let assert = default(&["plan", "orders"]).assert().code(0);
    let (text, warnings) = (output(&assert), errors(&assert));
    assert!(
        text.contains(
            "(estimated from 1 minute), below the threshold of 100; capacity is not released on an estimate"
        ),
        "{text}"
    );
    assert!(text.contains("$54.00 (not $0.00)"), "{text}");
    for way in [
        "would save up to $54.00/h",
        "--observe 1h",
        "LEDGER_URL",
        "METRICS_SOURCE=prometheus",
        "DISABLE_ON_ESTIMATE=true",
    ] {
        assert!(warnings.contains(way), "{way}: {warnings}");
    }
    let plan: Value = serde_json::from_str(&output(
        &default(&["apply", "--yes", "-o", "json"]).assert().code(0),
    ))
    .expect("JSON");
    let orders = plan["decisions"]
        .as_array()
        .and_then(|decisions| decisions.iter().find(|it| it["namespace"] == "orders.a1b2c"))
        .expect("decided");
    assert_eq!(orders["reason_code"], "estimate_only");
    assert_eq!(orders["price"]["per_hour_blocked"], "0");
    assert!(
        world.cloud.changes().iter().all(|change| change.to > change.from),
        "nothing was released"
    );
}

/// The quick start: the simulated cloud has an hour of history, so releases are based on all of it.
#[test]
fn a_release_is_based_on_the_full_hour_that_the_simulated_cloud_provides() {
    let world = World::new(SimulatorOptions {
        past_minutes: 75,
        ..options()
    });
    let assert = world
        .command(&["plan", "orders", "-o", "json"])
        .env_remove("DISABLE_ON_ESTIMATE")
        .env("METRICS_SOURCE", "prometheus")
        .env("PROMETHEUS_URL", world.cloud.prometheus_url())
        .assert()
        .code(0);
    let plan: Value = serde_json::from_str(&output(&assert)).expect("JSON");
    let orders = &plan["decisions"][0];
    assert_eq!(orders["action"], "Disable", "{orders}");
    assert!(
        orders["known_minutes"].as_u64().is_some_and(|known| known >= 58),
        "{orders}"
    );
    assert!(
        orders["reason"]
            .as_str()
            .is_some_and(|reason| !reason.contains("estimated")),
        "{orders}"
    );
}
