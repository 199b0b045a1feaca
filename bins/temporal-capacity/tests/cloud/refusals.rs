//! Tests of invalid settings, rejected keys and partial responses.

use cloud_simulator::Access;
use jiff::SignedDuration;
use rstest::rstest;

use crate::world::{World, errors, options, output, program};

#[rstest]
#[case::wrong_ops_key(
    "TEMPORAL_CLOUD_OPS_API_KEY",
    "wrong-hunter2",
    "the Cloud Ops API key is wrong, expired or disabled"
)]
#[case::nobody_listening(
    "CLOUD_OPS_API_BASE_URL",
    "http://127.0.0.1:1",
    "127.0.0.1 could not be reached"
)]
#[case::no_url("CLOUD_OPS_API_BASE_URL", "saas-api.tmprl.cloud", "is not a URL")]
#[case::password_in_the_url(
    "CLOUD_OPS_API_BASE_URL",
    "https://hunter2@example.com",
    "the URL contains a user or password"
)]
#[case::plain_http("CLOUD_METRICS_API_BASE_URL", "http://example.com", "not encrypted")]
#[case::no_number("DEFAULT_TRU_COUNT", "five", "DEFAULT_TRU_COUNT = `five` (environment)")]
#[case::broken_glob("NAMESPACE_DENYLIST", "or[ders", "the pattern `or[ders` is invalid")]
#[case::no_boolean("DRY_RUN_MODE", "perhaps", "neither true nor false")]
#[case::workflow_trigger(
    "SLACK_WEBHOOK_URL",
    "https://hooks.slack.com/triggers/T0/1/hunter2",
    "this is the trigger URL of a Slack workflow"
)]
fn invalid_settings_fail_with_one_message_and_the_remedy(
    #[case] name: &str,
    #[case] value: &str,
    #[case] expected: &str,
) {
    let world = World::new(options());
    let assert = world
        .command(&["apply", "--yes"])
        .env(name, value)
        .assert()
        .code(1);
    let text = errors(&assert);
    assert!(text.contains(expected), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("panicked"), "{text}");
    assert_eq!(world.cloud.changes(), []);
}

#[rstest]
#[case::plan(&["plan", "--all"])]
#[case::plan_with_detailed_exit_codes(&["plan", "--detailed-exitcode"])]
#[case::apply(&["apply", "--yes"])]
fn a_rejected_metrics_key_is_an_error(#[case] arguments: &[&str]) {
    let world = World::new(options());
    let assert = world
        .command(arguments)
        .env("TEMPORAL_CLOUD_METRICS_API_KEY", "wrong-hunter2")
        .assert()
        .code(1);
    let (text, errors) = (output(&assert), errors(&assert));
    assert!(
        errors.contains("error: the request for metrics was refused with 401"),
        "{errors}"
    );
    assert_eq!(
        errors.matches("metrics unavailable").count(),
        1,
        "said once: {errors}"
    );
    assert!(
        !text.contains("hunter2") && !errors.contains("hunter2"),
        "{text}{errors}"
    );
    assert_eq!(world.cloud.changes(), []);
}

#[test]
fn capacity_info_that_cannot_be_read_is_counted_and_an_error() {
    let mut options = options();
    options.faults.capacity_info_refused_of = Some("checkout.a1b2c".to_owned());
    let world = World::new(options);
    let assert = world.run(&["plan", "orders", "checkout"]).code(1);
    assert!(
        errors(&assert).contains("error: the capacity info of 1 of "),
        "{}",
        errors(&assert)
    );
    assert!(output(&assert).contains("orders.a1b2c"), "{}", output(&assert));
    let plan = world.json(&["plan", "-o", "json"], 1);
    assert_eq!(plan["errors"].as_array().map(Vec::len), Some(1));
}

#[rstest]
#[case::plan(&["plan"])]
#[case::apply(&["apply", "--yes"])]
fn a_rate_limit_during_capacity_reads_says_how_many_were_not_read_and_exits_with_1(
    #[case] arguments: &[&str],
) {
    let mut options = options();
    options.faults.rate_limited_route = Some("GET /cloud/namespaces/{id}/capacity-info".to_owned());
    let world = World::new(options);
    let assert = world.run(arguments).code(1);
    let text = errors(&assert);
    assert!(
        text.contains("candidates was not read, because the Cloud Ops API limits the rate of requests (429)")
            && text.contains("the next evaluation continues with them"),
        "{text}"
    );
    assert_eq!(world.cloud.changes(), []);
}

#[test]
fn missing_keys_are_reported_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let assert = program(folder.path()).arg("plan").assert().code(1);
    let text = errors(&assert);
    assert!(
        text.contains("TEMPORAL_CLOUD_OPS_API_KEY") && text.contains("TEMPORAL_CLOUD_METRICS_API_KEY"),
        "{text}"
    );
}

#[test]
fn doctor_reports_each_problem_with_its_impact() {
    let mut options = options();
    options.account.namespaces[0].access = Access::Read;
    options.ops_key_expires = options.start + SignedDuration::from_hours(24 * 3);
    options.faults.missing_family = Some("temporal_cloud_v1_operations_limit".to_owned());
    let world = World::new(options);
    let checks = world.json(&["doctor", "-o", "json"], 1);
    let found = |check: &str, verdict: &str| -> String {
        let checks = checks.as_array().expect("checks").iter();
        let mut found = checks.filter(|it| it["check"] == check && it["verdict"] == verdict);
        found
            .next()
            .and_then(|it| it["finding"].as_str())
            .unwrap_or_default()
            .to_owned()
    };
    assert!(found("roles", "bad").contains("analytics.a1b2c"), "{checks}");
    assert!(
        found("Cloud Ops key", "odd").starts_with("expires on "),
        "{checks}"
    );
    assert!(
        found("metric families", "bad").contains("operations_limit"),
        "{checks}"
    );
    assert!(
        found("Cloud Ops API", "good").contains("capacity-ops"),
        "{checks}"
    );

    let healthy = World::new(self::options());
    assert!(output(&healthy.run(&["doctor"]).success()).contains("metrics endpoint"));
}

#[rstest]
#[case::plan(&["plan"], 0)]
#[case::explain(&["explain", "checkout"], 0)]
#[case::doctor(&["doctor"], 0)]
#[case::history(&["history"], 1)]
fn read_only_commands_create_no_ledger(#[case] arguments: &[&str], #[case] code: i32) {
    let world = World::new(options());
    let mut command = world.command(arguments);
    let assert = command.env("LEDGER_URL", "records/ledger.db").assert().code(code);
    let all = output(&assert) + &errors(&assert);
    assert!(all.contains("there is no ledger at records/ledger.db"), "{all}");
    assert!(!world.folder.path().join("records").exists());
}

#[rstest]
#[case::reversed(&["history", "--from", "2026-11-23", "--to", "2026-11-22"], "is not before --to")]
#[case::no_time(&["history", "--from", "yesterday"], "use a date such as 2026-11-22")]
#[case::backtest(&["backtest", "--from", "ledger", "--to", "yesterday"], "use a date such as 2026-11-22")]
#[case::explain(&["explain", "checkout", "--at", "yesterday"], "--at yesterday: use a date such as 2026-11-22")]
#[case::days(&["ledger", "prune", "--keep-minutes", "soon"], "use a number of days")]
#[case::timeout(&["trigger", "--wait", "--timeout", "soon"], "use a duration with a unit")]
#[case::no_wait(&["trigger", "--timeout", "5m"], "--wait")]
#[case::level(&["plan", "--log-level", "verbose"], "error, warn, info, debug, trace")]
#[case::no_speed(&["cloud-simulator", "--speed", "0"], "--speed 0: specify a factor above 0")]
#[case::no_namespaces(&["cloud-simulator", "--namespaces", "0"], "--namespaces 0: specify at least 1")]
fn invalid_values_are_refused_with_an_example(#[case] arguments: &[&str], #[case] told: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let assert = program(folder.path()).args(arguments).assert().code(1);
    assert!(errors(&assert).contains(told), "{}", errors(&assert));
}
