//! The events that a reader returns.

use std::fmt;

use crate::error::Error;
use crate::sample::Sample;
use crate::text::Text;

/// One meaningful line of the document. Borrows from the document.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// `# TYPE family kind`.
    Type {
        /// Name of the family.
        family: Text<'a>,
        /// Type of the family.
        kind: Kind,
    },
    /// `# HELP family text`.
    Help {
        /// Name of the family.
        family: Text<'a>,
        /// The text, which may be empty.
        help: Text<'a>,
    },
    /// `# UNIT family unit`.
    Unit {
        /// Name of the family.
        family: Text<'a>,
        /// The unit, which may be empty.
        unit: &'a str,
    },
    /// Any other line that begins with `#`, without the `#` (lenient mode only).
    Comment(&'a str),
    /// A sample.
    Sample(Sample<'a>),
    /// The end marker `# EOF`.
    End,
}

/// The type of a metric family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Unknown type. In lenient mode, also used for `untyped` of the older Prometheus text format.
    Unknown,
    /// A current measurement.
    Gauge,
    /// A count that only grows.
    Counter,
    /// A set of states, each of which is on or off.
    StateSet,
    /// Text that does not change, carried in labels.
    Info,
    /// A distribution of events in cumulative buckets.
    Histogram,
    /// A current distribution in cumulative buckets.
    GaugeHistogram,
    /// Count, sum and quantiles.
    Summary,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Unknown,
        Self::Gauge,
        Self::Counter,
        Self::StateSet,
        Self::Info,
        Self::Histogram,
        Self::GaugeHistogram,
        Self::Summary,
    ];

    /// Returns the type's name in the `OpenMetrics` text format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::StateSet => "stateset",
            Self::Info => "info",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
        }
    }

    /// Returns the type with this name in the `OpenMetrics` text format.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Returns the suffixes that sample names of this type append to the family's name.
    pub(crate) fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Unknown | Self::Gauge | Self::StateSet => &[""],
            Self::Counter => &["_total", "_created"],
            Self::Info => &["_info"],
            Self::Histogram => &["_bucket", "_count", "_sum", "_created"],
            Self::GaugeHistogram => &["_bucket", "_gcount", "_gsum"],
            Self::Summary => &["", "_count", "_sum", "_created"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What has been read so far. After the last event, it describes the whole document.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Summary {
    /// Number of lines read, including blank, skipped and comment lines.
    pub lines: u64,
    /// Number of samples returned.
    pub samples: u64,
    /// Number of lines that could not be parsed and were skipped, if
    /// [`OnUnreadable::Skip`](crate::OnUnreadable::Skip) is set.
    pub skipped_lines: u64,
    /// Why the first skipped line could not be parsed.
    pub first_skipped: Option<Error>,
    /// Whether the document had the end marker `# EOF`. Without it, a document that was truncated exactly at
    /// the end of a line looks complete. Detect that by other means, such as a `Content-Length`.
    pub end_marker_seen: bool,
}
