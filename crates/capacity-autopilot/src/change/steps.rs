//! The steps of a change for a caller that keeps its progress elsewhere, such as a durable workflow: read,
//! post once, check.
//!
//! Each call makes at most one POST and repeats none. The values read before the POST are returned as
//! digests, so that the caller can record them before anything is sent, and compare the spec with them
//! afterward.

use std::time::Duration;

use cloud_ops_client::{
    AsyncOperation, CapacityMode, Client, Namespace, NamespaceUpdate, OperationState, SpecDifference,
    SpecDigests,
};
use human_text::chain;
use serde::{Deserialize, Serialize};

use super::attempt::{
    RequestStanding, check_delay, describe, is_our_operation, judge_before_post, not_permitted, standing,
};
use super::refusal::{Call, Consequence, consequence};
use super::state::{ChangeOrder, ChangeState, Ending, Next, Outcome};
use crate::namespaces::{present_capacity, wanted_capacity};

/// The inputs of a POST: the version of the namespace and digests of its spec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Basis {
    /// The version of the namespace.
    pub resource_version: String,
    /// Digests of every field of the spec except the capacity.
    pub digests: SpecDigests,
}

/// The result of the read before the POST.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reading {
    /// The change can be posted on this basis.
    Ready(Basis),
    /// The operation of this change already exists, because it was posted before.
    Posted,
    /// There is nothing to post.
    Ended(Ending),
    /// The namespace could not be read now.
    Unreadable {
        /// Why the namespace could not be read.
        why: String,
        /// The delay that the service requested.
        retry_after: Option<Duration>,
    },
}

/// The result of the POST.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Posting {
    /// It accepted the change.
    Accepted {
        /// Delay before the first check.
        check_after: Duration,
    },
    /// Nothing was sent, or the service changed nothing: the change has ended.
    Ended(Ending),
    /// The account has reached its limit of operations; the change can be posted later.
    TooManyOperations(String),
    /// The service reports that the namespace already has the target capacity.
    NothingToChange(String),
    /// It is not known whether the service received the POST.
    Uncertain(String),
    /// Nothing was sent, and a retry can help.
    NotSent {
        /// Why nothing was sent.
        why: String,
        /// The delay that the service requested.
        retry_after: Option<Duration>,
    },
}

/// The progress of a posted change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progressed {
    /// The operation is running.
    Running {
        /// Delay before the next check.
        check_after: Duration,
    },
    /// The operation has ended, but the capacity has not arrived yet.
    Arriving,
    /// The change has ended.
    Ended(Ending),
    /// The service does not know the operation, and the namespace does not show it.
    NeverPosted,
    /// The progress could not be read now.
    Unreadable(String),
}

/// One check of a posted change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// Progress of the change.
    pub progress: Progressed,
    /// Whether the spec was read and shows the posted capacity.
    pub shows_posted: bool,
    /// Difference between the rest of the spec and the digests; `None` if unknown.
    pub difference: Option<SpecDifference>,
    /// Whether the service does not know the namespace: it was deleted, or belongs to another account than the key.
    pub is_gone: bool,
}

/// An update that is ready to be sent.
#[derive(Debug, Clone)]
pub struct Prepared(NamespaceUpdate);

/// Makes the calls of changes, one call at a time.
#[derive(Debug, Clone)]
pub struct ChangeSteps {
    client: Client,
    fields_not_compared: Vec<String>,
}

impl ChangeSteps {
    /// Creates the steps from a client whose key is allowed to change namespaces. The given fields of the spec are left out of
    /// every comparison.
    pub fn new(client: Client, fields_not_compared: Vec<String>) -> Self {
        Self {
            client,
            fields_not_compared,
        }
    }

    /// Reads the namespace and returns whether the change can be posted.
    pub async fn read(&self, order: &ChangeOrder) -> Reading {
        match self.client.namespace(order.namespace.as_str()).await {
            Ok(namespace) => judge(order, &namespace),
            Err(error) => match consequence(&error, Call::Read) {
                Consequence::Repeat { delay } | Consequence::ReadBack { delay } => Reading::Unreadable {
                    why: chain(&error),
                    retry_after: delay,
                },
                Consequence::NotPermitted => {
                    Reading::Ended(Ending::because(Outcome::NotPermitted, not_permitted(&error)))
                }
                Consequence::DecideAgain | Consequence::NothingToChange | Consequence::Stop => {
                    Reading::Ended(Ending::because(Outcome::Failed, chain(&error)))
                }
            },
        }
    }

    /// Reads the namespace again. Returns the update to send if nothing has changed since the basis was read,
    /// or the resulting outcome otherwise.
    pub async fn prepare(&self, order: &ChangeOrder, basis: &Basis) -> Result<Prepared, Posting> {
        let read = self.client.namespace(order.namespace.as_str()).await;
        let namespace = read.map_err(|error| Posting::NotSent {
            retry_after: error.retry_after(),
            why: chain(&error),
        })?;
        match judge(order, &namespace) {
            // Version and digests: no documentation promises that every edit raises the version.
            Reading::Ready(now) if now == *basis => Ok(Prepared(NamespaceUpdate {
                spec: namespace.spec.with_capacity(wanted_capacity(order.to)),
                resource_version: namespace.resource_version,
                async_operation_id: order.operation_id.clone(),
            })),
            Reading::Ready(_) => {
                let found = "the namespace changed between the read and the update";
                Err(Posting::Ended(Ending::because(
                    Outcome::Superseded,
                    found.to_owned(),
                )))
            }
            Reading::Posted => Err(Posting::Accepted {
                check_after: Duration::ZERO,
            }),
            Reading::Ended(ending) => Err(Posting::Ended(ending)),
            Reading::Unreadable { why, retry_after } => Err(Posting::NotSent { why, retry_after }),
        }
    }

    /// Posts the change, once.
    pub async fn post(&self, order: &ChangeOrder, prepared: &Prepared) -> Posting {
        tracing::info!(namespace = %order.namespace, operation_id = %order.operation_id, to = %order.to, "posting a capacity change");
        let posted = self
            .client
            // The variant that never repeats: the caller decides whether to repeat it, after reading back.
            .update_namespace_once(order.namespace.as_str(), &prepared.0)
            .await;
        match posted {
            Ok(operation) => Posting::Accepted {
                check_after: check_delay(operation.check_duration),
            },
            Err(error) => refused_post(&error),
        }
    }

    /// Returns whether the change was posted: the service knows its operation, or the namespace shows it.
    /// `None` if that is unknown for now.
    pub async fn was_posted(&self, order: &ChangeOrder) -> Option<bool> {
        match self.client.async_operation(&order.operation_id).await {
            Ok(_) => return Some(true),
            Err(error) if error.is_not_found() => {}
            Err(_) => return None,
        }
        let namespace = self.client.namespace(order.namespace.as_str()).await.ok()?;
        Some(is_our_operation(order, &namespace))
    }

    /// Reads a namespace back after the service reported that there is nothing to change.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub async fn read_back(&self, order: &ChangeOrder) -> Result<Ending, cloud_ops_client::Error> {
        let namespace = self.client.namespace(order.namespace.as_str()).await?;
        if present_capacity(&namespace) == Ok(order.to) {
            return Ok(Ending::new(Outcome::Already));
        }
        Ok(Ending::because(
            Outcome::Stuck,
            format!(
                "the service reports that there is nothing to change, but the namespace has {}; set {} once \
                 manually, or contact Temporal Support",
                describe(&namespace),
                order.to
            ),
        ))
    }

    /// Checks a posted change: the operation, the namespace, and its spec against the basis.
    pub async fn check(&self, order: &ChangeOrder, digests: Option<&SpecDigests>) -> Checked {
        let operation = match self.client.async_operation(&order.operation_id).await {
            Ok(operation) => Some(operation),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Checked::unread(error_progress(&error)),
        };
        let namespace = match self.client.namespace(order.namespace.as_str()).await {
            Ok(namespace) => namespace,
            Err(error) if error.is_not_found() => {
                return Checked {
                    is_gone: true,
                    ..Checked::unread(gone(operation.as_ref()))
                };
            }
            Err(error) => return Checked::unread(error_progress(&error)),
        };
        let shows_posted = shows(&namespace, order);
        Checked {
            progress: progress(order, operation.as_ref(), &namespace),
            difference: digests
                // Before the spec shows our capacity, it may be the one from before the POST, and a
                // comparison would prove nothing.
                .filter(|_| shows_posted)
                .and_then(|digests| digests.difference(&namespace.spec, &self.fields_not_compared)),
            shows_posted,
            is_gone: false,
        }
    }
}

impl Checked {
    fn unread(progress: Progressed) -> Self {
        Self {
            progress,
            shows_posted: false,
            difference: None,
            is_gone: false,
        }
    }
}

fn judge(order: &ChangeOrder, namespace: &Namespace) -> Reading {
    if is_our_operation(order, namespace) {
        return Reading::Posted;
    }
    match judge_before_post(order, &ChangeState::begin(), namespace) {
        None => Reading::Ready(Basis {
            resource_version: namespace.resource_version.clone(),
            digests: namespace.spec.digests(),
        }),
        Some(Next::DecideAgain { found }) => Reading::Ended(Ending::because(Outcome::Superseded, found)),
        Some(Next::Ended(ending)) => Reading::Ended(ending),
        Some(Next::After { .. }) => Reading::Posted,
    }
}

fn refused_post(error: &cloud_ops_client::Error) -> Posting {
    // Before the general table: such a change goes back to the queue instead of waiting in one of the
    // account's 10 places.
    if error.is_too_many_operations() {
        return Posting::TooManyOperations(chain(error));
    }
    match consequence(error, Call::Post) {
        Consequence::NothingToChange => Posting::NothingToChange(chain(error)),
        Consequence::DecideAgain => Posting::Ended(Ending::because(Outcome::Superseded, chain(error))),
        Consequence::NotPermitted => {
            Posting::Ended(Ending::because(Outcome::NotPermitted, not_permitted(error)))
        }
        Consequence::ReadBack { delay } | Consequence::Repeat { delay } if !error.is_outcome_unknown() => {
            Posting::NotSent {
                why: chain(error),
                retry_after: delay,
            }
        }
        Consequence::ReadBack { .. } | Consequence::Repeat { .. } => Posting::Uncertain(chain(error)),
        Consequence::Stop => Posting::Ended(Ending::because(Outcome::Failed, chain(error))),
    }
}

fn error_progress(error: &cloud_ops_client::Error) -> Progressed {
    Progressed::Unreadable(chain(error))
}

fn shows(namespace: &Namespace, order: &ChangeOrder) -> bool {
    match namespace.spec.capacity() {
        CapacityMode::OnDemand => order.to.trus() == 0,
        // TRUs are doubles on the wire but whole numbers in fact.
        CapacityMode::Provisioned(Some(value)) => (value - f64::from(order.to.trus())).abs() < 0.5,
        CapacityMode::Absent | CapacityMode::Provisioned(None) | CapacityMode::Unknown(_) => false,
    }
}

/// A namespace that was deleted meanwhile shows no capacity: the operation alone tells how the change ended.
fn gone(operation: Option<&AsyncOperation>) -> Progressed {
    let failed = |how: &str| {
        Progressed::Ended(Ending::because(
            Outcome::Failed,
            format!("the namespace does not exist anymore, or the key has lost access to it; {how}"),
        ))
    };
    match operation.map(|operation| (&operation.state, operation)) {
        None => failed("the service does not know the operation either"),
        Some((OperationState::Fulfilled, _)) => failed("its operation had been fulfilled"),
        Some((OperationState::Failed | OperationState::Rejected | OperationState::Cancelled, _)) => {
            failed("its operation had not been carried out")
        }
        Some((_, operation)) => Progressed::Running {
            check_after: check_delay(operation.check_duration),
        },
    }
}

fn progress(order: &ChangeOrder, operation: Option<&AsyncOperation>, namespace: &Namespace) -> Progressed {
    let failed = |word: &str, operation: &AsyncOperation| {
        let reason = operation.failure_reason.as_deref().unwrap_or("no reason given");
        Progressed::Ended(Ending::because(
            Outcome::Failed,
            format!("the operation {word}: {reason}"),
        ))
    };
    match operation.map(|operation| (&operation.state, operation)) {
        // The service may forget an operation before the namespace does, so both must be without it.
        None if !is_our_operation(order, namespace) => Progressed::NeverPosted,
        None | Some((OperationState::Fulfilled, _)) => arrival(order, namespace),
        Some((OperationState::Failed, operation)) => failed("failed", operation),
        Some((OperationState::Rejected, operation)) => failed("was rejected", operation),
        Some((OperationState::Cancelled, operation)) => failed("was canceled", operation),
        Some((_, operation)) => Progressed::Running {
            check_after: check_delay(operation.check_duration),
        },
    }
}

/// Checks whether the capacity of a fulfilled operation has arrived, as the request and the capacity must confirm.
fn arrival(order: &ChangeOrder, namespace: &Namespace) -> Progressed {
    match standing(order, namespace) {
        RequestStanding::Failed => Progressed::Ended(Ending::because(
            Outcome::Failed,
            format!(
                "the capacity request failed; the namespace has {}",
                describe(namespace)
            ),
        )),
        RequestStanding::Completed if present_capacity(namespace) == Ok(order.to) => {
            Progressed::Ended(Ending::new(Outcome::Changed))
        }
        RequestStanding::Completed | RequestStanding::Running => Progressed::Arriving,
    }
}
