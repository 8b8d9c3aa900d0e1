//! The frames, which several files may share, and the memory that all of it may take.
//!
//! ```text
//!   Cache of a file: table ---.        .--- frames, epochs, clock
//!   Cache of a file: table ---+-- FramePool
//!   Cache of a file: table ---'        '--- who waits for a frame, reads in flight
//! ```
//!
//! The limit is on everything: the frames in use, what is known of them, and the page tables of
//! all files. Where a table grows, fewer frames may be in use; those that are too many are given
//! back to the operating system. Every file is sure of [`MIN_FRAMES`] frames all the same. Memory
//! for frames is [found ahead](super::prepare) of their use.

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::ops::Deref;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use yieldb_core::sync::atomic::{AtomicUsize, Ordering};
use yieldb_core::sync::{Arc, Mutex, MutexGuard, PoisonError};
use yieldb_core::{Buffer, Buffers, Completion, Request, is_planted, reached};

use super::clock::Need;
use super::epoch::Epochs;
use super::frames::{FrameMeta, Frames, LOADING, PINS, RESIDENT, RETIRED};
use super::in_flight::Read;
use super::prepare::Prepared;
use super::stats::{CacheStats, Counters};
use super::table::{PIECE_LEN, Table};
use crate::{Error, MIN_FRAMES, PageId, PageSize, Result};

/// The bit of a buffer's token that says that the buffer is a pin on a resident page.
pub(super) const LENT: u64 = 1 << 32;

/// The most frames that there can be: a pin count or a number of them fits into what is there.
const MAX_FRAMES: u64 = 1 << 28;

/// The most files that can share a pool.
const MAX_FILES: usize = 1 << 16;

/// How many frames or pieces are given back at a time.
const BATCH: usize = 16;

/// Which part of the memory idle pieces may keep although it is not short.
const IDLE_SHARE: u64 = 16;

/// One of the files that share a pool.
pub(super) type Owner = u16;

/// Memory for pages, and the limit on it. Shared by the [caches](super::Cache) of one or several
/// files with the same page size.
pub struct FramePool {
    pub(super) frames: Frames,
    pub(super) epochs: Epochs,
    page_size: PageSize,
    /// How much memory everything may take, in bytes.
    limit: u64,
    slow: Mutex<Slow>,
    /// How many wait for a frame. Read without the mutex by those who unpin.
    waiting: AtomicUsize,
    /// How many frames may be in use now.
    allowed: AtomicUsize,
    /// How many files there are.
    file_count: AtomicUsize,
    pub(super) counters: Counters,
}

/// What only the slow path touches.
pub(super) struct Slow {
    /// Frames that may be used; the one given back last is the next to go, while it is warm.
    pub free: Vec<u32>,
    /// The first frame that nobody was to use yet. It and those behind it have no memory.
    pub unused: u32,
    /// Frames before it that were never used either, and have memory.
    pub prepared: Prepared,
    /// Frames before it whose memory was given back.
    pub discarded: Vec<u32>,
    /// Retired frames without pins, with the epochs that must be over.
    retired: VecDeque<(u64, u32)>,
    /// The frame that is next looked at for eviction.
    pub hand: u32,
    /// Frames whose pages long scans have passed, in this order. A page that was used since stays.
    pub passed: VecDeque<u32>,
    /// The tables of the files.
    files: Vec<Option<Arc<Table>>>,
    /// The memory of all of them, in bytes.
    tables_len: u64,
    /// Pages whose pieces of a table are idle, unless they are used again.
    idle: Vec<(Owner, PageId)>,
    /// The pages that are being read.
    pub in_flight: FxHashMap<(Owner, PageId), Read>,
    /// How many of those were prefetched.
    pub prefetching: usize,
    /// Lists that were long, for the next long read.
    pub spare: Vec<Buffers>,
    /// Who waits for a frame, in order.
    pub waiters: VecDeque<Completion>,
}

impl FramePool {
    /// Memory for pages of one size: `limit` bytes, taken as it is needed.
    ///
    /// # Errors
    ///
    /// [`Error::CacheTooSmall`] if that is less than [`MIN_FRAMES`] pages; [`Error::Io`] if there
    /// is no room for it among the process's addresses.
    pub fn new(page_size: PageSize, limit: u64) -> Result<Arc<FramePool>> {
        check_limit(limit, page_size, 1)?;
        let count = (limit / page_size.bytes() as u64).min(MAX_FRAMES) as u32;
        let slow = Slow {
            free: Vec::new(),
            unused: 0,
            prepared: Prepared::default(),
            discarded: Vec::new(),
            retired: VecDeque::new(),
            hand: 0,
            passed: VecDeque::new(),
            files: Vec::new(),
            tables_len: 0,
            idle: Vec::new(),
            in_flight: FxHashMap::default(),
            prefetching: 0,
            spare: Vec::new(),
            waiters: VecDeque::new(),
        };
        let pool = FramePool {
            frames: Frames::new(count, page_size.bytes())?,
            epochs: Epochs::new(),
            page_size,
            limit,
            slow: Mutex::new(slow),
            waiting: AtomicUsize::new(0),
            allowed: AtomicUsize::new(0),
            file_count: AtomicUsize::new(0),
            counters: Counters::default(),
        };
        pool.update_allowed(&pool.slow());
        Ok(Arc::new(pool))
    }

    /// The length of the pages.
    pub fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// How much memory everything may take, in bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// How many pages may be in memory now, those of all files together.
    pub fn frame_count(&self) -> usize {
        self.allowed.load(Ordering::Relaxed)
    }

    /// How many of them each file may count on.
    pub fn share(&self) -> usize {
        self.frame_count() / self.file_count.load(Ordering::Relaxed).max(1)
    }

    /// What all files that share the pool have done and hold. Costs a pass over what is known of
    /// the frames, under no lock.
    pub fn stats(&self) -> CacheStats {
        let slow = self.slow();
        let frames = self.frame_count();
        let free = slow.free.len() + slow.retired.len() + slow.prepared.count();
        let used = slow.in_use() - free;
        let known = CacheStats {
            frames,
            used,
            free: frames.saturating_sub(used),
            in_flight: slow.in_flight.len(),
            hits: self.epochs.hits(),
            table_bytes: slow.tables_len,
            memory_bytes: self.memory(&slow),
            limit_bytes: self.limit,
            ..CacheStats::default()
        };
        let metas = &self.frames.meta[..slow.unused as usize];
        drop(slow);
        let states = metas.iter().map(|meta| meta.state.load(Ordering::SeqCst));
        known.with(states, &self.counters)
    }

    // Files.

    /// Adds a file with its table.
    pub(super) fn attach(&self, table: &Arc<Table>) -> Result<Owner> {
        let mut slow = self.slow();
        let count = slow.tables().count();
        check_limit(self.limit, self.page_size, count as u64 + 1)?;
        let free = slow.files.iter().position(Option::is_none);
        let owner = free.unwrap_or(slow.files.len());
        assert!(owner < MAX_FILES, "{count} files share a cache");
        if free.is_none() {
            slow.files.push(None);
        }
        slow.files[owner] = Some(table.clone());
        self.file_count.store(count + 1, Ordering::Relaxed);
        self.update_allowed(&slow);
        Ok(owner as Owner)
    }

    /// Takes back everything that a file had: nobody uses it any more.
    pub(super) fn detach(&self, owner: Owner) {
        let mut slow = self.slow();
        for frame in 0..slow.unused {
            let meta = &self.frames.meta[frame as usize];
            let is_own = meta.owner.load(Ordering::Relaxed) == owner;
            if is_own && meta.state.load(Ordering::SeqCst) & RESIDENT != 0 {
                self.give_up(&mut slow, frame);
            }
        }
        if let Some(table) = slow.files[owner as usize].take() {
            slow.tables_len -= table.len();
        }
        slow.idle.retain(|(of, _)| *of != owner);
        self.file_count.store(slow.tables().count(), Ordering::Relaxed);
        self.update_allowed(&slow);
        drop(slow);
        self.wake_waiters();
    }

    /// Notes that a page of a file is in a frame.
    pub(super) fn insert(&self, slow: &mut Slow, owner: Owner, page: PageId, frame: u32) {
        self.frames.meta[frame as usize].owner.store(owner, Ordering::Relaxed);
        if slow.table(owner).insert(page, frame) {
            slow.tables_len += PIECE_LEN;
            self.update_allowed(slow);
        }
    }

    /// Takes a page out of the table of its file. Returns the frame that it was in.
    pub(super) fn remove(&self, slow: &mut Slow, owner: Owner, page: PageId) -> Option<u32> {
        let removed = slow.table(owner).remove(page)?;
        if removed.is_news {
            slow.idle.push((owner, page));
        }
        Some(removed.frame)
    }

    // Pins.

    /// Adds a pin to a frame that was found in a table. `None` if it is on its way out.
    pub(super) fn pin(&self, frame: u32) -> Option<PagePin<'_>> {
        let state = &self.frames.meta[frame as usize].state;
        let pinned = if is_planted!(PinBehindCheck) {
            let is_resident = state.load(Ordering::SeqCst) & RESIDENT != 0;
            is_resident.then(|| state.fetch_add(1, Ordering::SeqCst)).is_some()
        } else {
            let add = |state| (state & RESIDENT != 0).then_some(state + 1);
            state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add).is_ok()
        };
        // Made only where there is a pin: dropping it gives that up.
        pinned.then(|| PagePin { pool: self, frame })
    }

    /// Adds a pin to a frame that has one, or that a page is read into.
    pub(super) fn add_pin(self: &Arc<Self>, frame: u32) -> PinnedPage {
        self.frames.meta[frame as usize].state.fetch_add(1, Ordering::SeqCst);
        PinnedPage { pool: self.clone(), frame }
    }

    #[inline]
    pub(super) fn unpin(&self, frame: u32) {
        let before = self.frames.meta[frame as usize].state.fetch_sub(1, Ordering::SeqCst);
        assert!(before & PINS > 0, "frame {frame} is unpinned once too often");
        if before & PINS > 1 {
            return;
        }
        let is_given_up = before & LOADING != 0 && is_planted!(FrameOfAbandonedRead);
        if before & RETIRED != 0 || is_given_up {
            self.retire(&mut self.slow(), frame);
        }
        self.wake_waiters();
    }

    // Frames.

    /// A frame with arbitrary contents, or the signal that one may be had; and the frames that
    /// should get memory now.
    pub(super) fn take_frame(
        self: &Arc<Self>,
    ) -> (std::result::Result<Buffer, Completion>, Option<Buffer>) {
        let mut slow = self.slow();
        match self.free_frame(&mut slow, Need::Firm) {
            Some(frame) => {
                let frame = self.frames.lend_exclusively(frame, self.clone());
                (Ok(frame), self.take_unprepared(&mut slow))
            }
            None => (Err(self.wait_for_frame(&mut slow)), None),
        }
    }

    /// Makes a frame no page's any more. It is free when its last pin is gone.
    pub(super) fn give_up(&self, slow: &mut Slow, frame: u32) {
        let state = &self.frames.meta[frame as usize].state;
        let out = |state: u32| Some(state & PINS | RETIRED);
        let before = state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, out);
        if before.is_ok_and(|state| state & PINS == 0) {
            self.retire(slow, frame);
        }
    }

    /// Puts a frame without pins where it waits for its epoch to end.
    pub(super) fn retire(&self, slow: &mut Slow, frame: u32) {
        slow.retired.push_back((self.epochs.end(), frame));
    }

    /// A frame that nobody uses, looks at, or has pinned.
    pub(super) fn free_frame(&self, slow: &mut Slow, need: Need) -> Option<u32> {
        self.keep_within_limit(slow);
        if slow.free.is_empty() {
            self.reclaim(slow);
        }
        if slow.free.is_empty() {
            self.take_new(slow);
        }
        let frame = self.recycled(slow, need)?;
        self.frames.meta[frame as usize].state.store(0, Ordering::SeqCst);
        Some(frame)
    }

    /// A frame that has memory already and may be used.
    fn recycled(&self, slow: &mut Slow, need: Need) -> Option<u32> {
        if slow.free.is_empty() {
            self.reclaim(slow);
        }
        if slow.free.is_empty() {
            self.evict(slow, need);
            self.reclaim(slow);
        }
        slow.free.pop()
    }

    /// Puts one more frame among the free ones, if another one may be used.
    fn take_new(&self, slow: &mut Slow) {
        let frame = slow.prepared.take().or_else(|| self.take_empty(slow));
        slow.free.extend(frame);
    }

    /// A frame without memory.
    fn take_empty(&self, slow: &mut Slow) -> Option<u32> {
        if slow.in_use() >= self.frame_count() {
            return None;
        }
        slow.discarded.pop().or_else(|| {
            let unused = slow.unused;
            slow.unused += u32::from(unused < self.frames.count());
            (unused < self.frames.count()).then_some(unused)
        })
    }

    /// Frees the retired frames that nobody can be looking at.
    fn reclaim(&self, slow: &mut Slow) {
        let oldest = self.epochs.oldest();
        while let Some((epoch, frame)) = slow.retired.front().copied() {
            if epoch >= oldest && !is_planted!(EpochNotAwaited) {
                break;
            }
            slow.retired.pop_front();
            slow.free.push(frame);
        }
    }

    // Memory.

    /// Gives memory back if there is too much in use, or much that is idle: idle pieces of the
    /// tables first, then frames. What cannot be had now is had next time.
    fn keep_within_limit(&self, slow: &mut Slow) {
        for _ in 0..BATCH {
            let is_over = slow.in_use() > self.frame_count();
            let idle_len = slow.idle.len() as u64 * PIECE_LEN;
            if !is_over && idle_len <= self.limit / IDLE_SHARE {
                return;
            }
            if let Some((owner, page)) = slow.idle.pop() {
                if slow.table(owner).release(page) {
                    slow.tables_len -= PIECE_LEN;
                    self.update_allowed(slow);
                }
                continue;
            }
            let unused = slow.prepared.take();
            let Some(frame) = unused.or_else(|| self.recycled(slow, Need::Firm)) else { return };
            self.frames.discard(frame);
            slow.discarded.push(frame);
        }
    }

    /// How much memory is taken, in bytes.
    fn memory(&self, slow: &Slow) -> u64 {
        let frames = slow.in_use() as u64 * self.page_size.bytes() as u64;
        let metas = u64::from(slow.unused) * size_of::<FrameMeta>() as u64;
        frames + metas + slow.tables_len
    }

    /// Works out how many frames may be in use beside the tables.
    fn update_allowed(&self, slow: &Slow) {
        let metas = u64::from(self.frames.count()) * size_of::<FrameMeta>() as u64;
        let room = self.limit.saturating_sub(metas + slow.tables_len);
        let least = MIN_FRAMES * slow.tables().count().max(1);
        let count = (room / self.page_size.bytes() as u64) as usize;
        let allowed = count.clamp(least, self.frames.count() as usize);
        self.allowed.store(allowed, Ordering::Relaxed);
    }

    // Waiting.

    /// What to wait for when there is no frame.
    pub(super) fn wait_for_frame(&self, slow: &mut Slow) -> Completion {
        if !slow.retired.is_empty() {
            // Somebody is looking at the pages that were in them; not for long.
            return Completion::new_yield();
        }
        // Announced before the last look, so that either this look sees what is unpinned now, or
        // whoever unpins sees that somebody waits.
        if is_planted!(WaitNotAnnounced) {
            self.evict(slow, Need::Firm);
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        if !is_planted!(WaitNotAnnounced) {
            self.evict(slow, Need::Firm);
        }
        if !slow.retired.is_empty() {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            return Completion::new_yield();
        }
        reached!(FrameAwaited);
        let signal = Completion::signal();
        slow.waiters.push_back(signal.clone());
        signal
    }

    /// Tells those who wait that a frame may be had. Each tries again, in order; one that fails
    /// waits again, behind the others.
    pub(super) fn wake_waiters(&self) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut slow = self.slow();
        let waiters: SmallVec<[Completion; 4]> = slow.waiters.drain(..).collect();
        self.waiting.fetch_sub(waiters.len(), Ordering::SeqCst);
        drop(slow);
        for waiter in waiters {
            waiter.succeed(0);
        }
    }

    pub(super) fn slow(&self) -> MutexGuard<'_, Slow> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slow {
    /// How many frames have memory, or are about to have it.
    pub fn in_use(&self) -> usize {
        self.unused as usize - self.discarded.len()
    }

    fn table(&self, owner: Owner) -> &Table {
        let table = self.files[usize::from(owner)].as_ref();
        table.expect("a page is of a file that is there")
    }

    fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.files.iter().flatten()
    }
}

/// Is there room for `count` files?
pub(crate) fn check_limit(bytes: u64, page_size: PageSize, count: u64) -> Result<()> {
    let min = count * MIN_FRAMES as u64 * page_size.bytes() as u64;
    if bytes < min { Err(Error::CacheTooSmall { bytes, min }) } else { Ok(()) }
}

impl std::fmt::Debug for FramePool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "memory for {} pages", self.frame_count())
    }
}

/// A page that stays in memory as long as this exists. It borrows the cache, which a pin of one
/// lookup can: counting the users of the cache would be what all threads that look up wait for.
pub struct PagePin<'a> {
    pool: &'a FramePool,
    frame: u32,
}

impl PagePin<'_> {
    /// Gives up the page without its pin, which is the caller's from now on.
    pub(super) fn into_frame(self) -> u32 {
        ManuallyDrop::new(self).frame
    }

    /// The same page, and the cache with it.
    pub(super) fn with(self, pool: Arc<FramePool>) -> PinnedPage {
        debug_assert!(std::ptr::eq(self.pool, &*pool));
        PinnedPage { pool, frame: self.into_frame() }
    }
}

impl Deref for PagePin<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.pool.frames.bytes(self.frame)
    }
}

impl Drop for PagePin<'_> {
    #[inline]
    fn drop(&mut self) {
        self.pool.unpin(self.frame);
    }
}

impl std::fmt::Debug for PagePin<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pin of frame {}", self.frame)
    }
}

/// A page that stays in memory as long as this exists, and the cache with it.
pub struct PinnedPage {
    pool: Arc<FramePool>,
    frame: u32,
}

impl PinnedPage {
    /// Gives up the page behind a long scan, which nobody is going to need again soon.
    pub fn pass(self) {
        self.pool.pass(self.frame);
    }
}

impl Deref for PinnedPage {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.pool.frames.bytes(self.frame)
    }
}

impl Clone for PinnedPage {
    fn clone(&self) -> Self {
        self.pool.add_pin(self.frame)
    }
}

impl Drop for PinnedPage {
    fn drop(&mut self) {
        self.pool.unpin(self.frame);
    }
}

impl std::fmt::Debug for PinnedPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pin of frame {}", self.frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_without_a_page_gets_no_pin_and_loses_none() {
        let size = PageSize::new(4096).unwrap();
        let pool = FramePool::new(size, 4 << 20).unwrap();
        assert!(pool.pin(0).is_none());
        assert_eq!(pool.frames.meta[0].state.load(Ordering::SeqCst), 0);
    }
}
