//! Waits after the run until nothing is in progress, and compares the changes that the cloud accepted with
//! those in the ledger.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use capacity_ledger::{Format, HistoryFilter, Ledger, Location, Table};
use cloud_simulator::AcceptedUpdate;
use futures::StreamExt;
use temporalio_client::WorkflowListOptions;

use crate::event_log::say;
use crate::world::World;

/// Records and announcements are retried at intervals of up to five minutes.
const SETTLED_WITHIN: Duration = Duration::from_mins(8);

/// The changes in the ledger.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    /// Outcomes by operation id, one for each row.
    pub(crate) outcomes: BTreeMap<String, Vec<String>>,
}

impl Recorded {
    pub(crate) async fn read(ledger: &Ledger) -> anyhow::Result<Self> {
        let mut text = Vec::new();
        ledger.export(Table::Changes, Format::Csv, &mut text).await?;
        let mut reader = csv::Reader::from_reader(text.as_slice());
        let header = reader.headers()?.clone();
        let column = |name: &str| {
            let found = header.iter().position(|it| it == name);
            found.with_context(|| format!("the ledger's changes have no column {name}"))
        };
        let (id, outcome) = (column("operation_id")?, column("outcome")?);
        let mut recorded = Self::default();
        for row in reader.records() {
            let row = row?;
            let outcomes = recorded.outcomes.entry(row[id].to_owned()).or_default();
            outcomes.push(row[outcome].to_owned());
        }
        Ok(recorded)
    }
}

/// Returns how often each decision was made, and its last reason.
async fn decisions(ledger: &Ledger) -> anyhow::Result<Vec<String>> {
    let filter = HistoryFilter::default();
    let mut counted: BTreeMap<(String, String), (usize, String)> = BTreeMap::new();
    for row in ledger.history(None, &filter).await? {
        let decision = row.decision;
        let entry = counted
            .entry((decision.action, decision.reason_code))
            .or_default();
        *entry = (entry.0 + 1, decision.reason);
    }
    let lines = counted.into_iter().map(|((action, code), (count, reason))| {
        let reason: String = reason.chars().take(100).collect();
        format!("{count:>6} {action} {code}: {reason}")
    });
    Ok(lines.collect())
}

/// The result of the final checks.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) accepted: usize,
    pub(crate) scale_ups: usize,
    pub(crate) recorded_once: usize,
    pub(crate) other_rows: usize,
    pub(crate) announced: usize,
    pub(crate) settled_in: Duration,
}

/// Waits until every operation has ended and is recorded, and no change or record workflow is open.
pub(crate) async fn settle(world: &World) -> anyhow::Result<(Vec<AcceptedUpdate>, Recorded, Duration)> {
    let begun = Instant::now();
    let ledger = Ledger::open(&Location::parse(&world.ledger_url)?).await?;
    let client = world.connection().connect().await?;
    loop {
        let accepted = world.cloud.accepted();
        let recorded = Recorded::read(&ledger).await?;
        let open = open_workflows(&client).await?;
        let missing = |it: &&AcceptedUpdate| !recorded.outcomes.contains_key(&it.operation_id);
        let missing = accepted.iter().filter(missing).count();
        if open.is_empty() && missing == 0 && accepted.iter().all(|it| it.is_over) {
            for problem in ledger.verify().await? {
                world.violated(format!("the ledger: {problem}"));
            }
            for line in decisions(&ledger).await? {
                say(&line);
            }
            return Ok((accepted, recorded, begun.elapsed()));
        }
        if begun.elapsed() > SETTLED_WITHIN {
            for id in open {
                world.violated(format!(
                    "{id} is still open {} min after the last fault",
                    SETTLED_WITHIN.as_secs() / 60
                ));
            }
            return Ok((accepted, recorded, begun.elapsed()));
        }
        if begun.elapsed().as_secs().is_multiple_of(30) {
            say(&format!(
                "settling: {} open, {missing} not recorded",
                open.join(", ")
            ));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn open_workflows(client: &temporalio_client::Client) -> anyhow::Result<Vec<String>> {
    let query = "ExecutionStatus = 'Running' AND WorkflowType IN ('CapacityChange', 'CapacityRecord')";
    let options = WorkflowListOptions::builder().limit(1_000).build();
    let mut list = client.list_workflows(query, options);
    let mut open = Vec::new();
    while let Some(workflow) = list.next().await {
        open.push(workflow?.id().to_owned());
    }
    Ok(open)
}

/// Compares the cloud with the ledger and reports every difference.
pub(crate) async fn judge(world: &World) -> anyhow::Result<Verdict> {
    let (accepted, recorded, settled_in) = settle(world).await?;
    let mut verdict = Verdict {
        accepted: accepted.len(),
        scale_ups: accepted.iter().filter(|it| it.wanted > Some(0)).count(),
        settled_in,
        ..Verdict::default()
    };
    let mut wanted: BTreeMap<&str, Option<u32>> = BTreeMap::new();
    for update in &accepted {
        // Between two changes to the same size, there must be one to another size.
        if wanted.insert(&update.namespace, update.wanted) == Some(update.wanted) {
            world.violated(format!(
                "the change of {} at {} was made twice ({})",
                update.namespace, update.accepted_at, update.operation_id
            ));
        }
        let outcomes = recorded
            .outcomes
            .get(&update.operation_id)
            .map_or(&[][..], Vec::as_slice);
        match outcomes {
            [outcome] if outcome == "changed" => verdict.recorded_once += 1,
            outcomes => world.violated(format!(
                "the change of {} at {} ({}) is in the ledger as {outcomes:?}",
                update.namespace, update.accepted_at, update.operation_id
            )),
        }
    }
    for (id, outcomes) in &recorded.outcomes {
        if accepted.iter().any(|it| it.operation_id == *id) {
            continue;
        }
        verdict.other_rows += 1;
        if outcomes
            .iter()
            .any(|outcome| outcome == "changed" || outcome == "already")
        {
            world.violated(format!(
                "the ledger has a change that was never made: {id} {outcomes:?}"
            ));
        }
    }
    for incident in world.cloud.incidents() {
        world.violated(format!("{}: {}", incident.namespace, incident.what));
    }
    let messages = world.cloud.slack_messages();
    let messages: Vec<String> = messages.iter().map(ToString::to_string).collect();
    verdict.announced = messages.iter().filter(|it| it.contains("Changed")).count();
    Ok(verdict)
}
