//! Tests of the changes made by `apply` and by saved plans.

use cloud_simulator::{Access, Account, Load, NamespaceSetup, SimulatorOptions};
use jiff::SignedDuration;
use serde_json::Value;

use crate::world::{World, errors, options, output};

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
fn a_dry_run_only_plans_and_says_so() {
    let world = World::new(options());
    let assert = world
        .command(&["apply", "--detailed-exitcode"])
        .env("DRY_RUN_MODE", "true")
        .assert()
        .code(2);
    assert!(
        errors(&assert).contains("DRY_RUN_MODE is true: no capacity is changed"),
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
fn an_edited_truncated_or_invalid_saved_plan_is_refused() {
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
fn a_failed_change_is_reported_and_the_others_are_carried_out() {
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

#[test]
fn with_a_ledger_apply_announces_an_ongoing_problem_once_and_when_it_ends() {
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
    assert_eq!(apply(Some("ledger.db")), 1, "the problem was already announced");
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
fn apply_posts_one_digest_plan_posts_none_and_a_dry_run_only_prints_it() {
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
fn a_saved_plan_whose_changes_someone_else_made_finds_them_done() {
    let world = World::new(options());
    world.run(&["plan", "--save", "plan.json"]).success();
    world.run(&["apply", "--yes"]).success();
    // Another plan made the changes, and the metrics of the saved plan are old.
    world.cloud.advance(SignedDuration::from_mins(8));
    let again = world.json(&["apply", "plan.json", "--yes", "-o", "json"], 0);
    let changes = again["changes"].as_array().expect("changes");
    assert_eq!(changes.len(), 4);
    assert!(changes.iter().all(|it| it["outcome"] == "already"), "{changes:?}");
    assert_eq!(world.cloud.changes().len(), 4);
}
