//! Names that people, schedules and histories hold on to. Never renamed.

/// The controller's workflow id.
pub const CONTROLLER_ID: &str = "capacity-management-workflow";

/// The schedule's id.
pub const SCHEDULE_ID: &str = "capacity-management-schedule";

/// What the ids of ticks begin with.
pub const TICK_ID: &str = "capacity-evaluation";

/// The default task queue.
pub const TASK_QUEUE: &str = "capacity-management-task-queue";

/// Returns the workflow id of the change of a namespace: the id is the mutual exclusion.
pub fn change_id(namespace: &str) -> String {
    format!("capacity-change/{namespace}")
}
