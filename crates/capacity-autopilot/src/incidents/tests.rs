//! Snapshots of every notification.

use super::*;

const NOW: &str = "2026-11-29T10:45:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn change() -> OpenChange<'static> {
    OpenChange {
        namespace: "pay.a1b2c",
        from_trus: 0,
        to_trus: 6,
        operation_id: "7ca9ac17-1111-8222-8333-444455556666",
        started_at: Some(at("2026-11-29T10:30:00Z")),
    }
}

fn text(message: &Message) -> String {
    let lines = message.sections.iter().flat_map(|section| {
        let heading = section.heading.iter().map(|heading| format!("*{heading}*"));
        heading.chain(section.lines.iter().cloned())
    });
    let title = format!("{:?}: {}", message.severity, message.title);
    std::iter::once(title).chain(lines).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_failed_evaluation_names_account_time_cause_since_when_and_remedy() {
    let message = failed_evaluation(
        Some("a1b2c"),
        at("2026-11-29T08:45:00Z"),
        Some(at("2026-11-29T07:45:00Z")),
        at(NOW),
        "failed to list namespaces: refused with 401 (unauthenticated)",
    );
    insta::assert_snapshot!(text(&message), @r"
    Critical: Capacity of account a1b2c: evaluation failed
    The evaluation at 2026-11-29 10:45 UTC failed: failed to list namespaces: refused with 401 (unauthenticated)
    Evaluations have been failing since 2026-11-29 08:45 UTC, for 2 h; the last successful one was at 2026-11-29 07:45 UTC, 3 h ago
    Until an evaluation succeeds, no decisions are made and no capacity is changed
    *What to do*
    Fix the cause named above; `temporal-capacity doctor` checks keys, roles, endpoints and the clock
    The schedule retries automatically; `capacity-schedule trigger` evaluates right away
    ");
}

#[test]
fn a_first_evaluation_that_fails_invents_no_account_and_no_time() {
    let message = failed_evaluation(None, at(NOW), None, at(NOW), "no response");
    insta::assert_snapshot!(text(&message), @r"
    Critical: Temporal Cloud capacity: evaluation failed
    The evaluation at 2026-11-29 10:45 UTC failed: no response
    This is the first failure; no evaluation has succeeded yet
    Until an evaluation succeeds, no decisions are made and no capacity is changed
    *What to do*
    Fix the cause named above; `temporal-capacity doctor` checks keys, roles, endpoints and the clock
    The schedule retries automatically; `capacity-schedule trigger` evaluates right away
    ");
    assert!(!text(&message).contains("unknown") && !text(&message).contains("1970"));
}

#[test]
fn a_slow_change_keeps_being_followed() {
    insta::assert_snapshot!(text(&slow_change(&change(), at(NOW))), @r"
    Warning: Capacity of account a1b2c: a change is slow
    [pay.a1b2c] on-demand -> 6 TRUs is still in progress after 15 min (started at 2026-11-29 10:30 UTC, operation 7ca9ac17-1111-8222-8333-444455556666)
    No other change is made to this namespace until it ends; the operation is followed for 24 h, and its outcome is announced
    *What to do*
    Look up the operation with `tcld request get --request-id 7ca9ac17-1111-8222-8333-444455556666`; contact Temporal Support if it does not end
    ");
}

#[test]
fn an_unknown_outcome_says_what_to_compare() {
    insta::assert_snapshot!(text(&unknown_outcome(&change(), at("2026-11-30T10:30:00Z"))), @r"
    Critical: Capacity of account a1b2c: the outcome of a change is unknown
    [pay.a1b2c] on-demand -> 6 TRUs has no known outcome after 24 h (started at 2026-11-29 10:30 UTC, operation 7ca9ac17-1111-8222-8333-444455556666)
    It is recorded as `unknown` and no longer followed; changes start one at a time until one has been verified
    *What to do*
    Compare the capacity of pay.a1b2c in Temporal Cloud with 6 TRUs
    Look up the operation with `tcld request get --request-id 7ca9ac17-1111-8222-8333-444455556666`; contact Temporal Support if it does not end
    ");
}

#[test]
fn a_change_without_progress_points_to_the_workers() {
    let since = at("2026-11-29T10:33:00Z");
    insta::assert_snapshot!(text(&change_without_progress(&change(), since, at(NOW))), @r"
    Warning: Capacity of account a1b2c: a change makes no progress
    [pay.a1b2c] on-demand -> 6 TRUs has made no progress for 12 min (since 2026-11-29 10:33 UTC); it was started 15 min ago
    No other change is made to this namespace until it ends
    *What to do*
    Check that a worker of this version polls the task queue; `temporal workflow show -w capacity-change/pay.a1b2c` shows the failing step
    Look up the operation with `tcld request get --request-id 7ca9ac17-1111-8222-8333-444455556666`; contact Temporal Support if it does not end
    ");
}

#[test]
fn a_changed_spec_names_the_fields_and_both_ways_out() {
    let fields = ["apiKeyAuth".to_owned(), "codecServer".to_owned()];
    let message = spec_changed(&change(), &fields);
    assert_eq!(message.severity, Severity::Critical);
    assert!(text(&message).contains(
        "paused: the spec of pay.a1b2c changed after our update (fields: apiKeyAuth, codecServer)"
    ));
    insta::assert_snapshot!(text(&message), @r"
    Critical: Capacity of account a1b2c: paused because a spec changed after our update
    paused: the spec of pay.a1b2c changed after our update (fields: apiKeyAuth, codecServer)
    The update was [pay.a1b2c] on-demand -> 6 TRUs (operation 7ca9ac17-1111-8222-8333-444455556666)
    No capacity is changed in this account until a person resumes changes
    *What to do*
    Check these fields of pay.a1b2c in Temporal Cloud and restore them if they are wrong; the audit log shows who changed them
    Then run `capacity-schedule resume --spec-checked`
    If Temporal Cloud itself changes such fields, exclude them from the comparison: `SPEC_FIELDS_NOT_COMPARED=apiKeyAuth,codecServer`
    ");
}

#[test]
fn a_spec_that_changed_later_holds_the_namespace() {
    insta::assert_snapshot!(text(&spec_changed_later(&change(), &["apiKeyAuth".to_owned()])), @r"
    Critical: Capacity of account a1b2c: a spec changed while our update was running
    The spec of pay.a1b2c changed while our update was running (fields: apiKeyAuth); it was unchanged when first read after the update
    The update was [pay.a1b2c] on-demand -> 6 TRUs (operation 7ca9ac17-1111-8222-8333-444455556666)
    This namespace is held (`spec_changed`), and changes start one at a time until one has been verified; the same field on a second namespace within a day pauses everything
    *What to do*
    Check these fields of pay.a1b2c in Temporal Cloud; the audit log shows who changed them
    If Temporal Cloud itself changes such fields, exclude them from the comparison: `SPEC_FIELDS_NOT_COMPARED=apiKeyAuth`
    ");
}

#[test]
fn a_field_that_only_appeared_is_a_warning() {
    insta::assert_snapshot!(text(&spec_field_appeared(&change(), &["description".to_owned()])), @r"
    Warning: Capacity of account a1b2c: a spec has a new field after our update
    After our update, the spec of pay.a1b2c has fields that it did not have before: description
    No field was changed or removed, so nothing is paused
    *What to do*
    This is usually how Temporal Cloud introduces a field; check its value on pay.a1b2c
    If Temporal Cloud itself changes such fields, exclude them from the comparison: `SPEC_FIELDS_NOT_COMPARED=description`
    ");
}

#[test]
fn changes_without_a_verdict_are_listed() {
    let one = changes_without_verdict(&[change()], at(NOW));
    assert!(text(&one).contains("1 change was posted"), "{}", text(&one));
    insta::assert_snapshot!(text(&changes_without_verdict(&[change(); 3], at(NOW))), @r"
    Critical: Capacity of account a1b2c: changes stopped because none could be verified
    3 changes were posted, but no reading has shown yet that the spec is otherwise unchanged; no more changes are started
    [pay.a1b2c] on-demand -> 6 TRUs after 15 min (started at 2026-11-29 10:30 UTC, operation 7ca9ac17-1111-8222-8333-444455556666)
    [pay.a1b2c] on-demand -> 6 TRUs after 15 min (started at 2026-11-29 10:30 UTC, operation 7ca9ac17-1111-8222-8333-444455556666)
    [pay.a1b2c] on-demand -> 6 TRUs after 15 min (started at 2026-11-29 10:30 UTC, operation 7ca9ac17-1111-8222-8333-444455556666)
    *What to do*
    Check that the Cloud Ops API responds (`temporal-capacity doctor`) and that a worker is running; changes continue after the first verified reading
    ");
}

#[test]
fn unfinished_changes_that_use_all_slots_are_counted_and_the_remedy_stays() {
    insta::assert_snapshot!(text(&places_used_up(&[change(); 12], at(NOW))), @r"
    Critical: Capacity of account a1b2c: no change can be started
    All slots for running changes are taken by changes that do not finish (12 changes); no changes are started, including scale-ups
    [pay.a1b2c] on-demand -> 6 TRUs after 15 min (started at 2026-11-29 10:30 UTC, operation 7ca9ac17-1111-8222-8333-444455556666)
    [pay.a1b2c] on-demand -> 6 TRUs after 15 min (started at 2026-11-29 10:30 UTC, operation 7ca9ac17-1111-8222-8333-444455556666)
    [pay.a1b2c] on-demand -> 6 TRUs after 15 min (started at 2026-11-29 10:30 UTC, operation 7ca9ac17-1111-8222-8333-444455556666)
    [pay.a1b2c] on-demand -> 6 TRUs after 15 min (started at 2026-11-29 10:30 UTC, operation 7ca9ac17-1111-8222-8333-444455556666)
    [pay.a1b2c] on-demand -> 6 TRUs after 15 min (started at 2026-11-29 10:30 UTC, operation 7ca9ac17-1111-8222-8333-444455556666)
    [pay.a1b2c] on-demand -> 6 TRUs after 15 min (started at 2026-11-29 10:30 UTC, operation 7ca9ac17-1111-8222-8333-444455556666)
    [pay.a1b2c] on-demand -> 6 TRUs after 15 min (started at 2026-11-29 10:30 UTC, operation 7ca9ac17-1111-8222-8333-444455556666)
    [pay.a1b2c] on-demand -> 6 TRUs after 15 min (started at 2026-11-29 10:30 UTC, operation 7ca9ac17-1111-8222-8333-444455556666)
    [pay.a1b2c] on-demand -> 6 TRUs after 15 min (started at 2026-11-29 10:30 UTC, operation 7ca9ac17-1111-8222-8333-444455556666)
    [pay.a1b2c] on-demand -> 6 TRUs after 15 min (started at 2026-11-29 10:30 UTC, operation 7ca9ac17-1111-8222-8333-444455556666)
    ... and 2 more
    *What to do*
    Temporal Cloud allows 10 operations at a time: look up the operations above, and contact Temporal Support about those that do not end
    Until then, no namespace can be scaled up automatically or manually
    ");
}

#[test]
fn terminated_changes_are_listed() {
    let unknown_start = OpenChange {
        started_at: None,
        ..change()
    };
    insta::assert_snapshot!(text(&terminated_with_changes(
        &[change(), unknown_start],
        at(NOW)
    )), @r"
    Critical: Capacity of account a1b2c: changes were terminated
    2 open changes ended without an outcome (terminated or timed out), recorded as `terminated`
    [pay.a1b2c] on-demand -> 6 TRUs after 15 min (started at 2026-11-29 10:30 UTC, operation 7ca9ac17-1111-8222-8333-444455556666)
    [pay.a1b2c] on-demand -> 6 TRUs (operation 7ca9ac17-1111-8222-8333-444455556666)
    Changes start one at a time until one has been verified
    *What to do*
    Compare the capacity of these namespaces in Temporal Cloud with the size above; the next evaluation starts from the current capacity
    To stop changes, use `capacity-schedule pause` instead of terminating workflows
    ");
}

#[test]
fn a_schedule_unpaused_behind_a_pause_changes_nothing() {
    insta::assert_snapshot!(text(&schedule_unpaused(
        Some("a1b2c"),
        "sre@example.com",
        "migration",
        at(NOW)
    )), @r"
    Warning: Capacity of account a1b2c: still paused, although the schedule was unpaused
    Someone unpaused the schedule; evaluations run, but no capacity is changed
    Paused since 2026-11-29 10:45 UTC by sre@example.com, reason: migration
    *What to do*
    Run `capacity-schedule resume` to end the pause, or pause the schedule again
    ");
}
