//! Loom's locks, atomics and threads.

pub use loom::sync::{Condvar, Mutex, MutexGuard, atomic};
pub use loom::{thread, thread_local};
