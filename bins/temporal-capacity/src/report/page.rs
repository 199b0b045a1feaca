//! A report as one HTML file. It needs no network or script, and works on phones and on paper.

use std::fmt::Write as _;

use capacity_engine::pricing::in_dollars;
use human_text::{at_minute, counted};
use rust_decimal::Decimal;

use super::sheets::{Sheet, headline, sheets};
use super::shown::Shown;
use super::text::{closing, row_line, value};
use crate::render::html_escaped;

pub(super) fn page(shown: &Shown) -> anyhow::Result<String> {
    let report = &shown.report;
    let mut body = String::new();
    writeln!(
        body,
        "<h1>Capacity of account {}</h1>",
        html_escaped(&report.account)
    )?;
    writeln!(
        body,
        "<p><strong>{}</strong></p>",
        html_escaped(&headline(report))
    )?;
    writeln!(
        body,
        "<p class=\"note\">{} to {} ({}), price {}. Capacity is billed by the calendar hour at \
         its highest size; if an hour's usage is below the minimum, the difference is paid for but not used. Other policies are replayed on the same minutes.</p>",
        at_minute(report.from),
        at_minute(report.to),
        counted(report.hours, "hour"),
        html_escaped(&report.price)
    )?;
    bars(&mut body, shown)?;
    for sheet in sheets(shown) {
        table(&mut body, &sheet)?;
    }
    for line in closing(shown) {
        writeln!(body, "<p>{}</p>", html_escaped(&line))?;
    }
    if let Some(figures) = &shown.figures {
        writeln!(body, "<h2>Where each figure comes from</h2>")?;
        for figure in figures {
            let of = if figure.namespace.is_empty() {
                "account"
            } else {
                &figure.namespace
            };
            writeln!(
                body,
                "<details><summary>{} {} = {}</summary><p class=\"note\">{}</p><ul>",
                html_escaped(of),
                html_escaped(&figure.figure),
                html_escaped(&value(figure)),
                html_escaped(&figure.formula)
            )?;
            for rows in &figure.rows {
                writeln!(body, "<li>{}</li>", html_escaped(&row_line(rows)))?;
            }
            writeln!(body, "</ul></details>")?;
        }
    }
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Capacity report</title>\n\
         <style>{}</style>\n</head>\n<body>\n{body}</body>\n</html>",
        include_str!("../backtest/page/report.css")
    ))
}

/// Draws what was paid next to what the other policies would have cost. The table below it shows the same
/// figures.
fn bars(body: &mut String, shown: &Shown) -> std::fmt::Result {
    let total = &shown.report.total;
    let mut costs = vec![("actual", total.idle_usd)];
    costs.extend(total.alternatives.iter().map(|it| (it.policy, it.idle_usd)));
    let most = costs.iter().map(|(_, cost)| *cost).max().unwrap_or_default();
    let most = most.max(Decimal::ONE);
    writeln!(body, "<figure aria-hidden=\"true\"><div class=\"bars\">")?;
    for (name, cost) in costs {
        let class = if name == "actual" { "delay" } else { "waste" };
        writeln!(
            body,
            "<span>{name}</span><span class=\"bar\"><span class=\"{class}\" style=\"width:{}%\"></span></span><span>{}</span>",
            (cost * Decimal::ONE_HUNDRED / most).round_dp(2),
            in_dollars(cost)
        )?;
    }
    writeln!(body, "</div></figure>")
}

fn table(body: &mut String, sheet: &Sheet) -> std::fmt::Result {
    writeln!(
        body,
        "<h2>{}</h2>\n<div class=\"scroll\"><table>\n<thead><tr>",
        html_escaped(&sheet.title)
    )?;
    let class = |column: usize| {
        if column < sheet.text_columns {
            " class=\"text\""
        } else {
            ""
        }
    };
    for (column, title) in sheet.header.iter().enumerate() {
        writeln!(
            body,
            "<th scope=\"col\"{}>{}</th>",
            class(column),
            html_escaped(title)
        )?;
    }
    writeln!(body, "</tr></thead>\n<tbody>")?;
    for row in &sheet.rows {
        let ours = if row.first().is_some_and(|name| name == "actual") {
            " class=\"ours\""
        } else {
            ""
        };
        write!(body, "<tr{ours}>")?;
        for (column, cell) in row.iter().enumerate() {
            write!(body, "<td{}>{}</td>", class(column), html_escaped(cell))?;
        }
        writeln!(body, "</tr>")?;
    }
    writeln!(body, "</tbody></table></div>")?;
    if let Some(note) = &sheet.note {
        writeln!(body, "<p class=\"note\">{}</p>", html_escaped(note))?;
    }
    Ok(())
}
