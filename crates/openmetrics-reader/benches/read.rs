//! How fast documents are read, beside `prometheus-scraper` and a bare walk over the line feeds.
//!
//! Every contender visits each sample and adds up its value, its timestamp's length and its labels' lengths, so that none
//! can skip work that another does; the walk only counts lines. `reader-ratios` prints the ratios of a run.

mod documents;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use openmetrics_reader::{ChunkedReader, Event, Options, Reader};
use prometheus_scraper::{Format, TextFormat};

const CHUNK_BYTES: usize = 64 * 1024;

/// What each contender gathers, so that its reading has a use.
#[derive(Default)]
struct Totals {
    samples: usize,
    values: f64,
    text_bytes: usize,
}

impl Totals {
    fn add(&mut self, event: &Event<'_>) {
        if let Event::Sample(sample) = event {
            self.samples += 1;
            self.values += sample.value();
            self.text_bytes += sample.timestamp_text().map_or(0, str::len);
            for label in sample.labels() {
                self.text_bytes += label.name.raw().len() + label.value.raw().len();
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

fn chunked(document: &[u8]) -> Totals {
    let mut totals = Totals::default();
    let mut reader = ChunkedReader::new(Options::lenient());
    for chunk in document.chunks(CHUNK_BYTES) {
        reader.push(chunk, |event| totals.add(&event)).expect("the document is sound");
    }
    reader.finish(|event| totals.add(&event)).expect("the document is whole");
    totals
}

fn prometheus_scraper(document: &[u8]) -> Totals {
    let mut totals = Totals::default();
    for family in prometheus_scraper::parse_payload(document, Format::Text(TextFormat::OpenMetrics)) {
        for metric in &family.expect("the document is sound").metric {
            totals.samples += 1;
            for label in &metric.label {
                totals.text_bytes += label.name.len() + label.value.len();
            }
            black_box(&metric.value);
        }
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

fn read(criterion: &mut Criterion) {
    for points in [30_000, 1_000_000] {
        let document = documents::temporal_like(points);
        let document = document.as_bytes();
        for totals in
            [one_shot(document, Options::lenient()), one_shot(document, Options::strict()), chunked(document), prometheus_scraper(document)]
        {
            assert_eq!(totals.samples, points);
        }
        let mut group = criterion.benchmark_group("read");
        group.throughput(Throughput::Bytes(document.len() as u64)).sample_size(20);
        let id = |name| BenchmarkId::new(name, points);
        group.bench_function(id("lenient"), |bencher| bencher.iter(|| one_shot(black_box(document), Options::lenient())));
        group.bench_function(id("strict"), |bencher| bencher.iter(|| one_shot(black_box(document), Options::strict())));
        group.bench_function(id("chunked"), |bencher| bencher.iter(|| chunked(black_box(document))));
        group.bench_function(id("prometheus-scraper"), |bencher| bencher.iter(|| prometheus_scraper(black_box(document))));
        group.bench_function(id("memchr-line-walk"), |bencher| bencher.iter(|| line_walk(black_box(document))));
        group.finish();
    }
}

criterion_group!(benches, read);
criterion_main!(benches);
