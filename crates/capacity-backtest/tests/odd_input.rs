//! Unusual ladders and loads: every contender can handle them.

use capacity_backtest::{Contender, Load, Settings, Trace, run};
use capacity_engine::break_even::Size;
use rstest::rstest;

/// Bursts of twenty minutes in every third hour, for two days.
fn bursts() -> Trace {
    let minutes = (0..2 * 24 * 60).map(|minute| {
        let actions = if minute % 180 < 20 { 120_000 } else { 3_000 };
        Some(Load {
            actions,
            peak: actions / 6,
        })
    });
    Trace::from_minutes(minutes, 0)
}

#[rstest]
#[case::one_size(&[4])]
#[case::one_size_below_the_envelope(&[1])]
#[case::one_large_size(&[100])]
#[case::no_size(&[])]
fn every_contender_runs_on_a_short_ladder(#[case] sizes: &[u32]) {
    let trace = bursts();
    let settings = Settings {
        ladder: sizes.iter().copied().map(Size::documented).collect(),
        warmup_days: 0,
        ..Settings::for_trace(&trace)
    };
    let asked: i64 = trace
        .minutes()
        .flatten()
        .map(|load| i64::from(load.actions))
        .sum();
    for contender in Contender::ALL {
        let score = run(&trace, contender, &settings);
        assert_eq!(score.minutes, 2 * 24 * 60, "{contender}");
        assert!(score.served <= asked, "{contender}");
        if sizes.is_empty() {
            assert_eq!(
                score.topup_actions, 0,
                "{contender} pays for a size that is not there"
            );
        }
    }
}

#[rstest]
#[case::nothing_known(vec![None; 3_000])]
#[case::nothing_asked(vec![Some(Load { actions: 0, peak: 0 }); 3_000])]
#[case::one_minute(vec![Some(Load { actions: 6_000, peak: 1_000 })])]
#[case::the_largest_load(vec![Some(Load { actions: 600_000_000, peak: 100_000_000 }); 3_000])]
fn every_contender_runs_on_an_odd_load(#[case] minutes: Vec<Option<Load>>) {
    let trace = Trace::from_minutes(minutes, 0);
    let settings = Settings::for_trace(&trace);
    for contender in Contender::ALL {
        let score = run(&trace, contender, &settings);
        assert!(
            score.topup_actions >= 0 && score.action_minutes() >= 0,
            "{contender}"
        );
        assert!(
            (0..=1_000_000).contains(&score.delayed_share_micros()),
            "{contender}: {score:?}"
        );
    }
}
