//! The families and namespaces that one scrape reads.

use capacity_engine::{LimitKind, PerLimit};
use openmetrics_reader::scrape::FamilyQuery;
use openmetrics_reader::temporal_cloud::Part;

use super::families::family_of;
use super::source::MetricsSource;

/// The families to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// All families except those with one series per operation name. This is enough to find namespaces that
    /// are throttled or idle.
    Candidates,
    /// All families.
    Everything,
}

/// Number of series per namespace above which a family of a large account is read for candidates only.
const MANY_SERIES: u32 = 10;

impl Detail {
    fn includes(self, kind: LimitKind, part: Part) -> bool {
        match self {
            Self::Everything => true,
            Self::Candidates => part != Part::Served || kind.families().served_series <= MANY_SERIES,
        }
    }

    /// Returns the limits, and the parts of each, to read.
    pub(super) fn parts(self) -> impl Iterator<Item = (LimitKind, Part)> {
        let all = LimitKind::ALL
            .into_iter()
            .flat_map(|kind| Part::ALL.map(|part| (kind, part)));
        all.filter(move |(kind, part)| self.includes(*kind, *part))
    }

    /// Returns the limits whose served rates are read.
    pub(super) fn served(self) -> PerLimit<bool> {
        PerLimit::from_fn(|kind| self.includes(kind, Part::Served))
    }

    pub(super) fn queries(self) -> Vec<FamilyQuery<'static>> {
        self.parts()
            .map(|(kind, part)| FamilyQuery {
                name: family_of(kind, part).name(),
                points_per_namespace: match part {
                    Part::Served => f64::from(kind.families().served_series),
                    // Few namespaces are throttled at any time.
                    Part::Throttled => 0.1,
                    Part::Limit | Part::OnDemandLimit => 1.0,
                },
                is_rate: part.is_rate(),
            })
            .collect()
    }
}

/// Number of points per minute up to which everything is read from Prometheus at once: reading an hour of them takes a few
/// seconds.
const STORED_POINTS: usize = 30_000;

/// Returns what to read first for this number of namespaces: everything, if it fits into one response of the
/// source.
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
