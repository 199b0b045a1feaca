//! Tests that the simulator and the backtest, which implement the same model, agree on demand, backlog,
//! throttled minutes and envelope.

use std::sync::Arc;

use capacity_backtest::{Contender, Settings, run_recorded};
use cloud_simulator::{Account, Load, NamespaceSetup, SimulatorOptions};
use jiff::SignedDuration;

/// Minutes of history that the simulated cloud starts with.
const PAST: usize = 8;

/// Minutes of two days.
const MINUTES: usize = 2 * 24 * 60;

/// Returns two days of a recorded load, in the formats of the backtest and of the simulator.
fn two_days(name: &str) -> (capacity_backtest::Trace, cloud_simulator::Trace) {
    let path = format!("{}/../fixtures/traces/{name}.csv", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("a fixture");
    let mut lines = text.lines();
    let header = lines.next().expect("a header");
    let rows: Vec<&str> = lines.skip(24 * 60).take(MINUTES).collect();
    assert_eq!(rows.len(), MINUTES, "{path}");
    let text = format!("{header}\n{}\n", rows.join("\n"));
    let read = cloud_simulator::Trace::read(text.as_bytes()).expect("a trace");
    (capacity_backtest::Trace::parse(&text).expect("a trace"), read)
}

/// Runs with on-demand capacity only, so that only the models matter: bursts of five minutes, bursts above a grown
/// envelope, a busy site and a calm one.
#[rstest::rstest]
#[case::batch("nab-ec2net")]
#[case::tweets("nab-tweets-aapl")]
#[case::site("nasa-jul")]
#[case::calm("ms-api-01")]
#[tokio::test]
async fn every_minute_is_served_and_throttled_as_in_a_backtest(#[case] name: &str) {
    let (trace, replayed) = two_days(name);
    let settings = Settings {
        warmup_days: 0,
        ..Settings::for_trace(&trace)
    };
    let (score, course) = run_recorded(&trace, Contender::OnDemand, &settings);
    let setup = NamespaceSetup::new("load", Load::Replay(Arc::new(replayed)));
    let cloud = cloud_simulator::start(SimulatorOptions {
        speed: 0.0,
        start: "2026-11-20T00:08:00Z".parse().expect("a time"),
        ..SimulatorOptions::new(Account::new("a1b2c", vec![setup]))
    })
    .await
    .expect("started");
    let (mut served, mut throttled) = (0.0, 0.0);
    for minute in PAST..MINUTES {
        cloud.advance(SignedDuration::from_mins(1));
        let lived = cloud.namespace("load.a1b2c").expect("listed");
        let modeled = |counts: &[u32]| f64::from(counts[minute]) / 60.0;
        let (expected, refused) = (modeled(&course.served), modeled(&course.throttled));
        // The simulated envelope is a whole number of actions per second.
        let near = |found: f64, expected: f64| (found - expected).abs() <= 1.0 + expected * 0.01;
        assert!(
            near(lived.served_actions, expected) && near(lived.throttled, refused),
            "minute {minute} of {name}: served {} and throttled {} a second, {expected} and {refused} in the backtest",
            lived.served_actions,
            lived.throttled
        );
        served += lived.served_actions;
        throttled += lived.throttled;
    }
    let total = |counts: &[u32]| counts[PAST..].iter().map(|count| f64::from(*count)).sum::<f64>() / 60.0;
    for (found, expected) in [
        (served, total(&course.served)),
        (throttled, total(&course.throttled)),
    ] {
        assert!(
            (found - expected).abs() <= 0.001 * expected,
            "{name}: {found}, {expected} in the backtest"
        );
    }
    assert_eq!(score.delayed > 0, throttled > 0.0, "{name}");
    let waited = cloud.namespace("load.a1b2c").expect("listed").action_minutes;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let expected = score.action_minutes() as f64;
    assert!(
        (waited - expected).abs() <= 1.0 + 0.01 * expected,
        "{name}: {waited} action-minutes, {expected} in the backtest"
    );
}
