//! Tests that `up` fails immediately, without losing data, if waiting cannot help, and that its message
//! contains the remedy.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use temporal_stack::doctor::probe::{complete, is_completed, start};
use temporal_stack::process::{self, State};

use crate::harness::{NAMESPACE, Running, healthy, text};

/// `up` waits five minutes for problems that may go away.
const AT_ONCE: Duration = Duration::from_mins(2);

/// Asserts that `up` fails without waiting, with all of these texts.
#[track_caller]
fn refused_at_once(running: &Running, expected: &[&str]) {
    let begun = Instant::now();
    let said = running.up_refused(&["--without-autopilot"]);
    println!("{:>5.1} s  {}", begun.elapsed().as_secs_f64(), said.trim_end());
    assert!(begun.elapsed() < AT_ONCE, "it has waited: {said}");
    for part in expected {
        assert!(said.contains(part), "{part}: {said}");
    }
}

fn reload_postgres(running: &Running) {
    let State::Running(pid) = process::state(&running.place, "postgres") else {
        panic!("it does not run")
    };
    let sent = Command::new("kill").args(["-HUP", &pid.to_string()]).status();
    assert!(sent.expect("sent").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a whole stack: .ci/full"]
async fn up_fails_immediately_on_permanent_problems() {
    let mut running = Running::new("127.96", |text| text);
    running.up(&["--without-autopilot"]);
    let client = running.client().await;
    let run = start(&client, NAMESPACE, "before").await.expect("started");
    complete(&client, NAMESPACE).await.expect("completed");

    // A certificate with the name of another role.
    let tls = running.place.tls();
    for kind in ["pem", "key"] {
        std::fs::copy(
            tls.join(format!("client.{kind}")),
            tls.join(format!("frontend.{kind}")),
        )
        .expect("copied");
    }
    refused_at_once(
        &running,
        &[
            "frontend.pem is not valid for the name frontend.temporal-stack.internal",
            "`temporal-stack certificates`",
        ],
    );
    running.run(&["certificates"]);
    running.up(&["--without-autopilot"]);

    // A role that dies at its start, because Go rejects this limit.
    running.kill("history-1");
    running = running.with_variables(&[("GOMEMLIMIT", "nonsense")]);
    refused_at_once(
        &running,
        &[
            "history-1 died while starting",
            "malformed GOMEMLIMIT",
            "logs/history-1.log",
        ],
    );
    let status = running.program("temporal-stack", &["status"]);
    let shown = text(&status);
    assert!(
        shown.contains("history-1 at 127.96.2.1:7234: died. Remedy: `temporal-stack logs history-1`"),
        "{shown}"
    );
    running = running.with_variables(&[]);
    running.up(&["--without-autopilot"]);
    healthy(&running);

    // The database rejects the password, or all connections from this machine.
    let password = running.place.password_file();
    let kept = std::fs::read_to_string(&password).expect("readable");
    std::fs::write(&password, "another\n").expect("written");
    let file = password.display().to_string();
    refused_at_once(
        &running,
        &[
            "PostgreSQL at 127.96.0.1:5432",
            "password authentication failed for user \"temporal\"",
            &format!("The password in {file}"),
            "Nothing was changed",
        ],
    );
    std::fs::write(&password, &kept).expect("written");
    let access = running.place.database().join("postgres/pg_hba.conf");
    let rules = std::fs::read_to_string(&access).expect("readable");
    std::fs::write(&access, "local all all trust\n").expect("written");
    reload_postgres(&running);
    let begun = Instant::now();
    // The server reads the file shortly afterwards.
    while running.program("temporal-stack", &["status"]).status.success() {
        assert!(begun.elapsed() < AT_ONCE, "the rules are not read");
    }
    refused_at_once(
        &running,
        &[
            "no pg_hba.conf entry for host",
            "Add this machine's address to pg_hba.conf",
        ],
    );
    std::fs::write(&access, rules).expect("written");
    reload_postgres(&running);
    let begun = Instant::now();
    while !running.program("temporal-stack", &["status"]).status.success() {
        assert!(begun.elapsed() < AT_ONCE, "the rules are not read");
    }
    running.up(&["--without-autopilot"]);

    // The password is lost: no new one is created, and the remedy in the message works.
    running.run(&["down"]);
    std::fs::remove_file(&password).expect("removed");
    refused_at_once(
        &running,
        &[
            &format!("{file} is missing"),
            "postgres --single",
            "Nothing was started",
        ],
    );
    assert!(!password.exists(), "no password that does not match");
    set_password(&running, "found-again");
    std::fs::write(&password, "found-again\n").expect("written");
    running.up(&["--without-autopilot"]);
    healthy(&running);

    let client = running.client().await;
    let is_there = is_completed(&client, NAMESPACE, "before", &run).await;
    assert!(is_there.expect("described"), "nothing was destroyed");
}

/// Sets the password in the way that the message describes.
fn set_password(running: &Running, password: &str) {
    let data = running.place.database().join("postgres");
    let owner = std::fs::metadata(&data).expect("there");
    let mut postgres = Command::new(running.stack().postgres_programs.join("postgres"))
        .args(["--single", "-D"])
        .arg(&data)
        .arg("postgres")
        .current_dir(&data)
        .uid(owner.uid())
        .gid(owner.gid())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it runs");
    let mut input = postgres.stdin.take().expect("piped");
    writeln!(input, "alter role temporal password '{password}'").expect("written");
    drop(input);
    assert!(postgres.wait().expect("it ended").success());
}
