//! How long the files become when the same data is written ten times over, at random.
//!
//! What they come to: the newest version; two thirds of it, or 16 MiB, that only checkpoints
//! have, as commits wait behind that; and the log. Leaves that are filled in random order are
//! about 80 % full, so the newest version is a third longer than the data.
//!
//! `LIVE_MB` of the environment is how much data there is, in MiB.

use std::path::Path;

use yieldb::{Batch, Database, MAIN, Options};

const KEY_LEN: usize = 16;
const VALUE_LEN: usize = 100;
const MIB: u64 = 1 << 20;
/// What the last batches before a wait take, and the space map, in bytes.
const MOST_OF_BATCHES: u64 = 8 * MIB;

/// How many entries there are.
fn count() -> u64 {
    let mib: u64 = std::env::var("LIVE_MB").map_or(12, |text| text.parse().unwrap());
    mib * MIB / (KEY_LEN + VALUE_LEN) as u64
}

/// Numbers that look random (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % limit
    }
}

fn key(number: u64) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    key[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

fn file_len(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Stores some entries durably: `next` says which.
fn write(database: &Database, len: u64, mut next: impl FnMut() -> u64) {
    let mut batch = Batch::new();
    for _ in 0..len {
        let number = next();
        batch.put(MAIN, key(number), [number as u8; VALUE_LEN]);
    }
    database.write(&batch).wait().unwrap();
}

#[test]
fn data_that_is_written_ten_times_takes_two_thirds_more_than_its_tree() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (data, log) = (directory.path().join("some.db"), directory.path().join("some.db-log"));
    let (count, mut random) = (count(), Random(1));
    let database = Options::new().open(&data).wait().unwrap();
    let mut stored = 0;
    while stored < count {
        let len = (1 + random.below(600)).min(count - stored);
        write(&database, len, || {
            stored += 1;
            stored - 1
        });
    }
    let (mut written, mut most, mut most_data, mut most_log) = (0, 0, 0, 0);
    while written < 10 * count {
        let len = 1 + random.below(600);
        write(&database, len, || random.below(count));
        written += len;
        let (data_len, log_len) = (file_len(&data), file_len(&log));
        most = most.max(data_len + log_len);
        most_data = most_data.max(data_len);
        most_log = most_log.max(log_len);
    }
    let space = database.info().space;
    let tree = (space.used - space.held) * u64::from(database.info().page_size);
    let live = count * (KEY_LEN + VALUE_LEN) as u64;
    let ratio = most as f64 / live as f64;
    println!("{live} bytes, a tree of {tree}, a data file of up to {most_data}");
    println!("and a log of up to {most_log}: {ratio:.2} times the data at most");
    assert!(database.info().checkpoint > 6, "there were no checkpoints beside the commits");
    let bound = tree + (tree * 2 / 3).max(16 * MIB) + MOST_OF_BATCHES;
    assert!(most_data <= bound, "the data file grows beyond {bound}");
    assert!(most_log <= (most_data / 4).max(16 * MIB), "the log grows");
    database.close().wait().unwrap();
    assert!(!log.exists());
    let before = file_len(&data);
    drop(Database::open(&data).wait().unwrap());
    assert!(file_len(&data) <= before, "opening makes the file longer");
}
