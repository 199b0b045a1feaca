//! Tests that a week with `POLICY=break-even` on the worker costs what the backtest predicts. Worker,
//! Temporal server, schedule and ledger run on the simulated cloud's clock, which advances by a minute as
//! soon as all work caused by the previous minute is done.
//!
//! The test compares the bill, unused minimums, delays and changes. `docs/backtest.md` shows the figures and
//! explains the differences.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use capacity_backtest::{Cadence, Contender, Course, Score, Settings, Trace, run, run_recorded};
use capacity_engine::break_even::Parameters;
use capacity_engine::{ActionPrice, PolicyRef, PricePerMillion, Rules};
use capacity_ledger::{HistoryFilter, Ledger, Location};
use cloud_simulator::{Account, HourBill, Load, NamespaceSetup};
use jiff::{SignedDuration, Timestamp};

use crate::harness::{Setup, with_worker};
use crate::stepped;

/// Minutes of history that the simulated cloud starts with.
const PAST: usize = 8;
const HOUR: usize = 60;
/// Cost of delaying one action by one minute, in dollars, at a delay value of 1.
const DELAY_PRICE: f64 = 50.0 / 1e6;
const MINUTE: SignedDuration = SignedDuration::from_mins(1);
/// The loads begin at a full hour, plus the minutes of history that the cloud starts with.
const START: &str = "2026-11-20T00:08:00Z";

/// A namespace with its load and the backtest's results.
struct Modeled {
    name: &'static str,
    hours: usize,
    setup: NamespaceSetup,
    score: Score,
    course: Course,
    /// Total minutes that actions would be delayed with on-demand only.
    unhelped: i64,
}

impl Modeled {
    /// Takes hours of a recorded load, starting at the beginning of a day. Adds an idle hour before them, so
    /// that both have samples from before the load begins.
    fn of(name: &'static str, day: usize, hours: usize) -> Self {
        let path = format!("{}/../fixtures/traces/{name}.csv", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).expect("a fixture");
        let mut lines = text.lines();
        let header = lines.next().expect("a header");
        let recorded = lines.skip(day * 24 * HOUR).take(hours * HOUR);
        let rows: Vec<&str> = std::iter::repeat_n("0,0", HOUR).chain(recorded).collect();
        assert_eq!(rows.len(), (hours + 1) * HOUR, "{path} is long enough");
        let text = format!("{header}\n{}\n", rows.join("\n"));
        let trace = Trace::parse(&text).expect("a trace");
        let settings = Settings {
            cadence: Cadence::HourEndAndAlerts,
            warmup_days: 0,
            ..Settings::for_trace(&trace)
        };
        let (score, course) = run_recorded(&trace, Contender::BreakEven, &settings);
        let unhelped = run(&trace, Contender::OnDemand, &settings).action_minutes();
        let replayed = cloud_simulator::Trace::read(text.as_bytes()).expect("a trace");
        Self {
            name,
            hours,
            // The backtest models only the limit on actions.
            setup: NamespaceSetup::new(name, Load::Replay(Arc::new(replayed))).with_per_action(0.1, 0.1),
            score,
            course,
            unhelped,
        }
    }

    /// Returns the actions served and the minimum of each hour in actions, except for the idle hour.
    fn bill(&self) -> Bill {
        let hours = self.course.served.chunks(HOUR).zip(self.course.trus.chunks(HOUR));
        let hours = hours.skip(1).map(|(served, trus)| {
            let highest = trus.iter().max().copied().unwrap_or(0);
            (
                served.iter().map(|served| u64::from(*served)).sum(),
                360_000 * u64::from(highest.saturating_sub(1)),
            )
        });
        Bill::of(hours)
    }
}

/// Billed actions: those served, and the unused part of minimums.
#[derive(Debug, Clone, Copy, Default)]
struct Bill {
    served: u64,
    topup: u64,
}

impl Bill {
    fn of(hours: impl Iterator<Item = (u64, u64)>) -> Self {
        hours.fold(Self::default(), |bill, (served, minimum)| Self {
            served: bill.served + served,
            topup: bill.topup + minimum.saturating_sub(served),
        })
    }

    fn simulated(bills: &BTreeMap<i64, HourBill>, hours: usize) -> Self {
        let hours = bills.values().skip(1).take(hours);
        Self::of(hours.map(|bill| (bill.actions(), bill.minimum())))
    }

    fn plus(self, other: Self) -> Self {
        Self {
            served: self.served + other.served,
            topup: self.topup + other.topup,
        }
    }
}

fn dollars(actions: u64) -> f64 {
    let price = ActionPrice::flat(PricePerMillion::FIRST_TIER);
    price.of(actions).to_string().parse().expect("a number")
}

/// The results of the simulation.
struct Lived {
    bills: BTreeMap<String, BTreeMap<i64, HourBill>>,
    changes: BTreeMap<String, usize>,
    action_minutes: BTreeMap<String, f64>,
    /// The decisions: namespace, minute of the load, and a line of output.
    decided: Vec<(String, i64, String)>,
}

#[expect(clippy::print_stderr, reason = "a long run shows its progress")]
async fn live(test: &str, modeled: &[Modeled], hours: usize) -> Lived {
    let folder = tempfile::tempdir().expect("a folder");
    let location = Location::Sqlite(folder.path().join("ledger.db"));
    let account = Account::new("a1b2c", modeled.iter().map(|it| it.setup.clone()).collect());
    let setup = Setup {
        account,
        rules: Rules::default().with_policy(PolicyRef::break_even(Parameters::default())),
        ledger: Some(location.clone()),
        sampled: true,
        speed: 0.0,
        start: Some(START.parse().expect("a time")),
        // In effect two minutes after the request, as in the backtest.
        operation_lag: MINUTE,
        capacity_lag: MINUTE,
        ..Setup::default()
    };
    let begun = Instant::now();
    let mut lived = None;
    with_worker(test, setup, async |world| {
        stepped::begin(world).await;
        for minute in PAST..(hours + 1) * HOUR {
            stepped::live_a_minute(world).await;
            if minute % HOUR == HOUR - 1 {
                eprintln!(
                    "{} h in {:.0} s",
                    minute / HOUR + 1,
                    begun.elapsed().as_secs_f64()
                );
            }
        }
        let mut changes: BTreeMap<String, usize> = BTreeMap::new();
        for change in world.cloud.changes() {
            *changes.entry(change.namespace).or_default() += 1;
        }
        let waited = world.cloud.namespaces().into_iter();
        lived = Some(Lived {
            bills: world.cloud.bills(),
            changes,
            action_minutes: waited.map(|it| (it.id, it.action_minutes)).collect(),
            decided: Vec::new(),
        });
        assert_eq!(world.cloud.incidents(), []);
    })
    .await;
    let mut lived = lived.expect("lived");
    let ledger = Ledger::open(&location).await.expect("opened");
    let rows = ledger
        .policy_decisions(Some("a1b2c"), &HistoryFilter::default())
        .await
        .expect("read");
    let first: i64 = START.parse::<Timestamp>().expect("a time").as_second() / 60 - 8;
    lived.decided = rows
        .into_iter()
        .map(|row| {
            let minute = row.evaluated_at_ms / 60_000 - first;
            let it = row.decision;
            let line = format!(
                "{} {:?} to {:?}: {}",
                it.action, it.current_trus, it.wanted_trus, it.reason
            );
            (it.namespace, minute, line)
        })
        .collect();
    lived
}

/// Lists the changes of a namespace in the backtest and in the product, in chronological order.
fn side_by_side(load: &Modeled, lived: &Lived) -> String {
    let id = format!("{}.a1b2c", load.name);
    let modeled = load.course.decisions.iter().map(|it| {
        let line = format!("backtest: {} to {}: {}", it.from, it.to, it.reason);
        (it.minute, line)
    });
    let ours = lived
        .decided
        .iter()
        .filter(|(name, _, line)| *name == id && (!line.starts_with("Keep") || line.contains("throttled")));
    let ours = ours.map(|(_, minute, line)| (*minute, format!("product:  {line}")));
    let mut all: Vec<(i64, String)> = modeled.chain(ours).collect();
    all.sort_by_key(|(minute, _)| *minute);
    let lines = all.iter().map(|(minute, line)| {
        format!(
            " {} day {} {:02}:{:02} {line}\n",
            load.name,
            minute / 1440 + 1,
            minute % 1440 / 60,
            minute % 60
        )
    });
    lines.collect()
}

/// Compares the results and returns the table shown in the documentation.
fn compare(modeled: &[Modeled], lived: &Lived) -> String {
    let mut table = String::from(
        " namespace            bill $  backtest   waste $  backtest   delay $  backtest  changes  backtest\n",
    );
    let mut line = |name: &str, sides: [Side; 2]| {
        write!(table, " {name:<16}").expect("text");
        let [ours, theirs] = sides;
        for pair in [
            [ours.bill(), theirs.bill()],
            [ours.waste(), theirs.waste()],
            [ours.delay(), theirs.delay()],
        ] {
            write!(table, "{:>10.2}{:>10.2}", pair[0], pair[1]).expect("text");
        }
        writeln!(table, "{:>9}{:>10}", ours.changes, theirs.changes).expect("text");
    };
    let mut all = [Side::default(); 2];
    let mut unhelped = 0;
    for load in modeled {
        let id = format!("{}.a1b2c", load.name);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let theirs = Side {
            actions: load.bill(),
            waited: load.score.action_minutes() as f64,
            changes: usize::try_from(load.score.changes).expect("not negative"),
        };
        let ours = Side {
            actions: Bill::simulated(&lived.bills[&id], load.hours),
            waited: lived.action_minutes[&id],
            changes: lived.changes.get(&id).copied().unwrap_or(0),
        };
        line(load.name, [ours, theirs]);
        all = [all[0].plus(ours), all[1].plus(theirs)];
        unhelped += load.unhelped;
    }
    line("all", all);
    let [ours, theirs] = all;
    let apart = |one: f64, other: f64| (one - other).abs() / other;
    assert!(
        apart(ours.bill(), theirs.bill()) <= 0.05,
        "the bills are more than 5 % apart:\n{table}"
    );
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let served = [ours, theirs].map(|side| side.actions.served as f64);
    assert!(apart(served[0], served[1]) <= 0.01, "actions are lost:\n{table}");
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let unhelped = unhelped as f64 * DELAY_PRICE;
    assert!(
        ours.waste() + ours.delay() < unhelped,
        "${unhelped:.2} without any change:\n{table}"
    );
    table
}

/// The cost of a namespace in the product or in the backtest.
#[derive(Debug, Clone, Copy, Default)]
struct Side {
    actions: Bill,
    /// Total minutes that actions were delayed.
    waited: f64,
    changes: usize,
}

impl Side {
    fn bill(self) -> f64 {
        dollars(self.actions.served + self.actions.topup)
    }

    fn waste(self) -> f64 {
        dollars(self.actions.topup)
    }

    fn delay(self) -> f64 {
        self.waited * DELAY_PRICE
    }

    fn plus(self, other: Self) -> Self {
        Self {
            actions: self.actions.plus(other.actions),
            waited: self.waited + other.waited,
            changes: self.changes + other.changes,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "seven simulated days take 10 to 25 minutes; .ci/full runs it"]
async fn seven_days_of_thirteen_loads_are_billed_as_the_backtest_predicts() {
    agree(
        "agreement-week",
        0,
        7 * 24,
        &[
            "ms-api-01",
            "ms-ingress-04",
            "ms-ingress-05",
            "ms-machine-01",
            "ms-mongo-01",
            "ms-mongo-02",
            "ms-mongo-04",
            "ms-purchase-03",
            "nab-ec2net",
            "nab-tweets-aapl",
            "nab-tweets-amzn",
            "nab-tweets-fb",
            "nasa-jul",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_hours_of_two_loads_are_billed_as_the_backtest_predicts() {
    agree("agreement-hours", 0, 6, &["nasa-jul", "ms-mongo-01"]).await;
}

#[expect(clippy::print_stdout, reason = "the documentation shows this table")]
async fn agree(test: &str, day: usize, hours: usize, names: &[&'static str]) {
    if crate::harness::shared_connection().is_none() {
        return;
    }
    let begun = Instant::now();
    let modeled: Vec<Modeled> = names.iter().map(|name| Modeled::of(name, day, hours)).collect();
    let lived = live(test, &modeled, hours).await;
    println!("{}", compare(&modeled, &lived));
    for load in &modeled {
        println!("{}", side_by_side(load, &lived));
    }
    println!("{hours} hours in {:.0} s", begun.elapsed().as_secs_f64());
}
