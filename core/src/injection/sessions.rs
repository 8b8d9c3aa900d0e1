//! Sessions that are shorter than they are, so that tests get to their ends.

use std::cell::Cell;

thread_local! {
    static MOMENTS: Cell<u32> = const { Cell::new(u32::MAX) };
}

/// Runs `work` in sessions of so many moments, at least 2.
pub fn shorten_sessions<R>(moments: u32, work: impl FnOnce() -> R) -> R {
    /// Also when the work panics.
    struct Restore(u32);
    impl Drop for Restore {
        fn drop(&mut self) {
            MOMENTS.set(self.0);
        }
    }
    let _restore = Restore(MOMENTS.replace(moments.max(2)));
    work()
}

/// How many moments a session has.
pub fn session_moments() -> u32 {
    MOMENTS.get()
}
