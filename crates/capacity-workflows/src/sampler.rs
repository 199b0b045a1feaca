//! The sampler workflow: when the worker that samples stops, another one continues.
#![allow(missing_docs, reason = "the macros generate public items")]

use std::convert::Infallible;
use std::time::Duration;

use temporal_worker_kit::{Lenient, SharedClient};
use temporalio_client::{WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowStartOptions};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{WorkflowContext, WorkflowContextView, WorkflowResult};

use crate::activities::CapacityActivities;
use crate::messages::SampleRequest;
use crate::names::Installation;
use crate::options;

/// Interval at which the worker checks that the sampler is running.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// Keeps usage sampled.
#[workflow]
pub struct UsageSampler {
    request: SampleRequest,
}

#[workflow_methods]
impl UsageSampler {
    #[init]
    pub fn new(_context: &WorkflowContextView, input: Lenient<SampleRequest>) -> Self {
        Self { request: input.value }
    }

    #[run(name = "UsageSampler")]
    pub async fn run(context: &mut WorkflowContext<Self>) -> WorkflowResult<()> {
        let request = context.state(|it| it.request.clone());
        // Retries of an activity write nothing to the history, regardless of their number.
        context
            .execute_activity(CapacityActivities::sample_usage, request, options::sampling())
            .await?;
        Ok(())
    }
}

/// Starts the sampler whenever it is not running. Never ends.
pub(crate) async fn keep_sampling(client: &SharedClient, installation: &Installation) -> Infallible {
    loop {
        let options = WorkflowStartOptions::new(installation.task_queue(), installation.sampler_id())
            .id_conflict_policy(WorkflowIdConflictPolicy::UseExisting)
            .id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate)
            .static_summary("Usage sampler")
            .build();
        // Reloaded certificates come with a new client.
        let client = client.get();
        let started = client.start_workflow(UsageSampler::run, Lenient::default(), options);
        match tokio::time::timeout(Duration::from_secs(15), started).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the usage sampler could not be started"),
            Err(_) => tracing::warn!("the usage sampler could not be started in time"),
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
