//! Reads the capacity info of namespaces for which the rule wants a change.

use std::collections::BTreeSet;
use std::time::Duration;

use capacity_engine::{CapacityInfo, NamespaceId, Snapshot};
use futures::StreamExt;

use super::candidates::is_throttled;
use crate::autopilot::Autopilot;
use crate::namespaces;

/// How many capacity infos are requested at a time. The client's own rate limit also applies.
const CONCURRENT: usize = 8;

/// After this time without a response, stop requesting: decisions based on what was read do not wait for the
/// rest. Longer than any pause in a single call.
const NO_ANSWER: Duration = Duration::from_secs(35);

/// Reads the capacity info of candidates. Returns a message about those that could not be read.
///
/// Throttled namespaces come first, then those that the last evaluation left out, so that each gets its turn
/// under a rate limit.
pub(super) async fn read(
    autopilot: &Autopilot,
    snapshots: &mut [Snapshot],
    mut candidates: Vec<usize>,
) -> Option<String> {
    let left_out = autopilot.take_left_out();
    candidates.sort_by_key(|number| {
        let snapshot = &snapshots[*number];
        (!is_throttled(snapshot), !left_out.contains(&snapshot.namespace))
    });
    let names: Vec<(usize, NamespaceId)> = candidates
        .iter()
        .map(|number| (*number, snapshots[*number].namespace.clone()))
        .collect();
    let ops = autopilot.ops();
    let reads = names.into_iter().map(|(number, name)| async move {
        let info = ops.capacity_info(name.as_str()).await;
        let is_rate_limited = info.as_ref().is_err_and(cloud_ops_client::Error::is_rate_limited);
        (number, namespaces::capacity_info(info), is_rate_limited)
    });
    let mut reads = futures::stream::iter(reads).buffer_unordered(CONCURRENT);
    let mut failed = 0;
    let mut missing: BTreeSet<usize> = candidates.iter().copied().collect();
    let stopped = loop {
        match tokio::time::timeout(NO_ANSWER, reads.next()).await {
            Ok(None) => break None,
            Ok(Some((_, _, true))) => break Some(RATE_LIMITED),
            Ok(Some((number, info, false))) => {
                failed += usize::from(matches!(info, CapacityInfo::Unavailable { .. }));
                missing.remove(&number);
                snapshots[number].capacity_info = info;
            }
            Err(_) if ops.is_rate_limited() => break Some(RATE_LIMITED),
            Err(_) => break Some("there was no response"),
        }
    };
    drop(reads);
    for number in &missing {
        snapshots[*number].capacity_info = CapacityInfo::Unavailable {
            why: stopped.unwrap_or_default().to_owned(),
        };
    }
    let unread = missing.iter().map(|number| snapshots[*number].namespace.clone());
    autopilot.leave_out(unread.collect());
    said(candidates.len(), failed, missing.len(), stopped)
}

const RATE_LIMITED: &str = "the Cloud Ops API limits the rate of requests (429)";

fn said(all: usize, failed: usize, left: usize, stopped: Option<&str>) -> Option<String> {
    let of_all = format!("of {all} {}", if all == 1 { "candidate" } else { "candidates" });
    match (left, failed) {
        (0, 0) => None,
        (0, _) => Some(format!(
            "the capacity info of {failed} {of_all} could not be read: they are held, and the next evaluation tries again"
        )),
        (_, _) => {
            let others = if failed > 0 {
                format!("; that of {failed} more could not be read")
            } else {
                String::new()
            };
            Some(format!(
                "the capacity info of {left} {of_all} was not read, since {}{others}: they are held, and the next evaluation continues with them",
                stopped.unwrap_or_default()
            ))
        }
    }
}
