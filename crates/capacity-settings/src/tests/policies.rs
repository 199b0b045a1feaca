//! What a policy needs from other settings.

use super::{folder, inputs, loaded};
use crate::{Mistakes, Needs, Settings, load};

fn evaluating(environment: &[(&str, &str)]) -> Result<Settings, Mistakes> {
    let keys = [
        ("TEMPORAL_CLOUD_OPS_API_KEY", "key"),
        ("TEMPORAL_CLOUD_METRICS_API_KEY", "key"),
    ];
    let environment: Vec<(&str, &str)> = environment.iter().copied().chain(keys).collect();
    let needs = Needs {
        cloud_keys: true,
        ..Needs::default()
    };
    load(&inputs(folder(&[]).path(), &environment), needs)
}

#[test]
fn break_even_is_refused_without_a_ledger_or_prometheus_and_says_what_to_set() {
    let refused = |environment: &[(&str, &str)]| evaluating(environment).expect_err("refused").to_string();
    let text = refused(&[("POLICY", "break-even")]);
    assert_eq!(
        text,
        "1 setting is wrong\n  POLICY (environment): break-even needs every minute of the last hour; set LEDGER_URL \
         (for example LEDGER_URL=ledger.db), or METRICS_SOURCE=prometheus with PROMETHEUS_URL"
    );
    let text = refused(&[("POLICY_SHADOW", "break-even")]);
    assert!(text.contains("set LEDGER_URL"), "{text}");
    let text = refused(&[("POLICY", "clever")]);
    assert!(text.contains("use threshold or break-even"), "{text}");
    let text = refused(&[
        ("POLICY", "break-even"),
        ("LEDGER_URL", "ledger.db"),
        ("POLICY_PARAMS", "margin=much"),
    ]);
    assert!(
        text.contains("margin=much is out of range; use a number from 1 to 3"),
        "{text}"
    );
    let text = refused(&[("POLICY_SHADOW", "threshold"), ("LEDGER_URL", "ledger.db")]);
    assert!(text.contains("this policy is already active"), "{text}");
    // The schedule can be created without a ledger.
    assert!(loaded(folder(&[]).path(), &[("POLICY", "break-even")]).is_ok());
}

#[test]
fn break_even_brings_the_defaults_that_it_needs() {
    let with_ledger = |more: &[(&str, &str)]| {
        let base = [("POLICY", "Break-Even"), ("LEDGER_URL", "ledger.db")];
        let environment: Vec<(&str, &str)> = base.into_iter().chain(more.iter().copied()).collect();
        evaluating(&environment).expect("valid")
    };
    let settings = with_ledger(&[("POLICY_PARAMS", "delay_value=0.5")]);
    assert_eq!(settings.rules.policy.name(), "break-even");
    assert!(format!("{:?}", settings.rules.policy).contains("delay_milli: 500"));
    assert_eq!(settings.keep.minutes, jiff::SignedDuration::from_hours(35 * 24));
    let budget = settings.metrics.map(|metrics| metrics.requests_per_hour);
    assert_eq!((budget, settings.warnings.len()), (Some(120), 0));
    let settings = with_ledger(&[
        ("METRICS_REQUESTS_PER_HOUR", "55"),
        ("POLICY_SHADOW", "threshold"),
    ]);
    assert_eq!(
        settings
            .rules
            .shadow
            .map(|policy| policy.name().to_owned())
            .as_deref(),
        Some("threshold")
    );
    assert!(
        settings.warnings[0].contains("set at least 63"),
        "{:?}",
        settings.warnings
    );
    let settings = evaluating(&[
        ("POLICY", "break-even"),
        ("METRICS_SOURCE", "prometheus"),
        ("PROMETHEUS_URL", "http://127.0.0.1:9090"),
    ]);
    let warnings = settings.expect("valid").warnings;
    assert!(
        warnings[0].contains("remembers nothing between evaluations"),
        "{warnings:?}"
    );
}
