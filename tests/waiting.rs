//! How a thread waits: it looks for the end of its I/O for a while before it sleeps, where requests
//! come to their ends by themselves.

use std::os::fd::RawFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use yieldb::{Backend, Database, DriverMode, MAIN, MemoryDisk, Options};
use yieldb_core::{Clock, Completion, Driver, IO, OpenOptions, Result};

/// A driver whose requests seem to come to their ends by themselves, or do not.
struct Watched {
    driver: Arc<dyn Driver>,
    works_by_itself: bool,
    /// Nothing is ever found by looking.
    is_slow: bool,
    looks: AtomicUsize,
    sleeps: AtomicUsize,
}

impl Driver for Watched {
    fn poll(&self) -> usize {
        self.looks.fetch_add(1, Ordering::SeqCst);
        if self.is_slow { 0 } else { self.driver.poll() }
    }

    fn submit(&self) {
        self.driver.submit();
    }

    fn wait(&self, until: &Completion) {
        self.sleeps.fetch_add(1, Ordering::SeqCst);
        self.driver.wait(until);
    }

    fn quiesce(&self) {
        self.driver.quiesce();
    }

    fn interrupt(&self) {
        self.driver.interrupt();
    }

    fn check_process(&self) -> Result<()> {
        self.driver.check_process()
    }

    fn in_flight(&self) -> usize {
        self.driver.in_flight()
    }

    fn event_fd(&self) -> Option<RawFd> {
        self.driver.event_fd()
    }

    fn useful_threads(&self) -> usize {
        self.driver.useful_threads()
    }

    fn works_by_itself(&self) -> bool {
        self.works_by_itself
    }

    fn name(&self) -> &'static str {
        self.driver.name()
    }
}

/// Files whose clock goes on by the same time whenever it is read.
struct Ticking {
    io: Arc<dyn IO>,
    tick: Duration,
    ticks: AtomicU32,
}

impl Clock for Ticking {
    fn now(&self) -> Duration {
        self.tick * self.ticks.fetch_add(1, Ordering::SeqCst)
    }
}

impl IO for Ticking {
    fn open(&self, path: &Path, options: OpenOptions, completion: Completion) {
        self.io.open(path, options, completion);
    }

    fn remove(&self, path: &Path, completion: Completion) {
        self.io.remove(path, completion);
    }

    fn rename(&self, from: &Path, to: &Path, completion: Completion) {
        self.io.rename(from, to, completion);
    }

    fn sync_directory(&self, directory: &Path, completion: Completion) {
        self.io.sync_directory(directory, completion);
    }

    fn random(&self, bytes: &mut [u8]) {
        self.io.random(bytes);
    }
}

/// How often a thread that commits looked, and slept, where each look takes a microsecond.
fn looks_and_sleeps(patience: Duration, works_by_itself: bool, is_slow: bool) -> (usize, usize) {
    commit(Duration::from_micros(1), patience, works_by_itself, is_slow)
}

fn commit(
    tick: Duration,
    patience: Duration,
    works_by_itself: bool,
    is_slow: bool,
) -> (usize, usize) {
    let (database, _, watched) = open(tick, patience, works_by_itself, is_slow);
    for number in 0..20 {
        let mut transaction = database.begin().wait().unwrap();
        transaction.put(MAIN, [number], "").wait().unwrap();
        transaction.commit().wait().unwrap();
    }
    database.close().wait().unwrap();
    (watched.looks.load(Ordering::SeqCst), watched.sleeps.load(Ordering::SeqCst))
}

fn open(
    tick: Duration,
    patience: Duration,
    works_by_itself: bool,
    is_slow: bool,
) -> (Database, Arc<Ticking>, Arc<Watched>) {
    let backend = MemoryDisk::new().yielding(1);
    let io = Arc::new(Ticking { io: backend.io.clone(), tick, ticks: AtomicU32::new(0) });
    let (looks, sleeps) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let driver = backend.driver.clone();
    let watched = Arc::new(Watched { driver, works_by_itself, is_slow, looks, sleeps });
    let backend = Backend { io: io.clone(), driver: watched.clone(), ..backend };
    let options = Options::new().backend(backend).driver(DriverMode::Manual).patience(patience);
    (options.open("a").wait().unwrap(), io, watched)
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn whoever_waits_looks_before_it_sleeps() {
    let (looks, sleeps) = looks_and_sleeps(LONG, true, false);
    assert!(looks > 40, "{looks}");
    assert_eq!(sleeps, 0);
}

#[test]
fn it_sleeps_when_it_has_looked_for_long_enough() {
    let (looks, sleeps) = looks_and_sleeps(Duration::from_micros(1), true, true);
    assert!(looks > 40, "{looks}");
    assert!(sleeps > 40, "{sleeps}");
}

#[test]
fn it_sleeps_for_a_while_when_others_want_the_processor() {
    // A look takes as long as another process's turn of the processor.
    let (looks, sleeps) = commit(Duration::from_millis(2), LONG, true, false);
    assert!(looks > 0, "it looks again later");
    assert!(sleeps > 5 * looks, "{sleeps} sleeps, {looks} looks");
}

#[test]
fn it_sleeps_at_once_without_patience_and_where_looking_is_working() {
    for (patience, works_by_itself) in [(Duration::ZERO, true), (LONG, false)] {
        let (looks, sleeps) = looks_and_sleeps(patience, works_by_itself, false);
        assert_eq!(looks, 0);
        assert!(sleeps > 40, "{sleeps}");
    }
}

#[test]
fn who_waits_for_the_turn_looks_whether_it_is_given_back() {
    let (database, clock, watched) = open(Duration::from_micros(1), LONG, true, false);
    let turn = database.begin().wait().unwrap();
    let sleeps = || watched.sleeps.load(Ordering::SeqCst);
    let ticks = || clock.ticks.load(Ordering::SeqCst);
    let (slept, ticked) = (sleeps(), ticks());
    thread::scope(|scope| {
        let waits = scope.spawn(|| drop(database.begin().wait().unwrap()));
        // Only who looks asks for the time.
        while ticks() < ticked + 100 && sleeps() == slept {
            thread::yield_now();
        }
        drop(turn);
        waits.join().unwrap();
    });
    assert_eq!(sleeps(), slept);
}
