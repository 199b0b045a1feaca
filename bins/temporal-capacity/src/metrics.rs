//! `metrics check` and `metrics dump`: an OpenMetrics document from standard input.

use std::io::{Read, Write};

use anyhow::Context;
use openmetrics_reader::{Event, Options, Reader, Sample};
use serde_json::{Map, Value, json};

/// Accepts or rejects a document.
pub(crate) fn check(strict: bool) -> anyhow::Result<()> {
    let document = standard_input()?;
    for event in Reader::new(&document, options(strict)) {
        event?;
    }
    Ok(())
}

/// Prints every sample as one JSON object a line.
pub(crate) fn dump(strict: bool) -> anyhow::Result<()> {
    let document = standard_input()?;
    let mut output = std::io::BufWriter::new(std::io::stdout().lock());
    for event in Reader::new(&document, options(strict)) {
        if let Event::Sample(sample) = event? {
            writeln!(output, "{}", line(&sample)).context("failed to write to standard output")?;
        }
    }
    output.flush().context("failed to write to standard output")
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

fn line(sample: &Sample<'_>) -> Value {
    let labels: Map<String, Value> = sample
        .labels()
        .map(|label| {
            (
                label.name.unescaped().into_owned(),
                Value::from(label.value.unescaped().into_owned()),
            )
        })
        .collect();
    json!({
        "name": sample.name().unescaped(),
        "labels": labels,
        "value": value(sample.value()),
        "timestamp": sample.timestamp_text().map_or(Value::Null, timestamp),
    })
}

/// JSON has no words for what is no finite number.
fn value(number: f64) -> Value {
    if number.is_nan() {
        Value::from("NaN")
    } else if number.is_infinite() {
        Value::from(if number > 0.0 { "+Inf" } else { "-Inf" })
    } else {
        Value::from(number)
    }
}

/// The number as written; what JSON does not take as a number stays text.
fn timestamp(text: &str) -> Value {
    serde_json::from_str::<serde_json::Number>(text).map_or_else(|_| Value::from(text), Value::Number)
}
