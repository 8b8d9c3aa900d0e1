//! When nobody can be looking at a frame any more (epoch-based reclamation, Fraser 2004).
//!
//! A reader announces the epoch in which it begins. A frame is taken out of the table first, and
//! then *retired*: that ends an epoch. It may be used again when every reader that is still at work
//! began in a later epoch, since such a reader cannot have found it in the table.

use std::cell::Cell;

use yieldb_core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use yieldb_core::sync::{IS_CHECKED, thread_number};

/// How many readers can be told apart. More of them at one time only delay reuse.
const SLOTS: usize = if IS_CHECKED { 2 } else { 64 };

/// The value of a slot that nobody uses.
const IDLE: u64 = 0;

#[derive(Debug)]
#[repr(align(128))]
struct Slot {
    epoch: AtomicU64,
    /// How many pages were found by those who had the slot. Changed only by the one who has it.
    hits: AtomicU64,
}

/// The current epoch, and those in which readers began.
#[derive(Debug)]
pub(super) struct Epochs {
    current: AtomicU64,
    slots: [Slot; SLOTS],
    /// Readers that found no slot. As long as there is one, nothing is reused.
    crowd: AtomicUsize,
    /// How many pages they found.
    crowd_hits: AtomicU64,
}

/// A reader at work.
#[derive(Debug)]
pub(super) struct Guard<'a> {
    epochs: &'a Epochs,
    /// `None` for one in the crowd.
    slot: Option<usize>,
    /// How many pages the reader found.
    hits: Cell<u64>,
}

impl Guard<'_> {
    /// Counts a page that was found.
    #[inline]
    pub fn count_hit(&self) {
        self.hits.set(self.hits.get() + 1);
    }
}

impl Epochs {
    pub fn new() -> Epochs {
        Epochs {
            current: AtomicU64::new(IDLE + 1),
            slots: [const { Slot { epoch: AtomicU64::new(IDLE), hits: AtomicU64::new(0) } }; SLOTS],
            crowd: AtomicUsize::new(0),
            crowd_hits: AtomicU64::new(0),
        }
    }

    /// Begins to read.
    #[inline]
    pub fn enter(&self) -> Guard<'_> {
        let epoch = self.current.load(Ordering::SeqCst);
        let first = thread_number();
        for step in 0..SLOTS {
            let slot = (first + step) % SLOTS;
            // Sequentially consistent with the table: a reader that a scan did not see yet cannot
            // see what was taken out of the table before that scan.
            let claim = self.slots[slot].epoch.compare_exchange(
                IDLE,
                epoch,
                Ordering::SeqCst,
                Ordering::Relaxed,
            );
            if claim.is_ok() {
                return Guard { epochs: self, slot: Some(slot), hits: Cell::new(0) };
            }
        }
        self.crowd.fetch_add(1, Ordering::SeqCst);
        Guard { epochs: self, slot: None, hits: Cell::new(0) }
    }

    /// Ends an epoch, and returns the one that ended. What was taken out of the table before this
    /// may be reused once [`Epochs::oldest`] is later.
    pub fn end(&self) -> u64 {
        self.current.fetch_add(1, Ordering::SeqCst)
    }

    /// The epoch in which the oldest reader at work began; the current one if there is none.
    pub fn oldest(&self) -> u64 {
        let current = self.current.load(Ordering::SeqCst);
        if self.crowd.load(Ordering::SeqCst) > 0 {
            return IDLE;
        }
        let epochs = self.slots.iter().map(|slot| slot.epoch.load(Ordering::SeqCst));
        epochs.filter(|epoch| *epoch != IDLE).min().unwrap_or(current).min(current)
    }

    /// How many pages were found by readers that are not at work any more.
    pub fn hits(&self) -> u64 {
        let hits = self.slots.iter().map(|slot| slot.hits.load(Ordering::Relaxed));
        hits.sum::<u64>() + self.crowd_hits.load(Ordering::Relaxed)
    }
}

impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        match self.slot {
            Some(slot) => {
                let slot = &self.epochs.slots[slot];
                // Nobody else changes it until the slot is idle.
                let hits = slot.hits.load(Ordering::Relaxed) + self.hits.get();
                slot.hits.store(hits, Ordering::Relaxed);
                slot.epoch.store(IDLE, Ordering::Release);
            }
            None => {
                self.epochs.crowd_hits.fetch_add(self.hits.get(), Ordering::Relaxed);
                self.epochs.crowd.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_retired_waits_for_those_who_began_before() {
        let epochs = Epochs::new();
        let before = epochs.enter();
        let ended = epochs.end();
        assert!(epochs.oldest() <= ended, "a reader from before is at work");
        let behind = epochs.enter();
        drop(before);
        assert!(epochs.oldest() > ended);
        drop(behind);
        assert!(epochs.oldest() > ended);
    }

    #[test]
    fn more_readers_than_slots_keep_everything_from_reuse() {
        let epochs = Epochs::new();
        let guards: Vec<Guard<'_>> = (0..SLOTS + 2).map(|_| epochs.enter()).collect();
        let ended = epochs.end();
        assert!(epochs.oldest() <= ended);
        drop(guards);
        assert!(epochs.oldest() > ended);
    }

    #[test]
    fn every_hit_is_counted() {
        let epochs = Epochs::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let guard = epochs.enter();
                        guard.count_hit();
                        guard.count_hit();
                    }
                });
            }
        });
        assert_eq!(epochs.hits(), 80_000);
        let guards: Vec<Guard<'_>> = (0..SLOTS + 2).map(|_| epochs.enter()).collect();
        guards.iter().for_each(Guard::count_hit);
        drop(guards);
        assert_eq!(epochs.hits(), 80_000 + SLOTS as u64 + 2);
    }
}
