//! Which page makes room: the clock algorithm (Corbato 1968) with counters of two bits.

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

/// How many pages make room at a time.
const BATCH: usize = if IS_CHECKED { 2 } else { 16 };

impl FramePool {
    /// Takes up to [`BATCH`] pages out of memory that are neither pinned nor dirty, the coldest
    /// ones: each look at a page cools it, and one without heat goes. Their frames are retired.
    ///
    /// Cost: at most as many rounds as there are degrees of heat; for a vague need a quarter of
    /// one, which takes only pages that are cold already.
    pub(super) fn evict(&self, slow: &mut Slow, need: Need) {
        let looks = match need {
            Need::Firm => u64::from(slow.unused) * (u64::from(HOT) + 1),
            Need::Vague => u64::from(slow.unused) / 4,
        };
        let mut evicted = 0;
        for _ in 0..looks {
            let frame = slow.hand;
            slow.hand = (slow.hand + 1) % slow.unused;
            let meta = &self.frames.meta[frame as usize];
            // Exactly resident: not pinned, not dirty, not retired.
            if meta.state.load(Ordering::SeqCst) != RESIDENT {
                continue;
            }
            let heat = meta.heat.load(Ordering::Relaxed);
            if heat > 0 {
                meta.heat.store(heat - 1, Ordering::Relaxed);
                continue;
            }
            let out =
                meta.state.compare_exchange(RESIDENT, RETIRED, Ordering::SeqCst, Ordering::Relaxed);
            if out.is_err() {
                continue;
            }
            let page = PageRef::from_u64(meta.page.load(Ordering::SeqCst)).page();
            let removed = self.remove(slow, meta.owner.load(Ordering::Relaxed), page);
            debug_assert_eq!(removed, Some(frame), "{page:?} is where its file has it");
            self.retire(slow, frame);
            reached!(PageEvicted);
            Counters::count(&self.counters.evictions);
            evicted += 1;
            if evicted == BATCH {
                return;
            }
        }
    }
}
