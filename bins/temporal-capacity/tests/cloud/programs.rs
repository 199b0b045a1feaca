//! Tests of commands that need no account: settings, demo, simulator, completions.

use rstest::rstest;
use serde_json::Value;

use crate::world::{World, errors, options, output, program};

#[test]
fn settings_are_shown_with_their_origin_and_without_secrets() {
    let world = World::new(options());
    std::fs::write(world.folder.path().join(".env"), "MAX_TRU_COUNT=8\n").expect("written");
    let text = output(
        &world
            .run(&["settings", "show", "--set", "MIN_ACTIONS_THRESHOLD=7"])
            .success(),
    );
    let line = |name: &str| {
        text.lines()
            .find(|line| line.contains(name))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(line("MAX_TRU_COUNT").contains(".env, line 1"), "{text}");
    assert!(line("MIN_ACTIONS_THRESHOLD").contains("flag --set"), "{text}");
    assert!(line("TEMPORAL_CLOUD_OPS_API_KEY").contains("(hidden)"), "{text}");
    assert!(!text.contains(&world.cloud.ops_key()), "{text}");
    assert_eq!(
        world.json(&["settings", "show", "-o", "json"], 0)[0]["name"],
        "TEMPORAL_CLOUD_OPS_API_KEY"
    );
}

#[test]
fn the_demo_saves_money_without_any_setup() {
    let folder = tempfile::tempdir().expect("a folder");
    // The demo ignores the settings of this machine, which would stop any other command.
    std::fs::write(folder.path().join(".env"), "DRY_RUN_MODE=perhaps\n").expect("written");
    let assert = program(folder.path()).arg("demo").assert().success();
    let text = output(&assert);
    assert!(text.contains("the next plan has 0 changes"), "{text}");
    assert!(
        text.contains("$306.00 before, $108.00 after. Saved: $198.00 an hour"),
        "{text}"
    );
}

#[cfg(unix)]
#[test]
fn the_simulator_runs_until_it_is_interrupted() {
    use std::io::BufRead;
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_temporal-capacity"))
        .args(["cloud-simulator", "--namespaces", "20", "-o", "json"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("started");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("piped");
    std::io::BufReader::new(stdout)
        .read_line(&mut line)
        .expect("a line");
    let introduction: Value = serde_json::from_str(&line).expect("JSON");
    assert!(
        introduction["CLOUD_OPS_API_BASE_URL"]
            .as_str()
            .is_some_and(|url| url.starts_with("http://127.0.0.1:"))
    );
    let interrupted = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("sent");
    assert!(interrupted.success());
    assert_eq!(child.wait().expect("ended").code(), Some(0));
}

/// As passed by the Temporal CLI: its global flags come first, regardless of their original position.
#[rstest]
#[case::output(&["-o", "json", "plan"], 0)]
#[case::all_harmless(&["--output", "json", "--log-level", "never", "--log-format", "json", "--color", "never", "--time-format", "iso",
    "--client-connect-timeout", "5s", "--disable-config-file", "--no-json-shorthand-payloads", "plan", "--all"], 0)]
#[case::home(&["-o", "json", "--address", "localhost:7233", "plan", "--namespace", "home.a1b2c"], 0)]
#[case::time_enough(&["-o", "json", "--command-timeout", "30s", "plan"], 0)]
#[case::no_time(&["--command-timeout", "1ms", "plan"], 1)]
#[case::no_duration(&["--command-timeout", "soon", "plan"], 1)]
#[case::profile(&["--profile", "prod", "plan"], 1)]
#[case::environment(&["--env", "prod", "plan"], 1)]
fn flags_of_the_temporal_cli_are_accepted_before_the_command(#[case] arguments: &[&str], #[case] code: i32) {
    let world = World::new(options());
    let assert = world.run(arguments).code(code);
    if code == 0 {
        let plan: Value = serde_json::from_slice(&assert.get_output().stdout).expect("one JSON document");
        assert_eq!(plan["decisions"].as_array().map(Vec::len), Some(12));
    } else {
        assert!(errors(&assert).starts_with("error: "), "{}", errors(&assert));
    }
}

#[test]
fn completions_are_printed() {
    let folder = tempfile::tempdir().expect("a folder");
    let assert = program(folder.path())
        .args(["completions", "bash"])
        .assert()
        .success();
    assert!(output(&assert).contains("temporal-capacity"));
}
