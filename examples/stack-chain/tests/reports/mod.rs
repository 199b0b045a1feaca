//! Tests of the reports: a Slack channel, a mail server and the audit log are each notified exactly once.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::post;
use slack_notifier::Webhook;
use stack_chain::mail::Mail;
use stack_chain::report::Reporter;
use stack_chain::simulator::SimStack;
use stack_chain::workflows::ChainReport;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use crate::harness::{settings, with_reporter};

/// Texts received, in order.
type Seen = Arc<Mutex<Vec<String>>>;

async fn slack(seen: Seen) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    let router = Router::new().route(
        "/services/x",
        post(async move |body: String| {
            seen.lock().expect("no panic").push(body);
            "ok"
        }),
    );
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/services/x")
}

/// Runs a mail server that rejects the first message temporarily, like greylisting, and accepts the others.
async fn mail_server(seen: Seen) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut is_first = true;
        while let Ok((stream, _)) = listener.accept().await {
            let (reader, mut writer) = stream.into_split();
            let mut lines = BufReader::new(reader).lines();
            let mut message: Option<String> = None;
            let _ = writer.write_all(b"220 test\r\n").await;
            while let Ok(Some(line)) = lines.next_line().await {
                let answer = match &mut message {
                    Some(text) if line == "." => {
                        let text = std::mem::take(text);
                        message = None;
                        if std::mem::take(&mut is_first) {
                            "451 try again later"
                        } else {
                            seen.lock().expect("no panic").push(text);
                            "250 taken"
                        }
                    }
                    Some(text) => {
                        text.push_str(&line);
                        text.push('\n');
                        continue;
                    }
                    None if line == "DATA" => {
                        message = Some(String::new());
                        "354 go on"
                    }
                    None if line == "QUIT" => "221 bye",
                    None => "250 test",
                };
                if writer
                    .write_all(format!("{answer}\r\n").as_bytes())
                    .await
                    .is_err()
                {
                    break;
                }
            }
        }
    });
    format!("smtp://{address}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_is_reported_once_to_slack_by_mail_and_in_the_audit_log() {
    let (posts, mails) = (Seen::default(), Seen::default());
    let folder = tempfile::tempdir().expect("a folder");
    let audit_log = folder.path().join("audit.jsonl");
    let slack = slack_notifier::Config::try_new(slack(Arc::clone(&posts)).await.into()).expect("a URL");
    let mail = Mail::try_new(
        &mail_server(Arc::clone(&mails)).await.into(),
        "Chains <chains@example.com>",
        "ann@example.com, ops@example.com",
    );
    let reporter = Reporter {
        slack: Some(Webhook::new(slack)),
        mail: Some(mail.expect("valid")),
        audit_log: Some(audit_log.clone()),
    };
    let mut broken = SimStack::new("app", &["dependsOn:network"]);
    broken.failures = 1;
    let stacks = vec![SimStack::new("network", &[]), broken];
    with_reporter("reports", stacks, settings(), reporter, async |world| {
        let report = world.chain_after("network").await;
        assert_eq!(report.notes, Vec::<String>::new(), "everything was delivered");
        let posts = posts.lock().expect("no panic").clone();
        assert_eq!(
            posts.len(),
            1,
            "the mail's second attempt posts nothing again: {posts:?}"
        );
        assert!(
            posts[0].contains("Stacks after network: 1 failed") && posts[0].contains("app failed"),
            "{posts:?}"
        );
        let mails = mails.lock().expect("no panic").clone();
        assert_eq!(mails.len(), 1, "{mails:?}");
        for expected in [
            "Subject: Stacks after network: 1 failed",
            "To: ann@example.com, ops@example.com",
            "Message-ID: <stack-chain/network/",
            "Needs attention",
            "app failed",
        ] {
            assert!(
                mails[0].contains(expected),
                "{expected} is missing in {}",
                mails[0]
            );
        }
        let lines = std::fs::read_to_string(&audit_log).expect("an audit log");
        let audited: Vec<ChainReport> = lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(audited.len(), 1);
        assert_eq!(
            (&audited[0].chain, &audited[0].results),
            (&report.chain, &report.results)
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unwritable_audit_log_is_noted_and_fails_no_chain() {
    let folder = tempfile::tempdir().expect("a folder");
    let reporter = Reporter {
        // A folder cannot be opened for writing.
        audit_log: Some(folder.path().to_owned()),
        ..Reporter::default()
    };
    let stacks = vec![
        SimStack::new("network", &[]),
        SimStack::new("app", &["dependsOn:network"]),
    ];
    with_reporter("no-audit-log", stacks, settings(), reporter, async |world| {
        let report = world.chain_after("network").await;
        assert!(report.is_success(), "{report:?}");
        assert!(report.notes[0].contains("not in the audit log: "), "{report:?}");
    })
    .await;
}
