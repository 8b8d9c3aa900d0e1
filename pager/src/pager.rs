//! The pager: one database file's pages, versions and checkpoints.
//!
//! What it knows is in four places, each behind its own short lock or none: the cache (which pages
//! are in memory), the ledger (which numbers are used, by which versions), the writer's queue, and
//! the checkpoint under way. No lock is held across a submission or a call of a waker, but for the
//! checkpoint's own, which is only ever tried.

use yieldb_core::sync::atomic::AtomicBool;
use yieldb_core::sync::{Arc, IS_CHECKED, Mutex, MutexGuard, OnceLock, PoisonError};
use yieldb_core::{
    BufferPool, Buffers, Completion, CompletionGroup, CompletionKind, Error as IoFailure, File, IO,
    SharedBuffers, Sink, Tally, is_planted, reached,
};

use crate::cache::{Cache, Joined, Resident};
use crate::ledger::{HeldMap, Ledger, SpaceUse};
use crate::log::writer::{LogStats, LogWriter};
use crate::newest::Newest;
use crate::ops::read_log::LogReader;
use crate::ops::turn::Machines;
use crate::pacing::Pace;
use crate::superblock::Superblock;
use crate::trees::Trees;
use crate::version::{RootSet, VersionPin};
use crate::write_set::WriteSet;
use crate::writer_queue::WriterQueue;
use crate::{Error, PageId, PageRef, PageRun, PageSize, Result, Stamp};

/// The longest write that neighbouring pages are merged into, in bytes.
const MAX_WRITE_LEN: usize = 256 * 1024;

/// The most that a transaction leaves unused of what it has vacated, in bytes.
const MAX_VACATED_LEN: usize = 4 << 20;

/// How many pieces of pages that are written as they are made may be in flight.
const STREAM_PIECES: usize = 16;

/// The least number of pages that a cache can work with: a transaction's share of them holds the
/// deepest change of a tree.
pub const MIN_FRAMES: usize = if IS_CHECKED { 4 } else { 64 };

/// One database file's pages, versions and checkpoints. Shared by everything that works on it.
pub struct Pager {
    io: Arc<dyn IO>,
    file: Arc<dyn File>,
    page_size: PageSize,
    pub(crate) read_only: bool,
    pub(crate) cache: Arc<Cache>,
    cleaner: Arc<Cleaner>,
    /// Two blocks of a superblock's length.
    superblocks: Arc<BufferPool>,
    pub(crate) queue: Arc<WriterQueue>,
    ledger: Mutex<Ledger>,
    newest: Arc<Newest>,
    pub(crate) machines: Machines,
    pub(crate) log: LogWriter,
    /// What the log has that the checkpoint does not, until it is made again.
    pub(crate) recovery: Mutex<Option<LogReader>>,
    /// Was there a commit since the database was opened?
    pub(crate) has_committed: AtomicBool,
    poisoned: OnceLock<IoFailure>,
}

/// What a pager is made of, once the file is open and its space map read.
pub(crate) struct Parts {
    pub io: Arc<dyn IO>,
    pub file: Arc<dyn File>,
    pub page_size: PageSize,
    pub read_only: bool,
    pub cache: Arc<Cache>,
    pub superblocks: Arc<BufferPool>,
    pub ledger: Ledger,
    pub log: LogWriter,
    pub recovery: Option<LogReader>,
}

impl Pager {
    pub(crate) fn new(parts: Parts) -> Arc<Pager> {
        let cleaner = Arc::new(Cleaner { cache: parts.cache.clone() });
        Arc::new(Pager {
            io: parts.io,
            file: parts.file,
            page_size: parts.page_size,
            read_only: parts.read_only,
            cache: parts.cache,
            cleaner,
            superblocks: parts.superblocks,
            queue: Arc::default(),
            newest: parts.ledger.newest_for_readers().clone(),
            ledger: Mutex::new(parts.ledger),
            machines: Machines::default(),
            log: parts.log,
            recovery: Mutex::new(parts.recovery),
            has_committed: AtomicBool::new(false),
            poisoned: OnceLock::new(),
        })
    }

    // Reading.

    /// The pages that are in memory, for as long as the guard lives. Never held across a wait.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`].
    pub fn resident(&self) -> Result<Resident<'_>> {
        self.check_usable()?;
        Ok(self.cache.resident())
    }

    /// The page cache.
    pub fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// Starts reads of pages that are going to be needed, and returns of how many; see
    /// [`Cache::prefetch`]. Never waits, and never fails.
    pub fn prefetch(&self, pages: &[PageRef]) -> usize {
        self.cache.prefetch(&*self.file, pages)
    }

    /// The page, or the read of it: the one under way, or a new one.
    ///
    /// # Errors
    ///
    /// The page in memory is not the one that is asked for: the reference is damaged.
    pub fn join_read(&self, page: PageRef) -> Result<Joined> {
        Ok(self.cache.join_read(&*self.file, page)?)
    }

    /// The file that the pages are in.
    pub fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// What the file was opened with.
    pub fn io(&self) -> &Arc<dyn IO> {
        &self.io
    }

    /// The length of a page.
    pub fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// Was the file opened for reading only?
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The newest acknowledged version, pinned. Who does that all the time has a [`Tally`] of the
    /// pager, and uses [`VersionPin::newest`].
    pub fn newest(self: &Arc<Self>) -> VersionPin {
        VersionPin::newest(Tally::new(self.clone()))
    }

    /// Where those who begin to read find it.
    pub(crate) fn newest_for_readers(&self) -> &Newest {
        &self.newest
    }

    /// The newest version that was applied, for the one who has the writer's turn.
    pub fn applied(&self) -> RootSet {
        (**self.ledger().applied()).clone()
    }

    /// Notes what the catalogue of the newest version says.
    ///
    /// For opening, before anybody else has the pager: it cannot read the catalogue itself.
    pub fn learn_trees(&self, trees: Trees) {
        self.ledger().learn_trees(trees);
    }

    /// Ends the pin of a version that nobody holds any more: pages that only it had are free then.
    pub(crate) fn unpin_moment(&self, moment: Stamp) {
        self.with_ledger(|ledger| ledger.unpin(moment, &self.cache));
    }

    // Writing.

    /// The queue for the writer's turn.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`], [`Error::Poisoned`].
    pub fn writers(&self) -> Result<&Arc<WriterQueue>> {
        self.check_usable()?;
        if self.read_only { Err(Error::ReadOnly) } else { Ok(&self.queue) }
    }

    /// Sees to it that this thread can wait for `io`.
    ///
    /// # Errors
    ///
    /// [`Error::OwnTurn`] if `io` is the writer's turn, and this thread was the last to use it.
    pub fn check_wait(&self, io: &Completion) -> Result<()> {
        let is_signal = io.kind() == CompletionKind::Signal;
        if is_signal && self.queue.would_wait_for_itself(io) {
            return Err(Error::OwnTurn);
        }
        Ok(())
    }

    /// An empty write set, for the one who has the writer's turn.
    pub fn begin_write_set(&self) -> WriteSet {
        let (stamp, is_short) = self.with_ledger(|ledger| {
            ledger.settle(&self.cache);
            (ledger.first_stamp(), ledger.is_session_short())
        });
        if is_short && !self.read_only {
            // A transaction that comes to nothing takes stamps as well.
            self.machines.catch_up();
        }
        WriteSet::new(stamp)
    }

    /// A stamp that no page has.
    pub(crate) fn next_stamp(&self) -> Stamp {
        self.ledger().next_stamp()
    }

    /// How many pages a transaction may keep in memory before it writes them out.
    pub fn private_limit(&self) -> usize {
        self.cache.pool().share() / 2
    }

    /// How many frames whoever sorts entries may hold, beside a transaction that writes them.
    pub fn sort_share(&self) -> usize {
        (self.cache.pool().share() / 2).saturating_sub(MIN_FRAMES / 4).max(MIN_FRAMES / 4)
    }

    /// How many pages of its runs a transaction may have in flight to the file.
    pub(crate) fn in_flight_limit(&self) -> usize {
        (self.cache.frame_count() / 4).max(1)
    }

    /// How many page numbers a transaction may vacate before it waits for its writes, to use them
    /// again.
    pub(crate) fn vacated_limit(&self) -> usize {
        self.in_flight_limit().min(MAX_VACATED_LEN / self.page_size.bytes())
    }

    /// How many pages may be in flight of those that are written as they are made.
    pub(crate) fn stream_limit(&self) -> usize {
        self.in_flight_limit().min(STREAM_PIECES * self.piece_len())
    }

    /// How many pages of a run are written at a time: so many that two pieces are in flight.
    pub(crate) fn piece_len(&self) -> usize {
        let longest = MAX_WRITE_LEN / self.page_size.bytes();
        longest.min(self.in_flight_limit() / 2).max(1)
    }

    /// Adds `count` unused page numbers to `numbers`, the lowest ones last.
    pub(crate) fn allocate(&self, count: usize, numbers: &mut Vec<PageId>) {
        if count == 0 {
            return;
        }
        let first = numbers.len();
        self.with_ledger(|ledger| {
            ledger.settle(&self.cache);
            numbers.extend((0..count).map(|_| ledger.allocate()));
        });
        numbers[first..].reverse();
    }

    /// Unused numbers for a run of `count` pages.
    pub(crate) fn allocate_run(&self, count: u64) -> PageRun {
        self.with_ledger(|ledger| {
            ledger.settle(&self.cache);
            ledger.allocate_run(count)
        })
    }

    /// Where a run of `count` pages would go now, unless somebody else takes a number before.
    pub fn place_for_run(&self, count: u64) -> PageRun {
        self.with_ledger(|ledger| {
            ledger.settle(&self.cache);
            ledger.place_for_run(count)
        })
    }

    /// Frees numbers that nothing refers to, those of pages or of runs.
    pub(crate) fn free(&self, runs: impl IntoIterator<Item = impl Into<PageRun>>) {
        self.with_ledger(|ledger| {
            for run in runs {
                ledger.free(run, &self.cache);
            }
        });
    }

    /// Frees numbers once `io`, which works on them, is finished.
    pub(crate) fn free_after(&self, io: Completion, runs: Vec<PageRun>) {
        self.ledger().free_after(io, runs);
    }

    /// Writes published pages, given in order, to their places in the file, and marks those clean
    /// that got there. Returns the end of all these writes.
    pub(crate) fn write_out(&self, pages: &[PageId]) -> Completion {
        let mut group = CompletionGroup::silent();
        let page_len = self.page_size.bytes();
        for run in runs(pages, MAX_WRITE_LEN / page_len) {
            let buffers: SharedBuffers = run.iter().map(|page| self.cache.lend(*page)).collect();
            let sink: Arc<dyn Sink> = self.cleaner.clone();
            let run = PageRun::new(run[0], run.len() as u64).expect("they are neighbours");
            let write = Completion::write_into(buffers, sink, Cleaner::token(run));
            group.add(&write);
            self.file.write(self.offset_of(run.first()), false, write);
        }
        group.build()
    }

    /// Goes on writing the pages of a checkpoint. `None` if all of them are in the file, otherwise
    /// what to wait for before asking again.
    ///
    /// # Errors
    ///
    /// The failure of a write. The page waits for the next checkpoint.
    pub(crate) fn write_dirty(&self, pace: &Pace) -> Result<Option<Completion>> {
        let most = pace.write_len / self.page_size.bytes();
        loop {
            let mut ledger = self.ledger();
            ledger.dirty().settle()?;
            let oldest = ledger.dirty().oldest();
            if let Some((oldest, count)) = &oldest
                && *count >= pace.depth
            {
                return Ok(Some(oldest.clone()));
            }
            if let Some(group) = pace.waits_for(ledger.dirty().to_be_written()) {
                return Ok(Some(group.clone()));
            }
            // Pinned under the lock: a page whose number is freed is not written any more.
            let taken = ledger.dirty().take(most, |run| {
                let buffers = run.pages().map(|page| self.cache.lend(page)).collect();
                let sink: Arc<dyn Sink> = self.cleaner.clone();
                Completion::write_into(buffers, sink, Cleaner::token(run))
            });
            drop(ledger);
            let Some((write, run)) = taken else { return Ok(oldest.map(|(oldest, _)| oldest)) };
            self.file.write(self.offset_of(run.first()), false, write);
        }
    }

    /// Where a page is in the file, in bytes.
    pub(crate) fn offset_of(&self, page: PageId) -> u64 {
        page.as_u64() * self.page_size.bytes() as u64
    }

    /// Two buffers of a superblock's length belong to the checkpoint under way.
    pub(crate) fn superblocks(&self) -> &Arc<BufferPool> {
        &self.superblocks
    }

    /// What is known of the pages in use.
    pub fn space_use(&self) -> SpaceUse {
        self.ledger().space_use()
    }

    /// What the log has done and holds; `None` if there is none.
    pub fn log_stats(&self) -> Option<LogStats> {
        self.log.stats()
    }

    /// Holds on to the space map of the durable checkpoint.
    pub fn hold_map(&self) -> HeldMap {
        self.ledger().hold_map()
    }

    /// The superblock of the durable checkpoint.
    pub fn superblock(&self) -> Superblock {
        self.ledger().durable().clone()
    }

    /// Does something with the ledger that may free frames, and tells those who wait for one when
    /// the lock is given back.
    pub(crate) fn with_ledger<T>(&self, work: impl FnOnce(&mut Ledger) -> T) -> T {
        let result = work(&mut self.ledger());
        self.cache.wake_waiters();
        result
    }

    /// The ledger of versions and numbers.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // Failure.

    /// Makes every later call fail: what is durable is unknown.
    pub(crate) fn poison(&self, cause: IoFailure) -> Error {
        tracing::error!(file = %self.file.path().display(), %cause, "poisoned");
        reached!(Poisoned);
        if is_planted!(NotPoisoned) {
            return cause.into();
        }
        let cause = self.poisoned.get_or_init(|| cause).clone();
        Error::Poisoned { cause }
    }

    /// May pages be written before the end of the transaction?
    pub(crate) fn check_spill(&self) -> Result<()> {
        if self.read_only { Err(Error::NeedsRecovery) } else { Ok(()) }
    }

    pub(crate) fn check_usable(&self) -> Result<()> {
        match self.poisoned.get() {
            None => Ok(()),
            Some(cause) => Err(Error::Poisoned { cause: cause.clone() }),
        }
    }
}

impl std::fmt::Debug for Pager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pager of {}", self.file.path().display())
    }
}

/// Cuts `pages`, in order, into runs of at most `limit` neighbours.
fn runs(pages: &[PageId], limit: usize) -> impl Iterator<Item = &[PageId]> {
    pages
        .chunk_by(|left, right| left.as_u64() + 1 == right.as_u64())
        .flat_map(move |run| run.chunks(limit.max(1)))
}

/// Marks pages clean that have reached the file.
struct Cleaner {
    cache: Arc<Cache>,
}

impl Cleaner {
    /// The bits of a token that hold the first page's number; the run's length is above them.
    const NUMBER_BITS: u32 = 40;

    fn token(run: PageRun) -> u64 {
        run.first().as_u64() | run.count() << Self::NUMBER_BITS
    }
}

impl Sink for Cleaner {
    fn finished(
        &self,
        token: u64,
        result: yieldb_core::Result<usize>,
        _buffers: Buffers,
    ) -> yieldb_core::Result<usize> {
        if result.is_ok() {
            let first = token & ((1 << Self::NUMBER_BITS) - 1);
            let count = token >> Self::NUMBER_BITS;
            for page in (first..first + count).filter_map(PageId::from_u64) {
                self.cache.mark_clean(page);
            }
        }
        result
    }
}
