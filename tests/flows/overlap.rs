//! Tests that the list, the metrics and capacity info are read concurrently where they do not depend on each other.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use capacity_autopilot::{Autopilot, AutopilotSettings, Evaluation, Scope, Warning};
use capacity_engine::Rules;
use cloud_ops_client::Client;
use cloud_simulator::{Account, Load, NamespaceSetup, SimulatorOptions};
use jiff::{SignedDuration, Timestamp};
use openmetrics_reader::scrape::Scraper;
use wiremock::matchers::{method, path, path_regex};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::harness::{World, options, outcomes};

/// Counts events that other requests wait for.
#[derive(Clone, Default)]
struct Happened(Arc<(Mutex<usize>, Condvar)>);

impl Happened {
    fn once_more(&self) -> usize {
        let mut count = self.0.0.lock().expect("not poisoned");
        *count += 1;
        self.0.1.notify_all();
        *count
    }

    /// Waits for this number of events and returns the response. Returns an error if that takes too long, which happens
    /// if one read starts only after the other.
    fn or_fail(&self, times: usize, answer: ResponseTemplate) -> ResponseTemplate {
        let count = self.0.0.lock().expect("not poisoned");
        let waited = self
            .0
            .1
            .wait_timeout_while(count, Duration::from_mins(1), |count| *count < times);
        if waited.expect("not poisoned").1.timed_out() {
            ResponseTemplate::new(400)
        } else {
            answer
        }
    }
}

fn json(body: &str) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw(body, "application/json")
}

/// Returns a page of the list of namespaces.
fn page(names: &[&str], next: &str) -> ResponseTemplate {
    let namespaces: Vec<String> = names
        .iter()
        .map(|name| {
            format!(r#"{{"namespace":"{name}.a1b2c","resourceVersion":"1","state":"RESOURCE_STATE_ACTIVE"}}"#)
        })
        .collect();
    json(&format!(
        r#"{{"namespaces":[{}],"nextPageToken":"{next}"}}"#,
        namespaces.join(",")
    ))
}

/// Returns a response with one minute of metrics.
fn metrics(names: &[&str], throttled: &[&str]) -> ResponseTemplate {
    let minute = (Timestamp::now().as_second() - 180).div_euclid(60) * 60;
    let lines = names.iter().map(|name| {
        let of = |family: &str, value: u32| {
            format!(
                "temporal_cloud_v1_{family}{{temporal_namespace=\"{name}\",temporal_account=\"a1b2c\"}} {value} {minute}\n"
            )
        };
        [
            of("total_action_count", 500),
            of("total_action_throttled_count", if throttled.contains(name) { 60 } else { 0 }),
            of("action_limit", 500),
            of("action_on_demand_envelope_limit", 500),
            of("service_request_count", 10),
            of("service_request_limit", 2_000),
            of("service_request_on_demand_envelope_limit", 2_000),
            of("operations_count", 10),
            of("operations_limit", 4_000),
            of("operations_on_demand_envelope_limit", 4_000),
        ]
        .concat()
    });
    let text = lines.collect::<String>() + "# EOF\n";
    ResponseTemplate::new(200)
        .insert_header("X-Completeness", "complete")
        .set_body_raw(text, "application/openmetrics-text")
}

/// A service whose APIs run on separate threads, so that one can wait for the other.
struct Service {
    ops: MockServer,
    metrics: MockServer,
}

impl Service {
    async fn start() -> Self {
        Self {
            ops: MockServer::start().await,
            metrics: MockServer::start().await,
        }
    }

    fn autopilot(&self, points_per_answer: usize) -> Autopilot {
        let ops = cloud_ops_client::Config::try_new(&self.ops.uri(), "key".into()).expect("valid");
        let metrics = openmetrics_reader::scrape::Config::try_new(&self.metrics.uri(), "key".into());
        let mut metrics = metrics.expect("valid");
        metrics.points_per_answer = points_per_answer;
        let settings = AutopilotSettings::new(Rules::default());
        Autopilot::new(Client::new(ops), Scraper::new(metrics), settings)
    }

    async fn answer_ops(
        &self,
        route: &str,
        answer: impl Fn(&Request) -> ResponseTemplate + Send + Sync + 'static,
    ) {
        let mock = Mock::given(method("GET")).and(path_regex(route));
        mock.respond_with(answer).mount(&self.ops).await;
    }

    async fn answer_metrics(&self, answer: impl Fn(&Request) -> ResponseTemplate + Send + Sync + 'static) {
        let mock = Mock::given(method("GET")).and(path("/v1/metrics"));
        mock.respond_with(answer).mount(&self.metrics).await;
    }
}

async fn evaluate(autopilot: &Autopilot) -> Evaluation {
    autopilot.evaluate(&Scope::All).await.expect("evaluated")
}

const INFO: &str = "^/cloud/namespaces/.*/capacity-info$";

/// Returns the capacity info of an on-demand namespace.
fn info() -> ResponseTemplate {
    json(
        r#"{"capacityInfo":{"currentCapacity":{"onDemand":{}},"modeOptions":{"onDemand":{"apsLimit":500},
            "provisioned":{"validTruValues":[2,3,4,6,8,10,12],"maxAvailableTruValue":12}}}}"#,
    )
}

fn is_second_page(request: &Request) -> bool {
    request
        .url
        .query()
        .is_some_and(|query| query.contains("pageToken"))
}

#[tokio::test]
async fn metrics_are_read_while_the_rest_of_the_list_arrives() {
    let service = Service::start().await;
    let scraped = Happened::default();
    let (lists, until) = (AtomicUsize::new(0), scraped.clone());
    service
        .answer_ops("^/cloud/namespaces$", move |request| {
            if !is_second_page(request) {
                return page(&["orders"], "2");
            }
            // In the first evaluation, the names are unknown until they are listed.
            let times = lists.fetch_add(1, Ordering::Relaxed);
            until.or_fail(2 * times, page(&["pay"], ""))
        })
        .await;
    service.answer_ops(INFO, |_| info()).await;
    service
        .answer_metrics(move |_| {
            scraped.once_more();
            metrics(&["orders", "pay"], &["pay"])
        })
        .await;
    let autopilot = service.autopilot(30_000);
    for _ in 0..2 {
        let evaluation = evaluate(&autopilot).await;
        assert_eq!(evaluation.account.metrics_requests, 1);
        assert_eq!(
            (evaluation.account.errors, evaluation.account.warnings),
            (Vec::new(), Vec::<Warning>::new())
        );
        assert_eq!(evaluation.decisions.len(), 2);
    }
}

#[tokio::test]
async fn capacity_infos_are_read_while_details_are_read() {
    let service = Service::start().await;
    let (scraped, asked) = (Happened::default(), Happened::default());
    service
        .answer_ops("^/cloud/namespaces$", |_| page(&["orders", "pay"], ""))
        .await;
    let (until, happens) = (scraped.clone(), asked.clone());
    service
        .answer_ops(INFO, move |_| {
            happens.once_more();
            until.or_fail(2, info())
        })
        .await;
    service
        .answer_metrics(move |_| match scraped.once_more() {
            1 => metrics(&["orders", "pay"], &["pay"]),
            _ => asked.or_fail(1, metrics(&["orders", "pay"], &["pay"])),
        })
        .await;
    // Too few points for all families of two namespaces: those with many series are read for the candidate only.
    let evaluation = evaluate(&service.autopilot(150)).await;
    assert_eq!(
        (evaluation.account.metrics_requests, &evaluation.account.errors),
        (2, &Vec::new())
    );
    insta::assert_snapshot!(outcomes(&evaluation).join("\n"), @r"
    orders: Keep quiet
    pay: Enable 6 TRUs throttled
    ");
}

#[tokio::test]
async fn namespaces_added_or_deleted_since_the_last_list_are_detected() {
    let service = Service::start().await;
    let lists = AtomicUsize::new(0);
    service
        .answer_ops("^/cloud/namespaces$", move |_| {
            match lists.fetch_add(1, Ordering::Relaxed) {
                0 => page(&["orders", "pay"], ""),
                1 => page(&["orders", "pay", "reports"], ""),
                _ => page(&["pay"], ""),
            }
        })
        .await;
    service.answer_ops(INFO, |_| info()).await;
    service
        .answer_metrics(|_| metrics(&["orders", "pay", "reports"], &["reports"]))
        .await;
    let autopilot = service.autopilot(30_000);
    evaluate(&autopilot).await;
    let added = evaluate(&autopilot).await;
    insta::assert_snapshot!(outcomes(&added).join("\n"), @r"
    orders: Keep quiet
    pay: Keep quiet
    reports: Enable 6 TRUs throttled
    ");
    assert_eq!(
        added.account.metrics_requests, 2,
        "read again, with the namespace that was added"
    );
    assert_eq!(added.account.warnings, Vec::<Warning>::new());
    let deleted = evaluate(&autopilot).await;
    assert_eq!(
        (deleted.decisions.len(), deleted.account.metrics_requests),
        (1, 1)
    );
    insta::assert_snapshot!(deleted.account.warnings[0].to_string(), @"the metrics show 2 namespaces that the Cloud Ops API does not list (orders.a1b2c, reports.a1b2c): the Cloud Ops key may lack access to them");
}

#[tokio::test]
async fn concurrent_evaluations_make_the_same_decisions() {
    let namespaces = vec![
        NamespaceSetup::new("idle", Load::Idle).with_trus(4),
        NamespaceSetup::new("quiet", Load::Steady(5.0)),
        NamespaceSetup::new("throttled", Load::Steady(560.0)),
    ];
    let world = World::new(SimulatorOptions {
        speed: 0.0,
        ..options(Account::new("a1b2c", namespaces))
    })
    .await;
    let first = outcomes(&world.evaluate().await);
    assert_eq!(outcomes(&world.evaluate().await), first);
    world.cloud.advance(SignedDuration::from_mins(1));
    assert_eq!(outcomes(&world.evaluate().await), first);
}
