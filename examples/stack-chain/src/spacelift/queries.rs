//! Queries to Spacelift, and the conversion of its responses to our types.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::operation::{Operation, VIEWER};
use super::{Error, ErrorKind, Spacelift};
use crate::provider::{Identity, Progress, Provider, ProviderError, Run, RunRef, Stack};

// As in Spacelift's own clients; a maximum is not documented.
const PAGE: u32 = 50;

macro_rules! stack_fields {
    () => {
        "id name labels branch lockedBy isDisabled attachedContexts { contextName } dependsOn { dependsOnStackId }"
    };
}
macro_rules! run_fields {
    () => {
        "id state type branch triggeredBy"
    };
}

const STACKS: Operation = Operation {
    name: "Stacks",
    document: concat!(
        "query Stacks($input: SearchInput!) { viewer { id } searchStacks(input: $input) { edges { node { ",
        stack_fields!(),
        " } } pageInfo { endCursor hasNextPage } } }"
    ),
    does: "list the stacks",
    is_mutation: false,
};
const STACK: Operation = Operation {
    name: "Stack",
    document: concat!(
        "query Stack($id: ID!) { viewer { id } stack(id: $id) { ",
        stack_fields!(),
        " } }"
    ),
    does: "read the stack",
    is_mutation: false,
};
const RUNS: Operation = Operation {
    name: "Runs",
    document: concat!(
        "query Runs($id: ID!) { viewer { id } stack(id: $id) { runs { ",
        run_fields!(),
        " } } }"
    ),
    does: "list the runs of the stack",
    is_mutation: false,
};
const RUN: Operation = Operation {
    name: "Run",
    document: concat!(
        "query Run($stack: ID!, $run: ID!) { viewer { id } stack(id: $stack) { run(id: $run) { ",
        run_fields!(),
        " } } }"
    ),
    does: "read the run",
    is_mutation: false,
};
const TRIGGER: Operation = Operation {
    name: "Trigger",
    document: concat!(
        "mutation Trigger($stack: ID!) { runTrigger(stack: $stack) { ",
        run_fields!(),
        " } }"
    ),
    does: "trigger a run of the stack",
    is_mutation: true,
};
const CANCEL: Operation = Operation {
    name: "Cancel",
    document: "mutation Cancel($stack: ID!, $run: ID!, $note: String) { runCancel(stack: $stack, run: $run, note: $note) { id } }",
    does: "cancel the run",
    is_mutation: true,
};
const DISCARD: Operation = Operation {
    name: "Discard",
    document: "mutation Discard($stack: ID!, $run: ID, $note: String) { runDiscard(stack: $stack, run: $run, note: $note) { id } }",
    does: "discard the run",
    is_mutation: true,
};
const STOP: Operation = Operation {
    name: "Stop",
    document: "mutation Stop($stack: ID!, $run: ID!, $note: String) { runStop(stack: $stack, run: $run, note: $note) { id } }",
    does: "stop the run",
    is_mutation: true,
};

/// A stack in Spacelift's format. Only the id is required.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireStack {
    id: String,
    name: Option<String>,
    labels: Option<Vec<String>>,
    branch: Option<String>,
    locked_by: Option<String>,
    is_disabled: Option<bool>,
    attached_contexts: Option<Vec<WireContext>>,
    depends_on: Option<Vec<WireDependency>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireContext {
    context_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDependency {
    depends_on_stack_id: Option<String>,
}

impl From<WireStack> for Stack {
    fn from(wire: WireStack) -> Self {
        let natives = wire.depends_on.unwrap_or_default();
        let contexts = wire.attached_contexts.unwrap_or_default();
        Self {
            name: wire.name.unwrap_or_else(|| wire.id.clone()),
            id: wire.id,
            labels: wire.labels.unwrap_or_default(),
            branch: wire.branch.unwrap_or_default(),
            native_parents: natives
                .into_iter()
                .filter_map(|it| it.depends_on_stack_id)
                .collect(),
            locked_by: wire.locked_by.filter(|it| !it.is_empty()),
            is_disabled: wire.is_disabled.unwrap_or_default(),
            contexts: contexts.into_iter().filter_map(|it| it.context_name).collect(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireRun {
    id: String,
    state: Option<String>,
    r#type: Option<String>,
    branch: Option<String>,
    triggered_by: Option<String>,
}

/// Returns the progress for a state of Spacelift. A run with an unknown state has not ended.
pub fn progress_of(state: &str) -> Progress {
    match state {
        "UNCONFIRMED" | "PENDING_REVIEW" => Progress::Waiting,
        "FINISHED" => Progress::Succeeded,
        "FAILED" => Progress::Failed,
        "DISCARDED" | "CANCELED" | "STOPPED" => Progress::Canceled,
        "SKIPPED" => Progress::Skipped,
        _ => Progress::Active,
    }
}

#[derive(Deserialize)]
struct OfStack<T> {
    stack: Option<T>,
}

impl Spacelift {
    fn run_of(&self, stack: &str, wire: WireRun) -> Run {
        let state = wire.state.unwrap_or_default();
        Run {
            progress: progress_of(&state),
            url: self.run_url(stack, &wire.id),
            id: wire.id,
            state,
            branch: wire.branch.unwrap_or_default(),
            triggered_by: wire.triggered_by.filter(|it| !it.is_empty()),
        }
    }

    async fn all_stacks(&self) -> Result<Vec<Stack>, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Page {
            edges: Vec<Edge>,
            page_info: PageInfo,
        }
        #[derive(Deserialize)]
        struct Edge {
            node: WireStack,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct PageInfo {
            end_cursor: Option<String>,
            has_next_page: bool,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Found {
            search_stacks: Page,
        }
        let mut stacks = Vec::new();
        let mut known = BTreeSet::new();
        let mut cursors = BTreeSet::new();
        let mut input = json!({ "first": PAGE });
        loop {
            let found: Found = self.call(STACKS, json!({ "input": input }), None).await?;
            // The order of pages is not documented, so a stack may appear on two pages.
            stacks.extend(
                found
                    .search_stacks
                    .edges
                    .into_iter()
                    .map(|edge| Stack::from(edge.node))
                    .filter(|it| known.insert(it.id.clone())),
            );
            let PageInfo {
                end_cursor,
                has_next_page,
            } = found.search_stacks.page_info;
            if !has_next_page {
                return Ok(stacks);
            }
            let cursor = end_cursor
                .filter(|cursor| cursors.insert(cursor.clone()))
                .ok_or_else(|| {
                    let what = "a page reports more results, but its cursor is missing or repeated";
                    Error::new(STACKS.does, ErrorKind::GraphQl(what.to_owned()))
                })?;
            input["after"] = Value::String(cursor);
        }
    }
}

fn about(stack: &str) -> impl FnOnce(Error) -> ProviderError {
    move |error| {
        let mut error = ProviderError::from(error);
        error.text = format!("stack `{stack}`: {}", error.text);
        error
    }
}

#[async_trait]
impl Provider for Spacelift {
    fn name(&self) -> &'static str {
        "Spacelift"
    }

    fn lists_runs(&self) -> bool {
        true
    }

    async fn stacks(&self) -> Result<Vec<Stack>, ProviderError> {
        Ok(self.all_stacks().await?)
    }

    async fn stack(&self, id: &str) -> Result<Option<Stack>, ProviderError> {
        let found: OfStack<WireStack> = self
            .call(STACK, json!({ "id": id }), None)
            .await
            .map_err(about(id))?;
        Ok(found.stack.map(Stack::from))
    }

    async fn trigger(&self, stack: &str, note: &str) -> Result<Run, ProviderError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Triggered {
            run_trigger: Option<WireRun>,
        }
        let answer: Triggered = self
            .call(TRIGGER, json!({ "stack": stack }), Some(note))
            .await
            .map_err(about(stack))?;
        let run = answer.run_trigger.ok_or_else(|| {
            about(stack)(Error::new(
                TRIGGER.does,
                ErrorKind::GraphQl("it started no run and returned no error".to_owned()),
            ))
        })?;
        Ok(self.run_of(stack, run))
    }

    async fn runs(&self, stack: &str) -> Result<Vec<Run>, ProviderError> {
        #[derive(Deserialize)]
        struct Runs {
            runs: Option<Vec<WireRun>>,
        }
        let found: OfStack<Runs> = self
            .call(RUNS, json!({ "id": stack }), None)
            .await
            .map_err(about(stack))?;
        let runs = found.stack.and_then(|it| it.runs).unwrap_or_default();
        let tracked = runs
            .into_iter()
            .filter(|run| run.r#type.as_deref().is_none_or(|kind| kind == "TRACKED"));
        Ok(tracked.map(|run| self.run_of(stack, run)).collect())
    }

    async fn run(&self, at: &RunRef) -> Result<Option<Run>, ProviderError> {
        #[derive(Deserialize)]
        struct OneRun {
            run: Option<WireRun>,
        }
        let variables = json!({ "stack": at.stack, "run": at.run });
        let found: OfStack<OneRun> = self.call(RUN, variables, None).await.map_err(about(&at.stack))?;
        Ok(found
            .stack
            .and_then(|it| it.run)
            .map(|run| self.run_of(&at.stack, run)))
    }

    async fn stop(&self, at: &RunRef, note: &str) -> Result<(), ProviderError> {
        let Some(run) = self.run(at).await? else {
            return Ok(());
        };
        // Each operation is for one phase of a run: not started, waiting for a person, or running.
        let operation = match (run.progress, run.state.as_str()) {
            (Progress::Succeeded | Progress::Failed | Progress::Canceled | Progress::Skipped, _) => {
                return Ok(());
            }
            (Progress::Waiting, _) => DISCARD,
            (Progress::Active, "QUEUED" | "READY") => CANCEL,
            (Progress::Active, _) => STOP,
        };
        let variables = json!({ "stack": at.stack, "run": at.run, "note": note });
        let _: Value = self
            .call(operation, variables, None)
            .await
            .map_err(about(&at.stack))?;
        Ok(())
    }

    async fn identity(&self) -> Result<Identity, ProviderError> {
        #[derive(Deserialize)]
        struct Viewer {
            viewer: User,
        }
        #[derive(Deserialize)]
        struct User {
            id: String,
            name: Option<String>,
        }
        let Viewer { viewer } = self.call(VIEWER, json!({}), None).await?;
        Ok(Identity {
            name: viewer.name.unwrap_or_else(|| viewer.id.clone()),
            id: viewer.id,
        })
    }
}
