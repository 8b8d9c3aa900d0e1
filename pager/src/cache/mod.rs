//! The pages in memory.
//!
//! ```text
//!   page number --table--> frame: resident, perhaps pinned or dirty
//!                          frames that are free, loading, lent, or retired
//! ```
//!
//! Looking up a page takes no lock: an epoch guard, held for one step of an operation, keeps the
//! frames that it finds from being used for another page. What must last longer is pinned.
//! Everything else (misses, eviction, publication) is short work under one mutex.

mod clock;
mod epoch;
mod frames;
mod in_flight;
mod prefetch;
mod table;

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use yieldb_core::buffer::Home;
use yieldb_core::{Buffer, Buffers, Completion, Error as IoFailure, File, SharedBuffer};

use crate::page_format::{INTERIOR, kind_of, stamp_of};
use crate::{PageId, PageRef, PageSize};
use epoch::Epochs;
use frames::{DIRTY, Frames, LOADING, PINS, RESIDENT, RETIRED};
use in_flight::Read;
pub use in_flight::{Joined, PendingRead};
use table::Table;

/// The bit of a buffer's token that says that the buffer is a pin on a resident page.
const LENT: u64 = 1 << 32;

/// What a page's owner says of its bytes: `Err` with what is wrong.
pub type CheckPage = fn(&[u8]) -> Result<(), &'static str>;

/// The pages in memory.
pub struct Cache {
    own: Weak<Cache>,
    /// Weak: a read in flight, which keeps the cache, keeps no file open.
    file: Weak<dyn File>,
    frames: Frames,
    table: Table,
    epochs: Epochs,
    page_size: PageSize,
    check: CheckPage,
    slow: Mutex<Slow>,
    /// How many wait for a frame. Read without the mutex by those who unpin.
    waiting: AtomicUsize,
    counters: Counters,
}

/// What only the slow path touches.
#[derive(Debug)]
struct Slow {
    /// Frames that may be used; the one given back last is the next to go, while it is warm.
    free: Vec<u32>,
    /// The first frame that was never used. It and those behind it have no memory yet.
    unused: u32,
    /// Retired frames without pins, with the epochs that must be over.
    retired: VecDeque<(u64, u32)>,
    /// The frame that is next looked at for eviction.
    hand: u32,
    in_flight: FxHashMap<PageId, Read>,
    /// How many of those were prefetched.
    prefetching: usize,
    /// Lists that were long, for the next long read.
    spare: Vec<Buffers>,
    /// Who waits for a frame, in order.
    waiters: VecDeque<Completion>,
}

#[derive(Debug, Default)]
struct Counters {
    misses: AtomicU64,
    reads: AtomicU64,
    evictions: AtomicU64,
}

/// What the cache has done and holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// How many pages fit.
    pub frames: usize,
    /// How many frames have nothing in them.
    pub free: usize,
    /// How many pages are in memory.
    pub resident: usize,
    /// How many of them have not reached the file.
    pub dirty: usize,
    /// How many frames are pinned.
    pub pinned: usize,
    /// How many pages are being read.
    pub in_flight: usize,
    /// How often a page was asked for that was not there.
    pub misses: u64,
    /// How many reads were started; one may be of several neighbouring pages.
    pub reads: u64,
    /// How many pages made room for others.
    pub evictions: u64,
}

impl Cache {
    /// A cache of `frame_count` pages of `file`. What is read from it must pass `check`.
    ///
    /// # Errors
    ///
    /// [`IoFailure::OutOfMemory`].
    ///
    /// # Panics
    ///
    /// If `frame_count` is 0 or more than 2^28.
    pub fn new(
        file: &Arc<dyn File>,
        page_size: PageSize,
        frame_count: usize,
        check: CheckPage,
    ) -> yieldb_core::Result<Arc<Cache>> {
        assert!((1..=1 << 28).contains(&frame_count), "a cache of {frame_count} pages");
        let frames = Frames::new(frame_count as u32, page_size.bytes())?;
        let slow = Slow {
            free: Vec::new(),
            unused: 0,
            retired: VecDeque::new(),
            hand: 0,
            in_flight: FxHashMap::default(),
            prefetching: 0,
            spare: Vec::new(),
            waiters: VecDeque::new(),
        };
        Ok(Arc::new_cyclic(|own| Cache {
            own: own.clone(),
            file: Arc::downgrade(file),
            frames,
            table: Table::new(),
            epochs: Epochs::new(),
            page_size,
            check,
            slow: Mutex::new(slow),
            waiting: AtomicUsize::new(0),
            counters: Counters::default(),
        }))
    }

    /// How many pages fit.
    pub fn frame_count(&self) -> usize {
        self.frames.count() as usize
    }

    // Looking.

    /// Begins to look at pages. For one step of an operation: the guard must not be held across a
    /// wait, since no frame is used again before it ends.
    #[inline]
    pub fn resident(self: &Arc<Self>) -> Resident<'_> {
        Resident { cache: self, _guard: self.epochs.enter() }
    }

    /// Adds a pin to a frame that was found in the table. `None` if it is on its way out.
    fn pin(self: &Arc<Self>, frame: u32) -> Option<PinnedPage> {
        let state = &self.frames.meta[frame as usize].state;
        let pinned = state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |state| {
            (state & RESIDENT != 0).then_some(state + 1)
        });
        pinned.is_ok().then(|| PinnedPage { cache: self.clone(), frame })
    }

    fn unpin(&self, frame: u32) {
        let before = self.frames.meta[frame as usize].state.fetch_sub(1, Ordering::SeqCst);
        debug_assert!(before & PINS > 0, "frame {frame} is unpinned once too often");
        if before & PINS > 1 {
            return;
        }
        if before & RETIRED != 0 {
            self.retire(&mut self.slow(), frame);
        }
        self.wake_waiters();
    }

    // Making and unmaking pages.

    /// A frame with arbitrary contents, or the signal that one may be had.
    ///
    /// # Errors
    ///
    /// What to wait for before asking again. All frames are lent, pinned, dirty or looked at.
    pub fn take_frame(self: &Arc<Self>) -> Result<Buffer, Completion> {
        let mut slow = self.slow();
        match self.free_frame(&mut slow) {
            Some(frame) => Ok(self.frames.lend_exclusively(frame, self.clone())),
            None => Err(self.wait_for_frame(&mut slow)),
        }
    }

    /// Makes a sealed page resident that is not in the file yet.
    ///
    /// Nobody has read what was under its number before, unless the file's space map is damaged
    /// and says that a page in use is free. That one goes: whoever refers to it is told so.
    pub fn publish_dirty(&self, id: PageId, page: Buffer) {
        let name = PageRef::new(id, stamp_of(&page));
        let frame = page.into_token() as u32;
        let mut slow = self.slow();
        self.expel(&mut slow, id);
        self.make_resident(frame, name, RESIDENT | DIRTY);
        drop(slow);
        self.wake_waiters();
    }

    /// Takes a page out of memory whose contents nobody will ask for again.
    fn expel(&self, slow: &mut Slow, id: PageId) {
        let Some(frame) = self.table.remove(id) else { return };
        let state = &self.frames.meta[frame as usize].state;
        let out = |state: u32| Some(state & PINS | RETIRED);
        let before = state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, out);
        if before.is_ok_and(|state| state & PINS == 0) {
            self.retire(slow, frame);
        }
    }

    /// Puts a page in the table.
    fn make_resident(&self, frame: u32, name: PageRef, flags: u32) {
        let meta = &self.frames.meta[frame as usize];
        let is_interior = kind_of(self.frames.bytes(frame)) == INTERIOR;
        let is_wanted = flags & DIRTY != 0 || meta.state.load(Ordering::SeqCst) & PINS > 0;
        let heat = match (is_interior, is_wanted) {
            (true, true) => clock::HOT,
            (false, true) | (true, false) => clock::COOL,
            (false, false) => clock::COLD,
        };
        meta.heat.store(heat, Ordering::Relaxed);
        meta.page.store(name.as_u64(), Ordering::SeqCst);
        // The pins stay: those of the readers that wait for the page.
        let set = |state: u32| Some(state & PINS | flags);
        let _before = meta.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, set);
        self.table.insert(name.page(), frame);
    }

    /// The bytes of a resident page, to be written to the file. They are pinned until the buffer
    /// is dropped.
    ///
    /// # Panics
    ///
    /// If the page is not resident.
    pub fn lend(self: &Arc<Self>, id: PageId) -> SharedBuffer {
        let frame = self.table.get(id).expect("a page that is written is resident");
        let pin = self.pin(frame).expect("a dirty page stays in its frame");
        let frame = pin.into_frame();
        self.frames.lend_shared(frame, self.clone(), u64::from(frame) | LENT)
    }

    /// Notes that a page has reached the file.
    pub fn mark_clean(&self, id: PageId) {
        if let Some(frame) = self.table.get(id) {
            self.frames.meta[frame as usize].state.fetch_and(!DIRTY, Ordering::SeqCst);
            self.wake_waiters();
        }
    }

    /// Forgets a page whose number nothing refers to any more. `None` if the number may be used
    /// again; otherwise the read of it that somebody gave up on, after which to ask again.
    ///
    /// Those who wait for a frame are not told: the caller may hold a lock, and does that when he
    /// has given it back.
    pub fn forget(&self, id: PageId) -> Option<Completion> {
        let mut slow = self.slow();
        if let Some(read) = slow.in_flight.get(&id) {
            return Some(read.completion());
        }
        self.expel(&mut slow, id);
        None
    }

    // Frames.

    /// Puts a frame without pins where it waits for its epoch to end.
    fn retire(&self, slow: &mut Slow, frame: u32) {
        slow.retired.push_back((self.epochs.end(), frame));
    }

    /// A frame that nobody uses, looks at, or has pinned.
    fn free_frame(&self, slow: &mut Slow) -> Option<u32> {
        if slow.free.is_empty() {
            self.reclaim(slow);
        }
        if slow.free.is_empty() && slow.unused < self.frames.count() {
            slow.free.push(slow.unused);
            slow.unused += 1;
        }
        if slow.free.is_empty() {
            self.evict(slow);
            self.reclaim(slow);
        }
        let frame = slow.free.pop()?;
        self.frames.meta[frame as usize].state.store(0, Ordering::SeqCst);
        Some(frame)
    }

    /// Frees the retired frames that nobody can be looking at.
    fn reclaim(&self, slow: &mut Slow) {
        let oldest = self.epochs.oldest();
        while let Some((epoch, frame)) = slow.retired.front().copied() {
            if epoch >= oldest {
                break;
            }
            slow.retired.pop_front();
            slow.free.push(frame);
        }
    }

    /// What to wait for when there is no frame.
    fn wait_for_frame(&self, slow: &mut Slow) -> Completion {
        if !slow.retired.is_empty() {
            // Somebody is looking at the pages that were in them; not for long.
            return Completion::new_yield();
        }
        // Announced before the last look, so that either this look sees what is unpinned now, or
        // whoever unpins sees that somebody waits.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.evict(slow);
        if !slow.retired.is_empty() {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            return Completion::new_yield();
        }
        let signal = Completion::signal();
        slow.waiters.push_back(signal.clone());
        signal
    }

    /// Tells those who wait that a frame may be had. Each tries again, in order; one that fails
    /// waits again, behind the others.
    pub(crate) fn wake_waiters(&self) {
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

    fn slow(&self) -> MutexGuard<'_, Slow> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // What is going on.

    /// What the cache has done and holds. Costs a pass over all frames.
    pub fn stats(&self) -> CacheStats {
        let slow = self.slow();
        let states = self.frames.meta.iter().map(|meta| meta.state.load(Ordering::SeqCst));
        let count = |is: fn(u32) -> bool| states.clone().filter(|state| is(*state)).count();
        CacheStats {
            frames: self.frame_count(),
            free: slow.free.len() + slow.retired.len() + self.frame_count() - slow.unused as usize,
            resident: count(|state| state & RESIDENT != 0),
            dirty: count(|state| state & DIRTY != 0),
            pinned: count(|state| state & PINS != 0),
            in_flight: slow.in_flight.len(),
            misses: self.counters.misses.load(Ordering::Relaxed),
            reads: self.counters.reads.load(Ordering::Relaxed),
            evictions: self.counters.evictions.load(Ordering::Relaxed),
        }
    }

    /// Asserts that no operation under way holds anything: for tests.
    ///
    /// # Panics
    ///
    /// If a pin, a read or a frame is lost.
    pub fn assert_idle(&self) {
        let stats = self.stats();
        assert_eq!((stats.pinned, stats.in_flight), (0, 0), "pins or reads are left: {stats:?}");
        assert_eq!(stats.free + stats.resident, stats.frames, "frames are lost: {stats:?}");
    }
}

impl Home for Cache {
    fn give_back(&self, token: u64) {
        let frame = token as u32;
        if token & LENT != 0 {
            self.unpin(frame);
            return;
        }
        let is_loading =
            self.frames.meta[frame as usize].state.load(Ordering::SeqCst) & LOADING != 0;
        if !is_loading {
            self.slow().free.push(frame);
            self.wake_waiters();
        }
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cache of {} pages", self.frame_count())
    }
}

/// The pages in memory, as long as this guard lives.
#[derive(Debug)]
pub struct Resident<'a> {
    cache: &'a Arc<Cache>,
    _guard: epoch::Guard<'a>,
}

impl<'a> Resident<'a> {
    /// The bytes of a page, if it is in memory.
    ///
    /// # Errors
    ///
    /// [`IoFailure::Rejected`] if the page in memory is not the one that is asked for: the
    /// reference is damaged.
    #[inline]
    pub fn page(&self, page: PageRef) -> Result<Option<&[u8]>, IoFailure> {
        self.warm(page, clock::HOT)
    }

    /// The same for a page that is not going to be needed again soon, as in a scan: it stays for
    /// one round of the clock.
    ///
    /// # Errors
    ///
    /// As [`Resident::page`].
    #[inline]
    pub fn passing_page(&self, page: PageRef) -> Result<Option<&[u8]>, IoFailure> {
        self.warm(page, clock::COOL)
    }

    /// Has a look at a page soon be quicker: its first lines are on their way into the processor's
    /// caches if it is in memory. Never waits; for many lookups side by side.
    #[inline]
    pub fn prefetch(&self, page: PageRef) {
        if let Some(frame) = self.cache.table.get(page.page()) {
            self.cache.frames.prefetch(frame);
        }
    }

    #[inline]
    fn warm(&self, page: PageRef, heat: u8) -> Result<Option<&[u8]>, IoFailure> {
        let Some(frame) = self.cache.table.get(page.page()) else { return Ok(None) };
        let meta = &self.cache.frames.meta[frame as usize];
        let bytes = self.cache.frames.bytes(frame);
        // The page's own stamp counts: the frame's name changes when the frame is used again.
        if !page.matches(stamp_of(bytes)) {
            return Err(other_version(page));
        }
        if meta.heat.load(Ordering::Relaxed) < heat {
            meta.heat.store(heat, Ordering::Relaxed);
        }
        Ok(Some(bytes))
    }

    /// Is there a page with this number in memory? Does not count as a use of it.
    #[inline]
    pub fn contains(&self, page: PageRef) -> bool {
        self.cache.table.get(page.page()).is_some()
    }

    /// A page in memory, pinned. `None` if it is not there, or on its way out.
    pub fn pin(&self, page: PageRef) -> Option<PinnedPage> {
        self.cache.pin(self.cache.table.get(page.page())?)
    }

    /// The length of a page.
    pub fn page_size(&self) -> PageSize {
        self.cache.page_size
    }
}

fn other_version(page: PageRef) -> IoFailure {
    let what = "its stamp is not the one that the page above it names";
    IoFailure::Rejected { number: page.page().as_u64(), what }
}

/// A page that stays in memory as long as this exists.
pub struct PinnedPage {
    cache: Arc<Cache>,
    frame: u32,
}

impl PinnedPage {
    /// Gives up the page without its pin, which is the caller's from now on.
    fn into_frame(self) -> u32 {
        let frame = self.frame;
        self.cache.frames.meta[frame as usize].state.fetch_add(1, Ordering::SeqCst);
        frame
    }
}

impl Deref for PinnedPage {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.cache.frames.bytes(self.frame)
    }
}

impl Clone for PinnedPage {
    fn clone(&self) -> Self {
        self.cache.frames.meta[self.frame as usize].state.fetch_add(1, Ordering::SeqCst);
        PinnedPage { cache: self.cache.clone(), frame: self.frame }
    }
}

impl Drop for PinnedPage {
    fn drop(&mut self) {
        self.cache.unpin(self.frame);
    }
}

impl std::fmt::Debug for PinnedPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pin of frame {}", self.frame)
    }
}
