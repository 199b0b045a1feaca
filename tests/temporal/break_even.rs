//! `POLICY=break-even` on the worker path: the sampler triggers, evaluations decide, changes are carried out and recorded.

use std::sync::Arc;
use std::time::Duration;

use capacity_engine::break_even::{BreakEvenState, Parameters};
use capacity_engine::{Policy, PolicyRef};
use capacity_ledger::{HistoryFilter, Ledger, Location};
use cloud_simulator::{Account, Load, NamespaceSetup, Trace};

use crate::harness::{Setup, World, on_estimates, with_worker};

/// A simulated minute takes five seconds: the policy does not decide on minutes that are more than four behind.
const SPEED: f64 = 12.0;
const PATIENT: Duration = Duration::from_secs(150);

/// From the first of the eight minutes that the cloud has behind it: 900/s, then 2,500/s, then quiet.
fn bursts() -> Load {
    let phases = [(900, 16), (2_500, 8), (40, 1_000)];
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

fn minute(world: &World) -> i64 {
    world.cloud.now().as_second().rem_euclid(3_600) / 60
}

/// Waits; where that is in vain, shows what was decided meanwhile.
async fn until(world: &World, location: &Location, what: &str, is_so: impl AsyncFn() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so().await {
        if begun.elapsed() > PATIENT {
            let ledger = Ledger::open(location).await.expect("opened");
            let history = ledger
                .history(None, &HistoryFilter::default())
                .await
                .expect("read");
            let decided: Vec<String> = history
                .iter()
                .map(|row| {
                    format!(
                        "{} {} {}",
                        row.evaluated_at_ms, row.decision.action, row.decision.reason
                    )
                })
                .collect();
            panic!("not {what} at {}: {decided:#?}", world.cloud.now());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn break_even_enables_resizes_and_releases_on_the_worker_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let location = Location::Sqlite(folder.path().join("ledger.db"));
    let orders = NamespaceSetup {
        usual: Some(50.0),
        ..NamespaceSetup::new("orders", bursts())
    };
    let setup = Setup {
        account: Account::new("a1b2c", vec![orders]),
        policy: Policy {
            acting: PolicyRef::break_even(Parameters {
                look_back_minutes: 5,
                ..Parameters::default()
            }),
            // Less than an hour passes.
            ..on_estimates()
        },
        ledger: Some(location.clone()),
        sampled: true,
        speed: SPEED,
        start: Some("2026-11-20T08:28:00Z".parse().expect("a time")),
        ..Setup::default()
    };
    with_worker("break-even", setup, async |world| {
        // Nobody asks: what the sampler sees is enough.
        until(world, &location, "enabled", async || trus(world) > 0).await;
        let enabled = trus(world);
        until(world, &location, "resized", async || trus(world) > enabled).await;
        until(world, &location, "at minute 55", async || minute(world) >= 55).await;
        let report = world.evaluate("tick").await;
        assert!(!report.scale_up_only, "{}", report.summary);
        until(world, &location, "released", async || trus(world) == 0).await;
        assert_eq!(world.cloud.incidents(), []);
    })
    .await;
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
    // The plan of the hour is remembered; the release itself shows in the namespace.
    let states = ledger.policy_states("a1b2c", "break-even").await.expect("read");
    assert_eq!(states.len(), 1);
    let state = BreakEvenState::decode(&states[0].state).expect("readable");
    assert_eq!(state.hours.len(), 1);
    assert_eq!(state.planned, Some(0));
}
