//! Lookups and short ranges of what is in memory, beside LMDB, in one run.

use std::ops::Bound;
use std::path::Path;

use heed::types::Bytes;
use heed::{EnvOpenOptions, WithoutTls};
use yieldb::{KeyRange, MAIN, Options, Snapshot};

use crate::{Failure, ROUNDS, Random, median, per_second};

const COUNT: u64 = 1_000_000;
const KEY_LEN: usize = 24;
const VALUE_LEN: usize = 150;
/// Lookups a round, and ranges.
const LOOKUPS: u64 = 1_000_000;
const RANGES: u64 = 200_000;
/// Entries of a range.
const RANGE: usize = 10;
/// Keys in flight in a `multi_get`.
const DEPTH: usize = 64;

type Env = heed::Env<WithoutTls>;
type Lmdb = heed::Database<Bytes, Bytes>;

/// The key with this number: 24 bytes that look random.
fn key(number: u64) -> [u8; KEY_LEN] {
    let mut random = Random(number);
    let mut key = [0; KEY_LEN];
    for bytes in key.chunks_exact_mut(8) {
        bytes.copy_from_slice(&random.below(u64::MAX).to_be_bytes());
    }
    key
}

fn value(number: u64) -> [u8; VALUE_LEN] {
    [number as u8; VALUE_LEN]
}

/// Measures both, in turns.
pub fn run(directory: &Path) -> Result<(), Failure> {
    let database = Options::new().open(directory.join("hot.db")).wait()?;
    let mut transaction = database.begin().wait()?;
    for number in 0..COUNT {
        transaction.put(MAIN, key(number), value(number)).wait()?;
    }
    transaction.commit().wait()?;
    let (env, lmdb) = fill_lmdb(&directory.join("lmdb"))?;
    let snapshot = database.snapshot();
    let mut rates: [Vec<f64>; 5] = Default::default();
    for round in 0..=ROUNDS as u64 {
        let measured = [
            per_second(LOOKUPS, || get_all(&snapshot, round))?,
            per_second(LOOKUPS, || get_many(&snapshot, round))?,
            per_second(LOOKUPS, || get_from_lmdb(&env, lmdb, round))?,
            per_second(RANGES, || ranges(&snapshot, round))?,
            per_second(RANGES, || ranges_of_lmdb(&env, lmdb, round))?,
        ];
        // The first round warms the caches.
        if round > 0 {
            for (rates, rate) in rates.iter_mut().zip(measured) {
                rates.push(rate);
            }
        }
    }
    let [get, many, lmdb_get, range, lmdb_range] = rates.map(median);
    println!("hot, {COUNT} entries of {KEY_LEN} + {VALUE_LEN} bytes, one thread, LMDB beside it:");
    println!("  get        {get:9.0}/s, LMDB {lmdb_get:.0}/s: {:.2}", get / lmdb_get);
    println!("  multi_get  {many:9.0}/s, LMDB's get: {:.2}", many / lmdb_get);
    println!(
        "  ranges of {RANGE} {range:7.0}/s, LMDB {lmdb_range:.0}/s: {:.2}",
        range / lmdb_range
    );
    Ok(())
}

fn fill_lmdb(path: &Path) -> Result<(Env, Lmdb), Failure> {
    std::fs::create_dir(path)?;
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(4 << 30);
    // SAFETY: the directory is this program's own, and nobody else changes the files in it.
    #[allow(unsafe_code)]
    let env = unsafe { options.open(path)? };
    let mut transaction = env.write_txn()?;
    let lmdb: Lmdb = env.create_database(&mut transaction, None)?;
    for number in 0..COUNT {
        lmdb.put(&mut transaction, &key(number), &value(number))?;
    }
    transaction.commit()?;
    Ok((env, lmdb))
}

fn get_all(snapshot: &Snapshot, seed: u64) -> Result<(), Failure> {
    let mut random = Random(seed);
    for _ in 0..LOOKUPS {
        let number = random.below(COUNT);
        let found = snapshot.get(MAIN, key(number)).wait()?;
        assert_eq!(found.as_deref(), Some(&value(number)[..]));
    }
    Ok(())
}

fn get_many(snapshot: &Snapshot, seed: u64) -> Result<(), Failure> {
    let mut random = Random(seed);
    let numbers: Vec<u64> = (0..LOOKUPS).map(|_| random.below(COUNT)).collect();
    let keys = numbers.iter().map(|number| key(*number));
    let mut lookups = snapshot.multi_get(MAIN, keys, DEPTH);
    let mut count = 0;
    while let Some(lookup) = lookups.next().wait()? {
        let number = numbers[lookup.index as usize];
        assert_eq!(lookup.value?.as_deref(), Some(&value(number)[..]));
        count += 1;
    }
    assert_eq!(count, LOOKUPS);
    Ok(())
}

fn get_from_lmdb(env: &Env, lmdb: Lmdb, seed: u64) -> Result<(), Failure> {
    let transaction = env.read_txn()?;
    let mut random = Random(seed);
    for _ in 0..LOOKUPS {
        let number = random.below(COUNT);
        let found = lmdb.get(&transaction, &key(number))?;
        assert_eq!(found, Some(&value(number)[..]));
    }
    Ok(())
}

fn ranges(snapshot: &Snapshot, seed: u64) -> Result<(), Failure> {
    let mut random = Random(seed);
    for _ in 0..RANGES {
        let mut cursor = snapshot.cursor(MAIN, KeyRange::all().from(key(random.below(COUNT))));
        for _ in 0..RANGE {
            let Some(entry) = cursor.next().wait()? else { break };
            assert_eq!(entry.value().len(), VALUE_LEN);
        }
    }
    Ok(())
}

fn ranges_of_lmdb(env: &Env, lmdb: Lmdb, seed: u64) -> Result<(), Failure> {
    let transaction = env.read_txn()?;
    let mut random = Random(seed);
    for _ in 0..RANGES {
        let from = key(random.below(COUNT));
        let range = (Bound::Included(&from[..]), Bound::Unbounded);
        for entry in lmdb.range(&transaction, &range)?.take(RANGE) {
            assert_eq!(entry?.1.len(), VALUE_LEN);
        }
    }
    Ok(())
}
