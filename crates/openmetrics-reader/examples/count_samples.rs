//! Counts the samples of each metric of a document on standard input:
//! `curl -s "$ADDRESS/metrics" | cargo run -p openmetrics-reader --example count_samples`.

use std::collections::BTreeMap;
use std::io::Read as _;

use openmetrics_reader::{ChunkedReader, Event, Options};

#[expect(clippy::print_stdout, reason = "printing is the purpose of this program")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut samples = BTreeMap::<String, u64>::new();
    let mut count = |event: Event<'_>| {
        if let Event::Sample(sample) = event {
            let name = sample.name();
            match samples.get_mut(name.raw()) {
                Some(count) => *count += 1,
                None => drop(samples.insert(name.raw().to_owned(), 1)),
            }
        }
    };
    let mut reader = ChunkedReader::new(Options::lenient());
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match std::io::stdin().read(&mut chunk)? {
            0 => break,
            length => reader.push(&chunk[..length], &mut count)?,
        }
    }
    let summary = reader.finish(&mut count)?;
    for (name, count) in samples {
        println!("{count:8} {name}");
    }
    if !summary.end_marker_seen {
        println!("There was no end marker: the document may have been truncated after a complete line.");
    }
    Ok(())
}
