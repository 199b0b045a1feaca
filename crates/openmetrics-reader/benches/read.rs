//! Measures reading speed, compared with `prometheus-scraper` and a bare walk over the line feeds.
//!
//! `lenient`, `strict` and `chunked` read every event and add up the values. `lenient, labels` also visits
//! every label, as `prometheus-scraper` always does. The walk only counts lines. A summary with the ratios
//! follows the measurements.

mod documents;
mod ratios;

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group};
use openmetrics_reader::{ChunkedReader, Event, Options, Reader};
use prometheus_scraper::{Format, TextFormat};

const POINTS: [usize; 2] = [30_000, 1_000_000];
const CHUNK_BYTES: usize = 64 * 1024;

/// Accumulates values, so that the reading is not optimized away.
#[derive(Default)]
struct Totals {
    samples: usize,
    values: f64,
    label_bytes: usize,
}

impl Totals {
    fn add(&mut self, event: &Event<'_>) {
        if let Event::Sample(sample) = event {
            self.samples += 1;
            self.values += sample.value();
        }
    }

    fn add_labels(&mut self, event: &Event<'_>) {
        if let Event::Sample(sample) = event {
            for label in sample.labels() {
                self.label_bytes += label.name.raw().len() + label.value.raw().len();
            }
        }
    }
}

fn one_shot(document: &[u8], options: Options) -> Totals {
    let mut totals = Totals::default();
    for event in Reader::new(document, options) {
        totals.add(&event.expect("the document is sound"));
    }
    totals
}

fn with_labels(document: &[u8]) -> Totals {
    let mut totals = Totals::default();
    for event in Reader::new(document, Options::lenient()) {
        let event = event.expect("the document is sound");
        totals.add(&event);
        totals.add_labels(&event);
    }
    totals
}

fn chunked(document: &[u8]) -> Totals {
    let mut totals = Totals::default();
    let mut reader = ChunkedReader::new(Options::lenient());
    for chunk in document.chunks(CHUNK_BYTES) {
        reader
            .push(chunk, |event| totals.add(&event))
            .expect("the document is sound");
    }
    reader
        .finish(|event| totals.add(&event))
        .expect("the document is whole");
    totals
}

fn prometheus_scraper(document: &[u8]) -> Totals {
    let mut totals = Totals::default();
    for family in prometheus_scraper::parse_payload(document, Format::Text(TextFormat::OpenMetrics)) {
        let family = family.expect("the document is sound");
        totals.samples += family.metric.len();
        black_box(&family);
    }
    totals
}

fn line_walk(document: &[u8]) -> usize {
    let mut lines = 0;
    let mut rest = document;
    while let Some(at) = memchr::memchr(b'\n', rest) {
        lines += 1;
        rest = &rest[at + 1..];
    }
    lines
}

type Contender = (&'static str, fn(&[u8]) -> Totals);

const CONTENDERS: [Contender; 6] = [
    (ratios::LENIENT, |document| one_shot(document, Options::lenient())),
    (ratios::LABELS, with_labels),
    (ratios::CHUNKED, chunked),
    (ratios::STRICT, |document| one_shot(document, Options::strict())),
    (ratios::SCRAPER, prometheus_scraper),
    (ratios::WALK, |document| Totals {
        samples: line_walk(document),
        ..Totals::default()
    }),
];

fn read(criterion: &mut Criterion) {
    for points in POINTS {
        let document = documents::temporal_like(points);
        let mut group = criterion.benchmark_group(ratios::GROUP);
        group
            .throughput(Throughput::Bytes(document.len() as u64))
            .sample_size(20);
        for (name, read) in CONTENDERS {
            let seen = read(document.as_bytes()).samples;
            assert!(
                seen == points || name == ratios::WALK,
                "{name} saw {seen} of {points} samples"
            );
            group.bench_function(BenchmarkId::new(name, points), |bencher| {
                bencher.iter_batched(|| black_box(document.as_bytes()), read, BatchSize::PerIteration);
            });
        }
        group.finish();
    }
}

criterion_group!(benches, read);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    ratios::print(&POINTS);
}
