//! Checkpoints, beside those who take and drop snapshots.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;
use yieldb::{Backend, Database, IOCompletions, IOResult, MAIN, MemoryDisk, Options};

use crate::world::{thread, together};

/// The smallest cache in which a small tree can be changed, in bytes.
const CACHE_LEN: u64 = 16 * 4096;

/// An empty database in memory, and its back-end.
fn open() -> (Database, Backend) {
    let backend = MemoryDisk::new().yielding(thread_rng().r#gen());
    let options = Options::new().database_id([7; 16]).cache_bytes(CACHE_LEN);
    let database = options.backend(backend.clone()).open("db").wait().expect("it is new");
    (database, backend)
}

/// Commits both keys with the number of the version.
fn commit(database: &Database) {
    let mut transaction = database.begin().wait().expect("the turn comes");
    let version = database.snapshot().version() + 1;
    for key in ["a", "b"] {
        transaction.put(MAIN, key, version.to_le_bytes()).wait().expect("it has room");
    }
    assert_eq!(transaction.commit().wait().expect("it is durable"), version);
}

/// Two threads perform the I/O of a commit, and each gives the engine its turn whenever it has
/// finished something: the commit comes to its end though a turn is given while another one is
/// being used.
pub fn turns() {
    let (database, backend) = open();
    let mut transaction = database.begin().wait().expect("the turn comes");
    transaction.put(MAIN, "a", "1").wait().expect("it has room");
    let mut commit = transaction.commit();
    let IOResult::IO(IOCompletions::Single(io)) = commit.step().expect("it is handed over") else {
        panic!("a commit waits");
    };
    together((0..2).map(|_| {
        let (driver, database) = (backend.driver.clone(), database.clone());
        thread(move || {
            while driver.in_flight() > 0 {
                if driver.poll() > 0 {
                    // It finishes nothing that is not queued by now.
                    database.turn();
                }
            }
        })
    }));
    assert_eq!(backend.driver.in_flight(), 0);
    assert!(io.finished(), "a turn was lost: nothing is in flight, and the commit is not over");
    assert_eq!(commit.wait().expect("it is durable"), 1);
    assert_whole(&database, &backend);
}

/// Commits, beside snapshots that are taken, cloned, read and dropped: each is one version, no
/// older than what was acknowledged or seen by anybody before, and in the end nothing is pinned.
pub fn snapshots() {
    let (database, backend) = open();
    commit(&database);
    let known = Arc::new(AtomicU64::new(1));
    let writer = {
        let (database, known) = (database.clone(), known.clone());
        thread(move || {
            for version in [2, 3] {
                commit(&database);
                known.fetch_max(version, Ordering::SeqCst);
            }
        })
    };
    let readers = (0..2).map(|_| {
        let (database, known) = (database.clone(), known.clone());
        thread(move || {
            for _ in 0..2 {
                let least = known.load(Ordering::SeqCst);
                let snapshot = database.snapshot();
                let version = snapshot.version();
                assert!(version >= least, "version {version} behind version {least}");
                known.fetch_max(version, Ordering::SeqCst);
                let copy = snapshot.clone();
                drop(snapshot);
                for key in ["a", "b"] {
                    let found = copy.get(MAIN, key).wait().expect("it can be read");
                    let found = found.expect("both keys are there");
                    assert_eq!(*found, version.to_le_bytes(), "{key} is of another version");
                }
                thread::yield_now();
            }
        })
    });
    together(readers.chain([writer]).collect::<Vec<_>>());
    assert_whole(&database, &backend);
}

/// Asserts that a database at rest is whole, and that nothing is lost or held.
pub fn assert_whole(database: &Database, backend: &Backend) {
    // Reads that were given up are finished, and the next writer frees what waited for them.
    backend.driver.quiesce();
    drop(database.begin().wait().expect("the turn comes"));
    let newest = database.snapshot();
    let check = newest.check(|_| {}).expect("a check begins");
    let report = check.wait().expect("every page can be read");
    drop(newest);
    assert_eq!(report.damages, []);
    let metrics = database.metrics();
    assert_eq!((metrics.space.held, metrics.space.pins), (0, 1), "pins are left");
    assert_eq!(metrics.space.used, report.pages + 2, "page numbers are lost");
    let cache = metrics.cache;
    assert_eq!((cache.pins, cache.in_flight, cache.dirty), (0, 0, 0), "{cache:?}");
    assert_eq!(cache.used, cache.resident, "frames are lost: {cache:?}");
}
