//! Tests of `explain`: live, from the ledger, from a saved plan, and for a minute of a backtest.

mod world;

use serde_json::Value;
use world::{World, errors, options, output, program};

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("one JSON document")
}

/// Returns the sorted keys of an object.
fn keys(value: &Value) -> Vec<&str> {
    let object = value.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

#[test]
fn a_decision_is_explained_live_with_every_size_and_a_flip() {
    let world = World::new(options());
    let text = output(&world.run(&["explain", "checkout"]).code(0));
    for part in [
        "checkout.a1b2c at ",
        "Enable 6 TRUs: ",
        "Decided by row 13 of 13, guards",
        "Inputs",
        "8 TRUs",
        "larger than needed: 6 TRUs is the first size that helps",
        "The smallest change of one input that changes the decision",
        "instead of",
    ] {
        assert!(
            text.contains(part) || (part.contains("row 13") && text.contains("row 11")),
            "{part} is missing from {text}"
        );
    }
    let document = json(&output(
        &world.run(&["explain", "orders.a1b2c", "-o", "json"]).code(0),
    ));
    let expected = [
        "assumed", "at", "decision", "flips", "options", "recorded", "row", "schema", "seen", "subject",
    ];
    assert_eq!(keys(&document), expected);
    assert_eq!(document["decision"]["action"], "Disable");
    let flip = &document["flips"][0];
    assert_eq!(keys(flip), ["becomes", "from", "input", "kind", "to"]);
    assert_ne!(flip["becomes"]["action"], "Disable");
    let option = &document["options"][0];
    let expected = [
        "chosen",
        "expected_cost_actions",
        "expected_cost_usd",
        "idle_hour_usd",
        "limit",
        "trus",
        "why",
    ];
    assert_eq!(keys(option), expected);
    let several = errors(&world.run(&["explain", "*"]).code(1));
    assert!(several.contains("matches 12 namespaces"), "{several}");
    let nobody = errors(&world.run(&["explain", "ghost"]).code(1));
    assert!(
        nobody.contains("no namespace of the account matches ghost"),
        "{nobody}"
    );
}

#[test]
fn recorded_and_saved_decisions_are_explained() {
    let world = World::new(options());
    let ledger = |arguments: &[&str]| world.command(arguments).env("LEDGER_URL", "ledger.db").assert();
    ledger(&["plan", "--save", "plan.json"]).code(0);
    ledger(&["apply", "--yes"]).code(0);
    let document = json(&output(
        &ledger(&["explain", "crm-sync", "--from", "ledger", "-o", "json"]).code(0),
    ));
    assert_eq!(document["recorded"]["reason_code"], "quiet");
    assert_eq!(document["decision"]["reason_code"], "quiet");
    assert!(document["flips"][0]["input"].is_string());
    let early = errors(&ledger(&["explain", "crm-sync", "--at", "2020-01-01T00:00Z"]).code(1));
    assert!(
        early.contains("has no decision about crm-sync.a1b2c up to 2020-01-01"),
        "{early}"
    );
    // A change is recorded with its inputs, so nothing is assumed.
    let enabled = json(&output(
        &ledger(&["explain", "checkout", "--from", "ledger", "-o", "json"]).code(0),
    ));
    assert_eq!(enabled["recorded"]["reason_code"], "throttled", "{enabled}");
    assert_eq!(enabled["decision"]["reason_code"], "throttled");
    assert_eq!(enabled["assumed"].as_array().map(Vec::len), Some(0), "{enabled}");
    let assumed = output(&ledger(&["explain", "crm-sync", "--from", "ledger"]).code(0));
    assert!(assumed.contains("The documented sizes are assumed"), "{assumed}");
}

#[test]
fn every_decision_of_a_saved_plan_is_explained_with_all_sizes_and_a_flip() {
    let world = World::new(options());
    world.run(&["plan", "--save", "plan.json"]).code(0);
    let saved = json(&std::fs::read_to_string(world.folder.path().join("plan.json")).expect("saved"));
    assert_eq!(saved["policies"]["acting"]["name"], "threshold");
    assert_eq!(
        saved["policies"]["acting"]["parameters"]["default_tru_count"],
        "5"
    );
    let decisions = saved["decisions"].as_array().expect("a list");
    assert_eq!(decisions.len(), 12);
    for decision in decisions {
        let name = decision["namespace"].as_str().expect("a name");
        let arguments = ["explain", name, "--plan", "plan.json", "-o", "json"];
        let document = json(&output(&world.run(&arguments).code(0)));
        for part in ["action", "reason_code", "reason", "current_trus", "wanted_trus"] {
            assert_eq!(document["decision"][part], decision[part], "{name}: {part}");
        }
        assert_eq!(document["recorded"]["reason_code"], decision["reason_code"]);
        let options = document["options"].as_array().expect("a list");
        assert!(
            options.len() >= 8,
            "{name}: on-demand and seven sizes: {document}"
        );
        let flip = &document["flips"][0];
        assert_ne!(flip["becomes"], document["decision"], "{name}");
        assert!(flip["input"].is_string(), "{name}: {document}");
    }
    let text = output(&world.run(&["explain", "checkout", "--plan", "plan.json"]).code(0));
    for part in [
        "Enable 6 TRUs: ",
        "(throttled)",
        "8 TRUs",
        "The smallest change of one input",
    ] {
        assert!(text.contains(part), "{part} is missing from {text}");
    }
    assert!(!text.contains("assumed"), "its sizes were read: {text}");
    // The printed plan omits the inputs that the saved file contains.
    let printed = json(&output(&world.run(&["plan", "-o", "json"]).code(0)));
    assert!(printed.get("inputs").is_none() && printed["policies"]["acting"]["version"].is_number());
}

#[test]
fn a_minute_of_a_backtest_is_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut load = String::from("aps\n");
    for minute in 0..600 {
        load.push_str(if (300..330).contains(&minute) {
            "3000\n"
        } else {
            "50\n"
        });
    }
    std::fs::write(folder.path().join("load.csv"), load).expect("a file");
    let run = |arguments: &[&str]| program(folder.path()).args(arguments).assert();
    let explained = |at: &str| {
        let arguments = ["explain", "--trace", "load.csv", "--at", at, "-o", "json"];
        json(&output(&run(&arguments).code(0)))
    };
    let burst = explained("305");
    assert_eq!(burst["subject"], "load");
    assert_eq!(burst["decision"]["reason_code"], "raise");
    let options = burst["options"].as_array().expect("options");
    assert_eq!(options.len(), 8);
    assert!(options.iter().all(|option| option["why"].is_string()));
    let flip = &burst["flips"][0];
    assert_ne!(flip["becomes"]["wanted_trus"], burst["decision"]["wanted_trus"]);
    let calm = explained("200");
    assert_eq!(calm["decision"]["action"], "Keep");
    assert_ne!(
        calm["flips"][0]["becomes"]["wanted_trus"],
        calm["decision"]["wanted_trus"]
    );
    // The policy is evaluated with these parameters.
    let with = |more: &[&str]| {
        let arguments = [
            &["explain", "--trace", "load.csv", "--at", "305", "-o", "json"],
            more,
        ]
        .concat();
        json(&output(&run(&arguments).code(0)))
    };
    let small = with(&["--policy-param", "max_trus=2"]);
    assert_eq!(small["decision"]["wanted_trus"], 2);
    let offered = small["options"].as_array().expect("options").iter();
    assert!(
        offered
            .filter(|option| option["trus"].as_u64() > Some(2))
            .all(|option| option["expected_cost_actions"].is_null()),
        "{small}"
    );
    for patient in [
        &["--policy-param", "delay_value=0.001"],
        &["--delay-value", "0.001"],
    ] {
        let decision = &with(patient)["decision"];
        assert_eq!(decision["action"], "Keep", "{decision}");
    }
    assert_eq!(with(&["--cadence", "full-hour"])["seen"]["minute"], 300);
    let refused = errors(
        &run(&[
            "explain",
            "--trace",
            "load.csv",
            "--at",
            "5",
            "--policy-param",
            "speed=1",
        ])
        .code(1),
    );
    assert!(refused.contains("choose from delay_value"), "{refused}");
    let outside = errors(&run(&["explain", "--trace", "load.csv", "--at", "600"]).code(1));
    assert!(
        outside.contains("--at 600 is outside load.csv, which has 600 minutes"),
        "{outside}"
    );
}
