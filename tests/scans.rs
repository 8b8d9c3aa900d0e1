//! Scans of what is not in memory.

use std::path::Path;

use yieldb::{Choice, Database, KeyRange, MAIN, MemoryDisk, Options};

const COUNT: u64 = 60_000;

fn fill(options: &Options, path: &Path) {
    let database = options.clone().open(path).wait().unwrap();
    let mut transaction = database.begin().wait().unwrap();
    let mut load = transaction.bulk_load(MAIN).unwrap();
    for number in 0..COUNT {
        load.push(number.to_be_bytes(), [number as u8; 200]).wait().unwrap();
    }
    load.finish().wait().unwrap();
    transaction.commit().wait().unwrap();
    database.close().wait().unwrap();
}

/// Scans everything, this way or that; returns how many leaves were waited for that nobody had
/// asked for, and how many bytes were read.
fn scan(database: &Database, is_backwards: bool) -> (u64, u64) {
    let snapshot = database.snapshot();
    let before = database.cache_stats();
    let mut cursor = snapshot.cursor(MAIN, KeyRange::all());
    for number in 0..COUNT {
        let (number, entry) = match is_backwards {
            false => (number, cursor.next().wait().unwrap()),
            true => (COUNT - 1 - number, cursor.previous().wait().unwrap()),
        };
        let entry = entry.unwrap();
        assert_eq!((entry.key(), entry.value()[99]), (&number.to_be_bytes()[..], number as u8));
    }
    let after = database.cache_stats();
    (after.misses - before.misses, after.bytes_read - before.bytes_read)
}

/// The tree has 3,300 leaves below a dozen parents, of which a quarter fits.
#[test]
fn a_cold_scan_has_asked_for_all_that_it_needs_but_the_beginning() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let disk = MemoryDisk::new();
    let back_ends = [
        ("uring", Options::new().io(Choice::Auto)),
        ("pread", Options::new().io(Choice::Pread)),
        ("memory", Options::new().backend(disk.yielding(1))),
    ];
    for (name, options) in back_ends {
        let path = directory.path().join(name);
        fill(&options, &path);
        for is_backwards in [false, true] {
            let database = options.clone().cache_bytes(4 << 20).open(&path).wait().unwrap();
            let (misses, len) = scan(&database, is_backwards);
            assert!(misses < 10, "{name}: {misses} misses");
            let data_len = COUNT * 208;
            assert!(len > data_len && len < data_len * 5 / 4, "{name}: {len} bytes were read");
            // What is still being read when it ends is not waited for.
            drop(database);
        }
    }
}
