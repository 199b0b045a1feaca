//! Measures how fast a namespace-year is replayed, and a month through all contenders, with ratios to the
//! target times; and how memory grows.

use std::hint::black_box;
use std::time::{Duration, Instant};

use capacity_backtest::{Contender, Load, Settings, Trace, run};
use criterion::{Criterion, criterion_group};

const DAY: u32 = 24 * 60;

/// Loads with different replay costs.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// A daily wave with noise and a burst of twenty minutes every few hours.
    Waves,
    /// Almost the same in every minute, above the lowest envelope.
    Steady,
    /// A burst of five minutes in every hour on an otherwise idle namespace.
    Batches,
    /// Always more than the largest size admits.
    Overload,
}

impl Shape {
    const ALL: [Self; 4] = [Self::Waves, Self::Steady, Self::Batches, Self::Overload];

    fn load(self, days: u32) -> Trace {
        let mut noise = 1_u32;
        let minutes = (0..days * DAY).map(|minute| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let actions = match self {
                Self::Waves => {
                    let wave = (minute % DAY).abs_diff(DAY / 2) * 40;
                    let burst = if minute % 431 < 20 { 90_000 } else { 0 };
                    6_000 + wave + burst + (noise >> 20)
                }
                Self::Steady => 60_000 + (noise >> 28),
                Self::Batches => {
                    let burst = if minute % 60 < 5 { 120_000 } else { 0 };
                    burst + (noise >> 24)
                }
                Self::Overload => 500_000 + (noise >> 20),
            };
            Some(Load {
                actions,
                peak: actions / 5,
            })
        });
        Trace::from_minutes(minutes, 0)
    }
}

fn years(criterion: &mut Criterion) {
    let year = Shape::Waves.load(365);
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
    let month = Shape::Waves.load(30);
    let settings = Settings::for_trace(&month);
    let mut group = criterion.benchmark_group("month");
    group.sample_size(10);
    group.bench_function("all contenders", |bencher| {
        bencher.iter(|| Contender::ALL.map(|contender| black_box(run(&month, contender, &settings))));
    });
    group.finish();
}

/// Returns the best of three runs.
fn measured(trace: &Trace, contenders: &[Contender]) -> Duration {
    let settings = Settings::for_trace(trace);
    let times = [0; 3].map(|_| {
        let begun = Instant::now();
        for contender in contenders {
            black_box(run(trace, *contender, &settings));
        }
        begun.elapsed()
    });
    times.into_iter().min().unwrap_or_default()
}

/// Prints the times, next to the target times.
#[expect(clippy::print_stdout, reason = "a benchmark shows its summary")]
fn times() {
    for shape in Shape::ALL {
        let (year, month) = (shape.load(365), shape.load(30));
        let rows: [(&str, Duration, u64); 3] = [
            (
                "a year of threshold",
                measured(&year, &[Contender::Threshold]),
                100,
            ),
            (
                "a year of break-even",
                measured(&year, &[Contender::BreakEven]),
                500,
            ),
            (
                "a month of all contenders",
                measured(&month, &Contender::ALL),
                3_000,
            ),
        ];
        for (what, took, demanded) in rows {
            let share = took.as_secs_f64() / Duration::from_millis(demanded).as_secs_f64();
            println!("{shape:?}: {what}: {took:.1?}, target {demanded} ms, ratio {share:.3}");
        }
    }
}

/// Returns the peak memory of the process in kB, if the system reports it.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().trim_end_matches(" kB").parse().ok()
}

/// Prints peak memory for increasing lengths of the load. The lengths increase because the peak never falls.
#[expect(clippy::print_stdout, reason = "a benchmark shows its summary")]
fn memory() {
    for years in [1, 2, 4, 8, 16] {
        let trace = Shape::Waves.load(years * 365);
        let settings = Settings::for_trace(&trace);
        for contender in [Contender::BreakEven, Contender::ReactiveOptimum] {
            black_box(run(&trace, contender, &settings));
        }
        if let Some(kilobytes) = peak_memory() {
            println!("Waves: {years} years: peak memory {} MB", kilobytes / 1_000);
        }
    }
}

criterion_group!(benches, years, month);

fn main() {
    benches();
    times();
    memory();
    Criterion::default().configure_from_args().final_summary();
}
