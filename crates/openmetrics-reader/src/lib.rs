#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! [`Reader`] reads a document that is completely in memory, and [`ChunkedReader`] one that arrives in
//! chunks. Both return the same [`Event`]s, the same [`Summary`] and the same [`Error`]s. [`Options`] selects
//! strict or lenient reading.

mod chunked;
mod engine;
mod error;
mod event;
mod line;
mod number;
mod options;
mod reader;
mod sample;
mod scan;
#[cfg(feature = "scrape")]
pub mod scrape;
mod shape;
mod strict;
pub mod temporal_cloud;
mod text;

pub use chunked::ChunkedReader;
pub use error::{Error, ErrorKind};
pub use event::{Event, Kind, Summary};
pub use options::{Limits, Mode, OnUnreadable, Options};
pub use reader::Reader;
pub use sample::{Exemplar, Label, Labels, Sample};
pub use text::Text;
