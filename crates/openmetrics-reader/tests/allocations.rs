//! Reading allocates nothing per sample. A separate test binary, because counting replaces the allocator.

#[path = "../benches/documents/mod.rs"]
mod documents;

use openmetrics_reader::{ChunkedReader, Event, Options, Reader};

/// Counts the allocations of `read`, which returns how many samples it saw.
fn allocations(document: &str, samples: usize, read: impl Fn(&[u8]) -> usize) -> u64 {
    let mut seen = 0;
    let counted = allocation_counter::measure(|| seen = read(document.as_bytes()));
    assert_eq!(seen, samples);
    counted.count_total
}

/// Reads every part of a sample.
fn visit(event: &Event<'_>) -> usize {
    let Event::Sample(sample) = event else { return 0 };
    assert!(sample.value().is_finite() && sample.timestamp_ms().is_some());
    assert!(sample.labels().all(|label| !label.value.unescaped().is_empty()));
    1
}

fn whole(document: &[u8]) -> usize {
    Reader::new(document, Options::lenient())
        .map(|event| visit(&event.expect("a sound document")))
        .sum()
}

fn in_chunks(document: &[u8]) -> usize {
    let mut samples = 0;
    let mut count = |event: Event<'_>| samples += visit(&event);
    let mut reader = ChunkedReader::new(Options::lenient());
    for chunk in document.chunks(1000) {
        reader.push(chunk, &mut count).expect("a sound document");
    }
    reader.finish(&mut count).expect("a whole document");
    samples
}

#[test]
fn thirty_thousand_samples_allocate_no_more_than_a_thousand() {
    let (small, large) = (documents::temporal_like(1_000), documents::temporal_like(30_000));
    for read in [whole, in_chunks] {
        assert_eq!(
            allocations(&small, 1_000, read),
            allocations(&large, 30_000, read)
        );
    }
}
