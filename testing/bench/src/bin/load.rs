//! Bulk loads beside loads put by put: one transaction, commit included.
//!
//! `cargo run --release -p bench --bin load -- [DIRECTORY [COUNT [CACHE_MIB [WHICH]]]]`, where
//! WHICH is a part of the name of what is to be run. What is printed is the median of several
//! rounds, in entries a second.

use std::path::{Path, PathBuf};
use std::time::Instant;

use yieldb::{MAIN, Options};

const COUNT: usize = 1_000_000;
const KEY_LEN: usize = 24;
const VALUE_LEN: usize = 150;
const ROUNDS: usize = 3;

type Failure = Box<dyn std::error::Error>;
type Load = fn(&Options, &Path, &[[u8; KEY_LEN]]) -> Result<f64, Failure>;

/// Keys that look random (splitmix64).
fn keys(count: usize) -> Vec<[u8; KEY_LEN]> {
    let mut seed: u64 = 1;
    let mut next = || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = seed;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    };
    let mut key = || {
        let mut key = [0; KEY_LEN];
        for chunk in key.chunks_exact_mut(8) {
            chunk.copy_from_slice(&next().to_be_bytes());
        }
        key
    };
    (0..count).map(|_| key()).collect()
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let count = arguments.next().map_or(Ok(COUNT), |count| count.parse())?;
    let cache_mib = arguments.next().map(|mib| mib.parse::<u64>()).transpose()?;
    let mut options = Options::new();
    if let Some(mib) = cache_mib {
        options = options.cache_bytes(mib << 20);
    }
    let directory = tempfile::tempdir_in(parent)?;
    let path = directory.path().join("bench.db");
    let unsorted = keys(count);
    let mut sorted = unsorted.clone();
    sorted.sort_unstable();
    let which = arguments.next().unwrap_or_default();
    for (way, load) in [("in bulk", bulk as Load), ("put by put", puts)] {
        for (order, keys) in [("unsorted", &unsorted), ("sorted", &sorted)] {
            let name = format!("{order} {way}");
            if name.contains(&which) {
                let rate = median(|| load(&options, &path, keys))?;
                println!("{name:>20}: {rate:>10.0} entries/s");
            }
        }
    }
    Ok(())
}

/// The median of what `work` says.
fn median(mut work: impl FnMut() -> Result<f64, Failure>) -> Result<f64, Failure> {
    let mut rates = (0..ROUNDS).map(|_| work()).collect::<Result<Vec<f64>, _>>()?;
    rates.sort_by(f64::total_cmp);
    Ok(rates[ROUNDS / 2])
}

fn bulk(options: &Options, path: &Path, keys: &[[u8; KEY_LEN]]) -> Result<f64, Failure> {
    let database = options.clone().open(path).wait()?;
    let started = Instant::now();
    let mut transaction = database.begin().wait()?;
    let mut load = transaction.bulk_load(MAIN)?;
    for key in keys {
        let value = [key[0]; VALUE_LEN];
        if !load.try_push(key, value)? {
            load.push(key, value).wait()?;
        }
    }
    assert_eq!(load.finish().wait()?, keys.len() as u64);
    transaction.commit().wait()?;
    let rate = keys.len() as f64 / started.elapsed().as_secs_f64();
    drop(database);
    std::fs::remove_file(path)?;
    Ok(rate)
}

fn puts(options: &Options, path: &Path, keys: &[[u8; KEY_LEN]]) -> Result<f64, Failure> {
    let database = options.clone().open(path).wait()?;
    let started = Instant::now();
    let mut transaction = database.begin().wait()?;
    for key in keys {
        transaction.put(MAIN, key, [key[0]; VALUE_LEN]).wait()?;
    }
    transaction.commit().wait()?;
    let rate = keys.len() as f64 / started.elapsed().as_secs_f64();
    drop(database);
    std::fs::remove_file(path)?;
    Ok(rate)
}
