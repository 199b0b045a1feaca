//! Starts a stack, breaks its components one by one, and checks that the doctor finds each problem.

use std::process::Command;
use std::time::{Duration, Instant};

use temporal_stack::certificates;
use temporal_stack::client::serving;
use temporal_stack::database::pooled;
use temporal_stack::place::DATABASES;
use temporal_stack::process::{self, State};
use temporal_stack::roles::Member;
use temporalio_client::Client;
use temporalio_client::grpc::{OperatorService, WorkflowService};
use temporalio_client::tonic::IntoRequest;
use temporalio_common::protos::temporal::api::operatorservice::v1::{
    DeleteNamespaceRequest, RemoveSearchAttributesRequest,
};
use temporalio_common::protos::temporal::api::workflowservice::v1::CountWorkflowExecutionsRequest;

use crate::harness::{NAMESPACE, Running, found, healthy, noted, text};

/// Starts the next step and prints how long each one takes.
struct Steps(Instant);

impl Steps {
    fn next(&mut self, name: &str) {
        println!("{:>5.0} s  {name}", self.0.elapsed().as_secs_f64());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a whole stack: .ci/full"]
async fn the_stack_comes_up_and_the_doctor_finds_what_is_broken() {
    let running = Running::new("127.92", |text| {
        text + "\n[[namespace]]\nname = \"spare\"\nretention_days = 1\nsearch_attributes = { Owner = \"Keyword\" }\n"
    });
    let mut steps = Steps(Instant::now());
    steps.next("up");
    running.up(&[]);
    let status = running.run(&["status"]);
    assert_eq!(
        status.lines().filter(|line| line.contains(" serving ")).count(),
        9,
        "{status}"
    );
    healthy(&running);
    let client = running.client().await;
    steps.next("the autopilot works");
    the_autopilot_works(&client).await;
    steps.next("up again changes nothing");
    let before = running.run(&["status"]);
    running.up(&[]);
    assert_eq!(running.run(&["status"]), before, "no process was restarted");
    assert!(running.run(&["apply", "--dry-run"]).contains("nothing to change"));

    steps.next("roles");
    each_role_dead(&running).await;
    steps.next("membership");
    a_member_that_hangs(&running);
    steps.next("PostgreSQL and PgBouncer");
    databases_down(&running).await;
    steps.next("PgBouncer's configuration");
    pooler_misconfigured(&running);
    steps.next("schemas");
    schemas_of_another_version(&running);
    steps.next("visibility");
    visibility_that_loses_records(&running);
    steps.next("namespaces");
    namespaces_and_attributes_missing(&running, &client).await;
    steps.next("archival");
    archive_that_cannot_be_written(&running);
    steps.next("dynamic configuration");
    dynamic_configuration_ignored(&running);
    steps.next("the autopilot's queue");
    nobody_polls(&running);
    steps.next("certificates");
    certificates_wrong_and_expired(&running);

    steps.next("down and up");
    running.run(&["down"]);
    running.up(&[]);
    healthy(&running);
    steps.next("done");
}

/// A change on the simulated cloud is carried out and verified.
async fn the_autopilot_works(client: &Client) {
    let request = CountWorkflowExecutionsRequest {
        namespace: NAMESPACE.to_owned(),
        query: "WorkflowType = 'CapacityChange' AND ExecutionStatus = 'Completed'".to_owned(),
    };
    let begun = Instant::now();
    loop {
        let mut client = client.clone();
        let counted =
            WorkflowService::count_workflow_executions(&mut client, request.clone().into_request()).await;
        if counted.expect("counted").into_inner().count > 0 {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_mins(5),
            "no change was completed"
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn each_role_dead(running: &Running) {
    for (name, effect) in [
        ("matching-1", "round trip: matching"),
        ("history-1", "round trip: history"),
        ("frontend-1", "client connection"),
        ("worker-1", "process worker-1"),
    ] {
        running.kill(name);
        found(running, &format!("process {name}: died"));
        found(running, effect);
        if name == "matching-1" {
            // The same request as `temporal operator cluster health`.
            let frontend = Member::parse("frontend-1").expect("a member");
            let health = serving(&running.place, &running.stack(), frontend).await;
            assert!(health.is_ok(), "`cluster health` says SERVING: {health:?}");
        }
        running.up(&[]);
        healthy(running);
    }
}

/// A suspended process exists but sends no heartbeats.
fn a_member_that_hangs(running: &Running) {
    let State::Running(pid) = process::state(&running.place, "worker-1") else {
        panic!("it does not run")
    };
    let signal = |signal: &str| {
        let sent = Command::new("kill").args([signal, &pid.to_string()]).status();
        assert!(sent.expect("sent").success());
    };
    signal("-STOP");
    found(running, "membership: no heartbeat of worker-1");
    signal("-CONT");
    healthy(running);
}

async fn databases_down(running: &Running) {
    running.kill("pgbouncer");
    found(running, "PgBouncer: ");
    running.up(&[]);
    healthy(running);
    running.quit_postgres().await;
    let begun = Instant::now();
    found(running, "PostgreSQL: ");
    assert!(
        begun.elapsed() < Duration::from_mins(2),
        "the doctor waits as long as PgBouncer does"
    );
    running.up(&[]);
    healthy(running);
}

fn pooler_misconfigured(running: &Running) {
    let set = |key: &str, value: &str| {
        let stack = running.stack();
        pooled(
            &running.place,
            &stack,
            "pgbouncer",
            &format!("set {key} = '{value}'"),
        )
        .expect("set");
    };
    set("pool_mode", "session");
    found(running, "PgBouncer: session mode, 20 connections per database");
    set("pool_mode", "statement");
    found(running, "PgBouncer: statement mode");
    set("pool_mode", "transaction");
    set("max_client_conn", "50");
    noted(
        running,
        "PgBouncer: transaction mode, 20 connections per database, 50 clients",
    );
    set("max_client_conn", "260");
    set("default_pool_size", "60");
    noted(running, "PostgreSQL accepts 100");
    set("default_pool_size", "20");
    healthy(running);
}

fn schemas_of_another_version(running: &Running) {
    let claim = |database: usize, version: &str| {
        let sql = format!("update schema_version set curr_version = '{version}'");
        running.sql(DATABASES[database], &sql);
    };
    claim(0, "1.17");
    found(running, "schema of temporal: 1.17, and server 1.29.1 needs 1.18");
    assert!(
        running
            .run(&["schema"])
            .contains("upgrading the schema of `temporal` from 1.17 to 1.18")
    );
    healthy(running);
    // A newer schema and a foreign database are rejected and left unchanged.
    claim(1, "1.99");
    noted(running, "schema of temporal_visibility: 1.99, newer than 1.9");
    let said = running.refused(&["schema"]);
    assert!(said.contains("newer than 1.9 of this server"), "{said}");
    claim(1, "0.0");
    found(running, "schema of temporal_visibility: half applied");
    let said = running.refused(&["schema"]);
    assert!(
        said.contains("claims schema 0.0 and contains workflows"),
        "{said}"
    );
    claim(1, "1.9");
    healthy(running);
}

/// Every write succeeds, but the records are lost.
fn visibility_that_loses_records(running: &Running) {
    running.sql(
        DATABASES[1],
        "create function lost() returns trigger language plpgsql as 'begin return null; end'; \
         create trigger lost before insert on executions_visibility for each row execute function lost()",
    );
    found(running, "visibility: a query does not find the probe");
    running.sql(DATABASES[1], "drop function lost cascade");
    healthy(running);
}

async fn namespaces_and_attributes_missing(running: &Running, client: &Client) {
    let request = RemoveSearchAttributesRequest {
        search_attributes: vec!["Owner".to_owned()],
        namespace: "spare".to_owned(),
    };
    OperatorService::remove_search_attributes(&mut client.clone(), request.into_request())
        .await
        .expect("removed");
    found(
        running,
        "namespace spare: + namespace spare: search attribute Owner",
    );
    running.run(&["apply"]);
    healthy(running);
    let request = DeleteNamespaceRequest {
        namespace: "spare".to_owned(),
        ..Default::default()
    };
    OperatorService::delete_namespace(&mut client.clone(), request.into_request())
        .await
        .expect("deleted");
    found(running, "namespace spare: it does not exist");
    running.run(&["apply"]);
    healthy(running);
    assert!(running.run(&["apply", "--dry-run"]).contains("nothing to change"));
}

fn archive_that_cannot_be_written(running: &Running) {
    // This user can write anywhere, except below a file.
    let archive = running.place.folder().join("archive");
    let aside = running.place.folder().join("archive-aside");
    let is_there = archive.exists();
    if is_there {
        std::fs::rename(&archive, &aside).expect("moved");
    }
    std::fs::write(&archive, "").expect("written");
    found(running, "archive/history is not writable");
    std::fs::remove_file(&archive).expect("removed");
    if is_there {
        std::fs::rename(&aside, &archive).expect("moved");
    }
    healthy(running);
}

fn dynamic_configuration_ignored(running: &Running) {
    let good = std::fs::read_to_string(&running.settings).expect("readable");
    let declare = |text: String| {
        std::fs::write(&running.settings, text).expect("written");
        running.up(&[]);
    };
    let key = "\"limit.maxIDLength\" = 255";
    declare(good.replace(key, &format!("{key}\n\"limit.maxIDLenght\" = 255")));
    noted(
        running,
        "dynamic configuration: the server does not recognize limit.maxIDLenght",
    );
    declare(good.replace(key, "\"limit.maxIDLength\" = \"many\""));
    found(
        running,
        "dynamic configuration: validation failed: key \"limit.maxIDLength\"",
    );
    declare(good);
    healthy(running);
}

/// The server lists the pollers of the last few minutes, including those of a dead worker.
fn nobody_polls(running: &Running) {
    running.kill("capacity-worker");
    found(running, "process capacity-worker: died");
    found(running, "task queue of the autopilot: 0 pollers");
    running.up(&[]);
    healthy(running);
}

fn certificates_wrong_and_expired(running: &Running) {
    let authority = running.place.tls().join("client-ca.pem");
    let kept = std::fs::read(&authority).expect("readable");
    std::fs::copy(running.place.tls().join("internode-ca.pem"), &authority).expect("copied");
    found(
        running,
        "certificate of frontend-1: the certificate that it serves was not signed by the authority in ",
    );
    std::fs::write(&authority, kept).expect("written");
    healthy(running);
    let loopback = running.stack().network().loopback.clone();
    let issue = |days| certificates::renew(&running.place.tls(), &loopback, days).expect("issued");
    issue(5);
    noted(
        running,
        "certificate of frontend-1: valid for 5 more days, for frontend.temporal-stack.internal",
    );
    issue(-3);
    found(running, "certificate client.pem: expired on ");
    found(
        running,
        "certificate of frontend-1: the certificate that it serves has expired",
    );
    let status = running.program("temporal-stack", &["status"]);
    assert!(!status.status.success(), "{}", text(&status));
    running.run(&["certificates"]);
    healthy(running);
}
