//! The audit trail of a request, read from its history without a worker.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use temporalio_common::protos::temporal::api::common::v1::{Payload, Payloads};
use temporalio_common::protos::temporal::api::history::v1::HistoryEvent;
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;

use crate::driver::DriverInput;
use crate::messages::{Answer, ApprovalRequest, Decision, Outcome, Verdict};
use crate::policy::PolicyDecision;
use crate::steps::Call;

/// An entry in the audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Time of the event.
    pub time: Timestamp,
    /// Description of the event.
    pub what: String,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", self.time.strftime("%Y-%m-%d %H:%M:%S"), self.what)
    }
}

/// Returns the audit trail of a history.
pub fn trail(events: &[HistoryEvent]) -> Vec<Entry> {
    let mut scheduled = std::collections::BTreeMap::new();
    let mut updates = std::collections::BTreeMap::new();
    let mut entries = Vec::new();
    for event in events {
        let Some(attributes) = &event.attributes else {
            continue;
        };
        match attributes {
            Attributes::ActivityTaskScheduledEventAttributes(activity) => {
                let name = activity.activity_type.as_ref().map(|kind| kind.name.clone());
                let name = match first::<Call>(activity.input.as_ref()) {
                    // For a step of a definition, show the activity that it calls.
                    Some(call) if name.as_deref() == Some(DRIVER_STEP) => Some(call.activity),
                    _ => name,
                };
                scheduled.insert(event.event_id, name.unwrap_or_default());
            }
            // The event of its completion contains no name.
            Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(update) => {
                let request = update.accepted_request.as_ref();
                let name = request
                    .and_then(|request| request.input.as_ref())
                    .map(|input| input.name.clone());
                updates.insert(event.event_id, name.unwrap_or_default());
            }
            _ => {}
        }
        if let Some(what) = sentence(attributes, &scheduled, &updates) {
            let time = event
                .event_time
                .as_ref()
                .and_then(|time| Timestamp::new(time.seconds, time.nanos).ok());
            entries.push(Entry {
                time: time.unwrap_or_default(),
                what,
            });
        }
    }
    entries
}

/// Activity that runs the steps of a definition.
const DRIVER_STEP: &str = "driver.step";

/// A field that occurs only in the result of a definition.
#[derive(serde::Deserialize)]
struct EndedDefinition {
    ok: bool,
}

/// Names by the id of the event that introduced them.
type Names = std::collections::BTreeMap<i64, String>;

fn sentence(attributes: &Attributes, scheduled: &Names, updates: &Names) -> Option<String> {
    match attributes {
        Attributes::WorkflowExecutionStartedEventAttributes(started) => {
            if started
                .workflow_type
                .as_ref()
                .is_some_and(|kind| kind.name == "Driver")
            {
                let input: DriverInput = first(started.input.as_ref()).unwrap_or_default();
                return Some(format!("definition `{}` started", input.definition.name));
            }
            let request: ApprovalRequest = first(started.input.as_ref()).unwrap_or_default();
            let by = if request.requester.is_empty() {
                "an unnamed requester"
            } else {
                &request.requester
            };
            Some(format!("requested by {by}: {}", shortened(&request.text)))
        }
        Attributes::ActivityTaskCompletedEventAttributes(completed) => {
            let name = scheduled.get(&completed.scheduled_event_id)?;
            let result = completed.result.as_ref();
            match name.as_str() {
                "approval.check_policy" => {
                    first::<PolicyDecision>(result).map(|policy| format!("policy: {}", policy.reason))
                }
                "approval.remind" => Some("reminder sent".to_owned()),
                "approval.execute" => first::<String>(result).map(|output| shortened(&output)),
                "approval.audit" => Some("audit record written".to_owned()),
                step => {
                    let output = first::<Value>(result).unwrap_or_default();
                    Some(format!("`{step}` returned {}", shortened(&output.to_string())))
                }
            }
        }
        Attributes::ActivityTaskFailedEventAttributes(failed) => {
            let name = scheduled.get(&failed.scheduled_event_id)?;
            let text = failed
                .failure
                .as_ref()
                .map_or("no reason", |failure| failure.message.as_str());
            Some(format!("{name} failed: {text}"))
        }
        Attributes::WorkflowExecutionSignaledEventAttributes(signal) => {
            let approved = match signal.signal_name.as_str() {
                "approve" => true,
                "reject" => false,
                other => return Some(format!("signal `{other}` ignored")),
            };
            let decision = Decision {
                approved,
                verdict: verdict(signal.input.as_ref()),
            };
            Some(format!("signal: {}", decision.sentence()))
        }
        Attributes::WorkflowExecutionUpdateCompletedEventAttributes(update) => {
            use temporalio_common::protos::temporal::api::update::v1::outcome::Value as Update;
            let name = updates.get(&update.accepted_event_id)?;
            let answer: Answer = match update.outcome.as_ref()?.value.as_ref()? {
                Update::Success(payloads) => first(Some(payloads))?,
                Update::Failure(failure) => return Some(format!("`{name}` failed: {}", failure.message)),
            };
            let refused = if answer.accepted { "" } else { "refused: " };
            Some(format!("{refused}{}", answer.sentence))
        }
        Attributes::WorkflowExecutionCompletedEventAttributes(completed) => {
            if let Some(outcome) = first::<EndedDefinition>(completed.result.as_ref()) {
                let how = if outcome.ok {
                    "every step succeeded"
                } else {
                    "a step failed"
                };
                return Some(format!("closed: {how}"));
            }
            let outcome: Outcome = first(completed.result.as_ref()).unwrap_or_default();
            let end = serde_json::to_value(outcome.end).ok()?;
            Some(format!(
                "closed as {}: {}",
                end.as_str().unwrap_or_default(),
                outcome.sentence
            ))
        }
        Attributes::WorkflowExecutionFailedEventAttributes(failed) => {
            let text = failed
                .failure
                .as_ref()
                .map_or("no reason", |failure| failure.message.as_str());
            Some(format!("failed: {text}"))
        }
        Attributes::WorkflowExecutionCancelRequestedEventAttributes(_) => {
            Some("cancellation requested".to_owned())
        }
        Attributes::WorkflowExecutionCanceledEventAttributes(_) => Some("canceled".to_owned()),
        Attributes::WorkflowExecutionTerminatedEventAttributes(terminated) => {
            Some(format!("terminated: {}", terminated.reason))
        }
        Attributes::WorkflowExecutionTimedOutEventAttributes(_) => Some("timed out".to_owned()),
        _ => None,
    }
}

fn first<T: DeserializeOwned>(payloads: Option<&Payloads>) -> Option<T> {
    decode(payloads?.payloads.first()?)
}

fn decode<T: DeserializeOwned>(payload: &Payload) -> Option<T> {
    serde_json::from_slice(&payload.data).ok()
}

fn verdict(payloads: Option<&Payloads>) -> Verdict {
    match first::<Value>(payloads) {
        Some(Value::String(reason)) => Verdict {
            reason,
            ..Verdict::default()
        },
        Some(value) => serde_json::from_value(value).unwrap_or_default(),
        None => Verdict::default(),
    }
}

/// Truncates long texts and replaces line breaks, so that each entry stays on one line.
fn shortened(text: &str) -> String {
    const MAX: usize = 120;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MAX {
        return line;
    }
    line.chars().take(MAX).chain("...".chars()).collect()
}
