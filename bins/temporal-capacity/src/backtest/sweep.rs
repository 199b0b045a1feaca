//! How the result changes with the delay value and the price.

use std::collections::BTreeSet;

use capacity_backtest::Contender;
use capacity_engine::{ActionPrice, PricePerMillion};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::figures::{aligned, number, whole};
use super::run::Run;
use super::work;
use crate::tables;
use crate::terminal::Terminal;

/// Delay values in thousandths. The delay value of the run is added to them.
const DELAY_MILLI: [i64; 5] = [100, 300, 1_000, 3_000, 10_000];

/// Prices that a sweep covers in addition to the price of the run, in dollars per million actions.
const PRICES: [i64; 3] = [25, 35, 50];

/// Policies that a sweep compares.
const POLICIES: [Contender; 4] = [
    Contender::OnDemand,
    Contender::Threshold,
    Contender::BreakEven,
    Contender::ReactiveOptimum,
];

pub(super) struct Sweep {
    pub(super) points: Vec<Point>,
}

/// Mean totals over all loads at one delay value and price.
pub(super) struct Point {
    delay_milli: i64,
    price: PricePerMillion,
    totals: Vec<Decimal>,
}

pub(super) fn sweep(run: &Run, progress: impl Fn(usize, usize) + Sync) -> anyhow::Result<Sweep> {
    // Sets, because the value of the run may be one of the fixed ones.
    let delays: BTreeSet<i64> = DELAY_MILLI
        .into_iter()
        .chain([run.parameters.delay_milli])
        .collect();
    let prices = PRICES.map(Decimal::from).into_iter().chain([run.price.dollars()]);
    let prices = prices
        .map(PricePerMillion::try_new)
        .collect::<Result<BTreeSet<_>, _>>()?;
    let places: Vec<(i64, PricePerMillion)> = delays
        .into_iter()
        .flat_map(|delay| prices.iter().map(move |price| (delay, *price)))
        .collect();
    let mut jobs = Vec::new();
    for &(delay_milli, price) in &places {
        for load in &run.loads {
            let mut settings = run.settings(&load.trace)?;
            settings.parameters.delay_milli = delay_milli;
            settings.price = price;
            for policy in POLICIES {
                // The policies come last: `means` takes every fourth total.
                jobs.push((load, settings.clone(), policy));
            }
        }
    }
    let totals = work::in_parallel(&jobs, progress, |(load, settings, policy)| {
        let score = capacity_backtest::run(&load.trace, *policy, settings);
        // Without volume tiers, because a sweep compares single prices.
        let price = ActionPrice::flat(settings.price);
        score.dollars(&price, settings.parameters.delay_milli).total
    });
    let points = places
        .into_iter()
        .zip(totals.chunks(run.loads.len() * POLICIES.len()));
    let points = points.map(|((delay_milli, price), totals)| Point {
        delay_milli,
        price,
        totals: means(totals),
    });
    Ok(Sweep {
        points: points.collect(),
    })
}

fn means(totals: &[Decimal]) -> Vec<Decimal> {
    let loads = Decimal::from(totals.len() / POLICIES.len());
    let of = |policy: usize| {
        totals
            .iter()
            .skip(policy)
            .step_by(POLICIES.len())
            .sum::<Decimal>()
            / loads
    };
    (0..POLICIES.len()).map(of).collect()
}

impl Sweep {
    pub(super) const HEADER: [&'static str; 6] = [
        "delay value",
        "$ per million",
        "on-demand",
        "threshold",
        "break-even",
        "reactive-optimum",
    ];

    pub(super) fn table(&self, terminal: Terminal) -> String {
        let mut table = tables::table_with(Self::HEADER, terminal);
        for point in &self.points {
            table.add_row(aligned(point.cells()));
        }
        format!(
            "\nMean total $ by delay value and price\n{}",
            tables::lines_of_figures(&table, terminal)
        )
    }

    pub(super) fn csv(&self) -> anyhow::Result<String> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["delay_value", "price_per_million", "policy", "total_usd"])?;
        for point in &self.points {
            for (policy, total) in POLICIES.into_iter().zip(&point.totals) {
                writer.write_record([
                    Decimal::new(point.delay_milli, 3).normalize().to_string(),
                    point.price.dollars().normalize().to_string(),
                    policy.name().to_owned(),
                    total.round_dp(4).to_string(),
                ])?;
            }
        }
        Ok(String::from_utf8(writer.into_inner()?)?)
    }

    pub(super) fn json(&self) -> Value {
        let points = self.points.iter().flat_map(|point| {
            POLICIES.into_iter().zip(&point.totals).map(|(policy, total)| {
                json!({
                    "delay_value": number(Decimal::new(point.delay_milli, 3)),
                    "price_per_million": number(point.price.dollars()),
                    "policy": policy.name(),
                    "total_usd": number(*total),
                })
            })
        });
        points.collect()
    }
}

impl Point {
    pub(super) fn cells(&self) -> Vec<String> {
        let mut cells = vec![
            Decimal::new(self.delay_milli, 3).normalize().to_string(),
            self.price.dollars().normalize().to_string(),
        ];
        cells.extend(self.totals.iter().map(|total| whole(*total)));
        cells
    }
}
