//! What a lookup allocates: nothing, cached or cold, however it is driven.
//!
//! The only test of its program: the allocator counts for all threads.

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use yieldb::{
    Choice, Completion, Database, IOCompletions, IOResult, MAIN, MemoryDisk, Options, Snapshot,
};
use yieldb_core::Request;

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

/// How many allocations `work` makes.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.load(Ordering::SeqCst);
    work();
    COUNT.load(Ordering::SeqCst) - before
}

/// Unparks a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Drives a future to its end on this thread.
fn block_on<F: Future>(future: F, waker: &Waker) -> F::Output {
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

const COUNT_OF_KEYS: u64 = 50_000;

fn key(number: u64) -> [u8; 8] {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
}

fn value(number: u64) -> [u8; 100] {
    [number as u8; 100]
}

fn fill(options: &Options, path: &std::path::Path) {
    let database = options.clone().open(path).wait().unwrap();
    let mut transaction = database.begin().wait().unwrap();
    for number in 0..COUNT_OF_KEYS {
        transaction.put(MAIN, key(number), value(number)).wait().unwrap();
    }
    transaction.commit().wait().unwrap();
}

fn by_wait(snapshot: &Snapshot, number: u64) {
    let found = snapshot.get(MAIN, key(number)).wait().unwrap();
    assert_eq!(found.as_deref(), Some(&value(number)[..]));
}

fn by_step(database: &Database, snapshot: &Snapshot, number: u64) {
    let mut get = snapshot.get(MAIN, key(number));
    let found = loop {
        match get.step().unwrap() {
            IOResult::Done(found) => break found,
            IOResult::IO(IOCompletions::Single(io)) => {
                while !io.finished() && !io.is_explicit_yield() {
                    database.turn();
                }
            }
            IOResult::IO(_) => unreachable!("there is one kind of completions"),
        }
    };
    assert_eq!(found.as_deref(), Some(&value(number)[..]));
}

fn by_await(snapshot: &Snapshot, number: u64, waker: &Waker) {
    let found = block_on(snapshot.get(MAIN, key(number)), waker).unwrap();
    assert_eq!(found.as_deref(), Some(&value(number)[..]));
}

/// Looks up in all three ways, and returns what each allocated.
fn lookups(database: &Database, snapshot: &Snapshot, first: u64, waker: &Waker) -> [u64; 3] {
    let numbers = || (first..).step_by(211).map(|number| number % COUNT_OF_KEYS).take(2_000);
    [
        allocations(|| numbers().for_each(|number| by_wait(snapshot, number))),
        allocations(|| numbers().for_each(|number| by_step(database, snapshot, number))),
        allocations(|| numbers().for_each(|number| by_await(snapshot, number, waker))),
    ]
}

/// The least of three times: what is made once, as a queue that is longer than it ever was because
/// others had the processor, is not a lookup's.
fn least(database: &Database, snapshot: &Snapshot, first: u64, waker: &Waker) -> [u64; 3] {
    let [mut least, second, third] = [0, 1, 2].map(|_| lookups(database, snapshot, first, waker));
    for counts in [second, third] {
        least = [0, 1, 2].map(|way| least[way].min(counts[way]));
    }
    least
}

/// Has this thread sleep in the driver: what it is woken by is made the first time, which may be
/// long after others have looked for the ends of its reads in time.
fn sleep_once(database: &Database) {
    let signal = Completion::signal();
    thread::scope(|scope| {
        let end = signal.clone();
        scope.spawn(move || {
            thread::sleep(Duration::from_millis(20));
            end.succeed(0);
        });
        while !signal.finished() {
            database.wait_for(&signal).unwrap();
        }
    });
}

#[test]
fn a_lookup_allocates_nothing() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let disk = MemoryDisk::new();
    let back_ends = [
        ("uring", Options::new().io(Choice::Auto)),
        ("pread", Options::new().io(Choice::Pread)),
        ("memory", Options::new().backend(disk.yielding(1))),
    ];
    for (name, options) in back_ends {
        let path = directory.path().join(name);
        fill(&options, &path);
        // Everything fits, and has been read before.
        let ample = options.clone().cache_bytes(64 << 20);
        let database = ample.open(&path).wait().unwrap();
        let snapshot = database.snapshot();
        (0..COUNT_OF_KEYS).for_each(|number| by_wait(&snapshot, number));
        assert_eq!(lookups(&database, &snapshot, 0, &waker), [0, 0, 0], "cached, {name}");
        drop((snapshot, database));
        // A cache that holds a tenth of the leaves: most lookups read a page and evict another.
        let small = options.cache_bytes(200 * 4096);
        let database = small.open(&path).wait().unwrap();
        let snapshot = database.snapshot();
        // Until the slab of completions, the queues and the driver's threads are there.
        sleep_once(&database);
        for first in 0..3 {
            lookups(&database, &snapshot, first, &waker);
        }
        let reads = database.cache_stats().reads;
        assert_eq!(least(&database, &snapshot, 50, &waker), [0, 0, 0], "cold, {name}");
        let cold = database.cache_stats().reads - reads;
        assert!(cold > 9_000, "only {cold} of 18,000 lookups were cold");
    }
}
