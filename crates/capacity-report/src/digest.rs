//! The notification for the channel, with the figures of the report.

use capacity_engine::pricing::in_dollars;
use human_text::{counted, grouped};
use rust_decimal::Decimal;
use slack_notifier::{Message, Section, Severity};

use crate::report::{Figures, Report, paid};

/// Number of namespaces listed in the message.
const NAMED: usize = 5;

/// Builds the notification for a report.
pub fn digest(report: &Report) -> Message {
    let attention = attention(report);
    let day = |time: jiff::Timestamp| time.strftime("%Y-%m-%d").to_string();
    let sections = [
        (
            "Other policies over the same minutes",
            alternatives(&report.total),
        ),
        ("Paid for unused capacity", namespaces(report)),
        ("Changes", changes(report)),
        ("Shadow policy", shadow(report)),
        ("Needs attention", attention.clone()),
    ];
    Message {
        severity: if attention.is_empty() {
            Severity::Info
        } else {
            Severity::Warning
        },
        title: format!(
            "Capacity of account {}, {} to {}: {}",
            report.account,
            day(report.from),
            day(report.to),
            paid(&report.total)
        ),
        sections: sections
            .into_iter()
            .filter(|(_, lines)| !lines.is_empty())
            .map(|(heading, lines)| Section {
                heading: Some(heading.to_owned()),
                lines,
            })
            .collect(),
        context: vec![format!(
            "{}, {}, price {}",
            counted(report.namespaces.len(), "namespace"),
            counted(report.hours, "hour"),
            report.price
        )],
    }
}

/// Describes how the cost of another policy compares with the amount paid.
pub(crate) fn compared(saved: Decimal) -> String {
    match saved {
        saved if saved > Decimal::ZERO => format!("{} more than was paid", in_dollars(saved)),
        saved if saved < Decimal::ZERO => format!("{} less than was paid", in_dollars(-saved)),
        _ => "the same as was paid".to_owned(),
    }
}

fn alternatives(total: &Figures) -> Vec<String> {
    let mut lines = vec![format!(
        "actual: {}, {}, {}",
        in_dollars(total.idle_usd),
        counted(total.throttled_minutes, "throttled minute"),
        counted(total.changes, "change")
    )];
    lines.extend(total.alternatives.iter().map(|it| {
        format!(
            "{}: {}, {}; {}, {}",
            it.policy,
            in_dollars(it.idle_usd),
            compared(it.saved_usd),
            counted(it.throttled_minutes, "throttled minute"),
            counted(it.changes, "change")
        )
    }));
    lines
}

fn namespaces(report: &Report) -> Vec<String> {
    let paid: Vec<String> = report
        .namespaces
        .iter()
        .filter(|it| !it.figures.idle_usd.is_zero())
        .map(|it| {
            format!(
                "{}: {} in {} provisioned hours",
                it.namespace,
                in_dollars(it.figures.idle_usd),
                grouped(it.figures.hours_provisioned)
            )
        })
        .collect();
    let left = paid.len().saturating_sub(NAMED);
    let mut lines: Vec<String> = paid.into_iter().take(NAMED).collect();
    if left > 0 {
        lines.push(format!("and {left} more namespaces"));
    }
    lines
}

fn changes(report: &Report) -> Vec<String> {
    report
        .changes_by
        .iter()
        .map(|it| {
            format!(
                "{} {} by {}",
                grouped(it.changes),
                it.outcome.replace('_', " "),
                it.by
            )
        })
        .collect()
}

fn shadow(report: &Report) -> Vec<String> {
    report
        .shadow
        .iter()
        .map(|it| {
            format!(
                "{} agreed in {} of {} decisions; it wanted a larger size in {} and a smaller one in {}",
                it.policy,
                grouped(it.agreed),
                grouped(it.decisions),
                grouped(it.larger),
                grouped(it.smaller)
            )
        })
        .collect()
}

fn attention(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if report.minutes_without_metrics > 0 {
        lines.push(format!(
            "{} of {} minutes without metrics",
            grouped(report.minutes_without_metrics),
            grouped(report.hours * 60)
        ));
    }
    if report.total.changes_failed > 0 {
        lines.push(format!(
            "{} failed or refused; `temporal-capacity history --changes` shows why",
            counted(report.total.changes_failed, "change")
        ));
    }
    if report.total.hours_capacity_unknown > 0 {
        lines.push(format!(
            "the capacity of {} is unknown",
            counted(report.total.hours_capacity_unknown, "hour")
        ));
    }
    lines
}
