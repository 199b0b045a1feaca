//! Tests that closed workflows are archived, and can be read after they are deleted from the database.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use temporal_stack::doctor::probe::{complete, start};
use temporalio_client::Client;
use temporalio_client::grpc::WorkflowService;
use temporalio_client::tonic::{Code, IntoRequest};
use temporalio_common::protos::temporal::api::common::v1::WorkflowExecution;
use temporalio_common::protos::temporal::api::enums::v1::EventType;
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    DeleteWorkflowExecutionRequest, DescribeWorkflowExecutionRequest, GetWorkflowExecutionHistoryRequest,
    ListArchivedWorkflowExecutionsRequest,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{NAMESPACE, Running, found, healthy};

const BOUND: Duration = Duration::from_mins(4);

/// Changes the settings to archive at once. By default, a closed workflow waits for up to five minutes.
fn at_once(text: &str) -> String {
    format!("{text}\n\"history.archivalProcessorArchiveDelay\" = \"1s\"\n")
}

/// Runs a workflow to its end and deletes it from the database.
async fn closed_and_deleted(client: &Client, id: &str, is_archived: impl AsyncFn(&str) -> bool) -> String {
    let run = start(client, NAMESPACE, id).await.expect("started");
    complete(client, NAMESPACE).await.expect("completed");
    let begun = Instant::now();
    while !is_archived(&run).await {
        assert!(begun.elapsed() < BOUND, "{id} is not archived");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("archived after {:.1} s", begun.elapsed().as_secs_f64());
    let execution = Some(WorkflowExecution {
        workflow_id: id.to_owned(),
        run_id: run.clone(),
    });
    let request = DeleteWorkflowExecutionRequest {
        namespace: NAMESPACE.to_owned(),
        workflow_execution: execution.clone(),
    };
    WorkflowService::delete_workflow_execution(&mut client.clone(), request.into_request())
        .await
        .expect("deleted");
    loop {
        let request = DescribeWorkflowExecutionRequest {
            namespace: NAMESPACE.to_owned(),
            execution: execution.clone(),
        };
        let described =
            WorkflowService::describe_workflow_execution(&mut client.clone(), request.into_request()).await;
        if described.is_err_and(|status| status.code() == Code::NotFound) {
            return run;
        }
        assert!(begun.elapsed() < BOUND, "{id} is still in the database");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Reads a history as `temporal workflow show` does; the server takes it from the archive.
async fn read_back(client: &Client, id: &str, run: &str) {
    let request = GetWorkflowExecutionHistoryRequest {
        namespace: NAMESPACE.to_owned(),
        execution: Some(WorkflowExecution {
            workflow_id: id.to_owned(),
            run_id: run.to_owned(),
        }),
        ..Default::default()
    };
    let history =
        WorkflowService::get_workflow_execution_history(&mut client.clone(), request.into_request())
            .await
            .expect("read from the archive")
            .into_inner();
    assert!(history.archived, "it comes from the archive");
    let events = history.history.expect("events").events;
    let kinds: Vec<i32> = events.iter().map(|event| event.event_type).collect();
    assert_eq!(kinds.first(), Some(&(EventType::WorkflowExecutionStarted as i32)));
    assert_eq!(
        kinds.last(),
        Some(&(EventType::WorkflowExecutionCompleted as i32))
    );
}

/// Returns the number of records in the visibility archive.
async fn listed(client: &Client, query: &str) -> usize {
    let request = ListArchivedWorkflowExecutionsRequest {
        namespace: NAMESPACE.to_owned(),
        page_size: 10,
        query: query.to_owned(),
        ..Default::default()
    };
    let listed =
        WorkflowService::list_archived_workflow_executions(&mut client.clone(), request.into_request()).await;
    listed.expect("listed").into_inner().executions.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a whole stack: .ci/full"]
async fn workflows_archived_to_files_can_be_read() {
    let running = Running::new("127.88", |text| at_once(&text));
    running.up(&["--without-autopilot"]);
    let client = running.client().await;
    let query = "WorkflowId = 'to-files'";
    let run = closed_and_deleted(&client, "to-files", async |_| listed(&client, query).await == 1).await;
    read_back(&client, "to-files", &run).await;
    assert_eq!(listed(&client, query).await, 1, "the list keeps it");
    healthy(&running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a whole stack: .ci/full"]
async fn workflows_archived_to_s3_can_be_read() {
    let bucket = Bucket::serve("127.89.0.9:9000").await;
    let running = Running::new("127.89", |text| {
        at_once(&text).replace(
            "[archival]",
            "[archival]\nhistory = \"s3://temporal-archive/history\"\nvisibility = \"s3://temporal-archive/visibility\"\n\
             s3_region = \"eu-central-1\"\ns3_endpoint = \"http://127.89.0.9:9000\"",
        )
    })
    .with_variables(&[
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "not-a-secret"),
    ]);
    // The server checks the bucket when archival is enabled for a namespace.
    let said = running.up_refused(&["--without-autopilot"]);
    assert!(
        said.contains("cannot create the namespace capacity")
            && said.contains("s3://temporal-archive/history"),
        "{said}"
    );
    bucket.create("temporal-archive");
    running.up(&["--without-autopilot"]);
    let client = running.client().await;
    let query = "WorkflowId = 'to-s3'";
    let run = closed_and_deleted(&client, "to-s3", async |_| listed(&client, query).await == 1).await;
    read_back(&client, "to-s3", &run).await;
    let keys = bucket.keys();
    assert!(
        keys.iter()
            .any(|key| key.starts_with("temporal-archive/history/") && key.contains("to-s3")),
        "{keys:?}"
    );
    healthy(&running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a whole stack: .ci/full"]
async fn credentials_for_gcs_are_checked_before_the_server_ignores_them() {
    let running = Running::new("127.90", |text| {
        text.replace(
            "[archival]",
            "[archival]\nhistory = \"gs://temporal-archive/history\"\nvisibility = \"gs://temporal-archive/visibility\"\n\
             gcs_credentials = \"/nonexistent/gcs.json\"",
        )
    });
    // The server itself would silently use the machine's credentials.
    let said = running.up_refused(&["--without-autopilot"]);
    assert!(
        said.contains("archival.gcs_credentials") && said.contains("/nonexistent/gcs.json"),
        "{said}"
    );
    // An unknown key: the server starts with the archive, but rejects the namespace.
    let key = running.folder.join("gcs.json");
    let account = serde_json::json!({
        "type": "service_account", "project_id": "test", "private_key_id": "1", "private_key": "none",
        "client_email": "archive@test.invalid", "client_id": "1", "token_uri": "http://127.90.0.9:9/token",
    });
    std::fs::write(&key, account.to_string()).expect("written");
    let text = std::fs::read_to_string(&running.settings).expect("readable");
    let text = text.replace("/nonexistent/gcs.json", &key.display().to_string());
    std::fs::write(&running.settings, text).expect("written");
    let said = running.up_refused(&["--without-autopilot"]);
    assert!(
        said.contains("cannot create the namespace capacity")
            && said.contains("gs://temporal-archive/history"),
        "{said}"
    );
    found(&running, "namespace capacity: it does not exist");
}

/// The part of S3 that an archive needs: buckets, objects, and lists by prefix. It does not verify
/// signatures.
#[derive(Clone, Default)]
struct Bucket {
    objects: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    buckets: Arc<Mutex<Vec<String>>>,
}

impl Bucket {
    async fn serve(address: &str) -> Self {
        let bucket = Self::default();
        let listener = TcpListener::bind(address).await.expect("a port");
        let served = bucket.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let served = served.clone();
                tokio::spawn(async move { served.talk(stream).await });
            }
        });
        bucket
    }

    fn create(&self, name: &str) {
        self.buckets.lock().expect("unpoisoned").push(name.to_owned());
    }

    fn keys(&self) -> Vec<String> {
        self.objects.lock().expect("unpoisoned").keys().cloned().collect()
    }

    async fn talk(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut first = String::new();
            if stream.read_line(&mut first).await? == 0 {
                return Ok(());
            }
            let mut length = 0;
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).await?;
                let line = line.trim_end().to_ascii_lowercase();
                if line.is_empty() {
                    break;
                }
                if let Some(value) = line.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap_or(0);
                }
                if line.starts_with("expect: 100-continue") {
                    stream
                        .get_mut()
                        .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
                        .await?;
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await?;
            let mut words = first.split(' ');
            let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let (status, answer) = self.answer(method, target, body);
            let head = format!(
                "HTTP/1.1 {status} -\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\r\n",
                answer.len()
            );
            stream.get_mut().write_all(head.as_bytes()).await?;
            if method != "HEAD" {
                stream.get_mut().write_all(&answer).await?;
            }
        }
    }

    fn answer(&self, method: &str, target: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = decoded(path.trim_start_matches('/').trim_end_matches('/'));
        let bucket = path.split('/').next().unwrap_or_default().to_owned();
        if !self.buckets.lock().expect("unpoisoned").contains(&bucket) {
            let error = "<Error><Code>NoSuchBucket</Code><Message>none</Message></Error>";
            return (404, error.as_bytes().to_vec());
        }
        let mut objects = self.objects.lock().expect("unpoisoned");
        if path == bucket {
            return (200, list(&bucket, query, &objects).into_bytes());
        }
        match (method, objects.get(&path)) {
            ("PUT", _) => {
                objects.insert(path, body);
                (200, Vec::new())
            }
            ("GET" | "HEAD", Some(object)) => (200, object.clone()),
            _ => {
                let error = "<Error><Code>NoSuchKey</Code><Message>none</Message></Error>";
                (404, error.as_bytes().to_vec())
            }
        }
    }
}

/// Lists keys with a prefix. Keys with a delimiter after it are grouped.
fn list(bucket: &str, query: &str, objects: &BTreeMap<String, Vec<u8>>) -> String {
    let of = |name: &str| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
            .map(decoded)
            .unwrap_or_default()
    };
    let (prefix, delimiter) = (of("prefix"), of("delimiter"));
    let mut contents = Vec::new();
    let mut common = Vec::new();
    for key in objects.keys() {
        let Some(key) = key.strip_prefix(bucket).and_then(|key| key.strip_prefix('/')) else {
            continue;
        };
        let Some(rest) = key.strip_prefix(&prefix) else {
            continue;
        };
        match rest.split_once('/') {
            Some((folder, _)) if delimiter == "/" => common.push(format!("{prefix}{folder}/")),
            _ => contents.push(format!("<Contents><Key>{key}</Key></Contents>")),
        }
    }
    common.dedup();
    contents.extend(
        common
            .iter()
            .map(|prefix| format!("<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>")),
    );
    let contents = contents.concat();
    format!("<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>")
}

/// Decodes percent-encoding.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = after
            .get(..2)
            .and_then(|code| std::str::from_utf8(code).ok())
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        match (byte, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest = &after[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = after;
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
