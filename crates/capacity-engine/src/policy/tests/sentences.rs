//! The lines an operator reads, byte for byte.

use super::*;
use crate::pricing::{PlanPercentage, PriceTier};

#[test]
fn a_namespace_that_gives_capacity_back() {
    assert_eq!(
        decided(&idle("orders", 4)).to_string(),
        "[orders.a1b2c] Disable: 45 actions in the last hour, below the threshold of 100; \
         gives back 4 TRUs, up to $54.00/h at $50/M"
    );
}

#[test]
fn money_rests_on_the_account_s_own_price() {
    let dollars = |dollars: i64| PricePerMillion::try_new(dollars.into()).expect("a price");
    let tier = PriceTier {
        up_to: 5_000_000,
        price: dollars(50),
    };
    let ten = PlanPercentage::try_new(10.into()).expect("a percentage");
    let list = PriceList::try_new(vec![tier], dollars(45)).expect("a list");
    let mut policy = Policy::default();
    policy.threshold.price = ActionPrice::new(list.with_plan(ten), 7_000_000);
    let decision = decide(&idle("orders", 4), &account(), &policy, now());
    assert_eq!(
        decision.to_string(),
        "[orders.a1b2c] Disable: 45 actions in the last hour, below the threshold of 100; \
         gives back 4 TRUs, up to $53.46/h at $45/M + 10%"
    );
    assert_eq!(decision.price.price, policy.threshold.price);
}

#[test]
fn a_namespace_that_gets_capacity() {
    assert_eq!(
        decided(&throttled("pay")).to_string(),
        "[pay.a1b2c] Enable 6 TRUs: 12.5% of actions throttled (70.0 of 560.0/s) at a limit of 500/s; \
         5 is not a step, the next is 6"
    );
}

#[test]
fn a_namespace_that_provisioned_capacity_would_harm() {
    let mut snapshot = snapshot("bulk", 0);
    snapshot.usage = one(used(LimitKind::Requests, 13_990.0, 70.0));
    snapshot.limits[LimitKind::Requests] = Some(rate(14_000.0));
    snapshot.envelopes[LimitKind::Requests] = Some(rate(14_000.0));
    snapshot.capacity_info = CapacityInfo::Known(known_info(0, 8));
    assert_eq!(
        decided(&snapshot).to_string(),
        "[bulk.a1b2c] Hold: requests throttled, but 8 TRUs (12,000/s) would lower the request limit of 14,000/s \
         that on-demand gives"
    );
}

#[test]
fn a_quiet_namespace() {
    assert_eq!(
        decided(&snapshot("idle", 0)).to_string(),
        "[idle.a1b2c] Keep: on-demand and quiet, 3.0 actions/s of 500/s"
    );
}

#[test]
fn a_namespace_whose_metrics_are_late() {
    let mut snapshot = snapshot("late", 0);
    snapshot.usage = ReportedUsage::Known(UsageWindow::of_one(sample(minutes_ago(9), PerLimit::default())));
    assert_eq!(
        decided(&snapshot).to_string(),
        "[late.a1b2c] Hold: newest metrics are 9 min old, more than 6 min; acts again when fresh metrics arrive"
    );
}

#[test]
fn an_estimate_says_that_it_is_one() {
    let mut snapshot = idle("orders", 4);
    snapshot.usage = one(used(LimitKind::Actions, 0.0125, 0.0));
    assert_eq!(
        decided(&snapshot).to_string(),
        "[orders.a1b2c] Disable: 45 actions in the last hour (estimated from 1 minute), below the threshold of 100; \
         gives back 4 TRUs, up to $54.00/h at $50/M"
    );
}

#[test]
fn an_hour_below_its_free_minimum_says_what_it_pays() {
    let snapshot = Snapshot {
        usage: hour(used(LimitKind::Actions, 10.0, 0.0)),
        ..snapshot("orders", 4)
    };
    assert_eq!(
        decided(&snapshot).to_string(),
        "[orders.a1b2c] Keep: 36,000 actions in the last hour, with 4 TRUs; short of the hour's minimum of 1,080,000, \
         so $52.20/h at $50/M are paid for nothing"
    );
}

#[test]
fn a_number_below_the_threshold_is_never_shown_as_the_threshold() {
    // 99.99... actions in the hour.
    let snapshot = Snapshot {
        usage: hour(used(LimitKind::Actions, 0.027_777, 0.0)),
        ..snapshot("orders", 4)
    };
    assert!(
        decided(&snapshot)
            .reason
            .starts_with("99 actions in the last hour, below the threshold of 100")
    );
}

#[test]
fn codes_are_stable_and_documented() {
    for code in ReasonCode::ALL {
        assert!(
            code.as_str().chars().all(|c| c.is_ascii_lowercase() || c == '_'),
            "{code}"
        );
        assert!(code.meaning().ends_with('.'), "{code}");
    }
    let mut codes: Vec<&str> = ReasonCode::ALL.iter().map(|code| code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), ReasonCode::ALL.len());
}

#[test]
fn the_published_table_of_codes_is_the_present_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reason-codes.md");
    let Ok(published) = read(path) else {
        // A published crate carries no documents of the workspace.
        return;
    };
    for code in ReasonCode::ALL {
        let row = format!("| `{code}` | {} |", code.meaning());
        assert!(published.lines().any(|line| line == row), "missing: {row}");
    }
    let rows = published.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(
        rows,
        ReasonCode::ALL.len(),
        "write it again: cargo run -p capacity-engine --example reason_codes"
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test compares a document; the crate itself reads no files"
)]
fn read(path: &str) -> std::io::Result<String> {
    std::fs::read_to_string(path)
}
