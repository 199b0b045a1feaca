//! Replays other policies over the same minutes with `capacity-backtest`, to compare their cost and throttling.

use capacity_backtest::{Contender, Course, Score, Settings, run_recorded};
use capacity_engine::PricePerMillion;

use crate::gather::Namespace;
use crate::hours::MINUTES;

/// The alternatives, in report order.
pub(crate) const COMPARED: [Contender; 4] = [
    Contender::OnDemand,
    Contender::StaticPeak,
    Contender::Threshold,
    Contender::BreakEven,
];

/// The result of one policy for one namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Replayed {
    pub(crate) idle_actions: u64,
    pub(crate) throttled_actions: u64,
    pub(crate) throttled_minutes: i64,
    pub(crate) delayed_actions: u64,
    pub(crate) changes: u64,
}

/// Replays one policy; `None` if no minutes are known.
pub(crate) fn replayed(
    namespace: &Namespace,
    contender: Contender,
    price: PricePerMillion,
) -> Option<Replayed> {
    let rebuilt = namespace.rebuilt.as_ref()?;
    let settings = Settings {
        warmup_days: namespace.warm_up_days,
        price,
        // The documented ladder and limits: the ledger does not keep what the region offered.
        ..Settings::for_trace(&rebuilt.trace)
    };
    let (score, course) = run_recorded(&rebuilt.trace, contender, &settings);
    Some(figures(&score, &course, namespace.warm_up_days))
}

fn figures(score: &Score, course: &Course, warm_up_days: usize) -> Replayed {
    let whole = |count: i64| u64::try_from(count).unwrap_or(0);
    let warm_up = warm_up_days * 24 * usize::try_from(MINUTES).unwrap_or(60);
    // A score leaves out the warm-up, a course does not.
    let throttled = course.throttled.iter().skip(warm_up).filter(|count| **count > 0);
    Replayed {
        idle_actions: whole(score.topup_actions),
        throttled_actions: whole(score.throttled),
        throttled_minutes: i64::try_from(throttled.count()).unwrap_or(i64::MAX),
        delayed_actions: whole(score.delayed),
        changes: whole(score.changes),
    }
}
