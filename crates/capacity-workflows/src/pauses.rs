//! Pauses. A pause is an open workflow execution that no worker runs, so it works without a worker, a
//! schedule or a controller, and stays open if a controller is terminated. Its memo has the author, reason
//! and time.

use std::time::Duration;

use capacity_engine::{Direction, ReasonCode, Restriction, RestrictionOrigin};
use human_text::at_minute;
use jiff::Timestamp;
use temporalio_client::errors::WorkflowInteractionError;
use temporalio_client::{
    Client, UntypedWorkflow, WorkflowDescribeOptions, WorkflowExecutionStatus, WorkflowIdConflictPolicy,
    WorkflowIdReusePolicy, WorkflowStartOptions, WorkflowTerminateOptions,
};
use temporalio_common::MemoValues;
use temporalio_common::data_converters::RawValue;

use crate::messages::PauseSeen;
use crate::names::Installation;
pub use crate::names::PauseKind;

/// Maximum time for one call.
const BOUND: Duration = Duration::from_secs(10);
/// The workflow type of a pause, as it appears in lists of workflows.
const TYPE: &str = "CapacityPause";

/// A pause that could not be opened, ended or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {why}")]
pub struct PauseError {
    what: &'static str,
    why: String,
}

fn error(what: &'static str) -> impl Fn(String) -> PauseError {
    move |why| PauseError { what, why }
}

/// The latest pause of one kind, open or closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// The kind of changes that the pause stops.
    pub kind: PauseKind,
    /// The pause as it was read.
    pub seen: PauseSeen,
}

impl Pause {
    /// Describes in one clause what the pause stops, who opened it, why, and until when.
    pub fn sentence(&self) -> String {
        let what = match self.kind {
            PauseKind::All | PauseKind::Spec => "changes are paused",
            PauseKind::ScaleUp => "scaling up is paused",
            PauseKind::ScaleDown => "scaling down is paused",
        };
        let PauseSeen {
            reason, by, until, ..
        } = &self.seen;
        let until = until.as_ref().map_or_else(String::new, |until| {
            let shown = until.parse().map_or_else(|_| until.clone(), at_minute);
            format!(", until {shown}")
        });
        format!("{what} by {by}{until}: {reason}")
    }

    /// Returns the restriction that the pause puts on an evaluation; `None` if it has ended.
    pub fn restriction(&self) -> Option<Restriction> {
        if !self.seen.open {
            return None;
        }
        let (direction, code) = match self.kind {
            PauseKind::All | PauseKind::Spec => (Direction::Both, ReasonCode::Paused),
            PauseKind::ScaleUp => (Direction::ScaleUp, ReasonCode::ScaleUpPaused),
            PauseKind::ScaleDown => (Direction::ScaleDown, ReasonCode::ScaleDownPaused),
        };
        let restriction = Restriction::new(direction, code, self.sentence(), RestrictionOrigin::Pause);
        Some(match self.ends_at() {
            Some(until) => restriction.until(until),
            None => restriction,
        })
    }

    fn ends_at(&self) -> Option<Timestamp> {
        self.seen.until.as_deref()?.parse().ok()
    }

    /// Returns whether the pause is open and lasts at least as long as one that starts now and ends after `ends_after` (`None`:
    /// never).
    fn outlasts(&self, ends_after: Option<Duration>, now: Timestamp) -> bool {
        if !self.seen.open {
            return false;
        }
        match (self.ends_at(), ends_after) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(until), Some(ends_after)) => now.checked_add(ends_after).is_ok_and(|end| end <= until),
        }
    }
}

/// The result of [`open`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Opened {
    /// No pause of this kind was open.
    New,
    /// It replaced this open pause, which ended earlier.
    Extended(Pause),
    /// This open pause lasts at least as long, and stays unchanged.
    Already(Pause),
}

/// Opens a pause. It replaces an open pause of the same kind that ends earlier.
///
/// # Errors
///
/// If the service refuses or does not respond. Nothing is paused then.
pub async fn open(
    client: &Client,
    installation: &Installation,
    kind: PauseKind,
    reason: &str,
    by: &str,
    ends_after: Option<Duration>,
) -> Result<Opened, PauseError> {
    let failed = error("open the pause");
    let before = read(client, installation, kind).await?;
    let before = before.filter(|pause| pause.seen.open);
    // The service replaces an execution in one step, so changes stay paused throughout.
    let conflict = match &before {
        Some(pause) if pause.outlasts(ends_after, Timestamp::now()) => {
            return Ok(Opened::Already(pause.clone()));
        }
        Some(_) => WorkflowIdConflictPolicy::TerminateExisting,
        // If someone else has opened one since, that one stays.
        None => WorkflowIdConflictPolicy::UseExisting,
    };
    let mut memo = MemoValues::new();
    memo.insert("reason", reason.to_owned());
    memo.insert("by", by.to_owned());
    memo.insert("since", Timestamp::now().to_string());
    let options = WorkflowStartOptions::new(
        // No worker polls this queue: the execution stays open until it is terminated or times out.
        format!("{}-pauses", installation.task_queue()),
        installation.pause_id(kind),
    )
    .id_conflict_policy(conflict)
    .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
    .memo(memo)
    .maybe_execution_timeout(ends_after)
    .static_summary(format!("Paused ({}): {reason}", kind.as_str()))
    .build();
    let started = client.start_workflow(UntypedWorkflow::new(TYPE), RawValue::default(), options);
    match tokio::time::timeout(BOUND, started).await {
        Err(_) => Err(failed(no_answer())),
        Ok(Err(problem)) => Err(failed(problem.to_string())),
        Ok(Ok(_)) => Ok(before.map_or(Opened::New, Opened::Extended)),
    }
}

/// Ends a pause. Returns whether one was open.
///
/// # Errors
///
/// If the service refuses or does not respond.
pub async fn close(
    client: &Client,
    installation: &Installation,
    kind: PauseKind,
    by: &str,
) -> Result<bool, PauseError> {
    if !read(client, installation, kind)
        .await?
        .is_some_and(|pause| pause.seen.open)
    {
        return Ok(false);
    }
    let handle = client.get_workflow_handle::<UntypedWorkflow>(installation.pause_id(kind));
    let options = WorkflowTerminateOptions::builder()
        .reason(format!("resumed by {by}"))
        .build();
    match tokio::time::timeout(BOUND, handle.terminate(options)).await {
        // It has ended in the meantime.
        Ok(Ok(()) | Err(WorkflowInteractionError::NotFound(_))) => Ok(true),
        Ok(Err(problem)) => Err(error("end the pause")(problem.to_string())),
        Err(_) => Err(error("end the pause")(no_answer())),
    }
}

/// Reads the latest pause of a kind; `None` if there never was one that the server still knows.
///
/// # Errors
///
/// If the service refuses or does not respond.
pub async fn read(
    client: &Client,
    installation: &Installation,
    kind: PauseKind,
) -> Result<Option<Pause>, PauseError> {
    let failed = error("read the pauses");
    let handle = client.get_workflow_handle::<UntypedWorkflow>(installation.pause_id(kind));
    let described =
        match tokio::time::timeout(BOUND, handle.describe(WorkflowDescribeOptions::default())).await {
            Err(_) => return Err(failed(no_answer())),
            Ok(Err(WorkflowInteractionError::NotFound(_))) => return Ok(None),
            Ok(Err(problem)) => return Err(failed(problem.to_string())),
            Ok(Ok(described)) => described,
        };
    let memo = described.memo();
    let text = |name: &str| memo.get::<String>(name).ok().flatten().unwrap_or_default();
    let ends_after = described
        .raw_description
        .execution_config
        .as_ref()
        .and_then(|config| config.workflow_execution_timeout)
        .and_then(|timeout| Duration::try_from(timeout).ok())
        // The service reports zero for no timeout.
        .filter(|timeout| !timeout.is_zero());
    let until = described
        .start_time()
        .zip(ends_after)
        .and_then(|(start, after)| Timestamp::try_from(start + after).ok());
    Ok(Some(Pause {
        kind,
        seen: PauseSeen {
            run_id: described.run_id().to_owned(),
            open: described.status() == WorkflowExecutionStatus::Running,
            reason: text("reason"),
            by: text("by"),
            since: text("since"),
            until: until.map(|until| until.to_string()),
        },
    }))
}

/// Reads the latest pause of every kind.
///
/// # Errors
///
/// If one of them cannot be read.
pub async fn read_all(client: &Client, installation: &Installation) -> Result<Vec<Pause>, PauseError> {
    let reads = PauseKind::ALL.map(|kind| read(client, installation, kind));
    let read = futures::future::try_join_all(reads).await?;
    Ok(read.into_iter().flatten().collect())
}

fn no_answer() -> String {
    format!("the Temporal service did not respond in {} s", BOUND.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(open: bool, until: Option<&str>) -> Pause {
        Pause {
            kind: PauseKind::All,
            seen: PauseSeen {
                open,
                until: until.map(str::to_owned),
                ..PauseSeen::default()
            },
        }
    }

    #[test]
    fn a_pause_stays_only_if_it_does_not_end_before_the_new_one() {
        let now = "2026-11-25T10:00:00Z".parse().expect("a time");
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3_600));
        let until_noon = pause(true, Some("2026-11-25T12:00:00Z"));
        assert!(until_noon.outlasts(hours(1), now));
        assert!(until_noon.outlasts(hours(2), now));
        assert!(!until_noon.outlasts(hours(3), now));
        assert!(!until_noon.outlasts(None, now));
        assert!(pause(true, None).outlasts(None, now));
        assert!(pause(true, None).outlasts(hours(3), now));
        assert!(!pause(false, None).outlasts(hours(1), now));
    }

    #[test]
    fn only_an_open_pause_restricts() {
        let restriction = pause(true, Some("2026-11-25T12:00:00Z")).restriction();
        let restriction = restriction.expect("it is open");
        assert_eq!(restriction.direction, Direction::Both);
        assert!(restriction.until.is_some());
        assert_eq!(pause(false, None).restriction(), None);
    }
}
