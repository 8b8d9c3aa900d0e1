//! Locks, atomics and threads: the one place where the engine has them from.
//!
//! In an ordinary build everything here *is* the standard library's, and costs what that costs.
//! Two features put a checker in its place, which runs the same code under many schedules:
//!
//! | feature | checker | who uses it |
//! |---|---|---|
//! | `shuttle` | random schedules of programs, sequentially consistent | `testing/threads` |
//! | `loom` | all that memory orderings allow, of small programs | `testing/orderings` |
//!
//! Only packages that are workspaces of their own turn them on: features of a workspace are
//! unified, and an engine that was built for a checker works inside of one alone.
//!
//! What follows for the code that uses this: nothing that may be scheduled (a lock, an atomic) is
//! touched while something of the standard library's own is held that others wait for. An
//! [`OnceLock`] is the standard library's everywhere, so its initialisers do nothing of the kind.
//! What is `static` outlives an execution, and is made anew for each (see `slots`).

#[cfg(feature = "loom")]
mod loomed;
#[cfg(feature = "shuttle")]
mod shuttled;

#[cfg(feature = "loom")]
pub use loomed::*;
#[cfg(feature = "shuttle")]
pub use shuttled::*;

#[cfg(not(any(feature = "shuttle", feature = "loom")))]
pub use std::sync::{Condvar, Mutex, MutexGuard, atomic};
#[cfg(not(any(feature = "shuttle", feature = "loom")))]
pub use std::{thread, thread_local};

pub use std::sync::{Arc, OnceLock, PoisonError, TryLockError, Weak};

/// A small number of this thread's own.
#[cfg(not(feature = "shuttle"))]
#[inline]
pub fn thread_number() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    std::thread_local! {
        static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

/// Is this a build for a checker? Sizes are small then, so that a short run reaches their limits.
pub const IS_CHECKED: bool = cfg!(any(feature = "shuttle", feature = "loom"));
