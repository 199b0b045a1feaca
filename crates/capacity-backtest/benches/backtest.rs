//! How fast a namespace-year is replayed, and all contenders of a month, with the ratios to the demanded times.

use std::hint::black_box;
use std::time::{Duration, Instant};

use capacity_backtest::{Contender, Load, Settings, Trace, run};
use criterion::{Criterion, criterion_group};

const DAY: u32 = 24 * 60;

/// A load with a daily wave, noise and a burst of twenty minutes every few hours.
fn load(days: u32) -> Trace {
    let mut noise = 1_u32;
    let minutes = (0..days * DAY).map(|minute| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let wave = (minute % DAY).abs_diff(DAY / 2) * 40;
        let burst = if minute % 431 < 20 { 90_000 } else { 0 };
        let actions = 6_000 + wave + burst + (noise >> 20);
        Some(Load {
            actions,
            peak: actions / 5,
        })
    });
    Trace::from_minutes(minutes, 0)
}

fn years(criterion: &mut Criterion) {
    let year = load(365);
    let settings = Settings::for_trace(&year);
    let mut group = criterion.benchmark_group("year");
    group.sample_size(10);
    for contender in [Contender::Threshold, Contender::BreakEven] {
        group.bench_function(contender.name(), |bencher| {
            bencher.iter(|| black_box(run(&year, contender, &settings)));
        });
    }
    group.finish();
}

fn month(criterion: &mut Criterion) {
    let month = load(30);
    let settings = Settings::for_trace(&month);
    let mut group = criterion.benchmark_group("month");
    group.sample_size(10);
    group.bench_function("all contenders", |bencher| {
        bencher.iter(|| Contender::ALL.map(|contender| black_box(run(&month, contender, &settings))));
    });
    group.finish();
}

/// Best of three runs, beside the time that is demanded.
#[expect(clippy::print_stdout, reason = "a benchmark shows its summary")]
fn summary() {
    let (year, month) = (load(365), load(30));
    let settings = Settings::for_trace(&month);
    let measured = |work: &dyn Fn()| {
        let times = [0; 3].map(|_| {
            let begun = Instant::now();
            work();
            begun.elapsed()
        });
        times.into_iter().min().unwrap_or_default()
    };
    let one = |trace: &Trace, contender| {
        black_box(run(trace, contender, &settings));
    };
    let rows: [(&str, Duration, u64); 3] = [
        (
            "a year of threshold",
            measured(&|| one(&year, Contender::Threshold)),
            100,
        ),
        (
            "a year of break-even",
            measured(&|| one(&year, Contender::BreakEven)),
            500,
        ),
        (
            "a month of all contenders",
            measured(&|| {
                for contender in Contender::ALL {
                    one(&month, contender);
                }
            }),
            3_000,
        ),
    ];
    for (what, took, demanded) in rows {
        let share = took.as_secs_f64() / Duration::from_millis(demanded).as_secs_f64();
        println!("{what}: {took:.1?}, demanded {demanded} ms, ratio {share:.3}");
    }
}

criterion_group!(benches, years, month);

fn main() {
    benches();
    summary();
    Criterion::default().configure_from_args().final_summary();
}
