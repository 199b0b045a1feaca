//! Macros that define how a workflow is addressed, separately from its code.
//!
//! Workflow code refers to the activities it runs. If an activity that starts or queries a workflow referred
//! to the workflow in turn, the two files would depend on each other. These macros write the definition that
//! the SDK's client needs. A crate that uses them does not need to depend on `temporalio-common`. A test compares each
//! definition with the workflow itself: [`same_workflow`], [`same_signal`], [`same_query`] and [`same_update`].

use temporalio_common::{QueryDefinition, SignalDefinition, UpdateDefinition, WorkflowDefinition};

/// Defines how a workflow is addressed: `workflow_definition!(pub(crate) Name, "Type", Input => Output)`.
#[macro_export]
macro_rules! workflow_definition {
    ($visibility:vis $name:ident, $type:literal, $input:ty => $output:ty) => {
        #[doc = concat!("How clients address the workflow `", $type, "`.")]
        $visibility struct $name;

        impl $crate::sdk::WorkflowDefinition for $name {
            type Input = $input;
            type Output = $output;

            fn name(&self) -> &str {
                $type
            }
        }

        impl $crate::sdk::HasWorkflowDefinition for $name {
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

        impl $crate::sdk::$kind for $name {
            type Workflow = $workflow;
            type Input = $input;
            $(type Output = $output;)?

            fn name(&self) -> &str {
                $type
            }
        }
    };
}

/// Asserts that two definitions address the same workflow. Compiles only if input and output are the same.
///
/// # Panics
///
/// If the names differ.
#[track_caller]
pub fn same_workflow<A, B>(one: &A, other: &B)
where
    A: WorkflowDefinition,
    B: WorkflowDefinition<Input = A::Input, Output = A::Output>,
{
    assert_eq!(one.name(), other.name());
}

/// Like [`same_workflow`], for a signal.
///
/// # Panics
///
/// If the names differ.
#[track_caller]
pub fn same_signal<A, B>(one: &A, other: &B)
where
    A: SignalDefinition,
    B: SignalDefinition<Input = A::Input>,
{
    assert_eq!(one.name(), other.name());
}

/// Like [`same_workflow`], for a query.
///
/// # Panics
///
/// If the names differ.
#[track_caller]
pub fn same_query<A, B>(one: &A, other: &B)
where
    A: QueryDefinition,
    B: QueryDefinition<Input = A::Input, Output = A::Output>,
{
    assert_eq!(one.name(), other.name());
}

/// Like [`same_workflow`], for an update.
///
/// # Panics
///
/// If the names differ.
#[track_caller]
pub fn same_update<A, B>(one: &A, other: &B)
where
    A: UpdateDefinition,
    B: UpdateDefinition<Input = A::Input, Output = A::Output>,
{
    assert_eq!(one.name(), other.name());
}
