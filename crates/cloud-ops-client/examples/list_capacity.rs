//! Lists the capacity of every namespace of an account. Needs an API key in `TEMPORAL_CLOUD_OPS_API_KEY`.
#![expect(clippy::print_stdout, reason = "an example prints")]

use cloud_ops_client::{Client, Config, PUBLIC_BASE_URL};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key = std::env::var("TEMPORAL_CLOUD_OPS_API_KEY")?;
    let base_url = std::env::var("CLOUD_OPS_API_BASE_URL").unwrap_or_else(|_| PUBLIC_BASE_URL.to_owned());
    let client = Client::new(Config::try_new(&base_url, key.into())?);
    let count = client
        .for_each_namespace(|namespace| {
            let mode = namespace
                .capacity
                .map(|capacity| capacity.mode)
                .unwrap_or_default();
            println!("{} is {}: {mode:?}", namespace.namespace, namespace.state);
        })
        .await?;
    println!("{count} namespaces, {} requests", client.requests_made());
    Ok(())
}
