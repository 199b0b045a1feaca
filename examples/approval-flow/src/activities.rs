//! The activities: policy check, reminder, the task itself, and the audit record.
#![allow(missing_docs, reason = "the macros generate public items")]
#![allow(clippy::unused_async, reason = "the SDK's macros require this signature")]

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use temporalio_client::RetryPolicy;
use temporalio_macros::activities;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use temporalio_sdk::{ActivityCloseTimeouts, ActivityOptions, ApplicationFailure};

use crate::messages::{Outcome, Status};
use crate::policy::{PolicyDecision, PolicyFile};

/// Dependencies of the activities.
pub struct Approvals {
    /// Rules that decide which inputs are allowed.
    pub policy: Arc<PolicyFile>,
    /// File to which audit records are appended, one JSON object per line; `None` for the log.
    pub audit: Option<PathBuf>,
    /// Serializes appends to the audit file.
    pub appending: Mutex<()>,
}

impl Approvals {
    /// Returns activities with these rules and this audit file.
    pub fn new(policy: PolicyFile, audit: Option<PathBuf>) -> Self {
        Self {
            policy: Arc::new(policy),
            audit,
            appending: Mutex::new(()),
        }
    }
}

#[activities]
impl Approvals {
    /// Checks an input against the rules. If the rules do not parse, the check is retried until they do.
    #[activity(name = "approval.check_policy")]
    pub async fn check_policy(
        self: Arc<Self>,
        _context: ActivityContext,
        text: String,
    ) -> Result<PolicyDecision, ActivityError> {
        let policy = self.policy.current().map_err(|mistakes| {
            tracing::error!("cannot check the policy, retrying: {mistakes}");
            ApplicationFailure::builder(mistakes)
                .type_name("InvalidRules".to_owned())
                .build()
        })?;
        Ok(policy.decide(&text))
    }

    /// Posts a reminder about a request that waits for approval.
    #[activity(name = "approval.remind")]
    pub async fn remind(
        self: Arc<Self>,
        context: ActivityContext,
        status: Status,
    ) -> Result<(), ActivityError> {
        let id = context.info().workflow_id.clone().unwrap_or_default();
        tracing::warn!(
            workflow_id = id,
            reminder = status.reminders,
            "a request waits for approval: approval-flow approve {id}"
        );
        Ok(())
    }

    /// Executes the approved task, and returns its output.
    #[activity(name = "approval.execute")]
    pub async fn execute(
        self: Arc<Self>,
        _context: ActivityContext,
        text: String,
    ) -> Result<String, ActivityError> {
        Ok(format!("executed: {}", text.trim()))
    }

    /// Appends the audit record. A retry detects the record of an earlier attempt and does not append it
    /// again.
    #[activity(name = "approval.audit")]
    pub async fn audit(
        self: Arc<Self>,
        context: ActivityContext,
        outcome: Outcome,
    ) -> Result<(), ActivityError> {
        let run = context.info().workflow_run_id.clone().unwrap_or_default();
        let Some(path) = &self.audit else {
            tracing::info!(workflow_id = outcome.id, "audit: {}", outcome.sentence);
            return Ok(());
        };
        // The lock protects no data that a panic could have damaged.
        let _one = self.appending.lock().unwrap_or_else(PoisonError::into_inner);
        append(path, &run, &outcome)?;
        Ok(())
    }
}

fn append(path: &Path, run: &str, outcome: &Outcome) -> std::io::Result<()> {
    // JSON escapes quotes, so the text of a request cannot imitate this.
    let marker = format!("\"run\":\"{run}\"");
    if let Ok(file) = std::fs::File::open(path) {
        for line in std::io::BufReader::new(file).lines() {
            if line?.contains(&marker) {
                return Ok(());
            }
        }
    }
    let mut record = serde_json::to_value(outcome)?;
    record["run"] = run.into();
    record["time"] = jiff::Timestamp::now().to_string().into();
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    // A single write, so that two processes never mix their lines.
    file.write_all(format!("{record}\n").as_bytes())?;
    // The workflow completes once this returns, so the record must survive a crash.
    file.sync_data()
}

/// Returns options for an activity that is retried indefinitely, so that nothing is lost while the rules or
/// the audit file are broken.
pub(crate) fn patient() -> ActivityOptions {
    let retry = RetryPolicy::builder()
        .initial_interval(Duration::from_secs(1))
        .maximum_interval(Duration::from_secs(10))
        .build();
    ActivityOptions::with_close_timeouts(ActivityCloseTimeouts::StartToClose(Duration::from_secs(30)))
        .retry_policy(retry)
        .build()
}
