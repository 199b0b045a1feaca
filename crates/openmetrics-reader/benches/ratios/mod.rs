//! Prints the ratios of a benchmark run from criterion's estimates.

use std::path::{Path, PathBuf};

pub(crate) const GROUP: &str = "read";
pub(crate) const LENIENT: &str = "lenient";
pub(crate) const LABELS: &str = "lenient, labels";
pub(crate) const CHUNKED: &str = "chunked";
pub(crate) const STRICT: &str = "strict";
pub(crate) const SCRAPER: &str = "prometheus-scraper";
pub(crate) const WALK: &str = "memchr line walk";

/// Prints a table per document size, or nothing if there are no estimates (`cargo test` runs benchmarks
/// without measuring).
#[expect(clippy::print_stdout, reason = "the summary is the purpose of the run")]
pub(crate) fn print(points: &[usize]) {
    let Some(folder) = criterion_folder() else { return };
    for &points in points {
        let time = |name| nanoseconds(&folder, name, points);
        let (Some(lenient), Some(scraper), Some(walk)) = (time(LENIENT), time(SCRAPER), time(WALK)) else {
            return;
        };
        println!("\n{points} points           time   times as fast as       times the time   times the time");
        println!("                               prometheus-scraper   of the line walk   of lenient");
        for name in [LENIENT, LABELS, CHUNKED, STRICT, SCRAPER, WALK] {
            let Some(time) = time(name) else { return };
            println!(
                "{name:20} {:8.2} ms {:20.1} {:18.1} {:12.2}",
                time / 1e6,
                scraper / time,
                time / walk,
                time / lenient
            );
        }
    }
}

/// Criterion writes to a folder next to the binary that runs.
fn criterion_folder() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("CRITERION_HOME") {
        return Some(folder.into());
    }
    let program = std::env::current_exe().ok()?;
    program.ancestors().nth(3).map(|target| target.join("criterion"))
}

/// Mean time of one reading, in nanoseconds.
fn nanoseconds(folder: &Path, name: &str, points: usize) -> Option<f64> {
    let file = folder
        .join(GROUP)
        .join(name)
        .join(points.to_string())
        .join("new/estimates.json");
    let estimates: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()?;
    estimates["mean"]["point_estimate"].as_f64()
}
