//! Definitions for addressing the workflows: types, signals, queries and updates, without code. Clients and activities use these
//! definitions, so that no module below a workflow depends on the workflow.

use temporal_worker_kit::{Lenient, message_definition, workflow_definition};
use temporalio_common::data_converters::RawValue;

use crate::messages::{
    ChangeEvent, ChangeReport, ChangeRequest, ControllerState, EvaluationQuery, EvaluationReport, Status,
    TickRequest,
};
use crate::step_messages::Concluded;

/// Error for callers whose run ends before their evaluation. They retry, and the next run evaluates.
pub(crate) const CONTINUES: &str = "the controller continues in a new run, which evaluates: ask again";

workflow_definition!(pub(crate) ControllerWorkflow, "CapacityManagementWorkflow", Lenient<ControllerState> => EvaluationReport);
workflow_definition!(pub(crate) ChangeWorkflow, "CapacityChange", Lenient<ChangeRequest> => ChangeReport);
workflow_definition!(pub(crate) RecordWorkflow, "CapacityRecord", Lenient<ChangeReport> => Concluded);
workflow_definition!(pub(crate) TickWorkflow, "EvaluationTick", Lenient<TickRequest> => EvaluationReport);

message_definition!(pub(crate) TriggerEvaluation, SignalDefinition, ControllerWorkflow, "trigger_evaluation", RawValue);
message_definition!(pub(crate) CapacityIsShort, SignalDefinition, ControllerWorkflow, "capacity_is_short", RawValue);
message_definition!(pub(crate) Rotate, SignalDefinition, ControllerWorkflow, "rotate", RawValue);
message_definition!(pub(crate) ChangeProgress, SignalDefinition, ControllerWorkflow, "change_progress", Lenient<ChangeEvent>);
message_definition!(pub(crate) GetStatus, QueryDefinition, ControllerWorkflow, "get_status", () => Status);
message_definition!(pub(crate) PreviewActions, QueryDefinition, ControllerWorkflow, "preview_actions", () => EvaluationReport);
message_definition!(pub(crate) Evaluation, QueryDefinition, ControllerWorkflow, "evaluation", Lenient<EvaluationQuery> => EvaluationReport);
message_definition!(pub(crate) Evaluate, UpdateDefinition, ControllerWorkflow, "evaluate", RawValue => EvaluationReport);

#[cfg(test)]
mod tests {
    use temporal_worker_kit::{same_query, same_signal, same_update, same_workflow};

    use super::*;
    use crate::change::CapacityChange;
    use crate::management::CapacityManagementWorkflow;
    use crate::record::CapacityRecord;
    use crate::tick::EvaluationTick;

    #[test]
    fn clients_address_the_workflows_that_workers_register() {
        same_workflow(&CapacityManagementWorkflow::run, &ControllerWorkflow);
        same_workflow(&CapacityChange::run, &ChangeWorkflow);
        same_workflow(&CapacityRecord::run, &RecordWorkflow);
        same_workflow(&EvaluationTick::run, &TickWorkflow);
        same_signal(
            &CapacityManagementWorkflow::trigger_evaluation,
            &TriggerEvaluation,
        );
        same_signal(&CapacityManagementWorkflow::capacity_is_short, &CapacityIsShort);
        same_signal(&CapacityManagementWorkflow::rotate, &Rotate);
        same_signal(&CapacityManagementWorkflow::change_progress, &ChangeProgress);
        same_query(&CapacityManagementWorkflow::get_status, &GetStatus);
        same_query(&CapacityManagementWorkflow::preview_actions, &PreviewActions);
        same_query(&CapacityManagementWorkflow::evaluation, &Evaluation);
        same_update(&CapacityManagementWorkflow::evaluate, &Evaluate);
    }
}
