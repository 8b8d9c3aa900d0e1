//! A bulk load of twenty times the cache, within the memory of the cache and 32 MiB.
//!
//! The only test of its program: the peak is the process's.

mod large;

use large::{assert_peak, key};
use yieldb::{MAIN, Options};

const CACHE: u64 = 8 << 20;
const COUNT: u64 = 810_000;
const VALUE_LEN: usize = 200;

#[test]
fn data_of_twenty_times_the_cache_is_loaded_in_bulk() {
    const { assert!(COUNT * (VALUE_LEN as u64 + 8) >= 20 * CACHE) };
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = directory.path().join("large.db");
    let database = Options::new().cache_bytes(CACHE).open(&path).wait().unwrap();
    let mut transaction = database.begin().wait().unwrap();
    let mut load = transaction.bulk_load(MAIN).unwrap();
    for number in 0..COUNT {
        let (key, value) = (key(number), [number as u8; VALUE_LEN]);
        if !load.try_push(key, value).unwrap() {
            load.push(key, value).wait().unwrap();
        }
    }
    assert_eq!(load.finish().wait().unwrap(), COUNT);
    transaction.commit().wait().unwrap();

    assert_peak(CACHE);
    // Nothing lies beside the database.
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    let snapshot = database.snapshot();
    for number in (0..COUNT).step_by(997) {
        let value = snapshot.get(MAIN, key(number)).wait().unwrap();
        assert_eq!(value.as_deref(), Some(&[number as u8; VALUE_LEN][..]));
    }
    let report = snapshot.check(|_| {}).unwrap().wait().unwrap();
    assert_eq!(report.damages, []);
}
