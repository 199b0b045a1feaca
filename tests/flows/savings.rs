//! Tests the cost and savings in a simulated week, traced to the ledger and reconciled with the bill.

use std::collections::BTreeMap;

use capacity_autopilot::{
    Autopilot, CarryOut, LedgerHandle, Plan, Sampler, Scope, Stop, record_changes, record_evaluation,
};
use capacity_ledger::{HistoryFilter, Ledger, Location};
use capacity_report::{Explanation, Figure, Query, Report, digest, fetch_bill, gather, reconcile};
use cloud_ops_client::{Client, Config};
use cloud_simulator::{Account, Load, NamespaceSetup, RunningSimulator, SimulatorOptions};
use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;

use crate::harness;
use crate::memory::strict;

const START: &str = "2026-11-09T00:00:00Z";

/// Minute of the hour at which the newest metrics show a burst: bursts last from minute 0 to 9, and metrics are three
/// minutes late.
const IN_A_BURST: i64 = 5;

fn start() -> Timestamp {
    START.parse().expect("a time")
}

/// Returns four namespaces: bursts above the on-demand limit, small bursts, quiet, and forgotten capacity.
fn account() -> Account {
    let bursts = |base: f64, burst: f64| Load::Bursty {
        base,
        burst,
        minutes: 10,
    };
    Account::new(
        "a1b2c",
        vec![
            NamespaceSetup::new("bulk", bursts(5.0, 320.0)),
            NamespaceSetup::new("checkout", bursts(150.0, 2_500.0)),
            NamespaceSetup::new("crm", Load::Steady(3.0)),
            NamespaceSetup::new("orders", Load::Steady(0.01)).with_trus(4),
        ],
    )
}

/// A simulated cloud whose clock the test advances minute by minute.
struct Life {
    cloud: RunningSimulator,
    autopilot: Autopilot,
    location: Location,
    _folder: tempfile::TempDir,
}

impl Life {
    async fn new(account: Account) -> Self {
        let options = SimulatorOptions {
            speed: 0.0,
            start: start(),
            scrapes_per_hour: None,
            billing_report_lag: SignedDuration::ZERO,
            ..SimulatorOptions::new(account)
        };
        let cloud = cloud_simulator::start(options).await.expect("started");
        let folder = tempfile::tempdir().expect("a folder");
        let location = Location::Sqlite(folder.path().join("ledger.db"));
        let autopilot = harness::autopilot_within(&cloud, strict(), 1_000_000)
            .with_ledger(LedgerHandle::at(location.clone()));
        Self {
            cloud,
            autopilot,
            location,
            _folder: folder,
        }
    }

    /// Samples every minute up to a time, and evaluates and applies in the first burst and at minute 45 of
    /// each hour. Calls `meanwhile` in each minute, which returns whether to sample it.
    async fn until(&self, end: Timestamp, mut meanwhile: impl FnMut(i64) -> bool) {
        let mut sampler = Sampler::new(&self.autopilot);
        while self.cloud.now() < end {
            self.next_minute();
            let minute = self.minutes();
            if !meanwhile(minute) {
                continue;
            }
            sample(&mut sampler).await;
            if minute == IN_A_BURST || minute % 60 == 45 {
                self.apply(&mut sampler).await;
            }
        }
    }

    fn minutes(&self) -> i64 {
        self.cloud.now().duration_since(start()).as_secs().div_euclid(60)
    }

    /// Advances to the next full minute.
    fn next_minute(&self) {
        let into = self.cloud.now().as_second().rem_euclid(60);
        self.cloud.advance(SignedDuration::from_secs(60 - into));
    }

    /// Makes a plan, carries it out while minutes pass and are sampled, and records both.
    async fn apply(&self, sampler: &mut Sampler<'_>) {
        let evaluation = self.autopilot.evaluate(&Scope::All).await.expect("evaluated");
        let mut plan = Plan::of(&evaluation);
        let ledger = LedgerHandle::at(self.location.clone());
        record_evaluation(&ledger, &plan, false, "worker-1")
            .await
            .expect("recorded");
        let orders = plan.orders();
        if orders.is_empty() {
            return;
        }
        let how = CarryOut::new();
        let stop = Stop::new();
        let mut work = std::pin::pin!(self.autopilot.carry_out(orders, how, &stop, |_| ()));
        let results = loop {
            tokio::select! {
                results = &mut work => break results,
                () = tokio::time::sleep(std::time::Duration::from_millis(30)) => {
                    let before = self.minutes();
                    self.cloud.advance(SignedDuration::from_secs(15));
                    if self.minutes() > before {
                        sample(sampler).await;
                    }
                }
            }
        };
        assert!(results.iter().all(|it| it.outcome.is_success()), "{results:?}");
        plan.changes = Some(results.clone());
        let now = self.cloud.now();
        record_changes(
            &ledger,
            plan.account.as_deref(),
            &plan.plan_id,
            &results,
            now,
            "worker-1",
        )
        .await
        .expect("recorded");
    }

    async fn ledger(&self) -> Ledger {
        Ledger::open_read_only(&self.location).await.expect("opened")
    }

    fn billing_client(&self) -> Client {
        let mut config =
            Config::try_new(&self.cloud.ops_url(), self.cloud.billing_key().into()).expect("valid");
        config.requests_per_second = 1_000;
        Client::new(config)
    }

    async fn report(&self, from: Timestamp, to: Timestamp) -> Report {
        let query = Query {
            from: Some(from),
            to: Some(to),
            ..Query::last_week(self.cloud.now())
        };
        let gathered = gather(&self.ledger().await, &query, |_| ())
            .await
            .expect("gathered");
        let price = strict().prices;
        Report::of(gathered, &price, |_, _| ())
    }

    async fn reconciled(&self, report: &Report) -> capacity_report::Reconciliation {
        let (client, now) = (self.billing_client(), self.cloud.now());
        let fetched = fetch_bill(&client, report.from, report.to, now, |_| ())
            .await
            .expect("fetched");
        reconcile(report, &fetched.billing_report_id, &fetched.bill, fetched.made).expect("compared")
    }
}

async fn sample(sampler: &mut Sampler<'_>) {
    let round = sampler.round().await;
    assert_eq!(round.problem, None);
}

fn dollars(text: &str) -> Decimal {
    text.parse().expect("dollars")
}

/// Returns the cost of unused minimums on the bill, by namespace.
fn idle_on_the_bill(cloud: &RunningSimulator, report: &Report) -> BTreeMap<String, Decimal> {
    let hours = report.from.as_second() / 3_600..report.to.as_second() / 3_600;
    let cost = |bills: BTreeMap<i64, cloud_simulator::HourBill>| {
        let in_range = bills.iter().filter(|(hour, _)| hours.contains(hour));
        in_range
            .map(|(_, bill)| bill.shortfall_cost(Decimal::from(50)))
            .sum()
    };
    cloud
        .bills()
        .into_iter()
        .map(|(name, bills)| (name, cost(bills)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulated_week_shows_the_saving_and_reconciles_with_the_bill_to_the_cent() {
    let life = Life::new(account()).await;
    let end = start() + SignedDuration::from_hours(7 * 24);
    // The newest minutes appear three minutes late.
    life.until(end + SignedDuration::from_mins(5), |minute| {
        // On the third night, someone sets six TRUs for a test and forgets them. The autopilot releases them
        // a few hours later.
        if minute == 2 * 24 * 60 + 130 {
            assert!(life.cloud.set_capacity_by_others("orders.a1b2c", 6));
        }
        true
    })
    .await;
    // The bill covers hours up to a day ago.
    life.cloud.advance(SignedDuration::from_hours(25));

    let report = life.report(start(), end).await;
    let total = &report.total;
    assert_eq!(
        (
            report.hours,
            report.minutes_without_metrics,
            total.missing_minutes
        ),
        (168, 0, 0)
    );
    assert_eq!(total.hours_capacity_unknown, 0);

    // Equal to the cent to the cloud's own count, for each namespace and in total.
    let on_the_bill = idle_on_the_bill(&life.cloud, &report);
    for it in &report.namespaces {
        let difference = (it.figures.idle_usd - on_the_bill[&it.namespace]).abs();
        assert!(
            difference < dollars("0.005"),
            "{}: {} {}",
            it.namespace,
            it.figures.idle_usd,
            on_the_bill[&it.namespace]
        );
    }
    let bill = life.reconciled(&report).await;
    assert!(bill.is_equal, "{:?}", bill.differences);
    assert_eq!((bill.hours_not_billed, bill.unexplained), (0, 0));
    assert!(
        bill.difference_usd.abs() < dollars("0.01"),
        "{}",
        bill.difference_usd
    );
    assert_eq!(bill.namespaces.iter().map(|it| it.hours).sum::<i64>(), 4 * 168);

    // Forgotten capacity was released twice. The alternatives show what that saved.
    let figures = |name: &str| {
        let mut namespaces = report.namespaces.iter();
        &namespaces.find(|it| it.namespace == name).expect("there").figures
    };
    let orders = figures("orders.a1b2c");
    assert_eq!((orders.hours_provisioned, orders.changes), (7, 2), "{orders:?}");
    assert_eq!(
        orders.idle_usd.round_dp(1),
        dollars("558.0"),
        "two hours of 4 TRUs and five of 6"
    );
    let fixed = orders.alternative("static-peak").expect("replayed");
    assert_eq!(
        (fixed.idle_actions, fixed.changes),
        (168 * 360_000 - orders.used_actions, 0)
    );
    assert_eq!(fixed.saved_usd, fixed.idle_usd - orders.idle_usd);
    assert!(fixed.saved_usd > dollars("2400"), "{}", fixed.saved_usd);
    let checkout = figures("checkout.a1b2c");
    assert_eq!(checkout.changes, 1);
    let on_demand = checkout.alternative("on-demand").expect("replayed");
    assert_eq!(on_demand.idle_usd, Decimal::ZERO);
    assert!(
        on_demand.throttled_minutes > 20 * checkout.throttled_minutes && checkout.throttled_minutes > 0,
        "{} instead of {}",
        on_demand.throttled_minutes,
        checkout.throttled_minutes
    );
    let sum: Decimal = report.namespaces.iter().map(|it| it.figures.idle_usd).sum();
    assert_eq!(sum, total.idle_usd);
    // Other people's changes were paid for, but are not among our changes.
    assert_eq!(report.changes_by.len(), 1);
    assert_eq!(
        (&*report.changes_by[0].by, &*report.changes_by[0].outcome),
        ("worker-1", "changed")
    );
    assert_eq!(report.evaluations, 169);

    every_figure_is_traced(&life, &report).await;

    let message = digest(&report);
    assert!(
        message
            .title
            .contains("Capacity of account a1b2c, 2026-11-09 to 2026-11-16: $"),
        "{}",
        message.title
    );
    assert!(
        message
            .sections
            .iter()
            .any(|it| it.lines.iter().any(|line| line.contains("static-peak: $")))
    );
}

/// Follows the traces into the ledger and recalculates the figures.
async fn every_figure_is_traced(life: &Life, report: &Report) {
    let ledger = life.ledger().await;
    let figures = report.figures();
    let of = |namespace: &str, name: &str| -> &Figure {
        let mut figures = figures.iter();
        figures
            .find(|it| it.namespace == namespace && it.figure == name)
            .unwrap_or_else(|| panic!("{namespace} {name}"))
    };
    let minutes = ledger
        .window("a1b2c", report.from, report.to)
        .await
        .expect("read");
    let history = ledger
        .history(Some("a1b2c"), &HistoryFilter::default())
        .await
        .expect("read");
    for it in &report.namespaces {
        let (name, its) = (it.namespace.as_str(), &it.figures);
        let samples = |from: Timestamp, to: Timestamp| {
            let minutes = minutes
                .iter()
                .filter(move |minute| (from..=to).contains(&minute.minute));
            minutes.flat_map(|minute| minute.samples.iter().filter(|it| &*it.namespace == name))
        };
        // Money: each hour is calculated from its minutes.
        let idle = of(name, "idle_usd");
        let mut usd = Decimal::ZERO;
        for row in &idle.rows {
            assert_eq!(row.table, "capacity_minutes");
            let (from, to) = row.minutes[0];
            let served: u64 = samples(from, to).map(|sample| sample.served[0] * 60).sum();
            let capacity = row.capacity.as_deref().expect("told");
            let trus: u64 = capacity
                .split_once(' ')
                .expect("a size")
                .0
                .parse()
                .expect("a size");
            let short = ((trus - 1) * 360_000).saturating_sub(served / 1_000_000);
            let expected = Decimal::from(short) * Decimal::from(50) / Decimal::from(1_000_000);
            assert_eq!(row.usd, Some(expected.normalize()), "{row:?}");
            usd += expected;
        }
        assert_eq!(
            (idle.value.parse::<Decimal>().expect("a number"), its.idle_usd),
            (usd, usd)
        );
        // Minutes.
        let throttled = of(name, "throttled_minutes");
        let listed: i64 = throttled.rows[0]
            .minutes
            .iter()
            .map(|(first, last)| last.duration_since(*first).as_mins() + 1)
            .sum();
        let counted = samples(report.from, report.to).filter(|it| it.throttled.iter().any(|rate| *rate > 0));
        assert_eq!(
            (listed, counted.count()),
            (its.throttled_minutes, usize::try_from(listed).expect("small"))
        );
        // Changes and decisions.
        let changes = of(name, "changes");
        let recorded = ledger
            .changes("a1b2c", report.from, report.to)
            .await
            .expect("read");
        for row in &changes.rows {
            assert!(
                recorded
                    .iter()
                    .any(|it| it.operation_id == row.keys["operation_id"]),
                "{row:?}"
            );
        }
        assert_eq!(
            changes.rows.len(),
            recorded.iter().filter(|it| it.namespace == name).count()
        );
        for figure in figures
            .iter()
            .filter(|it| it.namespace == name && it.figure.starts_with("reasons:"))
        {
            let keys = &figure.rows[0].keys;
            let decided = history.iter().filter(|row| {
                row.decision.namespace == name
                    && row.decision.action == keys["action"]
                    && row.decision.reason_code == keys["reason_code"]
                    && (report.from.as_millisecond()..report.to.as_millisecond())
                        .contains(&row.evaluated_at_ms)
            });
            assert_eq!(decided.count().to_string(), figure.value, "{}", figure.figure);
        }
        for policy in ["on-demand", "static-peak", "threshold", "break-even"] {
            let figure = of(name, &format!("alternatives:{policy}"));
            assert_eq!(figure.rows[0].minutes.len(), 1);
            assert!(figure.formula.contains(policy), "{}", figure.formula);
        }
    }
    assert_eq!(of("", "evaluations").value, report.evaluations.to_string());
    assert!(of("", "minutes_without_metrics").rows[0].minutes.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_without_metrics_explain_the_excess_of_the_bill() {
    let life = Life::new(account()).await;
    let end = start() + SignedDuration::from_hours(4);
    // No samples for twenty minutes of the third hour.
    life.until(end + SignedDuration::from_mins(5), |minute| {
        !(140..160).contains(&minute)
    })
    .await;
    life.cloud.advance(SignedDuration::from_hours(25));
    let report = life.report(start(), end).await;
    assert_eq!(report.minutes_without_metrics, 20);
    assert_eq!(report.total.missing_minutes, 4 * 20);
    assert!(
        report.notes[0].contains("80 of 960 namespace minutes have no metrics"),
        "{:?}",
        report.notes
    );
    let bill = life.reconciled(&report).await;
    assert!(!bill.is_equal);
    assert_eq!(bill.unexplained, 0, "{:?}", bill.differences);
    let checkout = bill
        .namespaces
        .iter()
        .find(|it| it.namespace == "checkout.a1b2c")
        .expect("there");
    assert_eq!(
        (checkout.hours_that_differ, &*checkout.explained_by),
        (1, &[Explanation::MissingMinutes][..])
    );
    assert!(checkout.difference_usd > Decimal::ZERO);
    // Idle capacity is billed at its minimum even if minutes are missing.
    let orders = bill
        .namespaces
        .iter()
        .find(|it| it.namespace == "orders.a1b2c")
        .expect("there");
    assert_eq!(orders.hours_that_differ, 0, "{:?}", bill.differences);
}

#[tokio::test]
async fn a_bill_for_another_account_is_reported() {
    let life = Life::new(account()).await;
    let end = start() + SignedDuration::from_hours(2);
    life.until(end + SignedDuration::from_mins(5), |_| true).await;
    let report = life.report(start(), end).await;
    let options = SimulatorOptions {
        speed: 0.0,
        start: start(),
        billing_report_lag: SignedDuration::ZERO,
        ..SimulatorOptions::new(Account::new(
            "z9y8x",
            vec![NamespaceSetup::new("orders", Load::Steady(5.0))],
        ))
    };
    let other = cloud_simulator::start(options).await.expect("started");
    other.advance(SignedDuration::from_hours(30));
    let config = Config::try_new(&other.ops_url(), other.billing_key().into()).expect("valid");
    let fetched = fetch_bill(&Client::new(config), report.from, report.to, other.now(), |_| ()).await;
    let fetched = fetched.expect("fetched");
    let error =
        reconcile(&report, &fetched.billing_report_id, &fetched.bill, fetched.made).expect_err("refused");
    assert!(
        error
            .to_string()
            .contains("is for another account (namespace orders.z9y8x)"),
        "{error}"
    );
}
