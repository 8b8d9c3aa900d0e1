//! Frames that come back from whoever had their bytes.

use yieldb_core::buffer::Home;
use yieldb_core::sync::atomic::Ordering;

use super::frames::{LOADING, PARTED};
use super::pool::{FramePool, LENT, Slow};
use super::prepare::UNPREPARED;

impl FramePool {
    /// A read is given up by one of two: the cache, which tells those who wait for it, or whoever
    /// has the frame's buffer, into which the kernel may write until he drops it. The frame is
    /// another page's only when both have done so, in whichever order, and nobody has it pinned.
    pub(super) fn part(&self, slow: &mut Slow, frame: u32) {
        let state = &self.frames.meta[frame as usize].state;
        let part = |state: u32| Some(state | PARTED);
        let before = state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, part);
        if before.is_ok_and(|state| state & PARTED != 0) {
            self.give_up(slow, frame);
        }
    }
}

impl Home for FramePool {
    fn give_back(&self, token: u64) {
        let frame = token as u32;
        if token & LENT != 0 {
            self.unpin(frame);
            return;
        }
        if token & UNPREPARED != 0 {
            return self.end_preparation(frame);
        }
        let is_loading =
            self.frames.meta[frame as usize].state.load(Ordering::SeqCst) & LOADING != 0;
        let mut slow = self.slow();
        match is_loading {
            true => self.part(&mut slow, frame),
            false => slow.free.push(frame),
        }
        drop(slow);
        self.wake_waiters();
    }
}
