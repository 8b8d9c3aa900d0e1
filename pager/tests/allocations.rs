//! What reading many pages at once allocates: nothing, once it has been done for a while.
//!
//! The only test of its program: the allocator counts for all threads.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use common::{PAGE_COUNT, World, name, wait};
use yieldb_core::Arrivals;
use yieldb_io_backends::{Choice, MemoryDisk};
use yieldb_pager::cache::Joined;

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

/// Runs and single pages of all of the file, several times over.
fn read_ahead(world: &World, arrivals: &Arrivals) {
    for round in 0..20 {
        for first in (2..PAGE_COUNT).step_by(16) {
            let stride = 1 + (round + first) % 3;
            let numbers = || (0..16).map(move |step| (first + step * stride) % PAGE_COUNT);
            let mut pages = [name(0); 16];
            numbers().zip(&mut pages).for_each(|(number, page)| *page = name(number));
            world.cache.prefetch(&*world.file, &pages);
            for page in pages {
                match world.cache.join_read(&*world.file, page).unwrap() {
                    Joined::Hit(bytes) => {
                        assert_eq!(common::number_in(&bytes), page.page().as_u64());
                    }
                    Joined::Reading(read) => {
                        arrivals.watch(&read.completion());
                        while !read.completion().finished() {
                            wait(world, &arrivals.next_signal());
                        }
                        let bytes = read.take().unwrap();
                        assert_eq!(common::number_in(&bytes), page.page().as_u64());
                    }
                    Joined::Later(signal) => wait(world, &signal),
                }
            }
        }
    }
}

#[test]
fn reading_many_pages_allocates_nothing() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, common::image()).unwrap();
    let disk = MemoryDisk::new();
    let worlds = [
        ("uring", World::open(yieldb_io_backends::open(Choice::Auto).unwrap(), &path, 64)),
        ("pread", World::open(yieldb_io_backends::open(Choice::Pread).unwrap(), &path, 64)),
        ("memory", World::new(&disk, 64)),
    ];
    for (label, world) in worlds {
        let arrivals = Arrivals::new();
        // Until the slab of completions, the queues and the lists of buffers are there.
        for _ in 0..3 {
            read_ahead(&world, &arrivals);
        }
        let (before, reads) = (COUNT.load(Ordering::SeqCst), world.cache.stats().reads);
        read_ahead(&world, &arrivals);
        assert_eq!(COUNT.load(Ordering::SeqCst) - before, 0, "{label}");
        assert!(world.cache.stats().reads - reads > 1_000, "nearly all was in memory");
    }
}
