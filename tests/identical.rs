//! The same commits make the same file, byte for byte, whatever performs the I/O.

use std::path::Path;

use yieldb::{Choice, MAIN, MemoryDisk, Options};

/// Entries that look like a listing of files, in no particular order.
fn entries() -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    (0..40_000_u64).map(|number| {
        let shuffled = number * 7919 % 40_000;
        let key = format!("/usr/share/doc/package-{:03}/file-{shuffled}", shuffled % 311);
        (key.into_bytes(), (shuffled * 37).to_string().into_bytes())
    })
}

fn options() -> Options {
    // A cache that is too small: pages are written out in the middle of a transaction.
    Options::new().database_id([42; 16]).cache_bytes(256 * 4096)
}

/// Three commits: an ordered half, the other half, deletions.
fn work(options: Options, driver: &str, path: &Path) {
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
    // Until then the superblock names a log, which has an id of its own.
    database.close().wait().unwrap();
}

#[test]
fn the_same_commits_make_the_same_file() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (uring, pread) = (directory.path().join("uring"), directory.path().join("pread"));
    // Where the kernel refuses io_uring, that leaves pread and memory.
    let automatic = if yieldb_io_backends::open(Choice::Uring).is_ok() { "uring" } else { "pread" };
    work(options().io(Choice::Auto), automatic, &uring);
    work(options().io(Choice::Pread), "pread", &pread);
    let expected = std::fs::read(&uring).unwrap();
    assert!(expected.len() > 1 << 20);
    assert!(expected == std::fs::read(&pread).unwrap(), "uring and pread differ");
    for seed in [None, Some(1), Some(2)] {
        let disk = MemoryDisk::new();
        let backend = seed.map_or_else(|| disk.immediate(), |seed| disk.yielding(seed));
        work(options().backend(backend), "memory", Path::new("memory"));
        let image = disk.image("memory").unwrap();
        assert!(expected == image, "uring and memory differ, {seed:?}");
    }
}
