//! Maps the engine's limits to the families that report them.

use capacity_engine::LimitKind;
use openmetrics_reader::temporal_cloud::{Family, Limit, Part};

/// Returns the vendor's term for a limit.
pub(crate) const fn limit_of(kind: LimitKind) -> Limit {
    match kind {
        LimitKind::Actions => Limit::Actions,
        LimitKind::Requests => Limit::Requests,
        LimitKind::Operations => Limit::Operations,
    }
}

/// Returns the family that reports a part of a limit.
pub(crate) const fn family_of(kind: LimitKind, part: Part) -> Family {
    Family {
        limit: limit_of(kind),
        part,
    }
}

/// Returns the full names of all metric families in use.
pub fn metric_families() -> Vec<&'static str> {
    Family::all().map(Family::name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_and_the_reader_name_the_same_families() {
        for kind in LimitKind::ALL {
            let families = kind.families();
            let named = [
                families.served,
                families.throttled,
                families.limit,
                families.envelope,
            ];
            assert_eq!(Part::ALL.map(|part| family_of(kind, part).name()), named);
        }
    }
}
