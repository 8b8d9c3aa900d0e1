//! The same commits make the same file, byte for byte, whatever performs the I/O. Where the cache
//! is too small, which page is in memory may depend on that, and so may the shapes of trees; they
//! have the same entries then.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use yieldb::{Choice, KeyRange, MAIN, MemoryDisk, Options};

/// Entries that look like a listing of files, in no particular order.
fn entries() -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    (0..40_000_u64).map(|number| {
        let shuffled = number * 7919 % 40_000;
        let key = format!("/usr/share/doc/package-{:03}/file-{shuffled}", shuffled % 311);
        (key.into_bytes(), (shuffled * 37).to_string().into_bytes())
    })
}

/// All pages fit.
const AMPLE: u64 = 8192;

/// Pages are written out in the middle of a transaction.
const TOO_SMALL: u64 = 256;

fn options(cache_pages: u64) -> Options {
    Options::new().database_id([42; 16]).cache_bytes(cache_pages * 4096)
}

/// Three commits: an ordered half, the other half, deletions. Returns a hash of what is left.
fn work(options: Options, driver: &str, path: &Path) -> u64 {
    let database = options.open(path).wait().unwrap();
    assert_eq!(database.info().driver, driver);
    for part in 0..2 {
        let mut transaction = database.begin().wait().unwrap();
        for (key, value) in entries().skip(part * 20_000).take(20_000) {
            transaction.put(MAIN, key, value).wait().unwrap();
        }
        transaction.commit().wait().unwrap();
    }
    let mut transaction = database.begin().wait().unwrap();
    for (key, _) in entries().step_by(3) {
        assert!(transaction.delete(MAIN, key).wait().unwrap());
    }
    transaction.commit().wait().unwrap();
    let report = database.snapshot().check(|_| {}).unwrap().wait().unwrap();
    assert_eq!(report.damages, []);
    let snapshot = database.snapshot();
    let mut hasher = DefaultHasher::new();
    let mut cursor = snapshot.cursor(MAIN, KeyRange::all());
    while let Some(entry) = cursor.next().wait().unwrap() {
        (entry.key(), entry.value()).hash(&mut hasher);
    }
    drop(cursor);
    drop(snapshot);
    // Until then the superblock names a log, which has an id of its own.
    database.close().wait().unwrap();
    hasher.finish()
}

/// Does the same work on all back-ends, with caches of so many pages, and calls `compare` with what
/// each of them has left and its file.
fn on_all(cache_pages: u64, mut compare: impl FnMut(&str, u64, Vec<u8>)) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (uring, pread) = (directory.path().join("uring"), directory.path().join("pread"));
    // Where the kernel refuses io_uring, that leaves pread and memory.
    let automatic = if yieldb_io_backends::open(Choice::Uring).is_ok() { "uring" } else { "pread" };
    let left = work(options(cache_pages).io(Choice::Auto), automatic, &uring);
    compare(automatic, left, std::fs::read(&uring).unwrap());
    let left = work(options(cache_pages).io(Choice::Pread), "pread", &pread);
    compare("pread", left, std::fs::read(&pread).unwrap());
    for seed in [None, Some(1), Some(2)] {
        let disk = MemoryDisk::new();
        let backend = seed.map_or_else(|| disk.immediate(), |seed| disk.yielding(seed));
        let left = work(options(cache_pages).backend(backend), "memory", Path::new("memory"));
        compare("memory", left, disk.image("memory").unwrap());
    }
}

#[test]
fn the_same_commits_make_the_same_file() {
    let mut first = None;
    on_all(AMPLE, |driver, left, file| {
        assert!(file.len() > 1 << 20);
        let (first_left, first_file) = first.get_or_insert_with(|| (left, file.clone()));
        assert_eq!(left, *first_left, "{driver} has other entries");
        assert!(file == *first_file, "{driver} has another file");
    });
}

#[test]
fn a_cache_that_is_too_small_changes_no_entry() {
    let mut first = None;
    on_all(TOO_SMALL, |driver, left, _| {
        assert_eq!(left, *first.get_or_insert(left), "{driver} has other entries");
    });
}
