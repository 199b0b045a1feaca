//! Renders an explanation as text and as JSON.

use std::fmt::Write as _;

use capacity_autopilot::{ActionName, Plan, PlannedDecision};
use capacity_engine::explain::{Explanation, Flip, Inputs, Row};
use capacity_engine::pricing::in_dollars;
use capacity_engine::{
    Capacity, CapacityInfo, ConsideredOption, LimitKind, Rate, ReasonCode, ReportedUsage, RequestState,
    Snapshot, UsageWindow, present_capacity,
};
use capacity_ledger::HistoryRow;
use comfy_table::{Cell, CellAlignment};
use human_text::{at_minute, at_second, grouped, span};
use jiff::Timestamp;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::{Value, json};

use crate::render;
use crate::tables;
use crate::terminal::Terminal;

/// Maximum number of flips shown as text, for observed inputs and for settings each.
const NAMED: usize = 3;

/// Shown if the re-evaluated decision differs from the recorded one.
const DECIDED_AGAIN: &str = "The decision above was re-evaluated by this version from the recorded inputs; the original decision used inputs that were not recorded, or other settings.";

/// An explanation, as it is printed.
pub(super) struct Document {
    subject: String,
    at: String,
    decision: PlannedDecision,
    row: Option<(Row, &'static str)>,
    /// Names and values of the inputs.
    seen: Vec<(String, String)>,
    seen_json: Value,
    options: Vec<ConsideredOption>,
    flips: Vec<ShownFlip>,
    /// Whether flips were searched for.
    is_searched: bool,
    notes: Vec<String>,
    /// Inputs that were neither observed nor recorded.
    assumed: Vec<String>,
    recorded: Option<Value>,
}

fn decision_json(decision: &PlannedDecision) -> Value {
    json!({
        "action": decision.action,
        "current_trus": decision.current_trus,
        "wanted_trus": decision.wanted_trus,
        "blocked_trus": decision.blocked_trus,
        "reason_code": decision.reason_code,
        "reason": decision.reason,
    })
}

/// Returns the action as text, such as `Enable 6 TRUs` or `Keep`.
fn action_words(decision: &PlannedDecision) -> String {
    let action = decision.action.as_str();
    match (decision.action, decision.wanted_trus) {
        (ActionName::Enable | ActionName::Resize, Some(wanted)) => {
            format!("{action} {}", render::trus(Some(wanted)))
        }
        _ => action.to_owned(),
    }
}

/// A change of one input that changes the decision.
pub(super) struct ShownFlip {
    pub(super) input: String,
    pub(super) is_observed: bool,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) becomes: PlannedDecision,
}

/// Returns a number without the thousands separators that people see.
fn ungrouped(shown: &str) -> String {
    let is_digit = |character: Option<char>| character.is_some_and(|character| character.is_ascii_digit());
    let mut plain = String::with_capacity(shown.len());
    let mut characters = shown.chars().peekable();
    while let Some(character) = characters.next() {
        let is_separator =
            character == ',' && is_digit(plain.chars().last()) && is_digit(characters.peek().copied());
        if !is_separator {
            plain.push(character);
        }
    }
    plain
}

impl From<&Flip> for ShownFlip {
    fn from(flip: &Flip) -> Self {
        Self {
            input: flip.input.clone(),
            is_observed: flip.is_observed,
            from: flip.from.clone(),
            to: flip.to.clone(),
            becomes: PlannedDecision::from(&flip.becomes),
        }
    }
}

impl ShownFlip {
    fn json(&self) -> Value {
        json!({
            "input": self.input,
            "kind": if self.is_observed { "observed" } else { "setting" },
            "from": ungrouped(&self.from),
            "to": ungrouped(&self.to),
            "becomes": decision_json(&self.becomes),
        })
    }

    fn line(&self) -> String {
        format!(
            "{}: {} instead of {} -> {}: {}",
            self.input,
            self.to,
            self.from,
            action_words(&self.becomes),
            self.becomes.reason
        )
    }
}

impl Document {
    /// Builds the document for a decision that the engine explained.
    pub(super) fn of(explanation: Explanation, inputs: &Inputs) -> Self {
        let Explanation {
            decision, row, flips, ..
        } = explanation;
        Self {
            subject: decision.namespace.to_string(),
            at: at_second(inputs.now),
            row: Some((row, decision.reason_code.meaning())),
            seen: seen(inputs),
            seen_json: seen_json(inputs),
            options: decision.options.clone(),
            flips: flips.iter().map(ShownFlip::from).collect(),
            is_searched: true,
            decision: PlannedDecision::from(&decision),
            notes: Vec::new(),
            assumed: Vec::new(),
            recorded: None,
        }
    }

    /// Builds the document for a decision in a saved plan.
    pub(super) fn of_plan(plan: &Plan, decision: &PlannedDecision, code: ReasonCode, row: Row) -> Self {
        let mut seen = vec![("capacity".to_owned(), render::trus(decision.current_trus))];
        seen.extend(
            decision
                .sample_minute
                .map(|minute| ("newest metrics".to_owned(), at_minute(minute))),
        );
        seen.extend(
            decision
                .known_minutes
                .map(|known| ("known minutes".to_owned(), format!("{known} of 60"))),
        );
        Self {
            subject: decision.namespace.clone(),
            at: at_second(plan.evaluated_at),
            decision: decision.clone(),
            row: Some((row, code.meaning())),
            seen_json: json!({
                "current_trus": decision.current_trus,
                "newest_minute": decision.sample_minute.map(|minute| minute.to_string()),
                "known_minutes": decision.known_minutes,
            }),
            seen,
            options: Vec::new(),
            flips: Vec::new(),
            is_searched: false,
            notes: Vec::new(),
            assumed: Vec::new(),
            recorded: None,
        }
    }

    /// Builds the document for a decision by break-even in a backtest.
    pub(super) fn of_trace(
        (subject, at): (String, String),
        decision: PlannedDecision,
        seen: Vec<(String, String)>,
        seen_json: Value,
        options: Vec<ConsideredOption>,
        flips: Vec<ShownFlip>,
    ) -> Self {
        Self {
            subject,
            at,
            decision,
            row: None,
            seen,
            seen_json,
            options,
            flips,
            is_searched: true,
            notes: Vec::new(),
            assumed: Vec::new(),
            recorded: None,
        }
    }

    /// Adds the recorded decision and notes where it differs.
    pub(super) fn recorded(&mut self, row: &HistoryRow) {
        let recorded = &row.decision;
        if recorded.reason_code == self.decision.reason_code
            && recorded.action == self.decision.action.as_str()
        {
            self.notes
                .push(format!("as recorded, by {}: {}", row.by, recorded.reason));
        } else {
            self.notes.push(format!(
                "recorded: {} ({}), by {}: {}",
                recorded.action, recorded.reason_code, row.by, recorded.reason
            ));
            self.notes.push(DECIDED_AGAIN.to_owned());
        }
        self.recorded = Some(json!({
            "action": recorded.action,
            "current_trus": recorded.current_trus,
            "wanted_trus": recorded.wanted_trus,
            "reason_code": recorded.reason_code,
            "reason": recorded.reason,
            "by": row.by,
            "dry_run": row.dry_run,
        }));
    }

    /// Adds the decision from a saved plan and notes where it differs.
    pub(super) fn saved(&mut self, decision: &PlannedDecision) {
        if decision.reason_code != self.decision.reason_code || decision.action != self.decision.action {
            self.notes.push(format!(
                "in the saved plan: {} ({}): {}",
                decision.action.as_str(),
                decision.reason_code,
                decision.reason
            ));
            self.notes.push(DECIDED_AGAIN.to_owned());
        }
        self.recorded = Some(json!({
            "action": decision.action,
            "current_trus": decision.current_trus,
            "wanted_trus": decision.wanted_trus,
            "reason_code": decision.reason_code,
            "reason": decision.reason,
        }));
    }

    /// Adds an input that the explanation assumes because it is not known.
    pub(super) fn assumed(&mut self, what: &str) {
        self.assumed.push(what.to_owned());
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "schema": 1,
            "subject": self.subject,
            "at": self.at,
            "decision": decision_json(&self.decision),
            "row": self.row.map(|(row, meaning)| json!({
                "number": row.number,
                "name": row.name,
                "meaning": meaning,
            })),
            "seen": self.seen_json,
            "options": self.options.iter().map(option_json).collect::<Vec<_>>(),
            // Null and not empty, which would mean that no change flips the decision.
            "flips": self.is_searched.then(|| self.flips.iter().map(ShownFlip::json).collect::<Vec<_>>()),
            "assumed": self.assumed,
            "recorded": self.recorded,
        })
    }

    pub(super) fn text(&self, terminal: Terminal) -> String {
        let mut text = format!(
            "{} at {}\n{}: {}\n",
            tables::printable(&self.subject),
            self.at,
            action_words(&self.decision),
            tables::printable(&self.decision.reason)
        );
        if let Some((row, meaning)) = self.row {
            let _ = writeln!(
                text,
                "Decided by row {} of 13, {}: {} ({})",
                row.number, row.name, meaning, self.decision.reason_code
            );
        }
        for note in self.notes.iter().chain(&self.assumed) {
            let _ = writeln!(text, "{}", tables::printable(note));
        }
        text.push_str("\nInputs\n");
        let width = self.seen.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in &self.seen {
            let _ = writeln!(text, "  {name:width$}  {}", tables::printable(value));
        }
        if !self.options.is_empty() {
            let _ = write!(text, "\nSizes\n{}", self.options_table(terminal));
        }
        self.flips_text(&mut text);
        text
    }

    fn options_table(&self, terminal: Terminal) -> String {
        let mut table = tables::table_with(
            ["", "size", "actions/s", "$/h idle", "expected $", "why"],
            terminal,
        );
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        for option in &self.options {
            // The engine has no limit for sizes whose on-demand envelope was not reported.
            let limit = if option.limit == 0 {
                "unknown".to_owned()
            } else {
                grouped(option.limit)
            };
            table.add_row([
                Cell::new(if option.chosen { "*" } else { "" }),
                Cell::new(render::trus(Some(option.trus))),
                right(limit),
                right(in_dollars(option.idle_hour)),
                right(option.cost.map(in_dollars).unwrap_or_default()),
                Cell::new(tables::printable(&option.verdict)),
            ]);
        }
        tables::lines_with_texts(&table, 5, terminal)
    }

    fn flips_text(&self, text: &mut String) {
        if !self.is_searched {
            return;
        }
        for (is_observed, title) in [
            (true, "The smallest change of one input that changes the decision"),
            (false, "The smallest change of one setting that changes it"),
        ] {
            let mut flips = self.flips.iter().filter(|flip| flip.is_observed == is_observed);
            let Some(smallest) = flips.next() else {
                if is_observed {
                    text.push_str("\nNo single input change would change the decision.\n");
                }
                continue;
            };
            let _ = writeln!(text, "\n{title}\n  {}", tables::printable(&smallest.line()));
            for flip in flips.take(NAMED - 1) {
                let _ = writeln!(text, "  or {}", tables::printable(&flip.line()));
            }
        }
    }
}

fn option_json(option: &ConsideredOption) -> Value {
    json!({
        "trus": option.trus,
        "limit": (option.limit > 0).then_some(option.limit),
        "idle_hour_usd": option.idle_hour.to_string(),
        "expected_cost_actions": option.cost_actions,
        "expected_cost_usd": option.cost.map(|cost| cost.round_dp(6).to_string()),
        "chosen": option.chosen,
        "why": option.verdict,
    })
}

fn window(snapshot: &Snapshot) -> Option<&UsageWindow> {
    match &snapshot.usage {
        ReportedUsage::Known(window) => Some(window),
        _ => None,
    }
}

fn seen(inputs: &Inputs) -> Vec<(String, String)> {
    let snapshot = &inputs.snapshot;
    let mut seen = Vec::new();
    let mut say = |name: &str, value: String| seen.push((name.to_owned(), value));
    let present = present_capacity(&snapshot.status, &snapshot.spec, snapshot.latest_request.as_ref());
    say(
        "capacity",
        present.map_or_else(|why| format!("unknown: {why}"), |capacity| capacity.to_string()),
    );
    if let Some(state) = &snapshot.inactive_state {
        say("state", state.clone());
    }
    if let Some(replica) = &snapshot.moving_replica {
        say("replicas", replica.what.clone());
    }
    if let Some(operation) = &snapshot.running_operation {
        say("running operation", operation.clone());
    }
    if let Some(request) = &snapshot.latest_request {
        say("last request", request_words(request));
    }
    match &snapshot.usage {
        ReportedUsage::Unknown { why } => say("metrics", why.clone()),
        ReportedUsage::Known(window) => {
            let newest = window.newest().minute;
            let age = span(inputs.now.duration_since(newest));
            say("newest metrics", format!("{} ({age} old)", at_minute(newest)));
            say("known minutes", format!("{} of 60", window.known_minutes()));
            say(
                "actions, last hour",
                grouped(window.actions_of_the_hour().whole()),
            );
        }
        _ => say("metrics", "none".to_owned()),
    }
    for kind in LimitKind::ALL {
        let known =
            |rate: Option<Rate>| rate.map_or("unknown".to_owned(), |rate| format!("{}/s", rate.limit()));
        let mut value = match window(snapshot) {
            Some(window) => {
                let usage = &window.newest().usage[kind];
                format!(
                    "{}/s served, {}/s throttled, peak {}/s, ",
                    usage.served.measured(),
                    usage.throttled.measured(),
                    window.highest_asked(kind).measured()
                )
            }
            None => String::new(),
        };
        let _ = write!(
            value,
            "limit {}, on-demand {}",
            known(snapshot.limits[kind]),
            known(snapshot.envelopes[kind])
        );
        say(kind.noun(), value);
    }
    match &snapshot.capacity_info {
        CapacityInfo::Unavailable { why } => say("sizes", format!("unknown: {why}")),
        CapacityInfo::Known(info) => say(
            "sizes",
            format!(
                "{} TRUs, the region provides up to {}{}",
                info.ladder
                    .steps()
                    .iter()
                    .map(|step| step.get().to_string())
                    .collect::<Vec<_>>()
                    .join(" "),
                info.ceiling
                    .map_or("an unknown number".to_owned(), |ceiling| ceiling
                        .get()
                        .to_string()),
                if info.has_legacy_limits {
                    "; limits set by Temporal Support"
                } else {
                    ""
                }
            ),
        ),
        _ => say("sizes", "not read".to_owned()),
    }
    seen
}

fn state_word(state: &RequestState) -> &'static str {
    match state {
        RequestState::Completed => "completed",
        RequestState::Failed => "failed",
        RequestState::InProgress => "in progress",
        _ => "in an unknown state",
    }
}

fn request_words(request: &capacity_engine::CapacityRequest) -> String {
    let by = if request.ours {
        "by this autopilot"
    } else {
        "by someone else"
    };
    match request.took_effect_at() {
        Some(effect) => format!(
            "{}, {by}, in effect since {}",
            state_word(&request.state),
            at_second(effect)
        ),
        None => format!("{}, {by}", state_word(&request.state)),
    }
}

fn seen_json(inputs: &Inputs) -> Value {
    let snapshot = &inputs.snapshot;
    let present = present_capacity(&snapshot.status, &snapshot.spec, snapshot.latest_request.as_ref());
    let window = window(snapshot);
    let limits = LimitKind::ALL.map(|kind| {
        let usage = window.map(|window| window.newest().usage[kind]);
        json!({
            "limit": kind.noun(),
            "served_per_second": usage.map(|usage| per_second(usage.served)),
            "throttled_per_second": usage.map(|usage| per_second(usage.throttled)),
            "peak_per_second": window.map(|window| per_second(window.highest_asked(kind))),
            "limit_per_second": snapshot.limits[kind].map(per_second),
            "on_demand_per_second": snapshot.envelopes[kind].map(per_second),
        })
    });
    let info = match &snapshot.capacity_info {
        CapacityInfo::Known(info) => Some(info),
        _ => None,
    };
    json!({
        "current_trus": present.ok().map(Capacity::trus),
        "state": snapshot.inactive_state,
        "moving_replica": snapshot.moving_replica.as_ref().map(|replica| &replica.what),
        "running_operation": snapshot.running_operation,
        "latest_request": snapshot.latest_request.as_ref().map(|request| json!({
            "state": state_word(&request.state),
            "ours": request.ours,
            "took_effect_at": request.took_effect_at().map(|time: Timestamp| time.to_string()),
        })),
        "newest_minute": window.map(|window| window.newest().minute.to_string()),
        "known_minutes": window.map(UsageWindow::known_minutes),
        "actions_last_hour": window.and_then(|window| u64::try_from(window.actions_of_the_hour().whole()).ok()),
        "limits": limits,
        "available_trus": info.map(|info| info.ladder.steps().iter().map(|step| step.get()).collect::<Vec<_>>()),
        "most_available_trus": info.and_then(|info| info.ceiling).map(capacity_engine::Trus::get),
        "restrictions": inputs.account.restrictions.iter().map(|it| it.reason.clone()).collect::<Vec<_>>(),
    })
}

/// Returns a rate as a JSON number, exact to one millionth.
fn per_second(rate: Rate) -> Value {
    let value = Decimal::from(rate.micros_per_second()) / Decimal::from(1_000_000);
    value.to_f64().map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use super::ungrouped;

    #[test]
    fn numbers_in_json_have_no_separators() {
        assert_eq!(ungrouped("1,080,000.250"), "1080000.250");
        assert_eq!(ungrouped("1,000 of 60, then 2"), "1000 of 60, then 2");
    }
}
