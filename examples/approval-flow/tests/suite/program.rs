//! Tests of the program, as people and other systems use it.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use approval_flow::commands;
use approval_flow::events::{EVENT_TYPE, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign};
use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::flow::{request, result, until};
use crate::world::{World, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_prints_only_the_id_and_deciding_a_closed_request_is_an_error() {
    let world = World::new("program").await;
    let mut worker = world.worker(None).await;
    let started = world.run(&["start", "deploy 43"]);
    assert!(started.status.success());
    assert_eq!(text(&started.stderr), "");
    let id = text(&started.stdout);
    assert!(
        id.starts_with("approval-") && !id.contains(char::is_whitespace),
        "{id}"
    );
    until(&world, &id, "policy:").await;
    assert!(text(&world.run(&["show", &id]).stdout).starts_with(&format!("{id}: open")));
    let approved = world.run(&["approve", &id, "--reason", "tests are green"]);
    assert!(approved.status.success(), "{}", text(&approved.stderr));
    assert_eq!(text(&approved.stdout), "approved by ada: tests are green");
    result(&world, &id).await;
    for command in ["approve", "reject"] {
        let refused = world.run(&[command, &id]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            text(&refused.stderr).starts_with(&format!("error: cannot {command} `{id}`: it is closed")),
            "{}",
            text(&refused.stderr)
        );
    }
    let audit = text(&world.run(&["audit", &id]).stdout);
    assert!(
        audit.contains("requested by ada: deploy 43") && audit.contains("closed as executed"),
        "{audit}"
    );
    for line in text(&world.run(&["audit", "--json", &id]).stdout).lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("JSON");
    }
    let begun = Instant::now();
    while !text(&world.run(&["list"]).stdout).contains(&id) {
        assert!(begun.elapsed() < Duration::from_mins(1), "listed");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let unknown = world.run(&["approve", "no-such-id"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        text(&unknown.stderr).contains("cannot find `no-such-id`"),
        "{}",
        text(&unknown.stderr)
    );
    assert!(!world.run(&["start", "  "]).status.success());
    worker.stop();
    worker.wait().await.expect("drained");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_with_invalid_rules_does_not_start_and_reports_every_line() {
    let world = World::new("badrules").await;
    std::fs::write(
        world.path("rules.yaml"),
        "rules:\n- name: a\n- deny: true\n  contains: x\n",
    )
    .expect("written");
    let refused = world.run(&["worker", "--rules", "rules.yaml"]);
    assert_eq!(refused.status.code(), Some(1));
    let stderr = text(&refused.stderr);
    assert!(
        stderr.contains("rules.yaml:2: rules[0]")
            && stderr.contains("rules.yaml:3: rules[1]: needs a `name`"),
        "{stderr}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schedule_starts_requests_and_can_be_paused_backfilled_and_deleted() {
    let world = World::new("schedule").await;
    let ok = |arguments: &[&str]| {
        let output = world.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    assert_eq!(ok(&["schedule"]), "created: a request every 15 s");
    assert!(!world.run(&["schedule"]).status.success(), "it exists already");
    ok(&["schedule", "pause"]);
    assert!(ok(&["schedule", "show"]).contains("paused"));
    ok(&["schedule", "trigger"]);
    ok(&[
        "schedule",
        "backfill",
        "--from",
        "2026-11-01T00:00:01Z",
        "--to",
        "2026-11-01T00:00:59Z",
    ]);
    let begun = Instant::now();
    while commands::list(&world.client, true).await.expect("a list").len() < 4 {
        assert!(
            begun.elapsed() < Duration::from_mins(1),
            "one triggered and three backfilled requests"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    ok(&["schedule", "unpause"]);
    assert!(ok(&["schedule", "show"]).contains("active"));
    let wrong = world.run(&[
        "schedule",
        "backfill",
        "--from",
        "2026-11-02T00:00:00Z",
        "--to",
        "2026-11-01T00:00:00Z",
    ]);
    assert!(
        text(&wrong.stderr).contains("must be earlier"),
        "{}",
        text(&wrong.stderr)
    );
    ok(&["schedule", "delete"]);
    assert!(text(&world.run(&["schedule", "pause"]).stderr).contains("does not exist"));
    ok(&["schedule", "create", "--cron", "0 3 * * *", "nightly"]);
    ok(&["schedule", "delete"]);
}

/// Sends one request and returns status and body.
async fn post(port: u16, headers: &[(&str, String)], body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("connected");
    let mut head = format!(
        "POST /events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    stream
        .write_all(format!("{head}\r\n{body}").as_bytes())
        .await
        .expect("sent");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or_default();
    (
        status,
        answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned())
            .unwrap_or_default(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_event_starts_one_request_and_a_wrong_one_starts_nothing() {
    const SECRET: &str = "a secret of the sender";
    let world = World::new("events").await;
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        free.local_addr().expect("an address").port()
    };
    let listen = format!("127.0.0.1:{port}");
    let refused = world
        .command(&["serve", "--listen", &listen])
        .env_remove("APPROVAL_FLOW_SECRET")
        .output()
        .expect("ran");
    assert!(text(&refused.stderr).contains("`APPROVAL_FLOW_SECRET` must be set"));
    let mut receiver = world
        .command(&["serve", "--listen", &listen])
        .env("APPROVAL_FLOW_SECRET", SECRET)
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("started");
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(begun.elapsed() < Duration::from_mins(1), "listening");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let event = serde_json::json!({
        "specversion": "1.0", "id": "42", "source": "/ci", "type": EVENT_TYPE, "data": { "text": "deploy 42" },
    })
    .to_string();
    let now = jiff::Timestamp::now().as_second();
    let secret = SecretString::from(SECRET);
    let signed = |body: &str, timestamp: i64| {
        vec![
            (TIMESTAMP_HEADER, timestamp.to_string()),
            (SIGNATURE_HEADER, sign(&secret, timestamp, body.as_bytes())),
        ]
    };
    let (status, first) = post(port, &signed(&event, now), &event).await;
    assert_eq!(status, 202, "{first}");
    let (status, second) = post(port, &signed(&event, now), &event).await;
    assert_eq!((status, &first), (202, &second), "the same request");
    for (headers, body, expected) in [
        (vec![], event.clone(), 401),
        (signed("other", now), event.clone(), 401),
        (signed(&event, now - 3_600), event.clone(), 401),
        (signed(&event[..30], now), event[..30].to_owned(), 400),
        (signed("{}", now), "{}".to_owned(), 400),
        (vec![], "x".repeat(300 * 1024), 413),
    ] {
        let (status, answer) = post(port, &headers, &body).await;
        assert_eq!(status, expected, "{answer}");
    }
    let begun = Instant::now();
    loop {
        let requests = commands::list(&world.client, false).await.expect("a list");
        if requests.len() == 1 {
            assert!(first.contains(&requests[0].id));
            break;
        }
        assert!(
            requests.len() < 2 && begun.elapsed() < Duration::from_mins(1),
            "{requests:?}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    receiver.kill().expect("ended");
    receiver.wait().expect("ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_without_a_worker_says_so_and_takes_effect_later() {
    let world = World::new("noworker").await;
    let id = commands::start(&world.client, request("deploy"), None)
        .await
        .expect("started");
    let waiting = world.run(&["approve", &id]);
    assert_eq!(waiting.status.code(), Some(1));
    assert!(
        text(&waiting.stderr).contains("no worker responded within 10 s"),
        "{}",
        text(&waiting.stderr)
    );
    let mut worker = world.worker(None).await;
    let outcome = result(&world, &id).await;
    assert!(outcome.decision.is_some_and(|decision| decision.approved));
    worker.stop();
    worker.wait().await.expect("drained");
}
