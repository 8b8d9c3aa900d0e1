//! Reads under way, shared by all who want the page.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::smallvec;
use yieldb_core::{
    Buffers, Completion, Error as IoFailure, File, Sink, WeakCompletion, is_planted,
};

use super::frames::{LOADING, PINS, RESIDENT, RETIRED};
use super::{Cache, PinnedPage, other_version};
use crate::page_format::{SPACE_BITS, SPACE_INDEX, VALUE, kind_of};
use crate::space::map;
use crate::{PageId, PageRef, page_format, value_page};

/// A read under way. The one who waits for it holds the completion, so does the driver.
#[derive(Debug)]
pub(super) struct Read {
    name: PageRef,
    frame: u32,
    completion: WeakCompletion,
}

impl Read {
    /// The end of the read.
    pub fn completion(&self) -> Completion {
        // A read that nobody holds any more has been finished, but for its last lines.
        self.completion.upgrade().unwrap_or_else(Completion::new_yield)
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
        let mut slow = self.slow();
        if let Some(frame) = self.table.get(name.page()) {
            if self.frames.meta[frame as usize].page.load(Ordering::SeqCst) != name.as_u64() {
                return Err(other_version(name));
            }
            // Nothing is evicted or forgotten without the mutex.
            let page = self.pin(frame).expect("a page in the table is resident");
            return Ok(Joined::Hit(page));
        }
        if let Some(read) = slow.in_flight.get(&name.page()) {
            let Some(completion) = read.completion.upgrade().filter(|_| read.name == name) else {
                return Ok(Joined::Later(read.completion()));
            };
            self.frames.meta[read.frame as usize].state.fetch_add(1, Ordering::SeqCst);
            let page = PinnedPage { cache: self.clone(), frame: read.frame };
            return Ok(Joined::Reading(PendingRead { page, completion }));
        }
        self.counters.misses.fetch_add(1, Ordering::Relaxed);
        let Some(frame) = self.free_frame(&mut slow) else {
            return Ok(Joined::Later(self.wait_for_frame(&mut slow)));
        };
        let meta = &self.frames.meta[frame as usize];
        meta.page.store(name.as_u64(), Ordering::SeqCst);
        // One pin for the one who asked.
        meta.state.store(LOADING | 1, Ordering::SeqCst);
        let buffer = self.frames.lend_exclusively(frame, self.clone());
        if is_planted!(PinOfAbandonedRead) {
            meta.state.store(LOADING | 2, Ordering::SeqCst);
        }
        let completion = Completion::read_into(smallvec![buffer], self.clone(), u64::from(frame));
        let read = Read { name, frame, completion: completion.downgrade() };
        slow.in_flight.insert(name.page(), read);
        drop(slow);
        self.counters.reads.fetch_add(1, Ordering::Relaxed);
        let page = PinnedPage { cache: self.clone(), frame };
        let offset = name.page().as_u64() * self.page_size.bytes() as u64;
        file.read(offset, completion.clone());
        Ok(Joined::Reading(PendingRead { page, completion }))
    }

    /// Checks what was read.
    fn verify(&self, name: PageRef, len: usize, page: &[u8]) -> Result<(), IoFailure> {
        let verdict = if len < self.page_size.bytes() {
            Err("it lies behind the end of the file")
        } else {
            page_format::verify(page, name).and_then(|()| match kind_of(page) {
                SPACE_BITS | SPACE_INDEX => map::check_page(page),
                VALUE => value_page::check_page(page),
                _ => (self.check)(page),
            })
        };
        verdict.map_err(|what| IoFailure::Rejected { number: name.page().as_u64(), what })
    }
}

impl Sink for Cache {
    fn finished(
        &self,
        token: u64,
        result: yieldb_core::Result<usize>,
        buffers: Buffers,
    ) -> yieldb_core::Result<usize> {
        let frame = token as u32;
        let meta = &self.frames.meta[frame as usize];
        let name = PageRef::from_u64(meta.page.load(Ordering::SeqCst));
        let mut result = match (result, buffers.first()) {
            (Ok(len), Some(page)) => self.verify(name, len, page).map(|()| len),
            (Ok(_), None) => Err(IoFailure::Abandoned),
            (Err(error), _) => Err(error),
        };
        for buffer in buffers {
            buffer.into_token();
        }
        let mut slow = self.slow();
        if slow.in_flight.get(&name.page()).is_some_and(|read| read.frame == frame) {
            slow.in_flight.remove(&name.page());
        } else {
            // Another page has taken its number.
            result = Err(other_version(name));
        }
        if result.is_ok() {
            self.make_resident(frame, name, RESIDENT);
        } else {
            let out = |state: u32| Some(state & PINS | RETIRED);
            let before = meta.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, out);
            if before.is_ok_and(|state| state & PINS == 0) {
                self.retire(&mut slow, frame);
            }
        }
        drop(slow);
        self.wake_waiters();
        result
    }
}

/// The pages that are being read, for tests.
impl Cache {
    /// Is the page being read?
    pub fn is_reading(&self, page: PageId) -> bool {
        self.slow().in_flight.contains_key(&page)
    }
}
