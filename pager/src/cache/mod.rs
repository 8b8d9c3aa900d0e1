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
//!
//! A [`Cache`] is one file's: its table and its reads. The frames are a [`FramePool`]'s, which
//! several files may share.

mod clock;
mod epoch;
mod frames;
mod home;
mod in_flight;
mod pool;
mod prefetch;
mod prepare;
mod stats;
mod table;

use smallvec::smallvec;
use yieldb_core::sync::atomic::Ordering;
use yieldb_core::sync::{Arc, Weak};
use yieldb_core::{Buffer, Completion, Error as IoFailure, File, SharedBuffer};

use crate::page_format::{INTERIOR, kind_of, stamp_of};
use crate::{PageId, PageRef, PageSize};
pub use frames::prefetch_front;
use frames::{DIRTY, PINS, RESIDENT};
pub use in_flight::{Joined, PendingRead};
pub(crate) use pool::check_limit;
pub use pool::{FramePool, PagePin, PinnedPage};
use pool::{LENT, Owner, Slow};
pub use stats::CacheStats;
use stats::Counters;
use table::Table;

/// What a page's owner says of its bytes: `Err` with what is wrong.
pub type CheckPage = fn(&[u8]) -> Result<(), &'static str>;

/// The pages of one file that are in memory.
///
/// When nobody uses it any more, its frames are free for the other files of the pool.
pub struct Cache {
    own: Weak<Cache>,
    /// Weak: a read in flight, which keeps the cache, keeps no file open.
    file: Weak<dyn File>,
    pool: Arc<FramePool>,
    /// Which of the pool's files it is.
    owner: Owner,
    table: Arc<Table>,
    check: CheckPage,
}

impl Cache {
    /// A cache of the pages of `file` in the frames of `pool`. What is read must pass `check`.
    ///
    /// # Errors
    ///
    /// [`crate::Error::CacheTooSmall`] if the pool has no room for another file.
    pub fn new(
        pool: &Arc<FramePool>,
        file: &Arc<dyn File>,
        check: CheckPage,
    ) -> crate::Result<Arc<Cache>> {
        let table = Arc::new(Table::new());
        let owner = pool.attach(&table)?;
        Ok(Arc::new_cyclic(|own| Cache {
            own: own.clone(),
            file: Arc::downgrade(file),
            pool: pool.clone(),
            owner,
            table,
            check,
        }))
    }

    /// The frames that the pages are in, and others' perhaps.
    pub fn pool(&self) -> &Arc<FramePool> {
        &self.pool
    }

    /// How many pages fit, those of other files that share the pool included.
    pub fn frame_count(&self) -> usize {
        self.pool.frame_count()
    }

    // Looking.

    /// Begins to look at pages. For one step of an operation: the guard must not be held across a
    /// wait, since no frame is used again before it ends.
    #[inline]
    pub fn resident(&self) -> Resident<'_> {
        Resident { table: &self.table, pool: &self.pool, guard: self.pool.epochs.enter() }
    }

    // Making and unmaking pages.

    /// A frame with arbitrary contents, or the signal that one may be had.
    ///
    /// # Errors
    ///
    /// What to wait for before asking again. All frames are lent, pinned, dirty or looked at.
    pub fn take_frame(&self) -> Result<Buffer, Completion> {
        let (frame, unprepared) = self.pool.take_frame();
        self.prepare(unprepared);
        frame
    }

    /// Has memory found for frames that are going to be used soon.
    fn prepare(&self, unprepared: Option<Buffer>) {
        if let Some(buffer) = unprepared
            && let Some(file) = self.file.upgrade()
        {
            file.prepare(Completion::read(smallvec![buffer]));
        }
    }

    /// Makes a sealed page resident that is not in the file yet.
    ///
    /// Nobody has read what was under its number before, unless the file's space map is damaged
    /// and says that a page in use is free. That one goes: whoever refers to it is told so.
    ///
    /// # Panics
    ///
    /// If the process has no addresses left for the page table.
    pub fn publish_dirty(&self, id: PageId, page: Buffer) {
        let name = PageRef::new(id, stamp_of(&page));
        let frame = page.into_token() as u32;
        let mut slow = self.pool.slow();
        self.expel(&mut slow, id);
        self.table.make_room(id).expect("addresses for the page table");
        self.make_resident(&mut slow, frame, name, RESIDENT | DIRTY);
        drop(slow);
        self.pool.wake_waiters();
    }

    /// Takes a page out of memory whose contents nobody will ask for again.
    fn expel(&self, slow: &mut Slow, id: PageId) {
        if let Some(frame) = self.pool.remove(slow, self.owner, id) {
            self.pool.give_up(slow, frame);
        }
    }

    /// Puts a page in the table.
    fn make_resident(&self, slow: &mut Slow, frame: u32, name: PageRef, flags: u32) {
        let meta = &self.pool.frames.meta[frame as usize];
        let is_interior = kind_of(self.pool.frames.bytes(frame)) == INTERIOR;
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
        self.pool.insert(slow, self.owner, name.page(), frame);
    }

    /// The bytes of a resident page, to be written to the file. They are pinned until the buffer
    /// is dropped.
    ///
    /// # Panics
    ///
    /// If the page is not resident.
    pub fn lend(&self, id: PageId) -> SharedBuffer {
        let frame = self.table.get(id).expect("a page that is written is resident");
        let pin = self.pool.pin(frame).expect("a dirty page stays in its frame");
        let frame = pin.into_frame();
        self.pool.frames.lend_shared(frame, self.pool.clone(), u64::from(frame) | LENT)
    }

    /// Notes that a page has reached the file.
    pub fn mark_clean(&self, id: PageId) {
        Counters::count(&self.pool.counters.pages_written);
        if let Some(frame) = self.table.get(id) {
            self.pool.frames.meta[frame as usize].state.fetch_and(!DIRTY, Ordering::SeqCst);
            self.pool.wake_waiters();
        }
    }

    /// Forgets a page whose number nothing refers to any more. `None` if the number may be used
    /// again; otherwise the read of it that somebody gave up on, after which to ask again.
    ///
    /// Those who wait for a frame are not told: the caller may hold a lock, and does that when he
    /// has given it back.
    pub fn forget(&self, id: PageId) -> Option<Completion> {
        let mut slow = self.pool.slow();
        if let Some(read) = slow.in_flight.get_mut(&(self.owner, id)) {
            return Some(read.completion());
        }
        self.expel(&mut slow, id);
        None
    }

    /// Takes a page out of memory that nobody will ask for again, unless it has to be written yet.
    /// Whoever has it pinned keeps it.
    ///
    /// Those who wait for a frame are not told, as in [`Cache::forget`].
    pub fn drop_clean(&self, id: PageId) {
        let mut slow = self.pool.slow();
        let Some(frame) = self.table.get(id) else { return };
        if self.pool.frames.meta[frame as usize].state.load(Ordering::SeqCst) & DIRTY == 0 {
            self.expel(&mut slow, id);
        }
    }

    /// Tells those who wait that a frame may be had.
    pub(crate) fn wake_waiters(&self) {
        self.pool.wake_waiters();
    }

    // What is going on.

    /// What all files that share the frames have done and hold. Costs a pass over what is known of
    /// the frames.
    pub fn stats(&self) -> CacheStats {
        self.pool.stats()
    }

    /// Asserts that no operation under way holds anything: for tests.
    ///
    /// # Panics
    ///
    /// If a pin, a read or a frame is lost.
    pub fn assert_idle(&self) {
        let stats = self.stats();
        assert_eq!((stats.pinned, stats.in_flight), (0, 0), "pins or reads are left: {stats:?}");
        assert_eq!(stats.used, stats.resident, "frames are lost: {stats:?}");
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // Nobody looks, reads or writes: all of them hold the cache. Where nobody else has the
        // pool, it goes as a whole.
        if Arc::strong_count(&self.pool) > 1 {
            self.pool.detach(self.owner);
        }
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cache of {} pages", self.frame_count())
    }
}

/// The pages in memory, as long as this guard lives.
pub struct Resident<'a> {
    table: &'a Table,
    pool: &'a Arc<FramePool>,
    guard: epoch::Guard<'a>,
}

impl<'a> Resident<'a> {
    /// Finds out where a page is, if it is in memory. Nothing of it is looked at.
    #[inline(always)]
    pub fn locate(&self, page: PageRef) -> Option<Located<'_, 'a>> {
        let frame = self.table.get(page.page())?;
        Some(Located { resident: self, page, frame })
    }

    /// The bytes of a page, if it is in memory.
    ///
    /// # Errors
    ///
    /// As [`Located::bytes`].
    #[inline]
    pub fn page(&self, page: PageRef) -> Result<Option<&[u8]>, IoFailure> {
        self.locate(page).map(Located::bytes).transpose()
    }

    /// Is there a page with this number in memory? Does not count as a use of it.
    #[inline]
    pub fn contains(&self, page: PageRef) -> bool {
        self.table.get(page.page()).is_some()
    }

    /// The length of a page.
    pub fn page_size(&self) -> PageSize {
        self.pool.page_size()
    }
}

/// Where a page is in memory, for as long as the look at it lasts.
#[derive(Clone, Copy)]
pub struct Located<'r, 'a> {
    resident: &'r Resident<'a>,
    page: PageRef,
    frame: u32,
}

impl<'r, 'a> Located<'r, 'a> {
    /// The page that was asked for.
    pub fn page(self) -> PageRef {
        self.page
    }

    /// Has a look at the page soon be quicker: its first lines are on their way into the
    /// processor's caches. Never waits; for many lookups side by side.
    #[inline]
    pub fn prefetch(self) {
        self.resident.pool.frames.prefetch(self.frame);
    }

    /// The bytes of the page.
    ///
    /// # Errors
    ///
    /// [`IoFailure::Rejected`] if the page in memory is not the one that is asked for: the
    /// reference is damaged.
    #[inline(always)]
    pub fn bytes(self) -> Result<&'r [u8], IoFailure> {
        self.warm(clock::HOT)
    }

    /// The same for a page that is not going to be needed again soon, as in a scan: it stays for
    /// one round of the clock.
    ///
    /// # Errors
    ///
    /// As [`Located::bytes`].
    #[inline(always)]
    pub fn passing_bytes(self) -> Result<&'r [u8], IoFailure> {
        self.warm(clock::COOL)
    }

    #[inline(always)]
    fn warm(self, heat: u8) -> Result<&'r [u8], IoFailure> {
        let frames = &self.resident.pool.frames;
        let bytes = frames.bytes(self.frame);
        // The page's own stamp counts: the frame's name changes when the frame is used again.
        if !self.page.matches(stamp_of(bytes)) {
            return Err(other_version(self.page));
        }
        let meta = &frames.meta[self.frame as usize];
        if meta.heat.load(Ordering::Relaxed) < heat {
            meta.heat.store(heat, Ordering::Relaxed);
        }
        self.resident.guard.count_hit();
        Ok(bytes)
    }

    /// The page, pinned for as long as the cache is borrowed. `None` if it is on its way out.
    #[inline]
    pub fn pin(self) -> Option<PagePin<'a>> {
        self.resident.pool.pin(self.frame)
    }

    /// The page, pinned, and the cache with it. `None` if it is on its way out.
    pub fn pin_owned(self) -> Option<PinnedPage> {
        Some(self.pin()?.with(self.resident.pool.clone()))
    }
}

#[cold]
fn other_version(page: PageRef) -> IoFailure {
    let what = "its stamp is not the one that the page above it names";
    IoFailure::Rejected { number: page.page().as_u64(), what }
}

impl std::fmt::Debug for Located<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} in frame {}", self.page, self.frame)
    }
}

impl std::fmt::Debug for Resident<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a look at {:?}", self.pool)
    }
}
