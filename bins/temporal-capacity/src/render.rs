//! Renders a plan as a table, Markdown or CSV, with a closing line.

use std::fmt::Write as _;
use std::time::Duration;

use capacity_autopilot::{ActionName, ChangeResult, Plan, PlannedDecision};
use capacity_engine::pricing::{in_dollars, per_million};
use comfy_table::{Cell, CellAlignment, Color};
use human_text::{counted, grouped};
use rust_decimal::Decimal;

use crate::tables::{lines_with_texts, markdown_table, printable, table_with};
use crate::terminal::Terminal;

const HEADER: [&str; 6] = ["namespace", "action", "now", "then", "$/h", "reason"];

/// Renders the decisions: changes first, then holds. Includes keeps and skips only if `all` is set.
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
    lines_with_texts(&table, HEADER.len() - 1, terminal)
}

/// Returns a line that counts the namespaces left out of the table.
pub(crate) fn folded(plan: &Plan) -> String {
    let counts = [(plan.summary.keep, "unchanged"), (plan.summary.skip, "skipped")];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts
        .map(|(count, what)| format!("{} {what}", grouped(count)))
        .collect();
    if counts.is_empty() {
        return String::new();
    }
    format!("{} (--all shows them)\n", counts.join(" and "))
}

/// Renders the same rows as Markdown.
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

/// Renders every decision as CSV with a header.
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

/// Renders a line with counts, money, requests and duration.
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
            counts.push(format!("{} {word}", grouped(count)));
        }
    }
    format!(
        "{}: {}; idle minimum {}/h -> {}/h at {}; usage: {}; {}, {:.1} s",
        counted(summary.namespaces, "namespace"),
        if counts.is_empty() {
            "nothing to decide".to_owned()
        } else {
            counts.join(", ")
        },
        in_dollars(summary.per_hour_before),
        in_dollars(summary.per_hour_after),
        per_million(plan.price_per_million_actions),
        plan.coverage(),
        requests(summary.ops_requests, summary.metrics_requests),
        took.as_secs_f64(),
    )
}

/// Counts requests. Usage that a ledger or Prometheus has takes no request to the metrics endpoint.
fn requests(ops: u64, metrics: u64) -> String {
    let ops = counted(ops, "Cloud Ops request");
    match metrics {
        0 => ops,
        metrics => format!("{ops} and {}", counted(metrics, "metrics request")),
    }
}

/// Renders the outcomes of the changes.
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
            let separator = if why.is_empty() { "" } else { "; " };
            let fields = change.spec_differences.join(", ");
            let _ = write!(why, "{separator}other fields of the spec changed: {fields}");
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
    lines_with_texts(&table, 3, terminal)
}

fn shown(plan: &Plan, all: bool) -> Vec<&PlannedDecision> {
    let mut shown: Vec<_> = plan
        .decisions
        .iter()
        .filter(|decision| all || rank(decision.action) < rank(ActionName::Keep))
        .collect();
    // A stable sort keeps the plan's order within each group.
    shown.sort_by_key(|decision| rank(decision.action));
    shown
}

/// Returns the sort order: changes, then holds, then the rest.
fn rank(action: ActionName) -> u8 {
    match action {
        ActionName::Enable => 0,
        ActionName::Resize => 1,
        ActionName::Disable => 2,
        ActionName::Hold => 3,
        ActionName::Keep => 4,
        ActionName::Skip => 5,
        _ => 6,
    }
}

fn color(action: ActionName) -> Color {
    match action {
        ActionName::Enable => Color::Green,
        ActionName::Resize | ActionName::Disable => Color::Cyan,
        ActionName::Hold => Color::Yellow,
        ActionName::Skip => Color::DarkGrey,
        _ => Color::Reset,
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
            format!("{} -> {}", in_dollars(before), in_dollars(after))
        }
        (Some(before), _) => match decision.price.per_hour_blocked {
            Some(blocked) => format!("{} (not {})", in_dollars(before), in_dollars(blocked)),
            None => in_dollars(before),
        },
        (None, _) => "unknown".to_owned(),
    }
}

/// Escapes a text for HTML, including attribute values.
pub(crate) fn html_escaped(text: &str) -> String {
    // First, or it would escape the other escapes too.
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn decision(namespace: &str, action: &str, now: Option<u32>, then: Option<u32>, reason: &str) -> Value {
        let is_hold = action == "Hold";
        let price = |trus: Option<u32>| trus.map(|trus| (trus * 18).to_string());
        json!({
            "namespace": namespace,
            "action": action,
            "current_trus": now,
            "wanted_trus": if is_hold { now } else { then },
            "blocked_trus": then.filter(|_| is_hold),
            "reason_code": "a_code",
            "reason": reason,
            "announce": false,
            "price": {
                "per_hour_before": price(now),
                "per_hour_after": price(if is_hold { now } else { then }),
                "per_hour_blocked": price(then.filter(|_| is_hold)),
            },
            "throttled_percent": null,
            "sample_minute": "2026-11-25T10:41:00Z",
            "known_minutes": 60,
            "resource_version": "1",
        })
    }

    /// Returns a plan with every action, as if it were read from a file.
    fn plan() -> Plan {
        let decisions = [
            decision(
                "payments.a1b2c",
                "Skip",
                Some(0),
                Some(0),
                "matches NAMESPACE_DENYLIST",
            ),
            decision(
                "fulfillment.a1b2c",
                "Keep",
                Some(3),
                Some(3),
                "2,324,235 actions in the last hour with 3 TRUs",
            ),
            decision("unreadable.a1b2c", "Hold", None, None, "its capacity is unknown"),
            decision(
                "batch-legacy.a1b2c",
                "Hold",
                Some(7),
                Some(0),
                "3 actions in the last hour, below the threshold of 100, but its limits were set by Temporal Support; change it manually or through Support",
            ),
            decision(
                "orders.a1b2c",
                "Disable",
                Some(4),
                Some(0),
                "46 actions in the last hour, below the threshold of 100",
            ),
            decision(
                "search.a1b2c",
                "Resize",
                Some(2),
                Some(3),
                "12.0% of actions throttled at the limit of 1,000/s",
            ),
            decision(
                "checkout.a1b2c",
                "Enable",
                Some(0),
                Some(6),
                "39.4% of actions throttled (325.5 of 825.5/s) at the limit of 500/s",
            ),
        ];
        let plan = json!({
            "schema": "temporal-capacity/plan/v1",
            "plan_id": "plan-1",
            "account": "a1b2c",
            "evaluated_at": "2026-11-25T10:45:00Z",
            "metrics_unavailable": false,
            "usage_window": "prometheus",
            "price_per_million_actions": "50",
            "decisions": decisions,
            "warnings": [],
            "summary": {
                "namespaces": 7, "enable": 1, "resize": 1, "disable": 1, "hold": 2, "keep": 1, "skip": 1,
                "per_hour_before": "288", "per_hour_after": "340.5", "ops_requests": 6, "metrics_requests": 1,
            },
            "changes": [
                {"namespace": "checkout.a1b2c", "from_trus": 0, "to_trus": 6, "outcome": "changed", "operation_id": "1", "error": null},
                {
                    "namespace": "orders.a1b2c", "from_trus": 4, "to_trus": 0, "outcome": "failed", "operation_id": "2",
                    "error": "the API refused with 400: capacity cannot be changed now", "spec_differences": ["apiKeyAuth"],
                },
            ],
        });
        serde_json::from_value(plan).expect("a plan")
    }

    #[test]
    fn a_plan_is_shown_as() {
        let plan = plan();
        for (name, width) in [
            ("table_piped", None),
            ("table_80", Some(80)),
            ("table_120", Some(120)),
        ] {
            let terminal = Terminal::plain(width);
            let shown = format!(
                "{}{}{}\n\nwith --all:\n{}\nchanges:\n{}",
                table(&plan, false, terminal),
                folded(&plan),
                closing_line(&plan, Duration::from_millis(1_234)),
                table(&plan, true, terminal),
                changes(plan.changes.as_deref().unwrap_or_default(), terminal)
            );
            insta::assert_snapshot!(name, shown);
        }
        insta::assert_snapshot!("markdown", markdown(&plan, true));
        insta::assert_snapshot!("csv", csv(&plan).expect("CSV"));
    }
}
