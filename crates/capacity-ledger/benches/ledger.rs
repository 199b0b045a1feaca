//! Benchmarks writing a minute of 10,000 namespaces, and reading the last hour of 1,000, in SQLite.
#![allow(missing_docs, reason = "a benchmark has no readers of its documentation")]

use std::sync::Arc;

use capacity_ledger::{Ledger, Location, Minute, NamespaceMinute};
use criterion::{Criterion, criterion_group, criterion_main};
use jiff::Timestamp;

fn minute(number: i64, namespaces: usize) -> Minute {
    let sample = |index: usize| NamespaceMinute {
        namespace: Arc::from(format!("team-{index:05}.a1b2c")),
        unread: [false; 3],
        reported: true,
        served: [0, 1, 2].map(|kind| fastrand::u64(0..400_000_000) + kind),
        throttled: [0; 3],
        limits: [Some(500_000_000), Some(2_000_000_000), Some(4_000_000_000)],
        envelopes: [Some(500_000_000), Some(2_000_000_000), Some(4_000_000_000)],
    };
    Minute {
        minute: at(number),
        complete: true,
        source: "bench".to_owned(),
        samples: (0..namespaces).map(sample).collect(),
    }
}

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_040 + minute * 60).expect("in range")
}

fn ledger(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let open = |name: &str| {
        runtime
            .block_on(Ledger::open(&Location::Sqlite(folder.path().join(name))))
            .expect("opened")
    };
    let (large, small) = (open("large.db"), open("small.db"));
    let mut number = 0;
    criterion.bench_function("write a minute of 10,000 namespaces", |bencher| {
        bencher.iter_batched(
            || {
                number += 1;
                minute(number, 10_000)
            },
            |it| {
                runtime
                    .block_on(large.record_minute("a1b2c", &it, it.minute))
                    .expect("written")
            },
            criterion::BatchSize::PerIteration,
        );
    });
    for number in 0..60 {
        let it = minute(number, 1_000);
        runtime
            .block_on(small.record_minute("a1b2c", &it, it.minute))
            .expect("written");
    }
    criterion.bench_function("read the last hour of 1,000 namespaces", |bencher| {
        bencher.iter(|| {
            runtime
                .block_on(small.window("a1b2c", at(0), at(60)))
                .expect("readable")
        });
    });
}

criterion_group!(benches, ledger);
criterion_main!(benches);
