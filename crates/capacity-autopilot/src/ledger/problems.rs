//! The announced problems of an account, which `apply` stores between its runs.

use std::collections::{BTreeMap, BTreeSet};

use capacity_ledger::{LedgerError, PolicyStateRecord};
use jiff::Timestamp;

use super::handle::LedgerHandle;
use crate::standing::Problem;

/// The ledger stores announced problems under this name, next to policy state.
const KEPT_AS: &str = "announcements";
const VERSION: i64 = 1;

/// Reads the announced problems of an account, as `apply` stores them in the ledger.
///
/// # Errors
///
/// If the ledger cannot be read.
pub async fn recall_problems(
    ledger: &LedgerHandle,
    account: &str,
) -> Result<BTreeMap<String, Problem>, LedgerError> {
    let records = ledger
        .call(async |ledger| ledger.policy_states(account, KEPT_AS).await)
        .await?;
    let mut problems = BTreeMap::new();
    for record in records.iter().filter(|record| record.version == VERSION) {
        // Problems in unreadable records are announced again.
        let of_one: BTreeMap<String, Problem> = serde_json::from_str(&record.state).unwrap_or_default();
        for (problem, standing) in of_one {
            problems.insert(format!("{}: {problem}", record.namespace), standing);
        }
    }
    Ok(problems)
}

/// Stores the announced problems of an account in the ledger, replacing those stored before.
///
/// # Errors
///
/// If the ledger cannot be written.
pub async fn store_problems(
    ledger: &LedgerHandle,
    account: &str,
    before: &BTreeMap<String, Problem>,
    standing: &BTreeMap<String, Problem>,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let subjects: BTreeSet<&str> = before
        .keys()
        .chain(standing.keys())
        .map(|it| subject(it).0)
        .collect();
    let records: Vec<PolicyStateRecord> = subjects
        .into_iter()
        .map(|namespace| {
            let of_one: BTreeMap<&str, &Problem> = standing
                .iter()
                .filter(|(problem, _)| subject(problem).0 == namespace)
                .map(|(problem, standing)| (subject(problem).1, standing))
                .collect();
            PolicyStateRecord {
                account: account.to_owned(),
                namespace: namespace.to_owned(),
                policy: KEPT_AS.to_owned(),
                version: VERSION,
                minute: now.as_second().div_euclid(60),
                // Texts and times can always be serialized as JSON.
                state: serde_json::to_string(&of_one).unwrap_or_default(),
            }
        })
        // The ledger refuses longer ones. Such a namespace is announced again in the next run, which is
        // better than storing nothing for all.
        .filter(|record| record.state.len() <= PolicyStateRecord::LONGEST)
        .collect();
    ledger
        .call(async |ledger| ledger.store_policy_states(&records).await)
        .await
        .map(drop)
}

/// Splits a problem into its subject (the namespace or the account) and its description.
fn subject(problem: &str) -> (&str, &str) {
    problem.split_once(": ").unwrap_or(("the account", problem))
}
