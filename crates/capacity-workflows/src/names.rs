//! Names that people, schedules and histories depend on. They are never renamed.

/// The controller's workflow id.
pub const CONTROLLER_ID: &str = "capacity-management-workflow";

/// The schedule's id.
pub const SCHEDULE_ID: &str = "capacity-management-schedule";

/// The sampler's workflow id.
pub const SAMPLER_ID: &str = "capacity-usage-sampler";

/// Prefix of the workflow ids of ticks.
pub const TICK_ID: &str = "capacity-evaluation";

/// The default task queue.
pub const TASK_QUEUE: &str = "capacity-management-task-queue";

/// Returns the workflow id of a namespace's change. The id is the lock, regardless of the installation.
pub fn change_id(namespace: &str) -> String {
    format!("capacity-change/{namespace}")
}

/// Returns the workflow id of the record of an operation.
pub fn record_id(operation_id: &str) -> String {
    format!("capacity-record/{operation_id}")
}

/// The kind of changes that a pause stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PauseKind {
    /// Every change.
    All,
    /// Scaling up.
    ScaleUp,
    /// Scaling down.
    ScaleDown,
    /// Every change, after an update changed more than the capacity.
    Spec,
}

impl PauseKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::All, Self::ScaleUp, Self::ScaleDown, Self::Spec];

    /// Returns the stable name, as in the workflow id.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::ScaleUp => "scale-up",
            Self::ScaleDown => "scale-down",
            Self::Spec => "spec",
        }
    }

    /// Returns the kind with this stable name.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Returns whether the pause stops a change in this direction.
    pub fn stops(self, scales_up: bool) -> bool {
        match self {
            Self::All | Self::Spec => true,
            Self::ScaleUp => scales_up,
            Self::ScaleDown => !scales_up,
        }
    }
}

/// An installation: its task queue, and the ids of its controller, schedule and ticks. A second installation
/// in the same Temporal namespace, for another account, has a name, which is the suffix of its ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    name: Option<String>,
    task_queue: String,
}

impl Installation {
    /// Creates the installation with this name (`None` for the only one) and task queue.
    pub fn new(name: Option<String>, task_queue: impl Into<String>) -> Self {
        Self {
            name,
            task_queue: task_queue.into(),
        }
    }

    /// Returns the installation that settings describe.
    pub fn of(home: &capacity_settings::Home) -> Self {
        Self::new(home.installation.clone(), home.task_queue.clone())
    }

    /// Returns the same installation on another task queue.
    #[must_use]
    pub fn on_task_queue(self, task_queue: impl Into<String>) -> Self {
        Self::new(self.name, task_queue)
    }

    /// Returns the task queue of its workers.
    pub fn task_queue(&self) -> &str {
        &self.task_queue
    }

    /// Returns the workflow id of its controller.
    pub fn controller_id(&self) -> String {
        self.named(CONTROLLER_ID)
    }

    /// Returns the workflow id of its sampler.
    pub fn sampler_id(&self) -> String {
        self.named(SAMPLER_ID)
    }

    /// Returns the id of its schedule.
    pub fn schedule_id(&self) -> String {
        self.named(SCHEDULE_ID)
    }

    /// Returns the prefix of the workflow ids of its ticks.
    pub fn tick_id(&self) -> String {
        self.named(TICK_ID)
    }

    /// Returns the workflow id of its pause of this kind.
    pub fn pause_id(&self, kind: PauseKind) -> String {
        self.named(&format!("capacity-pause/{}", kind.as_str()))
    }

    fn named(&self, id: &str) -> String {
        match &self.name {
            None => id.to_owned(),
            Some(name) => format!("{id}-{name}"),
        }
    }
}

impl Default for Installation {
    fn default() -> Self {
        Self::new(None, TASK_QUEUE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_installation_has_the_documented_names_and_a_second_one_adds_its_suffix() {
        let only = Installation::default();
        assert_eq!(
            (only.controller_id(), only.schedule_id(), only.tick_id()),
            (
                CONTROLLER_ID.to_owned(),
                SCHEDULE_ID.to_owned(),
                TICK_ID.to_owned()
            )
        );
        let second = Installation::new(Some("emea".to_owned()), "queue-emea");
        assert_eq!(second.controller_id(), "capacity-management-workflow-emea");
        assert_eq!(second.schedule_id(), "capacity-management-schedule-emea");
    }
}
