//! Tests of the cloud as a state machine, without a network.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use crate::cloud::{Cloud, Update};
use crate::metrics::{Filter, document};
use crate::refusal::Refusal;
use crate::{
    Access, Account, Faults, Load, MetricsFault, NamespaceSetup, OperationFault, SimulatorOptions, Trace,
};

const PAY: &str = "pay.a1b2c";

fn options(namespaces: Vec<NamespaceSetup>) -> SimulatorOptions {
    let start: Timestamp = "2026-11-20T10:00:00Z".parse().expect("a time");
    SimulatorOptions {
        speed: 0.0,
        start,
        ..SimulatorOptions::new(Account::new("a1b2c", namespaces))
    }
}

fn cloud(load: Load) -> Cloud {
    Cloud::new(options(vec![NamespaceSetup::new("pay", load)]))
}

fn advance(cloud: &mut Cloud, seconds: i64) {
    cloud.clock.advance(SignedDuration::from_secs(seconds));
    cloud.now();
}

fn read(cloud: &mut Cloud, id: &str) -> Value {
    cloud.get(id).expect("visible")["namespace"].take()
}

/// Sends an update as a careful client would.
fn update(cloud: &mut Cloud, id: &str, trus: u32, operation: &str) -> Update {
    let namespace = read(cloud, id);
    let mut spec = namespace["spec"].clone();
    spec["capacitySpec"] = if trus == 0 {
        json!({ "onDemand": {} })
    } else {
        json!({ "provisioned": { "value": trus } })
    };
    Update {
        spec,
        resource_version: namespace["resourceVersion"]
            .as_str()
            .expect("a version")
            .to_owned(),
        operation_id: operation.to_owned(),
    }
}

fn set(cloud: &mut Cloud, trus: u32, operation: &str) -> Result<Value, Refusal> {
    let update = update(cloud, PAY, trus, operation);
    cloud.update(PAY, update)
}

fn refused(result: Result<Value, Refusal>) -> (u16, u8, String) {
    let refusal = result.expect_err("refused");
    (refusal.status, refusal.code, refusal.message)
}

#[test]
fn an_operation_is_pending_in_progress_fulfilled_and_applied_only_later() {
    let mut cloud = cloud(Load::Steady(10.0));
    let answer = set(&mut cloud, 6, "op-1").expect("accepted");
    assert_eq!(answer["asyncOperation"]["state"], "STATE_PENDING");
    assert_eq!(read(&mut cloud, PAY)["state"], "RESOURCE_STATE_UPDATING");
    let states = |cloud: &mut Cloud| {
        let operation = cloud.operation("op-1").expect("known")["asyncOperation"]["state"].take();
        let capacity = read(cloud, PAY)["capacity"].take();
        (
            operation,
            capacity["latestRequest"]["state"].clone(),
            capacity["provisioned"]["currentValue"].clone(),
        )
    };
    advance(&mut cloud, 20);
    assert_eq!(states(&mut cloud).0, "STATE_IN_PROGRESS");
    advance(&mut cloud, 15);
    let fulfilled = states(&mut cloud);
    assert_eq!(
        (&fulfilled.0, &fulfilled.1),
        (
            &json!("STATE_FULFILLED"),
            &json!("STATE_CAPACITY_REQUEST_IN_PROGRESS")
        )
    );
    assert_eq!(fulfilled.2, Value::Null, "fulfilled is not applied");
    advance(&mut cloud, 60);
    assert_eq!(
        states(&mut cloud),
        (
            json!("STATE_FULFILLED"),
            json!("STATE_CAPACITY_REQUEST_COMPLETED"),
            json!(6)
        )
    );
    assert_eq!(cloud.changes.len(), 1);
}

#[test]
fn a_repeated_operation_id_is_the_same_operation() {
    let mut cloud = cloud(Load::Idle);
    let repeated = update(&mut cloud, PAY, 6, "op-1");
    set(&mut cloud, 6, "op-1").expect("accepted");
    let again = cloud
        .update(PAY, repeated)
        .expect("the same, though the version is stale by now");
    assert_eq!(again["asyncOperation"]["id"], "op-1");
    assert_eq!(cloud.operations.len(), 1);
}

#[test]
fn retention_must_be_there() {
    let mut cloud = cloud(Load::Idle);
    let mut partial = update(&mut cloud, PAY, 6, "op-1");
    partial.spec = json!({ "capacitySpec": { "provisioned": { "value": 6 } } });
    assert_eq!(
        refused(cloud.update(PAY, partial)),
        (400, 3, "invalid retention days: 0".to_owned())
    );
}

#[test]
fn a_stale_version_is_a_conflict() {
    let mut cloud = cloud(Load::Idle);
    let stale = update(&mut cloud, PAY, 6, "op-1");
    assert!(cloud.edit_by_others(PAY, "retentionDays", json!(90)));
    let (status, code, _) = refused(cloud.update(PAY, stale));
    assert_eq!((status, code), (409, 10));
}

#[test]
fn one_change_at_a_time() {
    let mut cloud = cloud(Load::Idle);
    set(&mut cloud, 6, "op-1").expect("accepted");
    let (status, code, _) = refused(set(&mut cloud, 8, "op-2"));
    assert_eq!((status, code), (400, 9));
    advance(&mut cloud, 35);
    let (_, _, message) = refused(set(&mut cloud, 8, "op-2"));
    assert_eq!(message, "a capacity request is in progress");
}

#[rstest]
#[case::off_the_ladder(5, 400, 3)]
#[case::above_the_inventory(12, 400, 9)]
fn unavailable_sizes_are_refused(#[case] trus: u32, #[case] status: u16, #[case] code: u8) {
    let mut cloud = cloud(Load::Idle);
    cloud.namespaces[0].setup.inventory = Some(8);
    let refusal = refused(set(&mut cloud, trus, "op-1"));
    assert_eq!((refusal.0, refusal.1), (status, code));
}

#[test]
fn nothing_to_change_is_reported() {
    let mut cloud = cloud(Load::Idle);
    set(&mut cloud, 6, "op-1").expect("accepted");
    advance(&mut cloud, 120);
    assert_eq!(
        refused(set(&mut cloud, 6, "op-2")),
        (400, 3, "nothing to change".to_owned())
    );
}

#[test]
fn ten_operations_are_in_flight_at_most() {
    let setups = (0..11)
        .map(|number| NamespaceSetup::new(format!("n{number:02}"), Load::Idle))
        .collect();
    let mut cloud = Cloud::new(options(setups));
    for number in 0..10 {
        let id = format!("n{number:02}.a1b2c");
        let update = update(&mut cloud, &id, 2, &format!("op-{number}"));
        cloud.update(&id, update).expect("accepted");
    }
    let eleventh = update(&mut cloud, "n10.a1b2c", 2, "op-10");
    let (status, code, _) = refused(cloud.update("n10.a1b2c", eleventh));
    assert_eq!((status, code), (429, 8));
}

#[rstest]
#[case::auth_off("apiKeyAuth", json!({ "enabled": false }), "apiKeyAuth was switched off: clients are cut off")]
#[case::order("replicas", json!([{ "region": "aws-eu-west-1" }]), "replicas changed: a failover may start")]
#[case::other("retentionDays", json!(7), "retentionDays changed")]
fn what_an_update_changes_besides_the_capacity_is_recorded(
    #[case] field: &str,
    #[case] value: Value,
    #[case] what: &str,
) {
    let mut cloud = cloud(Load::Idle);
    let mut careless = update(&mut cloud, PAY, 6, "op-1");
    careless.spec[field] = value;
    cloud.update(PAY, careless).expect("the service accepts it");
    assert_eq!(cloud.incidents[0].what, what);
}

#[test]
fn a_lost_field_is_recorded_and_a_lost_search_attribute_refused() {
    let mut cloud = cloud(Load::Idle);
    let mut careless = update(&mut cloud, PAY, 6, "op-1");
    careless
        .spec
        .as_object_mut()
        .expect("an object")
        .remove("description");
    cloud.update(PAY, careless).expect("the service accepts it");
    assert_eq!(cloud.incidents[0].what, "description was lost");
    let mut cloud = self::cloud(Load::Idle);
    let mut careless = update(&mut cloud, PAY, 6, "op-1");
    careless.spec["searchAttributes"] = json!({});
    assert_eq!(refused(cloud.update(PAY, careless)).1, 3);
}

#[rstest]
#[case(OperationFault::Failed, "STATE_FAILED")]
#[case(OperationFault::Rejected, "STATE_REJECTED")]
#[case(OperationFault::Cancelled, "STATE_CANCELLED")]
fn a_failed_operation_keeps_the_capacity_and_the_requested_size(
    #[case] operations: OperationFault,
    #[case] state: &str,
) {
    let mut cloud = cloud(Load::Idle);
    cloud.faults.operations = operations;
    set(&mut cloud, 6, "op-1").expect("accepted");
    advance(&mut cloud, 300);
    let operation = cloud.operation("op-1").expect("known");
    assert_eq!(operation["asyncOperation"]["state"], state);
    let namespace = read(&mut cloud, PAY);
    assert_eq!(namespace["capacity"]["onDemand"], json!({}));
    assert_eq!(
        namespace["capacity"]["latestRequest"]["state"],
        "STATE_CAPACITY_REQUEST_FAILED"
    );
    assert_eq!(namespace["spec"]["capacitySpec"]["provisioned"]["value"], 6);
}

#[test]
fn calls_without_permission_are_refused_as_are_those_on_a_new_namespace() {
    let mut hidden = NamespaceSetup::new("hidden", Load::Idle);
    hidden.access = Access::None;
    let mut shown = NamespaceSetup::new("shown", Load::Idle);
    shown.access = Access::Read;
    let mut cloud = Cloud::new(options(vec![hidden, shown]));
    assert_eq!(refused(cloud.get("hidden.a1b2c")).0, 404);
    let attempt = update(&mut cloud, "shown.a1b2c", 6, "op-1");
    assert_eq!(refused(cloud.update("shown.a1b2c", attempt)).0, 403);
    cloud.add(NamespaceSetup::new("young", Load::Idle));
    assert_eq!(refused(cloud.get("young.a1b2c")).0, 403);
    advance(&mut cloud, 61);
    assert!(cloud.get("young.a1b2c").is_ok());
}

#[test]
fn the_list_is_paged_in_ascending_order() {
    let setups = ["c", "a", "b"]
        .map(|name| NamespaceSetup::new(name, Load::Idle))
        .to_vec();
    let mut cloud = Cloud::new(options(setups));
    let first = cloud.list(2, None).expect("a page");
    let names = |page: &Value| -> Vec<Value> {
        page["namespaces"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|it| it["namespace"].clone())
            .collect()
    };
    assert_eq!(names(&first), ["a.a1b2c", "b.a1b2c"]);
    let last = cloud.list(2, first["nextPageToken"].as_str()).expect("a page");
    assert_eq!(
        (names(&last), &last["nextPageToken"]),
        (vec![json!("c.a1b2c")], &Value::Null)
    );
    assert_eq!(refused(cloud.list(2, Some("nonsense"))).1, 3);
}

/// Returns the samples of a document as `family{labels} value timestamp` without the prefix.
fn lines(cloud: &mut Cloud, filter: &Filter) -> Vec<String> {
    let now = cloud.now();
    let text = document(cloud, now, filter).text;
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.replace("temporal_cloud_v1_", ""))
        .collect()
}

#[test]
fn metrics_show_one_minute_three_minutes_late() {
    let mut cloud = cloud(Load::Steady(10.0));
    advance(&mut cloud, 30 * 60 + 20);
    let minute = "2026-11-20T10:27:00Z"
        .parse::<Timestamp>()
        .expect("a time")
        .as_second();
    let lines = lines(&mut cloud, &Filter::default());
    assert!(
        lines.iter().all(|line| line.ends_with(&format!(" {minute}"))),
        "{lines:?}"
    );
}

#[test]
fn a_busy_namespace_has_foreground_background_standby_and_forty_operations() {
    let mut setup = NamespaceSetup::new("pay", Load::Steady(100.0));
    setup.second_replica = Some("REPLICA_STATE_ACTIVE");
    let mut cloud = Cloud::new(options(vec![setup]));
    let lines = lines(&mut cloud, &Filter::default());
    let count = |family: &str, label: &str| {
        lines
            .iter()
            .filter(|line| line.starts_with(&format!("{family}{{")) && line.contains(label))
            .count()
    };
    assert_eq!(
        count(
            "total_action_count",
            "is_background=\"false\",namespace_mode=\"active\""
        ),
        1
    );
    assert_eq!(count("total_action_count", "namespace_mode=\"standby\""), 1);
    assert_eq!(count("total_action_count", "is_background=\"true\""), 1);
    assert_eq!(count("operations_count", "is_background=\"false\""), 40);
    assert_eq!(count("service_request_count", ""), 40);
    let families: BTreeSet<&str> = lines.iter().filter_map(|line| line.split('{').next()).collect();
    for family in [
        "action_limit",
        "operations_limit",
        "service_request_limit",
        "action_on_demand_envelope_limit",
        "operations_on_demand_envelope_limit",
        "service_request_on_demand_envelope_limit",
        "provisioned_capacity_tru_count",
    ] {
        assert!(families.contains(family), "{family}");
    }
    let sum: f64 = lines
        .iter()
        .filter(|line| line.starts_with("operations_count{") && line.contains("is_background=\"false\""))
        .filter_map(|line| line.split(' ').nth(1)?.parse::<f64>().ok())
        .sum();
    assert!(
        (475.0..=525.0).contains(&sum),
        "five operations for each of 100 actions, give or take noise: {sum}"
    );
}

#[test]
fn an_idle_namespace_has_limits_but_no_actions() {
    let mut cloud = cloud(Load::Idle);
    let lines = lines(&mut cloud, &Filter::default());
    assert!(!lines.iter().any(|line| line.starts_with("total_action_count{")));
    assert!(lines.iter().any(|line| line.starts_with("action_limit{")));
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("operations_count{") && line.contains("is_background=\"true\""))
    );
}

#[test]
fn a_document_above_the_size_limit_is_cut() {
    let mut options = options(vec![NamespaceSetup::new("pay", Load::Steady(100.0))]);
    options.points_per_answer = 50;
    let mut cloud = Cloud::new(options);
    let now = cloud.now();
    let cut = document(&cloud, now, &Filter::default());
    assert!(cut.is_cut);
    assert_eq!(cut.text.lines().filter(|line| !line.starts_with('#')).count(), 50);
}

#[test]
fn filters_choose_families_and_namespaces() {
    let setups = ["pay", "payroll", "orders"]
        .map(|name| NamespaceSetup::new(name, Load::Idle))
        .to_vec();
    let mut cloud = Cloud::new(options(setups));
    let filter = Filter {
        metrics: vec!["temporal_cloud_v1_action_limit".to_owned()],
        namespaces: vec!["pay*".to_owned()],
    };
    assert_eq!(lines(&mut cloud, &filter).len(), 2);
}

#[test]
fn stale_metrics_show_an_older_minute() {
    let mut cloud = cloud(Load::Steady(10.0));
    advance(&mut cloud, 30 * 60);
    cloud.faults = Faults {
        metrics: MetricsFault::Stale(SignedDuration::from_mins(5)),
        ..Faults::default()
    };
    let minute = "2026-11-20T10:22:00Z"
        .parse::<Timestamp>()
        .expect("a time")
        .as_second();
    assert!(lines(&mut cloud, &Filter::default())[0].ends_with(&format!(" {minute}")));
}

#[test]
fn work_above_the_limit_is_throttled_waits_and_drains() {
    let mut cloud = cloud(Load::Bursty {
        base: 100.0,
        burst: 700.0,
        minutes: 2,
    });
    // Advance into the burst of the next hour.
    advance(&mut cloud, 60 * 60 + 121);
    let minute = *cloud.namespaces[0].minutes.back().expect("lived");
    assert!(
        (minute.served[0] - 500.0).abs() < 1.0,
        "served at the limit: {}",
        minute.served[0]
    );
    assert!(minute.throttled[0] > 100.0, "{}", minute.throttled[0]);
    advance(&mut cloud, 60);
    let drained = *cloud.namespaces[0].minutes.back().expect("lived");
    assert!(
        drained.served[0] > 200.0,
        "what waited is served: {}",
        drained.served[0]
    );
    advance(&mut cloud, 120);
    let calm = *cloud.namespaces[0].minutes.back().expect("lived");
    assert!(calm.throttled[0] <= 0.0 && calm.served[0] < 120.0);
}

#[rstest]
#[case::as_long_as_it_takes(None, 60_000.0)]
#[case::thirty_seconds(Some(SignedDuration::from_secs(30)), 15_000.0)]
fn work_waits_until_it_is_served_unless_its_callers_give_up(
    #[case] patience: Option<SignedDuration>,
    #[case] waiting: f64,
) {
    // Ten minutes of 600/s, of which 500/s are served, and then nothing.
    let rows = [vec!["600,600"; 10], vec!["0,0"; 50]].concat().join("\n");
    let trace = Trace::read(format!("aps,peak10s\n{rows}").as_bytes()).expect("a trace");
    let mut setup = NamespaceSetup::new("pay", Load::Replay(trace.into()));
    assert_eq!(setup.patience, None, "the default of a replayed load");
    setup.patience = patience;
    setup.usual = Some(20.0);
    let mut cloud = Cloud::new(options(vec![setup]));
    advance(&mut cloud, 2 * 60);
    let throttled = cloud.namespaces[0].minutes.back().expect("lived").throttled[0];
    assert!(throttled > 100.0, "{throttled}");
    advance(&mut cloud, 60);
    let served: f64 = (0..10)
        .map(|_| {
            let minute = *cloud.namespaces[0].minutes.back().expect("lived");
            assert!(minute.throttled[0] <= 0.0, "no new work waits");
            advance(&mut cloud, 60);
            minute.served[0] * 60.0
        })
        .sum();
    assert!((served - waiting).abs() < 1.0, "{served}");
}

#[test]
fn capacity_ends_the_throttling() {
    let mut cloud = cloud(Load::Steady(700.0));
    advance(&mut cloud, 300);
    assert!(cloud.namespaces[0].minutes.back().expect("lived").throttled[0] > 0.0);
    set(&mut cloud, 2, "op-1").expect("accepted");
    advance(&mut cloud, 600);
    let minute = cloud.namespaces[0].minutes.back().expect("lived");
    assert!(minute.throttled[0] <= 0.0 && minute.served[0] > 600.0);
}

#[test]
fn the_envelope_follows_the_last_seven_days() {
    let mut setup = NamespaceSetup::new("pay", Load::Steady(450.0));
    setup.usual = Some(200.0);
    let cloud = Cloud::new(options(vec![setup]));
    // max(500, min(4 x 200, 2 x 200)).
    assert!((cloud.namespaces[0].envelopes()[0] - 500.0).abs() < 1.0);
    let mut setup = NamespaceSetup::new("pay", Load::Steady(450.0));
    setup.usual = Some(400.0);
    let cloud = Cloud::new(options(vec![setup]));
    assert!((cloud.namespaces[0].envelopes()[0] - 800.0).abs() < 1.0);
}

#[test]
fn an_hour_is_billed_at_its_highest_capacity() {
    let mut cloud = Cloud::new(options(vec![NamespaceSetup::new("pay", Load::Idle).with_trus(4)]));
    advance(&mut cloud, 600);
    set(&mut cloud, 0, "op-1").expect("accepted");
    advance(&mut cloud, 2 * 3_600);
    let bills: Vec<u32> = cloud.namespaces[0]
        .bills
        .values()
        .map(|bill| bill.highest_trus)
        .collect();
    assert_eq!(bills[..2], [4, 0]);
    let first = cloud.namespaces[0].bills.values().next().expect("an hour");
    assert_eq!(
        (first.minimum(), first.shortfall_cost(50.into())),
        (1_080_000, 54.into())
    );
}

#[test]
fn a_recorded_load_is_replayed() {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fixtures/traces/ms-ingress-05.csv"
    );
    let Ok(trace) = Trace::open(file) else {
        // A published crate does not include fixtures.
        return;
    };
    let mut cloud = cloud(Load::Replay(trace.into()));
    advance(&mut cloud, 24 * 3_600);
    assert!(
        cloud.namespaces[0]
            .bills
            .values()
            .map(crate::HourBill::actions)
            .sum::<u64>()
            > 0
    );
}

#[derive(Debug, Clone)]
enum Step {
    Set(u32),
    SetStale(u32),
    Careless,
    Advance(i64),
    Other(u32),
    Edit,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u32..14).prop_map(Step::Set),
        1 => (0_u32..14).prop_map(Step::SetStale),
        1 => Just(Step::Careless),
        4 => (1_i64..400).prop_map(Step::Advance),
        1 => prop::sample::select(vec![0, 2, 4]).prop_map(Step::Other),
        1 => Just(Step::Edit),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_sequence_of_calls_keeps_the_cloud_consistent(
        steps in prop::collection::vec(any_step(), 1..40),
        fault in prop::sample::select(vec![OperationFault::None, OperationFault::None, OperationFault::Failed]),
    ) {
        let mut cloud = cloud(Load::Steady(300.0));
        cloud.faults.operations = fault;
        let mut versions = BTreeSet::new();
        for (step, number) in steps.into_iter().zip(0..) {
            let operation = format!("op-{number}");
            match step {
                Step::Set(trus) => drop(set(&mut cloud, trus, &operation)),
                Step::SetStale(trus) => {
                    let mut stale = update(&mut cloud, PAY, trus, &operation);
                    stale.resource_version.push('x');
                    prop_assert!(cloud.update(PAY, stale).is_err());
                }
                Step::Careless => {
                    let mut update = update(&mut cloud, PAY, 6, &operation);
                    update.spec.as_object_mut().expect("an object").remove("codecServer");
                    drop(cloud.update(PAY, update));
                }
                Step::Advance(seconds) => advance(&mut cloud, seconds),
                Step::Other(trus) => drop(cloud.set_by_others(PAY, trus)),
                Step::Edit => drop(cloud.edit_by_others(PAY, "retentionDays", json!(number + 1))),
            }
            let namespace = &cloud.namespaces[0];
            prop_assert!(namespace.trus == 0 || namespace.setup.ladder.contains(&namespace.trus));
            prop_assert!(cloud.operations.values().filter(|it| !it.ended).count() <= 1);
            prop_assert_eq!(namespace.running.is_some(), cloud.operations.values().any(|it| !it.ended));
            let has_codec = namespace.spec.get("codecServer").is_some();
            prop_assert!(has_codec || !cloud.incidents.is_empty(), "a field was lost without an incident");
            let hour = cloud.clock.now().as_second().div_euclid(3_600);
            if let Some(bill) = namespace.bills.get(&hour) {
                prop_assert!(bill.highest_trus >= namespace.trus);
            }
            versions.insert(namespace.version);
        }
        prop_assert_eq!(versions.iter().max().copied(), Some(cloud.namespaces[0].version), "versions only grow");
    }
}
