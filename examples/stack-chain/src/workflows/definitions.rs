//! Definitions with which activities call the workflows without their implementations.

use temporal_worker_kit::{Lenient, message_definition, workflow_definition};
use temporalio_common::data_converters::RawValue;

use super::messages::{
    ChainReport, ChainRequest, ChainStatus, ExecutionRequest, ExecutionStatus, RunEvent, RunEventReport,
};
use crate::progress::StackResult;

workflow_definition!(pub(super) Chain, "StackDependencyChain", Lenient<ChainRequest> => ChainReport);
workflow_definition!(pub(super) Execution, "StackExecution", Lenient<ExecutionRequest> => StackResult);
workflow_definition!(pub(crate) Event, "RunFinished", Lenient<RunEvent> => RunEventReport);

message_definition!(pub(super) Stacks, QueryDefinition, Chain, "status", () => ChainStatus);
message_definition!(pub(super) ExecutionOf, QueryDefinition, Chain, "execution_of", String => Option<String>);
message_definition!(pub(super) ExecutionIs, QueryDefinition, Execution, "status", () => ExecutionStatus);
message_definition!(pub(super) LookNow, SignalDefinition, Execution, "run_event", RawValue);
message_definition!(pub(super) ClaimedBy, QueryDefinition, Event, "claimed_by", () => Option<String>);

#[cfg(test)]
mod tests {
    use temporal_worker_kit::{same_query, same_signal, same_workflow};

    use super::super::{RunFinished, StackDependencyChain, StackExecution};
    use super::*;

    #[test]
    fn activities_address_the_workflows_that_workers_register() {
        same_workflow(&StackDependencyChain::run, &Chain);
        same_workflow(&StackExecution::run, &Execution);
        same_workflow(&RunFinished::run, &Event);
        same_query(&StackDependencyChain::status, &Stacks);
        same_query(&StackDependencyChain::execution_of, &ExecutionOf);
        same_query(&StackExecution::status, &ExecutionIs);
        same_signal(&StackExecution::run_event, &LookNow);
        same_query(&RunFinished::claimed_by, &ClaimedBy);
    }
}
