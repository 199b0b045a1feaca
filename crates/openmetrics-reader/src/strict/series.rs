//! The series of one family: metrics one after the other, points in order of time, without duplicates.

use crate::event::Kind;
use crate::number;
use crate::sample::Sample;
use crate::strict::key::{Key, KeyMaker, Keys};
use crate::strict::point::{Part, Point};
use crate::strict::rule::{Broken, Earlier, Result, broken, demand};
use crate::text::Text;

/// Maximum capacity of a set that is reused for the next family, so that a document with one huge and many tiny families does not
/// clear the huge set repeatedly.
const MAX_KEPT_KEYS: usize = 1024;

/// The state of the current family.
#[derive(Debug, Default)]
pub(super) struct Series {
    keys: KeyMaker,
    /// The current metric: its labels without the one that distinguishes the parts of a point.
    metric: Option<Key>,
    has_timestamp: bool,
    timestamp: String,
    metrics_seen: Keys,
    /// Series without a timestamp, for types whose metrics have several series.
    seen_without_timestamp: Keys,
    point: Point,
    /// Line of the latest sample.
    line: u64,
}

/// The keys of a sample's labels.
struct LabelKeys<'a> {
    metric: Key,
    series: Key,
    /// Value of the label that distinguishes the parts of a point: `le`, `quantile`, or the state.
    part_label: Option<Text<'a>>,
}

impl Series {
    /// Checks one sample of the family.
    pub(super) fn sample(
        &mut self,
        family: &str,
        kind: Kind,
        suffix: &'static str,
        sample: &Sample<'_>,
        line: u64,
    ) -> Result {
        let keys = self.label_keys(family, kind, suffix, sample);
        let part = Part::new(kind, suffix, keys.part_label)?;
        if self.metric == Some(keys.metric) {
            self.same_metric(family, kind, sample)?;
        } else {
            self.next_metric(family, kind, keys.metric)?;
            self.keep_timestamp(sample);
        }
        if sample.timestamp_text().is_none() && has_several_series(kind) {
            demand(
                self.seen_without_timestamp.insert(keys.series),
                "a series without timestamps must have only one sample",
            )?;
        }
        self.line = line;
        self.point.add(kind, part, sample)
    }

    /// Ends the family, and checks it.
    pub(super) fn close(&mut self, family: &str, kind: Kind) -> Result {
        self.end_point(family, kind)?;
        self.metric = None;
        for keys in [&mut self.metrics_seen, &mut self.seen_without_timestamp] {
            if keys.capacity() > MAX_KEPT_KEYS {
                *keys = Keys::default();
            } else {
                keys.clear();
            }
        }
        Ok(())
    }

    fn label_keys<'a>(
        &self,
        family: &str,
        kind: Kind,
        suffix: &'static str,
        sample: &Sample<'a>,
    ) -> LabelKeys<'a> {
        let part_name = match kind {
            Kind::Histogram | Kind::GaugeHistogram => Some("le"),
            Kind::Summary => Some("quantile"),
            Kind::StateSet => Some(family),
            Kind::Unknown | Kind::Gauge | Kind::Counter | Kind::Info => None,
        };
        let mut metric = Key::default();
        let mut part = Key::default();
        let mut part_label = None;
        for label in sample.labels() {
            let key = self.keys.key(label.name.raw(), &label.value.unescaped());
            if part_name == Some(label.name.raw()) {
                part_label = Some(label.value);
                part = key;
            } else {
                metric = metric.with(key);
            }
        }
        let series = if has_several_series(kind) {
            // No label has an empty name, so the suffix cannot be mistaken for one.
            metric.with(part).with(self.keys.key("", suffix))
        } else {
            metric
        };
        LabelKeys {
            metric,
            series,
            part_label,
        }
    }

    fn next_metric(&mut self, family: &str, kind: Kind, metric: Key) -> Result {
        self.end_point(family, kind)?;
        self.metric = Some(metric);
        // It is unknown which labels of an info identify the metric and which are its value, so any order may
        // be right.
        let is_new = kind == Kind::Info || self.metrics_seen.insert(metric);
        demand(
            is_new,
            "the samples of a metric must not be interleaved with those of another",
        )
    }

    fn same_metric(&mut self, family: &str, kind: Kind, sample: &Sample<'_>) -> Result {
        let Some(timestamp) = sample.timestamp_text() else {
            demand(
                !self.has_timestamp,
                "either all samples of a metric must have a timestamp, or none",
            )?;
            return demand(
                has_several_series(kind),
                "a series without timestamps must have only one sample",
            );
        };
        demand(
            self.has_timestamp,
            "either all samples of a metric must have a timestamp, or none",
        )?;
        match number::compare_timestamps(&self.timestamp, timestamp) {
            std::cmp::Ordering::Greater => Err(broken("the timestamps of a metric must never go backwards")),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Less => {
                self.end_point(family, kind)?;
                self.keep_timestamp(sample);
                Ok(())
            }
        }
    }

    fn keep_timestamp(&mut self, sample: &Sample<'_>) {
        self.timestamp.clear();
        self.timestamp
            .push_str(sample.timestamp_text().unwrap_or_default());
        self.has_timestamp = sample.timestamp_text().is_some();
    }

    fn end_point(&mut self, family: &str, kind: Kind) -> Result {
        if self.metric.is_none() {
            return Ok(());
        }
        std::mem::take(&mut self.point).end(kind).map_err(|rule| Broken {
            rule,
            earlier: Some(Earlier {
                line: self.line,
                family: family.to_owned(),
            }),
        })
    }
}

/// Returns whether one metric of this type has more than one series, or cannot be distinguished from one that does.
fn has_several_series(kind: Kind) -> bool {
    match kind {
        Kind::Unknown | Kind::Gauge => false,
        Kind::Counter
        | Kind::StateSet
        | Kind::Info
        | Kind::Histogram
        | Kind::GaugeHistogram
        | Kind::Summary => true,
    }
}
