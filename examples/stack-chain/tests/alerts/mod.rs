//! Tests of the alert rules in a real Prometheus, with Prometheus unit tests.

use std::path::PathBuf;
use std::process::Command;

#[path = "../../../../crates/prometheus-reader/tests/suite/server.rs"]
mod prometheus;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[tokio::test]
async fn the_alert_rules_load_and_fire_when_they_should() {
    let config = format!("rule_files: [\"{}\"]\n", path("alerts.yml").display());
    let Some(server) = prometheus::Prometheus::start(&config, &[]).await else {
        return;
    };
    let rules = reqwest::get(format!("{}/api/v1/rules", server.url())).await;
    let rules = rules.expect("a response").text().await.expect("a text");
    for name in ["StackChainStuck", "StackChainEventsNotStored"] {
        assert!(rules.contains(&format!("\"name\":\"{name}\"")), "{rules}");
    }
    let tested = Command::new(prometheus::promtool().expect("it comes with the server"))
        .args(["test", "rules"])
        .arg(path("tests/alerts/alerts.test.yml"))
        .output()
        .expect("promtool ran");
    let said = [tested.stdout, tested.stderr].concat();
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&said));
}
