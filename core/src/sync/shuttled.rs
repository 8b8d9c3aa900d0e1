//! Shuttle's locks and threads, and atomics with a scheduling point before each access.
//!
//! Shuttle has atomics as well, but they are larger than an integer: the cache's arrays of atomics
//! begin as zeroes from the operating system. All threads of an execution take turns on one of the
//! system's, so one point before an access is all that there is to decide.

pub use crate::slots::per_execution::{begin_execution, end_execution};
pub use shuttle::sync::{Condvar, Mutex, MutexGuard};
pub use shuttle::{thread, thread_local};

/// A small number of this thread's own: the same one whenever its schedule is run again.
pub fn thread_number() -> usize {
    shuttle::current::try_get_current_task().map_or(0, usize::from)
}

/// Atomics whose accesses are scheduling points.
pub mod atomic {
    pub use std::sync::atomic::Ordering;
    use std::sync::atomic::{self, Ordering::SeqCst};
    use std::time::Duration;

    use shuttle::current::try_get_current_task;

    /// Lets another thread run, if the schedule says so. Nothing outside of an execution.
    fn point() {
        if try_get_current_task().is_some() {
            // No time passes: this is the checker's name for a bare scheduling point.
            shuttle::thread::sleep(Duration::ZERO);
        }
    }

    /// All accesses are sequentially consistent already.
    pub fn fence(_order: Ordering) {}

    macro_rules! atomic {
        ($name:ident of $value:ty) => {
            /// The standard library's, with a scheduling point before each access.
            #[derive(Debug, Default)]
            #[repr(transparent)]
            pub struct $name(atomic::$name);

            #[allow(missing_docs)] // see the standard library
            impl $name {
                pub const fn new(value: $value) -> $name {
                    $name(atomic::$name::new(value))
                }

                pub fn load(&self, _order: Ordering) -> $value {
                    point();
                    self.0.load(SeqCst)
                }

                pub fn store(&self, value: $value, _order: Ordering) {
                    point();
                    self.0.store(value, SeqCst);
                }

                pub fn swap(&self, value: $value, _order: Ordering) -> $value {
                    point();
                    self.0.swap(value, SeqCst)
                }

                pub fn compare_exchange(
                    &self,
                    from: $value,
                    to: $value,
                    _success: Ordering,
                    _failure: Ordering,
                ) -> Result<$value, $value> {
                    point();
                    self.0.compare_exchange(from, to, SeqCst, SeqCst)
                }

                pub fn fetch_update(
                    &self,
                    _set: Ordering,
                    _fetch: Ordering,
                    update: impl FnMut($value) -> Option<$value>,
                ) -> Result<$value, $value> {
                    point();
                    self.0.fetch_update(SeqCst, SeqCst, update)
                }
            }
        };
        ($name:ident of integer $value:ty) => {
            atomic!($name of $value);

            #[allow(missing_docs)] // see the standard library
            impl $name {
                pub fn fetch_add(&self, value: $value, _order: Ordering) -> $value {
                    point();
                    self.0.fetch_add(value, SeqCst)
                }

                pub fn fetch_sub(&self, value: $value, _order: Ordering) -> $value {
                    point();
                    self.0.fetch_sub(value, SeqCst)
                }

                pub fn fetch_and(&self, value: $value, _order: Ordering) -> $value {
                    point();
                    self.0.fetch_and(value, SeqCst)
                }
            }
        };
    }

    atomic!(AtomicBool of bool);
    atomic!(AtomicU8 of integer u8);
    atomic!(AtomicU16 of integer u16);
    atomic!(AtomicU32 of integer u32);
    atomic!(AtomicU64 of integer u64);
    atomic!(AtomicUsize of integer usize);
}
