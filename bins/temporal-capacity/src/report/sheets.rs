//! The tables of a report, shared by terminal, Markdown and HTML.

use std::fmt::Write as _;

use capacity_engine::pricing::in_dollars;
use capacity_report::{Figures, Reconciliation, Report, paid};
use human_text::{at_minute, counted, grouped};
use rust_decimal::Decimal;

use super::shown::Shown;

/// Maximum number of rows that a table shows. JSON and CSV contain all.
const SHOWN: usize = 40;

/// One table of a report, with a title and a note.
pub(super) struct Sheet {
    pub(super) title: String,
    pub(super) header: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
    /// Number of columns from the left that contain text.
    pub(super) text_columns: usize,
    /// Note below the table.
    pub(super) note: Option<String>,
}

impl Sheet {
    /// Truncates the table to the rows that are shown, and adds a note with the number of rows left out.
    fn cut(mut self) -> Self {
        let left = self.rows.len().saturating_sub(SHOWN);
        if left > 0 {
            self.rows.truncate(SHOWN);
            self.note = Some(format!("and {left} more; use -o csv or json to show all"));
        }
        self
    }
}

/// Returns all tables that have rows.
pub(super) fn sheets(shown: &Shown) -> Vec<Sheet> {
    let report = &shown.report;
    let mut sheets = vec![
        policies(&report.total),
        namespaces(report),
        changes(report),
        reasons(report),
        shadows(report),
        shadow_differences(report),
    ];
    if let Some(bill) = &shown.bill {
        sheets.extend([bills(bill), differences(bill)]);
    }
    sheets.retain(|sheet| !sheet.rows.is_empty());
    sheets.into_iter().map(Sheet::cut).collect()
}

fn policies(total: &Figures) -> Sheet {
    let mut rows = vec![vec![
        "actual".to_owned(),
        in_dollars(total.idle_usd),
        String::new(),
        grouped(total.throttled_minutes),
        grouped(total.throttled_actions),
        grouped(total.changes),
    ]];
    rows.extend(total.alternatives.iter().map(|it| {
        vec![
            it.policy.to_owned(),
            in_dollars(it.idle_usd),
            in_dollars(it.saved_usd),
            grouped(it.throttled_minutes),
            grouped(it.throttled_actions),
            grouped(it.changes),
        ]
    }));
    Sheet {
        title: "Paid for unused capacity, and what other policies would have cost over the same minutes"
            .to_owned(),
        header: vec![
            "policy",
            "unused $",
            "vs. actual $",
            "throttled min",
            "throttled actions",
            "changes",
        ],
        rows,
        text_columns: 1,
        note: None,
    }
}

fn namespaces(report: &Report) -> Sheet {
    let saved = |figures: &Figures, policy: &str| {
        figures
            .alternative(policy)
            .map_or_else(String::new, |it| in_dollars(it.saved_usd))
    };
    let rows = report.namespaces.iter().map(|it| {
        let its = &it.figures;
        vec![
            it.namespace.clone(),
            in_dollars(its.idle_usd),
            saved(its, "static-peak"),
            saved(its, "threshold"),
            grouped(its.hours_provisioned),
            grouped(its.throttled_minutes),
            grouped(its.changes),
            grouped(its.missing_minutes),
        ]
    });
    Sheet {
        title: "By namespace".to_owned(),
        header: vec![
            "namespace",
            "unused $",
            "fixed peak vs. actual $",
            "threshold vs. actual $",
            "provisioned h",
            "throttled min",
            "changes",
            "no metrics min",
        ],
        rows: rows.collect(),
        text_columns: 1,
        note: None,
    }
}

fn changes(report: &Report) -> Sheet {
    let rows = report
        .changes_by
        .iter()
        .map(|it| vec![it.by.clone(), it.outcome.replace('_', " "), grouped(it.changes)]);
    Sheet {
        title: "Changes".to_owned(),
        header: vec!["by", "outcome", "changes"],
        rows: rows.collect(),
        text_columns: 2,
        note: Some("`temporal-capacity history --changes` shows each with its reason".to_owned()),
    }
}

fn reasons(report: &Report) -> Sheet {
    let rows = report.reasons.iter().map(|it| {
        vec![
            it.action.clone(),
            it.reason_code.clone(),
            grouped(it.decisions),
            grouped(it.namespaces),
        ]
    });
    Sheet {
        title: format!(
            "Decisions by reason, in {}",
            counted(report.evaluations, "evaluation")
        ),
        header: vec!["decision", "reason", "decisions", "namespaces"],
        rows: rows.collect(),
        text_columns: 2,
        note: None,
    }
}

fn shadows(report: &Report) -> Sheet {
    let rows = report.shadow.iter().map(|it| {
        vec![
            it.policy.clone(),
            grouped(it.decisions),
            grouped(it.agreed),
            grouped(it.larger),
            grouped(it.smaller),
        ]
    });
    Sheet {
        title: "Shadow policy: decisions in the same evaluations".to_owned(),
        header: vec!["policy", "decisions", "agreed", "larger size", "smaller size"],
        rows: rows.collect(),
        text_columns: 1,
        note: None,
    }
}

fn shadow_differences(report: &Report) -> Sheet {
    let trus = |trus: i64| crate::render::trus(u32::try_from(trus).ok());
    let rows = report.shadow.iter().flat_map(|shadow| {
        shadow.differences.iter().map(|it| {
            vec![
                at_minute(it.at),
                it.namespace.clone(),
                trus(it.acting_trus),
                format!("{}: {}", shadow.policy, trus(it.shadow_trus)),
                it.reason.clone(),
            ]
        })
    });
    Sheet {
        title: "Shadow policy: newest decisions for a different size".to_owned(),
        header: vec!["when", "namespace", "acting", "in shadow", "reason"],
        rows: rows.collect(),
        text_columns: 5,
        note: None,
    }
}

fn bills(bill: &Reconciliation) -> Sheet {
    let row = |name: &str, hours: i64, ledger: Decimal, billed: Decimal, difference: Decimal, differ: i64| {
        vec![
            name.to_owned(),
            grouped(hours),
            in_dollars(ledger),
            in_dollars(billed),
            in_dollars(difference),
            grouped(differ),
        ]
    };
    let mut rows: Vec<Vec<String>> = bill
        .namespaces
        .iter()
        .map(|it| {
            row(
                &it.namespace,
                it.hours,
                it.ledger_usd,
                it.billed_usd,
                it.difference_usd,
                it.hours_that_differ,
            )
        })
        .collect();
    let sum = |of: fn(&capacity_report::NamespaceBill) -> i64| bill.namespaces.iter().map(of).sum();
    // At the top, because a long table is cut at its end.
    rows.insert(
        0,
        row(
            "all",
            sum(|it| it.hours),
            bill.ledger_usd,
            bill.billed_usd,
            bill.difference_usd,
            sum(|it| it.hours_that_differ),
        ),
    );
    Sheet {
        title: format!(
            "Billed actions, by billing report {} until {}",
            bill.billing_report_id, bill.billed_until
        ),
        header: vec![
            "namespace",
            "hours",
            "ledger $",
            "billed $",
            "difference $",
            "hours that differ",
        ],
        rows,
        text_columns: 1,
        note: None,
    }
}

fn differences(bill: &Reconciliation) -> Sheet {
    let rows = bill.differences.iter().map(|it| {
        vec![
            it.namespace.clone(),
            at_minute(it.hour),
            it.explanation.sentence().to_owned(),
            it.ledger_trus
                .map_or_else(|| "unknown".to_owned(), |trus| trus.to_string()),
            it.known_minutes.to_string(),
            grouped(it.ledger_actions),
            decimal(it.billed_actions),
            in_dollars(it.difference_usd),
        ]
    });
    Sheet {
        title: "Hours that differ".to_owned(),
        header: vec![
            "namespace",
            "hour",
            "explained by",
            "TRUs",
            "known min",
            "ledger actions",
            "billed actions",
            "difference $",
        ],
        rows: rows.collect(),
        text_columns: 3,
        note: None,
    }
}

/// Formats an amount that may have a fraction, to the thousandth.
fn decimal(amount: Decimal) -> String {
    let amount = amount.round_dp(3).normalize();
    let whole = grouped(amount.trunc());
    match amount.to_string().split_once('.') {
        Some((_, decimals)) => format!("{whole}.{decimals}"),
        None => whole,
    }
}

/// Returns a summary of the report in a few sentences.
pub(super) fn headline(report: &Report) -> String {
    let total = &report.total;
    let paid = paid(total);
    let mut text = format!(
        "{} in {} of {}, with {}.",
        paid.strip_prefix('u')
            .map_or(paid.clone(), |rest| format!("U{rest}")),
        counted(total.hours_provisioned, "provisioned hour"),
        counted(report.namespaces.len(), "namespace"),
        counted(total.throttled_minutes, "throttled minute")
    );
    for (policy, name) in [
        ("static-peak", "A fixed size at the peak"),
        ("threshold", "The threshold policy"),
    ] {
        if let Some(it) = total.alternative(policy) {
            let _ = write!(
                text,
                " {name} would have cost {}{}, with {}.",
                in_dollars(it.idle_usd),
                match it.saved_usd {
                    saved if saved > Decimal::ZERO => format!(", {} more", in_dollars(saved)),
                    saved if saved < Decimal::ZERO => format!(", {} less", in_dollars(-saved)),
                    _ => ", the same".to_owned(),
                },
                counted(it.throttled_minutes, "throttled minute")
            );
        }
    }
    text
}

/// Returns the result of the comparison with the bill.
pub(super) fn verdict(bill: &Reconciliation) -> String {
    let compared: i64 = bill.namespaces.iter().map(|it| it.hours).sum();
    let mut text = if bill.is_equal {
        format!(
            "The bill matches the ledger to the cent in {} compared: {}.",
            counted(compared, "hour"),
            in_dollars(bill.billed_usd)
        )
    } else if bill.differences.is_empty() {
        format!(
            "None of the {} hours compared differs by half a cent or more; the sum of the differences is {}.",
            grouped(compared),
            in_dollars(bill.difference_usd)
        )
    } else {
        format!(
            "The bill is {} {} than the ledger; {} of {} hours differ, {} of them without an explanation.",
            in_dollars(bill.difference_usd.abs()),
            if bill.difference_usd < Decimal::ZERO {
                "lower"
            } else {
                "higher"
            },
            grouped(bill.differences.len()),
            grouped(compared),
            grouped(bill.unexplained)
        )
    };
    if bill.hours_not_billed > 0 {
        let _ = write!(
            text,
            " Not billed yet: the last {} of the range.",
            counted(bill.hours_not_billed, "hour")
        );
    }
    text
}
