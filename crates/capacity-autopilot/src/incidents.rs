//! Notifications about problems outside the digest of one evaluation: a failed evaluation, a change without
//! an outcome, a changed spec, a terminated controller.
//!
//! Each function is pure and returns a complete message: what happened, since when, what it means for
//! capacity, and what to do.

use capacity_engine::Capacity;
use human_text::{at_minute, counted};
use jiff::Timestamp;
use slack_notifier::{Message, Section, Severity};

use crate::text::age;

/// A change that was posted and whose outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenChange<'a> {
    /// Full id of the namespace.
    pub namespace: &'a str,
    /// TRUs before; 0 means on-demand.
    pub from_trus: u32,
    /// Target TRUs; 0 means on-demand.
    pub to_trus: u32,
    /// The id of the operation.
    pub operation_id: &'a str,
    /// Start time; `None` if it was not recorded.
    pub started_at: Option<Timestamp>,
}

/// How many changes one message lists. The rest are only counted, so that the remedy stays in the message.
const LISTED: usize = 10;

/// Reports that an evaluation failed and made no decisions.
///
/// `since` is when the first evaluation of the current series failed, `last_good` when one last succeeded.
pub fn failed_evaluation(
    account: Option<&str>,
    since: Timestamp,
    last_good: Option<Timestamp>,
    now: Timestamp,
    error: &str,
) -> Message {
    let first = if now.duration_since(since).as_secs() < 60 {
        "This is the first failure".to_owned()
    } else {
        format!(
            "Evaluations have been failing since {}, for {}",
            at_minute(since),
            age(now.duration_since(since))
        )
    };
    let last_good = last_good.map_or_else(
        || "no evaluation has succeeded yet".to_owned(),
        |good| {
            format!(
                "the last successful one was at {}, {} ago",
                at_minute(good),
                age(now.duration_since(good))
            )
        },
    );
    let happened = vec![
        format!("The evaluation at {} failed: {error}", at_minute(now)),
        format!("{first}; {last_good}"),
        "Until an evaluation succeeds, no decisions are made and no capacity is changed".to_owned(),
    ];
    let remedy = vec![
        "Fix the cause named above; `temporal-capacity doctor` checks keys, roles, endpoints and the clock"
            .to_owned(),
        "The schedule retries automatically; `capacity-schedule trigger` evaluates right away".to_owned(),
    ];
    message(Severity::Critical, account, "evaluation failed", happened, remedy)
}

/// Reports that a change is still in progress after the expected time. It is still being followed.
pub fn slow_change(change: &OpenChange<'_>, now: Timestamp) -> Message {
    let happened =
        vec![
        format!("{} is still in progress{}", line(change), running_for(change, now)),
        "No other change is made to this namespace until it ends; the operation is followed for 24 h, and its \
         outcome is announced"
            .to_owned(),
    ];
    message(
        Severity::Warning,
        account_of(change),
        "a change is slow",
        happened,
        vec![look_up(change)],
    )
}

/// Reports that the outcome of a change is unknown after 24 hours. The change is no longer followed.
pub fn unknown_outcome(change: &OpenChange<'_>, now: Timestamp) -> Message {
    let happened =
        vec![
        format!("{} has no known outcome{}", line(change), running_for(change, now)),
        "It is recorded as `unknown` and no longer followed; changes start one at a time until one has been \
         verified"
            .to_owned(),
    ];
    message(
        Severity::Critical,
        account_of(change),
        "the outcome of a change is unknown",
        happened,
        vec![
            format!(
                "Compare the capacity of {} in Temporal Cloud with {}",
                change.namespace,
                size(change.to_trus)
            ),
            look_up(change),
        ],
    )
}

/// Reports that an open change has made no progress for some time, because no worker continues it.
pub fn change_without_progress(change: &OpenChange<'_>, since: Timestamp, now: Timestamp) -> Message {
    let happened = vec![
        format!(
            "{} has made no progress for {} (since {}){}",
            line(change),
            age(now.duration_since(since)),
            at_minute(since),
            change
                .started_at
                .map(|started| format!("; it was started {} ago", age(now.duration_since(started))))
                .unwrap_or_default()
        ),
        "No other change is made to this namespace until it ends".to_owned(),
    ];
    message(
        Severity::Warning,
        account_of(change),
        "a change makes no progress",
        happened,
        vec![
            format!(
                "Check that a worker of this version polls the task queue; `temporal workflow show -w \
                 capacity-change/{}` shows the failing step",
                change.namespace
            ),
            look_up(change),
        ],
    )
}

/// Reports that a spec changed after our update in fields that we did not change. Everything is paused.
pub fn spec_changed(change: &OpenChange<'_>, fields: &[String]) -> Message {
    let happened = vec![
        format!(
            "paused: the spec of {} changed after our update (fields: {})",
            change.namespace,
            fields.join(", ")
        ),
        format!(
            "The update was {} (operation {})",
            line(change),
            change.operation_id
        ),
        "No capacity is changed in this account until a person resumes changes".to_owned(),
    ];
    let mut remedy = vec![
        format!(
            "Check these fields of {} in Temporal Cloud and restore them if they are wrong; the audit log shows who changed them",
            change.namespace
        ),
        "Then run `capacity-schedule resume --spec-checked`".to_owned(),
    ];
    remedy.push(not_compared(fields));
    message(
        Severity::Critical,
        account_of(change),
        "paused because a spec changed after our update",
        happened,
        remedy,
    )
}

/// Reports that a spec was as sent at first, but differed when the operation ended. The namespace is held, and the gate is
/// closed.
pub fn spec_changed_later(change: &OpenChange<'_>, fields: &[String]) -> Message {
    let happened = vec![
        format!(
            "The spec of {} changed while our update was running (fields: {}); it was unchanged when first read after the update",
            change.namespace,
            fields.join(", ")
        ),
        format!("The update was {} (operation {})", line(change), change.operation_id),
        "This namespace is held (`spec_changed`), and changes start one at a time until one has been verified; the same field on a second namespace within a day pauses everything"
            .to_owned(),
    ];
    message(
        Severity::Critical,
        account_of(change),
        "a spec changed while our update was running",
        happened,
        vec![
            format!(
                "Check these fields of {} in Temporal Cloud; the audit log shows who changed them",
                change.namespace
            ),
            not_compared(fields),
        ],
    )
}

/// Reports that a field appeared in a spec after our update. Nothing is paused.
pub fn spec_field_appeared(change: &OpenChange<'_>, fields: &[String]) -> Message {
    let happened = vec![
        format!(
            "After our update, the spec of {} has fields that it did not have before: {}",
            change.namespace,
            fields.join(", ")
        ),
        "No field was changed or removed, so nothing is paused".to_owned(),
    ];
    message(
        Severity::Warning,
        account_of(change),
        "a spec has a new field after our update",
        happened,
        vec![
            format!(
                "This is usually how Temporal Cloud introduces a field; check its value on {}",
                change.namespace
            ),
            not_compared(fields),
        ],
    )
}

/// Reports that the maximum number of changes was posted and none has been verified. No more changes are started.
pub fn changes_without_verdict(changes: &[OpenChange<'_>], now: Timestamp) -> Message {
    let mut happened = vec![format!(
        "{} posted, but no reading has shown yet that the spec is otherwise unchanged; no more changes are started",
        were(changes.len())
    )];
    happened.extend(listed(changes, now));
    message(
        Severity::Critical,
        changes.first().and_then(account_of),
        "changes stopped because none could be verified",
        happened,
        vec![
            "Check that the Cloud Ops API responds (`temporal-capacity doctor`) and that a worker is running; changes continue after the first verified reading"
                .to_owned(),
        ],
    )
}

/// Reports that unfinished changes take all slots, so even scale-ups have to wait.
pub fn places_used_up(changes: &[OpenChange<'_>], now: Timestamp) -> Message {
    let mut happened = vec![format!(
        "All slots for running changes are taken by changes that do not finish ({}); no changes are started, including scale-ups",
        counted(changes.len(), "change")
    )];
    happened.extend(listed(changes, now));
    message(
        Severity::Critical,
        changes.first().and_then(account_of),
        "no change can be started",
        happened,
        vec![
            "Temporal Cloud allows 10 operations at a time: look up the operations above, and contact Temporal Support about those that do not end"
                .to_owned(),
            "Until then, no namespace can be scaled up automatically or manually".to_owned(),
        ],
    )
}

/// Reports that changes ended without an outcome because they were terminated or timed out.
pub fn terminated_with_changes(changes: &[OpenChange<'_>], now: Timestamp) -> Message {
    let mut happened = vec![format!(
        "{} ended without an outcome (terminated or timed out), recorded as `terminated`",
        counted(changes.len(), "open change")
    )];
    happened.extend(listed(changes, now));
    happened.push("Changes start one at a time until one has been verified".to_owned());
    message(
        Severity::Critical,
        changes.first().and_then(account_of),
        "changes were terminated",
        happened,
        vec![
            "Compare the capacity of these namespaces in Temporal Cloud with the size above; the next evaluation starts from the current capacity"
                .to_owned(),
            "To stop changes, use `capacity-schedule pause` instead of terminating workflows".to_owned(),
        ],
    )
}

/// Reports that the schedule was unpaused while a pause is open. The pause stays in effect.
///
/// `paused_by` and `why` belong to the pause.
pub fn schedule_unpaused(account: Option<&str>, paused_by: &str, why: &str, since: Timestamp) -> Message {
    let reason = if why.is_empty() {
        String::new()
    } else {
        format!(", reason: {why}")
    };
    message(
        Severity::Warning,
        account,
        "still paused, although the schedule was unpaused",
        vec![
            "Someone unpaused the schedule; evaluations run, but no capacity is changed".to_owned(),
            format!("Paused since {} by {paused_by}{reason}", at_minute(since)),
        ],
        vec!["Run `capacity-schedule resume` to end the pause, or pause the schedule again".to_owned()],
    )
}

fn message(
    severity: Severity,
    account: Option<&str>,
    what: &str,
    happened: Vec<String>,
    remedy: Vec<String>,
) -> Message {
    let title = match account {
        Some(account) => format!("Capacity of account {account}: {what}"),
        None => format!("Temporal Cloud capacity: {what}"),
    };
    Message {
        severity,
        title,
        sections: vec![
            Section {
                heading: None,
                lines: happened,
            },
            Section {
                heading: Some("What to do".to_owned()),
                lines: remedy,
            },
        ],
        context: Vec::new(),
    }
}

/// Returns the account: the part after the first dot, as in `NamespaceId`.
fn account_of<'a>(change: &OpenChange<'a>) -> Option<&'a str> {
    change.namespace.split_once('.').map(|(_, account)| account)
}

fn size(trus: u32) -> String {
    Capacity::from_trus(trus).to_string()
}

fn line(change: &OpenChange<'_>) -> String {
    format!(
        "[{}] {} -> {}",
        change.namespace,
        size(change.from_trus),
        size(change.to_trus)
    )
}

fn running_for(change: &OpenChange<'_>, now: Timestamp) -> String {
    change.started_at.map_or_else(
        || format!(" (operation {})", change.operation_id),
        |started| {
            format!(
                " after {} (started at {}, operation {})",
                age(now.duration_since(started)),
                at_minute(started),
                change.operation_id
            )
        },
    )
}

fn listed(changes: &[OpenChange<'_>], now: Timestamp) -> Vec<String> {
    let mut lines: Vec<String> = changes
        .iter()
        .take(LISTED)
        .map(|change| format!("{}{}", line(change), running_for(change, now)))
        .collect();
    if changes.len() > LISTED {
        lines.push(format!("... and {} more", changes.len() - LISTED));
    }
    lines
}

fn were(changes: usize) -> String {
    let verb = if changes == 1 { "was" } else { "were" };
    format!("{} {verb}", counted(changes, "change"))
}

fn look_up(change: &OpenChange<'_>) -> String {
    format!(
        "Look up the operation with `tcld request get --request-id {}`; contact Temporal Support if it does not end",
        change.operation_id
    )
}

fn not_compared(fields: &[String]) -> String {
    format!(
        "If Temporal Cloud itself changes such fields, exclude them from the comparison: `SPEC_FIELDS_NOT_COMPARED={}`",
        fields.join(",")
    )
}

#[cfg(test)]
mod tests;
