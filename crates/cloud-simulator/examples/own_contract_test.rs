//! A contract test for your own client: start a cloud, run the client, check what it did.
#![expect(clippy::print_stdout, reason = "an example prints")]

use cloud_simulator::{Account, SimulatorOptions};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cloud = cloud_simulator::start(SimulatorOptions::new(Account::demo())).await?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let url = format!("{}/cloud/namespaces/orders.a1b2c", cloud.ops_url());

    // A careful client sends back everything that it received, with a different capacity.
    let answer = http
        .get(&url)
        .bearer_auth(cloud.ops_key())
        .send()
        .await?
        .text()
        .await?;
    let mut namespace: Value = serde_json::from_str(&answer)?;
    let mut spec = namespace["namespace"]["spec"].take();
    spec["capacitySpec"] = json!({ "onDemand": {} });
    // A careless client drops a field.
    spec.as_object_mut().ok_or("no object")?.remove("apiKeyAuth");
    let body = json!({ "spec": spec, "resourceVersion": namespace["namespace"]["resourceVersion"] });
    let answer = http
        .post(&url)
        .bearer_auth(cloud.ops_key())
        .body(body.to_string())
        .send()
        .await?;
    println!("the response to the update was {}", answer.status());

    // What the client did.
    for incident in cloud.incidents() {
        println!("{}: {}", incident.namespace, incident.what);
    }
    cloud.shutdown().await;
    Ok(())
}
