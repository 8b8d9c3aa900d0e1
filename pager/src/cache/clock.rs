//! Which page makes room: one that a long scan has passed, otherwise the clock algorithm (Corbato
//! 1968) with counters of two bits.

use yieldb_core::sync::IS_CHECKED;
use yieldb_core::sync::atomic::Ordering;

use yieldb_core::reached;

use super::frames::{RESIDENT, RETIRED};
use super::pool::{FramePool, Slow};
use super::stats::Counters;
use crate::PageRef;

/// The heat of a page that was just used, and that of an interior node from the beginning.
pub(super) const HOT: u8 = 3;
/// The heat of a leaf that was just read: one round of the clock, unless it is used again.
pub(super) const COOL: u8 = 1;
/// The heat of a page that was read and that nobody waited for.
pub(super) const COLD: u8 = 0;

/// How hard a frame is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Somebody waits for it: some page has to go.
    Firm,
    /// It would be nice to have: pages that are in use stay.
    Vague,
}

/// How many pages are looked at for a vague need.
const VAGUE_LOOKS: u64 = 128;

/// How many pages make room at a time.
const BATCH: usize = if IS_CHECKED { 2 } else { 16 };

impl FramePool {
    /// Takes up to [`BATCH`] pages out of memory that are neither pinned nor dirty: those that a
    /// long scan has passed, in the order in which it did; where there are none the coldest ones:
    /// each look at a page cools it, and one without heat goes. Their frames are retired.
    ///
    /// So a long scan goes on in the frames that it has, and the hand stands still meanwhile.
    ///
    /// Cost: at most as many rounds as there are degrees of heat; for a vague need a few looks,
    /// which take only pages that are cold already.
    pub(super) fn evict(&self, slow: &mut Slow, need: Need) {
        let mut evicted = 0;
        while evicted < BATCH
            && let Some(frame) = slow.passed.pop_front()
        {
            self.frames.meta[frame as usize].is_passed.store(false, Ordering::Relaxed);
            evicted += usize::from(self.is_cold(frame) && self.evict_frame(slow, frame));
        }
        if evicted > 0 {
            return;
        }
        let looks = match need {
            Need::Firm => u64::from(slow.unused) * (u64::from(HOT) + 1),
            Need::Vague => VAGUE_LOOKS.min(u64::from(slow.unused) / 4),
        };
        for _ in 0..looks {
            let frame = slow.hand;
            slow.hand = (slow.hand + 1) % slow.unused;
            let meta = &self.frames.meta[frame as usize];
            if meta.state.load(Ordering::SeqCst) != RESIDENT {
                continue;
            }
            let heat = meta.heat.load(Ordering::Relaxed);
            if heat != COLD {
                // Not taken off: a scan may have made it cold meanwhile.
                meta.heat.store(heat - 1, Ordering::Relaxed);
                continue;
            }
            evicted += usize::from(self.evict_frame(slow, frame));
            if evicted == BATCH {
                return;
            }
        }
    }

    fn is_cold(&self, frame: u32) -> bool {
        self.frames.meta[frame as usize].heat.load(Ordering::Relaxed) == COLD
    }

    /// Takes the page in a frame out of memory, if there is one that is neither pinned nor dirty.
    fn evict_frame(&self, slow: &mut Slow, frame: u32) -> bool {
        let meta = &self.frames.meta[frame as usize];
        // Exactly resident: not pinned, not dirty, not retired.
        let out =
            meta.state.compare_exchange(RESIDENT, RETIRED, Ordering::SeqCst, Ordering::Relaxed);
        if out.is_err() {
            return false;
        }
        let page = PageRef::from_u64(meta.page.load(Ordering::SeqCst)).page();
        let removed = self.remove(slow, meta.owner.load(Ordering::Relaxed), page);
        debug_assert_eq!(removed, Some(frame), "{page:?} is where its file has it");
        self.retire(slow, frame);
        reached!(PageEvicted);
        Counters::count(&self.counters.evictions);
        true
    }

    /// A long scan has passed the page in a frame: unless somebody else has used it of late, it is
    /// the next to go.
    pub(super) fn pass(&self, frame: u32) {
        let meta = &self.frames.meta[frame as usize];
        if meta.heat.load(Ordering::Relaxed) <= COOL {
            meta.heat.store(COLD, Ordering::Relaxed);
            if !meta.is_passed.swap(true, Ordering::Relaxed) {
                self.slow().passed.push_back(frame);
            }
        }
    }
}
