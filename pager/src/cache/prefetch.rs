//! Reading pages before they are asked for, many at once.
//!
//! What is prefetched is of use only if it is there in time and takes nothing away from others. So
//! a prefetch never waits, and gives up early: it does nothing while somebody waits for a frame,
//! evicts only pages that are cold already, and has at most a quarter of the frames in hand. Its
//! pages enter cold: they are the next to go, unless somebody asks for them.

use smallvec::SmallVec;
use yieldb_core::sync::Arc;
use yieldb_core::sync::atomic::Ordering;
use yieldb_core::{Buffers, Completion, File, reached};

use super::clock::Need;
use super::frames::LOADING;
use super::in_flight::{End, Read, Run};
use super::{Cache, Slow};
use crate::PageRef;

/// The longest read that neighbouring pages are merged into, in bytes. Pages of longer ones come
/// all at once, and are asked for all at once, so that the device has little to do meanwhile. A
/// scan of a file that is not in memory has 1.1 times the pages a second of one with 256 KiB.
const MAX_READ_LEN: usize = 64 * 1024;

/// How many pages are put in order at a time: only within such a piece are neighbours found.
const PIECE: usize = 128;

impl Cache {
    /// Starts reads of those of the pages that are neither in memory nor on their way, and returns
    /// of how many. Neighbours, in whatever order they are given, are read together.
    ///
    /// Best effort: some may be left out. Who wants one of the pages [joins its
    /// read](Cache::join_read); if nobody does, nothing is left of it but a cold page, and nothing
    /// of one that cannot be read. Allocates nothing once it has been used for a while.
    pub fn prefetch(self: &Arc<Self>, file: &dyn File, pages: &[PageRef]) -> usize {
        let mut started = 0;
        for piece in pages.chunks(PIECE) {
            let mut piece: SmallVec<[PageRef; PIECE]> = piece.iter().copied().collect();
            piece.sort_unstable_by_key(|name| name.page());
            piece.dedup_by_key(|name| name.page());
            let mut rest = piece.as_slice();
            while let Some((run, io)) = self.begin_run(&mut rest) {
                started += run.count;
                if run.count > 1 {
                    reached!(ReadsMerged);
                }
                self.pool.counters.count_read(run.count * self.page_len());
                file.read(self.offset_of(run.first), io);
            }
        }
        if started > 0 {
            let unprepared = self.pool.take_unprepared(&mut self.pool.slow());
            self.prepare(unprepared);
        }
        started
    }

    /// Takes the next run off the front of `rest`, and makes the read of it.
    fn begin_run(self: &Arc<Self>, rest: &mut &[PageRef]) -> Option<(Run, Completion)> {
        let mut slow = self.pool.slow();
        let is_wanted = |slow: &Slow, name: PageRef| {
            let key = (self.owner, name.page());
            self.table.get(name.page()).is_none() && !slow.in_flight.contains_key(&key)
        };
        let first = rest.iter().position(|name| is_wanted(&slow, *name))?;
        *rest = &rest[first..];
        let mut run = Run { first: rest[0].page(), count: 0 };
        let mut buffers = Buffers::new();
        while let Some(name) = rest.first().copied() {
            let next = run.first.as_u64() + run.count as u64;
            let is_full = run.count == MAX_READ_LEN / self.page_len();
            if is_full || name.page().as_u64() != next || !is_wanted(&slow, name) {
                break;
            }
            let Some(frame) = self.frame_to_prefetch(&mut slow, name) else {
                *rest = &[];
                break;
            };
            let meta = &self.pool.frames.meta[frame as usize];
            meta.page.store(name.as_u64(), Ordering::SeqCst);
            meta.state.store(LOADING, Ordering::SeqCst);
            if run.count == 1 {
                // A list that was long before has room without an allocation.
                let first = std::mem::replace(&mut buffers, slow.spare.pop().unwrap_or_default());
                buffers.extend(first);
            }
            buffers.push(self.pool.frames.lend_exclusively(frame, self.pool.clone()));
            let end = End::Signal(None);
            slow.in_flight.insert((self.owner, name.page()), Read { name, frame, end });
            slow.prefetching += 1;
            run.count += 1;
            *rest = &rest[1..];
        }
        drop(slow);
        (run.count > 0).then(|| (run, Completion::read_into(buffers, self.clone(), run.token())))
    }

    /// A frame, unless others need it more.
    fn frame_to_prefetch(&self, slow: &mut Slow, name: PageRef) -> Option<u32> {
        self.table.make_room(name.page()).ok()?;
        let is_modest = slow.prefetching < self.frame_count() / 4 && slow.waiters.is_empty();
        if is_modest { self.pool.free_frame(slow, Need::Vague) } else { None }
    }
}
