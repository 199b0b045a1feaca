//! The report of a backtest as one HTML file. It needs no network, works on phones and on paper, and has
//! a table for each chart.

use std::fmt::Write as _;

use capacity_backtest::{Contender, Course, Settings};
use human_text::at_minute;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::json;

use super::figures::{Figures, Row, TraceFigures, percent, whole};
use super::run::{Load, Run};
use super::sweep::Sweep;
use crate::render::html_escaped;

/// Maximum number of points in a chart. In a longer load, each point is the highest minute of an
/// interval.
const POINTS: usize = 20_000;

/// Minutes per day.
const DAY: usize = 24 * 60;

pub(super) fn page(
    run: &Run,
    figures: &Figures,
    sweep: Option<&Sweep>,
    courses: &[Course],
) -> anyhow::Result<String> {
    let mut body = String::new();
    overview(&mut body, run, figures)?;
    if let Some(sweep) = sweep {
        swept(&mut body, sweep)?;
    }
    let mut charts = Vec::new();
    let loads = run.loads.iter().zip(&figures.traces).zip(courses);
    for (index, ((load, figures), course)) in loads.enumerate() {
        let id = format!("chart-{index}");
        section(&mut body, &id, load, figures, course)?;
        charts.push(chart(&id, load, course, &run.settings(&load.trace)?));
    }
    // A `</script>` in a name must not end the element.
    let data = serde_json::to_string(&charts)?.replace('<', "\\u003c");
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Capacity backtest</title>\n<style>{}\n{}</style>\n</head>\n<body>\n{body}\
         <script type=\"application/json\" id=\"data\">{data}</script>\n\
         <script>/* {} */\n{}</script>\n<script>{}</script>\n</body>\n</html>\n",
        include_str!("page/uPlot.min.css"),
        include_str!("page/report.css"),
        include_str!("page/uPlot.LICENSE").trim(),
        include_str!("page/uPlot.iife.min.js"),
        include_str!("page/report.js"),
    ))
}

fn overview(body: &mut String, run: &Run, figures: &Figures) -> std::fmt::Result {
    let of = |policy| figures.means.iter().find(|mean| mean.policy == policy);
    writeln!(body, "<h1>Capacity backtest</h1>")?;
    if let (Some(ours), Some(on_demand), Some(threshold)) = (
        of(Contender::BreakEven),
        of(Contender::OnDemand),
        of(Contender::Threshold),
    ) {
        writeln!(
            body,
            "<p>Per namespace and 30 days, <strong>break-even</strong> would have cost <strong>${}</strong> in unused minimums, waiting and \
             changes: {} on-demand only (${}) and {} the <code>threshold</code> policy (${}).</p>",
            whole(ours.dollars.total),
            compared(ours.dollars.total, on_demand.dollars.total),
            whole(on_demand.dollars.total),
            compared(ours.dollars.total, threshold.dollars.total),
            whole(threshold.dollars.total)
        )?;
    }
    writeln!(
        body,
        "<p class=\"note\">Price {}; delaying one action by one minute costs {}; each change counts $1. Waste is the part of an hourly \
         minimum that was paid for but not used. Oracle and reactive optimum know the future, so no real policy \
              can match them.</p>",
        html_escaped(&run.price.to_string()),
        match run.parameters.delay_milli {
            1_000 => "1 action".to_owned(),
            milli => format!("{} actions", Decimal::new(milli, 3).normalize()),
        }
    )?;
    let loads = figures.traces.len();
    let caption = if loads == 1 {
        "All policies".to_owned()
    } else {
        format!("Mean of {loads} loads")
    };
    let rows: Vec<(Contender, Vec<String>)> = figures
        .means
        .iter()
        .map(|mean| (mean.policy, mean.cells().to_vec()))
        .collect();
    let header = [
        "Policy",
        "Waste $",
        "Delay $",
        "Total $",
        "Geometric mean $",
        "Delayed %",
        "Changes",
    ];
    if loads > 1 {
        table(body, &format!("{caption}, per 30 days"), &header, &rows)?;
    }
    Ok(())
}

/// Compares two costs in words, such as `the same as` or `12% less than`.
fn compared(ours: Decimal, other: Decimal) -> String {
    if other.round() == ours.round() {
        return "the same as".to_owned();
    }
    // As a share of less than $1, any difference would be a huge percentage.
    if other.round() < Decimal::ONE {
        return "more than".to_owned();
    }
    let percent = ((ours - other).abs() * Decimal::ONE_HUNDRED / other).round();
    format!("{percent}% {} than", if ours < other { "less" } else { "more" })
}

fn swept(body: &mut String, sweep: &Sweep) -> std::fmt::Result {
    writeln!(body, "<h2>How the result changes</h2>")?;
    let rows: Vec<(Contender, Vec<String>)> = sweep
        .points
        .iter()
        // Any policy but break-even: its row would be highlighted.
        .map(|point| (Contender::OnDemand, point.cells()))
        .collect();
    table(body, "Mean total $ per 30 days", &Sweep::HEADER, &rows)
}

fn section(
    body: &mut String,
    id: &str,
    load: &Load,
    figures: &TraceFigures,
    course: &Course,
) -> std::fmt::Result {
    writeln!(
        body,
        "<section>\n<h2>{}</h2>\n<p class=\"note\">{} days of load. The results cover the last {}; earlier \
         days only warm up the on-demand envelope and the policy's history.</p>\n<h3>Cost per policy</h3>",
        html_escaped(&load.name),
        (Decimal::from(load.trace.len()) / Decimal::from(DAY))
            .round_dp(1)
            .normalize(),
        figures
            .rows
            .first()
            .map_or(Decimal::ZERO, |row| row.days.round_dp(1).normalize())
    )?;
    bars(body, figures)?;
    let cells = |row: &Row| {
        let dollars = &row.dollars;
        let mut cells = vec![row.policy.name().to_owned()];
        cells.extend([dollars.waste, dollars.delay, dollars.total].map(whole));
        cells.extend([percent(row.delayed_share), whole(dollars.changes)]);
        (row.policy, cells)
    };
    let rows: Vec<_> = figures.rows.iter().map(cells).collect();
    let header = ["Policy", "Waste $", "Delay $", "Total $", "Delayed %", "Changes"];
    table(body, "Per 30 days", &header, &rows)?;
    writeln!(
        body,
        "<h3>Load, limit, throttling and capacity with break-even</h3>\n<figure><div class=\"chart\" id=\"{id}\" role=\"group\" \
         aria-label=\"Load, limit, throttling and capacity over time; the table below shows the same data \
                      by day\"></div>\n\
         <figcaption>Drag to zoom, double-click to show everything. Triangles are decisions to scale up or down: hover or tap for the reason.</figcaption></figure>"
    )?;
    days(body, load, course)?;
    decisions(body, load, course)?;
    writeln!(body, "</section>")
}

/// Draws stacked bars of waste, delay and changes.
fn bars(body: &mut String, figures: &TraceFigures) -> std::fmt::Result {
    let most = figures
        .rows
        .iter()
        .map(|row| row.dollars.total)
        .max()
        .unwrap_or_default()
        // The widths below are relative to this maximum, so it must not be zero.
        .max(Decimal::ONE);
    writeln!(
        body,
        "<figure aria-hidden=\"true\"><p class=\"note key\"><span class=\"waste\"></span>waste<span class=\"delay\"></span>delay\
         <span class=\"changes\"></span>changes</p><div class=\"bars\">"
    )?;
    for row in &figures.rows {
        let width = |part: Decimal| (part * Decimal::ONE_HUNDRED / most).round_dp(2);
        writeln!(
            body,
            "<span{}>{}</span><span class=\"bar\"><span class=\"waste\" style=\"width:{}%\"></span><span class=\"delay\" style=\"width:{}%\">\
             </span><span class=\"changes\" style=\"width:{}%\"></span></span><span>${}</span>",
            if row.policy == Contender::BreakEven {
                " class=\"ours\""
            } else {
                ""
            },
            row.policy,
            width(row.dollars.waste),
            width(row.dollars.delay),
            width(row.dollars.changes),
            whole(row.dollars.total)
        )?;
    }
    writeln!(body, "</div></figure>")
}

fn days(body: &mut String, load: &Load, course: &Course) -> std::fmt::Result {
    let mut rows = Vec::new();
    for begin in (0..load.trace.len()).step_by(DAY) {
        let minutes = begin..(begin + DAY).min(load.trace.len());
        let asked = minutes
            .clone()
            .filter_map(|minute| load.trace.minute(minute))
            .map(|load| u64::from(load.actions));
        let known = u64::try_from(asked.clone().count()).unwrap_or(0).max(1);
        let throttled: u64 = course.throttled[minutes.clone()]
            .iter()
            .map(|count| u64::from(*count))
            .sum();
        let provisioned = course.trus[minutes].iter().filter(|trus| **trus > 0).count();
        let per_second = |count: u64| whole(Decimal::from(count) / Decimal::from(60));
        rows.push((
            Contender::OnDemand,
            vec![
                when(load, begin).split(',').next().unwrap_or_default().to_owned(),
                per_second(asked.clone().sum::<u64>() / known),
                per_second(asked.max().unwrap_or(0)),
                whole(Decimal::from(throttled)),
                format!("{:.1}", Decimal::from(provisioned) / Decimal::from(60)),
            ],
        ));
    }
    writeln!(
        body,
        "<details class=\"by-day\"><summary>The chart as a table, by day</summary>"
    )?;
    let header = [
        "Day",
        "Mean load /s",
        "Busiest minute /s",
        "Throttled attempts",
        "Hours provisioned",
    ];
    table(body, "Break-even, by day", &header, &rows)?;
    writeln!(body, "</details>")
}

fn decisions(body: &mut String, load: &Load, course: &Course) -> std::fmt::Result {
    writeln!(
        body,
        "<details><summary>All {} decisions that changed the capacity</summary><div class=\"scroll\"><table><caption>Decisions of break-even, \
         warm-up included</caption><thead><tr><th scope=\"col\">When</th><th scope=\"col\" class=\"text\">Decision and reason</th></tr></thead><tbody>",
        course.decisions.len()
    )?;
    for decision in &course.decisions {
        let minute = usize::try_from(decision.minute).unwrap_or(0);
        writeln!(
            body,
            "<tr><td>{}</td><td class=\"text\">{}</td></tr>",
            html_escaped(&when(load, minute)),
            html_escaped(&decision.reason)
        )?;
    }
    writeln!(body, "</tbody></table></div></details>")
}

fn table(
    body: &mut String,
    caption: &str,
    header: &[&str],
    rows: &[(Contender, Vec<String>)],
) -> std::fmt::Result {
    write!(
        body,
        "<div class=\"scroll\"><table><caption>{caption}</caption><thead><tr>"
    )?;
    for title in header {
        write!(body, "<th scope=\"col\">{title}</th>")?;
    }
    writeln!(body, "</tr></thead><tbody>")?;
    for (policy, cells) in rows {
        let class = if *policy == Contender::BreakEven {
            " class=\"ours\""
        } else {
            ""
        };
        write!(body, "<tr{class}>")?;
        for cell in cells {
            write!(body, "<td>{}</td>", html_escaped(cell))?;
        }
        writeln!(body, "</tr>")?;
    }
    writeln!(body, "</tbody></table></div>")
}

/// Returns the data that the chart of one load needs.
fn chart(id: &str, load: &Load, course: &Course, settings: &Settings) -> serde_json::Value {
    let step = load.trace.len().div_ceil(POINTS).max(1);
    // One decimal of actions per second: actions / 60 * 10 = actions / 6.
    let per_second = |actions: u32| (f64::from(actions) / 6.0).round() / 10.0;
    // An unknown minute is a gap in the line, not a zero.
    let asked: Vec<Option<u32>> = load
        .trace
        .minutes()
        .map(|minute| minute.map(|load| load.actions))
        .collect();
    let asked: Vec<Option<f64>> = asked
        .chunks(step)
        // The highest minute and not the mean, which would hide the peaks that cause throttling.
        .map(|chunk| chunk.iter().copied().flatten().max().map(per_second))
        .collect();
    let highest = |values: &[u32]| -> Vec<f64> {
        let highest = values
            .chunks(step)
            .map(|chunk| chunk.iter().copied().max().unwrap_or(0));
        highest.map(per_second).collect()
    };
    let trus: Vec<u16> = course
        .trus
        .chunks(step)
        .map(|chunk| chunk.iter().copied().max().unwrap_or(0))
        .collect();
    let decisions = course.decisions.iter().map(|decision| {
        json!({"minute": decision.minute, "from": decision.from, "to": decision.to, "reason": decision.reason})
    });
    json!({
        "id": id,
        "step": step,
        "first_minute": load.trace.first_minute(),
        "load": asked,
        "limit": highest(&course.limits),
        "throttled": highest(&course.throttled),
        "trus": trus,
        "ladder": settings.ladder.iter().map(|size| size.trus).collect::<Vec<_>>(),
        "decisions": decisions.collect::<Vec<_>>(),
    })
}

/// Returns the time of a minute, or `day 3, 07:12` if the load has no times.
fn when(load: &Load, minute: usize) -> String {
    let of_day = format!("{:02}:{:02}", minute % DAY / 60, minute % 60);
    if load.trace.first_minute() == 0 {
        return format!("day {}, {of_day}", minute / DAY + 1);
    }
    let minutes = load.trace.first_minute() + minute.to_i64().unwrap_or(0);
    jiff::Timestamp::from_second(minutes * 60).map_or(of_day, at_minute)
}
