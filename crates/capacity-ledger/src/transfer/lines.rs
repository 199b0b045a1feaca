//! Writes files of lines, and reads them with errors that include the line number.

use std::cell::Cell;
use std::io::{self, BufRead, Read, Write};

use csv::StringRecord;
use serde::de::DeserializeOwned;

use crate::line::{Format, Line};
use crate::problem::Problem;

/// A file that is being written.
pub(super) struct Lines<W: Write> {
    file: File<W>,
    count: u64,
}

enum File<W: Write> {
    Csv(Box<csv::Writer<W>>),
    Json(W),
}

impl<W: Write> Lines<W> {
    /// Starts a file. CSV gets a header line, even if no rows follow.
    pub(super) fn begin<T: Line>(format: Format, out: W) -> io::Result<Self> {
        let file = match format {
            Format::Csv => {
                let mut csv = csv::WriterBuilder::new().has_headers(false).from_writer(out);
                csv.write_record(T::NAMES)?;
                File::Csv(Box::new(csv))
            }
            Format::JsonLines => File::Json(out),
        };
        Ok(Self { file, count: 0 })
    }

    pub(super) fn line(&mut self, line: &impl Line) -> io::Result<()> {
        self.count += 1;
        match &mut self.file {
            File::Csv(csv) => csv.serialize(line).map_err(io::Error::from),
            File::Json(out) => {
                serde_json::to_writer(&mut *out, line)?;
                out.write_all(b"\n")
            }
        }
    }

    /// Returns how many lines were written, excluding the header line.
    pub(super) fn end(self) -> io::Result<u64> {
        match self.file {
            File::Csv(mut csv) => csv.flush()?,
            File::Json(mut out) => out.flush()?,
        }
        Ok(self.count)
    }
}

/// Passes every line with its number to `take`. Errors start with `line 7: ...`.
pub(super) fn read<T: DeserializeOwned>(
    format: Format,
    input: impl BufRead,
    take: impl FnMut(u64, T) -> Result<(), Problem>,
) -> Result<(), Problem> {
    match format {
        Format::Csv => read_csv(input, take),
        Format::JsonLines => read_json(input, take),
    }
}

fn read_json<T: DeserializeOwned>(
    input: impl BufRead,
    mut take: impl FnMut(u64, T) -> Result<(), Problem>,
) -> Result<(), Problem> {
    for (number, line) in (1..).zip(input.lines()) {
        let told = |problem: Problem| problem.in_line(number);
        let line = line.map_err(|error| told(error.to_string().into()))?;
        if line.trim().is_empty() {
            continue;
        }
        let record = serde_json::from_str(&line).map_err(|error| told(json_problem(&error).into()))?;
        take(number, record).map_err(told)?;
    }
    Ok(())
}

/// Formats a JSON error without its own line number, which is always 1.
fn json_problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let problem = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(problem, _)| problem);
    format!("{problem} (column {})", error.column())
}

fn read_csv<T: DeserializeOwned>(
    input: impl BufRead,
    mut take: impl FnMut(u64, T) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let end = End::default();
    let mut reader = csv::Reader::from_reader(Watched { input, end: &end });
    let names = reader
        .headers()
        .map_err(|error| Problem::from(error.to_string()).in_line(1))?
        .clone();
    let mut record = StringRecord::new();
    let mut number = 1;
    while reader
        .read_record(&mut record)
        .map_err(|error| csv_problem(&error, number + 1, &names))?
    {
        number = record.position().map_or(number + 1, csv::Position::line);
        let read = record
            .deserialize(Some(&names))
            .map_err(|error| csv_problem(&error, number, &names))?;
        take(number, read).map_err(|problem| problem.in_line(number))?;
    }
    if end.is_cut_short() {
        return Err(Problem::from("it is truncated: it does not end in a line break").in_line(number));
    }
    Ok(())
}

fn csv_problem(error: &csv::Error, number: u64, names: &StringRecord) -> Problem {
    let number = error.position().map_or(number, csv::Position::line);
    let problem = match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("it has {len} fields, but the header has {expected_len}"),
        csv::ErrorKind::Utf8 { err, .. } => err.to_string(),
        csv::ErrorKind::Deserialize { err, .. } => {
            let field = err.field().and_then(|field| usize::try_from(field).ok());
            match field.and_then(|field| names.get(field)) {
                Some(name) => format!("{name}: {}", err.kind()),
                None => err.kind().to_string(),
            }
        }
        _ => error.to_string(),
    };
    Problem::from(problem).in_line(number)
}

/// The end of a CSV file. A file that is truncated within its last field would otherwise be read as complete,
/// with a wrong value.
#[derive(Default)]
struct End {
    last: Cell<Option<u8>>,
    is_quoted: Cell<bool>,
}

impl End {
    fn is_cut_short(&self) -> bool {
        self.is_quoted.get() || self.last.get().is_some_and(|last| last != b'\n')
    }
}

struct Watched<'a, R> {
    input: R,
    end: &'a End,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        let is_quote = |byte: &u8| *byte == b'"';
        let is_quoted = bytes.iter().fold(self.end.is_quoted.get(), |is_quoted, byte| {
            // An escaped quote is two quotes, which cancel out.
            is_quoted ^ is_quote(byte)
        });
        self.end.is_quoted.set(is_quoted);
        self.end.last.set(bytes.last().copied().or(self.end.last.get()));
        Ok(count)
    }
}
