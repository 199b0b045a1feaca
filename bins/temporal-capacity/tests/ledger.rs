//! `history` and `ledger` as a user runs them: what was done is shown, in every format, and restored from its export.

mod world;

use assert_cmd::assert::Assert;
use cloud_simulator::{Account, Faults, Load, NamespaceSetup, ScrapeJobFault, SimulatorOptions};
use rstest::rstest;
use serde_json::Value;
use world::{World, errors, options, output, program};

/// A ledger of a test's own, and no cloud.
struct Book(tempfile::TempDir);

impl Book {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn run(&self, arguments: &[&str], input: &str) -> Assert {
        program(self.0.path())
            .args(arguments)
            .env("LEDGER_URL", "ledger.db")
            .write_stdin(input)
            .assert()
    }

    fn told(&self, arguments: &[&str]) -> String {
        output(&self.run(arguments, "").code(0))
    }
}

#[test]
fn what_apply_did_stands_in_the_ledger_and_history_tells_it() {
    let world = World::new(options());
    let ledger = world.folder.path().join("memory/ledger.db").display().to_string();
    let with_ledger = |arguments: &[&str]| world.command(arguments).env("LEDGER_URL", &ledger).assert();
    with_ledger(&["apply", "--yes"]).code(0);
    assert_eq!(world.cloud.changes().len(), 4);
    let told = output(&with_ledger(&["history", "--changes"]).code(0));
    assert!(
        told.contains("Enable: on-demand -> 6 TRUs")
            && told.contains("0.00 -> 90.00")
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
    assert!(output(&with_ledger(&["ledger", "info"]).code(0)).contains("decisions    12"));
    with_ledger(&["ledger", "verify"]).code(0);
    let pruned = errors(&with_ledger(&["ledger", "prune", "--keep-decisions", "1", "--yes"]).code(0));
    assert!(pruned.contains("0 evaluations dropped"), "{pruned}");
}

#[test]
fn an_export_of_what_was_done_restores_its_history() {
    let world = World::new(options());
    let with = |ledger: &str, arguments: &[&str]| {
        let assert = world.command(arguments).env("LEDGER_URL", ledger).assert();
        assert.code(0)
    };
    with("first.db", &["apply", "--yes"]);
    for (table, format, new) in [
        ("evaluations", "csv", "1 new"),
        ("decisions", "jsonl", "12 new"),
        ("changes", "csv", "4 new"),
    ] {
        let file = output(&with("first.db", &["ledger", "export", table, "-o", format]));
        std::fs::write(world.folder.path().join(table), file).expect("written");
        let import = ["ledger", "import", "--table", table, table];
        assert!(errors(&with("second.db", &import)).contains(new), "{table}");
        assert!(
            errors(&with("second.db", &import)).starts_with("0 new"),
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
fn a_ledger_that_is_none_is_told_and_never_stops_what_was_to_be_done() {
    let world = World::new(options());
    assert!(errors(&world.run(&["history"]).code(1)).contains("LEDGER_URL is not set"));
    let broken = world.folder.path().join("broken.db");
    std::fs::write(&broken, "no database at all ".repeat(60)).expect("written");
    let applied = world
        .command(&["apply", "--yes"])
        .env("LEDGER_URL", &broken)
        .assert()
        .code(0);
    assert!(
        errors(&applied).contains("warning: not recorded"),
        "{}",
        errors(&applied)
    );
}

/// A dry run that wanted to resize, for a reason with everything that ends a cell.
fn dry_run() -> Book {
    let book = Book::new();
    let evaluation = r#"{"account":"a1b2c","plan_id":"p1","evaluated_at_ms":1790000040000,"dry_run":true,"blind":false,"by":"worker-1","usage_window":"ledger","price_micro_dollars":50000000}"#;
    let decision = r#"{"account":"a1b2c","plan_id":"p1","namespace":"pay.a1b2c","action":"Resize","current_trus":2,"wanted_trus":4,"reason_code":"throttled","reason":"a | b,\nand \"c\"","price_before_micro_dollars":1000000,"price_after_micro_dollars":2500000,"known_minutes":60}"#;
    for (table, line) in [("evaluations", evaluation), ("decisions", decision)] {
        let import = ["ledger", "import", "--table", table, "-"];
        let told = errors(&book.run(&import, &format!("{line}\n")).code(0));
        assert_eq!(told, "1 new\n");
    }
    book
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
        "| when (UTC) | namespace | decision | $/h | outcome | by | reason |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n\
         | 2026-09-21 14:14 | pay.a1b2c | Resize (dry run): 2 TRUs -> 4 TRUs | 1.00 -> 2.50 |  | worker-1 | a \\| b, and \"c\" |\n"
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

/// Two hundred and one decisions about `orders`, and one about `pay`.
fn long() -> Book {
    let book = Book::new();
    let evaluations = (0..202).map(|number| {
        let at = 1_790_000_040_000_i64 + number * 3_600_000;
        format!(
            r#"{{"account":"a1b2c","plan_id":"p{number}","evaluated_at_ms":{at},"dry_run":false,"blind":false,"by":"w","usage_window":"ledger","price_micro_dollars":1}}"#
        )
    });
    let decisions = (0..202).map(|number| {
        let namespace = if number == 0 { "pay" } else { "orders" };
        format!(
            r#"{{"account":"a1b2c","plan_id":"p{number}","namespace":"{namespace}.a1b2c","action":"Keep","reason_code":"c","reason":"r{number}"}}"#
        )
    });
    let (evaluations, decisions): (Vec<_>, Vec<_>) = (evaluations.collect(), decisions.collect());
    for (table, lines) in [("evaluations", evaluations), ("decisions", decisions)] {
        let import = ["ledger", "import", "--table", table, "-"];
        book.run(&import, &(lines.join("\n") + "\n")).code(0);
    }
    book
}

#[test]
fn a_history_file_is_complete_and_a_cut_table_says_so() {
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
fn history_takes_bare_names_and_globs_and_the_global_namespace_is_another_thing() {
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
fn commands_that_look_create_no_ledger() {
    let book = Book::new();
    for command in [
        &["ledger", "info"][..],
        &["ledger", "verify"],
        &["ledger", "export"],
        &["ledger", "prune", "--yes"],
        &["history"],
    ] {
        let error = errors(&book.run(command, "").code(1));
        assert!(
            error.contains("there is no ledger at ledger.db"),
            "{command:?}: {error}"
        );
        assert_eq!(std::fs::read_dir(book.0.path()).expect("a folder").count(), 0);
    }
}

#[test]
fn prune_asks_and_keeps_a_day_at_least() {
    let book = dry_run();
    let before = book.told(&["ledger", "export", "decisions"]);
    let error = errors(
        &book
            .run(&["ledger", "prune", "--keep-decisions", "1"], "y\n")
            .code(1),
    );
    assert!(
        error.contains("no terminal to ask for confirmation; use `ledger prune --yes`"),
        "{error}"
    );
    for flag in ["--keep-minutes", "--keep-hours", "--keep-decisions"] {
        let error = errors(&book.run(&["ledger", "prune", "--yes", flag, "0"], "").code(1));
        assert!(error.contains("0 is not in 1.."), "{error}");
    }
    assert_eq!(book.told(&["ledger", "export", "decisions"]), before);
}

/// Root may write everything: then the program runs as someone who may not.
#[cfg(unix)]
#[test]
fn a_file_that_may_only_be_read_can_be_looked_at() {
    use std::os::unix::fs::PermissionsExt;

    let book = long();
    let set = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
    };
    let file = book.0.path().join("ledger.db");
    let id = std::process::Command::new("id")
        .arg("-u")
        .output()
        .expect("id runs");
    let is_root = id.stdout == b"0\n";
    let run = |arguments: &[&str]| {
        let program = env!("CARGO_BIN_EXE_temporal-capacity");
        let mut command = if is_root {
            let mut command = std::process::Command::new("setpriv");
            command.args([
                "--reuid",
                "nobody",
                "--regid",
                "nogroup",
                "--clear-groups",
                program,
            ]);
            command
        } else {
            std::process::Command::new(program)
        };
        let ended = command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LEDGER_URL", "ledger.db")
            .current_dir(book.0.path())
            .output()
            .expect("runs");
        (
            ended.status.code(),
            String::from_utf8_lossy(&ended.stderr).into_owned(),
            ended.stdout,
        )
    };
    for (folder_mode, what) in [(0o777, "the file alone"), (0o555, "the file and its folder")] {
        set(&file, 0o444);
        set(book.0.path(), folder_mode);
        for command in [
            &["ledger", "info"][..],
            &["ledger", "verify"],
            &["ledger", "export", "decisions"],
            &["history", "pay"],
        ] {
            let (code, errors, output) = run(command);
            assert_eq!(code, Some(0), "{what} is read-only, {command:?}: {errors}");
            assert!(command[1] == "verify" || !output.is_empty());
        }
        let (code, errors, _) = run(&["ledger", "prune", "--yes"]);
        assert_eq!(code, Some(1), "{errors}");
        assert!(
            errors.contains("cannot be written") || errors.contains("cannot be opened"),
            "{errors}"
        );
    }
    set(book.0.path(), 0o755);
}

#[rstest]
#[case::in_a_parameter("postgres://me@127.0.0.1:1/led?password=a@s3cret", "cannot be reached")]
#[case::of_a_key(
    "postgres://me@127.0.0.1:1/led?sslpassword=s3cret",
    "`sslpassword` is not supported"
)]
#[case::slash("postgres://me:s3cret/word@127.0.0.1:1/led", "%2F")]
#[case::hash("postgres://me:1#s3cret@127.0.0.1:1/led", "%23")]
#[case::escaped("postgres://me:s3cret%2Fword@127.0.0.1:1/led", "cannot be reached")]
#[case::ipv6(
    "postgres://me:s3cret@[::1]:1/led",
    "postgres://[::1]:1/led cannot be reached"
)]
#[case::unknown_parameter(
    "postgres://me:s3cret@127.0.0.1:1/led?sslmodes=s3cret",
    "`sslmodes` is unknown"
)]
#[case::keywords("host=127.0.0.1 dbname=led password=s3cret", "looks like a database address")]
#[case::no_scheme("me:s3cret@localhost:5432/led", "looks like a database address")]
#[case::password_file("postgres://me@127.0.0.1:1/led", "cannot be reached")]
fn no_password_is_in_any_output_at_any_log_level(#[case] url: &str, #[case] told: &str) {
    let book = Book::new();
    let file = book.0.path().join("pgpass");
    std::fs::write(&file, "malformed s3cret\n127.0.0.1:1:led:me:s3cret\n").expect("written");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("set");
    }
    for command in [&["ledger", "info"][..], &["history"], &["settings", "show"]] {
        let run = program(book.0.path())
            .args(command)
            .args(["--log-level", "trace"])
            .env("LEDGER_URL", url)
            .env("PGPASSFILE", &file)
            .assert();
        let all = output(&run) + &errors(&run);
        assert!(!all.contains("s3cret"), "{all}");
        assert!(command[0] == "settings" || all.contains(told), "{all}");
    }
    assert_eq!(
        std::fs::read_dir(book.0.path()).expect("a folder").count(),
        1,
        "and no file of that name"
    );
}

#[rstest]
#[case::history(&["--table", "history", "-"], "", "import these instead")]
#[case::cut_short(&["--table", "changes", "-"], "operation_id,account", "nothing from - was imported: line 1: it is truncated")]
#[case::no_file(&["--table", "hours", "gone.csv"], "", "gone.csv cannot be read")]
#[case::no_table(&["--table", "months", "-"], "", "possible values: history, minutes, hours")]
#[case::no_evaluation(
    &["--table", "decisions", "-"],
    r#"{"account":"a","plan_id":"p2","namespace":"n","action":"Keep","reason_code":"c","reason":"r"}"#,
    "line 1: the evaluation p2 of a does not exist"
)]
fn an_import_that_cannot_be_is_told(#[case] arguments: &[&str], #[case] input: &str, #[case] told: &str) {
    let book = dry_run();
    let before = book.told(&["history", "-o", "json"]);
    let arguments = [&["ledger", "import"], arguments].concat();
    let error = errors(&book.run(&arguments, input).code(1));
    assert!(error.contains(told), "{error}");
    assert_eq!(book.told(&["history", "-o", "json"]), before);
}

#[test]
fn a_plan_takes_its_hours_from_the_ledger_and_says_how_much_it_knows() {
    let world = World::new(options());
    let with_ledger = |arguments: &[&str]| world.command(arguments).env("LEDGER_URL", "memory.db").assert();
    let first = output(&with_ledger(&["plan"]).code(0));
    assert!(first.contains("usage: ledger, 1 of 60 minutes known"), "{first}");
    // Twenty times as fast as real time: another minute.
    world.cloud.advance(jiff::SignedDuration::from_mins(2));
    let plan: Value =
        serde_json::from_str(&output(&with_ledger(&["plan", "-o", "json"]).code(0))).expect("JSON");
    assert_eq!(plan["usage_window"], "ledger");
    let orders = plan["decisions"]
        .as_array()
        .and_then(|decisions| decisions.iter().find(|it| it["namespace"] == "orders.a1b2c"))
        .expect("decided");
    assert_eq!(orders["known_minutes"], 2, "{orders}");
    assert_eq!(
        orders["action"], "Disable",
        "DISABLE_ON_ESTIMATE=true releases on an estimate"
    );
    let strict = output(
        &world
            .command(&["plan", "orders", "-o", "json"])
            .env("LEDGER_URL", "memory.db")
            .env("DISABLE_ON_ESTIMATE", "false")
            .assert()
            .code(0),
    );
    assert!(strict.contains("estimate_only"), "{strict}");
}

#[test]
fn observing_gathers_minutes_without_a_ledger_and_leaves_nothing_behind() {
    let world = World::new(options());
    let observed = world.run(&["plan", "--observe", "1s"]).code(0);
    // How many depends on the second at which it begins, and may differ by namespace.
    let told = output(&observed);
    let known = told.split_once("usage: ledger, ").map(|(_, known)| known);
    assert!(
        known.is_some_and(|known| !known.starts_with('0') && known.contains(" of 60 minutes known")),
        "{told}"
    );
    assert!(errors(&observed).contains("observing for 1 s"));
    assert_eq!(
        std::fs::read_dir(world.folder.path()).expect("readable").count(),
        0
    );
    let refused = world.run(&["plan", "--observe", "3h"]);
    assert!(
        errors(&refused).contains("up to 2h, such as 15m"),
        "{}",
        errors(&refused)
    );
}

#[test]
fn a_broken_ledger_is_told_and_lowers_nothing() {
    let world = World::new(options());
    std::fs::write(world.folder.path().join("broken.db"), vec![b'x'; 9_000]).expect("written");
    let applied = world
        .command(&["apply", "--yes"])
        .env("LEDGER_URL", "broken.db")
        .assert()
        .code(0);
    assert!(
        errors(&applied).contains("the ledger broken.db is damaged"),
        "{}",
        errors(&applied)
    );
    let changed: Vec<(String, u32)> = world
        .cloud
        .changes()
        .iter()
        .map(|change| (change.namespace.clone(), change.to))
        .collect();
    assert_eq!(
        changed,
        [("checkout.a1b2c".to_owned(), 6)],
        "scaled up, and nothing released"
    );
}

#[test]
fn what_a_ledger_holds_is_told_to_scripts_as_well() {
    let world = World::new(options());
    let with_ledger = |arguments: &[&str]| world.command(arguments).env("LEDGER_URL", "memory.db").assert();
    with_ledger(&["plan"]).code(0);
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
    // Pruning keeps what the settings say.
    let pruned = errors(&with_ledger(&["ledger", "prune", "--yes"]).code(0));
    assert!(pruned.starts_with("0 minutes folded"), "{pruned}");
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
fn doctor_looks_at_ledger_sampling_and_prometheus() {
    let world = World::new(options());
    let good = output(
        &world
            .command(&["doctor"])
            .env("LEDGER_URL", "memory.db")
            .assert()
            .code(0),
    );
    assert!(
        good.contains("no minutes yet") && good.contains("everything, every 70 s: 51 of 60"),
        "{good}"
    );
    let bad = world
        .command(&["doctor"])
        .env("METRICS_SOURCE", "prometheus")
        .env("PROMETHEUS_URL", "http://127.0.0.1:1")
        .env_remove("TEMPORAL_CLOUD_METRICS_API_KEY")
        .assert()
        .code(1);
    assert!(output(&bad).contains("PROMETHEUS_URL"), "{}", output(&bad));
    let missing = world
        .command(&["doctor"])
        .env("METRICS_SOURCE", "prometheus")
        .assert()
        .code(1);
    assert!(
        errors(&missing).contains("PROMETHEUS_URL: it is not set"),
        "{}",
        errors(&missing)
    );
}

/// `doctor` also reports what the scrape job does, and limits that are not known yet.
#[test]
fn doctor_names_what_a_scrape_job_does_and_unknown_throttling() {
    let world = World::new(SimulatorOptions {
        past_minutes: 75,
        ..options()
    });
    let doctor = |faults: Faults| {
        world.cloud.set_faults(faults);
        let assert = world
            .command(&["doctor"])
            .env("METRICS_SOURCE", "prometheus")
            .env("PROMETHEUS_URL", world.cloud.prometheus_url())
            .assert();
        output(&assert)
    };
    let job = |scrape_job: ScrapeJobFault| Faults {
        scrape_job,
        ..Faults::default()
    };
    let text = doctor(Faults::default());
    assert!(text.contains("it adds no labels"), "{text}");
    assert!(text.contains("no metric family of an unknown kind"), "{text}");
    let text = doctor(job(ScrapeJobFault::TwoPods));
    assert!(text.contains("ignored: cluster, job, pod"), "{text}");
    let text = doctor(job(ScrapeJobFault::ScrapeTimes));
    assert!(text.contains("honor_timestamps: true"), "{text}");
    let text = doctor(job(ScrapeJobFault::OverwrittenNamespace));
    assert!(text.contains("honor_labels: true"), "{text}");
    let text = doctor(Faults {
        unknown_throttling: Some((
            "namespace_bandwidth_throttled_bytes".to_owned(),
            "orders".to_owned(),
        )),
        ..Faults::default()
    });
    assert!(
        text.contains("temporal_cloud_v1_namespace_bandwidth_throttled_bytes"),
        "{text}"
    );
}

/// The sampler reads provisioned namespaces whole, so they belong to the budget that `doctor` names.
#[test]
fn doctor_counts_provisioned_namespaces_in_the_budget() {
    let namespaces =
        (0..1_000).map(|number| NamespaceSetup::new(format!("n{number:04}"), Load::Idle).with_trus(2));
    let mut all = options();
    all.account = Account::new("a1b2c", namespaces.collect());
    let world = World::new(all);
    let assert = world
        .command(&["doctor"])
        .env("LEDGER_URL", "memory.db")
        .assert()
        .code(0);
    let text = output(&assert).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(!text.contains("METRICS_REQUESTS_PER_HOUR=107"), "{text}");
    assert!(
        text.contains("the endpoint does not allow enough requests"),
        "{text}"
    );
}

/// Hours of a simulated day, run at high speed by the whole stack: sampled, evaluated, announced.
#[cfg(unix)]
#[test]
fn a_simulated_day_at_speed_is_told_completely() {
    const SKIP: &str = "TEMPORAL_CAPACITY_SKIP_SERVER_TESTS";
    if std::env::var(SKIP).as_deref() == Ok("1") {
        return;
    }
    let book = Book::new();
    let file = book.0.path().join("ledger.db");
    let mut dev = std::process::Command::new(env!("CARGO_BIN_EXE_temporal-capacity"))
        .args(["dev", "--speed", "300", "--ledger"])
        .arg(&file)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("started");
    let begun = std::time::Instant::now();
    let evaluated = || -> Vec<Value> {
        if !file.exists() {
            return Vec::new();
        }
        let told = book.run(&["history", "checkout.a1b2c", "-o", "json", "--limit", "0"], "");
        serde_json::from_str(&output(&told)).unwrap_or_default()
    };
    // Those that sampling triggers come at any minute.
    let scheduled = |day: &[Value]| -> Vec<i64> {
        let seconds = day
            .iter()
            .filter_map(|row| row["evaluated_at_ms"].as_i64())
            .map(|at| at / 1_000);
        let mut hours: Vec<i64> = seconds
            .filter(|at| at / 60 % 60 == 45)
            .map(|at| at / 3_600)
            .collect();
        hours.dedup();
        hours
    };
    while scheduled(&evaluated()).len() < 4 {
        assert!(begun.elapsed().as_secs() < 150, "{:?}", evaluated());
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    let interrupted = std::process::Command::new("kill")
        .args(["-INT", &dev.id().to_string()])
        .status();
    assert!(interrupted.expect("sent").success());
    assert_eq!(dev.wait().expect("ended").code(), Some(0));

    let day = evaluated();
    let hours = scheduled(&day);
    assert!(
        hours.windows(2).all(|pair| pair[1] - pair[0] == 1),
        "no hour is left out: {hours:?}"
    );
    let changes = book.told(&["history", "--changes", "-o", "json", "--limit", "0"]);
    let changes: Vec<Value> = serde_json::from_str(&changes).expect("JSON");
    assert_eq!(
        changes.len(),
        4,
        "one scaled up, three released, none of it twice: {changes:?}"
    );
    assert!(
        changes.iter().all(|change| change["outcome"] == "changed"),
        "{changes:?}"
    );
    let known = day.last().map(|row| row["known_minutes"].clone());
    assert!(known.as_ref().and_then(Value::as_i64) >= Some(48), "{known:?}");
    book.run(&["ledger", "verify"], "").code(0);
}
