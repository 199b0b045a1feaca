//! One step of a change: its calls to the service.

use std::time::Duration;

use capacity_engine::RequestState;
use cloud_ops_client::{Client, Namespace, NamespaceUpdate, OperationState, ResourceState, Spec};
use human_text::{at_minute, chain, counted};

use super::refusal::{Call, Consequence, consequence};
use super::state::{CHANGE_TIMEOUT, ChangeOrder, ChangeState, Ending, Next, Outcome, Phase};
use crate::namespaces::{present_capacity, request_state, someone_elses_change, wanted_capacity};

/// Time between polls if the service sends no `checkDuration`.
const DEFAULT_CHECK: Duration = Duration::from_secs(10);

/// Bounds for the service's `checkDuration`, to keep the polling rate reasonable.
const CHECK_BOUNDS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_mins(1));

/// How long the capacity may take to arrive after the operation is fulfilled. The Terraform provider's own
/// acceptance test waits 60 s; Temporal's target is two minutes.
const VERIFY_TIMEOUT: Duration = Duration::from_mins(3);

/// How often a POST may be repeated after a read-back has shown that it had no effect.
const MAX_POSTS: u32 = 4;

/// Carries out changes, one step at a time.
#[derive(Debug, Clone)]
pub struct Changer {
    client: Client,
}

impl Changer {
    /// Creates a changer from a client whose key is allowed to change namespaces.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Runs the next step of a change: at most one read of the namespace and one POST, or one poll.
    ///
    /// Safe to repeat: a POST carries the operation id of the order and the version that was read.
    pub async fn step(&self, order: &ChangeOrder, state: ChangeState) -> Next {
        if state.waited > CHANGE_TIMEOUT {
            return failed(still_not_done(&order.operation_id, CHANGE_TIMEOUT));
        }
        match state.phase {
            Phase::Begin => self.begin(order, state).await,
            Phase::ReadBack { nothing_to_change } => self.read_back(order, state, nothing_to_change).await,
            Phase::Waiting => self.poll(order, state).await,
            Phase::Verifying { waited } => self.verify(order, state, waited).await,
        }
    }

    /// Returns whether an order needs no fresh decision: its operation is found on the namespace, so it is only followed to
    /// completion, or the namespace has the wanted capacity already.
    pub(crate) async fn is_settled(&self, order: &ChangeOrder) -> bool {
        let read = self.client.namespace(order.namespace.as_str()).await;
        read.is_ok_and(|namespace| {
            is_our_operation(order, &namespace) || present_capacity(&namespace) == Ok(order.to)
        })
    }

    async fn begin(&self, order: &ChangeOrder, mut state: ChangeState) -> Next {
        let namespace = match self.read(order, &state).await {
            Ok(namespace) => namespace,
            Err(next) => return next,
        };
        if let Some(next) = judge_before_post(order, &state, &namespace) {
            return next;
        }
        let update = NamespaceUpdate {
            spec: namespace.spec.with_capacity(wanted_capacity(order.to)),
            resource_version: namespace.resource_version.clone(),
            async_operation_id: order.operation_id.clone(),
        };
        state.spec_before = Some(namespace.spec.to_json());
        state.posts += 1;
        tracing::info!(namespace = %order.namespace, operation_id = %order.operation_id, to = %order.to, "posting a capacity change");
        match self
            .client
            .update_namespace(order.namespace.as_str(), &update)
            .await
        {
            Ok(operation) => after(check_delay(operation.check_duration), state, Phase::Waiting),
            Err(error) => match consequence(&error, Call::Post) {
                Consequence::ReadBack { delay } | Consequence::Repeat { delay } => {
                    tracing::warn!(namespace = %order.namespace, error = %chain(&error), "the response to a change is uncertain; reading back");
                    after(
                        delay.unwrap_or(Duration::from_secs(1)),
                        state,
                        Phase::ReadBack {
                            nothing_to_change: false,
                        },
                    )
                }
                Consequence::NothingToChange => after(
                    Duration::ZERO,
                    state,
                    Phase::ReadBack {
                        nothing_to_change: true,
                    },
                ),
                Consequence::DecideAgain => Next::DecideAgain { found: chain(&error) },
                Consequence::NotPermitted => ended(Outcome::NotPermitted, Some(not_permitted(&error))),
                Consequence::Stop => failed(chain(&error)),
            },
        }
    }

    /// Determines the outcome of a POST that got no readable response.
    async fn read_back(&self, order: &ChangeOrder, mut state: ChangeState, nothing_to_change: bool) -> Next {
        let namespace = match self.read(order, &state).await {
            Ok(namespace) => namespace,
            Err(next) => return next,
        };
        if is_our_operation(order, &namespace) {
            return after(Duration::ZERO, state, Phase::Waiting);
        }
        let arrived = present_capacity(&namespace) == Ok(order.to);
        match (arrived, nothing_to_change) {
            // The capacity is right, but not provably by this operation.
            (true, _) => verified(Outcome::Already, order, &state, &namespace),
            (false, true) => ended(
                Outcome::Stuck,
                Some(format!(
                    "the service reports that there is nothing to change, but the namespace has {}: set {} once manually, or contact Temporal Support",
                    describe(&namespace),
                    order.to
                )),
            ),
            (false, false) if state.posts >= MAX_POSTS => failed(format!(
                "the change did not take effect after {MAX_POSTS} attempts; plan again later"
            )),
            (false, false) => {
                // The POST had no effect: start over with the same operation id.
                let spec_before = state.spec_before.take();
                state.phase = Phase::Begin;
                state.spec_before = spec_before;
                Next::After {
                    delay: Duration::ZERO,
                    state,
                }
            }
        }
    }

    async fn poll(&self, order: &ChangeOrder, state: ChangeState) -> Next {
        let operation = match self.client.async_operation(&order.operation_id).await {
            Ok(operation) => operation,
            Err(error) if error.is_not_found() => {
                // The namespace itself is authoritative; the service may have deleted the operation already.
                return after(
                    DEFAULT_CHECK,
                    state,
                    Phase::Verifying {
                        waited: Duration::ZERO,
                    },
                );
            }
            Err(error) => return repeat_or_stop(&error, &state),
        };
        let delay = check_delay(operation.check_duration);
        let reason = || {
            operation
                .failure_reason
                .clone()
                .unwrap_or_else(|| "the service gave no reason".to_owned())
        };
        match &operation.state {
            OperationState::Fulfilled => after(
                Duration::ZERO,
                state,
                Phase::Verifying {
                    waited: Duration::ZERO,
                },
            ),
            OperationState::Failed => failed(format!("the operation failed: {}", reason())),
            OperationState::Rejected => failed(format!("the operation was rejected: {}", reason())),
            OperationState::Cancelled => failed(format!("the operation was canceled: {}", reason())),
            OperationState::Pending
            | OperationState::InProgress
            // Unknown states count as running: calling the change failed would allow a second one on top.
            | OperationState::Unspecified
            | OperationState::Other(_) => after(delay, state, Phase::Waiting),
        }
    }

    /// Verifies a fulfilled operation. Its capacity may not be applied yet, so the request and the capacity must confirm it.
    async fn verify(&self, order: &ChangeOrder, state: ChangeState, waited: Duration) -> Next {
        let namespace = match self.read(order, &state).await {
            Ok(namespace) => namespace,
            Err(next) => return next,
        };
        match standing(order, &namespace) {
            RequestStanding::Failed => failed(format!(
                "the capacity request failed; the namespace has {}",
                describe(&namespace)
            )),
            RequestStanding::Completed if present_capacity(&namespace) == Ok(order.to) => {
                verified(Outcome::Changed, order, &state, &namespace)
            }
            // Completed without the capacity: our request may not be visible yet, see `standing`.
            RequestStanding::Completed | RequestStanding::Running if waited < VERIFY_TIMEOUT => {
                // Poll often at first, when the capacity is likely to arrive, and less often later.
                let delay = (waited / 2).clamp(Duration::from_millis(250), Duration::from_secs(5));
                after(
                    delay,
                    state,
                    Phase::Verifying {
                        waited: waited + delay,
                    },
                )
            }
            RequestStanding::Completed | RequestStanding::Running => failed(format!(
                "the operation is fulfilled, but {} s later the namespace still has {}: check it in Temporal Cloud, then plan again",
                waited.as_secs(),
                describe(&namespace)
            )),
        }
    }

    async fn read(&self, order: &ChangeOrder, state: &ChangeState) -> Result<Namespace, Next> {
        self.client
            .namespace(order.namespace.as_str())
            .await
            .map_err(|error| repeat_or_stop(&error, state))
    }
}

/// Formats the error for a change that took longer than allowed.
pub(crate) fn still_not_done(operation_id: &str, bound: Duration) -> String {
    let bound = match bound.as_secs() {
        seconds if seconds >= 60 && seconds % 60 == 0 => counted(seconds / 60, "minute"),
        seconds => counted(seconds, "second"),
    };
    format!(
        "still not done after {bound}; the operation {operation_id} may still complete: check the namespace, then plan again"
    )
}

/// Decides from a fresh reading whether the change may be posted.
pub(super) fn judge_before_post(
    order: &ChangeOrder,
    state: &ChangeState,
    namespace: &Namespace,
) -> Option<Next> {
    if is_our_operation(order, namespace) {
        // An earlier attempt of the same decision started it without recording its outcome: our change is
        // complete or in progress.
        let is_done = namespace.async_operation_id.is_none() && present_capacity(namespace) == Ok(order.to);
        return Some(if is_done {
            verified(Outcome::Already, order, state, namespace)
        } else {
            after(Duration::ZERO, state.clone(), Phase::Waiting)
        });
    }
    if namespace.spec.is_empty() {
        return Some(failed(
            "the service returned the namespace without a spec, and an update replaces the whole spec: nothing was sent"
                .to_owned(),
        ));
    }
    if namespace.state != ResourceState::Active {
        return Some(refused(&format!(
            "the namespace is {}, no longer active",
            namespace.state
        )));
    }
    if let Some(operation) = namespace
        .async_operation_id
        .as_deref()
        .filter(|id| !id.is_empty())
    {
        return Some(refused(&format!(
            "another operation is running on it ({operation})"
        )));
    }
    let present = match present_capacity(namespace) {
        Ok(present) => present,
        Err(why) => return Some(refused(&format!("its current capacity is unknown: {why}"))),
    };
    if present == order.to {
        return Some(verified(Outcome::Already, order, state, namespace));
    }
    // Before the version: a different capacity is final, while a new version alone may still lead to the
    // same decision.
    if present != order.from {
        return Some(refused(&format!(
            "it had {} when the decision was made, and now has {present}{}",
            order.from,
            someone_elses_change(namespace, order.from)
        )));
    }
    if namespace.resource_version != order.resource_version {
        return Some(Next::DecideAgain {
            found: format!(
                "someone else changed the namespace since the decision{} (version {} instead of {})",
                namespace
                    .last_modified_time
                    .map_or_else(String::new, |at| format!(", at {}", at_minute(at))),
                namespace.resource_version,
                order.resource_version
            ),
        });
    }
    None
}

/// The state of our capacity request.
pub(super) enum RequestStanding {
    Running,
    Completed,
    Failed,
}

pub(super) fn standing(order: &ChangeOrder, namespace: &Namespace) -> RequestStanding {
    let request = namespace
        .capacity
        .as_ref()
        .and_then(|capacity| capacity.latest_request.as_ref());
    match request {
        Some(request) if request.async_operation_id.as_deref() == Some(order.operation_id.as_str()) => {
            match request_state(&request.state) {
                RequestState::Completed => RequestStanding::Completed,
                RequestState::Failed => RequestStanding::Failed,
                _ => RequestStanding::Running,
            }
        }
        // Our request is not visible, so the capacity alone decides, within the time limit.
        Some(_) | None => RequestStanding::Completed,
    }
}

pub(super) fn is_our_operation(order: &ChangeOrder, namespace: &Namespace) -> bool {
    let latest = namespace
        .capacity
        .as_ref()
        .and_then(|capacity| capacity.latest_request.as_ref())
        .and_then(|request| request.async_operation_id.as_deref());
    [namespace.async_operation_id.as_deref(), latest].contains(&Some(order.operation_id.as_str()))
}

pub(super) fn describe(namespace: &Namespace) -> String {
    present_capacity(namespace).map_or_else(
        |why| format!("an unknown capacity ({why})"),
        |capacity| capacity.to_string(),
    )
}

fn verified(outcome: Outcome, order: &ChangeOrder, state: &ChangeState, namespace: &Namespace) -> Next {
    let spec_differences = state
        .spec_before
        .as_deref()
        .and_then(|before| Spec::from_json(before).ok())
        .map(|before| before.differences_but_for_capacity(&namespace.spec))
        .unwrap_or_default();
    if spec_differences.is_empty() {
        tracing::info!(namespace = %order.namespace, to = %order.to, outcome = outcome.as_str(), "verified a capacity change");
    } else {
        tracing::error!(namespace = %order.namespace, fields = ?spec_differences, "the spec differs after a capacity change");
    }
    Next::Ended(Ending {
        outcome,
        error: None,
        spec_differences,
    })
}

fn repeat_or_stop(error: &cloud_ops_client::Error, state: &ChangeState) -> Next {
    match consequence(error, Call::Read) {
        Consequence::Repeat { delay } | Consequence::ReadBack { delay } => after(
            delay.unwrap_or(Duration::from_secs(2)),
            state.clone(),
            state.phase,
        ),
        Consequence::NotPermitted => ended(Outcome::NotPermitted, Some(not_permitted(error))),
        Consequence::DecideAgain | Consequence::NothingToChange | Consequence::Stop => failed(chain(error)),
    }
}

pub(super) fn not_permitted(error: &cloud_ops_client::Error) -> String {
    format!(
        "{}; grant Namespace Admin on this namespace, or add it to NAMESPACE_DENYLIST; other changes continue",
        chain(error)
    )
}

pub(super) fn check_delay(named: Option<Duration>) -> Duration {
    named
        .filter(|delay| !delay.is_zero())
        .unwrap_or(DEFAULT_CHECK)
        .clamp(CHECK_BOUNDS.0, CHECK_BOUNDS.1)
}

fn after(delay: Duration, mut state: ChangeState, phase: Phase) -> Next {
    state.phase = phase;
    // Count at least some time for every step, so that a loop without delays cannot run forever.
    state.waited += delay.max(Duration::from_millis(20));
    Next::After { delay, state }
}

fn failed(error: String) -> Next {
    ended(Outcome::Failed, Some(error))
}

fn refused(found: &str) -> Next {
    ended(
        Outcome::Refused,
        Some(format!(
            "{found}; plan again to decide based on its current state"
        )),
    )
}

fn ended(outcome: Outcome, error: Option<String>) -> Next {
    Next::Ended(Ending {
        outcome,
        error,
        spec_differences: Vec::new(),
    })
}
