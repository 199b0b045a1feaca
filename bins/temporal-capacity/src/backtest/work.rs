//! Distributes independent jobs to the CPUs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs all jobs, one per CPU at a time, and returns the results in the order of the jobs.
pub(super) fn in_parallel<Job: Sync, Done: Send>(
    jobs: &[Job],
    progress: impl Fn(usize, usize) + Sync,
    work: impl Fn(&Job) -> Done + Sync,
) -> Vec<Done> {
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(jobs.len().max(1));
    let (next, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let results: Vec<Mutex<Option<Done>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((job, result)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    jobs.get(index).zip(results.get(index))
                } {
                    let done = work(job);
                    if let Ok(mut result) = result.lock() {
                        *result = Some(done);
                    }
                    progress(finished.fetch_add(1, Ordering::Relaxed) + 1, jobs.len());
                }
            });
        }
    });
    // Every slot has a result: the scope passes on the panic of a job, so this point is not reached without
    // one.
    let done = results
        .into_iter()
        .filter_map(|result| result.into_inner().ok().flatten());
    done.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_jobs() {
        let jobs: Vec<u64> = (0..100).collect();
        let doubled = in_parallel(&jobs, |_, _| {}, |job| job * 2);
        assert_eq!(doubled, jobs.iter().map(|job| job * 2).collect::<Vec<_>>());
    }
}
