//! The newest acknowledged version, where those who begin to read find it.
//!
//! ```text
//!   to read:         the slot of one's lane -- full --> one more count on its tally
//!                           '-- empty: under the lock of `current`, fill it --^
//!   to acknowledge:  under that lock, empty all slots, and put the next version in place
//! ```
//!
//! Threads of different lanes meet at nothing but once for each version. A slot changes under the
//! lock of `current` alone, and there the next version comes when all slots are empty. So whoever
//! gets it does so when nobody gets the one before any more; and no slot keeps a version that is
//! not the newest: a thread that has read once, and does nothing since, holds nothing back.
//!
//! The order of the locks: the ledger's, that of `current`, a slot's. Whoever ends a pin needs the
//! first one, so no count that may be a version's last is given up under the others.

use smallvec::SmallVec;
use yieldb_core::sync::{Arc, Mutex, MutexGuard, PoisonError, thread};
use yieldb_core::{Lanes, Tally, is_planted};

use crate::RootSet;

/// The newest acknowledged version.
#[derive(Debug)]
pub(crate) struct Newest {
    current: Mutex<Current>,
    /// A tally of the version for each lane, from the first one of it who reads.
    slots: Lanes<Mutex<Option<Tally<RootSet>>>>,
}

#[derive(Debug)]
struct Current {
    roots: Arc<RootSet>,
    /// The lanes whose slots are full.
    full: SmallVec<[usize; 8]>,
}

impl Newest {
    pub fn new(roots: Arc<RootSet>) -> Newest {
        let current = Mutex::new(Current { roots, full: SmallVec::new() });
        Newest { current, slots: Lanes::new(Mutex::default) }
    }

    /// Counts on the version, for one who begins to read.
    #[inline]
    pub fn get(&self) -> Tally<RootSet> {
        let lane = self.slots.own_lane();
        let tally = lock(&self.slots[lane]).clone();
        tally.unwrap_or_else(|| self.fill(lane))
    }

    /// Fills the slot of a lane, unless another thread of it just did.
    #[cold]
    fn fill(&self, lane: usize) -> Tally<RootSet> {
        let mut current = lock(&self.current);
        let tally = Tally::new(current.roots.clone());
        if !current.full.contains(&lane) {
            current.full.push(lane);
        }
        let current = (!is_planted!(OldVersionLeft)).then_some(current);
        let tally = lock(&self.slots[lane]).get_or_insert(tally).clone();
        drop(current);
        tally
    }

    /// Puts another version in its place. The caller has a count of his own on the one before, so
    /// none that is given up here is the last one.
    pub fn replace(&self, roots: Arc<RootSet>) {
        let mut current = lock(&self.current);
        let full = std::mem::take(&mut current.full);
        if is_planted!(OldBesideNew) {
            current.roots = roots.clone();
            drop(current);
            thread::yield_now();
            current = lock(&self.current);
        }
        for lane in full {
            drop(lock(&self.slots[lane]).take());
        }
        current.roots = roots;
    }

    /// Does anybody read it?
    pub fn is_read(&self) -> bool {
        let current = lock(&self.current);
        let is_read =
            |lane: &usize| lock(&self.slots[*lane]).as_ref().is_some_and(Tally::is_shared);
        current.full.iter().any(is_read)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
