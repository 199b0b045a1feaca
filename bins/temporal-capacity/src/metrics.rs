//! `metrics check` and `metrics dump`: read an OpenMetrics document from standard input.

use std::io::{Read, Write};

use anyhow::Context;
use openmetrics_reader::{Event, Options, Reader, Sample};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use crate::exit::tell;

/// Error for a document without an end marker. Documents from the endpoint are accepted without it, because
/// their length is declared. Standard input has no declared length.
const NO_END_MARKER: &str =
    "the document ends without the end marker `# EOF`, so it may be truncated: fetch it again";

/// Validates the document on standard input.
pub(crate) fn check(strict: bool) -> anyhow::Result<()> {
    let document = standard_input()?;
    let mut reader = Reader::new(&document, options(strict));
    for event in reader.by_ref() {
        event?;
    }
    anyhow::ensure!(reader.summary().end_marker_seen, NO_END_MARKER);
    Ok(())
}

/// Prints every sample as one JSON object per line.
pub(crate) fn dump(strict: bool) -> anyhow::Result<()> {
    let document = standard_input()?;
    let mut output = std::io::BufWriter::new(std::io::stdout().lock());
    let mut reader = Reader::new(&document, options(strict));
    for event in reader.by_ref() {
        if let Event::Sample(sample) = event? {
            let line = serde_json::to_string(&line(&sample)?).context("failed to write a sample as JSON")?;
            writeln!(output, "{line}").context("failed to write to standard output")?;
        }
    }
    // Not left to the drop, which ignores errors.
    output.flush().context("failed to write to standard output")?;
    if !reader.summary().end_marker_seen {
        tell(&format!("warning: {NO_END_MARKER}"));
    }
    Ok(())
}

fn options(strict: bool) -> Options {
    if strict {
        Options::strict()
    } else {
        Options::lenient()
    }
}

fn standard_input() -> anyhow::Result<Vec<u8>> {
    let mut document = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut document)
        .context("failed to read standard input")?;
    Ok(document)
}

/// A sample, as `metrics dump` prints it.
#[derive(Serialize)]
struct Line {
    name: String,
    labels: Map<String, Value>,
    value: Value,
    timestamp: Option<Box<RawValue>>,
}

fn line(sample: &Sample<'_>) -> anyhow::Result<Line> {
    let labels: Map<String, Value> = sample
        .labels()
        .map(|label| {
            (
                label.name.unescaped().into_owned(),
                Value::from(label.value.unescaped().into_owned()),
            )
        })
        .collect();
    Ok(Line {
        name: sample.name().unescaped().into_owned(),
        labels,
        value: value(sample.value()),
        timestamp: sample.timestamp_text().map(timestamp).transpose()?,
    })
}

/// Returns infinite numbers and NaN as strings, because JSON cannot represent them.
fn value(number: f64) -> Value {
    if number.is_nan() {
        Value::from("NaN")
    } else if number.is_infinite() {
        Value::from(if number > 0.0 { "+Inf" } else { "-Inf" })
    } else {
        Value::from(number)
    }
}

/// Returns the timestamp as written, with every digit. A timestamp that is not a JSON number (`+5`, `007`)
/// becomes a string.
fn timestamp(text: &str) -> anyhow::Result<Box<RawValue>> {
    RawValue::from_string(text.to_owned())
        .or_else(|_| to_raw_value(text))
        .context("failed to write a timestamp as JSON")
}
