//! The side of an I/O driver that the engine cannot reach.

use crate::{Completion, Result};

/// Turns an I/O back-end: submits what was queued, and finishes what is done.
///
/// Only whoever opened the back-end has one of these. The engine has an [`crate::IO`] and is thus
/// unable to wait, by construction.
pub trait Driver: Send + Sync {
    /// Submits what is queued and finishes what is done, without waiting: all that a kernel which
    /// works by itself is done with. Returns how many completions it finished; there may be more,
    /// unless that is 0.
    ///
    /// A back-end without a kernel to work for it (pread) performs queued requests here; it
    /// returns after a bounded number.
    fn poll(&self) -> usize;

    /// The same for a thread that is not in a loop of its own around [`Driver::event_fd`]: whoever
    /// is, and sleeps until that is readable, is told of what this one finishes. It may leave some
    /// of what is done for the next call.
    fn poll_beside(&self) -> usize {
        self.poll()
    }

    /// Hands what is queued to whoever performs it, and returns at once. Finishes nothing where
    /// it can be avoided.
    fn submit(&self);

    /// Works, or waits for others that work, until something has changed: `until` is finished, or
    /// any other completion was finished, or [`Driver::interrupt`] was called. May return early.
    ///
    /// Any number of threads may wait together, for the same completion or for different ones;
    /// none misses the end of its own. A wait for a completion that nobody will finish lasts
    /// until something else happens.
    fn wait(&self, until: &Completion);

    /// Waits until nothing is queued or in flight.
    fn quiesce(&self);

    /// Makes every thread in [`Driver::wait`] return, now or, if none is there, the next one.
    fn interrupt(&self);

    /// Is this still the process that opened the back-end? In a fork of it nothing is submitted,
    /// performed or finished. Costs next to nothing.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Forked`].
    fn check_process(&self) -> Result<()>;

    /// How many requests are queued or in flight.
    fn in_flight(&self) -> usize;

    /// A file descriptor that polls as readable when there is something to reap *or to submit*, or
    /// was finished beside the loop, for event loops. [`Driver::poll`] clears it. `None` where the
    /// platform has no such thing.
    fn event_fd(&self) -> Option<std::os::fd::RawFd>;

    /// How many threads in [`Driver::wait`] add to this back-end's depth: 1 where the kernel works
    /// on many requests at once.
    fn useful_threads(&self) -> usize;

    /// Do requests come to their ends while no thread is in the driver? Then a thread that is told
    /// to [`Driver::poll`] again and again need not sleep in [`Driver::wait`].
    fn works_by_itself(&self) -> bool {
        false
    }

    /// The back-end's name: `uring`, `pread`, `memory`.
    fn name(&self) -> &'static str;
}
