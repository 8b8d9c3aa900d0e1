//! Large values pass through a small cache, and what fails or is given up leaves nothing behind.

mod support;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Wake, Waker};
use std::time::Duration;

use support::{Store, content};
use yieldb_core::{Buffer, Error as IoFailure, Operation};
use yieldb_io_backends::RawHook;
use yieldb_pager::cache::Joined;
use yieldb_pager::value_page::{body_len, check_end, pages_for};
use yieldb_pager::{Error, MIN_FRAMES, PageRef, PageRun, PageSize, Pager};

/// Fails the write of one buffer.
#[derive(Debug)]
struct Hook {
    /// How many are written before that; negative for never.
    left: AtomicI64,
}

impl Hook {
    fn new() -> Arc<Hook> {
        Arc::new(Hook { left: AtomicI64::new(-1) })
    }
}

impl RawHook for Hook {
    fn raw(&self, operation: Operation, _offset: u64, _len: usize, result: i32) -> i32 {
        let is_write = operation == Operation::Write;
        if is_write && self.left.fetch_sub(1, Ordering::SeqCst) == 0 { -5 } else { result }
    }
}

const BODY: usize = body_len(PageSize::MIN);

fn read_run(store: &Store, run: PageRun, first: PageRef, len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    for index in 0..run.count() {
        let page = store.read(None, first.behind(index).unwrap());
        bytes.extend_from_slice(&page);
    }
    assert!(bytes[len..].iter().all(|byte| *byte == 0), "the last page ends with zeros");
    bytes.truncate(len);
    bytes
}

#[test]
fn a_value_longer_than_the_cache_passes_through_it() {
    let store = Store::new(MIN_FRAMES, 1, None);
    let mut set = store.pager.begin_write_set();
    let len = 2_000 * BODY - 100;
    let count = pages_for(len as u64, PageSize::MIN);
    set.begin_run(&store.pager, count).unwrap();
    let bytes = content(9, len);
    let mut left = &bytes[..];
    while set.run_left() > 0 {
        if let Some(io) = set.prepare_run(&store.pager, usize::MAX).unwrap() {
            let dirty = store.pager.cache().stats().dirty;
            assert!((1..=MIN_FRAMES / 4).contains(&dirty), "{dirty} pages wait to be written");
            store.wait(&io);
            continue;
        }
        set.write_run(&store.pager, |body| {
            let now = left.split_off(..left.len().min(body.len())).unwrap();
            body[..now.len()].copy_from_slice(now);
            now.len()
        });
    }
    let (run, birth) = set.finish_run();
    assert_eq!((run.count(), birth), (2_000, set.stamp()));
    let first = PageRef::new(run.first(), birth);
    store.prepare(&mut set, 1).unwrap();
    store.create(&mut set, 3);
    store.commit(set).unwrap();
    assert!(read_run(&store, run, first, len) == bytes);
    let store = store.reopen(2);
    assert!(read_run(&store, run, first, len) == bytes);
    let last = store.drive(yieldb_pager::ops::fetch::fetch(first.behind(1_999).unwrap())).unwrap();
    assert_eq!(check_end(&last, BODY - 100), Ok(()));
    assert!(check_end(&last, BODY - 101).is_err());
}

#[test]
fn neighbouring_pages_go_out_in_one_write() {
    let hook = Hook::new();
    let store = Store::new(1_024, 1, Some(hook.clone()));
    let mut set = store.pager.begin_write_set();
    hook.left.store(0, Ordering::SeqCst);
    set.begin_run(&store.pager, 640).unwrap();
    let error = store.write_run(&mut set, 1, 640 * BODY, 0).unwrap_err();
    let Error::Io(IoFailure::Io(error)) = error else { panic!("{error}") };
    assert_eq!(error.len, 256 * 1024, "{error}");
    set.give_up(&store.pager);
}

#[test]
fn a_failed_write_dooms_the_transaction_and_leaves_nothing() {
    for left in (0..96).step_by(5) {
        let hook = Hook::new();
        let store = Store::new(MIN_FRAMES, left + 1, Some(hook.clone()));
        let mut set = store.pager.begin_write_set();
        hook.left.store(left as i64, Ordering::SeqCst);
        set.begin_run(&store.pager, 96).unwrap();
        let written = store.write_run(&mut set, 1, 96 * BODY, 0);
        let result = written.and_then(|()| {
            set.finish_run();
            store.settle();
            store.prepare(&mut set, 1)
        });
        assert!(matches!(result, Err(Error::Io(_))), "{result:?}");
        let again = set.begin_run(&store.pager, 1);
        assert!(matches!(again, Err(Error::Doomed { .. })), "{again:?}");
        assert!(matches!(store.prepare(&mut set, 1), Err(Error::Doomed { .. })));
        set.give_up(&store.pager);
        store.settle();
        assert_eq!(store.pager.space_use().used, 2);
        store.pager.cache().assert_idle();
        assert_eq!(store.pager.cache().stats().dirty, 0);
    }
}

#[test]
fn a_commit_waits_for_the_last_writes_of_its_runs() {
    for left in [0, 5, 11, 12, 13] {
        let hook = Hook::new();
        let store = Store::new(MIN_FRAMES, left + 1, Some(hook.clone()));
        let mut set = store.pager.begin_write_set();
        hook.left.store(left as i64, Ordering::SeqCst);
        set.begin_run(&store.pager, 12).unwrap();
        store.write_run(&mut set, 1, 12 * BODY, 0).unwrap();
        set.finish_run();
        // Behind the run's twelve pages come that of the space map, and a slot.
        let result = store.commit(set);
        match left {
            13 => assert!(matches!(result, Err(Error::Poisoned { .. })), "{result:?}"),
            _ => {
                assert!(matches!(result, Err(Error::Io(_))), "{result:?}");
                store.settle();
                assert_eq!(store.pager.space_use().used, 2);
            }
        }
    }
}

#[test]
fn an_abandoned_run_is_free_when_its_writes_are_finished() {
    let store = Store::new(MIN_FRAMES, 1, None);
    let mut set = store.pager.begin_write_set();
    // As many pages as are waited for to be used again.
    set.begin_run(&store.pager, 16).unwrap();
    store.write_run(&mut set, 1, 16 * BODY, 2).unwrap();
    let stamp = set.stamp();
    // As if the operation had been dropped: the next one begins, while pages are being written.
    set.begin_run(&store.pager, 16).unwrap();
    assert_ne!(set.stamp(), stamp, "the numbers may come back");
    assert_eq!(store.pager.space_use().used, 34);
    store.write_run(&mut set, 2, 16 * BODY, 0).unwrap();
    let (second, _) = set.finish_run();
    assert_eq!(second.first().as_u64(), 18);
    set.begin_run(&store.pager, 16).unwrap();
    store.write_run(&mut set, 3, 16 * BODY, 0).unwrap();
    let (third, birth) = set.finish_run();
    assert_eq!(third.first().as_u64(), 2, "the lowest place");
    set.kill_run(third, birth);
    set.begin_run(&store.pager, 3).unwrap();
    store.commit(set).unwrap();
    store.settle();
    assert_eq!(store.pager.space_use().used, 2 + 16 + store.map_count());
}

/// What numbers a transaction takes does not depend on how fast its writes are.
#[test]
fn numbers_do_not_depend_on_how_fast_writes_are() {
    let numbers = |settles: bool| {
        let store = Store::new(MIN_FRAMES, 1, None);
        let mut set = store.pager.begin_write_set();
        let mut numbers = Vec::new();
        for seed in 0..40 {
            if settles {
                store.settle();
            }
            let mark = set.savepoint(&store.pager);
            set.begin_run(&store.pager, 3 + seed % 7).unwrap();
            let len = (3 + seed % 7) as usize * BODY;
            store.write_run(&mut set, seed, len, 0).unwrap();
            let (run, birth) = set.finish_run();
            numbers.push(run.first().as_u64());
            match seed % 3 {
                0 => set.kill_run(run, birth),
                1 => set.roll_back_to(&store.pager, mark),
                _ => {}
            }
            set.release(&store.pager, mark);
        }
        set.give_up(&store.pager);
        store.settle();
        assert_eq!(store.pager.space_use().used, 2);
        numbers
    };
    assert_eq!(numbers(false), numbers(true));
}

#[test]
fn the_pages_of_short_runs_go_out_together() {
    let hook = Hook::new();
    let store = Store::new(1_024, 1, Some(hook.clone()));
    let mut set = store.pager.begin_write_set();
    hook.left.store(0, Ordering::SeqCst);
    let error = loop {
        set.begin_run(&store.pager, 4).unwrap();
        match store.write_run(&mut set, 1, 4 * BODY, 0) {
            Ok(()) => {
                let (_run, _birth) = set.finish_run();
            }
            Err(error) => break error,
        }
        while store.backend.driver.poll() > 0 {}
        if let Err(error) = store.prepare(&mut set, 0) {
            break error;
        }
    };
    let Error::Io(IoFailure::Io(error)) = error else { panic!("{error}") };
    assert_eq!(error.len, 256 * 1024, "{error}");
    set.give_up(&store.pager);
}

#[test]
fn a_run_that_was_never_there_cannot_be_killed() {
    let store = Store::new(MIN_FRAMES, 1, None);
    for killed in [(2, 1), (3, 8), (3, 1 << 38), (2, 4), (6, 1)] {
        let mut set = store.pager.begin_write_set();
        set.begin_run(&store.pager, 4).unwrap();
        store.write_run(&mut set, 1, 4 * BODY, 0).unwrap();
        let (run, birth) = set.finish_run();
        assert_eq!(run.first().as_u64(), 2);
        let first = yieldb_pager::PageId::from_u64(killed.0).unwrap();
        let bogus = PageRun::new(first, killed.1).unwrap();
        let other = yieldb_pager::Stamp::from_u64(birth.as_u64() - 1);
        set.kill_run(bogus, other);
        let result = store.commit(set);
        assert!(matches!(result, Err(Error::Corrupt { .. })), "{killed:?}: {result:?}");
        store.settle();
        assert_eq!(store.pager.space_use().used, 2);
    }
}

#[test]
fn a_killed_run_is_free_when_nobody_reads_it_any_more() {
    let store = Store::new(MIN_FRAMES, 1, None);
    let mut set = store.pager.begin_write_set();
    set.begin_run(&store.pager, 200).unwrap();
    store.write_run(&mut set, 1, 200 * BODY, 0).unwrap();
    let (run, birth) = set.finish_run();
    store.settle();
    // The cache is too small to have all of it.
    let first = PageRef::new(run.first(), birth);
    let mut names = (0..run.count()).map(|index| first.behind(index).unwrap());
    let evicted =
        names.find(|page| store.pager.resident().unwrap().locate(*page).is_none()).unwrap();
    let read = store.pager.join_read(evicted).unwrap();
    assert!(matches!(read, Joined::Reading(_)), "{read:?}");
    drop(read);
    set.kill_run(run, birth);
    assert_eq!(store.pager.space_use().used, 2 + 200);
    set.begin_run(&store.pager, 3).unwrap();
    store.write_run(&mut set, 2, 3 * BODY, 0).unwrap();
    assert_eq!(set.finish_run().0.first().as_u64(), 2 + 200);
    store.settle();
    assert_eq!(store.pager.space_use().used, 2 + 3);
    assert_eq!(store.pager.cache().stats().resident, 3, "nothing of it is in memory");
    set.give_up(&store.pager);
}

/// A waker that asks for what the ledger knows, from another thread, and notes whether it is told.
struct Asks {
    pager: Arc<Pager>,
    answers: AtomicI64,
}

impl Wake for Asks {
    fn wake(self: Arc<Self>) {
        let (tell, told) = mpsc::channel();
        let pager = self.pager.clone();
        std::thread::spawn(move || tell.send(pager.space_use()));
        let answer = told.recv_timeout(Duration::from_secs(5));
        self.answers.fetch_add(if answer.is_ok() { 1 } else { -100 }, Ordering::SeqCst);
    }
}

/// Takes all frames there are, and registers the waker with the signal for the next one.
fn take_frames(store: &Store, waker: &Waker) -> Vec<Buffer> {
    let mut frames = Vec::new();
    loop {
        match store.pager.cache().take_frame() {
            Ok(frame) => frames.push(frame),
            Err(signal) if signal.is_explicit_yield() => {}
            Err(signal) => {
                assert!(signal.register(waker), "it waits");
                return frames;
            }
        }
    }
}

#[test]
fn whoever_waits_for_a_frame_is_told_when_no_lock_is_held() {
    let store = Store::new(MIN_FRAMES, 1, None);
    let asks = Arc::new(Asks { pager: store.pager.clone(), answers: AtomicI64::new(0) });
    let waker = Waker::from(asks.clone());
    let mut set = store.pager.begin_write_set();
    set.begin_run(&store.pager, 16).unwrap();
    store.write_run(&mut set, 1, 16 * BODY, 0).unwrap();
    let (run, birth) = set.finish_run();
    store.settle();
    store.prepare(&mut set, 4).unwrap();
    store.create(&mut set, 2);
    let mark = set.savepoint(&store.pager);
    store.create(&mut set, 3);
    let first = PageRef::new(run.first(), birth);
    let pin = store.pager.resident().unwrap().locate(first).unwrap().pin().unwrap();
    let mut frames = take_frames(&store, &waker);
    set.roll_back_to(&store.pager, mark);
    assert_eq!(asks.answers.load(Ordering::SeqCst), 1, "a frame of a page that is undone");
    set.release(&store.pager, mark);
    frames.extend(take_frames(&store, &waker));
    set.kill_run(run, birth);
    store.prepare(&mut set, 0).unwrap();
    assert_eq!(asks.answers.load(Ordering::SeqCst), 2, "that of a page that is forgotten");
    frames.extend(take_frames(&store, &waker));
    set.give_up(&store.pager);
    assert_eq!(asks.answers.load(Ordering::SeqCst), 3, "one of the transaction's");
    drop((pin, frames));
}
