//! How many relaxed commits wait, and for how long they may: for the many who ask whether there is
//! anything to be done, without a lock.

use std::time::Duration;

use yieldb_core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::durability::MAX_DELAY;

/// The relaxed commits that nobody wants to be written yet. Changed under the log's lock only.
#[derive(Default)]
pub(super) struct Resting {
    count: AtomicUsize,
    /// The time on the clock at which they are to be written, in nanoseconds; counts if there are
    /// any.
    until: AtomicU64,
}

impl Resting {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Have they waited for long enough?
    pub fn is_late(&self, now: Duration) -> bool {
        nanoseconds(now) >= self.until.load(Ordering::SeqCst)
    }

    /// There are `count` now: those that were there, and others that come.
    pub fn begin(&self, count: usize, now: Duration) {
        if self.count() == 0 {
            self.until.store(nanoseconds(now.saturating_add(MAX_DELAY)), Ordering::SeqCst);
        }
        self.set(count);
    }

    /// They are late from this time on.
    #[cfg(test)]
    pub fn expire(&self, time: Duration) {
        self.until.store(nanoseconds(time), Ordering::SeqCst);
    }

    /// There are `count` now, of those that were there.
    pub fn set(&self, count: usize) {
        self.count.store(count, Ordering::SeqCst);
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
