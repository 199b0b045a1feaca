//! A complete worker, configured by `worker.toml`.
#![allow(clippy::unused_async, reason = "the SDK's macros require this signature")]

use std::{path::Path, sync::Arc, time::Duration};
use temporal_worker_kit::{Config, Kit, Registry, process_environment, subscriber};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use temporalio_sdk::{ActivityOptions, WorkflowContext, WorkflowResult};

struct Greeter;
#[activities]
impl Greeter {
    #[activity(name = "greet")]
    async fn greet(self: Arc<Self>, _: ActivityContext, name: String) -> Result<String, ActivityError> {
        Ok(format!("Hello, {name}!"))
    }
}
#[workflow]
#[derive(Default)]
struct Greeting;
#[workflow_methods]
impl Greeting {
    #[run(name = "Greeting")]
    async fn run(ctx: &mut WorkflowContext<Self>, name: String) -> WorkflowResult<String> {
        let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(10));
        Ok(ctx.execute_activity(Greeter::greet, name, options).await?)
    }
}
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::load(Some(Path::new("worker.toml")), &process_environment())?;
    tracing::subscriber::set_global_default(subscriber(&config.log))?;
    let registry = Registry::new()
        .workflow::<Greeting>("greetings")
        .activities("greetings", Greeter);
    Ok(Kit::new(config, registry).run().await?)
}
