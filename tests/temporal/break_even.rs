//! Tests of `POLICY=break-even` on the worker: the sampler triggers evaluations, and changes are carried out
//! and recorded.

use std::sync::Arc;

use capacity_engine::PolicyRef;
use capacity_engine::break_even::{BreakEvenState, Parameters};
use capacity_ledger::{HistoryFilter, Ledger, Location};
use cloud_simulator::{Account, Load, NamespaceSetup, Trace};
use jiff::SignedDuration;

use crate::harness::{Setup, World, on_estimates, with_worker};
use crate::stepped;

/// Returns a load that starts with the eight minutes of history: quiet, 900/s, 2,500/s, quiet.
fn bursts() -> Load {
    let phases = [(40, 13), (900, 12), (2_500, 12), (40, 1_000)];
    let minutes = phases
        .iter()
        .flat_map(|(rate, minutes)| std::iter::repeat_n(*rate, *minutes));
    let rows: Vec<String> = minutes.map(|rate| format!("{rate},{rate}\n")).collect();
    let trace = Trace::read(format!("aps,peak10s\n{}", rows.concat()).as_bytes()).expect("a trace");
    Load::Replay(Arc::new(trace))
}

fn trus(world: &World) -> u32 {
    world.cloud.namespace("orders.a1b2c").expect("listed").trus
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn break_even_on_a_worker_enables_resizes_and_releases() {
    if crate::harness::shared_connection().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let location = Location::Sqlite(folder.path().join("ledger.db"));
    let orders = NamespaceSetup {
        usual: Some(50.0),
        ..NamespaceSetup::new("orders", bursts())
    };
    let setup = Setup {
        account: Account::new("a1b2c", vec![orders]),
        // The test takes less than an hour of simulated time.
        rules: on_estimates().with_policy(PolicyRef::break_even(Parameters {
            look_back_minutes: 5,
            ..Parameters::default()
        })),
        ledger: Some(location.clone()),
        sampled: true,
        speed: 0.0,
        operation_lag: SignedDuration::from_mins(1),
        capacity_lag: SignedDuration::from_mins(1),
        start: Some("2026-11-20T09:00:00Z".parse().expect("a time")),
        ..Setup::default()
    };
    let mut seen = Vec::new();
    with_worker("break-even", setup, async |world| {
        stepped::begin(world).await;
        // No trigger is sent before minute 55; the sampler's observations are sufficient.
        for minute in 1..60 {
            stepped::live_a_minute(world).await;
            let trus = trus(world);
            if seen.last().is_none_or(|(_, before)| *before != trus) {
                seen.push((minute, trus));
            }
        }
        assert_eq!(world.cloud.incidents(), []);
    })
    .await;
    let sizes: Vec<u32> = seen.iter().map(|(_, trus)| *trus).collect();
    assert!(
        matches!(sizes[..], [0, enabled, resized, 0] if 0 < enabled && enabled < resized),
        "{seen:?}"
    );
    assert_eq!(seen.last().expect("released").0, 57, "{seen:?}");
    let ledger = Ledger::open(&location).await.expect("opened");
    let rows = ledger
        .policy_decisions(Some("a1b2c"), &HistoryFilter::default())
        .await
        .expect("read");
    let changes = |action: &str| {
        let rows = rows.iter().map(|row| &row.decision);
        let lines = rows.filter(|it| it.action == action && it.policy == "break-even" && !it.shadow);
        lines.map(|it| it.reason.clone()).collect::<Vec<_>>()
    };
    for action in ["Enable", "Resize"] {
        let reasons = changes(action);
        assert!(
            reasons
                .iter()
                .any(|reason| reason.contains("actions queued, demand")
                    && reason.contains("without scaling up")),
            "{action}: {reasons:?}"
        );
    }
    let released = changes("Disable");
    assert!(
        released.iter().any(|reason| reason.contains("in top-up")),
        "{released:?}"
    );
    // The plan for the hour is stored as state; the release itself is visible on the namespace.
    let states = ledger.policy_states("a1b2c", "break-even").await.expect("read");
    assert_eq!(states.len(), 1);
    let state = BreakEvenState::decode(&states[0].state).expect("readable");
    assert_eq!(state.hours.len(), 1);
    assert_eq!(state.planned, Some(0));
}
