//! Renders a report as tables, Markdown, CSV and JSON.

use std::fmt::Write as _;

use capacity_engine::pricing::in_dollars;
use capacity_report::{Figure, Rows};
use comfy_table::{Cell, CellAlignment};
use human_text::{at_minute, counted, grouped};
use rust_decimal::Decimal;
use serde_json::Value;

use super::sheets::{Sheet, headline, sheets, verdict};
use super::shown::Shown;
use crate::tables;
use crate::terminal::Terminal;

fn title(shown: &Shown) -> String {
    let report = &shown.report;
    format!(
        "Account {}, {} to {} ({}), price {}",
        report.account,
        at_minute(report.from),
        at_minute(report.to),
        counted(report.hours, "hour"),
        report.price
    )
}

pub(super) fn table(shown: &Shown, terminal: Terminal) -> String {
    let mut text = format!("{}\n{}\n", title(shown), headline(&shown.report));
    for sheet in sheets(shown) {
        let mut table = tables::table_with(sheet.header.iter().copied(), terminal);
        for row in &sheet.rows {
            let cells = row.iter().enumerate().map(|(column, text)| {
                let alignment = if column < sheet.text_columns {
                    CellAlignment::Left
                } else {
                    CellAlignment::Right
                };
                Cell::new(tables::printable(text)).set_alignment(alignment)
            });
            table.add_row(cells.collect::<Vec<_>>());
        }
        let _ = write!(
            text,
            "\n{}\n{}",
            sheet.title,
            shown_lines(&table, &sheet, terminal)
        );
        if let Some(note) = &sheet.note {
            let _ = writeln!(text, " {note}");
        }
    }
    for line in closing(shown) {
        let _ = write!(text, "\n{line}");
    }
    if let Some(figures) = &shown.figures {
        let _ = write!(text, "\n\nWhere each figure comes from\n");
        for figure in figures {
            explained(&mut text, figure);
        }
    }
    text.trim_end().to_owned()
}

/// A sheet of texts ends with the reason for its row.
fn shown_lines(table: &comfy_table::Table, sheet: &Sheet, terminal: Terminal) -> String {
    if sheet.text_columns == sheet.header.len() {
        tables::lines_with_texts(table, 2, terminal)
    } else {
        tables::lines_of_figures(table, terminal)
    }
}

/// Returns the lines below the tables: the comparison with the bill, and notes.
pub(super) fn closing(shown: &Shown) -> Vec<String> {
    let mut lines: Vec<String> = shown.bill.iter().map(verdict).collect();
    lines.extend(shown.report.notes.iter().map(|note| format!("Note: {note}.")));
    lines
}

fn explained(text: &mut String, figure: &Figure) {
    let of = if figure.namespace.is_empty() {
        "account"
    } else {
        &figure.namespace
    };
    let _ = writeln!(
        text,
        "{of} {} = {}\n  {}",
        figure.figure,
        value(figure),
        figure.formula
    );
    for rows in &figure.rows {
        let _ = writeln!(text, "    {}", row_line(rows));
    }
}

/// Formats the value of a figure, which is exact in the JSON document.
pub(super) fn value(figure: &Figure) -> String {
    let is_money = figure.figure == "idle_usd" || figure.figure.starts_with("alternatives:");
    match figure.value.parse::<Decimal>() {
        Ok(amount) if is_money => in_dollars(amount),
        Ok(count) => grouped(count),
        Err(_) => figure.value.clone(),
    }
}

/// Describes rows in one line: `capacity_minutes account=a1b2c ..., 2026-11-22 10:00 UTC to ..., 12 minutes`.
pub(super) fn row_line(rows: &Rows) -> String {
    let mut line = rows.table.to_owned();
    for (key, value) in &rows.keys {
        let _ = write!(line, " {key}={value}");
    }
    let ranges: Vec<String> = rows
        .minutes
        .iter()
        .map(|(first, last)| {
            if first == last {
                at_minute(*first)
            } else {
                format!("{} to {}", at_minute(*first), at_minute(*last))
            }
        })
        .collect();
    if !ranges.is_empty() {
        let _ = write!(line, " [{}]", ranges.join(", "));
    }
    if !rows.contribution.is_empty() {
        let _ = write!(line, ": {}", rows.contribution);
    }
    if let Some(usd) = rows.usd {
        let _ = write!(line, ", {}", in_dollars(usd));
    }
    if let Some(capacity) = &rows.capacity {
        let _ = write!(line, " ({capacity})");
    }
    line
}

pub(super) fn markdown(shown: &Shown) -> String {
    let mut text = format!("## {}\n\n{}\n", title(shown), headline(&shown.report));
    for sheet in sheets(shown) {
        let table = tables::markdown_table(&sheet.header, &sheet.rows);
        let _ = write!(text, "\n### {}\n\n{table}", sheet.title);
        if let Some(note) = &sheet.note {
            let _ = write!(text, "\n{note}\n");
        }
    }
    for line in closing(shown) {
        let _ = write!(text, "\n{line}\n");
    }
    if let Some(figures) = &shown.figures {
        let _ = write!(text, "\n### Where each figure comes from\n\n```text\n");
        for figure in figures {
            explained(&mut text, figure);
        }
        text.push_str("```\n");
    }
    text.trim_end().to_owned()
}

pub(super) fn json(shown: &Shown) -> anyhow::Result<Value> {
    let mut document = serde_json::to_value(&shown.report)?;
    if let Some(object) = document.as_object_mut() {
        if let Some(figures) = &shown.figures {
            object.insert("figures".to_owned(), serde_json::to_value(figures)?);
        }
        if let Some(bill) = &shown.bill {
            object.insert("reconciliation".to_owned(), serde_json::to_value(bill)?);
        }
    }
    Ok(document)
}

/// Returns one row per namespace and policy. `actual` is the recorded capacity.
pub(super) fn csv(shown: &Shown) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "namespace",
        "policy",
        "used_actions",
        "idle_actions",
        "idle_usd",
        "saved_usd",
        "throttled_minutes",
        "throttled_actions",
        "delayed_actions",
        "changes",
        "hours",
        "hours_provisioned",
        "missing_minutes",
        "ledger_usd",
        "billed_usd",
    ])?;
    for it in &shown.report.namespaces {
        let its = &it.figures;
        let bill = shown.bill.as_ref();
        let bill = bill.and_then(|bill| bill.namespaces.iter().find(|bill| bill.namespace == it.namespace));
        writer.write_record([
            it.namespace.clone(),
            "actual".to_owned(),
            its.used_actions.to_string(),
            its.idle_actions.to_string(),
            its.idle_usd.to_string(),
            String::new(),
            its.throttled_minutes.to_string(),
            its.throttled_actions.to_string(),
            String::new(),
            its.changes.to_string(),
            its.hours.to_string(),
            its.hours_provisioned.to_string(),
            its.missing_minutes.to_string(),
            bill.map(|bill| bill.ledger_usd.to_string()).unwrap_or_default(),
            bill.map(|bill| bill.billed_usd.to_string()).unwrap_or_default(),
        ])?;
        for other in &its.alternatives {
            let mut record = vec![it.namespace.clone(), other.policy.to_owned(), String::new()];
            record.extend([
                other.idle_actions.to_string(),
                other.idle_usd.to_string(),
                other.saved_usd.to_string(),
                other.throttled_minutes.to_string(),
                other.throttled_actions.to_string(),
                other.delayed_actions.to_string(),
                other.changes.to_string(),
            ]);
            // Only the actual capacity was billed.
            record.resize(15, String::new());
            writer.write_record(record)?;
        }
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}
