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
//! A private page is seen by nobody else and changes in place. A published one has been handed to
//! the file, so it never changes again; a change makes a copy under another number.

use rustc_hash::{FxHashMap, FxHashSet};
use yieldb_core::{Buffer, Completion, Error as IoFailure, is_planted};

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
    /// The stamp that pages get now. It advances when pages are published.
    stamp: Stamp,
    private: FxHashMap<PageId, Private>,
    /// Own pages that are published.
    published: FxHashSet<PageId>,
    /// Pages of the version before that the transaction has replaced, with their births.
    dead: Vec<(PageRun, Stamp)>,
    /// Taken out by whoever builds pages, and put back by him.
    reserve: Reserve,
    /// The writes of published pages that are in flight.
    outstanding: Option<Completion>,
    /// Why the transaction can only be given up.
    doomed: Option<IoFailure>,
}

impl WriteSet {
    /// An empty write set whose pages are born at `stamp`.
    pub(crate) fn new(stamp: Stamp) -> WriteSet {
        WriteSet {
            stamp,
            private: FxHashMap::default(),
            published: FxHashSet::default(),
            dead: Vec::new(),
            reserve: Reserve::default(),
            outstanding: None,
            doomed: None,
        }
    }

    /// The bytes of a page, if it is private.
    pub fn page(&self, page: PageRef) -> Option<&[u8]> {
        self.private.get(&page.page()).map(|private| &*private.buffer)
    }

    /// May this page change in place?
    pub fn is_private(&self, page: PageRef) -> bool {
        self.private.contains_key(&page.page())
    }

    /// The bytes of a private page, to be changed in place.
    ///
    /// # Panics
    ///
    /// If the page is not private: a published page never changes.
    pub fn page_mut(&mut self, page: PageRef) -> &mut [u8] {
        let private = self.private.get_mut(&page.page());
        &mut private.expect("only a private page changes").buffer
    }

    /// Has the transaction changed anything?
    pub fn is_empty(&self) -> bool {
        self.private.is_empty() && self.published.is_empty() && self.dead.is_empty()
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
        if let Some(io) = self.settle()? {
            return Ok(Some(io));
        }
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
            let pages = self.publish(pager);
            self.stamp = pager.next_stamp();
            self.outstanding = Some(pager.write_out(&pages));
            return Ok(self.outstanding.clone());
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

    /// Looks at the writes in flight: `None` if there are none any more.
    pub(crate) fn settle(&mut self) -> Result<Option<Completion>> {
        if let Some(cause) = &self.doomed {
            return Err(Error::Doomed { cause: cause.clone() });
        }
        let Some(io) = self.outstanding.take() else { return Ok(None) };
        if !io.finished() && !is_planted!(WritesNotAwaited) {
            self.outstanding = Some(io.clone());
            return Ok(Some(io));
        }
        if let Some(cause) = io.get_error() {
            self.doomed = Some(cause.clone());
            return Err(cause.into());
        }
        Ok(None)
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
    pub fn insert(&mut self, fresh: Fresh) {
        let Fresh { id, buffer } = fresh;
        let birth = self.private.get(&id).map_or(self.stamp, |old| old.birth);
        if let Some(old) = self.private.insert(id, Private { buffer, birth }) {
            self.reserve.frames.push(old.buffer);
        }
    }

    /// Notes that a page, born at `birth`, is no part of the transaction's trees any more.
    pub fn kill(&mut self, pager: &Pager, id: PageId, birth: Stamp) {
        if let Some(private) = self.private.remove(&id) {
            self.reserve.put_back(Fresh { id, buffer: private.buffer });
        } else if self.published.remove(&id) {
            pager.free([id]);
        } else {
            // In a tree that somebody made up it may be there twice, or not be used at all: the
            // checkpoint finds that out.
            self.dead.push((id.into(), birth));
        }
    }

    /// Moves everything out; what is left behind is empty and at the same stamp.
    pub fn take(&mut self) -> WriteSet {
        let empty = WriteSet::new(self.stamp);
        std::mem::replace(self, empty)
    }

    /// Makes the transaction fail from now on.
    pub fn doom(&mut self, cause: IoFailure) {
        self.doomed.get_or_insert(cause);
    }

    /// Seals every private page and hands it to the cache, where it waits to be written. Returns
    /// those pages in the order of their numbers.
    pub(crate) fn publish(&mut self, pager: &Pager) -> Vec<PageId> {
        let mut pages = Vec::with_capacity(self.private.len());
        for (id, mut private) in self.private.drain() {
            page_format::seal(&mut private.buffer, id, private.birth);
            pager.cache().publish_dirty(id, private.buffer);
            self.published.insert(id);
            pages.push(id);
        }
        pages.sort_unstable();
        pages
    }

    /// The pages that the transaction has replaced, with their births.
    pub(crate) fn dead(&self) -> &[(PageRun, Stamp)] {
        &self.dead
    }

    /// The published pages that belong to the transaction.
    pub(crate) fn made(&self) -> impl Iterator<Item = PageRun> + '_ {
        self.published.iter().map(|page| PageRun::from(*page))
    }

    /// The numbers that the transaction has in reserve.
    pub(crate) fn reserved(&self) -> impl Iterator<Item = PageRun> + '_ {
        self.reserve.numbers.iter().map(|page| PageRun::from(*page))
    }

    /// Ends the transaction well: its published pages belong to a version now. What it had in
    /// reserve is free again.
    pub(crate) fn keep(mut self, pager: &Pager) {
        assert!(self.private.is_empty(), "a version has only published pages");
        pager.free(self.reserve.numbers.drain(..));
    }

    /// Ends the transaction as if it had never been.
    pub fn give_up(&mut self, pager: &Pager) {
        let unused = self.reserve.numbers.drain(..).chain(self.private.drain().map(|(id, _)| id));
        pager.free(unused);
        self.reserve.frames.clear();
        let published = self.published.drain();
        if is_planted!(NumbersOfAbandonedTransaction) {
            return;
        }
        match self.outstanding.take().filter(|io| !io.finished()) {
            Some(io) => pager.free_after(io, published.map(PageRun::from).collect()),
            None => pager.free(published),
        }
        self.dead.clear();
    }
}
