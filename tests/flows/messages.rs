//! Messages that name the cause and the remedy.

use std::io::Write;
use std::sync::{Arc, Mutex};

use cloud_simulator::{Access, Account, Faults, Load, NamespaceSetup, OperationFault, SimulatorOptions};
use jiff::SignedDuration;

use crate::harness::{World, options};

/// What is logged while it lives, on this thread.
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
async fn a_failed_change_is_logged_once_with_namespace_operation_and_the_services_sentence() {
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
async fn a_key_without_namespace_admin_is_named_and_the_other_changes_continue() {
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
        "the namespace is new (wait a minute) or the key lacks Namespace Admin on it",
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
