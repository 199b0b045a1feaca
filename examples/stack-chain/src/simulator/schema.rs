//! The part of Spacelift's GraphQL schema that chains use. Other queries are rejected.
#![allow(missing_docs, reason = "the macros generate public items")]
#![allow(clippy::unused_async, reason = "resolvers are async")]
#![allow(
    clippy::used_underscore_binding,
    reason = "the macros read arguments that resolvers ignore"
)]

use std::time::{Duration, Instant, SystemTime};

use async_graphql::parser::types::Selection;
use async_graphql::{Context, EmptySubscription, Enum, ID, InputObject, Object, Result, SimpleObject};

use super::{KEY_ID, KEY_SECRET, SimRun, SimStack, Simulator};

pub(super) type Schema = async_graphql::Schema<Query, Mutation, EmptySubscription>;

/// Whether the request has a valid token.
pub(super) struct Auth {
    pub(super) is_known: bool,
}

const TOKEN_LIFE: Duration = Duration::from_hours(10);

pub(super) fn build(simulator: Simulator) -> Schema {
    Schema::build(Query, Mutation, EmptySubscription)
        .data(simulator)
        .finish()
}

fn is_known(context: &Context<'_>) -> bool {
    context.data::<Auth>().is_ok_and(|auth| auth.is_known)
}

fn simulator<'a>(context: &Context<'a>) -> Result<&'a Simulator> {
    context.data::<Simulator>()
}

#[derive(Enum, Copy, Clone, Eq, PartialEq)]
#[graphql(name = "RunType")]
enum RunType {
    Tracked,
    Proposed,
    Task,
    Testing,
    Destroy,
}

#[derive(Enum, Copy, Clone, Eq, PartialEq)]
#[graphql(name = "RunState")]
enum RunState {
    Queued,
    Unconfirmed,
    Applying,
    Finished,
    Failed,
    Discarded,
    Canceled,
    Stopped,
}

#[derive(InputObject)]
struct SearchInput {
    first: Option<i32>,
    after: Option<String>,
    full_text_search: Option<String>,
}

#[derive(SimpleObject)]
struct Viewer {
    id: ID,
    name: String,
}

#[derive(SimpleObject)]
struct ApiKeyUser {
    jwt: String,
    valid_until: u64,
}

#[derive(SimpleObject)]
struct PageInfo {
    end_cursor: Option<String>,
    has_next_page: bool,
    has_previous_page: bool,
}

#[derive(SimpleObject)]
struct SearchStacks {
    edges: Vec<StackEdge>,
    page_info: PageInfo,
}

#[derive(SimpleObject)]
struct StackEdge {
    node: Stack,
    cursor: String,
}

#[derive(SimpleObject)]
struct AttachedContext {
    context_id: ID,
    context_name: String,
}

#[derive(SimpleObject)]
struct StackDependency {
    id: ID,
    stack_id: ID,
    depends_on_stack_id: ID,
}

struct Stack(SimStack);

#[Object]
impl Stack {
    async fn id(&self) -> ID {
        ID::from(&self.0.id)
    }
    async fn name(&self) -> &str {
        &self.0.id
    }
    async fn labels(&self) -> &[String] {
        &self.0.labels
    }
    async fn branch(&self) -> &'static str {
        "main"
    }
    async fn locked_by(&self) -> Option<&str> {
        self.0.locked_by.as_deref()
    }
    async fn is_disabled(&self) -> bool {
        self.0.is_disabled
    }
    async fn attached_contexts(&self) -> Vec<AttachedContext> {
        let contexts = self.0.contexts.iter();
        contexts
            .map(|name| AttachedContext {
                context_id: ID::from(name),
                context_name: name.clone(),
            })
            .collect()
    }
    async fn depends_on(&self) -> Vec<StackDependency> {
        let parents = self.0.native_parents.iter();
        let dependency = |parent: &String| StackDependency {
            id: ID::from(format!("{}-{parent}", self.0.id)),
            stack_id: ID::from(&self.0.id),
            depends_on_stack_id: ID::from(parent),
        };
        parents.map(dependency).collect()
    }
    async fn runs(&self, context: &Context<'_>, before: Option<ID>) -> Result<Vec<Run>> {
        let runs = simulator(context)?.runs();
        let own = runs.into_iter().rev().filter(|run| run.stack == self.0.id);
        let own = own.skip_while(|run| {
            before
                .as_ref()
                .is_some_and(|before| run.id.as_str() >= before.as_str())
        });
        Ok(own.take(50).map(Run).collect())
    }
    async fn run(&self, context: &Context<'_>, id: ID) -> Result<Option<Run>> {
        let runs = simulator(context)?.runs();
        Ok(runs
            .into_iter()
            .find(|run| run.stack == self.0.id && run.id == id.as_str())
            .map(Run))
    }
}

struct Run(SimRun);

#[Object]
impl Run {
    async fn id(&self) -> ID {
        ID::from(&self.0.id)
    }
    async fn state(&self) -> RunState {
        match self.0.state(Instant::now()) {
            "UNCONFIRMED" => RunState::Unconfirmed,
            "APPLYING" => RunState::Applying,
            "FINISHED" => RunState::Finished,
            "FAILED" => RunState::Failed,
            "DISCARDED" => RunState::Discarded,
            "CANCELED" => RunState::Canceled,
            "STOPPED" => RunState::Stopped,
            _ => RunState::Queued,
        }
    }
    #[graphql(name = "type")]
    async fn kind(&self) -> RunType {
        RunType::Tracked
    }
    async fn branch(&self) -> &'static str {
        "main"
    }
    async fn triggered_by(&self) -> Option<&str> {
        self.0.triggered_by.as_deref()
    }
}

pub(super) struct Query;

#[Object]
impl Query {
    async fn viewer(&self, context: &Context<'_>) -> Option<Viewer> {
        is_known(context).then(|| Viewer {
            id: ID::from(KEY_ID),
            name: "chain".to_owned(),
        })
    }

    async fn search_stacks(&self, context: &Context<'_>, input: SearchInput) -> Result<SearchStacks> {
        let stacks: Vec<SimStack> = if is_known(context) {
            simulator(context)?.world().stacks.values().cloned().collect()
        } else {
            Vec::new()
        };
        let first = usize::try_from(input.first.unwrap_or(50).clamp(1, 50)).unwrap_or(50);
        let after = input.after.unwrap_or_default();
        let mut left = stacks
            .into_iter()
            .filter(|it| it.id > after && it.id.contains(input.full_text_search.as_deref().unwrap_or("")));
        let edges: Vec<StackEdge> = left
            .by_ref()
            .take(first)
            .map(|stack| StackEdge {
                cursor: stack.id.clone(),
                node: Stack(stack),
            })
            .collect();
        let page_info = PageInfo {
            end_cursor: edges.last().map(|edge| edge.cursor.clone()),
            has_next_page: left.next().is_some(),
            has_previous_page: !after.is_empty(),
        };
        Ok(SearchStacks { edges, page_info })
    }

    async fn stack(&self, context: &Context<'_>, id: ID) -> Result<Option<Stack>> {
        if !is_known(context) {
            return Ok(None);
        }
        Ok(simulator(context)?
            .world()
            .stacks
            .get(id.as_str())
            .cloned()
            .map(Stack))
    }
}

pub(super) struct Mutation;

fn may_change(context: &Context<'_>, stack: &ID) -> Result<()> {
    let world = simulator(context)?.world();
    if !is_known(context) || !world.may_trigger {
        return Err("unauthorized".into());
    }
    match world.stacks.get(stack.as_str()) {
        None => Err("stack not found".into()),
        Some(stack) if stack.is_disabled => Err("stack is disabled".into()),
        Some(stack) => match &stack.locked_by {
            Some(who) if who != "chain" => Err(format!("stack is locked by {who}").into()),
            _ => Ok(()),
        },
    }
}

fn end(context: &Context<'_>, stack: &ID, run: &ID, from: &[&str], to: &'static str) -> Result<Run> {
    may_change(context, stack)?;
    let simulator = simulator(context)?;
    let found = simulator
        .runs()
        .into_iter()
        .find(|it| it.id == run.as_str() && it.stack == stack.as_str());
    let state = found.ok_or("run not found")?.state(Instant::now());
    if !from.contains(&state) {
        return Err(format!("a run in the state {state} cannot become {to}").into());
    }
    Ok(Run(simulator.end(run.as_str(), to).ok_or("run not found")?))
}

#[Object]
impl Mutation {
    async fn api_key_user(
        &self,
        context: &Context<'_>,
        id: ID,
        secret: String,
    ) -> Result<Option<ApiKeyUser>> {
        if id.as_str() != KEY_ID {
            return Ok(None);
        }
        if secret != KEY_SECRET {
            return Err("unauthorized: wrong secret".into());
        }
        let until = SystemTime::now() + TOKEN_LIFE;
        let mut world = simulator(context)?.world();
        world.issued += 1;
        let jwt = format!("simulated-{}", world.issued);
        world.tokens.insert(jwt.clone(), until);
        let valid_until = until
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        Ok(Some(ApiKeyUser { jwt, valid_until }))
    }

    async fn run_trigger(
        &self,
        context: &Context<'_>,
        stack: ID,
        #[graphql(name = "commitSha")] _commit_sha: Option<String>,
        #[graphql(name = "runType")] _run_type: Option<RunType>,
    ) -> Result<Option<Run>> {
        may_change(context, &stack)?;
        Ok(simulator(context)?
            .trigger_by(stack.as_str(), Some("chain"))
            .map(Run))
    }

    async fn run_cancel(
        &self,
        context: &Context<'_>,
        stack: ID,
        run: ID,
        #[graphql(name = "note")] _note: Option<String>,
    ) -> Result<Option<Run>> {
        end(context, &stack, &run, &["QUEUED"], "CANCELED").map(Some)
    }

    async fn run_discard(
        &self,
        context: &Context<'_>,
        stack: ID,
        run: Option<ID>,
        #[graphql(name = "note")] _note: Option<String>,
    ) -> Result<Option<Run>> {
        let run = run.ok_or("without a run, whatever blocks the stack is discarded; pass it")?;
        end(context, &stack, &run, &["UNCONFIRMED"], "DISCARDED").map(Some)
    }

    async fn run_stop(
        &self,
        context: &Context<'_>,
        stack: ID,
        run: ID,
        #[graphql(name = "note")] _note: Option<String>,
    ) -> Result<Option<Run>> {
        end(context, &stack, &run, &["APPLYING", "UNCONFIRMED"], "STOPPED").map(Some)
    }
}

/// Arguments of the type `ID`; all other scalar arguments here are strings.
const ID_ARGUMENTS: [&str; 4] = ["id", "stack", "run", "before"];

/// Returns an error if a variable has the wrong type. The GraphQL library accepts a `String!` where Spacelift
/// requires `ID!`.
pub(super) fn mistyped_variable(document: &str) -> Option<String> {
    let document = async_graphql::parser::parse_query(document).ok()?;
    document.operations.iter().find_map(|(_, operation)| {
        let mut waiting = vec![&operation.node.selection_set.node];
        while let Some(set) = waiting.pop() {
            for selection in &set.items {
                let Selection::Field(field) = &selection.node else { continue };
                waiting.push(&field.node.selection_set.node);
                for (argument, value) in &field.node.arguments {
                    let text = value.node.to_string();
                    let Some(variable) = text.strip_prefix('$') else { continue };
                    let declared = operation.node.variable_definitions.iter().find(|it| it.node.name.node == variable)?;
                    let declared = declared.node.var_type.node.to_string();
                    let base = declared.trim_end_matches('!');
                    let is_id = ID_ARGUMENTS.contains(&argument.node.as_str());
                    if (base == "String" && is_id) || (base == "ID" && !is_id) {
                        let expected = if is_id { "ID" } else { "String" };
                        return Some(format!("Variable \"${variable}\" of type \"{declared}\" used in position expecting type \"{expected}\"."));
                    }
                }
            }
        }
        None
    })
}
