//! A plan as text for people: table, Markdown, CSV, and the closing line.

use std::fmt::Write as _;
use std::time::Duration;

use capacity_autopilot::{ActionName, ChangeResult, Plan, PlannedDecision};
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};
use rust_decimal::{Decimal, RoundingStrategy};

use crate::terminal::Terminal;

const HEADER: [&str; 6] = ["namespace", "action", "now", "then", "$/h", "reason"];

/// Renders the decisions: changes first, then holds; keeps and skips only when `all` asks for them.
pub(crate) fn table(plan: &Plan, all: bool, terminal: Terminal) -> String {
    let shown = shown(plan, all);
    if shown.is_empty() {
        return String::new();
    }
    let mut table = table_with(HEADER, terminal);
    for decision in shown {
        table.add_row([
            Cell::new(printable(&decision.namespace)),
            Cell::new(decision.action.as_str()).fg(color(decision.action)),
            Cell::new(trus(decision.current_trus)),
            Cell::new(then(decision)),
            Cell::new(price_change(decision)).set_alignment(CellAlignment::Right),
            Cell::new(printable(&decision.reason)),
        ]);
    }
    lines(&table)
}

/// Says in one line what the table leaves out.
pub(crate) fn folded(plan: &Plan) -> String {
    let (keep, skip) = (plan.summary.keep, plan.summary.skip);
    match (keep, skip) {
        (0, 0) => String::new(),
        (keep, 0) => format!("{keep} kept as they are (--all shows them)\n"),
        (0, skip) => format!("{skip} skipped (--all shows them)\n"),
        (keep, skip) => format!("{keep} kept as they are and {skip} skipped (--all shows them)\n"),
    }
}

/// Renders the same rows as a Markdown table.
pub(crate) fn markdown(plan: &Plan, all: bool) -> String {
    let rows: Vec<_> = shown(plan, all)
        .into_iter()
        .map(|decision| {
            [
                decision.namespace.clone(),
                decision.action.as_str().to_owned(),
                trus(decision.current_trus),
                then(decision),
                price_change(decision),
                decision.reason.clone(),
            ]
        })
        .collect();
    markdown_table(HEADER, &rows)
}

/// A Markdown table. No cell ends its row or begins another: a line break becomes a blank, and `|` is escaped.
pub(crate) fn markdown_table(header: impl AsRef<[&'static str]>, rows: &[impl AsRef<[String]>]) -> String {
    let header = header.as_ref();
    let mut text = format!("| {} |\n|{}\n", header.join(" | "), " --- |".repeat(header.len()));
    for row in rows {
        let cells = row.as_ref().iter();
        let cells: Vec<String> = cells
            .map(|cell| printable(cell).replace('\\', "\\\\").replace('|', "\\|"))
            .collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

/// Renders every decision as CSV with a header, for spreadsheets and scripts.
pub(crate) fn csv(plan: &Plan) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "namespace",
        "action",
        "current_trus",
        "wanted_trus",
        "blocked_trus",
        "per_hour_before",
        "per_hour_after",
        "reason_code",
        "reason",
        "known_minutes",
    ])?;
    let number = |value: Option<u32>| value.map(|value| value.to_string()).unwrap_or_default();
    let money = |value: Option<Decimal>| value.map(|value| value.to_string()).unwrap_or_default();
    for decision in &plan.decisions {
        writer.write_record([
            &decision.namespace,
            decision.action.as_str(),
            &number(decision.current_trus),
            &number(decision.wanted_trus),
            &number(decision.blocked_trus),
            &money(decision.price.per_hour_before),
            &money(decision.price.per_hour_after),
            &decision.reason_code,
            &decision.reason,
            &number(decision.known_minutes),
        ])?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// Renders counts, money, requests and time in one line.
pub(crate) fn closing_line(plan: &Plan, took: Duration) -> String {
    let summary = &plan.summary;
    let mut counts = Vec::new();
    for (count, word) in [
        (summary.enable, "enable"),
        (summary.resize, "resize"),
        (summary.disable, "disable"),
        (summary.hold, "hold"),
        (summary.keep, "keep"),
        (summary.skip, "skip"),
    ] {
        if count > 0 {
            counts.push(format!("{count} {word}"));
        }
    }
    format!(
        "{} namespaces: {}; idle minimum ${}/h -> ${}/h at ${}/M; usage: {}; {} Cloud Ops and {} metrics requests, {:.1} s",
        summary.namespaces,
        if counts.is_empty() {
            "nothing to decide".to_owned()
        } else {
            counts.join(", ")
        },
        cents(summary.per_hour_before),
        cents(summary.per_hour_after),
        plan.price_per_million_actions.normalize(),
        plan.coverage(),
        summary.ops_requests,
        summary.metrics_requests,
        took.as_secs_f64(),
    )
}

/// Renders what became of the changes.
pub(crate) fn changes(changes: &[ChangeResult], terminal: Terminal) -> String {
    let mut table = table_with(["namespace", "change", "outcome", "why"], terminal);
    for change in changes {
        let color = if change.outcome.is_success() {
            Color::Green
        } else {
            Color::Red
        };
        let mut why = change.error.clone().unwrap_or_default();
        if !change.spec_differences.is_empty() {
            let _ = write!(
                why,
                " the spec changed beside the capacity: {}",
                change.spec_differences.join(", ")
            );
        }
        table.add_row([
            Cell::new(printable(&change.namespace)),
            Cell::new(format!(
                "{} -> {}",
                trus(Some(change.from_trus)),
                trus(Some(change.to_trus))
            )),
            Cell::new(change.outcome.as_str()).fg(color),
            Cell::new(printable(why.trim())),
        ]);
    }
    lines(&table)
}

/// The lines of a table, without the blanks that fill its last column.
pub(crate) fn lines(table: &Table) -> String {
    let text = table.to_string();
    text.lines()
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

/// An empty table in the style of the terminal.
pub(crate) fn table_with<'a>(header: impl IntoIterator<Item = &'a str>, terminal: Terminal) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    if terminal.output_colors() {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let bold = |title: &str| Cell::new(title).add_attribute(Attribute::Bold);
    table.set_header(header.into_iter().map(bold).collect::<Vec<_>>());
    table
}

/// Cents, rounded half to even.
pub(crate) fn cents(money: Decimal) -> String {
    format!(
        "{:.2}",
        money.round_dp_with_strategy(2, RoundingStrategy::MidpointNearestEven)
    )
}

fn shown(plan: &Plan, all: bool) -> Vec<&PlannedDecision> {
    let mut shown: Vec<_> = plan
        .decisions
        .iter()
        .filter(|decision| all || rank(decision.action) < rank(ActionName::Keep))
        .collect();
    shown.sort_by_key(|decision| rank(decision.action));
    shown
}

/// Changes first, then holds, then what is left as it is.
fn rank(action: ActionName) -> u8 {
    match action {
        ActionName::Enable => 0,
        ActionName::Resize => 1,
        ActionName::Disable => 2,
        ActionName::Hold => 3,
        ActionName::Keep => 4,
        ActionName::Skip => 5,
    }
}

fn color(action: ActionName) -> Color {
    match action {
        ActionName::Enable => Color::Green,
        ActionName::Resize | ActionName::Disable => Color::Cyan,
        ActionName::Hold => Color::Yellow,
        ActionName::Keep => Color::Reset,
        ActionName::Skip => Color::DarkGrey,
    }
}

pub(crate) fn trus(value: Option<u32>) -> String {
    match value {
        None => "unknown".to_owned(),
        Some(0) => "on-demand".to_owned(),
        Some(1) => "1 TRU".to_owned(),
        Some(value) => format!("{value} TRUs"),
    }
}

fn then(decision: &PlannedDecision) -> String {
    match (decision.action.is_change(), decision.blocked_trus) {
        (true, _) => trus(decision.wanted_trus),
        (false, Some(blocked)) => format!("(not {})", trus(Some(blocked))),
        (false, None) => String::new(),
    }
}

fn price_change(decision: &PlannedDecision) -> String {
    match (decision.price.per_hour_before, decision.price.per_hour_after) {
        (Some(before), Some(after)) if decision.action.is_change() => {
            format!("{} -> {}", cents(before), cents(after))
        }
        (Some(before), _) => match decision.price.per_hour_blocked {
            Some(blocked) => format!("{} (not {})", cents(before), cents(blocked)),
            None => cents(before),
        },
        (None, _) => "unknown".to_owned(),
    }
}

/// Text from outside may not steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect()
}

/// Returns a whole number with thousands separators.
pub(crate) fn grouped(number: impl Into<i128>) -> String {
    let number = number.into();
    let digits = number.unsigned_abs().to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|group| std::str::from_utf8(group).ok())
        .collect();
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", groups.join(","))
}

/// Returns text that is safe in HTML, also within quotes.
pub(crate) fn html_escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
