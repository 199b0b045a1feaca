//! Finds the limit that throttles most.

use crate::decision::Share;
use crate::limit::{LimitKind, PerLimit};
use crate::rate::Rate;
use crate::usage::{MinuteSample, Usage};

/// The limit that throttles most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Throttling {
    pub(super) kind: LimitKind,
    pub(super) usage: Usage,
    pub(super) share: Share,
}

/// Returns the limit with the highest throttled share; `None` if nothing is throttled. If the served rate was
/// not read, it is assumed to be at the limit, as it is while work is throttled.
pub(super) fn most_throttled(sample: &MinuteSample, limits: &PerLimit<Option<Rate>>) -> Option<Throttling> {
    let throttled = LimitKind::ALL.into_iter().filter_map(|kind| {
        let mut usage = sample.usage[kind];
        if !sample.served_read[kind] {
            usage.served = limits[kind].unwrap_or_default();
        }
        let (refused, asked) = (
            usage.throttled.micros_per_second(),
            usage.asked().micros_per_second(),
        );
        if refused == 0 {
            return None;
        }
        // `asked` includes `refused`, so it is not zero here.
        let micros = u128::from(refused) * 1_000_000 / u128::from(asked);
        // At most a million, since throttled requests are part of all requests.
        let share = Share {
            micros: u32::try_from(micros).unwrap_or(1_000_000),
        };
        Some(Throttling { kind, usage, share })
    });
    // If shares are equal, the first limit is reported.
    throttled.reduce(|most, next| if next.share > most.share { next } else { most })
}
