//! `plan --observe`: collects minutes of usage before they are evaluated.

use std::time::{Duration, Instant};

use capacity_autopilot::{Autopilot, Sampler};

use crate::exit::tell;
use crate::stops::{Stopped, Stops};
use crate::terminal::Terminal;

/// Collects minutes for this duration. Returns the reason if it was stopped early.
pub(crate) async fn minutes(
    autopilot: &Autopilot,
    duration: Duration,
    stops: &Stops,
    terminal: Terminal,
) -> anyhow::Result<Option<Stopped>> {
    let end = Instant::now() + duration;
    let bar = terminal.progress("observing");
    let mut sampler = Sampler::new(autopilot);
    let (mut known, mut failed) = (0_u32, 0_u32);
    tell(&format!(
        "observing for {} s; press Ctrl-C to stop",
        duration.as_secs()
    ));
    loop {
        let round = tokio::select! {
            round = sampler.round() => round,
            stopped = stops.first() => return Ok(Some(stopped)),
        };
        match round.problem {
            None => known += 1,
            Some(problem) => {
                failed += 1;
                bar.suspend(|| tell(&format!("warning: a minute could not be read: {problem}")));
            }
        }
        let left = end.saturating_duration_since(Instant::now());
        bar.set_message(format!(
            "observing: {known} minutes known, {} min left",
            left.as_secs().div_ceil(60)
        ));
        // If another round does not fit, wait for the remaining time, so that `15m` takes 15 minutes.
        tokio::select! {
            () = tokio::time::sleep(left.min(round.next_in)) => {}
            stopped = stops.first() => return Ok(Some(stopped)),
        }
        // After the wait, so that the last round is as far from the evaluation as any other.
        if left <= round.next_in {
            break;
        }
    }
    bar.finish_and_clear();
    anyhow::ensure!(
        known > 0,
        "no minutes could be read ({failed} attempts failed): see the warnings above"
    );
    Ok(None)
}
