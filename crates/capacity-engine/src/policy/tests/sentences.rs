//! Tests of the exact texts that operators read.

use super::*;
use crate::pricing::{PlanPercentage, PriceTier};

#[test]
fn a_namespace_that_is_released() {
    assert_eq!(
        decided(&idle("orders", 4)).to_string(),
        "[orders.a1b2c] Disable: 45 actions in the last hour, below the threshold of 100; \
         releasing 4 TRUs saves up to $54.00/h at $50/M"
    );
}

#[test]
fn amounts_are_based_on_the_price_of_the_account() {
    let dollars = |dollars: i64| PricePerMillion::try_new(dollars.into()).expect("a price");
    let tier = PriceTier {
        up_to: 5_000_000,
        price: dollars(50),
    };
    let ten = PlanPercentage::try_new(10.into()).expect("a percentage");
    let list = PriceList::try_new(vec![tier], dollars(45)).expect("a list");
    let rules = Rules::default().with_prices(ActionPrice::new(list.with_plan(ten), 7_000_000));
    let decision = decide(&idle("orders", 4), &account(), &rules, now());
    assert_eq!(
        decision.to_string(),
        "[orders.a1b2c] Disable: 45 actions in the last hour, below the threshold of 100; \
         releasing 4 TRUs saves up to $53.46/h at $45/M + 10%"
    );
    assert_eq!(decision.price.price, rules.prices);
}

#[test]
fn a_namespace_that_is_enabled() {
    assert_eq!(
        decided(&throttled("pay")).to_string(),
        "[pay.a1b2c] Enable 6 TRUs: 12.5% of actions throttled (70.0 of 560.0/s) at the limit of 500/s; \
         5 TRUs is not an available size, using 6"
    );
}

#[test]
fn a_namespace_whose_limits_provisioned_capacity_would_lower() {
    let mut snapshot = snapshot("bulk", 0);
    snapshot.usage = one(used(LimitKind::Requests, 13_990.0, 70.0));
    snapshot.limits[LimitKind::Requests] = Some(rate(14_000.0));
    snapshot.envelopes[LimitKind::Requests] = Some(rate(14_000.0));
    snapshot.capacity_info = CapacityInfo::Known(known_info(0, 8));
    assert_eq!(
        decided(&snapshot).to_string(),
        "[bulk.a1b2c] Hold: requests are throttled, but 8 TRUs (12,000/s) would lower the request limit \
         from the 14,000/s that on-demand provides"
    );
}

#[test]
fn a_namespace_that_is_throttled_while_provisioned() {
    let mut snapshot = snapshot("media", 4);
    snapshot.usage = one(used(LimitKind::Actions, 2_000.0, 827.8));
    assert_eq!(
        decided(&snapshot).to_string(),
        "[media.a1b2c] Keep: 29.3% of actions throttled (827.8 of 2,827.8/s) at the limit of 2,000/s with 4 TRUs; \
         this policy does not scale up further, increase it manually"
    );
    // If on-demand provides more than that, the remedy is the opposite.
    snapshot.envelopes[LimitKind::Actions] = Some(rate(2_500.0));
    assert_eq!(
        decided(&snapshot).to_string(),
        "[media.a1b2c] Keep: 29.3% of actions throttled (827.8 of 2,827.8/s) at the limit of 2,000/s with 4 TRUs; \
         on-demand would provide 2,500/s, release the capacity manually"
    );
}

#[test]
fn an_hour_below_its_minimum_states_its_cost() {
    let snapshot = Snapshot {
        usage: hour(used(LimitKind::Actions, 33.333_334, 0.0)),
        ..snapshot("search", 2)
    };
    assert_eq!(
        decided(&snapshot).to_string(),
        "[search.a1b2c] Keep: 120,000 actions in the last hour with 2 TRUs; below the hourly minimum of 360,000, \
         paying $12.00/h for unused capacity"
    );
}

#[test]
fn a_quiet_namespace() {
    assert_eq!(
        decided(&snapshot("idle", 0)).to_string(),
        "[idle.a1b2c] Keep: on-demand, 3.0 of 500 actions/s"
    );
}

#[test]
fn a_namespace_whose_metrics_are_stale() {
    let mut snapshot = snapshot("late", 0);
    snapshot.usage = ReportedUsage::Known(UsageWindow::of_one(sample(minutes_ago(9), PerLimit::default())));
    assert_eq!(
        decided(&snapshot).to_string(),
        "[late.a1b2c] Hold: newest metrics are 9 min old (limit 6 min); will re-evaluate when fresh metrics arrive"
    );
}

#[test]
fn a_namespace_that_gets_a_replica() {
    let told = |since| {
        let decision = decided(&Snapshot {
            moving_replica: Some(moving(since)),
            ..snapshot("eu", 0)
        });
        (decision.to_string(), decision.announce)
    };
    let text = |since: &str| {
        format!(
            "[eu.a1b2c] Hold: replica aws-us-west-2 is being added{since}; will re-evaluate when all replicas are active"
        )
    };
    assert_eq!(told(None), (text(""), false));
    assert_eq!(
        told(Some(Since::Exactly(minutes_ago(179)))),
        (text(" (since 2026-11-20 07:46 UTC, 2 h 59 min)"), false)
    );
    // This has lasted for hours, so it is announced.
    assert_eq!(
        told(Some(Since::AtLeast(minutes_ago(180)))),
        (text(" (since at least 2026-11-20 07:45 UTC, 3 h)"), true)
    );
    // The service may report both.
    let updating = decided(&Snapshot {
        inactive_state: Some("updating".to_owned()),
        moving_replica: Some(moving(Some(Since::Exactly(minutes_ago(300))))),
        ..snapshot("eu", 0)
    });
    assert_eq!(
        (updating.reason.as_str(), updating.announce),
        (
            "the namespace is updating: replica aws-us-west-2 is being added (since 2026-11-20 05:45 UTC, 5 h); \
             will re-evaluate when it is active",
            true
        )
    );
}

#[test]
fn a_change_by_someone_else_says_when_from_what_to_what_and_its_operation() {
    let reason = |from: Option<u32>, state: RequestState| {
        let mut latest = request(state, 40, false);
        latest.from = from.map(Capacity::from_trus);
        latest.to = Some(Capacity::from_trus(4));
        let decision = decided(&Snapshot {
            latest_request: Some(latest),
            ..twelve_actions("pay", 4)
        });
        decision.reason
    };
    assert_eq!(
        reason(Some(0), RequestState::Completed),
        "12 actions in the last hour, below the threshold of 100, but someone else changed its capacity from on-demand \
         to 4 TRUs at 2026-11-20 10:05 UTC (40 min ago, operation op-1); it is not changed for 4 h after that"
    );
    assert!(
        reason(None, RequestState::Completed)
            .contains("changed its capacity to 4 TRUs at 2026-11-20 10:05 UTC"),
        "what is not known is not told"
    );
    assert_eq!(
        reason(Some(8), RequestState::InProgress),
        "someone else is changing its capacity from 8 TRUs to 4 TRUs (operation op-1, since 2026-11-20 10:03 UTC); \
         will re-evaluate when it finishes"
    );
}

#[test]
fn excluded_standby_traffic_is_mentioned_wherever_usage_was_evaluated() {
    let mut standby = PerLimit::<Rate>::default();
    standby[LimitKind::Actions] = rate(300.0);
    for (before, action) in [
        (snapshot("quiet", 0), "Keep"),
        (throttled("pay"), "Enable"),
        (idle("late", 4), "Disable"),
    ] {
        let decision = decided(&Snapshot {
            standby,
            ..before.clone()
        });
        assert!(decision.action.to_string().starts_with(action), "{decision}");
        assert_eq!(
            decision.reason,
            format!(
                "{}; standby traffic of 300.0 actions/s is not counted",
                decided(&before).reason
            )
        );
    }
}

/// Returns a namespace with 12 actions in the last hour, and one busy minute of throttled actions.
fn twelve_actions(name: &str, present: u32) -> Snapshot {
    Snapshot {
        usage: hour(used(LimitKind::Actions, 0.003_334, 0.0)),
        ..snapshot(name, present)
    }
}

#[test]
fn a_namespace_that_on_demand_could_not_carry() {
    let mut samples: Vec<MinuteSample> = (4..64)
        .map(|minutes| sample(minutes_ago(minutes), used(LimitKind::Actions, 0.003_390, 0.0)))
        .collect();
    samples[30].usage = used(LimitKind::Actions, 0.0, 450.0);
    let usage = ReportedUsage::Known(UsageWindow::from_samples(samples).expect("not empty"));
    assert_eq!(
        decided(&Snapshot {
            usage,
            ..snapshot("crm", 4)
        })
        .to_string(),
        "[crm.a1b2c] Hold: 12 actions in the last hour, below the threshold of 100, \
         but on-demand provides 500 actions/s, below the recent peak of 450/s plus 25% headroom"
    );
}

#[test]
fn an_estimate_states_its_minutes_and_releases_nothing() {
    let mut snapshot = snapshot("cart", 4);
    snapshot.usage = one(used(LimitKind::Actions, 0.003_334, 0.0));
    assert_eq!(
        decided(&snapshot).to_string(),
        "[cart.a1b2c] Hold: 12 actions in the last hour (estimated from 1 minute), below the threshold of 100; \
         capacity is not released on an estimate, 47 more minutes of data needed"
    );
    let mut rules = Rules::default();
    rules.guards.disable_on_estimate = true;
    assert_eq!(
        decide(&snapshot, &account(), &rules, now()).to_string(),
        "[cart.a1b2c] Disable: 12 actions in the last hour (estimated from 1 minute), below the threshold of 100; \
         releasing 4 TRUs saves up to $54.00/h at $50/M"
    );
    let samples =
        (4..51).map(|minutes| sample(minutes_ago(minutes), used(LimitKind::Actions, 0.003_334, 0.0)));
    snapshot.usage = ReportedUsage::Known(UsageWindow::from_samples(samples).expect("not empty"));
    assert_eq!(
        decided(&snapshot).reason,
        "12 actions in the last hour (estimated from the newest minute; 47 of 60 are known), below the threshold of \
         100; capacity is not released on an estimate, 1 more minute of data needed"
    );
}

#[test]
fn a_namespace_whose_limits_support_has_set() {
    let mut snapshot = Snapshot {
        usage: hour(used(LimitKind::Actions, 0.000_834, 0.0)),
        ..snapshot("old", 4)
    };
    let mut info = known_info(4, 12);
    info.has_legacy_limits = true;
    snapshot.capacity_info = CapacityInfo::Known(info);
    assert_eq!(
        decided(&snapshot).to_string(),
        "[old.a1b2c] Hold: 3 actions in the last hour, below the threshold of 100, \
         but its limits were set by Temporal Support; change it manually or through Support"
    );
}

#[test]
fn a_namespace_whose_capacity_might_not_be_available_again() {
    let snapshot = Snapshot {
        usage: hour(used(LimitKind::Actions, 0.000_834, 0.0)),
        capacity_info: CapacityInfo::Known(known_info(8, 4)),
        ..snapshot("far", 8)
    };
    assert_eq!(
        decided(&snapshot).to_string(),
        "[far.a1b2c] Hold: 3 actions in the last hour, below the threshold of 100, \
         but the region can currently provide only 4 TRUs, so 8 TRUs might not be available again; \
         release it manually if you no longer need it"
    );
}

#[test]
fn a_namespace_that_waits_for_its_own_change() {
    let snapshot = Snapshot {
        latest_request: Some(request(RequestState::Completed, 3, true)),
        ..twelve_actions("pay", 4)
    };
    assert_eq!(
        decided(&snapshot).reason,
        "latest metrics (2026-11-20 10:41:00 UTC) predate the last change, which took effect at 2026-11-20 10:42:00 UTC; waiting for newer data"
    );
}

#[test]
fn a_number_below_the_threshold_is_never_shown_as_the_threshold() {
    // 99.99... actions in the last hour.
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
fn the_published_table_of_codes_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reason-codes.md");
    let Ok(published) = read(path) else {
        // A published crate does not include the workspace's documents.
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
