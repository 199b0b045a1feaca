//! Macros that define how a workflow is addressed, separately from its code.
//!
//! Workflow code refers to the activities it runs. If an activity that starts or queries a workflow referred
//! to the workflow in turn, the two files would depend on each other. These macros write the definition that
//! the SDK's client needs. A crate that uses them needs `temporalio-common`. A test should compare names and
//! types with the workflow itself.

/// Defines how a workflow is addressed: `workflow_definition!(pub(crate) Name, "Type", Input => Output)`.
#[macro_export]
macro_rules! workflow_definition {
    ($visibility:vis $name:ident, $type:literal, $input:ty => $output:ty) => {
        #[doc = concat!("How clients address the workflow `", $type, "`.")]
        $visibility struct $name;

        impl ::temporalio_common::WorkflowDefinition for $name {
            type Input = $input;
            type Output = $output;

            fn name(&self) -> &str {
                $type
            }
        }

        impl ::temporalio_common::HasWorkflowDefinition for $name {
            type Run = Self;
        }
    };
}

/// Defines how a signal, query or update of a workflow is addressed: `message_definition!(pub(crate) Name,
/// QueryDefinition, Workflow, "name", Input => Output)`. A signal has no output.
#[macro_export]
macro_rules! message_definition {
    ($visibility:vis $name:ident, $kind:ident, $workflow:ty, $type:literal, $input:ty $(=> $output:ty)?) => {
        #[doc = concat!("How clients address `", $type, "`.")]
        $visibility struct $name;

        impl ::temporalio_common::$kind for $name {
            type Workflow = $workflow;
            type Input = $input;
            $(type Output = $output;)?

            fn name(&self) -> &str {
                $type
            }
        }
    };
}
