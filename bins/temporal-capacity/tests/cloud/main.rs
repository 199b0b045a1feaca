//! Tests of the commands against a simulated cloud: output, exit codes, and invalid input.

mod changes;
mod pauses;
mod plans;
mod programs;
mod refusals;
#[path = "../world/mod.rs"]
mod world;

use serde_json::Value;
use world::World;

impl World {
    /// Runs a command and parses its result.
    pub(crate) fn json(&self, arguments: &[&str], code: i32) -> Value {
        let assert = self.run(arguments).code(code);
        serde_json::from_slice(&assert.get_output().stdout).expect("one JSON document")
    }
}

pub(crate) fn actions(plan: &Value) -> Vec<String> {
    let decisions = plan["decisions"].as_array().expect("decisions").iter();
    decisions
        .filter(|it| it["action"] != "Keep")
        .map(|it| {
            format!(
                "{} {}",
                it["namespace"].as_str().expect("a name"),
                it["action"].as_str().expect("an action")
            )
        })
        .collect()
}
