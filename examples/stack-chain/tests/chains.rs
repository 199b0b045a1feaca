//! Tests of whole chains on a real Temporal server, with the simulated account and the webhook receiver.

mod alerts;
mod harness;
mod jobs;
mod replay;
mod reports;

use std::time::{Duration, Instant};

use harness::{World, command, process, settings, with_world};
use stack_chain::progress::Outcome;
use stack_chain::simulator::{Fault, SimRun, SimStack, event, post_event};
use stack_chain::workflows::{BUDGET_ID, run_workflow_id};
use stack_chain::workflows::{ChainReport, StackDependencyChain, StackExecution, chain_id, execution_id};
use temporalio_client::WorkflowQueryOptions;

fn outcome(report: &ChainReport, stack: &str) -> Outcome {
    report
        .results
        .iter()
        .find(|it| it.stack == stack)
        .unwrap_or_else(|| panic!("no result of {stack}: {report:?}"))
        .outcome
}

fn runs_of<'a>(runs: &'a [SimRun], stack: &str) -> Vec<&'a SimRun> {
    runs.iter().filter(|run| run.stack == stack).collect()
}

/// Asserts that every stack ran once, after all of its dependencies.
fn assert_in_order(runs: &[SimRun], stacks: &[SimStack]) {
    for stack in stacks {
        let own = runs_of(runs, &stack.id);
        assert_eq!(own.len(), 1, "{} ran {} times", stack.id, own.len());
        for parent in stack
            .labels
            .iter()
            .filter_map(|label| label.strip_prefix("dependsOn:"))
        {
            let ended = runs_of(runs, parent)[0].ends.expect("ended");
            assert!(
                own[0].triggered >= ended,
                "{} was triggered before {parent} ended",
                stack.id
            );
        }
    }
}

/// Returns layers of ten stacks. Each stack depends on three stacks of the layer above, which results in many
/// diamonds.
fn diamonds(layers: usize, run_time: Duration) -> Vec<SimStack> {
    let name = |layer: usize, at: usize| format!("s{layer:02}-{}", at % 10);
    let mut stacks = vec![SimStack::new("network", &[])];
    for layer in 0..layers {
        for at in 0..10 {
            let parents = match layer {
                0 => vec!["network".to_owned()],
                _ => [0, 1, 3].map(|step| name(layer - 1, at + step)).to_vec(),
            };
            let mut stack = SimStack::new(&name(layer, at), &[]);
            stack.labels = parents
                .iter()
                .map(|parent| format!("dependsOn:{parent}"))
                .collect();
            stack.run_time = run_time;
            stacks.push(stack);
        }
    }
    stacks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_stacks_in_diamonds_run_once_each_after_their_dependencies() {
    let stacks = diamonds(20, Duration::from_millis(50));
    with_world("diamonds", stacks.clone(), settings(), async |world: &World| {
        // Deliver each event twice.
        world.simulator.deliver_to(&world.webhooks(), 2);
        let started = Instant::now();
        let report = world.chain_after("network").await;
        println!("200 stacks took {:.1} s", started.elapsed().as_secs_f64());
        assert_eq!(report.results.len(), 200);
        assert!(report.is_success(), "{}", report.summary());
        assert!(
            report
                .results
                .iter()
                .all(|it| it.run.is_some() && it.branch.as_deref() == Some("main"))
        );
        assert_in_order(&world.simulator.runs(), &stacks);
        world.until_no_event_is_open().await;
        assert_eq!(
            world.chains().await.len(),
            1,
            "a run of the chain started another chain"
        );
        // An event that arrives after the chain has ended.
        let run = world
            .simulator
            .runs()
            .into_iter()
            .find(|run| run.stack == "s05-5")
            .expect("ran");
        let (status, answer) = post_event(&world.webhooks(), &event(&run, &stacks[56]))
            .await
            .expect("answered");
        assert_eq!(
            (status, answer.contains("\"duplicate\":true")),
            (202, true),
            "{answer}"
        );
        assert_eq!(world.simulator.refusals(), [] as [&str; 0]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_midway_repeats_and_loses_nothing() {
    let stacks = diamonds(3, Duration::from_millis(700));
    with_world("killed", stacks.clone(), settings(), async |world: &World| {
        world.stop_worker();
        let (mut first, port) = process(world, &["serve"]).await;
        world
            .simulator
            .deliver_to(&format!("http://127.0.0.1:{port}/webhooks/spacelift"), 1);
        let origin = world.simulator.trigger_by("network", Some("ann")).expect("known");
        world
            .until("12 runs", || world.simulator.runs().len() >= 12)
            .await;
        // The worker and the receiver are both down, so events are lost.
        first.kill().await.expect("killed");
        let before = world.simulator.runs().len();
        assert!(before < 31, "killed too late");
        let (_second, port) = process(world, &["serve"]).await;
        world
            .simulator
            .deliver_to(&format!("http://127.0.0.1:{port}/webhooks/spacelift"), 1);
        let report = world.report_of(&origin).await;
        assert!(report.is_success(), "{}", report.summary());
        assert_in_order(&world.simulator.runs(), &stacks);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_faults_during_a_chain_repeat_no_run() {
    let parents = ["a", "b", "c", "d", "e", "f"];
    let mut stacks = vec![SimStack::new("a", &["chain-window:UTC daily 00:00-24:00"])];
    stacks.extend(
        parents
            .windows(2)
            .map(|pair| SimStack::new(pair[1], &[&format!("dependsOn:{}", pair[0])])),
    );
    with_world("faults", stacks.clone(), settings(), async |world: &World| {
        let faults = [
            ("Stacks", Fault::TooMany(1)),
            ("Stacks", Fault::Html),
            ("Trigger", Fault::Lost),
            ("Trigger", Fault::TooMany(1)),
            ("Trigger", Fault::Expired),
            ("Trigger", Fault::Html),
            ("Trigger", Fault::Unauthorized),
            ("Run", Fault::Unauthorized),
            ("Run", Fault::Html),
            ("Run", Fault::Expired),
            ("Runs", Fault::Expired),
            ("Runs", Fault::TooMany(1)),
        ];
        for (operation, fault) in faults {
            world.simulator.fail_next(operation, fault);
        }
        let report = world.chain_after("a").await;
        assert!(report.is_success(), "{report:?}");
        assert_in_order(&world.simulator.runs(), &stacks);
        world.until_no_event_is_open().await;
        assert_eq!(world.chains().await.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_retried_and_decide_about_dependents() {
    let mut flaky = SimStack::new("flaky", &["dependsOn:network", "chain-retry:2,1s"]);
    flaky.failures = 1;
    let mut broken = SimStack::new("broken", &["dependsOn:network"]);
    broken.failures = 5;
    let stacks = vec![
        SimStack::new("network", &[]),
        flaky,
        broken,
        SimStack::new("app", &["depends-on:broken,flaky"]),
        SimStack::new("alarm", &["dependsOn:broken", "chain-run:on-failure"]),
        SimStack::new("report", &["dependsOn:app", "chain-run:always"]),
    ];
    with_world("failures", stacks, settings(), async |world: &World| {
        let report = world.chain_after("network").await;
        let attempts = report
            .results
            .iter()
            .find(|it| it.stack == "flaky")
            .map(|it| it.attempts);
        assert_eq!(
            (outcome(&report, "flaky"), attempts),
            (Outcome::Succeeded, Some(2))
        );
        assert_eq!(outcome(&report, "broken"), Outcome::Failed);
        assert_eq!(outcome(&report, "app"), Outcome::Skipped);
        assert_eq!(outcome(&report, "alarm"), Outcome::Succeeded);
        assert_eq!(outcome(&report, "report"), Outcome::Succeeded);
        assert!(!report.is_success());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_critical_stack_waits_for_approval_and_a_run_for_its_person() {
    let mut manual = SimStack::new("manual", &["dependsOn:vault"]);
    manual.autodeploy = false;
    manual.contexts = vec!["aws-production".to_owned()];
    let stacks = vec![
        SimStack::new("network", &[]),
        SimStack::new("vault", &["dependsOn:network", "critical"]),
        manual,
    ];
    with_world("approval", stacks, settings(), async |world: &World| {
        let origin = world.simulator.trigger_by("network", Some("ann")).expect("known");
        let chain = world.chain_of(&origin).await;
        world.until_phase(&chain, "vault", "waits for approval").await;
        assert!(runs_of(&world.simulator.runs(), "vault").is_empty());
        let (code, _, error) = command(
            world,
            &["chains", "approve", &chain, "vault", "--reason", "planned"],
        )
        .await;
        assert_eq!(code, 0, "{error}");
        world
            .until_phase(&chain, "manual", "waits for a person to confirm")
            .await;
        let (code, shown, error) = command(world, &["chains", "show", &chain]).await;
        assert_eq!(code, 0, "{error}");
        let run = runs_of(&world.simulator.runs(), "manual")[0].id.clone();
        let url = format!("{}/stack/manual/run/{run}", world.simulator.endpoint());
        for expected in [
            "manual",
            "waits for a person to confirm",
            &url,
            "UNCONFIRMED",
            "aws-production",
        ] {
            assert!(shown.contains(expected), "`{expected}` is missing:\n{shown}");
        }
        world.simulator.confirm(&run);
        let report = world.report_of(&origin).await;
        assert!(report.is_success(), "{report:?}");
        let approval = report
            .results
            .iter()
            .find(|it| it.stack == "vault")
            .and_then(|it| it.approval.clone());
        assert!(
            approval.as_deref().is_some_and(|it| it.ends_with(": planned")),
            "{approval:?}"
        );
        // A decision about a stack that has ended.
        let (code, _, error) = command(world, &["chains", "reject", &chain, "vault"]).await;
        assert_eq!(code, 1);
        assert!(error.contains("has already"), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canceled_chain_stops_its_runs_and_starts_no_others() {
    let mut slow = SimStack::new("slow", &["dependsOn:network"]);
    slow.run_time = Duration::from_mins(10);
    let stacks = vec![
        SimStack::new("network", &[]),
        slow,
        SimStack::new("app", &["dependsOn:slow"]),
    ];
    with_world("cancel", stacks, settings(), async |world: &World| {
        let origin = world.simulator.trigger_by("network", Some("ann")).expect("known");
        let chain = world.chain_of(&origin).await;
        world.until_phase(&chain, "slow", "running").await;
        let (code, _, error) =
            command(world, &["chains", "cancel", &chain, "--reason", "wrong branch"]).await;
        assert_eq!(code, 0, "{error}");
        let report = world.report_of(&origin).await;
        assert!(
            report
                .canceled
                .as_deref()
                .is_some_and(|why| why.contains("wrong branch")),
            "{report:?}"
        );
        assert_eq!(
            (outcome(&report, "slow"), outcome(&report, "app")),
            (Outcome::ChainCanceled, Outcome::ChainCanceled)
        );
        let runs = world.simulator.runs();
        assert_eq!(runs_of(&runs, "slow")[0].state(Instant::now()), "STOPPED");
        assert!(runs_of(&runs, "app").is_empty());
        let (code, _, error) = command(world, &["chains", "cancel", &chain]).await;
        assert_eq!((code, error.contains("has already")), (1, true), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_per_hour_are_limited_over_all_chains() {
    let stacks = vec![
        SimStack::new("network", &[]),
        SimStack::new("app", &["dependsOn:network", "chain-max-per-hour:1"]),
    ];
    with_world("budget", stacks, settings(), async |world: &World| {
        let report = world.chain_after("network").await;
        assert!(report.is_success(), "{report:?}");
        let second = world.simulator.trigger_by("network", Some("ann")).expect("known");
        let chain = world.chain_of(&second).await;
        world
            .until_phase(&chain, "app", "for the limit of runs per hour")
            .await;
        assert_eq!(runs_of(&world.simulator.runs(), "app").len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_label_added_during_a_chain_cannot_close_a_cycle() {
    let mut slow = SimStack::new("b", &["dependsOn:a"]);
    slow.run_time = Duration::from_secs(2);
    let stacks = vec![
        SimStack::new("a", &[]),
        slow,
        SimStack::new("c", &["dependsOn:b"]),
        SimStack::new("d", &["dependsOn:c"]),
    ];
    with_world("cycle", stacks, settings(), async |world: &World| {
        let origin = world.simulator.trigger_by("a", Some("ann")).expect("known");
        let chain = world.chain_of(&origin).await;
        world.until_phase(&chain, "b", "running").await;
        world
            .simulator
            .change("c", |stack| stack.labels.push("dependsOn:d".to_owned()));
        let report = world.report_of(&origin).await;
        let why = report
            .results
            .iter()
            .find(|it| it.stack == "c")
            .and_then(|it| it.why.clone())
            .unwrap_or_default();
        assert!(why.contains("dependency cycle c -> d -> c"), "{why}");
        assert_eq!(
            (outcome(&report, "b"), outcome(&report, "d")),
            (Outcome::Succeeded, Outcome::Skipped)
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unclaimed_run_starts_its_own_chain() {
    let mut slow = SimStack::new("b", &["dependsOn:a"]);
    slow.run_time = Duration::from_secs(3);
    let stacks = vec![
        SimStack::new("a", &[]),
        slow,
        SimStack::new("c", &["dependsOn:b"]),
    ];
    with_world("unclaimed", stacks, settings(), async |world: &World| {
        let origin = world.simulator.trigger_by("a", Some("ann")).expect("known");
        let chain = world.chain_of(&origin).await;
        world.until_phase(&chain, "b", "running").await;
        // A person runs the same stack at the same time; this run queues behind the chain's run.
        let by_hand = world.simulator.trigger_by("b", Some("bob")).expect("known");
        let own = world.report_of(&by_hand).await;
        assert_eq!(
            (own.origin.stack.as_str(), outcome(&own, "c")),
            ("b", Outcome::Succeeded)
        );
        let report = world.report_of(&origin).await;
        assert!(report.is_success(), "{report:?}");
        assert_eq!(
            runs_of(&world.simulator.runs(), "c").len(),
            2,
            "once for each chain"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_webhook_starts_nothing() {
    let stacks = vec![
        SimStack::new("network", &[]),
        SimStack::new("app", &["dependsOn:network"]),
    ];
    with_world("webhooks", stacks.clone(), settings(), async |world: &World| {
        let http = reqwest::Client::new();
        let large = "x".repeat(2 * 1024 * 1024);
        for (body, signature, expected) in [("{}", "sha256=00", 401), (large.as_str(), "sha256=00", 413)] {
            let sent = http
                .post(world.webhooks())
                .header("X-Signature-256", signature)
                .body(body.to_owned())
                .send()
                .await;
            assert_eq!(sent.expect("answered").status().as_u16(), expected);
        }
        let (status, _) = post_event(&world.webhooks(), &serde_json::json!({ "title": "other event" }))
            .await
            .expect("answered");
        assert_eq!(status, 200);
        assert_eq!(world.chains().await, [] as [&str; 0]);
        // Deliver the same genuine event twice.
        let run = world.simulator.trigger_by("network", None).expect("known");
        let report = world.report_of(&run).await;
        assert!(report.is_success());
        let (status, answer) = post_event(&world.webhooks(), &event(&run, &stacks[0]))
            .await
            .expect("answered");
        assert_eq!(
            (status, answer.contains("\"duplicate\":true")),
            (202, true),
            "{answer}"
        );
        let metrics = http
            .get(world.url("/metrics"))
            .send()
            .await
            .expect("answered")
            .text()
            .await
            .expect("text");
        for expected in [
            "stack_chain_webhooks_total{result=\"refused\"} 1",
            "stack_chain_chains_total{result=\"success\"} 1",
        ] {
            assert!(metrics.contains(expected), "{metrics}");
        }
        assert_eq!(
            http.get(world.url("/readyz"))
                .send()
                .await
                .expect("answered")
                .status()
                .as_u16(),
            200
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trigger_list_report_and_connection_check_work_as_commands() {
    let stacks = vec![
        SimStack::new("network", &[]),
        SimStack::new("app", &["dependsOn:network"]),
    ];
    with_world("commands", stacks, settings(), async |world: &World| {
        let (code, id, error) = command(world, &["trigger", "network"]).await;
        assert_eq!(code, 0, "{error}");
        let report = world.result_of(id.trim()).await;
        let ran: Vec<&str> = report.results.iter().map(|it| it.stack.as_str()).collect();
        assert_eq!((ran, report.is_success()), (vec!["network", "app"], true));
        world.until_listed(1).await;
        let (_, list, _) = command(world, &["chains", "list"]).await;
        assert!(list.contains(id.trim()) && list.contains("Completed"), "{list}");
        let (_, table, error) = command(world, &["report", "--from", "2020-01-01"]).await;
        assert!(
            table.contains(id.trim()) && table.contains("2 succeeded"),
            "{table}{error}"
        );
        let (code, _, error) = command(world, &["trigger", "netwrk"]).await;
        assert_eq!(
            (code, error.contains("did you mean `network`?")),
            (1, true),
            "{error}"
        );
        let (code, checked, error) = command(world, &["connection-check"]).await;
        assert_eq!(code, 0, "{checked}{error}");
        assert!(
            checked.contains(&world.namespace) && checked.contains("2 stacks"),
            "{checked}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_of_this_run_replay() {
    let mut flaky = SimStack::new(
        "app",
        &["dependsOn:network", "chain-retry:2,1s", "chain-max-per-hour:9"],
    );
    flaky.failures = 1;
    let stacks = vec![
        SimStack::new("network", &[]),
        flaky,
        SimStack::new("web", &["dependsOn:app", "chain-window:UTC daily 00:00-24:00"]),
    ];
    with_world("replay", stacks, settings(), async |world: &World| {
        let origin = world.simulator.trigger_by("network", Some("ann")).expect("known");
        let report = world.report_of(&origin).await;
        assert!(report.is_success(), "{report:?}");
        let chain = chain_id(&harness::run_ref(&origin));
        let claimed = report.results[1].run.clone().expect("ran");
        for (kind, id) in [
            ("chain", chain.clone()),
            ("execution", execution_id(&chain, "app")),
            ("window", execution_id(&chain, "web")),
            ("event", run_workflow_id(&origin.id)),
            ("claim", run_workflow_id(&claimed)),
            ("budget", BUDGET_ID.to_owned()),
        ] {
            let history = world.history(&id).await;
            if std::env::var("STACK_CHAIN_RECORD_HISTORIES").as_deref() == Ok("1") {
                std::fs::create_dir_all(replay::folder()).expect("made");
                let file = replay::folder().join(format!("{kind}-{}.pb", env!("CARGO_PKG_VERSION")));
                std::fs::write(file, prost::Message::encode_to_vec(&history)).expect("written");
            }
            replay::replay(history)
                .await
                .unwrap_or_else(|error| panic!("{kind}: {error}"));
        }
    })
    .await;
}

/// Queries the phase of a stack, as `chains show` prints it.
impl World {
    async fn until_phase(&self, chain: &str, stack: &str, phase: &str) {
        let started = Instant::now();
        loop {
            let handle = self
                .client
                .get_workflow_handle::<StackExecution>(execution_id(chain, stack));
            let asked = handle
                .query(StackExecution::status, (), WorkflowQueryOptions::default())
                .await;
            let now = asked.map(|status| status.phase).unwrap_or_default();
            if now.contains(phase) {
                return;
            }
            assert!(
                started.elapsed() < Duration::from_mins(1),
                "{stack} of {chain} is `{now}`, not `{phase}`"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn chain_of(&self, origin: &SimRun) -> String {
        let id = chain_id(&harness::run_ref(origin));
        let started = Instant::now();
        loop {
            let handle = self
                .client
                .get_workflow_handle::<StackDependencyChain>(id.clone());
            if handle
                .query(StackDependencyChain::status, (), WorkflowQueryOptions::default())
                .await
                .is_ok()
            {
                return id;
            }
            assert!(
                started.elapsed() < Duration::from_mins(1),
                "chain {id} did not start"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
