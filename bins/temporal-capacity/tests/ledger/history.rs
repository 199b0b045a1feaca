//! Tests that past changes are shown in every format, and can be restored from an export.

use serde_json::Value;

use crate::world::{World, errors, options, output};
use crate::{dry_run, long};

#[test]
fn what_apply_did_is_in_the_ledger_and_history_shows_it() {
    let world = World::new(options());
    let ledger = world.folder.path().join("memory/ledger.db").display().to_string();
    let with_ledger = |arguments: &[&str]| world.command(arguments).env("LEDGER_URL", &ledger).assert();
    with_ledger(&["apply", "--yes"]).code(0);
    assert_eq!(world.cloud.changes().len(), 4);
    let told = output(&with_ledger(&["history", "--changes"]).code(0));
    assert!(
        told.contains("Enable: on-demand -> 6 TRUs")
            && told.contains("$0.00 -> $90.00")
            && told.contains("4 decisions"),
        "{told}"
    );
    let one = output(&with_ledger(&["history", "orders.a1b2c", "-o", "json"]).code(0));
    let one: Value = serde_json::from_str(&one).expect("one JSON document");
    assert_eq!(
        (&one[0]["action"], &one[0]["outcome"]),
        (&"Disable".into(), &"changed".into())
    );
    assert_eq!(one[0]["price_before_micro_dollars"], 54_000_000);
    let csv = output(&with_ledger(&["ledger", "export", "history"]).code(0));
    assert_eq!(
        csv.lines().count(),
        13,
        "a line of names and twelve namespaces: {csv}"
    );
    let info = output(&with_ledger(&["ledger", "info"]).code(0));
    let mut rows = info
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert!(rows.any(|row| row == ["decisions", "12"]), "{info}");
    with_ledger(&["ledger", "verify"]).code(0);
    let pruned = errors(&with_ledger(&["ledger", "prune", "--keep-decisions", "1", "--yes"]).code(0));
    assert!(pruned.contains("deleted: 0 hours, 0 evaluations"), "{pruned}");
}

#[test]
fn an_import_of_an_export_restores_the_history() {
    let world = World::new(options());
    let with = |ledger: &str, arguments: &[&str]| {
        let assert = world.command(arguments).env("LEDGER_URL", ledger).assert();
        assert.code(0)
    };
    with("first.db", &["apply", "--yes"]);
    for (table, format, new) in [
        ("evaluations", "csv", "imported 1 new row"),
        ("decisions", "jsonl", "imported 12 new rows"),
        ("changes", "csv", "imported 4 new rows"),
    ] {
        let file = output(&with("first.db", &["ledger", "export", table, "-o", format]));
        std::fs::write(world.folder.path().join(table), file).expect("written");
        let import = ["ledger", "import", "--table", table, table];
        assert!(errors(&with("second.db", &import)).contains(new), "{table}");
        assert!(
            errors(&with("second.db", &import)).starts_with("imported 0 new rows"),
            "{table} again"
        );
    }
    for history in [
        &["history", "--format", "json"][..],
        &["history", "-o", "csv"],
        &["ledger", "export", "history", "-o", "jsonl"],
    ] {
        let first = output(&with("first.db", history));
        assert!(first.contains("changed"), "{first}");
        assert_eq!(first, output(&with("second.db", history)));
    }
}

#[test]
fn history_is_a_table_json_csv_or_markdown_and_a_dry_run_is_marked() {
    let book = dry_run();
    let table = book.told(&["history"]);
    assert!(
        table.contains("Resize (dry run): 2 TRUs -> 4 TRUs") && table.ends_with("1 decision\n"),
        "{table}"
    );
    assert_eq!(
        book.told(&["history", "-o", "markdown"]),
        "| when | namespace | decision | $/h | outcome | by | reason |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n\
         | 2026-09-21 14:14 UTC | pay.a1b2c | Resize (dry run): 2 TRUs -> 4 TRUs | $1.00 -> $2.50 |  | worker-1 | a \\| b, and \"c\" |\n"
    );
    assert_eq!(
        book.told(&["history", "-o", "csv"]),
        "evaluated_at,account,namespace,action,current_trus,wanted_trus,reason_code,reason,price_before_micro_dollars,\
         price_after_micro_dollars,price_micro_dollars,known_minutes,usage_window,dry_run,by,plan_id,outcome,error\n\
         2026-09-21T14:14:00Z,a1b2c,pay.a1b2c,Resize,2,4,throttled,\"a | b,\nand \"\"c\"\"\",1000000,2500000,50000000,60,\
         ledger,true,worker-1,p1,,\n"
    );
    let json: Value =
        serde_json::from_str(&book.told(&["history", "-o", "json"])).expect("one JSON document");
    assert_eq!(json[0]["dry_run"], true);
    assert_eq!(book.told(&["history", "-o", "jsonl"]).lines().count(), 1);
    assert_eq!(book.told(&["history", "-o", "none"]), "");
}

#[test]
fn an_exported_history_is_complete_and_a_truncated_table_says_so() {
    let book = long();
    for (format, lines) in [("csv", 203), ("jsonl", 202), ("json", 204)] {
        let whole = book.told(&["history", "-o", format]);
        assert_eq!(whole.lines().count(), lines, "{format}");
    }
    let json: Value = serde_json::from_str(&book.told(&["history", "-o", "json"])).expect("JSON");
    assert_eq!(json.as_array().map(Vec::len), Some(202));
    assert_eq!(
        book.told(&["history", "-o", "jsonl", "--limit", "3"])
            .lines()
            .count(),
        3
    );
    for form in ["table", "markdown"] {
        let cut = book.run(&["history", "-o", form], "").code(0);
        assert!(
            errors(&cut).contains("only the newest 200 decisions are shown"),
            "{}",
            errors(&cut)
        );
        assert!(
            output(&cut).contains("r201") && !output(&cut).contains("r1 "),
            "{}",
            output(&cut)
        );
        let all = book.run(&["history", "-o", form, "--limit", "0"], "").code(0);
        assert_eq!(errors(&all), "");
        assert!(output(&all).contains("pay.a1b2c"));
    }
    let refused = book.run(&["ledger", "info", "-o", "csv"], "").code(1);
    assert!(
        String::from_utf8_lossy(&refused.get_output().stderr)
            .contains("`ledger info` has no csv output; use -o table|json|jsonl|none"),
        "{refused:?}"
    );
    let none = book.told(&["history", "-o", "json", "--to", "2020-01-01T00:00Z"]);
    assert_eq!(none, "[]\n");
}

#[test]
fn history_accepts_bare_names_and_globs_and_ignores_the_global_namespace() {
    let book = long();
    for arguments in [
        &["history", "pay", "-o", "csv"][..],
        &["history", "p*", "-o", "csv"],
        &[
            "history",
            "pay.a1b2c",
            "-o",
            "jsonl",
            "--namespace",
            "orders.a1b2c",
        ],
        &[
            "--namespace",
            "orders.a1b2c",
            "history",
            "{pay,other}",
            "-o",
            "csv",
        ],
    ] {
        let told = book.told(arguments);
        assert!(
            told.contains("pay.a1b2c") && !told.contains("orders"),
            "{arguments:?}: {told}"
        );
    }
    assert_eq!(
        book.told(&["history", "pay", "orders", "-o", "jsonl"])
            .lines()
            .count(),
        202
    );
    let everything = book.told(&["--namespace", "pay.a1b2c", "history", "-o", "jsonl"]);
    assert_eq!(
        everything.lines().count(),
        202,
        "the namespace that this automation runs in is not a filter"
    );
    let unknown = errors(&book.run(&["history", "payments"], "").code(1));
    assert!(
        unknown.contains("no namespace in the ledger matches payments"),
        "{unknown}"
    );
}

#[test]
fn a_dry_run_is_marked_in_the_ledger() {
    let world = World::new(options());
    let with_ledger = |arguments: &[&str]| {
        let mut command = world.command(arguments);
        command.env("LEDGER_URL", "dry.db").env("DRY_RUN_MODE", "true");
        command.assert()
    };
    with_ledger(&["apply"]).code(0);
    let told = output(&with_ledger(&["history", "--changes"]).code(0));
    assert!(told.contains("(dry run)"), "{told}");
    assert!(world.cloud.changes().is_empty());
}

#[test]
fn the_contents_of_a_ledger_are_available_as_json() {
    let world = World::new(options());
    let with_ledger = |arguments: &[&str]| world.command(arguments).env("LEDGER_URL", "memory.db").assert();
    with_ledger(&["apply", "--set", "DRY_RUN_MODE=true"]).code(0);
    let info: Value =
        serde_json::from_str(&output(&with_ledger(&["ledger", "info", "-o", "json"]).code(0))).expect("JSON");
    assert_eq!(
        (&info["rows"]["minutes"], &info["location"]),
        (&1.into(), &"memory.db".into())
    );
    assert!(
        info["newest_minute"]
            .as_str()
            .is_some_and(|minute| minute.ends_with('Z')),
        "{info}"
    );
    // Pruning keeps the data specified by the settings.
    let pruned = errors(&with_ledger(&["ledger", "prune", "--yes"]).code(0));
    assert!(pruned.starts_with("0 minutes aggregated"), "{pruned}");
}
