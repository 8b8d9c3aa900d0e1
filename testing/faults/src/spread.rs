//! Work of many equal pieces, on all cores.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Runs `work` for each of `0..count`, on all cores, each with what `begin` gives to its thread.
///
/// # Panics
///
/// If `work` does; the message says for which number.
pub fn spread<T>(count: usize, begin: impl Fn() -> T + Sync, work: impl Fn(&T, usize) + Sync) {
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, |count| count.get().min(8));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let own = begin();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(&own, number))) {
                        next.store(count, Ordering::Relaxed);
                        eprintln!("the panic above is that of number {number} of {count}");
                        resume_unwind(panic);
                    }
                }
            });
        }
    });
}
