//! Runs a server until Ctrl-C.
#![expect(clippy::print_stdout, reason = "an example prints")]

use temporal_dev_server::{Options, start};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = start(&Options::default(), &|what| println!("{what}")).await?;
    println!("export TEMPORAL_ADDRESS={}", server.address());
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
