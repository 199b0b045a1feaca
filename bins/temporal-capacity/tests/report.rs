//! Tests of `report`: every format, the bill, the channel, and error cases.

mod world;

use std::path::Path;

use assert_cmd::assert::Assert;
use capacity_ledger::{
    ChangeRecord, DecisionRecord, EvaluationRecord, Ledger, Location, Minute, NamespaceMinute,
    PolicyDecisionRecord,
};
use cloud_simulator::{Account, Load, NamespaceSetup, SimulatorOptions};
use human_text::at_minute;
use jiff::{SignedDuration, Timestamp};
use rstest::rstest;
use serde_json::Value;
use world::{World, errors, output, program};

/// Number of hours in the ledger.
const HOURS: i64 = 60;

/// Returns a full hour, `HOURS` hours before the current one.
fn begin() -> Timestamp {
    static BEGIN: std::sync::LazyLock<i64> =
        std::sync::LazyLock::new(|| Timestamp::now().as_second().div_euclid(3_600) - HOURS);
    Timestamp::from_second(*BEGIN * 3_600).expect("a time")
}

fn sample(name: &str, actions: u64, trus: u64) -> NamespaceMinute {
    const ENVELOPE: u64 = 500_000_000;
    NamespaceMinute {
        namespace: name.into(),
        reported: true,
        unread: [false; 3],
        served: [actions * 1_000_000, 0, 0],
        throttled: [0; 3],
        limits: [
            Some(if trus == 0 { ENVELOPE } else { trus * 500_000_000 }),
            None,
            None,
        ],
        envelopes: [Some(ENVELOPE), None, None],
    }
}

/// Writes the ledger of an account: `orders` at 4 TRUs with 10 actions per second, and an on-demand namespace
/// `quiet` without actions.
fn written(folder: &Path, name: &str, account: &str) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let ledger = Ledger::open(&Location::Sqlite(folder.join(name)))
            .await
            .expect("opened");
        let begin = begin();
        let (orders, quiet) = (format!("orders.{account}"), format!("quiet.{account}"));
        for minute in 0..HOURS * 60 {
            let minute = Minute {
                minute: begin + SignedDuration::from_mins(minute),
                complete: true,
                source: "metrics".to_owned(),
                samples: vec![sample(&orders, 10, 4), sample(&quiet, 0, 0)],
            };
            ledger
                .record_minute(account, &minute, Timestamp::now())
                .await
                .expect("recorded");
        }
        let evaluated = begin + SignedDuration::from_mins(45);
        let evaluation = EvaluationRecord {
            account: account.to_owned(),
            plan_id: "plan-1".to_owned(),
            evaluated_at_ms: evaluated.as_millisecond(),
            dry_run: false,
            blind: false,
            by: "worker-1".to_owned(),
            usage_window: "ledger".to_owned(),
            price_micro_dollars: 50_000_000,
        };
        let decision = DecisionRecord {
            account: account.to_owned(),
            plan_id: "plan-1".to_owned(),
            namespace: orders.clone(),
            action: "Resize".to_owned(),
            current_trus: Some(4),
            wanted_trus: Some(2),
            reason_code: "idle".to_owned(),
            reason: "idle, | and <more>".to_owned(),
            price_before_micro_dollars: Some(54_000_000),
            price_after_micro_dollars: Some(18_000_000),
            known_minutes: Some(45),
        };
        ledger
            .record_evaluation(&evaluation, &[decision])
            .await
            .expect("recorded");
        let shadow = PolicyDecisionRecord {
            account: account.to_owned(),
            plan_id: "plan-1".to_owned(),
            namespace: orders.clone(),
            policy: "break-even".to_owned(),
            version: 1,
            shadow: true,
            action: "Disable".to_owned(),
            current_trus: Some(4),
            wanted_trus: Some(0),
            blocked_trus: None,
            reason_code: "planned".to_owned(),
            reason: "on-demand from 17:57: nothing was busy".to_owned(),
            options: "[]".to_owned(),
        };
        let acting = PolicyDecisionRecord {
            shadow: false,
            wanted_trus: Some(12),
            ..shadow.clone()
        };
        ledger
            .record_policy_decisions(&[shadow, acting])
            .await
            .expect("recorded");
        let change = ChangeRecord {
            operation_id: "operation-1".to_owned(),
            account: account.to_owned(),
            plan_id: "plan-1".to_owned(),
            namespace: orders,
            from_trus: 4,
            to_trus: 2,
            outcome: "not_permitted".to_owned(),
            error: Some("refused with 403".to_owned()),
            ended_at_ms: evaluated.as_millisecond() + 30_000,
            by: "<b>anna</b>".to_owned(),
        };
        ledger.record_changes(&[change]).await.expect("recorded");
        ledger.close().await;
    });
}

struct Book(tempfile::TempDir);

impl Book {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        written(folder.path(), "ledger.db", "a1b2c");
        Self(folder)
    }

    fn run(&self, arguments: &[&str]) -> Assert {
        program(self.0.path())
            .args(arguments)
            .env("LEDGER_URL", "ledger.db")
            .assert()
    }
}

/// Checks that every key of a document is described on the documentation page.
fn documented(value: &Value) {
    const PAGE: &str = include_str!("../../../docs/report.md");
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                assert!(
                    PAGE.contains(&format!("`{name}`")) || PAGE.contains(&format!("`{name}[]`")),
                    "{name}"
                );
                // The columns of each table.
                if name != "keys" {
                    documented(member);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(documented),
        _ => {}
    }
}

/// Cost of the unused capacity in an hour with 4 TRUs: 1,080,000 less 36,000 actions at $50 per million, in
/// cents.
const IDLE_HOUR_CENTS: i64 = 5_220;

fn idle() -> String {
    let cents = IDLE_HOUR_CENTS * HOURS;
    format!(
        "{},{:03}.{:02}",
        cents / 100_000,
        cents / 100 % 1_000,
        cents % 100
    )
}

#[test]
fn every_format_has_the_same_figures() {
    let book = Book::new();
    let told = |arguments: &[&str]| output(&book.run(arguments).code(0));
    let table = told(&["report"]);
    for text in [
        &format!(
            "${} paid for unused capacity in 60 provisioned hours of 2 namespaces",
            idle()
        ),
        "static-peak",
        "break-even: on-demand  on-demand from 17:57: nothing was busy",
        "Decisions by reason, in 1 evaluation",
        "not permitted",
    ] {
        assert!(table.contains(text), "{text}: {table}");
    }
    let json: Value = serde_json::from_str(&told(&["report", "-o", "json"])).expect("one document");
    assert_eq!(
        (&json["schema"], &json["account"], &json["hours"]),
        (&1.into(), &"a1b2c".into(), &168.into())
    );
    assert_eq!(json["total"]["idle_usd"], "3132");
    assert_eq!(json["total"]["idle_usd_uncertain"], "0");
    let orders = &json["namespaces"][0];
    assert_eq!(
        (&orders["namespace"], &orders["hours"], &orders["changes_failed"]),
        (&"orders.a1b2c".into(), &60.into(), &1.into())
    );
    let fixed = orders["alternatives"]
        .as_array()
        .expect("some")
        .iter()
        .find(|it| it["policy"] == "static-peak");
    // The smallest sufficient size for 10 actions per second: 2 TRUs, with 324,000 unused actions per hour.
    assert_eq!(fixed.expect("there")["idle_usd"], "972");
    assert_eq!(fixed.expect("there")["saved_usd"], "-2160");
    let shadow = &json["shadow"][0];
    assert_eq!(
        (
            &shadow["policy"],
            &shadow["decisions"],
            &shadow["agreed"],
            &shadow["smaller"]
        ),
        (&"break-even".into(), &1.into(), &0.into(), &1.into())
    );
    assert_eq!(shadow["differences"][0]["acting_trus"], 2);
    let csv = told(&["report", "-o", "csv"]);
    assert_eq!(csv.lines().count(), 1 + 2 * 5, "{csv}");
    assert!(
        csv.contains("orders.a1b2c,actual,2160000,62640000,3132,"),
        "{csv}"
    );
    let markdown = told(&["report", "-o", "markdown"]);
    assert!(markdown.contains("| actual | $3,132.00 |"), "{markdown}");
    let html = told(&["report", "-o", "html", "--explain-figures"]);
    assert!(
        html.starts_with("<!doctype html>") && html.contains("$3,132.00"),
        "{html}"
    );
    assert!(
        html.contains("&lt;b&gt;anna&lt;/b&gt;") && !html.contains("<b>anna"),
        "{html}"
    );
    assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("<script"));
}

#[test]
fn figures_are_explained_with_table_keys_minutes_and_formula() {
    let book = Book::new();
    let told = output(&book.run(&["report", "orders", "--explain-figures"]).code(0));
    let hour = begin();
    let last = hour + SignedDuration::from_mins(59);
    let (hour, last) = (at_minute(hour), at_minute(last));
    let line = format!(
        "capacity_minutes account=a1b2c namespace=orders.a1b2c [{hour} to {last}]: {hour}: minimum 1,080,000 - used 36,000 in 60 known minutes = 1,044,000 actions, $52.20 (4 TRUs: "
    );
    assert!(told.contains(&line), "{line}\n{told}");
    assert!(
        told.contains("capacity_changes operation_id=operation-1"),
        "{told}"
    );
    assert!(!told.contains("quiet.a1b2c"), "only what was asked for");
    let json: Value = serde_json::from_str(&output(
        &book.run(&["report", "--explain-figures", "-o", "json"]).code(0),
    ))
    .expect("JSON");
    documented(&json);
    let figures = json["figures"].as_array().expect("figures");
    let idle = figures
        .iter()
        .find(|it| it["figure"] == "idle_usd" && it["namespace"] == "orders.a1b2c");
    assert_eq!(idle.expect("there")["rows"].as_array().map(Vec::len), Some(60));
}

#[rstest]
#[case::turned_round(&["--from", "2026-11-02", "--to", "2026-11-01"], "is not before --to")]
#[case::no_data(&["--from", "2020-01-01", "--to", "2020-01-08"], "has no data for account a1b2c from 2020-01-01 00:00 UTC")]
#[case::no_such_namespace(&["pay*"], "no namespace of account a1b2c in the ledger ledger.db matches pay*")]
#[case::no_pattern(&["orders["], "is invalid")]
#[case::another_account(&["--account", "z9y8x"], "has no data for account z9y8x; it has data for a1b2c")]
#[case::no_channel(&["--notify"], "--notify needs SLACK_WEBHOOK_URL")]
#[case::no_key(&["--reconcile"], "role Finance Admin or Owner")]
#[case::no_time(&["--from", "yesterday"], "2026-11-22T08:00Z")]
#[case::no_price(&["--price", "free"], "PRICE_PER_MILLION_ACTIONS")]
fn a_report_that_is_not_possible_is_refused_with_the_reason(#[case] arguments: &[&str], #[case] text: &str) {
    let book = Book::new();
    let arguments: Vec<&str> = std::iter::once("report")
        .chain(arguments.iter().copied())
        .collect();
    let told = errors(&book.run(&arguments).code(1));
    assert!(told.contains(text), "{told}");
}

#[test]
fn no_ledger_is_created_and_accounts_are_kept_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| {
        program(folder.path())
            .args(arguments)
            .env("LEDGER_URL", "none.db")
            .assert()
    };
    run(&["report"]).code(1);
    assert!(!folder.path().join("none.db").exists());
    written(folder.path(), "none.db", "a1b2c");
    written(folder.path(), "none.db", "z9y8x");
    let told = errors(&run(&["report"]).code(1));
    assert!(
        told.contains("several accounts (a1b2c, z9y8x). Choose one with --account"),
        "{told}"
    );
    let told = output(&run(&["report", "--account", "z9y8x"]).code(0));
    assert!(told.contains("orders.z9y8x") && !told.contains("a1b2c"), "{told}");
}

#[test]
fn the_bill_is_compared_and_the_channel_notified() {
    let account = Account::new(
        "a1b2c",
        vec![
            NamespaceSetup::new("orders", Load::Steady(10.0)).with_trus(4),
            NamespaceSetup::new("quiet", Load::Idle),
        ],
    );
    let world = World::new(SimulatorOptions {
        speed: 0.0,
        start: begin(),
        billing_report_lag: SignedDuration::ZERO,
        ..SimulatorOptions::new(account)
    });
    world.cloud.advance(SignedDuration::from_hours(HOURS));
    written(world.folder.path(), "ledger.db", "a1b2c");
    let with = |arguments: &[&str], key: String| {
        let mut command = world.command(arguments);
        command
            .env("LEDGER_URL", "ledger.db")
            .env("TEMPORAL_CLOUD_OPS_API_KEY", key)
            .env("SLACK_WEBHOOK_URL", world.cloud.slack_url());
        command.assert()
    };
    let refused = errors(&with(&["report", "--reconcile"], world.cloud.ops_key()).code(1));
    assert!(
        refused.contains("account role Finance Admin or Owner"),
        "{refused}"
    );
    let (from, to) = (
        begin().to_string(),
        (begin() + SignedDuration::from_hours(HOURS)).to_string(),
    );
    let told = output(
        &with(
            &["report", "--from", &from, "--to", &to, "--reconcile"],
            world.cloud.billing_key(),
        )
        .code(0),
    );
    assert!(
        told.contains("The bill matches the ledger to the cent in 72 hours compared: $1,944.00."),
        "{told}"
    );
    assert!(
        told.contains("Not billed yet: the last 24 hours of the range."),
        "{told}"
    );
    // At another price, only the price differs.
    let json = with(
        &[
            "report",
            "--from",
            &from,
            "--to",
            &to,
            "--reconcile",
            "--price",
            "40",
            "-o",
            "json",
        ],
        world.cloud.billing_key(),
    );
    let json: Value = serde_json::from_str(&output(&json.code(0))).expect("JSON");
    documented(&json);
    assert_eq!(json["reconciliation"]["is_equal"], false);
    assert_eq!(
        json["reconciliation"]["namespaces"][0]["explained_by"],
        serde_json::json!(["price"])
    );

    with(&["report", "--notify", "-o", "none"], world.cloud.ops_key()).code(0);
    let messages = world.cloud.slack_messages();
    let text = messages[0]["text"].as_str().expect("a text");
    assert!(
        text.contains("$3,132.00 paid for unused capacity") && text.contains("static-peak: $972.00"),
        "{text}"
    );
    let dry = world
        .command(&["report", "--notify", "-o", "none", "--set", "DRY_RUN_MODE=true"])
        .env("LEDGER_URL", "ledger.db")
        .env("SLACK_WEBHOOK_URL", world.cloud.slack_url())
        .assert()
        .code(0);
    assert!(errors(&dry).contains("would notify"), "{}", errors(&dry));
    assert_eq!(world.cloud.slack_messages().len(), 1);
}
