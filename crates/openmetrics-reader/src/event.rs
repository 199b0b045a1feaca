//! What a reader returns.

use std::fmt;

use crate::error::Error;
use crate::sample::Sample;
use crate::text::Text;

/// One meaningful line of the document. Borrows from the document.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event<'a> {
    /// `# TYPE family kind`.
    Type {
        /// Name of the family.
        family: Text<'a>,
        /// Its type.
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
    /// Any other line that begins with `#`, without the `#`. Lenient mode only.
    Comment(&'a str),
    /// A sample.
    Sample(Sample<'a>),
    /// The end marker `# EOF`.
    End,
}

/// The type of a metric family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// No type is known; also what `untyped` of the older Prometheus text format is read as in lenient mode.
    Unknown,
    /// A current measurement.
    Gauge,
    /// A count that only grows.
    Counter,
    /// A set of states that are each on or off.
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

    /// Returns the word of the `OpenMetrics` text format.
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

    /// Reads the word of the `OpenMetrics` text format.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// What sample names of a family of this type append to the family's name.
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

/// What has been read so far; after the last event, what the whole document held.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// Lines read, the blank, skipped and comment ones included.
    pub lines: u64,
    /// Samples handed out.
    pub samples: u64,
    /// Lines that could not be read and were skipped, as
    /// [`OnUnreadable::Skip`](crate::OnUnreadable::Skip) asks for.
    pub skipped_lines: u64,
    /// Why the first skipped line could not be read.
    pub first_skipped: Option<Error>,
    /// Whether the end marker `# EOF` was there. Without it, a document cut exactly at a line end looks whole: check it by other
    /// means, such as a `Content-Length`.
    pub end_marker_seen: bool,
}
