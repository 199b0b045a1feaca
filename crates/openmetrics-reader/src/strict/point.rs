//! The rules of each type: the samples of a point, and their allowed values.

use std::cmp::Ordering;

use crate::event::Kind;
use crate::number;
use crate::sample::Sample;
use crate::strict::rule::{Broken, Result, broken, demand};
use crate::text::Text;

/// The role of a sample within its metric point.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    /// The value of a gauge or of an unknown family.
    Value,
    Total,
    Created,
    State,
    Info,
    /// A bucket and its upper bound.
    Bucket(f64),
    /// The number of observations: `_count` or `_gcount`.
    Count,
    /// The sum of a histogram or summary.
    Sum,
    /// The sum of a gauge histogram, which may be negative.
    GaugeSum,
    Quantile,
}

impl Part {
    /// Classifies a sample by its family's type, its suffix and the label that distinguishes the parts.
    pub(super) fn new(
        kind: Kind,
        suffix: &str,
        label: Option<Text<'_>>,
    ) -> std::result::Result<Self, Broken> {
        match (kind, suffix) {
            (Kind::Histogram | Kind::GaugeHistogram, "_bucket") => {
                return upper_bound(label).map(Self::Bucket);
            }
            (Kind::Histogram | Kind::GaugeHistogram, _) => {
                demand(
                    label.is_none(),
                    "only the buckets of a histogram may have a label `le`",
                )?;
            }
            (Kind::Summary, "") => return quantile(label).map(|()| Self::Quantile),
            (Kind::Summary, _) => demand(
                label.is_none(),
                "only the quantiles of a summary may have a label `quantile`",
            )?,
            (Kind::StateSet, _) => {
                demand(
                    label.is_some(),
                    "a sample of a state set must have a label with the name of the family",
                )?;
                return Ok(Self::State);
            }
            (Kind::Unknown | Kind::Gauge | Kind::Counter | Kind::Info, _) => {}
        }
        Ok(match suffix {
            "_total" => Self::Total,
            "_created" => Self::Created,
            "_info" => Self::Info,
            "_count" | "_gcount" => Self::Count,
            "_sum" => Self::Sum,
            "_gsum" => Self::GaugeSum,
            _ => Self::Value,
        })
    }
}

fn upper_bound(label: Option<Text<'_>>) -> std::result::Result<f64, Broken> {
    let text = label
        .ok_or_else(|| broken("a bucket must have a label `le`"))?
        .raw();
    let bound = number::number(text).filter(|bound| !bound.is_nan());
    let bound = bound.ok_or_else(|| broken("the label `le` of a bucket must be a number"))?;
    let is_infinity = bound.is_infinite() && bound > 0.0;
    demand(
        !is_infinity || text == "+Inf",
        "an infinite label `le` must be written `+Inf`",
    )?;
    Ok(bound)
}

fn quantile(label: Option<Text<'_>>) -> Result {
    let text = label
        .ok_or_else(|| broken("a quantile of a summary must have a label `quantile`"))?
        .raw();
    let is_share = number::number(text).is_some_and(|quantile| (0.0..=1.0).contains(&quantile));
    demand(is_share, "the label `quantile` must be a number from 0 to 1")
}

/// The state of the current metric point.
#[derive(Debug, Default)]
pub(super) struct Point {
    has_total: bool,
    has_negative_bound: bool,
    count: Option<f64>,
    sum: Option<f64>,
    /// Upper bound and value of the latest bucket.
    bucket: Option<(f64, f64)>,
}

impl Point {
    /// Checks one sample of the point.
    pub(super) fn add(&mut self, kind: Kind, part: Part, sample: &Sample<'_>) -> Result {
        let value = sample.value();
        match part {
            Part::Value => {}
            Part::Total => {
                self.has_total = true;
                check_counter_like(value)?;
            }
            Part::Created => demand(value.is_finite(), "a creation time must be a finite number")?,
            Part::State => demand(same(value, 0.0) || same(value, 1.0), "a state must be 0 or 1")?,
            Part::Info => demand(same(value, 1.0), "the value of an info must be 1")?,
            Part::Bucket(bound) => self.add_bucket(bound, value)?,
            Part::Count => {
                check_count(value)?;
                self.count = Some(value);
            }
            Part::Sum => {
                check_counter_like(value)?;
                self.sum = Some(value);
            }
            Part::GaugeSum => {
                demand(!value.is_nan(), "a sum must not be NaN")?;
                self.sum = Some(value);
            }
            // Without events in the window, the quantile is NaN.
            Part::Quantile => demand(
                value.is_nan() || value >= 0.0,
                "the value of a quantile must not be negative",
            )?,
        }
        check_exemplar(kind, part, sample)
    }

    fn add_bucket(&mut self, bound: f64, value: f64) -> Result {
        check_count(value)?;
        if let Some((last_bound, last_value)) = self.bucket {
            demand(
                bound > last_bound,
                "the buckets of a histogram must be sorted by `le`, without duplicates",
            )?;
            demand(
                value >= last_value,
                "the buckets of a histogram must be cumulative",
            )?;
        }
        self.has_negative_bound |= bound < 0.0;
        self.bucket = Some((bound, value));
        Ok(())
    }

    /// Checks the point as a whole. The error is the violated rule.
    pub(super) fn end(self, kind: Kind) -> std::result::Result<(), &'static str> {
        match kind {
            Kind::Counter if !self.has_total => Err("a counter must have a `_total`"),
            Kind::Histogram | Kind::GaugeHistogram => self.end_histogram(kind),
            Kind::Unknown | Kind::Gauge | Kind::Counter | Kind::StateSet | Kind::Info | Kind::Summary => {
                Ok(())
            }
        }
    }

    fn end_histogram(&self, kind: Kind) -> std::result::Result<(), &'static str> {
        let Some((_, all)) = self
            .bucket
            .filter(|(bound, _)| bound.is_infinite() && *bound > 0.0)
        else {
            return Err("a histogram must have a bucket `+Inf`");
        };
        if self.count.is_some_and(|count| !same(count, all)) {
            return Err("the count of a histogram must equal its bucket `+Inf`");
        }
        if self.sum.is_some() != self.count.is_some() {
            return Err("a histogram must have both count and sum, or neither");
        }
        if kind == Kind::Histogram && self.has_negative_bound && self.sum.is_some() {
            return Err("a histogram with negative buckets must not have a sum");
        }
        if self.sum.is_some_and(|sum| sum < 0.0) && !self.has_negative_bound {
            return Err("the sum of a gauge histogram without negative buckets must not be negative");
        }
        Ok(())
    }
}

/// Counts are stored as floats, like in the format. Both have been checked not to be NaN.
fn same(left: f64, right: f64) -> bool {
    left.partial_cmp(&right) == Some(Ordering::Equal)
}

fn check_counter_like(value: f64) -> Result {
    demand(
        value >= 0.0,
        "a total, sum, count or bucket must be neither negative nor NaN",
    )
}

fn check_count(value: f64) -> Result {
    check_counter_like(value)?;
    demand(
        value.is_finite() && same(value.trunc(), value),
        "a count or bucket must be an integer",
    )
}

fn check_exemplar(kind: Kind, part: Part, sample: &Sample<'_>) -> Result {
    let Some(exemplar) = sample.exemplar() else {
        return Ok(());
    };
    match part {
        Part::Bucket(bound) => demand(
            exemplar.value() <= bound,
            "the exemplar of a bucket must not be above its `le`",
        ),
        _ => demand(
            kind == Kind::Counter && matches!(part, Part::Total),
            "only buckets and the totals of counters may have exemplars",
        ),
    }
}
