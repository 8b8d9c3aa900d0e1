//! What a caller may do to the completions that operations wait for: nothing that others notice.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Wake, Waker};

use yieldb::{Batch, Choice, Completion, Database, Durability, ErrorKind, IOCompletions};
use yieldb::{IOResult, MAIN, MemoryDisk, Options};
use yieldb_core::Request;

const COUNT: u32 = 4_000;

fn key(number: u32) -> Vec<u8> {
    format!("key {number:06}").into_bytes()
}

fn fill(options: &Options, path: &std::path::Path) {
    let database = options.clone().open(path).wait().unwrap();
    let mut batch = Batch::new();
    (0..COUNT).for_each(|number| batch.put(MAIN, key(number), [number as u8; 100]));
    database.write(&batch).wait().unwrap();
    database.close().wait().unwrap();
}

fn assert_all(database: &Database) {
    let snapshot = database.snapshot();
    for number in 0..COUNT {
        let found = snapshot.get(MAIN, key(number)).wait().unwrap();
        assert_eq!(found.as_deref(), Some(&[number as u8; 100][..]));
    }
}

/// The completion that an operation waits for.
fn awaited<T>(result: IOResult<T>) -> Option<Completion> {
    match result {
        IOResult::IO(IOCompletions::Single(io)) if !io.is_explicit_yield() => Some(io),
        IOResult::IO(_) | IOResult::Done(_) => None,
    }
}

/// The memory that a page is read into is another page's only when whoever reads has given it back.
#[test]
fn a_read_that_a_caller_ends_leaves_the_memory_of_others_alone() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("some.db");
    let small = Options::min_cache_bytes(4096);
    let disk = MemoryDisk::new();
    for options in [
        Options::new().io(Choice::Auto).cache_bytes(small),
        Options::new().io(Choice::Pread).cache_bytes(small),
        Options::new().backend(disk.yielding(4)).cache_bytes(small),
    ] {
        fill(&options, &path);
        let database = options.open(&path).wait().unwrap();
        let snapshot = database.snapshot();
        let mut taken = Vec::new();
        for number in (0..COUNT).step_by(97) {
            let mut get = snapshot.get(MAIN, key(number));
            let Some(io) = awaited(get.step().unwrap()) else { continue };
            if number % 2 == 0 {
                io.succeed(0);
            } else {
                taken.extend(io.take_buffers());
            }
            drop(get);
            // The next ones need frames, and the reads come to their ends meanwhile.
            for other in number..(number + 60).min(COUNT) {
                let found = snapshot.get(MAIN, key(other)).wait();
                assert!(found.is_err() || found.unwrap().as_deref() == Some(&[other as u8; 100]));
            }
            taken.iter_mut().for_each(|buffer| buffer.fill(0xff));
            if taken.len() > 4 {
                taken.clear();
            }
        }
        taken.clear();
        drop(snapshot);
        while database.metrics().in_flight > 0 {
            database.turn();
        }
        assert_all(&database);
        let cache = database.cache_stats();
        assert_eq!((cache.pinned, cache.in_flight), (0, 0));
        assert_eq!(cache.used, cache.resident, "frames are lost: {cache:?}");
        database.close().wait().unwrap();
    }
}

/// Whoever cancels what a commit waits for is told that nobody knows; the engine goes on.
#[test]
fn a_commit_whose_wait_is_cancelled_goes_on() {
    let disk = MemoryDisk::new();
    let database = Options::new().backend(disk.yielding(7)).open("db").wait().unwrap();
    let mut made = 0;
    for number in 0..20_u32 {
        let mut batch = Batch::new();
        batch.put(MAIN, key(number), "a value");
        let mut writing = database.write(&batch);
        let io = loop {
            match writing.step().unwrap() {
                IOResult::IO(IOCompletions::Single(io)) if !io.is_explicit_yield() => break io,
                IOResult::IO(_) => drop(database.turn()),
                IOResult::Done(_) => unreachable!("it waits for its ticket"),
            }
        };
        io.cancel();
        match writing.step() {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::System, "{error}"),
        }
        drop(writing);
        database.checkpoint().wait().unwrap();
        // One that was not handed over yet is not made.
        let snapshot = database.snapshot();
        made += u32::from(snapshot.get(MAIN, key(number)).wait().unwrap().is_some());
    }
    assert!(made > 5, "{made} of 20 were made");
}

/// Whoever has a commit may keep it, and drive others meanwhile.
#[test]
fn a_commit_that_is_kept_keeps_nobody_from_writing() {
    let disk = MemoryDisk::new();
    let database = Options::new().backend(disk.yielding(3)).open("db").wait().unwrap();
    let put = |number: u32, durability| {
        let mut transaction = database.begin().wait().unwrap();
        transaction.put(MAIN, key(number), "a value").wait().unwrap();
        transaction.commit_with(durability).wait().unwrap();
    };
    // From the third one on they go into the log.
    (0..3).for_each(|number| put(number, Durability::Sync));
    let mut over = database.begin().wait().unwrap().commit();
    while !over.step().unwrap().is_done() {
        database.turn();
    }
    drop(database.try_begin().unwrap().expect("the turn was given back"));
    // One without changes waits for what it has seen, and not with the turn.
    put(3, Durability::Relaxed);
    let mut waiting = database.begin().wait().unwrap().commit();
    assert!(!waiting.step().unwrap().is_done());
    drop(database.try_begin().unwrap().expect("it has nothing to write"));
    waiting.wait().unwrap();
    drop(over);
}

/// Panics, as the waker of a runtime that is gone.
struct Gone;

impl Wake for Gone {
    fn wake(self: Arc<Self>) {
        panic!("the runtime is gone");
    }
}

#[test]
fn a_waker_that_panics_takes_nobody_with_it() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("some.db");
    for choice in [Choice::Auto, Choice::Pread] {
        let options = Options::new().io(choice).cache_bytes(Options::min_cache_bytes(4096));
        fill(&options, &path);
        let database = options.open(&path).wait().unwrap();
        let snapshot = database.snapshot();
        let gone = Waker::from(Arc::new(Gone));
        for number in (0..COUNT).step_by(211) {
            let mut get = snapshot.get(MAIN, key(number));
            if let Some(io) = awaited(get.step().unwrap()) {
                let _registered = io.register(&gone);
            }
            let driven = catch_unwind(AssertUnwindSafe(|| get.wait()));
            assert!(driven.expect("the panic is the waker's own").unwrap().is_some());
        }
        drop(snapshot);
        assert_all(&database);
        database.close().wait().unwrap();
    }
}
