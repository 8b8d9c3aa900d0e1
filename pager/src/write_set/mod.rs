//! The pages that one write transaction has made.
//!
//! ```text
//!             take               insert                  seal
//!   reserve ---------> in hand ----------> private -----------------> published --> of the version
//!      ^                  |                   |     (spill, commit)       |             (commit)
//!      `----- put back ---'<----- kill -------'                           `--> free (kill, give
//!                                                                               up)
//! ```
//!
//! A private page is seen by nobody else, and changes in place as long as its birth is the current
//! stamp. A published one has been handed to the file, so it never changes again. A change of any
//! but the newest private pages makes a copy under another number.
//!
//! Changes go on while pages that were published are being written. So the number of a published
//! page or run that the transaction gives up is not free at once: it is *vacated*, and free when
//! there are so many of them that all writes are waited for, or when the transaction ends. That it
//! does not depend on how fast the writes are makes the same changes use the same numbers every
//! time.
//!
//! What comes back under a number must have another stamp than what was written there: the stamp
//! advances when pages are published, when the transaction goes back to a [savepoint](Mark), and
//! when a [run](WriteSet::begin_run) that has the current one is vacated.

mod published;
mod run;
mod savepoint;
mod stream;
mod writes;

use rustc_hash::FxHashMap;
use yieldb_core::{Buffer, Completion, CompletionGroup, Error as IoFailure, is_planted, reached};

use published::Published;
use run::Unfinished;
pub use savepoint::Mark;
use savepoint::Savepoint;
use writes::Writes;

use crate::{Error, PageId, PageRef, PageRun, Pager, Result, Stamp, page_format};

/// A page number and a frame for it, not yet part of anything.
#[derive(Debug)]
pub struct Fresh {
    /// The number that nothing else has.
    pub id: PageId,
    /// The frame, with arbitrary contents.
    pub buffer: Buffer,
}

/// What a transaction keeps ready so that applying a change cannot fail.
#[derive(Debug, Default)]
pub struct Reserve {
    numbers: Vec<PageId>,
    frames: Vec<Buffer>,
}

impl Reserve {
    /// The next page.
    ///
    /// # Panics
    ///
    /// If the reserve is empty: the plan asked for less than it uses.
    pub fn take(&mut self) -> Fresh {
        let id = self.numbers.pop().expect("a number was reserved");
        let buffer = self.frames.pop().expect("a frame was reserved");
        Fresh { id, buffer }
    }

    /// The number of the next page; `None` if the reserve is empty.
    pub fn next_number(&self) -> Option<PageId> {
        self.numbers.last().copied()
    }

    /// A frame for a page that keeps its number.
    ///
    /// # Panics
    ///
    /// If the reserve is empty.
    pub fn take_frame(&mut self) -> Buffer {
        self.frames.pop().expect("a frame was reserved")
    }

    /// Puts a page back that was not needed, so that the next one taken is this one.
    pub fn put_back(&mut self, fresh: Fresh) {
        self.numbers.push(fresh.id);
        self.frames.push(fresh.buffer);
    }

    /// Puts a frame back that was taken for a page that keeps its number.
    pub fn put_back_frame(&mut self, frame: Buffer) {
        self.frames.push(frame);
    }

    /// How many pages can be taken.
    pub fn count(&self) -> usize {
        self.numbers.len().min(self.frames.len())
    }
}

/// A private page.
#[derive(Debug)]
struct Private {
    buffer: Buffer,
    birth: Stamp,
}

/// The pages that one write transaction has made, and the ones it has replaced.
///
/// A transaction that ends without a commit must [give it up](WriteSet::give_up): only then are its
/// numbers free again.
#[derive(Debug)]
pub struct WriteSet {
    /// The stamp that pages get now.
    stamp: Stamp,
    /// Was something made that has this stamp?
    is_stamp_used: bool,
    /// Was a number freed that was written with this stamp? Then the next page gets another one.
    is_stamp_stale: bool,
    private: FxHashMap<PageId, Private>,
    /// Own pages and runs that are published.
    published: Published,
    /// Pages and runs of the version before that the transaction has replaced, with their births.
    dead: Vec<(PageRun, Stamp)>,
    /// Own pages and runs, private or published, that only savepoints keep, with their births.
    superseded: Vec<(PageRun, Stamp)>,
    /// Own published pages and runs that nothing refers to. Writes of them may be in flight.
    vacated: Vec<PageRun>,
    /// How many pages they have.
    vacated_count: u64,
    /// The oldest first.
    savepoints: Vec<Savepoint>,
    /// How many savepoints there have ever been.
    mark_count: u64,
    /// The run that is being written.
    unfinished: Option<Unfinished>,
    /// Taken out by whoever builds pages, and put back by him.
    reserve: Reserve,
    /// Pages of runs that are published, and will be written together with the next ones.
    unwritten: Vec<PageId>,
    writes: Writes,
    /// Were pages published for want of room?
    has_spilled: bool,
    /// Why the transaction can only be given up.
    doomed: Option<IoFailure>,
}

impl WriteSet {
    /// An empty write set whose pages are born at `stamp`.
    pub(crate) fn new(stamp: Stamp) -> WriteSet {
        WriteSet {
            stamp,
            is_stamp_used: false,
            is_stamp_stale: false,
            private: FxHashMap::default(),
            published: Published::default(),
            dead: Vec::new(),
            superseded: Vec::new(),
            vacated: Vec::new(),
            vacated_count: 0,
            savepoints: Vec::new(),
            mark_count: 0,
            unfinished: None,
            reserve: Reserve::default(),
            unwritten: Vec::new(),
            writes: Writes::default(),
            has_spilled: false,
            doomed: None,
        }
    }

    /// The bytes of a page, if it is private, whether or not it may change in place.
    ///
    /// A tree that somebody made up may refer to a page under a number that is free in the space
    /// map, and that the transaction has taken for another page: that is not the one.
    pub fn page(&self, page: PageRef) -> Option<&[u8]> {
        self.private(page).map(|private| &*private.buffer)
    }

    /// May this page change in place?
    pub fn is_private(&self, page: PageRef) -> bool {
        self.private(page).is_some_and(|private| private.birth == self.stamp)
    }

    fn private(&self, page: PageRef) -> Option<&Private> {
        self.private.get(&page.page()).filter(|private| page.matches(private.birth))
    }

    /// The bytes of a private page, to be changed in place.
    ///
    /// # Panics
    ///
    /// If the page [may not change](WriteSet::is_private).
    pub fn page_mut(&mut self, page: PageRef) -> &mut [u8] {
        let private = self.private.get_mut(&page.page());
        let private = private.expect("only a private page changes");
        assert_eq!(private.birth, self.stamp, "{page:?} is sealed");
        &mut private.buffer
    }

    /// Has the transaction changed anything?
    pub fn is_empty(&self) -> bool {
        self.private.is_empty() && self.published.is_empty() && self.dead.is_empty()
    }

    /// How many private pages there are.
    pub fn private_count(&self) -> usize {
        self.private.len()
    }

    /// Has the transaction written out pages, other than those of runs, before its end? Also if it
    /// has given them up since.
    pub fn has_spilled(&self) -> bool {
        self.has_spilled
    }

    /// How many pages and runs of the version before the transaction has replaced.
    pub fn replaced_count(&self) -> usize {
        self.dead.len()
    }

    /// The stamp of the pages that are made now.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The name by which a parent refers to a page that is made now under `id`.
    pub fn page_ref(&self, id: PageId) -> PageRef {
        PageRef::new(id, self.stamp)
    }

    /// Sees to it that `count` pages can be taken from the reserve: `None` if they can, otherwise
    /// what to wait for before asking again.
    ///
    /// Where the transaction has used up its share of the cache, this publishes its pages and
    /// writes them out.
    ///
    /// # Errors
    ///
    /// The failure of an earlier write: the transaction is doomed.
    pub fn prepare(&mut self, pager: &Pager, count: usize) -> Result<Option<Completion>> {
        if let Some(io) = self.await_writes(pager, 0)? {
            return Ok(Some(io));
        }
        self.renew_stamp(pager);
        if self.reserve.count() >= count {
            return Ok(None);
        }
        if count > pager.private_limit() {
            // A tree of an impossible depth, or an impossibly small cache.
            let page_len = pager.page_size().bytes() as u64;
            let bytes = pager.cache().frame_count() as u64 * page_len;
            return Err(Error::CacheTooSmall { bytes, min: 2 * count as u64 * page_len });
        }
        if !self.private.is_empty() && self.private.len() + count > pager.private_limit() {
            pager.check_spill()?;
            reached!(PagesWrittenEarly);
            self.has_spilled = true;
            let pages = self.publish();
            self.hand_to_cache(pager);
            self.advance_stamp(pager);
            self.writes.push(pager.write_out(&pages), pages.len());
            return Ok(self.writes.oldest());
        }
        pager.allocate(count.saturating_sub(self.reserve.numbers.len()), &mut self.reserve.numbers);
        while self.reserve.frames.len() < count {
            match pager.cache().take_frame() {
                Ok(frame) => self.reserve.frames.push(frame),
                Err(signal) => return Ok(Some(signal)),
            }
        }
        Ok(None)
    }

    /// Says what to wait for before `count` more pages may be written, or others be changed: so
    /// that not too many pages are on their way to the file, and not too many numbers are vacated.
    fn await_writes(&mut self, pager: &Pager, count: usize) -> Result<Option<Completion>> {
        self.check_writes()?;
        let on_the_way = self.writes.page_count() + self.unwritten.len();
        if on_the_way + count > pager.in_flight_limit() && self.writes.oldest().is_none() {
            pager.check_spill()?;
        }
        if on_the_way + count > pager.in_flight_limit()
            && let Some(io) = self.writes.oldest()
        {
            return Ok(Some(io));
        }
        if self.vacated_count >= pager.vacated_limit() as u64 {
            pager.check_spill()?;
            self.write_runs(pager);
            if let Some(io) = self.writes.oldest() {
                return Ok(Some(io));
            }
            reached!(VacatedFreed);
            self.vacated_count = 0;
            pager.free(self.vacated.drain(..));
        }
        Ok(None)
    }

    /// Looks at the writes in flight: `None` if there are none any more.
    pub(crate) fn settle(&mut self) -> Result<Option<Completion>> {
        self.check_writes()?;
        Ok(self.writes.oldest())
    }

    /// Takes note of the writes that are finished.
    fn check_writes(&mut self) -> Result<()> {
        if let Some(cause) = &self.doomed {
            return Err(Error::Doomed { cause: cause.clone() });
        }
        let result = self.writes.settle();
        if is_planted!(WritesNotAwaited) {
            self.writes = Writes::default();
        }
        result.or_else(|cause| {
            reached!(TransactionDoomed);
            if is_planted!(DoomedCommits) {
                return Ok(());
            }
            self.doomed = Some(cause.clone());
            Err(cause.into())
        })
    }

    /// Goes on to the next stamp, unless nothing has the current one.
    fn advance_stamp(&mut self, pager: &Pager) {
        if self.is_stamp_used {
            self.stamp = pager.next_stamp();
        }
        self.is_stamp_used = false;
        self.is_stamp_stale = false;
    }

    /// Goes on to the next stamp if a number may come back that was written with the current one.
    /// Not while a change is planned: its pages have their names.
    fn renew_stamp(&mut self, pager: &Pager) {
        if self.is_stamp_stale {
            self.advance_stamp(pager);
        }
    }

    /// Takes the reserve out, to build pages while the others are read.
    pub fn take_reserve(&mut self) -> Reserve {
        std::mem::take(&mut self.reserve)
    }

    /// Puts the reserve back.
    pub fn put_back_reserve(&mut self, reserve: Reserve) {
        self.reserve = reserve;
    }

    /// Makes a page private. Under the number of a private page it takes that one's place.
    ///
    /// # Panics
    ///
    /// If that one [may not change](WriteSet::is_private).
    pub fn insert(&mut self, fresh: Fresh) {
        let Fresh { id, buffer } = fresh;
        self.is_stamp_used = true;
        if let Some(old) = self.private.insert(id, Private { buffer, birth: self.stamp }) {
            assert_eq!(old.birth, self.stamp, "{id:?} is sealed");
            self.reserve.frames.push(old.buffer);
        }
    }

    /// Notes that a page, born at `birth`, is no part of the transaction's trees any more.
    pub fn kill(&mut self, id: PageId, birth: Stamp) {
        match self.private.get(&id).filter(|private| private.birth == birth) {
            Some(_) if self.is_saved(birth) => self.superseded.push((id.into(), birth)),
            Some(_) => {
                let private = self.private.remove(&id).expect("it was found");
                self.reserve.put_back(Fresh { id, buffer: private.buffer });
            }
            None => self.kill_run(id.into(), birth),
        }
    }

    /// Notes that a run, born at `birth`, is no part of the transaction's trees any more. An own
    /// one that no savepoint covers is vacated.
    pub fn kill_run(&mut self, run: PageRun, birth: Stamp) {
        if !self.published.contains(birth, run) {
            if is_planted!(DurablePageReused) {
                return self.vacate(run, birth);
            }
            // In a tree that somebody made up it may be there twice, or not be used at all: the
            // checkpoint finds that out.
            self.dead.push((run, birth));
        } else if self.is_saved(birth) {
            self.superseded.push((run, birth));
        } else {
            self.published.remove(birth, run);
            self.vacate(run, birth);
        }
    }

    /// Gives up the numbers of something that was published, born at `birth`.
    fn vacate(&mut self, run: PageRun, birth: Stamp) {
        self.is_stamp_stale |= birth == self.stamp;
        self.vacated_count += run.count();
        self.vacated.push(run);
    }

    /// Moves everything out; what is left behind is empty and at the same stamp.
    pub fn take(&mut self) -> WriteSet {
        let empty = WriteSet::new(self.stamp);
        std::mem::replace(self, empty)
    }

    /// [Closes](WriteSet::close) the transaction and hands its pages to the cache. Returns those
    /// that wait to be written, in the order of their numbers.
    pub(crate) fn finish(&mut self, pager: &Pager) -> Vec<PageId> {
        let pages = self.close(pager);
        self.hand_to_cache(pager);
        pages
    }

    /// Ends all savepoints, and gives up what only they kept and the run that is not finished: what
    /// is published now is what the version gets. Its pages have to be
    /// [handed to the cache](WriteSet::hand_to_cache) before anybody looks for them. Returns those
    /// that wait to be written, in the order of their numbers.
    pub(crate) fn close(&mut self, pager: &Pager) -> Vec<PageId> {
        self.abandon_run();
        self.release_from(pager, 0);
        self.renew_stamp(pager);
        self.publish()
    }

    /// Makes every private page a published one: it does not change any more. Returns those pages,
    /// and those of runs that wait to be written as well, in the order of their numbers.
    fn publish(&mut self) -> Vec<PageId> {
        let made = self.private.iter().map(|(id, private)| (*id, private.birth));
        let mut made: Vec<(PageId, Stamp)> = made.collect();
        made.sort_unstable();
        let are_neighbours = |left: &(PageId, Stamp), right: &(PageId, Stamp)| {
            left.0.as_u64() + 1 == right.0.as_u64() && left.1 == right.1
        };
        for run in made.chunk_by(are_neighbours) {
            let (first, birth) = run[0];
            let run = PageRun::new(first, run.len() as u64).expect("it has a page");
            self.published.insert(birth, run);
        }
        let mut pages = std::mem::take(&mut self.unwritten);
        if !pages.is_empty() && is_planted!(LastRunNotWritten) {
            pages.clear();
        }
        pages.extend(made.into_iter().map(|(id, _)| id));
        pages.sort_unstable();
        pages
    }

    /// Seals the pages that were private when they were [published](WriteSet::publish), and hands
    /// them to the cache, where they wait to be written.
    pub(crate) fn hand_to_cache(&mut self, pager: &Pager) {
        for (id, mut private) in self.private.drain() {
            page_format::seal(&mut private.buffer, id, private.birth);
            pager.cache().publish_dirty(id, private.buffer);
        }
    }

    /// Makes a group wait for the writes in flight, and fail with those that failed.
    pub(crate) fn add_writes_to(&self, group: &mut CompletionGroup) {
        self.writes.add_to(group);
    }

    /// The pages and runs that the transaction has replaced, with their births.
    pub(crate) fn dead(&self) -> &[(PageRun, Stamp)] {
        &self.dead
    }

    /// The published pages and the runs that belong to the transaction.
    pub(crate) fn made(&self) -> impl Iterator<Item = PageRun> + '_ {
        self.published.runs()
    }

    /// Ends the transaction well: its published pages belong to a version now, and all its writes
    /// are finished. What it had in reserve, or has vacated, is free again.
    pub(crate) fn keep(mut self, pager: &Pager) {
        assert!(self.private.is_empty(), "a version has only published pages");
        assert!(self.unfinished.is_none(), "a version has only finished runs");
        pager.free(self.reserve.numbers.drain(..));
        pager.free(self.vacated.drain(..));
    }

    /// Ends the transaction as if it had never been.
    pub fn give_up(&mut self, pager: &Pager) {
        self.savepoints.clear();
        self.superseded.clear();
        self.dead.clear();
        // The frames go back before the ledger is locked.
        let mut unused = std::mem::take(&mut self.reserve.numbers);
        unused.extend(self.private.drain().map(|(id, _)| id));
        self.reserve.frames.clear();
        self.unwritten.clear();
        pager.free(unused);
        self.abandon_run();
        let published = std::mem::take(&mut self.published);
        if is_planted!(NumbersOfAbandonedTransaction) {
            return;
        }
        let written: Vec<PageRun> = published.runs().chain(self.vacated.drain(..)).collect();
        self.vacated_count = 0;
        match self.writes.all() {
            Some(io) if !is_planted!(AbandonedWritesNotAwaited) => {
                reached!(GivenUpWhileWriting);
                pager.free_after(io, written);
            }
            Some(_) | None => pager.free(written),
        }
    }
}
