//! Carries out the changes of a plan: the first one alone, then several at a time. A failed change does not stop the others.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use human_text::chain;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::autopilot::Autopilot;
use crate::change::{
    CHANGE_TIMEOUT, ChangeOrder, ChangeResult, ChangeState, Changer, Ending, Next, Outcome, Phase,
    still_not_done,
};
use crate::fresh::{FreshDecision, FreshDecisions, Need};
use crate::listing::ObserveError;
use crate::timing::{ChangeTiming, Steps};

/// How often a change may be re-evaluated before it is left to the next evaluation.
// Something keeps editing the namespace, so more attempts would only take more requests.
const MAX_DECISIONS: u32 = 3;

const TOO_OLD: &str = "the metrics behind the decision are now too old";

/// How a run is stopped early.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Halt {
    /// Start no new changes; finish those in progress.
    Starting(String),
    /// Also stop following changes in progress, between two steps.
    Everything(String),
}

/// A handle that stops a run, for example on Ctrl-C.
#[derive(Debug, Clone)]
pub struct Stop {
    halt: Arc<watch::Sender<Option<Halt>>>,
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            halt: Arc::new(watch::Sender::new(None)),
        }
    }
}

impl Stop {
    /// Creates a handle that has not been stopped.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops between steps: starts no new changes, and leaves changes in progress to the service.
    pub fn now(&self, why: impl Into<String>) {
        self.halt.send_replace(Some(Halt::Everything(why.into())));
    }

    fn starting(&self, why: String) {
        self.halt.send_if_modified(|halt| {
            // Never weakens a stop: `Everything` stays, and the first reason is the one to show.
            halt.is_none() && {
                *halt = Some(Halt::Starting(why));
                true
            }
        });
    }

    fn no_more(&self) -> Option<String> {
        match &*self.halt.borrow() {
            None => None,
            Some(Halt::Starting(why) | Halt::Everything(why)) => Some(why.clone()),
        }
    }

    /// Waits until everything is stopped, and returns the reason.
    async fn stopped(&self) -> String {
        let mut changes = self.halt.subscribe();
        let stopped = changes.wait_for(|halt| matches!(halt, Some(Halt::Everything(_))));
        let why = match stopped.await.as_deref() {
            Ok(Some(Halt::Everything(why))) => Some(why.clone()),
            Ok(_) | Err(_) => None,
        };
        match why {
            Some(why) => why,
            // This handle keeps the sender, so the channel never closes.
            None => std::future::pending().await,
        }
    }
}

/// Options for carrying out a set of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CarryOut {
    /// Maximum number of changes that run at the same time.
    pub max_concurrent: usize,
    /// Whether to refuse a namespace that changed since the decision, as for a saved plan, instead of
    /// re-evaluating it.
    pub refuse_moved: bool,
    /// Maximum time for one change, including requests and waits, before it counts as failed.
    pub change_timeout: Duration,
}

impl Default for CarryOut {
    fn default() -> Self {
        Self::new()
    }
}

impl CarryOut {
    /// Returns the defaults: five concurrent changes, 15 minutes for each, and re-evaluation if a namespace changed.
    pub const fn new() -> Self {
        Self {
            max_concurrent: 5,
            refuse_moved: false,
            change_timeout: CHANGE_TIMEOUT,
        }
    }

    /// Sets the maximum number of concurrent changes.
    #[must_use]
    pub const fn with_max_concurrent(self, max_concurrent: usize) -> Self {
        Self {
            max_concurrent,
            ..self
        }
    }

    /// Sets whether to refuse the change of a namespace that changed since the decision, instead of re-evaluating it.
    #[must_use]
    pub const fn with_refuse_moved(self, refuse_moved: bool) -> Self {
        Self { refuse_moved, ..self }
    }

    /// Sets the time limit of one change.
    #[must_use]
    pub const fn with_change_timeout(self, change_timeout: Duration) -> Self {
        Self {
            change_timeout,
            ..self
        }
    }
}

impl Autopilot {
    /// Carries out changes in the given order and returns one result for each, in the same order.
    ///
    /// Changes run alone until one has been verified, then several at a time. If a spec differs in more than
    /// the capacity, no more changes start. `progress` is called for every change that ends.
    pub async fn carry_out(
        &self,
        orders: Vec<ChangeOrder>,
        how: CarryOut,
        stop: &Stop,
        progress: impl Fn(&ChangeResult),
    ) -> Vec<ChangeResult> {
        self.carry_out_timed(orders, how, stop, |result, _| progress(result))
            .await
    }

    /// Like [`Autopilot::carry_out`], but `progress` also receives the times of the change and its steps.
    pub async fn carry_out_timed(
        &self,
        orders: Vec<ChangeOrder>,
        how: CarryOut,
        stop: &Stop,
        progress: impl Fn(&ChangeResult, &ChangeTiming),
    ) -> Vec<ChangeResult> {
        let run = Run {
            autopilot: self,
            changer: Changer::new(self.ops().clone()),
            fresh: FreshDecisions::new(self, orders.iter().map(|order| order.namespace.clone()).collect()),
            how,
            stop,
        };
        let (progress, run) = (&progress, &run);
        let begin = |(number, order): (usize, ChangeOrder)| async move {
            // Boxed, because the future's type is too deeply nested for the compiler otherwise.
            let (result, timing) = Box::pin(run.one(order)).await;
            progress(&result, &timing);
            (number, result)
        };
        let mut waiting = orders.into_iter().enumerate();
        let mut results = Vec::new();
        // Changes start one at a time until one has been verified, so that a failure affects only one
        // namespace.
        for order in waiting.by_ref() {
            let (number, result) = begin(order).await;
            let verified = result.outcome.is_success();
            results.push((number, result));
            if verified {
                break;
            }
        }
        let mut rest = futures::stream::iter(waiting.map(begin)).buffer_unordered(how.max_concurrent.max(1));
        while let Some(result) = rest.next().await {
            results.push(result);
        }
        // `buffer_unordered` returns them as they end.
        results.sort_by_key(|(number, _)| *number);
        results.into_iter().map(|(_, result)| result).collect()
    }
}

/// One change at a time, for callers that wait outside this process, such as a durable workflow.
impl Autopilot {
    /// Runs the next step of a change, like [`Changer::step`]. A change that has not started and whose metrics have become too
    /// old must be re-evaluated first.
    pub async fn step(&self, order: &ChangeOrder, state: ChangeState) -> Next {
        let changer = Changer::new(self.ops().clone());
        // Once something may have been posted, the change is followed, however old its data is: its
        // outcome must be known.
        let fresh_enough =
            state.phase != Phase::Begin || state.posts > 0 || self.oldest_allowed(order).is_none();
        if fresh_enough || changer.is_settled(order).await {
            return changer.step(order, state).await;
        }
        Next::DecideAgain {
            found: TOO_OLD.to_owned(),
        }
    }

    /// Re-evaluates the namespace of an order on fresh data. If the decision is the same, the order continues with the returned
    /// value; otherwise the error contains the new decision.
    ///
    /// # Errors
    ///
    /// If the decision differs, or there is no fresh data.
    pub async fn decide_again(&self, order: &ChangeOrder, found: &str) -> Result<ChangeOrder, NotConfirmed> {
        let fresh = FreshDecisions::new(self, [order.namespace.clone()].into());
        let mut order = order.clone();
        confirm(&fresh, &mut order, Need::MadeSince(self.now()), found).await?;
        Ok(order)
    }

    /// Returns the oldest acceptable minute, if the metrics of an order are older than that.
    fn oldest_allowed(&self, order: &ChangeOrder) -> Option<Timestamp> {
        let now = self.now();
        let oldest = now
            .saturating_sub(self.settings().metrics_max_age())
            .unwrap_or(now);
        order
            .sample_minute
            .is_none_or(|minute| minute < oldest)
            .then_some(oldest)
    }
}

/// A change that was dropped when it was re-evaluated. `found` is the reason for the re-evaluation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotConfirmed {
    /// The account could not be observed.
    #[error("{found}, and fresh data is not available")]
    NoFreshData {
        /// The reason for the re-evaluation.
        found: String,
        /// Why the account could not be observed.
        source: ObserveError,
    },
    /// The namespace is gone.
    #[error("{found}, and the namespace no longer exists in the account")]
    NotListed {
        /// The reason for the re-evaluation.
        found: String,
    },
    /// The new decision is a different change, or no change.
    #[error("{found}; the new decision is {decision}")]
    Different {
        /// The reason for the re-evaluation.
        found: String,
        /// The new decision, as operators see it.
        decision: String,
    },
}

/// Decides on fresh data. The order continues only if the decision is the same.
async fn confirm(
    fresh: &FreshDecisions<'_>,
    order: &mut ChangeOrder,
    need: Need,
    found: &str,
) -> Result<(), NotConfirmed> {
    let found = || found.to_owned();
    match fresh.of(&order.namespace, need).await {
        Err(source) => Err(NotConfirmed::NoFreshData {
            found: found(),
            source,
        }),
        Ok(None) => Err(NotConfirmed::NotListed { found: found() }),
        Ok(Some(FreshDecision {
            capacity,
            resource_version,
            sample_minute,
            line,
        })) => {
            // A different size is a different decision. It belongs in the next plan, where it can be seen.
            if capacity != Some((order.from, order.to)) {
                return Err(NotConfirmed::Different {
                    found: found(),
                    decision: line,
                });
            }
            tracing::info!(namespace = %order.namespace, why = found(), "fresh data gives the same decision");
            // Not the operation id: if an earlier attempt did reach the service, the same id lets it be
            // found.
            order.resource_version = resource_version;
            order.sample_minute = sample_minute;
            Ok(())
        }
    }
}

struct Run<'a> {
    autopilot: &'a Autopilot,
    changer: Changer,
    fresh: FreshDecisions<'a>,
    how: CarryOut,
    stop: &'a Stop,
}

impl Run<'_> {
    async fn one(&self, mut order: ChangeOrder) -> (ChangeResult, ChangeTiming) {
        let bound = self.how.change_timeout;
        let mut steps = Steps::begin();
        let ending = match tokio::time::timeout(bound, self.to_its_end(&mut order, &mut steps)).await {
            Ok(ending) => ending,
            // A POST may have been cut off here. The next evaluation finds its operation on the namespace.
            Err(_) => Ending::because(Outcome::Failed, still_not_done(&order.operation_id, bound)),
        };
        if !ending.spec_differences.is_empty() {
            let fields = ending.spec_differences.join(", ");
            self.stop.starting(format!(
                "after the change of {}, its spec differs in {fields}",
                order.namespace
            ));
        }
        if let (Outcome::NotPermitted, Some(error)) = (ending.outcome, &ending.error) {
            self.autopilot
                .remember_refusal(&order.namespace, &order.resource_version, error.clone());
        }
        if let Some(error) = &ending.error {
            tracing::warn!(
                namespace = %order.namespace,
                operation_id = %order.operation_id,
                outcome = ending.outcome.as_str(),
                %error,
                "a capacity change was not carried out"
            );
        }
        let trus = (order.from.trus(), order.to.trus());
        let result = ChangeResult::new(order.operation_id, order.namespace, trus, ending);
        (result, steps.end())
    }

    async fn to_its_end(&self, order: &mut ChangeOrder, steps: &mut Steps) -> Ending {
        if let Some(why) = self.stop.no_more() {
            return Ending::because(Outcome::NotStarted, why);
        }
        if let Some(oldest) = self.autopilot.oldest_allowed(order)
            && !self.changer.is_settled(order).await
            && let Err(why) = confirm(&self.fresh, order, Need::MeasuredSince(oldest), TOO_OLD).await
        {
            return Ending::because(Outcome::Refused, chain(&why));
        }
        let mut state = ChangeState::begin();
        let mut decisions = 0;
        loop {
            // Always wait for the response to a POST. A read may hang, and can be canceled without harm.
            let (begun, only_reads) = (has_begun(&state), state.phase != Phase::Begin);
            steps.now(step_name(state.phase));
            let next = tokio::select! {
                next = self.changer.step(order, state) => next,
                why = self.stop.stopped(), if only_reads => return left(order, begun, &why),
            };
            match next {
                Next::Ended(ending) => return ending,
                Next::After { delay, state: next } => {
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        why = self.stop.stopped() => return left(order, has_begun(&next), &why),
                    }
                    state = next;
                }
                Next::DecideAgain { found } => {
                    decisions += 1;
                    if self.how.refuse_moved || decisions > MAX_DECISIONS {
                        return Ending::because(Outcome::Refused, format!("{found}; make a new plan"));
                    }
                    let need = Need::MadeSince(self.autopilot.now());
                    if let Err(why) = confirm(&self.fresh, order, need, &found).await {
                        return Ending::because(Outcome::Refused, chain(&why));
                    }
                    state = ChangeState::begin();
                }
            }
        }
    }
}

fn step_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Begin => "request",
        Phase::ReadBack { .. } => "read back",
        Phase::Waiting => "wait",
        Phase::Verifying { .. } => "verify",
    }
}

/// Returns whether the service may be working on the change, because this run or an earlier attempt posted it.
fn has_begun(state: &ChangeState) -> bool {
    state.posts > 0 || state.phase != Phase::Begin
}

fn left(order: &ChangeOrder, has_begun: bool, why: &str) -> Ending {
    if !has_begun {
        return Ending::because(Outcome::NotStarted, format!("nothing was sent: {why}"));
    }
    Ending::because(
        Outcome::InProgress,
        format!(
            "{why}; the service may be carrying out operation {}: the next plan shows how it ended",
            order.operation_id
        ),
    )
}
