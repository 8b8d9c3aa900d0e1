//! Memory for frames, found before they are used.
//!
//! ```text
//!        used or free       prepared     under way         unused: no memory
//!   |####################|............|:::::::::::::|                           |
//!                            --> used      --> prepared     --> used, if need be
//! ```
//!
//! The first use of a huge page takes as long as clearing it, and on a virtual machine whose host
//! has to find memory for it, milliseconds: nobody should be held up by that. So the driver is
//! [asked](yieldb_core::File::prepare) for the next huge page when the last one is being used.
//! Whoever needs a frame sooner takes an unused one behind it.

use yieldb_core::Buffer;
use yieldb_core::sync::Arc;

use super::FramePool;
use super::pool::Slow;

/// The bit of a buffer's token that says that the buffer is several frames, from this one on, that
/// are free and get memory.
pub(super) const UNPREPARED: u64 = 1 << 33;

/// How much memory is found at a time, in bytes: a huge page.
const HUGE_PAGE_LEN: usize = 2 << 20;

/// Frames that were never used, and have memory or are about to.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    /// Those that have it, the first one last.
    frames: Vec<u32>,
    /// How many are about to.
    under_way: usize,
}

impl Prepared {
    /// The next frame that has memory.
    pub fn take(&mut self) -> Option<u32> {
        self.frames.pop()
    }

    /// How many there are of both.
    pub fn count(&self) -> usize {
        self.frames.len() + self.under_way
    }
}

impl FramePool {
    /// How many frames get memory at a time.
    fn preparation(&self) -> usize {
        HUGE_PAGE_LEN / self.page_size().bytes()
    }

    /// Should some more get memory now? If there are few that have it, none that had it, and room
    /// for so many more.
    fn is_preparation_due(&self, slow: &Slow) -> bool {
        let count = self.preparation();
        slow.prepared.count() < count
            && slow.discarded.is_empty()
            && slow.in_use() + count <= self.frame_count()
            && slow.unused as usize + count <= self.frames.count() as usize
    }

    /// The frames that should get memory now, which are free once the buffer is dropped.
    pub(super) fn take_unprepared(self: &Arc<Self>, slow: &mut Slow) -> Option<Buffer> {
        if !self.is_preparation_due(slow) {
            return None;
        }
        let (first, count) = (slow.unused, self.preparation() as u32);
        slow.unused += count;
        slow.prepared.under_way += count as usize;
        let token = UNPREPARED | u64::from(first);
        Some(self.frames.lend_several(first, count, self.clone(), token))
    }

    /// Takes note that the frames from this one on have memory.
    pub(super) fn end_preparation(&self, first: u32) {
        let mut slow = self.slow();
        let end = first + slow.prepared.under_way as u32;
        slow.prepared.under_way = 0;
        slow.prepared.frames.extend((first..end).rev());
        drop(slow);
        self.wake_waiters();
    }
}
