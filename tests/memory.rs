//! Data of twenty times the cache, within the memory of the cache and 32 MiB.
//!
//! The only test of its program: the peak is the process's.

mod large;

use large::{assert_peak, key};
use yieldb::{KeyRange, MAIN, Options};

const CACHE: u64 = 4 << 20;
const COUNT: u64 = 86_000;

#[test]
fn data_of_twenty_times_the_cache_loads_and_scans() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("large.db");
    let options = Options::new().cache_bytes(CACHE);
    let database = options.clone().open(&path).wait().unwrap();
    // One transaction with all of it, in random order: it has to write out what it made.
    let mut transaction = database.begin().wait().unwrap();
    for number in 0..COUNT {
        transaction.put(MAIN, key(number), [number as u8; 1_000]).wait().unwrap();
    }
    transaction.commit().wait().unwrap();
    drop(database);
    const { assert!(COUNT * 1_008 >= 20 * CACHE) };

    let database = options.open(&path).wait().unwrap();
    let snapshot = database.snapshot();
    let mut cursor = snapshot.cursor(MAIN, KeyRange::all());
    let (mut count, mut last) = (0, Vec::new());
    while let Some(entry) = cursor.next().wait().unwrap() {
        assert!(entry.key() > last.as_slice() || count == 0);
        assert_eq!(entry.value().len(), 1_000);
        last = entry.key().to_vec();
        count += 1;
    }
    assert_eq!(count, COUNT);
    assert_peak(CACHE);
}
