//! What waiting for whichever is next allocates: nothing, once the slots are there.
//!
//! The only test of its program: the allocator counts for all threads.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use yieldb_core::{Arrivals, Completion};

/// Counts allocations, and those that grow.
struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is done by the system's allocator, with what it was given.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(start, layout, len) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Keeps a window of completions full and waits for each.
fn run(arrivals: &Arrivals, window: &mut Vec<Completion>) {
    for round in 0..1_000 {
        while window.len() < 64 {
            let io = Completion::signal();
            assert!(arrivals.watch(&io));
            window.push(io);
        }
        let signal = arrivals.next_signal();
        if !signal.finished() {
            window[round % 64].succeed(0);
            assert!(signal.finished());
        }
        window.retain(|io| !io.finished());
    }
}

#[test]
fn waiting_allocates_nothing() {
    let (arrivals, mut window) = (Arrivals::new(), Vec::with_capacity(64));
    run(&arrivals, &mut window);
    let before = COUNT.load(Ordering::SeqCst);
    run(&arrivals, &mut window);
    assert_eq!(COUNT.load(Ordering::SeqCst) - before, 0);
}
