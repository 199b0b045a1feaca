//! Tests of `backtest --from` with thirty days of minutes from a ledger and from a real Prometheus, without
//! keys or Temporal.

#[allow(dead_code, reason = "a part of what the server offers is used")]
#[path = "../../../crates/prometheus-reader/tests/suite/server.rs"]
mod server;

mod world;

use std::fmt::Write as _;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use assert_cmd::Command;
use capacity_backtest::{Contender, Course, Load, Settings, Trace, run_recorded};
use capacity_ledger::{Format, Ledger, Location, Minute, NamespaceMinute, Table};
use cloud_simulator::{Load as SimulatedLoad, NamespaceSetup, SimulatorOptions};
use serde_json::Value;
use server::Prometheus;
use world::World;

/// Minutes in thirty days.
const MONTH: i64 = 30 * 24 * 60;

/// First minute of the fixtures, at a full hour: 2026-10-01T00:00Z in minutes since 1970.
const FIRST: i64 = 29_846_880;

/// End of the range (exclusive).
const END: &str = "2026-10-31T00:00:00Z";

/// A recorded namespace: minutes with served actions and throttled attempts.
struct Recorded {
    name: &'static str,
    minutes: Vec<(i64, u32, u32)>,
}

/// Returns the demand of a steady load with a burst of twenty minutes in every tenth hour.
fn asked() -> Trace {
    let minutes = (0..MONTH).map(|minute| {
        let actions = if minute % 600 < 20 { 90_000 } else { 6_000 };
        Some(Load {
            actions,
            peak: actions / 6,
        })
    });
    Trace::from_minutes(minutes, FIRST)
}

/// Returns four on-demand namespaces: one with bursts, one with bursts and two days without records, a
/// calm one, and one that is ten hours old.
fn recorded() -> Vec<Recorded> {
    let asked = asked();
    let (_, course) = run_recorded(&asked, Contender::OnDemand, &Settings::for_trace(&asked));
    let Course {
        served, throttled, ..
    } = course;
    let bursts: Vec<_> = served
        .into_iter()
        .zip(throttled)
        .zip(FIRST..)
        .map(|((served, throttled), minute)| (minute, served, throttled))
        .collect();
    let outage = FIRST + 20 * 1440..FIRST + 22 * 1440;
    let gappy = bursts
        .iter()
        .copied()
        .filter(|(minute, ..)| !outage.contains(minute));
    let young = bursts[bursts.len() - 600..].to_vec();
    vec![
        Recorded {
            name: "gappy.a1b2c",
            minutes: gappy.collect(),
        },
        Recorded {
            name: "bursts.a1b2c",
            minutes: bursts,
        },
        Recorded {
            name: "calm.a1b2c",
            minutes: (FIRST..FIRST + MONTH).map(|minute| (minute, 60, 0)).collect(),
        },
        Recorded {
            name: "young.a1b2c",
            minutes: young,
        },
    ]
}

fn backtest(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::cargo_bin("temporal-capacity").expect("the program");
    command
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(folder)
        .timeout(Duration::from_mins(5))
        .arg("backtest")
        .args(arguments);
    command.output().expect("it runs")
}

fn document(output: &Output) -> Value {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

fn total(document: &Value, namespace: &str, policy: &str) -> f64 {
    let mut results = document["results"].as_array().expect("results").iter();
    let row = results.find(|row| row["trace"] == namespace && row["policy"] == policy);
    row.unwrap_or_else(|| panic!("{policy} of {namespace}"))["total_usd"]
        .as_f64()
        .expect("a number")
}

/// Checks that hold for every source of minutes.
fn check(document: &Value, notes: &str) {
    let namespaces = document["namespaces"].as_array().expect("namespaces");
    let names: Vec<&str> = namespaces
        .iter()
        .filter_map(|namespace| namespace["namespace"].as_str())
        .collect();
    assert_eq!(names.len(), 4, "{names:?}");
    let saved: Vec<f64> = namespaces
        .iter()
        .filter_map(|namespace| namespace["saved_usd"].as_f64())
        .collect();
    assert!(
        saved.is_sorted_by(|one, next| one >= next),
        "ranked by money: {saved:?}"
    );
    let of = |name: &str| {
        let mut namespaces = namespaces.iter();
        namespaces
            .find(|namespace| namespace["namespace"] == name)
            .unwrap_or_else(|| panic!("{name} is missing"))
    };
    let bursts = of("bursts.a1b2c");
    assert_eq!(bursts["known_minutes"], MONTH);
    assert_eq!(bursts["known_share"], 1.0);
    assert_eq!(bursts["data_from"], "2026-10-01T00:00:00Z");
    let rebuilt = bursts["rebuilt_share"].as_f64().expect("a share");
    assert!((0.03..0.2).contains(&rebuilt), "{rebuilt}");
    assert_eq!(of("gappy.a1b2c")["known_minutes"], MONTH - 2 * 1440);
    assert_eq!(of("calm.a1b2c")["rebuilt_share"], 0.0);
    let young = of("young.a1b2c");
    assert_eq!(
        (&young["counted_minutes"], &young["less_than_a_day"]),
        (&600.into(), &true.into())
    );
    assert!(
        notes.contains("less than a day of data is counted for young.a1b2c"),
        "{notes}"
    );
    // The original demand is reconstructed, so on-demand costs as much as with the original load.
    let asked = asked();
    let settings = Settings::for_trace(&asked);
    let price = capacity_engine::ActionPrice::flat(capacity_engine::PricePerMillion::FIRST_TIER);
    let (score, _) = run_recorded(&asked, Contender::OnDemand, &settings);
    let expected: f64 = score
        .dollars(&price, 1000)
        .total
        .to_string()
        .parse()
        .expect("a number");
    let found = total(document, "bursts.a1b2c", "on-demand");
    assert!(
        (found - expected).abs() < 0.1 * expected,
        "{found} found, {expected} expected"
    );
    assert!(total(document, "bursts.a1b2c", "break-even") < 0.7 * found);
}

/// Writes the minutes of the fixtures to a ledger.
fn ledger(folder: &Path) {
    let mut csv = String::from(
        "account,minute,complete,source,namespace,reported,actions_served,requests_served,operations_served,actions_throttled,\
         requests_throttled,operations_throttled,actions_limit,requests_limit,operations_limit,actions_envelope,requests_envelope,\
         operations_envelope,unread\n",
    );
    for namespace in recorded() {
        for (minute, served, throttled) in namespace.minutes {
            let time = jiff::Timestamp::from_second(minute * 60).expect("a time");
            // In millionths per second, rounded as in a worker's ledger.
            let rate = |actions: u32| (f64::from(actions) * 1e6 / 60.0).round();
            writeln!(
                csv,
                "a1b2c,{time},true,metrics,{},true,{},0,0,{},0,0,500000000,2000000000,4000000000,500000000,2000000000,4000000000,",
                namespace.name,
                rate(served),
                rate(throttled)
            )
            .expect("text");
        }
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let ledger = Ledger::open(&Location::Sqlite(folder.join("ledger.db")))
            .await
            .expect("a ledger");
        let new = ledger.import(Table::Minutes, Format::Csv, csv.as_bytes()).await;
        assert_eq!(new.expect("imported"), MONTH.unsigned_abs());
        ledger.close().await;
    });
}

#[test]
fn a_month_in_the_ledger_is_scored_for_every_namespace() {
    let folder = tempfile::tempdir().expect("a folder");
    ledger(folder.path());
    let environment = [("LEDGER_URL", "ledger.db")];
    let run = |arguments: &[&str]| {
        let arguments = [&["--from", "ledger", "--to", END], arguments].concat();
        backtest(folder.path(), &arguments, &environment)
    };
    let output = run(&["-o", "json"]);
    check(&document(&output), &String::from_utf8_lossy(&output.stderr));

    let chosen = document(&run(&["--namespace", "b*", "-o", "json"]));
    assert_eq!(chosen["namespaces"].as_array().map(Vec::len), Some(1));

    let output = run(&[]);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        table.contains("rebuilt %") && table.contains("total of 3") && table.contains("0.4*"),
        "{table}"
    );

    let page = run(&["-o", "html", "--namespace", "bursts"]);
    assert!(String::from_utf8_lossy(&page.stdout).contains("bursts.a1b2c"));

    let refused = |arguments: &[&str]| {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let nothing = refused(&["--namespace", "ghost*"]);
    assert!(
        nothing.contains("has no minutes of namespaces that match `ghost*`"),
        "{nothing}"
    );
    let output = backtest(
        folder.path(),
        &["--from", "ledger", "--to", "2026-12-31T00:00:00Z"],
        &environment,
    );
    let nothing = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        nothing.contains("has no minutes from 2026-12-01 00:00 UTC to 2026-12-31 00:00 UTC; it has minutes from 2026-10-01 00:00 UTC"),
        "{nothing}"
    );
}

/// Aggregated hours never fill gaps: the minutes of aggregated days are unknown.
#[test]
fn aggregated_hours_are_not_used() {
    let folder = tempfile::tempdir().expect("a folder");
    ledger(folder.path());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let location = Location::Sqlite(folder.path().join("ledger.db"));
        let ledger = Ledger::open(&location).await.expect("a ledger");
        let keep = |days: i64| jiff::SignedDuration::from_hours(24 * days);
        let now = END.parse().expect("a time");
        let pruned = ledger
            .prune(now, keep(10), keep(400), keep(400))
            .await
            .expect("pruned");
        assert_eq!(pruned.minutes, 20 * 1440);
        ledger.close().await;
    });
    let arguments = [
        "--from",
        "ledger",
        "--to",
        END,
        "--namespace",
        "bursts",
        "-o",
        "json",
    ];
    let output = backtest(folder.path(), &arguments, &[("LEDGER_URL", "ledger.db")]);
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        notes.contains("the ledger has minutes from 2026-10-21 00:00 UTC on"),
        "{notes}"
    );
    let bursts = &document(&output)["namespaces"][0];
    assert_eq!(bursts["known_minutes"], 10 * 1440);
    assert_eq!(bursts["data_from"], "2026-10-21T00:00:00Z");
}

/// Calculates the value of a series from the served actions and throttled attempts in a minute.
type ValueOf = fn(u32, u32) -> f64;

/// Writes the same minutes as series of the metrics endpoint.
fn openmetrics(folder: &Path) -> std::path::PathBuf {
    let mut text = String::new();
    let families: [(&str, &str, ValueOf); 3] = [
        ("temporal_cloud_v1_action_limit", "", |_, _| 500.0),
        (
            "temporal_cloud_v1_total_action_count",
            ",is_background=\"false\",namespace_mode=\"active\"",
            |served, _| f64::from(served) / 60.0,
        ),
        (
            "temporal_cloud_v1_total_action_throttled_count",
            ",is_background=\"false\",namespace_mode=\"active\"",
            |_, throttled| f64::from(throttled) / 60.0,
        ),
    ];
    let namespaces = recorded();
    for (family, labels, value) in families {
        writeln!(text, "# TYPE {family} gauge").expect("text");
        for namespace in &namespaces {
            for (minute, served, throttled) in &namespace.minutes {
                let (value, seconds) = (value(*served, *throttled), minute * 60);
                writeln!(
                    text,
                    "{family}{{temporal_namespace=\"{}\",region=\"aws-us-east-1\"{labels}}} {value} {seconds}",
                    namespace.name
                )
                .expect("text");
            }
        }
    }
    text.push_str("# EOF\n");
    let path = folder.join("month.om");
    std::fs::write(&path, text).expect("a file");
    path
}

#[test]
fn a_month_in_a_real_prometheus_is_scored_for_every_namespace() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let file = openmetrics(folder.path());
    let flags = ["--storage.tsdb.retention.time=100y"];
    let starting = Prometheus::start_filled("global: {}\n", &flags, Some(&file));
    let Some(prometheus) = runtime.block_on(starting) else {
        return;
    };
    let url = prometheus.url();
    let environment = [("PROMETHEUS_URL", url.as_str())];
    let output = backtest(
        folder.path(),
        &["--from", "prometheus", "--to", END, "-o", "json"],
        &environment,
    );
    check(&document(&output), &String::from_utf8_lossy(&output.stderr));

    let output = backtest(
        folder.path(),
        &["--from", "prometheus", "--to", "2026-09-30T00:00:00Z"],
        &environment,
    );
    let nothing = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        nothing.contains("has no minutes from 2026-08-31 00:00 UTC to 2026-09-30 00:00 UTC"),
        "{nothing}"
    );
    assert!(prometheus.log().is_empty(), "{}", prometheus.log());
}

/// Two days of bursts and of a calm load, as the simulated cloud serves and reports them.
#[test]
fn two_days_in_the_prometheus_of_the_simulated_cloud_are_scored() {
    const DAYS: u16 = 2;
    let minutes = usize::from(DAYS) * 1440;
    let rows = (0..minutes).map(|minute| {
        if minute % 600 < 20 {
            "1500,1500\n"
        } else {
            "100,100\n"
        }
    });
    let rows: String = rows.collect();
    let asked = Trace::parse(&format!("aps,peak10s\n{rows}")).expect("a trace");
    let replayed = cloud_simulator::Trace::read(format!("aps,peak10s\n{rows}").as_bytes()).expect("a trace");
    let account = cloud_simulator::Account::new(
        "a1b2c",
        vec![
            NamespaceSetup::new("bursts", SimulatedLoad::Replay(replayed.into())),
            NamespaceSetup::new("calm", SimulatedLoad::Steady(20.0)),
        ],
    );
    let world = World::new(SimulatorOptions {
        speed: 0.0,
        start: END.parse().expect("a time"),
        past_minutes: DAYS * 1440,
        ..SimulatorOptions::new(account)
    });
    let url = world.cloud.prometheus_url();
    let environment = [("PROMETHEUS_URL", url.as_str())];
    let arguments = ["--from", "prometheus", "--to", END, "--days", "2", "-o", "json"];
    let output = backtest(world.folder.path(), &arguments, &environment);
    let document = document(&output);
    let namespaces = document["namespaces"].as_array().expect("namespaces");
    assert_eq!(namespaces.len(), 2, "{namespaces:?}");
    let bursts = &namespaces[0];
    assert_eq!(bursts["namespace"], "bursts.a1b2c", "most to save, so first");
    // The newest available minute began three minutes ago.
    assert_eq!(bursts["known_minutes"], minutes - 2);
    let rebuilt = bursts["rebuilt_share"].as_f64().expect("a share");
    assert!((0.05..0.2).contains(&rebuilt), "{rebuilt}");
    assert_eq!(namespaces[1]["rebuilt_share"], 0.0);
    // The original demand is reconstructed.
    let settings = Settings::for_trace(&asked);
    let price = capacity_engine::ActionPrice::flat(capacity_engine::PricePerMillion::FIRST_TIER);
    let (score, _) = run_recorded(&asked, Contender::OnDemand, &settings);
    let expected = score.dollars(&price, 1000).total.to_string();
    let expected: f64 = expected.parse().expect("a number");
    let found = total(&document, "bursts.a1b2c", "on-demand");
    assert!(
        (found - expected).abs() < 0.1 * expected,
        "{found} found, {expected} expected"
    );
    let requests = world.cloud.requests();
    assert!(requests.contains_key("POST /api/v1/series"), "{requests:?}");
}

#[test]
fn without_a_source_the_error_names_the_sources() {
    let folder = tempfile::tempdir().expect("a folder");
    for (arguments, expected) in [
        (
            &[][..],
            "error: there is no load to replay: add `--from ledger` (LEDGER_URL) or `--from prometheus`",
        ),
        (
            &["--days", "30"],
            "error: --days selects a part of what a ledger or Prometheus has recorded: add `--from ledger`",
        ),
        (
            &["--to", "2026-11-25", "load.csv"],
            "error: --to selects a part of what",
        ),
    ] {
        let output = backtest(folder.path(), arguments, &[]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.starts_with(expected), "{told}");
    }
}

/// The clock of a simulated cloud may run ahead of this machine's.
#[test]
fn minutes_ahead_of_this_machines_clock_count_until_now() {
    let folder = tempfile::tempdir().expect("a folder");
    let minute = (jiff::Timestamp::now().as_second().div_euclid(60) + 9 * 60) * 60;
    let now = jiff::Timestamp::from_second(minute).expect("a time");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let ledger = Ledger::open(&Location::Sqlite(folder.path().join("ledger.db"))).await;
        let ledger = ledger.expect("opened");
        for minute in 0..120 {
            let minute = Minute {
                minute: now - jiff::SignedDuration::from_mins(120 - minute),
                complete: true,
                source: "metrics".to_owned(),
                samples: vec![NamespaceMinute {
                    namespace: "orders.a1b2c".into(),
                    reported: true,
                    unread: [false; 3],
                    served: [10_000_000, 0, 0],
                    throttled: [0; 3],
                    limits: [Some(500_000_000), None, None],
                    envelopes: [Some(500_000_000), None, None],
                }],
            };
            ledger
                .record_minute("a1b2c", &minute, now)
                .await
                .expect("recorded");
        }
    });
    let arguments = ["--from", "ledger", "-o", "json"];
    let shown = document(&backtest(
        folder.path(),
        &arguments,
        &[("LEDGER_URL", "ledger.db")],
    ));
    assert_eq!(shown["namespaces"][0]["known_minutes"], 120, "{shown}");
}
