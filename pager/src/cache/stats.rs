//! What a cache counts.

use yieldb_core::sync::atomic::{AtomicU64, Ordering};

use super::frames::{DIRTY, PINS, RESIDENT};

/// What was done since the beginning. Hits are counted elsewhere, by those who look.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub joined_hits: AtomicU64,
    pub misses: AtomicU64,
    pub reads: AtomicU64,
    pub bytes_read: AtomicU64,
    pub pages_written: AtomicU64,
    pub evictions: AtomicU64,
}

/// What a cache has done since it was made, and what it holds; of all databases that share it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// How many pages fit: fewer where the page tables are long.
    pub frames: usize,
    /// How many frames have something in them: a page, one that is being read, one that a
    /// transaction is making.
    pub used: usize,
    /// How many pages fit beside those.
    pub free: usize,
    /// How many pages are in memory.
    pub resident: usize,
    /// How many of them have not reached the file.
    pub dirty: usize,
    /// How many frames are pinned.
    pub pinned: usize,
    /// How many pins there are.
    pub pins: u64,
    /// How many pages are being read.
    pub in_flight: usize,
    /// How much memory is taken, in bytes: frames, what is known of them, and page tables.
    pub memory_bytes: u64,
    /// How much of it the page tables take.
    pub table_bytes: u64,
    /// How much may be taken, in bytes.
    pub limit_bytes: u64,
    /// How often a page was looked at that was in memory. Those who are looking now are not counted
    /// yet.
    pub hits: u64,
    /// How often a page was read because somebody waited for it: it was neither there nor on its
    /// way.
    pub misses: u64,
    /// How many reads were started; one may be of several neighbouring pages.
    pub reads: u64,
    /// How many bytes they asked for.
    pub bytes_read: u64,
    /// How many pages have reached a file.
    pub pages_written: u64,
    /// How many pages made room for others.
    pub evictions: u64,
}

impl CacheStats {
    /// Adds what frames in these states hold, and what was counted.
    pub(super) fn with(
        mut self,
        states: impl Iterator<Item = u32>,
        counters: &Counters,
    ) -> CacheStats {
        for state in states {
            self.resident += usize::from(state & RESIDENT != 0);
            self.dirty += usize::from(state & DIRTY != 0);
            self.pinned += usize::from(state & PINS != 0);
            self.pins += u64::from(state & PINS);
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheStats {
            hits: self.hits + count(&counters.joined_hits),
            misses: count(&counters.misses),
            reads: count(&counters.reads),
            bytes_read: count(&counters.bytes_read),
            pages_written: count(&counters.pages_written),
            evictions: count(&counters.evictions),
            ..self
        }
    }
}

impl Counters {
    /// Counts one.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a read of `len` bytes.
    pub fn count_read(&self, len: usize) {
        Self::count(&self.reads);
        self.bytes_read.fetch_add(len as u64, Ordering::Relaxed);
    }
}
