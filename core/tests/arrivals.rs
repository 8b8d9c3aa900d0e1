//! What waiting for whichever is next allocates: nothing, once the slots are there.
//!
//! The allocator counts for each thread by itself: those of the test's harness allocate when they
//! like.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use yieldb_core::{Arrivals, Completion, Request};

/// Counts allocations, and those that grow.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    COUNT.set(COUNT.get() + 1);
}

// SAFETY: everything is done by the system's allocator, with what it was given.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        count();
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
    let before = COUNT.get();
    run(&arrivals, &mut window);
    assert_eq!(COUNT.get() - before, 0);
}
