//! Five workflow patterns, one file each; `main.rs` runs them.

pub mod fallback;
pub mod fire_and_forget;
pub mod long_running;
pub mod orchestration;
pub mod saga;

use temporal_worker_kit::Registry;

/// The task queue of all patterns.
pub const TASK_QUEUE: &str = "patterns";

/// Returns the registry of all workflows and activities.
pub fn registry() -> Registry {
    Registry::new()
        .workflow::<orchestration::Orchestration>(TASK_QUEUE)
        .workflow::<orchestration::Add>(TASK_QUEUE)
        .workflow::<orchestration::Multiply>(TASK_QUEUE)
        .workflow::<orchestration::Sum>(TASK_QUEUE)
        .workflow::<fallback::Fallback>(TASK_QUEUE)
        .activities(TASK_QUEUE, fallback::Prices)
        .workflow::<fire_and_forget::FireAndForget>(TASK_QUEUE)
        .workflow::<fire_and_forget::Background>(TASK_QUEUE)
        .workflow::<long_running::LongRunning>(TASK_QUEUE)
        .workflow::<saga::Saga>(TASK_QUEUE)
        .activities(TASK_QUEUE, saga::Booking)
}
