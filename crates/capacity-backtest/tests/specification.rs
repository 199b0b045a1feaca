//! The thirteen traces reproduce the figures of the policy's specification.

use std::path::Path;

use capacity_backtest::{Cadence, Contender, Settings, Trace, run};
use capacity_engine::{ActionPrice, PricePerMillion};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

const TRACES: [&str; 13] = [
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
];

fn traces() -> Vec<Trace> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/traces");
    let read = |name: &str| {
        let text = std::fs::read_to_string(folder.join(format!("{name}.csv"))).expect("a trace");
        Trace::parse(&text).expect("a sound trace")
    };
    TRACES.map(read).to_vec()
}

/// Means over all traces, per namespace-month.
#[derive(Debug)]
struct Means {
    waste: f64,
    delay: f64,
    total: f64,
    delayed_percent: f64,
    changes: f64,
}

fn means(traces: &[Trace], contender: Contender, dollars: i64, adjust: impl Fn(&mut Settings)) -> Means {
    let price = PricePerMillion::try_new(Decimal::from(dollars)).expect("a price");
    let mut means = [0.0; 5];
    for trace in traces {
        let mut settings = Settings {
            price,
            ..Settings::for_trace(trace)
        };
        adjust(&mut settings);
        let score = run(trace, contender, &settings);
        let dollars = score.dollars(&ActionPrice::flat(price), settings.parameters.delay_milli);
        let share = score.delayed_share_micros().to_f64().expect("small") / 10_000.0;
        let values =
            [dollars.waste, dollars.delay, dollars.total].map(|value| value.to_f64().expect("small"));
        let values = [
            values[0],
            values[1],
            values[2],
            share,
            dollars.changes.to_f64().expect("small"),
        ];
        let count = traces.len().to_f64().expect("small");
        means
            .iter_mut()
            .zip(values)
            .for_each(|(mean, value)| *mean += value / count);
    }
    let [waste, delay, total, delayed_percent, changes] = means;
    Means {
        waste,
        delay,
        total,
        delayed_percent,
        changes,
    }
}

/// Asserts equality within 3% plus half of the last printed digit.
fn assert_near(what: &str, value: f64, expected: f64, digit: f64) {
    let tolerance = expected * 0.03 + digit / 2.0;
    assert!(
        (value - expected).abs() <= tolerance,
        "{what}: {value:.2}, not {expected}"
    );
}

#[test]
fn the_main_table_is_reproduced() {
    let traces = traces();
    let rows = [
        (Contender::Threshold, [22_000.0, 4_800.0, 26_900.0, 6.81, 11.0]),
        (Contender::OnDemand, [0.0, 32_100.0, 32_100.0, 10.57, 0.0]),
        (Contender::BreakEven, [1_600.0, 1_600.0, 3_200.0, 6.74, 36.0]),
        (Contender::ReactiveOptimum, [600.0, 1_100.0, 1_700.0, 6.21, 14.0]),
    ];
    for (contender, [waste, delay, total, delayed, changes]) in rows {
        let means = means(&traces, contender, 50, |_| {});
        assert_near(&format!("{contender} waste"), means.waste, waste, 100.0);
        assert_near(&format!("{contender} delay"), means.delay, delay, 100.0);
        assert_near(&format!("{contender} total"), means.total, total, 100.0);
        assert_near(
            &format!("{contender} delayed"),
            means.delayed_percent,
            delayed,
            0.01,
        );
        assert_near(&format!("{contender} changes"), means.changes, changes, 1.0);
    }
}

#[test]
fn prices_delay_values_and_cadences_are_reproduced() {
    let traces = traces();
    let total = |contender, dollars, delay_milli, cadence| {
        let adjust = |settings: &mut Settings| {
            settings.parameters.delay_milli = delay_milli;
            settings.cadence = cadence;
        };
        means(&traces, contender, dollars, adjust).total
    };
    let usual = Cadence::HourEndAndAlerts;
    let rows = [
        ("$25", 25, 1_000, usual, 1_629.0, 871.0, 1.0),
        ("delay value 0.1", 50, 100, usual, 603.0, 278.0, 1.0),
        ("delay value 10", 50, 10_000, usual, 11_000.0, 5_029.0, 100.0),
        (
            "every 5 min",
            50,
            1_000,
            Cadence::FiveMinutesAndAlerts,
            3_190.0,
            1_729.0,
            1.0,
        ),
        ("once an hour", 50, 1_000, Cadence::HourEnd, 4_871.0, 1_729.0, 1.0),
    ];
    for (what, dollars, delay, cadence, break_even, optimum, digit) in rows {
        assert_near(
            what,
            total(Contender::BreakEven, dollars, delay, cadence),
            break_even,
            digit,
        );
        let total = total(Contender::ReactiveOptimum, dollars, delay, cadence);
        assert_near(&format!("{what}, optimum"), total, optimum, 1.0);
    }
}

#[test]
fn one_series_accounts_for_most_and_the_others_are_reproduced_without_it() {
    let traces = traces();
    let batch = TRACES
        .iter()
        .position(|name| *name == "nab-ec2net")
        .expect("it is there");
    let others = [&traces[..batch], &traces[batch + 1..]].concat();
    let total = |traces: &[Trace], contender| means(traces, contender, 50, |_| {}).total;
    assert_near("break-even", total(&others, Contender::BreakEven), 404.0, 1.0);
    assert_near("optimum", total(&others, Contender::ReactiveOptimum), 185.0, 1.0);
    let share = total(&traces[batch..=batch], Contender::BreakEven)
        / total(&traces, Contender::BreakEven)
        / traces.len().to_f64().expect("small");
    assert_near("share in percent", share * 100.0, 88.0, 1.0);
}

#[test]
fn break_even_meets_its_targets() {
    let traces = traces();
    let of = |contender| means(&traces, contender, 50, |_| {});
    let (threshold, break_even, optimum) = (
        of(Contender::Threshold),
        of(Contender::BreakEven),
        of(Contender::ReactiveOptimum),
    );
    assert!(
        break_even.waste <= 0.1 * threshold.waste,
        "{break_even:?} {threshold:?}"
    );
    assert!(
        break_even.total <= 2.0 * optimum.total,
        "{break_even:?} {optimum:?}"
    );
    for delay_milli in [100, 10_000] {
        let at = |contender| {
            let adjust = |settings: &mut Settings| settings.parameters.delay_milli = delay_milli;
            means(&traces, contender, 50, adjust).total
        };
        let (ours, optimum) = (at(Contender::BreakEven), at(Contender::ReactiveOptimum));
        assert!(ours <= 2.3 * optimum, "{delay_milli}: {ours} {optimum}");
    }
    assert!(break_even.delayed_percent <= threshold.delayed_percent + 0.1);
    let oracle = of(Contender::Oracle);
    assert!(oracle.total <= optimum.total, "{oracle:?} {optimum:?}");
    for trace in &traces {
        let total = |contender| means(std::slice::from_ref(trace), contender, 50, |_| {});
        if total(Contender::OnDemand).delay < 100.0 {
            assert!(total(Contender::BreakEven).total <= 100.0);
        }
    }
}
