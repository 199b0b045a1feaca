//! Prints the JSON schema of the plan document: `cargo run -p capacity-examples --example plan_schema > docs/plan.schema.json`.
#![expect(clippy::print_stdout, reason = "an example prints")]

fn main() -> anyhow::Result<()> {
    let schema = schemars::schema_for!(capacity_autopilot::Plan);
    println!("{}", serde_json::to_string_pretty(&schema)?);
    Ok(())
}
