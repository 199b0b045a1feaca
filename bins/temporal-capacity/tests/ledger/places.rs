//! Tests of ledgers that are missing, damaged, read-only or on a server, and of operations on them.

use rstest::rstest;

use crate::world::{World, errors, options, output, program};
use crate::{Book, dry_run, long};

#[test]
fn an_unusable_ledger_is_reported_and_never_blocks_a_scale_up() {
    let world = World::new(options());
    assert!(errors(&world.run(&["history"]).code(1)).contains("LEDGER_URL is not set"));
    let broken = world.folder.path().join("broken.db");
    std::fs::write(&broken, "no database at all ".repeat(60)).expect("written");
    let applied = world
        .command(&["apply", "--yes"])
        .env("LEDGER_URL", &broken)
        .assert()
        .code(0);
    let told = errors(&applied);
    assert_eq!(told.matches("broken.db is damaged").count(), 1, "{told}");
    assert!(
        told.contains("warning: this run was not recorded: the ledger failed"),
        "{told}"
    );
}

/// A server that accepts connections and never answers.
#[test]
fn a_ledger_that_does_not_respond_is_waited_for_once_and_told_once() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    let _connections = std::thread::spawn(move || {
        let mut open = Vec::new();
        while let Ok((connection, _)) = silent.accept() {
            open.push(connection);
        }
    });
    let world = World::new(options());
    let applied = world
        .command(&[
            "apply",
            "--yes",
            "--set",
            &format!("LEDGER_URL=postgres://{address}/none"),
        ])
        .env("SLACK_WEBHOOK_URL", world.cloud.slack_url())
        .assert()
        .code(0);
    let told = errors(&applied);
    assert_eq!(told.matches("cannot be reached").count(), 1, "{told}");
    assert!(told.contains("this run was not recorded"), "{told}");
}

#[test]
fn read_only_commands_create_no_ledger() {
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
fn prune_asks_for_confirmation_and_keeps_at_least_a_day() {
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
        assert!(error.contains("at least 1"), "{error}");
    }
    assert_eq!(book.told(&["ledger", "export", "decisions"]), before);
}

/// Root can write to everything, so the program runs as another user in that case.
#[cfg(unix)]
#[test]
fn a_read_only_file_can_be_inspected() {
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
fn an_impossible_import_is_refused_with_the_reason(
    #[case] arguments: &[&str],
    #[case] input: &str,
    #[case] told: &str,
) {
    let book = dry_run();
    let before = book.told(&["history", "-o", "json"]);
    let arguments = [&["ledger", "import"], arguments].concat();
    let error = errors(&book.run(&arguments, input).code(1));
    assert!(error.contains(told), "{error}");
    assert_eq!(book.told(&["history", "-o", "json"]), before);
}

#[test]
fn a_damaged_ledger_is_reported_and_releases_nothing() {
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
