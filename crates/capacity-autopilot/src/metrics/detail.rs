//! How much of an account's metrics is read at a time.

use capacity_engine::{LimitKind, PerLimit};
use openmetrics_reader::scrape::FamilyQuery;

use super::families::Role;
use super::source::MetricsSource;

/// Which families are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// All but those with one series per operation name: enough to see which namespaces are throttled or idle.
    Candidates,
    /// All.
    Everything,
}

/// More series of one family than this for each namespace are read for candidates only, if the account is large.
const MANY_SERIES: u32 = 10;

impl Detail {
    fn includes(self, kind: LimitKind, role: Role) -> bool {
        match self {
            Self::Everything => true,
            Self::Candidates => role != Role::Served || kind.families().served_series <= MANY_SERIES,
        }
    }

    /// Returns what of which limit is read.
    pub(super) fn parts(self) -> impl Iterator<Item = (LimitKind, Role)> {
        let all = LimitKind::ALL
            .into_iter()
            .flat_map(|kind| Role::ALL.map(|role| (kind, role)));
        all.filter(move |(kind, role)| self.includes(*kind, *role))
    }

    /// Returns the limits whose served rates are read.
    pub(super) fn served(self) -> PerLimit<bool> {
        PerLimit::from_fn(|kind| self.includes(kind, Role::Served))
    }

    pub(super) fn queries(self) -> Vec<FamilyQuery<'static>> {
        self.parts()
            .map(|(kind, role)| FamilyQuery {
                name: role.of(kind.families()),
                points_per_namespace: match role {
                    Role::Served => f64::from(kind.families().served_series),
                    // Few namespaces are throttled at any time.
                    Role::Throttled => 0.1,
                    Role::Limit | Role::Envelope => 1.0,
                },
                is_rate: matches!(role, Role::Served | Role::Throttled),
            })
            .collect()
    }
}

/// Up to this number of points per minute, everything is read from Prometheus at once: an hour of them takes a few seconds.
const STORED_POINTS: usize = 30_000;

/// Returns what to read first of this number of namespaces: everything, if that fits into one answer of the source.
pub(crate) fn first_detail(source: &MetricsSource, namespaces: usize) -> Detail {
    let most_points = match source {
        MetricsSource::Endpoint(scraper) => scraper.config().points_per_answer,
        MetricsSource::Prometheus(_) => STORED_POINTS,
    };
    let queries = Detail::Everything.queries();
    let points: usize = queries.iter().map(|query| query.points_of(namespaces)).sum();
    if points <= most_points {
        Detail::Everything
    } else {
        Detail::Candidates
    }
}
