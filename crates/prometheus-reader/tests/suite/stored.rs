//! A real Prometheus that scrapes a simulated Temporal Cloud: it stores what was exposed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cloud_simulator::{Account, Load, NamespaceSetup, RunningSimulator, SimulatorOptions};
use jiff::{SignedDuration, Timestamp};
use prometheus_reader::{Coverage, Presence, PrometheusConfigBuilder, Query};
use rstest::rstest;
use tokio::sync::OnceCell;

use super::server::Prometheus;
use super::{FAMILY, builder, client};

const FAMILIES: [&str; 3] = [
    FAMILY,
    "temporal_cloud_v1_action_limit",
    "temporal_cloud_v1_operations_count",
];
/// A correct scrape job.
const JOB: &str = "temporal-cloud";
/// The same, with bare namespace names.
const JOB_BARE: &str = "bare-names";
/// The same, with the time of the scrape.
const JOB_SCRAPE_TIME: &str = "scrape-time";

/// Values by family and labels, then by time in milliseconds.
type Exposed = BTreeMap<(String, Vec<(String, String)>), BTreeMap<i64, f64>>;

/// State that the tests in this file share. The first test creates it.
struct World {
    prometheus: Prometheus,
    /// The samples that the simulated cloud exposed.
    exposed: Exposed,
    /// The first minute that was shown, and the last one.
    first: Timestamp,
    last: Timestamp,
    /// The first of three minutes that nobody scraped.
    gap: Timestamp,
}

async fn world() -> Option<&'static World> {
    static WORLD: OnceCell<Option<World>> = OnceCell::const_new();
    WORLD.get_or_init(make_world).await.as_ref()
}

async fn make_world() -> Option<World> {
    let namespaces = vec![
        NamespaceSetup::new("orders", Load::Steady(60.0)),
        NamespaceSetup::new("search", Load::Steady(25.0)),
        NamespaceSetup::new("batch", Load::Steady(3.0)),
    ];
    let now = Timestamp::now().as_second();
    let simulator = cloud_simulator::start(SimulatorOptions {
        // Prometheus accepts nothing older than an hour before its newest sample.
        start: Timestamp::from_second(now - now % 60 - 40 * 60).expect("a time"),
        speed: 0.0,
        scrapes_per_hour: None,
        ..SimulatorOptions::new(Account::new("a1b2c", namespaces))
    })
    .await
    .expect("a simulated cloud");
    // A small limit, so that the real server returns its error for queries that are too large.
    let prometheus = Prometheus::start(&config(&simulator), &["--query.max-samples=700"]).await?;
    let mut exposed = Exposed::new();
    let mut first_minutes = Vec::new();
    for step in 0..12 {
        simulator.advance(SignedDuration::from_mins(if step == 6 { 4 } else { 1 }));
        take_exposed(&simulator, &mut exposed).await;
        let newest = exposed.values().filter_map(|times| times.keys().last()).max();
        first_minutes.push(Timestamp::from_millisecond(*newest.expect("samples")).expect("a time"));
        scraped_again(&simulator).await;
    }
    // When its target disappears, Prometheus marks the series with the times of the scrape as stale.
    simulator.shutdown().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    Some(World {
        prometheus,
        exposed,
        first: first_minutes[0],
        last: first_minutes[11],
        gap: first_minutes[5] + SignedDuration::from_mins(1),
    })
}

fn config(simulator: &RunningSimulator) -> String {
    let (key, url) = (simulator.metrics_key(), simulator.metrics_url());
    let address = url.trim_start_matches("http://");
    let families = FAMILIES.join("', '");
    let job = |name: &str, more: &str| {
        format!(
            "  - job_name: {name}\n    metrics_path: /v1/metrics\n    authorization: {{ credentials: '{key}' }}\n    \
             params: {{ metrics: ['{families}'] }}\n    static_configs: [{{ targets: ['{address}'] }}]\n{more}"
        )
    };
    let bare = "    honor_timestamps: true\n    metric_relabel_configs:\n      \
                - { source_labels: [temporal_namespace], regex: '([^.]+)\\..*', target_label: temporal_namespace }\n";
    format!(
        "global: {{ scrape_interval: 200ms, scrape_timeout: 200ms }}\nscrape_configs:\n{}{}{}",
        job(JOB, "    honor_timestamps: true\n"),
        job(JOB_BARE, bare),
        job(JOB_SCRAPE_TIME, "    honor_timestamps: false\n"),
    )
}

/// Parses the document like Prometheus.
async fn take_exposed(simulator: &RunningSimulator, exposed: &mut Exposed) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let url = simulator.metrics_url();
    let address = url.trim_start_matches("http://");
    let families = FAMILIES.map(|family| format!("metrics={family}")).join("&");
    let request = format!(
        "GET /v1/metrics?{families} HTTP/1.0\r\nauthorization: Bearer {}\r\n\r\n",
        simulator.metrics_key()
    );
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("a request");
    let mut document = String::new();
    stream.read_to_string(&mut document).await.expect("a document");
    let (_, lines) = document.split_once("\r\n\r\n").expect("a response");
    for line in lines.lines().filter(|line| !line.starts_with('#')) {
        let (family, rest) = line.split_once('{').expect("labels");
        let (labels, rest) = rest.split_once("} ").expect("a value");
        let (value, seconds) = rest.split_once(' ').expect("a time");
        let labels = labels.split(',').map(|label| {
            let (name, value) = label.split_once('=').expect("a label");
            (name.to_owned(), value.trim_matches('"').to_owned())
        });
        let mut labels: Vec<(String, String)> = labels.collect();
        labels.sort();
        let times = exposed.entry((family.to_owned(), labels)).or_default();
        let seconds: i64 = seconds.trim().parse().expect("seconds");
        times.insert(seconds * 1_000, value.parse().expect("a value"));
    }
}

/// Waits until each job has started a scrape of the current data after the previous one ended.
async fn scraped_again(simulator: &RunningSimulator) {
    let scrapes = || {
        simulator
            .requests()
            .get("GET /v1/metrics")
            .copied()
            .unwrap_or_default()
    };
    let before = scrapes();
    // Three jobs with the same interval: twelve scrapes are four of each.
    for _ in 0..600 {
        if scrapes() >= before + 12 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("Prometheus does not scrape");
}

impl World {
    fn job(&self, job: &str) -> PrometheusConfigBuilder {
        builder(&self.prometheus.url()).extra_label("job", job)
    }

    /// The whole hour.
    fn query(&self) -> Query<'static> {
        Query {
            families: &FAMILIES,
            namespaces: None,
            from: self.first - SignedDuration::from_mins(10),
            to: Timestamp::now() + SignedDuration::from_mins(1),
        }
    }

    async fn read(&self, builder: PrometheusConfigBuilder, query: &Query<'_>) -> (Exposed, Coverage) {
        let mut read = Exposed::new();
        let coverage = client(builder)
            .samples(query, |sample| {
                let labels = sample.labels.iter();
                let own = labels.filter(|(name, _)| name != "job" && name != "instance");
                let mut own: Vec<(String, String)> = own.cloned().collect();
                own.sort();
                let times = read.entry((sample.family.to_owned(), own)).or_default();
                let twice = times.insert(sample.time.as_millisecond(), sample.value);
                assert_eq!(twice, None, "{sample:?} came twice");
            })
            .await
            .unwrap_or_else(|error| panic!("{}; {}", super::chain(&error), self.prometheus.log()));
        (read, coverage)
    }

    async fn namespaces(&self, job: &str, names: &[&str]) -> BTreeSet<String> {
        let query = Query {
            families: &[FAMILY],
            namespaces: Some(names),
            ..self.query()
        };
        let (read, _) = self.read(self.job(job), &query).await;
        let labels = read.keys().flat_map(|(_, labels)| labels);
        let names = labels.filter(|(name, _)| name == "temporal_namespace");
        names.map(|(_, value)| value.clone()).collect()
    }
}

#[tokio::test]
async fn what_is_read_is_what_was_exposed_minute_by_minute() {
    let Some(world) = world().await else { return };
    let (read, coverage) = world.read(world.job(JOB), &world.query()).await;
    assert_eq!(read, world.exposed);
    let samples: usize = read.values().map(BTreeMap::len).sum();
    assert_eq!(usize::try_from(coverage.samples).ok(), Some(samples));
    assert!(!coverage.partial && coverage.warnings.is_empty());
    assert_eq!(coverage.families[0].first, Some(world.first));
    assert_eq!(coverage.families[0].last, Some(world.last));
}

#[tokio::test]
async fn a_query_that_is_too_large_for_the_real_server_is_halved() {
    let Some(world) = world().await else { return };
    let (_, coverage) = world.read(world.job(JOB), &world.query()).await;
    assert!(
        coverage.requests > 3,
        "one request for each family would have been too much"
    );
}

#[tokio::test]
async fn short_parts_return_the_same_samples_and_none_twice() {
    let Some(world) = world().await else { return };
    let parts = world.job(JOB).longest_span(SignedDuration::from_mins(1));
    // The boundaries of the parts are exactly the times of the samples.
    let query = Query {
        from: world.first,
        to: world.last + SignedDuration::from_mins(1),
        ..world.query()
    };
    let (read, _) = world.read(parts, &query).await;
    assert_eq!(read, world.exposed);
}

#[tokio::test]
async fn the_first_moment_belongs_to_a_span_and_its_end_does_not() {
    let Some(world) = world().await else { return };
    let query = Query {
        families: &[FAMILY],
        from: world.first,
        to: world.first + SignedDuration::from_mins(1),
        ..world.query()
    };
    let (_, coverage) = world.read(world.job(JOB), &query).await;
    assert!(coverage.samples > 0);
    assert_eq!(coverage.families[0].first, Some(world.first));
    assert_eq!(coverage.families[0].last, Some(world.first));
    let empty = Query {
        to: query.from,
        ..query
    };
    let (_, coverage) = world.read(world.job(JOB), &empty).await;
    assert_eq!((coverage.samples, coverage.requests), (0, 0));
}

#[tokio::test]
async fn a_gap_stays_a_gap() {
    let Some(world) = world().await else { return };
    let query = Query {
        from: world.gap,
        to: world.gap + SignedDuration::from_mins(3),
        ..world.query()
    };
    let (read, coverage) = world.read(world.job(JOB), &query).await;
    assert_eq!((read.len(), coverage.samples), (0, 0));
}

#[rstest]
#[case::full_name(JOB, &["orders.a1b2c"], &["orders.a1b2c"])]
#[case::bare_name(JOB, &["orders"], &["orders.a1b2c"])]
#[case::two(JOB, &["orders", "batch.a1b2c"], &["batch.a1b2c", "orders.a1b2c"])]
#[case::another_account(JOB, &["orders.zzzzz"], &[])]
#[case::beginning_of_a_name(JOB, &["ord"], &[])]
#[case::no_pattern(JOB, &["o.*"], &[])]
#[case::bare_label_by_full_name(JOB_BARE, &["orders.a1b2c"], &["orders"])]
#[case::bare_label_by_bare_name(JOB_BARE, &["orders"], &["orders"])]
#[case::bare_label_of_another_account(JOB_BARE, &["orders.zzzzz"], &[])]
#[tokio::test]
async fn namespaces_are_found_by_bare_and_full_names(
    #[case] job: &str,
    #[case] names: &[&str],
    #[case] expected: &[&str],
) {
    let Some(world) = world().await else { return };
    let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(world.namespaces(job, names).await, expected);
}

#[tokio::test]
async fn a_missing_family_is_absent() {
    let Some(world) = world().await else { return };
    let found = client(world.job(JOB))
        .families_present(&[FAMILY, "temporal_cloud_v1_no_such_count"], Timestamp::now())
        .await;
    assert_eq!(found.expect("a response"), [Presence::Present, Presence::Absent]);
    let elsewhere = client(world.job("another"))
        .families_present(&[FAMILY], Timestamp::now())
        .await;
    assert_eq!(elsewhere.expect("a response"), [Presence::Absent]);
}

#[tokio::test]
async fn the_interval_is_a_minute_if_timestamps_are_honored_and_less_if_not() {
    let Some(world) = world().await else { return };
    let now = Timestamp::now();
    let honored = client(world.job(JOB)).scrape_interval(FAMILY, now).await;
    assert_eq!(honored.expect("a response"), Some(Duration::from_mins(1)));
    let of_scrape = client(world.job(JOB_SCRAPE_TIME))
        .scrape_interval(FAMILY, now)
        .await;
    let of_scrape = of_scrape.expect("a response").expect("samples");
    assert!(of_scrape < Duration::from_secs(5), "{of_scrape:?}");
    let nothing = client(world.job("another")).scrape_interval(FAMILY, now).await;
    assert_eq!(nothing.expect("a response"), None);
}

#[tokio::test]
async fn stale_markers_are_not_samples() {
    let Some(world) = world().await else { return };
    let query = Query {
        families: &[FAMILY],
        ..world.query()
    };
    let (read, coverage) = world.read(world.job(JOB_SCRAPE_TIME), &query).await;
    assert!(coverage.samples > 0);
    assert!(
        read.values()
            .flat_map(BTreeMap::values)
            .all(|value| value.is_finite())
    );
}

#[tokio::test]
async fn a_real_server_reports_its_version() {
    let Some(world) = world().await else { return };
    let info = client(builder(&world.prometheus.url()))
        .check()
        .await
        .expect("a Prometheus");
    let version = info.version.expect("a version");
    assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{version}");
}
