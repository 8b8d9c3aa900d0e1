//! Reads under way, shared by all who want the page.
//!
//! A read is of one page, or of a run of neighbours (see `prefetch`). Each page of a run has a
//! verdict of its own: one that is not what it should be is an error for those only who asked for
//! it.
//!
//! ```text
//!   one page, or a run of them --- read ------> each page verified: resident, or refused
//!                     '---- I/O error, a run -> each page read by itself
//!                     '---- I/O error, one ---> refused
//! ```

use smallvec::smallvec;
use yieldb_core::sync::Arc;
use yieldb_core::sync::atomic::Ordering;
use yieldb_core::{
    Buffers, Completion, Error as IoFailure, File, Request, Sink, WeakCompletion, is_planted,
    reached,
};

use super::clock::Need;
use super::frames::{LOADING, PINS, RESIDENT, prefetch_whole};
use super::stats::Counters;
use super::{Cache, PinnedPage, other_version};
use crate::page_format::{SPACE_BITS, SPACE_INDEX, VALUE, kind_of};
use crate::space::map;
use crate::{PageId, PageRef, page_format, value_page};

/// How many lists of buffers are kept.
const MAX_SPARE: usize = 64;

/// A page that is being read.
#[derive(Debug)]
pub(super) struct Read {
    pub name: PageRef,
    pub frame: u32,
    pub end: End,
}

/// What those who want a page that is being read wait for. Its result is the page's own.
#[derive(Debug)]
pub(super) enum End {
    /// The read itself. The one who waits for it holds it, so does the driver.
    Read(WeakCompletion),
    /// For a page that was prefetched, perhaps with others: the one to be told, once somebody wants
    /// the page.
    Signal(Option<Completion>),
}

impl Read {
    /// The end of the read.
    pub fn completion(&mut self) -> Completion {
        // A read that nobody holds any more has been finished, but for its last lines.
        self.end.completion().unwrap_or_else(Completion::new_yield)
    }
}

impl End {
    fn completion(&mut self) -> Option<Completion> {
        match self {
            End::Read(completion) => completion.upgrade(),
            End::Signal(signal) => Some(signal.get_or_insert_with(Completion::signal).clone()),
        }
    }
}

/// The pages of one read: neighbours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub first: PageId,
    pub count: usize,
}

impl Run {
    /// The run as the token of its read: the first number, and the count above it.
    pub fn token(self) -> u64 {
        self.first.as_u64() | (self.count as u64) << PageId::BITS
    }

    fn from_token(token: u64) -> Run {
        let first = PageId::from_u64(token & (PageId::COUNT - 1));
        Run {
            first: first.expect("a number of so many bits"),
            count: (token >> PageId::BITS) as usize,
        }
    }

    fn pages(self) -> impl Iterator<Item = PageId> {
        let first = self.first.as_u64();
        (first..first + self.count as u64).filter_map(PageId::from_u64)
    }
}

/// What joining a read comes to.
#[derive(Debug)]
pub enum Joined {
    /// The page is in memory.
    Hit(PinnedPage),
    /// The page is being read.
    Reading(PendingRead),
    /// Nothing could be done now; try again after this.
    Later(Completion),
}

/// A page that is being read. When the read is finished well, the page stays in memory as long as
/// this exists.
#[derive(Debug)]
pub struct PendingRead {
    page: PinnedPage,
    completion: Completion,
}

impl PendingRead {
    /// The end of the read.
    pub fn completion(&self) -> Completion {
        self.completion.clone()
    }

    /// The page, once the read is finished.
    ///
    /// # Errors
    ///
    /// The read's; [`IoFailure::Rejected`] if what was read is not the page.
    ///
    /// # Panics
    ///
    /// If the read is not finished.
    pub fn take(self) -> Result<PinnedPage, IoFailure> {
        let result = self.completion.result().expect("a read is taken when it is finished");
        if is_planted!(ReadErrorIgnored) {
            return Ok(self.page);
        }
        result.map(|_| self.page)
    }
}

impl Cache {
    /// The page, or the read of it: the one under way, or a new one.
    ///
    /// # Errors
    ///
    /// [`IoFailure::Rejected`] if the page in memory is not the one that is asked for.
    pub fn join_read(
        self: &Arc<Self>,
        file: &dyn File,
        name: PageRef,
    ) -> Result<Joined, IoFailure> {
        let mut slow = self.pool.slow();
        if let Some(frame) = self.table.get(name.page()) {
            if self.pool.frames.meta[frame as usize].page.load(Ordering::SeqCst) != name.as_u64() {
                return Err(other_version(name));
            }
            // Nothing is evicted or forgotten without the mutex.
            let page = self.pool.pin(frame).expect("a page in the table is resident");
            let page = page.with(self.pool.clone());
            Counters::count(&self.pool.counters.joined_hits);
            return Ok(Joined::Hit(page));
        }
        if let Some(read) = slow.in_flight.get_mut(&(self.owner, name.page())) {
            let Some(completion) = read.end.completion().filter(|_| read.name == name) else {
                return Ok(Joined::Later(read.completion()));
            };
            reached!(ReadJoined);
            let page = self.pool.add_pin(read.frame);
            return Ok(Joined::Reading(PendingRead { page, completion }));
        }
        self.table.make_room(name.page())?;
        let Some(frame) = self.pool.free_frame(&mut slow, Need::Firm) else {
            return Ok(Joined::Later(self.pool.wait_for_frame(&mut slow)));
        };
        let meta = &self.pool.frames.meta[frame as usize];
        meta.page.store(name.as_u64(), Ordering::SeqCst);
        let before = if is_planted!(PinOfAbandonedRead) { LOADING | 1 } else { LOADING };
        meta.state.store(before, Ordering::SeqCst);
        let page = self.pool.add_pin(frame);
        let buffer = self.pool.frames.lend_exclusively(frame, self.pool.clone());
        let run = Run { first: name.page(), count: 1 };
        let completion = Completion::read_into(smallvec![buffer], self.clone(), run.token());
        let read = Read { name, frame, end: End::Read(completion.downgrade()) };
        slow.in_flight.insert((self.owner, name.page()), read);
        let unprepared = self.pool.take_unprepared(&mut slow);
        drop(slow);
        Counters::count(&self.pool.counters.misses);
        self.pool.counters.count_read(self.page_len());
        file.read(self.offset_of(name.page()), completion.clone());
        self.prepare(unprepared);
        Ok(Joined::Reading(PendingRead { page, completion }))
    }

    /// The length of a page in bytes.
    pub(super) fn page_len(&self) -> usize {
        self.pool.page_size().bytes()
    }

    /// Where a page is in the file, in bytes.
    pub(super) fn offset_of(&self, page: PageId) -> u64 {
        page.as_u64() * self.page_len() as u64
    }

    /// Checks what was read: `len` bytes of the page's place in the file.
    fn verify(&self, name: PageRef, len: usize, page: &[u8]) -> Result<(), IoFailure> {
        let verdict = if len < self.page_len() {
            Err("it lies behind the end of the file")
        } else {
            page_format::verify(page, name).and_then(|()| match kind_of(page) {
                SPACE_BITS | SPACE_INDEX => map::check_page(page),
                VALUE => value_page::check_page(page),
                _ => (self.check)(page),
            })
        };
        verdict.map_err(|what| {
            reached!(PageRefused);
            IoFailure::Rejected { number: name.page().as_u64(), what }
        })
    }

    /// Ends the read of one page: installs the page or gives up its frame, and tells those who
    /// wait for it if they wait for a signal. The frame's buffer may not be back.
    fn conclude(&self, page: PageId, verdict: &Result<usize, IoFailure>, is_back: bool) {
        let mut slow = self.pool.slow();
        let read = slow.in_flight.remove(&(self.owner, page));
        let Some(Read { name, frame, end }) = read else { return };
        let state = self.pool.frames.meta[frame as usize].state.load(Ordering::SeqCst);
        if matches!(end, End::Read(_)) && state & PINS == 0 {
            reached!(ReadAbandoned);
        }
        // Another page may have taken its number, if the space map is damaged.
        if !is_back {
            self.pool.part(&mut slow, frame);
        } else if verdict.is_ok() && self.table.get(page).is_none() {
            self.make_resident(&mut slow, frame, name, RESIDENT);
        } else {
            self.pool.give_up(&mut slow, frame);
        }
        let End::Signal(signal) = end else { return };
        slow.prefetching -= 1;
        drop(slow);
        let Some(signal) = signal else { return };
        match verdict {
            Ok(len) => signal.succeed(*len),
            Err(error) => signal.fail(error.clone()),
        };
    }

    /// Reads each page of a run by itself: the run could not be read, which may be due to one of
    /// them.
    fn read_each(self: &Arc<Self>, file: &dyn File, run: Run, buffers: &mut Buffers) {
        reached!(MergedReadFailed);
        for (page, buffer) in run.pages().zip(buffers.drain(..)) {
            let alone = Run { first: page, count: 1 };
            self.pool.counters.count_read(buffer.len());
            let io = Completion::read_into(smallvec![buffer], self.clone(), alone.token());
            file.read(self.offset_of(page), io);
        }
    }

    /// Keeps the memory of a long list for the next run.
    fn recycle(&self, buffers: Buffers) {
        if buffers.spilled() {
            let mut slow = self.pool.slow();
            if slow.spare.len() < MAX_SPARE {
                slow.spare.push(buffers);
            }
        }
    }
}

impl Sink for Cache {
    /// Ends a read. What is returned is the verdict on the last page: of a run, nobody asks.
    fn finished(
        &self,
        token: u64,
        result: yieldb_core::Result<usize>,
        mut buffers: Buffers,
    ) -> yieldb_core::Result<usize> {
        let run = Run::from_token(token);
        if buffers.len() < run.count {
            // Whoever was to read gave them up; or somebody who may not has ended the read, and
            // they are in use.
            drop(buffers);
            let verdict = result.and(Err(IoFailure::Abandoned));
            run.pages().for_each(|page| self.conclude(page, &verdict, false));
            self.pool.wake_waiters();
            return verdict;
        }
        if run.count > 1
            && matches!(result, Err(IoFailure::Io(_)))
            && let (Some(cache), Some(file)) = (self.own.upgrade(), self.file.upgrade())
        {
            cache.read_each(&*file, run, &mut buffers);
            self.recycle(buffers);
            return result;
        }
        let mut verdict = result.clone();
        let page_len = self.page_len();
        let mut rest = run.pages().zip(buffers.drain(..)).enumerate().peekable();
        while let Some((index, (page, buffer))) = rest.next() {
            if let Some((_, (_, next))) = rest.peek() {
                prefetch_whole(next);
            }
            verdict = result.clone().and_then(|len| {
                let len = len.saturating_sub(index * page_len).min(page_len);
                let name =
                    self.pool.frames.meta[buffer.token() as usize].page.load(Ordering::SeqCst);
                self.verify(PageRef::from_u64(name), len, &buffer).map(|()| len)
            });
            buffer.into_token();
            self.conclude(page, &verdict, true);
        }
        drop(rest);
        self.recycle(buffers);
        self.pool.wake_waiters();
        verdict
    }
}
