//! Tests of pauses against a real Temporal server: `apply` obeys them without a worker, and `status` shows them.

use std::time::{Duration, Instant};

use capacity_workflows::{ConnectionSettings, Installation, Opened, PauseKind, pauses};
use temporal_dev_server::{DevServer, Options};
use temporalio_client::Client;

use crate::world::{World, errors, options, output};

/// If set to 1, all tests here are skipped.
const SKIP: &str = "TEMPORAL_CAPACITY_SKIP_SERVER_TESTS";

async fn server() -> (DevServer, Client) {
    let server = temporal_dev_server::start(&Options::default(), &|_| ())
        .await
        .unwrap_or_else(|problem| panic!("{problem} (or set {SKIP}=1)"));
    let connection = ConnectionSettings {
        address: server.address().to_string(),
        namespace: "default".to_owned(),
        ..ConnectionSettings::default()
    };
    let begun = Instant::now();
    loop {
        match connection.connect().await {
            Ok(client) => return (server, client),
            Err(error) => assert!(begun.elapsed() < Duration::from_mins(2), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[test]
fn apply_obeys_pauses_if_a_temporal_service_is_configured() {
    if std::env::var(SKIP).as_deref() == Ok("1") {
        return;
    }
    let world = World::new(options());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (server, client) = runtime.block_on(server());
    let installation = Installation::default();
    let open = |kind| {
        let opened = pauses::open(&client, &installation, kind, "rotating keys", "ana@laptop", None);
        let opened = runtime.block_on(opened).expect("opened");
        assert_eq!(opened, Opened::New);
    };
    let close = |kind| {
        let closed = pauses::close(&client, &installation, kind, "ana@laptop");
        assert!(runtime.block_on(closed).expect("closed"));
    };
    let run = |arguments: &[&str], namespace: &str| {
        let mut command = world.command(arguments);
        command
            .timeout(Duration::from_mins(4))
            .env("TEMPORAL_ADDRESS", server.address().to_string())
            .env("TEMPORAL_NAMESPACE", namespace)
            .assert()
    };
    world.run(&["plan", "--save", "plan.json"]).success();

    open(PauseKind::All);
    for arguments in [&["apply", "--yes"][..], &["apply", "plan.json", "--yes"]] {
        let refused = run(arguments, "default").code(1);
        let told = errors(&refused);
        assert!(
            told.contains("nothing was changed: changes are paused by ana@laptop: rotating keys")
                && told.contains("`capacity-schedule resume`"),
            "{told}"
        );
    }
    let status = run(&["status"], "default").code(1);
    let shown = output(&status);
    assert!(
        shown.contains("changes are paused by ana@laptop: rotating keys"),
        "{shown}"
    );
    close(PauseKind::All);

    // Pauses of each direction refuse the changes in that direction, without an error.
    open(PauseKind::ScaleUp);
    open(PauseKind::ScaleDown);
    let held = run(&["apply", "--yes", "-o", "json"], "default").success();
    assert!(output(&held).contains("scale_up_paused"), "{}", output(&held));
    assert_eq!(world.cloud.changes(), []);
    close(PauseKind::ScaleUp);
    close(PauseKind::ScaleDown);

    // A missing namespace must not look like one without pauses.
    let missing = run(&["status"], "nowhere").code(1);
    let told = errors(&missing);
    assert!(
        told.contains("`nowhere` (TEMPORAL_NAMESPACE) does not exist at "),
        "{told}"
    );
    let unchecked = run(&["apply", "--yes"], "nowhere").success();
    let told = errors(&unchecked);
    assert!(
        told.contains("warning: pauses could not be checked: ") && told.contains("nowhere"),
        "{told}"
    );
    assert_eq!(world.cloud.changes().len(), 4);
    runtime.block_on(server.shutdown());
}
