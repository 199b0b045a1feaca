//! The minutes of the last hour, by namespace.

use std::collections::HashMap;
use std::sync::Arc;

use capacity_engine::{MinuteSample, NamespaceId, PackedMinutes, UsageWindow};
use jiff::SignedDuration;

/// How far back a window may reach, including the delay of its newest minute.
pub(crate) const LOOK_BACK: SignedDuration = SignedDuration::from_mins(75);

/// Minutes of namespaces, by full id, in any order.
#[derive(Debug, Default)]
pub(crate) struct Histories(HashMap<Arc<str>, PackedMinutes>);

impl Histories {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn add(&mut self, namespace: &Arc<str>, sample: MinuteSample) {
        self.0.entry(Arc::clone(namespace)).or_default().push(&sample);
    }

    /// Returns the window that ends with a namespace's newest sample.
    pub(crate) fn window(&self, namespace: &NamespaceId, newest: MinuteSample) -> UsageWindow {
        window_of(self.0.get(namespace.as_str()), newest)
    }

    /// Like [`Self::window`], but removes the minutes, so that a large account holds them in memory once.
    pub(crate) fn take_window(&mut self, namespace: &NamespaceId, newest: MinuteSample) -> UsageWindow {
        window_of(self.0.remove(namespace.as_str()).as_ref(), newest)
    }

    /// Puts the minutes of a window back.
    pub(crate) fn put_back(&mut self, namespace: &NamespaceId, window: &UsageWindow) {
        self.0
            .insert(Arc::from(namespace.as_str()), window.minutes().collect());
    }
}

fn window_of(older: Option<&PackedMinutes>, newest: MinuteSample) -> UsageWindow {
    let older = older.into_iter().flatten();
    // The sampler may have recorded a newer minute by now. The decision and the limits are those of `newest`.
    let older = older.filter(|sample| sample.minute <= newest.minute);
    UsageWindow::from_samples(older.chain([newest])).unwrap_or_else(|| UsageWindow::of_one(newest))
}
