//! Tests of the commands against a simulated cloud: output, exit codes, and invalid input.

mod world;

use cloud_simulator::{Access, Account, Faults, Load, MetricsFault, NamespaceSetup, SimulatorOptions};
use jiff::SignedDuration;
use rstest::rstest;
use serde_json::Value;

use world::{World, errors, options, output, program};

impl World {
    /// Runs a command and parses its result.
    fn json(&self, arguments: &[&str], code: i32) -> Value {
        let assert = self.run(arguments).code(code);
        serde_json::from_slice(&assert.get_output().stdout).expect("one JSON document")
    }
}

fn actions(plan: &Value) -> Vec<String> {
    let decisions = plan["decisions"].as_array().expect("decisions").iter();
    decisions
        .filter(|it| it["action"] != "Keep")
        .map(|it| {
            format!(
                "{} {}",
                it["namespace"].as_str().expect("a name"),
                it["action"].as_str().expect("an action")
            )
        })
        .collect()
}

#[test]
fn a_plan_shows_changes_first_and_folds_what_is_kept() {
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
fn forms_of_a_plan_are_chosen_by_format_or_output() {
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
fn apply_carries_the_plan_out_and_finds_nothing_the_second_time() {
    let world = World::new(options());
    let applied = world.json(&["apply", "--yes", "-o", "json"], 0);
    let changes = applied["changes"].as_array().expect("changes");
    assert_eq!(changes.len(), 4);
    assert!(
        changes
            .iter()
            .all(|it| it["outcome"] == "changed" && it["error"].is_null()),
        "{changes:?}"
    );
    assert!(changes.iter().all(|it| {
        it["operation_id"]
            .as_str()
            .is_some_and(|id| id.starts_with("7ca9ac17-"))
    }));
    assert_eq!(world.cloud.changes().len(), 4);
    assert_eq!(world.cloud.incidents(), []);
    world.cloud.advance(SignedDuration::from_mins(6));
    let again = world.json(&["apply", "--yes", "-o", "json", "--detailed-exitcode"], 0);
    assert_eq!(again["changes"].as_array().map(Vec::len), Some(0));
}

#[test]
fn apply_without_a_terminal_or_yes_shows_the_plan_and_changes_nothing() {
    let world = World::new(options());
    let before = world.cloud.namespaces();
    let assert = world.run(&["apply"]).code(1);
    assert!(
        errors(&assert).contains("nothing was changed: there is no terminal to ask for confirmation"),
        "{}",
        errors(&assert)
    );
    assert!(output(&assert).contains("12 namespaces: "), "{}", output(&assert));
    let capacity = |namespaces: Vec<cloud_simulator::NamespaceView>| -> Vec<u32> {
        namespaces.iter().map(|namespace| namespace.trus).collect()
    };
    assert_eq!(capacity(world.cloud.namespaces()), capacity(before));
}

#[test]
fn a_dry_run_says_so_and_only_plans() {
    let world = World::new(options());
    let assert = world
        .command(&["apply", "--detailed-exitcode"])
        .env("DRY_RUN_MODE", "true")
        .assert()
        .code(2);
    assert!(
        errors(&assert).contains("DRY_RUN_MODE is true: nothing is changed"),
        "{}",
        errors(&assert)
    );
    assert!(output(&assert).contains("checkout.a1b2c"));
    assert_eq!(world.cloud.changes(), []);
}

#[test]
fn a_saved_plan_is_carried_out_once() {
    let world = World::new(options());
    world.run(&["plan", "--save", "plan.json"]).success();
    world.run(&["apply", "plan.json", "--yes"]).success();
    assert_eq!(world.cloud.changes().len(), 4);
    // The operations are found on the namespaces regardless of the age of the plan's metrics, so nothing is
    // sent again.
    world.cloud.advance(SignedDuration::from_mins(8));
    let again = world.json(&["apply", "plan.json", "--yes", "-o", "json"], 0);
    let changes = again["changes"].as_array().expect("changes");
    assert!(changes.iter().all(|it| it["outcome"] == "already"), "{changes:?}");
    assert_eq!(world.cloud.changes().len(), 4);
}

#[test]
fn a_saved_plan_that_was_edited_cut_or_is_none_is_refused() {
    let world = World::new(options());
    world.run(&["plan", "--save", "plan.json"]).success();
    let path = world.folder.path().join("plan.json");
    let text = std::fs::read_to_string(&path).expect("saved");
    for (changed, expected) in [
        (
            text.replace("\"wanted_trus\": 6", "\"wanted_trus\": 12"),
            "the plan was changed after it was saved",
        ),
        (text[..text.len() / 3].to_owned(), "this is not a saved plan"),
        ("not JSON".to_owned(), "this is not a saved plan"),
        ("{\"schema\":\"else\"}".to_owned(), "has the schema `else`"),
    ] {
        std::fs::write(&path, changed).expect("written");
        let assert = world.run(&["apply", "plan.json", "--yes"]).code(1);
        assert!(errors(&assert).contains(expected), "{}", errors(&assert));
    }
    let assert = world.run(&["apply", "elsewhere.json", "--yes"]).code(1);
    assert!(
        errors(&assert).contains("elsewhere.json cannot be carried out"),
        "{}",
        errors(&assert)
    );
    assert_eq!(world.cloud.changes(), []);
}

#[test]
fn a_plan_from_another_account_changes_nothing() {
    let world = World::new(options());
    world.run(&["plan", "--save", "plan.json"]).success();
    let mut others = options();
    others.account.id = "zzzzz".to_owned();
    let other = World::new(others);
    std::fs::copy(
        world.folder.path().join("plan.json"),
        other.folder.path().join("plan.json"),
    )
    .expect("copied");
    let applied = other.json(&["apply", "plan.json", "--yes", "-o", "json"], 1);
    let changes = applied["changes"].as_array().expect("changes");
    assert!(
        changes.iter().all(|it| it["error"]
            .as_str()
            .is_some_and(|it| it.contains("has no access to it"))),
        "{changes:?}"
    );
    assert_eq!(other.cloud.changes(), []);
}

#[test]
fn a_change_that_fails_is_told_and_the_others_are_carried_out() {
    let mut options = options();
    let orders = options
        .account
        .namespaces
        .iter_mut()
        .find(|it| it.name == "orders")
        .expect("orders");
    orders.access = Access::Read;
    let world = World::new(options);
    let assert = world.run(&["apply", "--yes"]).code(1);
    assert!(
        output(&assert).contains("not_permitted") && output(&assert).contains("Namespace Admin"),
        "{}",
        output(&assert)
    );
    assert!(
        errors(&assert).contains("1 change was not carried out (1 not permitted)"),
        "{}",
        errors(&assert)
    );
    assert_eq!(world.cloud.changes().len(), 3);
}

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
#[case::broken_glob("NAMESPACE_DENYLIST", "or[ders", "the pattern `or[ders` does not parse")]
#[case::no_boolean("DRY_RUN_MODE", "perhaps", "neither true nor false")]
#[case::workflow_trigger(
    "SLACK_WEBHOOK_URL",
    "https://hooks.slack.com/triggers/T0/1/hunter2",
    "this is the trigger URL of a Slack workflow"
)]
fn bad_settings_end_in_one_message_with_the_remedy(
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
        errors.contains("error: the metrics were refused with 401"),
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
        text.contains("candidates was not read, since the Cloud Ops API limits the rate of requests (429)")
            && text.contains("the next evaluation continues with them"),
        "{text}"
    );
    assert_eq!(world.cloud.changes(), []);
}

#[test]
fn with_a_ledger_apply_announces_a_standing_problem_once_and_its_end() {
    let mut adding = NamespaceSetup::new("eu", Load::Steady(3.0));
    adding.second_replica = Some("REPLICA_STATE_ADDING");
    adding.second_replica_moves_for = Some(SignedDuration::from_hours(5));
    let world = World::new(SimulatorOptions {
        account: Account::new("a1b2c", vec![adding]),
        speed: 1.0,
        ..options()
    });
    let apply = |ledger: Option<&str>| {
        let mut command = world.command(&["apply", "--yes"]);
        command.env("SLACK_WEBHOOK_URL", world.cloud.slack_url());
        command.envs(ledger.map(|ledger| ("LEDGER_URL", ledger)));
        command.assert().success();
        world.cloud.slack_messages().len()
    };
    assert_eq!(apply(Some("ledger.db")), 1);
    let text = world.cloud.slack_messages()[0]["text"].to_string();
    assert!(
        text.contains("1 needs attention") && text.contains("is being added (since "),
        "{text}"
    );
    assert_eq!(apply(Some("ledger.db")), 1, "people know");
    assert_eq!(
        apply(None),
        2,
        "without a ledger it is unknown what was announced"
    );
    // One day later.
    world
        .cloud
        .advance(SignedDuration::from_hours(24) + SignedDuration::from_mins(1));
    assert_eq!(apply(Some("ledger.db")), 3);
    // The table shows the same as before.
    let plan = world.json(&["plan", "-o", "json"], 0);
    assert_eq!(plan["decisions"][0]["announce"], true);
}

#[test]
fn apply_posts_one_digest_a_plan_none_and_a_dry_run_only_shows_it() {
    let world = World::new(options());
    let with_slack = |arguments: &[&str]| {
        let mut command = world.command(arguments);
        command.env("SLACK_WEBHOOK_URL", world.cloud.slack_url());
        command
    };
    with_slack(&["plan"]).assert().success();
    let assert = with_slack(&["apply"])
        .env("DRY_RUN_MODE", "true")
        .assert()
        .success();
    assert!(
        errors(&assert).contains("would notify 127.0.0.1: Capacity of account a1b2c"),
        "{}",
        errors(&assert)
    );
    assert_eq!(world.cloud.slack_messages(), Vec::<Value>::new());
    with_slack(&["apply", "--yes"]).assert().success();
    let messages = world.cloud.slack_messages();
    assert_eq!(messages.len(), 1);
    let text = messages[0]["text"].as_str().expect("a text");
    assert!(
        text.contains("Capacity of account a1b2c: 4 changed, 1 needs attention"),
        "{text}"
    );

    let gone = format!("{}-gone", world.cloud.slack_url());
    let assert = world
        .command(&["apply", "--yes"])
        .env("SLACK_WEBHOOK_URL", &gone)
        .assert()
        .success();
    assert!(
        errors(&assert).contains("the webhook was removed or disabled"),
        "{}",
        errors(&assert)
    );
    assert!(!errors(&assert).contains("webhook-token"), "{}", errors(&assert));
}

#[test]
fn missing_keys_are_named_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let assert = program(folder.path()).arg("plan").assert().code(1);
    let text = errors(&assert);
    assert!(
        text.contains("TEMPORAL_CLOUD_OPS_API_KEY") && text.contains("TEMPORAL_CLOUD_METRICS_API_KEY"),
        "{text}"
    );
}

#[test]
fn settings_are_shown_with_their_origin_and_without_secrets() {
    let world = World::new(options());
    std::fs::write(world.folder.path().join(".env"), "MAX_TRU_COUNT=8\n").expect("written");
    let text = output(
        &world
            .run(&["settings", "show", "--set", "MIN_ACTIONS_THRESHOLD=7"])
            .success(),
    );
    let line = |name: &str| {
        text.lines()
            .find(|line| line.contains(name))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(line("MAX_TRU_COUNT").contains(".env, line 1"), "{text}");
    assert!(line("MIN_ACTIONS_THRESHOLD").contains("flag --set"), "{text}");
    assert!(line("TEMPORAL_CLOUD_OPS_API_KEY").contains("(hidden)"), "{text}");
    assert!(!text.contains(&world.cloud.ops_key()), "{text}");
    assert_eq!(
        world.json(&["settings", "show", "-o", "json"], 0)[0]["name"],
        "TEMPORAL_CLOUD_OPS_API_KEY"
    );
}

#[test]
fn doctor_names_what_is_wrong_and_what_it_breaks() {
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
        found("Cloud Ops key", "odd").starts_with("it expires on "),
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

#[test]
fn faults_on_the_way_do_not_change_a_plan() {
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
fn nothing_is_released_on_one_minute_unless_someone_asked_for_it() {
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
    assert!(text.contains("54.00 (not 0.00)"), "{text}");
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
fn a_release_rests_on_the_whole_hour_that_the_simulated_cloud_provides() {
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

#[test]
fn the_demo_saves_money_with_nothing_but_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    // The demo ignores the settings of this machine, which would stop any other command.
    std::fs::write(folder.path().join(".env"), "DRY_RUN_MODE=perhaps\n").expect("written");
    let assert = program(folder.path()).arg("demo").assert().success();
    let text = output(&assert);
    assert!(text.contains("the next plan has 0 changes"), "{text}");
    assert!(
        text.contains("$306.00 before, $108.00 after. Saved: $198.00 an hour"),
        "{text}"
    );
}

#[cfg(unix)]
#[test]
fn the_simulator_runs_until_it_is_interrupted() {
    use std::io::BufRead;
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_temporal-capacity"))
        .args(["cloud-simulator", "--namespaces", "20", "-o", "json"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("started");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("piped");
    std::io::BufReader::new(stdout)
        .read_line(&mut line)
        .expect("a line");
    let introduction: Value = serde_json::from_str(&line).expect("JSON");
    assert!(
        introduction["CLOUD_OPS_API_BASE_URL"]
            .as_str()
            .is_some_and(|url| url.starts_with("http://127.0.0.1:"))
    );
    let interrupted = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("sent");
    assert!(interrupted.success());
    assert_eq!(child.wait().expect("ended").code(), Some(0));
}

/// As passed by the Temporal CLI: its global flags come first, regardless of their original position.
#[rstest]
#[case::output(&["-o", "json", "plan"], 0)]
#[case::all_harmless(&["--output", "json", "--log-level", "never", "--log-format", "json", "--color", "never", "--time-format", "iso",
    "--client-connect-timeout", "5s", "--disable-config-file", "--no-json-shorthand-payloads", "plan", "--all"], 0)]
#[case::home(&["-o", "json", "--address", "localhost:7233", "plan", "--namespace", "home.a1b2c"], 0)]
#[case::time_enough(&["-o", "json", "--command-timeout", "30s", "plan"], 0)]
#[case::no_time(&["--command-timeout", "1ms", "plan"], 1)]
#[case::no_duration(&["--command-timeout", "soon", "plan"], 1)]
#[case::profile(&["--profile", "prod", "plan"], 1)]
#[case::environment(&["--env", "prod", "plan"], 1)]
fn flags_of_the_temporal_cli_are_accepted_before_the_command(#[case] arguments: &[&str], #[case] code: i32) {
    let world = World::new(options());
    let assert = world.run(arguments).code(code);
    if code == 0 {
        let plan: Value = serde_json::from_slice(&assert.get_output().stdout).expect("one JSON document");
        assert_eq!(plan["decisions"].as_array().map(Vec::len), Some(12));
    } else {
        assert!(errors(&assert).starts_with("error: "), "{}", errors(&assert));
    }
}

#[test]
fn completions_are_printed() {
    let folder = tempfile::tempdir().expect("a folder");
    let assert = program(folder.path())
        .args(["completions", "bash"])
        .assert()
        .success();
    assert!(output(&assert).contains("temporal-capacity"));
}
