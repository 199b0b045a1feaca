//! Watches the cloud: accepted updates, throttled namespaces, and for how long they are throttled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloud_simulator::AcceptedUpdate;
use tokio::sync::watch;

use crate::event_log::say;
use crate::world::World;

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Delay of the metrics, in seconds of simulated time after the end of the minute.
const METRICS_LATE: f64 = 180.0;
/// A POST that was sent before a pause started may arrive within this time.
const UNDER_WAY: Duration = Duration::from_secs(10);
/// Maximum number of concurrent operations that the account allows.
const MOST_OPERATIONS: usize = 10;

/// A period in which an on-demand namespace is throttled.
struct Episode {
    /// When the throttling becomes visible in the metrics.
    visible: Instant,
    is_late: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Times from visible throttling to the POST.
    pub(crate) since_visible: Vec<Duration>,
    /// Times to the POST, counted from when the throttling was visible and worker, server and cloud were available.
    pub(crate) since_possible: Vec<Duration>,
    /// Number of episodes that ended on their own before a scale-up.
    pub(crate) subsided: u64,
    /// Number of episodes still open at the end.
    pub(crate) unanswered: u64,
    pub(crate) while_paused: u64,
    pub(crate) most_operations: usize,
    /// The longest time after the start of a pause at which a POST arrived.
    pub(crate) latest_after_pause: Duration,
}

pub(crate) struct Watcher {
    world: Arc<World>,
    speed: f64,
    bound: Duration,
    episodes: BTreeMap<String, Episode>,
    accepted: BTreeSet<String>,
    seen: Seen,
}

impl Watcher {
    pub(crate) fn new(world: Arc<World>, speed: f64, bound: Duration) -> Self {
        Self {
            world,
            speed,
            bound,
            episodes: BTreeMap::new(),
            accepted: BTreeSet::new(),
            seen: Seen::default(),
        }
    }

    /// Watches until the end of the run. Throttling is tracked until `answering` ends.
    pub(crate) async fn run(
        mut self,
        mut over: watch::Receiver<bool>,
        answering: watch::Receiver<bool>,
    ) -> Seen {
        loop {
            if tokio::time::timeout(LOOK_EVERY, over.changed()).await.is_ok() {
                return self.seen;
            }
            let updates = self.world.cloud.accepted();
            self.look_at_updates(&updates);
            if !*answering.borrow() {
                self.look_at_throttling(&updates);
            } else if !self.episodes.is_empty() {
                self.seen.unanswered = self.episodes.len() as u64;
                self.episodes.clear();
            }
            self.look_at_workers();
        }
    }

    fn look_at_updates(&mut self, updates: &[AcceptedUpdate]) {
        let under_way = updates.iter().filter(|it| !it.is_over).count();
        self.seen.most_operations = self.seen.most_operations.max(under_way);
        if under_way > MOST_OPERATIONS {
            self.world.violated(format!("{under_way} operations at a time"));
        }
        for update in updates {
            if !self.accepted.insert(update.operation_id.clone()) {
                continue;
            }
            let what = match update.wanted {
                Some(0) => "on-demand".to_owned(),
                Some(trus) => format!("{trus} TRUs"),
                None => "something else".to_owned(),
            };
            say(&format!(
                "POST of {} to {what} ({})",
                update.namespace, update.operation_id
            ));
            if update.wanted.is_none() || self.world.quiet.contains(&update.namespace) {
                self.world.violated(format!(
                    "a needless update of {}: {}",
                    update.namespace, update.operation_id
                ));
            }
            let (paused_since, good_since) = {
                let conditions = self.world.conditions();
                (conditions.paused_since, conditions.good_since())
            };
            if let Some(since) = paused_since {
                let after = since.elapsed().saturating_sub(LOOK_EVERY);
                self.seen.latest_after_pause = self.seen.latest_after_pause.max(after);
                if after > UNDER_WAY {
                    self.seen.while_paused += 1;
                    self.world.violated(format!(
                        "{} was changed {:.1} s after everything was paused",
                        update.namespace,
                        after.as_secs_f64()
                    ));
                }
            }
            if update.wanted.is_some_and(|trus| trus > 0)
                && let Some(episode) = self.episodes.remove(&update.namespace)
            {
                self.seen.since_visible.push(episode.visible.elapsed());
                let possible = good_since.map_or(Duration::ZERO, |good| good.elapsed());
                self.seen
                    .since_possible
                    .push(possible.min(episode.visible.elapsed()));
            }
        }
    }

    fn look_at_throttling(&mut self, updates: &[AcceptedUpdate]) {
        let now = self.world.cloud.now();
        // The newest complete minute.
        let minute = now.as_second().div_euclid(60) - 1;
        let good_since = self.world.conditions().good_since();
        for namespace in self.world.cloud.namespaces() {
            let last = updates.iter().rfind(|it| it.namespace == namespace.id);
            let is_at_rest =
                last.is_none_or(|it| it.is_over && it.takes_effect_at.as_second() <= minute * 60);
            let is_short = namespace.trus == 0 && namespace.throttled > 0.0 && is_at_rest;
            match self.episodes.get_mut(&namespace.id) {
                None if is_short => {
                    #[expect(clippy::cast_precision_loss, reason = "seconds of a run")]
                    let ago = (now.as_millisecond() - (minute + 1) * 60_000) as f64 / 1_000.0;
                    let left = Duration::from_secs_f64((METRICS_LATE - ago).max(0.0) / self.speed);
                    let episode = Episode {
                        visible: Instant::now() + left,
                        is_late: false,
                    };
                    self.episodes.insert(namespace.id, episode);
                }
                // An accepted update is in progress.
                Some(_) if !is_short && last.is_none_or(|it| it.is_over) => {
                    self.seen.subsided += 1;
                    self.episodes.remove(&namespace.id);
                }
                Some(episode) if !episode.is_late => {
                    let possible = good_since.map_or(Duration::ZERO, |good| good.elapsed());
                    let waited = possible.min(episode.visible.elapsed());
                    if waited > self.bound {
                        episode.is_late = true;
                        self.world.violated(format!(
                            "{} is throttled and was not scaled up within {:.0} s, although a worker and the cloud were available",
                            namespace.id,
                            self.bound.as_secs_f64()
                        ));
                    }
                }
                _ => {}
            }
        }
    }

    /// Reports workers that exited without being killed.
    fn look_at_workers(&self) {
        for worker in &self.world.workers {
            // The task that kills this worker holds the lock.
            let Ok(mut worker) = worker.try_lock() else {
                continue;
            };
            if let Some(status) = worker.ended_by_itself() {
                self.world.change(|it| it.workers -= 1);
                let name = worker.name.clone();
                self.world
                    .violated(format!("{name} exited on its own: {status} (see {name}.log)"));
            }
        }
    }
}
