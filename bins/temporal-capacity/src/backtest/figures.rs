//! The figures of a backtest, as a table, JSON and CSV.

use capacity_backtest::{Contender, Dollars, Score};
use comfy_table::{Cell, CellAlignment};
use human_text::{counted, grouped};
use rust_decimal::Decimal;
use rust_decimal::prelude::{FromPrimitive, ToPrimitive};
use serde_json::{Value, json};

use super::run::Run;
use crate::tables;
use crate::terminal::Terminal;

/// Results of one policy on one load, scaled to 30 days.
pub(super) struct Row {
    pub(super) policy: Contender,
    pub(super) dollars: Dollars,
    /// Share of actions that had to wait, from 0 to 1.
    pub(super) delayed_share: Decimal,
    pub(super) days: Decimal,
}

/// Results of all policies on one load.
pub(super) struct TraceFigures {
    pub(super) name: String,
    pub(super) rows: Vec<Row>,
}

impl TraceFigures {
    pub(super) fn new(name: &str, scores: &[Score], run: &Run) -> Self {
        let row = |(policy, score): (Contender, &Score)| Row {
            policy,
            dollars: score.dollars(&run.price, run.parameters.delay_milli),
            delayed_share: Decimal::new(score.delayed_share_micros(), 6),
            days: Decimal::from(score.minutes) / Decimal::from(24 * 60),
        };
        Self {
            name: name.to_owned(),
            rows: Contender::ALL.into_iter().zip(scores).map(row).collect(),
        }
    }
}

/// Index of the column for the geometric mean, which equals the total if there is only one load.
const GEOMETRIC: usize = 4;

/// Results of all policies on all loads.
pub(super) struct Figures {
    pub(super) traces: Vec<TraceFigures>,
    pub(super) means: Vec<Mean>,
}

/// Mean results of one policy over all loads.
pub(super) struct Mean {
    pub(super) policy: Contender,
    pub(super) dollars: Dollars,
    pub(super) delayed_share: Decimal,
    /// Geometric mean of the totals in dollars. One dollar is added to each total and subtracted from the
    /// mean, because a calm load can cost $0.
    pub(super) geometric_total: Decimal,
}

impl Figures {
    pub(super) fn new(traces: Vec<TraceFigures>) -> Self {
        let mean = |(index, policy)| {
            let rows: Vec<&Row> = traces
                .iter()
                .filter_map(|trace: &TraceFigures| trace.rows.get(index))
                .collect();
            Mean::new(policy, &rows)
        };
        let means = Contender::ALL.into_iter().enumerate().map(mean).collect();
        Self { traces, means }
    }

    /// Returns a one-line summary of the run.
    pub(super) fn summary(&self) -> String {
        let (loads, policies) = (self.traces.len(), Contender::ALL.len());
        format!("{}, {}", counted(loads, "load"), counted(policies, "policy"))
    }

    pub(super) fn table(&self, terminal: Terminal) -> String {
        let header = [
            "policy",
            "waste $",
            "delay $",
            "total $",
            "geometric $",
            "delayed %",
            "changes",
        ];
        let is_shown = |index: usize| index != GEOMETRIC || self.traces.len() > 1;
        let shown = header.iter().enumerate().filter(|(index, _)| is_shown(*index));
        let mut table = tables::table_with(shown.map(|(_, title)| *title), terminal);
        for mean in &self.means {
            let cells = mean.cells().into_iter().enumerate();
            let shown = cells.filter(|(index, _)| is_shown(*index));
            table.add_row(aligned(shown.map(|(_, cell)| cell)));
        }
        let title = match self.traces.as_slice() {
            [only] => format!("{}, per 30 days", only.name),
            traces => format!("Mean of {} loads, per 30 days", traces.len()),
        };
        let mut text = format!("{title}\n{}", tables::lines_of_figures(&table, terminal));
        if self.traces.len() > 1 {
            let header = ["total $"].into_iter().chain(Contender::ALL.map(Contender::name));
            let mut table = tables::table_with(header, terminal);
            for trace in &self.traces {
                let totals = trace.rows.iter().map(|row| whole(row.dollars.total));
                table.add_row(aligned(std::iter::once(trace.name.clone()).chain(totals)));
            }
            text.push('\n');
            text.push_str(&tables::lines_of_figures(&table, terminal));
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let results = self.traces.iter().flat_map(|trace| {
            trace.rows.iter().map(|row| {
                json!({
                    "trace": trace.name,
                    "policy": row.policy.name(),
                    "days": number(row.days),
                    "waste_usd": number(row.dollars.waste),
                    "delay_usd": number(row.dollars.delay),
                    "changes": number(row.dollars.changes),
                    "total_usd": number(row.dollars.total),
                    "delayed_share": number(row.delayed_share),
                })
            })
        });
        let means = self.means.iter().map(|mean| {
            json!({
                "policy": mean.policy.name(),
                "waste_usd": number(mean.dollars.waste),
                "delay_usd": number(mean.dollars.delay),
                "changes": number(mean.dollars.changes),
                "total_usd": number(mean.dollars.total),
                "geometric_total_usd": number(mean.geometric_total),
                "delayed_share": number(mean.delayed_share),
            })
        });
        json!({
            "schema": 1,
            "results": results.collect::<Vec<_>>(),
            "means": means.collect::<Vec<_>>(),
        })
    }

    pub(super) fn csv(&self) -> anyhow::Result<String> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record([
            "trace",
            "policy",
            "days",
            "waste_usd",
            "delay_usd",
            "changes",
            "total_usd",
            "delayed_share",
        ])?;
        for trace in &self.traces {
            for row in &trace.rows {
                let numbers = [
                    row.days,
                    row.dollars.waste,
                    row.dollars.delay,
                    row.dollars.changes,
                    row.dollars.total,
                ];
                let mut record = vec![trace.name.clone(), row.policy.name().to_owned()];
                record.extend(numbers.map(|number| number.round_dp(4).to_string()));
                record.push(row.delayed_share.to_string());
                writer.write_record(record)?;
            }
        }
        Ok(String::from_utf8(writer.into_inner()?)?)
    }
}

impl Mean {
    fn new(policy: Contender, rows: &[&Row]) -> Self {
        let count = Decimal::from(rows.len().max(1));
        let mean = |value: fn(&Row) -> Decimal| rows.iter().map(|row| value(row)).sum::<Decimal>() / count;
        let logarithms = rows
            .iter()
            .map(|row| (row.dollars.total.to_f64().unwrap_or(0.0) + 1.0).ln());
        // Floats are enough: the mean is shown in whole dollars and never added up.
        let geometric = (logarithms.sum::<f64>() / count.to_f64().unwrap_or(1.0)).exp() - 1.0;
        Self {
            policy,
            dollars: Dollars {
                waste: mean(|row| row.dollars.waste),
                delay: mean(|row| row.dollars.delay),
                changes: mean(|row| row.dollars.changes),
                total: mean(|row| row.dollars.total),
            },
            delayed_share: mean(|row| row.delayed_share),
            geometric_total: Decimal::from_f64(geometric).unwrap_or_default(),
        }
    }

    /// Returns name, waste, delay, total, geometric mean, percentage delayed and number of changes.
    pub(super) fn cells(&self) -> [String; 7] {
        [
            self.policy.name().to_owned(),
            whole(self.dollars.waste),
            whole(self.dollars.delay),
            whole(self.dollars.total),
            whole(self.geometric_total),
            percent(self.delayed_share),
            whole(self.dollars.changes),
        ]
    }
}

/// Returns table cells with all but the first aligned as numbers.
pub(super) fn aligned(cells: impl IntoIterator<Item = String>) -> Vec<Cell> {
    let cell = |(index, text): (usize, String)| {
        let alignment = if index == 0 {
            CellAlignment::Left
        } else {
            CellAlignment::Right
        };
        Cell::new(tables::printable(&text)).set_alignment(alignment)
    };
    cells.into_iter().enumerate().map(cell).collect()
}

/// Formats whole dollars with thousands separators.
pub(super) fn whole(value: Decimal) -> String {
    // Without a sign: only savings can be negative, and `signed` adds theirs.
    grouped(value.round().abs().to_i128().unwrap_or(i128::MAX))
}

/// Formats a share from 0 to 1 as a percentage with two decimals.
pub(super) fn percent(share: Decimal) -> String {
    format!("{:.2}", share * Decimal::ONE_HUNDRED)
}

pub(super) fn number(value: Decimal) -> Value {
    value.round_dp(6).to_f64().map_or(Value::Null, Value::from)
}
