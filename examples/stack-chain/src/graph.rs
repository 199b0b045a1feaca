//! The graph of all stacks and their dependencies: finds cycles and unknown ids, and plans chains.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::labels::{Condition, Dialect, Mistake, Retry, StackRules, parse};
use crate::provider::Stack;

/// Maximum number of stacks in a chain, because the plan is part of the workflow's history, which is limited
/// in size.
pub const MOST_STACKS: usize = 1_000;

/// A stack and the rules in its labels.
#[derive(Debug, Clone)]
pub struct Node {
    /// The stack, as read from the CI system.
    pub stack: Stack,
    /// The rules in its labels.
    pub rules: StackRules,
}

/// The graph of all stacks.
#[derive(Debug, Clone)]
pub struct Graph {
    nodes: BTreeMap<String, Node>,
    mistakes: Vec<Mistake>,
    /// Stacks that are part of a cycle, with the cycle as text.
    cycles: BTreeMap<String, String>,
}

/// A stack in the plan of a chain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlannedStack {
    /// Id of the stack.
    pub id: String,
    /// Dependencies in this chain, which it waits for.
    pub parents: Vec<String>,
    /// Dependencies outside this chain, which are ignored.
    pub other_parents: Vec<String>,
    /// Required outcomes of its parents.
    pub condition: Condition,
    /// Stacks with a higher number start first.
    pub priority: i32,
    /// Its group, whose stacks start together.
    pub group: Option<String>,
    /// Whether it needs an approval.
    pub is_critical: bool,
    /// Maintenance windows, in the format of the labels.
    pub windows: Vec<String>,
    /// Blackouts, in the format of the labels.
    pub blackouts: Vec<String>,
    /// How often and when a failed run is triggered again.
    pub retry: Retry,
    /// Timeout of one run in seconds, if set by a label.
    pub timeout_seconds: Option<u64>,
    /// Maximum number of runs per hour, if set by a label.
    pub max_per_hour: Option<u32>,
    /// Names of the attached contexts.
    pub contexts: Vec<String>,
    /// Why it is skipped; `None` if it runs.
    pub skip: Option<String>,
}

/// The plan of a chain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// The stack whose run started the chain.
    pub origin: String,
    /// Its direct and indirect dependents; each one comes after its parents.
    pub stacks: Vec<PlannedStack>,
    /// Notes for the user.
    pub notes: Vec<String>,
}

/// Why a chain cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The origin is unknown.
    #[error("stack `{0}` does not exist, or the API key has no access to it{hint}", hint = .1.as_ref().map(|it| format!("; did you mean `{it}`?")).unwrap_or_default())]
    UnknownStack(String, Option<String>),
    /// Too many stacks depend on the origin.
    #[error(
        "{count} stacks depend on `{origin}`; a chain can have {MOST_STACKS}. Split it with the label `chain-skip`"
    )]
    TooMany {
        /// Id of the origin.
        origin: String,
        /// Number of dependent stacks.
        count: usize,
    },
}

impl Graph {
    /// Builds the graph from the labels of all stacks. Labels with mistakes are recorded and ignored.
    pub fn of(stacks: Vec<Stack>, dialect: Dialect) -> Self {
        let mut nodes = BTreeMap::new();
        let mut mistakes = Vec::new();
        for stack in stacks {
            let (rules, problems) = parse(&stack.id, &stack.labels, dialect);
            mistakes.extend(problems);
            nodes.insert(stack.id.clone(), Node { stack, rules });
        }
        let mut graph = Self {
            nodes,
            mistakes,
            cycles: BTreeMap::new(),
        };
        graph.remove_dangling();
        graph.note_double_edges();
        graph.find_cycles();
        graph.dissolve_contradicting_groups();
        graph.mistakes.sort();
        graph
    }

    /// Returns all mistakes in labels, sorted by stack.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// Returns all stacks by id.
    pub fn nodes(&self) -> &BTreeMap<String, Node> {
        &self.nodes
    }

    /// Returns the cycle that contains a stack, such as `a -> b -> a`.
    pub fn cycle_of(&self, id: &str) -> Option<&str> {
        self.cycles.get(id).map(String::as_str)
    }

    /// Returns the stacks that depend on a stack through a label.
    pub fn dependents<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a str> {
        self.nodes
            .iter()
            .filter(move |(_, node)| node.rules.depends_on.contains(id))
            .map(|(id, _)| id.as_str())
    }

    fn remove_dangling(&mut self) {
        let known: BTreeSet<String> = self.nodes.keys().cloned().collect();
        for (id, node) in &mut self.nodes {
            node.rules.depends_on.retain(|parent| {
                if known.contains(parent) {
                    return true;
                }
                let near = nearest(known.iter(), parent).map(|near| format!("; did you mean `{near}`?"));
                self.mistakes.push(Mistake {
                    stack: id.clone(),
                    label: label_naming(&node.stack, parent),
                    problem: format!(
                        "stack `{parent}` does not exist, or the API key has no access to it{}",
                        near.unwrap_or_default()
                    ),
                });
                false
            });
        }
    }

    fn note_double_edges(&mut self) {
        for (id, node) in &mut self.nodes {
            let both: Vec<String> = node
                .stack
                .native_parents
                .iter()
                .filter(|it| node.rules.depends_on.contains(*it))
                .cloned()
                .collect();
            for parent in both {
                node.rules.depends_on.remove(&parent);
                self.mistakes.push(Mistake {
                    stack: id.clone(),
                    label: label_naming(&node.stack, &parent),
                    problem: format!(
                        "`{parent}` is also a stack dependency in Spacelift, which runs `{id}` itself; the label is \
                         ignored. Remove one of the two"
                    ),
                });
            }
        }
    }

    /// Finds cycles in the combined graph of labels and native dependencies, because a chain that leads to a
    /// native dependency and back would never end.
    fn find_cycles(&mut self) {
        let parents: BTreeMap<&str, Vec<&str>> = self
            .nodes
            .iter()
            .map(|(id, node)| {
                let all = node.rules.depends_on.iter().chain(&node.stack.native_parents);
                (
                    id.as_str(),
                    all.map(String::as_str)
                        .filter(|it| self.nodes.contains_key(*it))
                        .collect(),
                )
            })
            .collect();
        let mut cycles = BTreeMap::new();
        for component in components(&parents) {
            let is_cycle = component.len() > 1 || parents[component[0]].contains(&component[0]);
            if is_cycle {
                let path = cycle_in(&component, &parents);
                for id in component {
                    cycles.insert(id.to_owned(), path.clone());
                }
            }
        }
        let mut reported = BTreeSet::new();
        for (id, path) in &cycles {
            if reported.insert(path.clone()) {
                self.mistakes.push(Mistake {
                    stack: id.clone(),
                    label: String::new(),
                    problem: format!(
                        "dependency cycle: {path}; chains run none of these stacks. Remove one \
                                      of the labels"
                    ),
                });
            }
        }
        self.cycles = cycles;
    }

    /// Removes groups whose stacks depend on each other, even through stacks outside the group, because they
    /// cannot start together.
    fn dissolve_contradicting_groups(&mut self) {
        let groups: BTreeSet<String> = self
            .nodes
            .values()
            .filter_map(|node| node.rules.group.clone())
            .collect();
        for group in groups {
            let members: BTreeSet<String> = self
                .nodes
                .iter()
                .filter(|(_, it)| it.rules.group.as_ref() == Some(&group))
                .map(|(id, _)| id.clone())
                .collect();
            let clash = members.iter().find_map(|id| {
                self.ancestors_with_groups(id, &group)
                    .into_iter()
                    .find(|it| members.contains(it))
                    .map(|other| (id.clone(), other))
            });
            let Some((later, earlier)) = clash else { continue };
            for id in &members {
                if let Some(node) = self.nodes.get_mut(id) {
                    node.rules.group = None;
                }
            }
            self.mistakes.push(Mistake {
                label: format!("chain-group:{group}"),
                problem: format!(
                    "group `{group}` cannot start together, because `{later}` runs after `{earlier}`; the group is \
                     ignored. Remove one of them from the group"
                ),
                stack: later,
            });
        }
    }

    /// Returns everything that must run before a stack, including the dependencies of other stacks in the
    /// same groups.
    fn ancestors_with_groups(&self, id: &str, own: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut waiting: Vec<&str> = self.nodes[id]
            .rules
            .depends_on
            .iter()
            .map(String::as_str)
            .collect();
        while let Some(next) = waiting.pop() {
            let Some(node) = self.nodes.get(next) else {
                continue;
            };
            if !found.insert(next.to_owned()) {
                continue;
            }
            waiting.extend(node.rules.depends_on.iter().map(String::as_str));
            if let Some(group) = node.rules.group.as_deref().filter(|group| *group != own) {
                let members = self
                    .nodes
                    .values()
                    .filter(|it| it.rules.group.as_deref() == Some(group));
                waiting.extend(members.flat_map(|it| it.rules.depends_on.iter().map(String::as_str)));
            }
        }
        found
    }

    /// Returns the plan of the chain that follows a finished run of `origin`.
    ///
    /// # Errors
    ///
    /// If the origin is unknown, or if too many stacks depend on it.
    pub fn plan_from(&self, origin: &str) -> Result<Plan, PlanError> {
        if !self.nodes.contains_key(origin) {
            let near = nearest(self.nodes.keys(), origin).map(str::to_owned);
            return Err(PlanError::UnknownStack(origin.to_owned(), near));
        }
        let mut reached = BTreeSet::new();
        let mut order = Vec::new();
        let mut waiting = VecDeque::from([origin]);
        while let Some(next) = waiting.pop_front() {
            for child in self.dependents(next) {
                // On a cycle, the origin depends on itself.
                if child != origin && reached.insert(child) {
                    order.push(child);
                    waiting.push_back(child);
                }
            }
        }
        if reached.len() > MOST_STACKS {
            return Err(PlanError::TooMany {
                origin: origin.to_owned(),
                count: reached.len(),
            });
        }
        let stacks: Vec<PlannedStack> = order
            .iter()
            .map(|id| self.planned(id, origin, &reached))
            .collect();
        let mut notes: Vec<String> = stacks
            .iter()
            .filter_map(|it| Some(format!("{}: {}", it.id, it.skip.as_ref()?)))
            .collect();
        notes.extend(
            self.cycle_of(origin)
                .map(|path| format!("{origin}: on the dependency cycle {path}")),
        );
        Ok(Plan {
            origin: origin.to_owned(),
            stacks: sorted_by_dependency(stacks),
            notes,
        })
    }

    /// Returns the plan of a chain that starts with a run of `origin`.
    ///
    /// # Errors
    ///
    /// Same as for [`Self::plan_from`].
    pub fn plan_with(&self, origin: &str) -> Result<Plan, PlanError> {
        let mut plan = self.plan_from(origin)?;
        let mut first = self.planned(origin, origin, &BTreeSet::new());
        // Someone asked for this stack and its dependents, not for what it depends on.
        first.other_parents.append(&mut first.parents);
        // The user requested this run, so a cycle does not prevent it; its dependents on the cycle are
        // skipped already.
        first.skip = first.skip.filter(|_| self.cycle_of(origin).is_none());
        // It waits for nothing in this chain, so on-failure would never hold.
        first.condition = Condition::OnSuccess;
        plan.stacks.insert(0, first);
        // Its dependents have to wait for it, unlike for an origin that has already run.
        plan.origin = String::new();
        Ok(plan)
    }

    fn planned(&self, id: &str, origin: &str, reached: &BTreeSet<&str>) -> PlannedStack {
        let Node { stack, rules } = &self.nodes[id];
        let (parents, other_parents) = rules
            .depends_on
            .iter()
            .cloned()
            .partition(|it| it == origin || reached.contains(it.as_str()));
        let skip = if let Some(path) = self.cycle_of(id) {
            Some(format!("on the dependency cycle {path}"))
        } else if rules.is_skipped {
            Some("labeled chain-skip".to_owned())
        } else if stack.is_disabled {
            Some("the stack is disabled in Spacelift".to_owned())
        } else {
            None
        };
        PlannedStack {
            id: id.to_owned(),
            parents,
            other_parents,
            condition: rules.condition,
            priority: rules.priority,
            group: rules.group.clone(),
            is_critical: rules.is_critical,
            windows: rules.windows.iter().map(ToString::to_string).collect(),
            blackouts: rules.blackouts.iter().map(ToString::to_string).collect(),
            retry: rules.retry,
            timeout_seconds: rules.timeout.map(|it| it.as_secs()),
            max_per_hour: rules.max_per_hour,
            contexts: stack.contexts.clone(),
            skip,
        }
    }
}

impl Plan {
    /// Returns the cycle that new dependencies of a stack would create in this chain.
    pub fn cycle_with(&self, id: &str, parents: &[String]) -> Option<String> {
        let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
        let mut waiting = VecDeque::from([id]);
        while let Some(next) = waiting.pop_front() {
            for child in self
                .stacks
                .iter()
                .filter(|it| it.parents.iter().any(|parent| parent == next))
            {
                if child.id != id && !came_from.contains_key(child.id.as_str()) {
                    came_from.insert(&child.id, next);
                    waiting.push_back(&child.id);
                }
            }
        }
        let last = parents
            .iter()
            .find(|parent| came_from.contains_key(parent.as_str()))?;
        let mut path = vec![id, last];
        let mut at = last.as_str();
        while at != id {
            at = came_from[at];
            path.push(at);
        }
        path.reverse();
        Some(path.join(" -> "))
    }
}

/// Sorts stacks so that each one comes after its parents. Stacks on a cycle come last, sorted by id.
fn sorted_by_dependency(stacks: Vec<PlannedStack>) -> Vec<PlannedStack> {
    let mut left: BTreeMap<String, PlannedStack> = stacks.into_iter().map(|it| (it.id.clone(), it)).collect();
    let mut sorted = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let free: Vec<String> = left
            .values()
            .filter(|it| it.parents.iter().all(|parent| !left.contains_key(parent)))
            .map(|it| it.id.clone())
            .collect();
        let next = if free.is_empty() {
            left.keys().cloned().collect()
        } else {
            free
        };
        sorted.extend(next.iter().filter_map(|id| left.remove(id)));
    }
    sorted
}

/// Returns the strongly connected components by Kosaraju's algorithm, without recursion.
fn components<'a>(parents: &BTreeMap<&'a str, Vec<&'a str>>) -> Vec<Vec<&'a str>> {
    let mut children: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (id, above) in parents {
        for parent in above {
            children.entry(parent).or_default().push(id);
        }
    }
    let mut finished = Vec::new();
    let mut seen = BTreeSet::new();
    for start in parents.keys() {
        let mut path = vec![(*start, false)];
        while let Some((id, is_done)) = path.pop() {
            if is_done {
                finished.push(id);
            } else if seen.insert(id) {
                path.push((id, true));
                path.extend(parents[id].iter().map(|parent| (*parent, false)));
            }
        }
    }
    let mut assigned = BTreeSet::new();
    let mut found = Vec::new();
    for start in finished.into_iter().rev() {
        let mut component = Vec::new();
        let mut waiting = vec![start];
        while let Some(id) = waiting.pop() {
            if assigned.insert(id) {
                component.push(id);
                waiting.extend(children.get(id).into_iter().flatten());
            }
        }
        if !component.is_empty() {
            component.sort_unstable();
            found.push(component);
        }
    }
    found
}

/// Returns a shortest cycle through the first stack of a component, from dependency to dependent.
fn cycle_in(component: &[&str], parents: &BTreeMap<&str, Vec<&str>>) -> String {
    let start = component[0];
    let inside: BTreeSet<&str> = component.iter().copied().collect();
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut waiting = VecDeque::from([start]);
    while let Some(id) = waiting.pop_front() {
        for parent in parents[id].iter().copied().filter(|it| inside.contains(it)) {
            if parent == start {
                let mut path = vec![start, id];
                let mut at = id;
                while at != start {
                    at = came_from[at];
                    path.push(at);
                }
                // A self-cycle consists of one step.
                path.dedup();
                if path.len() == 1 {
                    path.push(start);
                }
                return path.join(" -> ");
            }
            if !came_from.contains_key(parent) {
                came_from.insert(parent, id);
                waiting.push_back(parent);
            }
        }
    }
    component.join(" -> ")
}

fn label_naming(stack: &Stack, parent: &str) -> String {
    let named = stack.labels.iter().find(|label| {
        let ids = label
            .split_once(':')
            .map(|(_, ids)| ids.split(',').map(str::trim).any(|id| id == parent));
        ids == Some(true)
    });
    named.cloned().unwrap_or_default()
}

fn nearest<'a>(known: impl Iterator<Item = &'a String>, given: &str) -> Option<&'a str> {
    let near = known
        .map(|it| (strsim::damerau_levenshtein(it, given), it))
        .min()?;
    (near.0 <= 2).then_some(near.1.as_str())
}
