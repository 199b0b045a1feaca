//! Tests that messages state the cause and the remedy.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use capacity_autopilot::{
    Autopilot, AutopilotSettings, Evaluation, LedgerHandle, Plan, Sampler, Scope, record_evaluation,
};
use capacity_engine::Decision;
use capacity_ledger::Location;
use cloud_simulator::{Access, Account, Faults, Load, NamespaceSetup, OperationFault, SimulatorOptions};
use jiff::SignedDuration;

use crate::harness::{World, autopilot, on_estimates, options};

/// Captures the log of this thread while it exists.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn start(&self) -> tracing::subscriber::DefaultGuard {
        let writer = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::INFO)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn lines(&self, containing: &str) -> Vec<String> {
        let log = String::from_utf8_lossy(&self.0.lock().expect("not poisoned")).into_owned();
        log.lines()
            .filter(|line| line.contains(containing))
            .map(str::to_owned)
            .collect()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn quick(names: &[&str]) -> SimulatorOptions {
    let throttled = |name: &&str| NamespaceSetup::new(*name, Load::Steady(560.0));
    SimulatorOptions {
        speed: 20.0,
        operation_lag: SignedDuration::from_secs(2),
        capacity_lag: SignedDuration::from_secs(3),
        check_duration: SignedDuration::from_secs(2),
        ..options(Account::new("a1b2c", names.iter().map(throttled).collect()))
    }
}

#[tokio::test]
async fn a_failed_change_is_logged_once_with_namespace_operation_and_service_message() {
    let world = World::new(quick(&["checkout"])).await;
    world.cloud.set_faults(Faults {
        operations: OperationFault::Failed,
        ..Faults::default()
    });
    let captured = Captured::default();
    let guard = captured.start();
    let changes = world.apply().await;
    drop(guard);
    let error = changes[0].error.clone().expect("failed");
    assert!(error.starts_with("the operation failed: "), "{error}");
    let lines = captured.lines("WARN");
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in ["checkout.a1b2c", &changes[0].operation_id, error.as_str()] {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
}

#[tokio::test]
async fn a_missing_namespace_admin_role_is_reported_and_other_changes_continue() {
    let mut options = quick(&["checkout", "payments"]);
    options.account.namespaces[0].access = Access::Read;
    let world = World::new(options).await;
    let changes = world.apply().await;
    let refused = changes
        .iter()
        .find(|it| it.namespace == "checkout.a1b2c")
        .expect("tried");
    let error = refused.error.clone().expect("refused");
    for part in [
        "failed to update namespace checkout.a1b2c",
        "it is new (wait a minute) or the key lacks Namespace Admin on it",
        "grant Namespace Admin on this namespace, or add it to NAMESPACE_DENYLIST",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let other = changes
        .iter()
        .find(|it| it.namespace == "payments.a1b2c")
        .expect("tried");
    assert!(other.outcome.is_success(), "{other:?}");
}

fn decision<'e>(evaluation: &'e Evaluation, name: &str) -> &'e Decision {
    let mut decisions = evaluation.decisions.iter().map(|judged| &judged.decision);
    decisions
        .find(|decision| decision.namespace.name() == name)
        .expect("decided")
}

/// Returns a cloud with a stopped clock.
fn stopped(namespaces: Vec<NamespaceSetup>) -> SimulatorOptions {
    SimulatorOptions {
        speed: 0.0,
        ..options(Account::new("a1b2c", namespaces))
    }
}

#[tokio::test]
async fn a_region_that_is_being_added_for_hours_says_since_when_and_is_announced() {
    let adding = |name: &str, since: Option<i64>| {
        let mut setup = NamespaceSetup::new(name, Load::Steady(40.0));
        setup.second_replica = Some("REPLICA_STATE_ADDING");
        setup.second_replica_moves_for = since.map(SignedDuration::from_hours);
        setup
    };
    let options = stopped(vec![
        adding("long", Some(5)),
        adding("short", Some(1)),
        adding("silent", None),
    ]);
    let since = (options.start - SignedDuration::from_hours(5))
        .strftime("%Y-%m-%d %H:%M UTC")
        .to_string();
    let world = World::new(options).await;
    let evaluation = world.evaluate().await;
    let long = decision(&evaluation, "long");
    assert!(
        long.reason
            .contains(&format!("replica aws-us-west-2 is being added (since {since}, "))
            && long.announce,
        "{long}"
    );
    let short = decision(&evaluation, "short");
    assert!(
        short.reason.contains("is being added (since ") && !short.announce,
        "{short}"
    );
    let silent = decision(&evaluation, "silent");
    assert_eq!(
        silent.reason,
        "replica aws-us-west-2 is being added; will re-evaluate when all replicas are active"
    );
}

#[tokio::test]
async fn a_change_by_someone_else_is_reported_with_time_sizes_and_operation() {
    let folder = tempfile::tempdir().expect("a folder");
    let location = Location::Sqlite(folder.path().join("ledger.db"));
    let remembering = |world: &World| {
        autopilot(&world.cloud, on_estimates()).with_ledger(LedgerHandle::at(location.clone()))
    };
    let options = stopped(vec![NamespaceSetup::new("pay", Load::Steady(560.0)).with_trus(4)]);
    let world = World::new(options).await;
    // In use with 4 TRUs: observed by this process and recorded by another.
    let first = world.evaluate().await;
    assert!(!decision(&first, "pay").action.is_change());
    let plan = Plan::of(&first);
    record_evaluation(&LedgerHandle::at(location.clone()), &plan, false, "a worker")
        .await
        .expect("recorded");
    world.cloud.advance(SignedDuration::from_mins(1));
    assert!(world.cloud.set_capacity_by_others("pay.a1b2c", 0));
    let changed_at = world.cloud.now().strftime("%Y-%m-%d %H:%M UTC").to_string();
    world.let_metrics_catch_up();
    let told = |evaluation: &Evaluation, from: &str| {
        let decision = decision(evaluation, "pay");
        let expected = format!("someone else changed its capacity {from}to on-demand at {changed_at} (");
        assert!(
            decision.reason.contains(&expected) && decision.announce,
            "{decision}"
        );
    };
    told(&world.evaluate().await, "from 4 TRUs ");
    // The same change again.
    told(&world.evaluate().await, "from 4 TRUs ");
    let fresh = async |autopilot: Autopilot| autopilot.evaluate(&Scope::All).await.expect("evaluated");
    told(&fresh(remembering(&world)).await, "from 4 TRUs ");
    told(&fresh(autopilot(&world.cloud, on_estimates())).await, "");
}

#[tokio::test]
async fn excluded_standby_traffic_is_reported_with_its_rate() {
    let mut setup = NamespaceSetup::new("pay", Load::Steady(40.0));
    setup.second_replica = Some("REPLICA_STATE_ACTIVE");
    let world = World::new(stopped(vec![
        setup,
        NamespaceSetup::new("plain", Load::Steady(40.0)),
    ]))
    .await;
    // The usage of the active replica: `on-demand, 39.2 of 500 actions/s`.
    let has_note = |evaluation: &Evaluation| {
        let decision = decision(evaluation, "pay");
        let served = decision
            .reason
            .strip_prefix("on-demand, ")
            .and_then(|rest| rest.split(' ').next());
        let served = served.expect("told");
        let note = format!("; standby traffic of {served} actions/s is not counted");
        assert!(decision.reason.ends_with(&note), "{decision}");
    };
    let evaluation = world.evaluate().await;
    has_note(&evaluation);
    assert!(!decision(&evaluation, "plain").reason.contains("standby"));
    // The ledger does not store this; it comes from this process's sampler.
    let folder = tempfile::tempdir().expect("a folder");
    let location = Location::Sqlite(folder.path().join("ledger.db"));
    let remembering = autopilot(&world.cloud, on_estimates()).with_ledger(LedgerHandle::at(location));
    world.cloud.advance(SignedDuration::from_mins(1));
    assert!(Sampler::new(&remembering).round().await.recorded);
    let scrapes = || world.cloud.requests()["GET /v1/metrics"];
    let before = scrapes();
    let evaluation = remembering.evaluate(&Scope::All).await.expect("evaluated");
    assert_eq!(scrapes(), before, "nothing was read");
    has_note(&evaluation);
}

#[tokio::test]
async fn a_rate_limit_during_capacity_reads_counts_the_namespaces_that_were_not_read() {
    let mut namespaces: Vec<NamespaceSetup> = (0..10)
        .map(|number| NamespaceSetup::new(format!("idle-{number}"), Load::Idle).with_trus(4))
        .collect();
    namespaces.push(NamespaceSetup::new("zz-throttled", Load::Steady(560.0)));
    let mut options = stopped(namespaces);
    options.faults.rate_limited_route = Some("GET /cloud/namespaces/{id}/capacity-info".to_owned());
    let cloud = cloud_simulator::start(options).await.expect("started");
    let mut ops = cloud_ops_client::Config::try_new(&cloud.ops_url(), cloud.ops_key().into()).expect("valid");
    (ops.max_attempts, ops.max_rate_limited) = (2, Duration::from_millis(100));
    let metrics =
        openmetrics_reader::scrape::Config::try_new(&cloud.metrics_url(), cloud.metrics_key().into());
    let autopilot = Autopilot::new(
        cloud_ops_client::Client::new(ops),
        openmetrics_reader::scrape::Scraper::new(metrics.expect("valid")),
        AutopilotSettings::new(on_estimates()),
    );
    let evaluation = autopilot.evaluate(&Scope::All).await.expect("evaluated");
    assert_eq!(
        evaluation
            .account
            .errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        [
            "the capacity info of 11 of 11 candidates was not read, because the Cloud Ops API limits the rate of requests (429): \
             these namespaces are held, and the next evaluation continues with them"
        ]
    );
    let codes = evaluation
        .decisions
        .iter()
        .map(|judged| judged.decision.reason_code);
    assert!(
        codes
            .clone()
            .all(|code| code.as_str() == "capacity_info_unavailable")
    );
    let asked = cloud.requests()["GET /cloud/namespaces/{id}/capacity-info"];
    assert!(asked <= 16, "{asked}: the rest was not requested");
    cloud.set_faults(Faults::default());
    let next = autopilot.evaluate(&Scope::All).await.expect("evaluated");
    assert_eq!((next.account.errors.len(), next.decisions.len()), (0, 11));
    assert!(
        next.decisions
            .iter()
            .all(|judged| judged.decision.action.is_change())
    );
}
