//! Tests of how commands for an account use the ledger, and of what `doctor` reports about it.

use cloud_simulator::{Account, Faults, Load, NamespaceSetup, ScrapeJobFault, SimulatorOptions};
use serde_json::Value;

use crate::Book;
use crate::world::{World, errors, options, output};

#[test]
fn a_plan_reads_its_hours_from_the_ledger_and_shows_how_much_is_known() {
    let world = World::new(options());
    let with_ledger = |arguments: &[&str]| world.command(arguments).env("LEDGER_URL", "memory.db").assert();
    // `plan` reads and fills a ledger, and does not create one.
    let dry_run = ["apply", "--set", "DRY_RUN_MODE=true"];
    let first = output(&with_ledger(&dry_run).code(0));
    assert!(first.contains("usage: ledger, 1 of 60 minutes known"), "{first}");
    // Advance past the next full minute.
    world.cloud.advance(jiff::SignedDuration::from_mins(2));
    let plan: Value =
        serde_json::from_str(&output(&with_ledger(&["plan", "-o", "json"]).code(0))).expect("JSON");
    assert_eq!(plan["usage_window"], "ledger");
    let orders = plan["decisions"]
        .as_array()
        .and_then(|decisions| decisions.iter().find(|it| it["namespace"] == "orders.a1b2c"))
        .expect("decided");
    assert_eq!(orders["known_minutes"], 2, "{orders}");
    assert_eq!(
        orders["action"], "Disable",
        "DISABLE_ON_ESTIMATE=true releases on an estimate"
    );
    let strict = output(
        &world
            .command(&["plan", "orders", "-o", "json"])
            .env("LEDGER_URL", "memory.db")
            .env("DISABLE_ON_ESTIMATE", "false")
            .assert()
            .code(0),
    );
    assert!(strict.contains("estimate_only"), "{strict}");
}

#[test]
fn observing_collects_minutes_without_a_ledger_and_leaves_nothing_behind() {
    let world = World::new(options());
    let observed = world.run(&["plan", "--observe", "1s"]).code(0);
    // The number depends on the second at which the test starts, and may differ by namespace.
    let told = output(&observed);
    let known = told.split_once("usage: ledger, ").map(|(_, known)| known);
    assert!(
        known.is_some_and(|known| !known.starts_with('0') && known.contains(" of 60 minutes known")),
        "{told}"
    );
    assert!(errors(&observed).contains("observing for 1 s"));
    assert_eq!(
        std::fs::read_dir(world.folder.path()).expect("readable").count(),
        0
    );
    let refused = world.run(&["plan", "--observe", "3h"]);
    assert!(
        errors(&refused).contains("up to 2h, such as 15m"),
        "{}",
        errors(&refused)
    );
}

#[test]
fn doctor_checks_ledger_sampling_and_prometheus() {
    let world = World::new(options());
    let good = output(
        &world
            .command(&["doctor"])
            .env("LEDGER_URL", "memory.db")
            .assert()
            .code(0),
    );
    assert!(
        good.contains("there is no ledger at memory.db") && good.contains("everything, every 70 s: 51 of 60"),
        "{good}"
    );
    let bad = world
        .command(&["doctor"])
        .env("METRICS_SOURCE", "prometheus")
        .env("PROMETHEUS_URL", "http://127.0.0.1:1")
        .env_remove("TEMPORAL_CLOUD_METRICS_API_KEY")
        .assert()
        .code(1);
    assert!(output(&bad).contains("PROMETHEUS_URL"), "{}", output(&bad));
    let missing = world
        .command(&["doctor"])
        .env("METRICS_SOURCE", "prometheus")
        .assert()
        .code(1);
    assert!(
        errors(&missing).contains("PROMETHEUS_URL: it is not set"),
        "{}",
        errors(&missing)
    );
}

/// `doctor` also reports problems of the scrape job, and kinds of throttling that this version does not support.
#[test]
fn doctor_reports_what_a_scrape_job_changes_and_unknown_throttling() {
    let world = World::new(SimulatorOptions {
        past_minutes: 75,
        ..options()
    });
    let doctor = |faults: Faults| {
        world.cloud.set_faults(faults);
        let assert = world
            .command(&["doctor"])
            .env("METRICS_SOURCE", "prometheus")
            .env("PROMETHEUS_URL", world.cloud.prometheus_url())
            .assert();
        output(&assert)
    };
    let job = |scrape_job: ScrapeJobFault| Faults {
        scrape_job,
        ..Faults::default()
    };
    let text = doctor(Faults::default());
    assert!(text.contains("adds no labels"), "{text}");
    assert!(text.contains("no unknown kinds of throttling"), "{text}");
    let text = doctor(job(ScrapeJobFault::TwoPods));
    assert!(text.contains("ignored: cluster, job, pod"), "{text}");
    let text = doctor(job(ScrapeJobFault::ScrapeTimes));
    assert!(text.contains("honor_timestamps: true"), "{text}");
    let text = doctor(job(ScrapeJobFault::OverwrittenNamespace));
    assert!(text.contains("honor_labels: true"), "{text}");
    let text = doctor(Faults {
        unknown_throttling: Some((
            "namespace_bandwidth_throttled_bytes".to_owned(),
            "orders".to_owned(),
        )),
        ..Faults::default()
    });
    assert!(
        text.contains("temporal_cloud_v1_namespace_bandwidth_throttled_bytes"),
        "{text}"
    );
}

/// The sampler reads provisioned namespaces completely, so they count toward the budget that `doctor`
/// reports.
#[test]
fn doctor_counts_provisioned_namespaces_in_the_budget() {
    let namespaces =
        (0..1_000).map(|number| NamespaceSetup::new(format!("n{number:04}"), Load::Idle).with_trus(2));
    let mut all = options();
    all.account = Account::new("a1b2c", namespaces.collect());
    let world = World::new(all);
    let assert = world
        .command(&["doctor"])
        .env("LEDGER_URL", "memory.db")
        .assert()
        .code(0);
    let text = output(&assert).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(!text.contains("METRICS_REQUESTS_PER_HOUR=107"), "{text}");
    assert!(
        text.contains("the endpoint does not allow enough requests"),
        "{text}"
    );
}

/// Simulates several hours of a day at high speed with the whole stack: sampled, evaluated and announced.
#[cfg(unix)]
#[test]
fn a_simulated_day_at_high_speed_is_recorded_completely() {
    const SKIP: &str = "TEMPORAL_CAPACITY_SKIP_SERVER_TESTS";
    if std::env::var(SKIP).as_deref() == Ok("1") {
        return;
    }
    let book = Book::new();
    let file = book.0.path().join("ledger.db");
    let mut dev = std::process::Command::new(env!("CARGO_BIN_EXE_temporal-capacity"))
        .args(["dev", "--speed", "300", "--ledger"])
        .arg(&file)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("started");
    let begun = std::time::Instant::now();
    let evaluated = || -> Vec<Value> {
        if !file.exists() {
            return Vec::new();
        }
        let told = book.run(&["history", "checkout.a1b2c", "-o", "json", "--limit", "0"], "");
        serde_json::from_str(&output(&told)).unwrap_or_default()
    };
    // Evaluations triggered by sampling run at any minute.
    let scheduled = |day: &[Value]| -> Vec<i64> {
        let seconds = day
            .iter()
            .filter_map(|row| row["evaluated_at_ms"].as_i64())
            .map(|at| at / 1_000);
        let mut hours: Vec<i64> = seconds
            .filter(|at| at / 60 % 60 == 45)
            .map(|at| at / 3_600)
            .collect();
        hours.dedup();
        hours
    };
    while scheduled(&evaluated()).len() < 4 {
        assert!(begun.elapsed().as_secs() < 150, "{:?}", evaluated());
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    let interrupted = std::process::Command::new("kill")
        .args(["-INT", &dev.id().to_string()])
        .status();
    assert!(interrupted.expect("sent").success());
    assert_eq!(dev.wait().expect("ended").code(), Some(0));

    let day = evaluated();
    let hours = scheduled(&day);
    assert!(
        hours.windows(2).all(|pair| pair[1] - pair[0] == 1),
        "no hour is left out: {hours:?}"
    );
    let changes = book.told(&["history", "--changes", "-o", "json", "--limit", "0"]);
    let changes: Vec<Value> = serde_json::from_str(&changes).expect("JSON");
    assert_eq!(
        changes.len(),
        4,
        "one scaled up, three released, none of it twice: {changes:?}"
    );
    assert!(
        changes.iter().all(|change| change["outcome"] == "changed"),
        "{changes:?}"
    );
    let known = day.last().map(|row| row["known_minutes"].clone());
    assert!(known.as_ref().and_then(Value::as_i64) >= Some(48), "{known:?}");
    book.run(&["ledger", "verify"], "").code(0);
}
