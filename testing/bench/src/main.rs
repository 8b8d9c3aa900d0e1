//! Lookups, cached and cold, beside a bare ring that reads the same file at the same depth; hot
//! lookups and ranges beside LMDB.
//!
//! `cargo run --release -p bench -- [DIRECTORY [hot | lookups]]`. Both sides of a pair run in turns
//! in one process, several times over, because machines are noisy; what is printed is the median.

mod hot;
mod raw;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Instant;

use yieldb::{
    Database, DriverMode, IOCompletions, IOResult, MAIN, Op, Options, Snapshot, ops::Get,
};

const COUNT: u64 = 1_000_000;
const VALUE_LEN: usize = 100;
const ROUNDS: usize = 5;
/// Lookups a round.
const CACHED: u64 = 1_000_000;
const COLD: u64 = 40_000;
/// Keys of a `multi_get`.
const MANY: u64 = 100_000;
/// A cache that holds every interior page and few leaves.
const SMALL_CACHE: u64 = 4 << 20;

type Failure = Box<dyn std::error::Error>;

fn key(number: u64) -> [u8; 8] {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
}

/// Numbers that look random (splitmix64).
pub struct Random(pub u64);

impl Random {
    /// The next one, below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % limit
    }
}

fn main() -> Result<(), Failure> {
    let parent = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::tempdir_in(parent)?;
    let part = std::env::args().nth(2);
    let is_wanted = |name: &str| part.as_deref().is_none_or(|part| part == name);
    if is_wanted("hot") {
        hot::run(directory.path())?;
    }
    if !is_wanted("lookups") {
        return Ok(());
    }
    let path = directory.path().join("bench.db");
    fill(&path)?;
    let len = std::fs::metadata(&path)?.len();
    println!("{COUNT} entries of {} bytes, a file of {} MiB", VALUE_LEN + 8, len >> 20);
    cached(&path)?;
    for depth in [1, 4, 16, 64] {
        cold(&path, len, depth)?;
    }
    cold_many(&path, len, 64)
}

fn fill(path: &Path) -> Result<(), Failure> {
    let database = Options::new().open(path).wait()?;
    let mut transaction = database.begin().wait()?;
    for number in 0..COUNT {
        transaction.put(MAIN, key(number), [number as u8; VALUE_LEN]).wait()?;
    }
    transaction.commit().wait()?;
    Ok(())
}

/// What `work` does in a second; `count` is how much it does.
fn per_second(count: u64, work: impl FnOnce() -> Result<(), Failure>) -> Result<f64, Failure> {
    let started = Instant::now();
    work()?;
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn cached(path: &Path) -> Result<(), Failure> {
    let database = Options::new().open(path).wait()?;
    let snapshot = database.snapshot();
    for number in 0..COUNT {
        snapshot.get(MAIN, key(number)).wait()?;
    }
    let mut rates = Vec::new();
    for round in 0..ROUNDS {
        rates.push(per_second(CACHED, || {
            let mut random = Random(round as u64);
            for _ in 0..CACHED {
                let found = snapshot.get(MAIN, key(random.below(COUNT))).wait()?;
                assert_eq!(found.map(|value| value.len()), Some(VALUE_LEN));
            }
            Ok(())
        })?);
    }
    println!("cached: {:.0} lookups/s on one thread", median(rates));
    Ok(())
}

/// Cold lookups in a loop of one's own, `depth` under way at a time, and a bare ring's reads.
fn cold(path: &Path, len: u64, depth: usize) -> Result<(), Failure> {
    let options = Options::new().driver(DriverMode::Manual).cache_bytes(SMALL_CACHE);
    let database = options.open(path).wait()?;
    let snapshot = database.snapshot();
    let (mut ours, mut bare, mut reads) = (Vec::new(), Vec::new(), 0);
    for round in 0..=ROUNDS as u64 {
        let before = database.cache_stats().reads;
        let rate = per_second(COLD, || look_up(&database, &snapshot, round, depth))?;
        reads = database.cache_stats().reads - before;
        let raw = per_second(COLD, || raw::read(path, len, round, depth, COLD))?;
        if round > 0 {
            ours.push(rate);
            bare.push(raw);
        }
    }
    let (ours, bare) = (median(ours), median(bare));
    let (each, share) = (reads as f64 / COLD as f64, ours / bare);
    print!("cold, depth {depth:2}: {ours:.0} lookups/s ({each:.2} reads each), ");
    println!("a bare ring {bare:.0} reads/s: {share:.2}");
    Ok(())
}

/// Cold lookups by one `multi_get` with `depth` reads in flight, and a bare ring's reads.
fn cold_many(path: &Path, len: u64, depth: usize) -> Result<(), Failure> {
    let database = Options::new().cache_bytes(SMALL_CACHE).open(path).wait()?;
    let snapshot = database.snapshot();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS as u64 {
        let rate = per_second(MANY, || {
            let mut random = Random(round);
            let keys = (0..MANY).map(|_| key(random.below(COUNT)));
            let mut lookups = snapshot.multi_get(MAIN, keys, depth);
            let mut count = 0;
            while let Some(lookup) = lookups.next().wait()? {
                assert!(lookup.value?.is_some());
                count += 1;
            }
            assert_eq!(count, MANY);
            Ok(())
        })?;
        let raw = per_second(MANY, || raw::read(path, len, round, depth, MANY))?;
        if round > 0 {
            ours.push(rate);
            bare.push(raw);
        }
    }
    let (ours, bare) = (median(ours), median(bare));
    print!("cold, one multi_get of {MANY} keys, {depth} in flight: {ours:.0} lookups/s, ");
    println!("a bare ring {bare:.0} reads/s: {:.2}", ours / bare);
    Ok(())
}

fn look_up(
    database: &Database,
    snapshot: &Snapshot,
    seed: u64,
    depth: usize,
) -> Result<(), Failure> {
    let mut random = Random(seed);
    let mut under_way: VecDeque<Op<'_, Get<'_, [u8; 8]>>> = VecDeque::new();
    let mut begun = 0;
    loop {
        while under_way.len() < depth && begun < COLD {
            under_way.push_back(snapshot.get(MAIN, key(random.below(COUNT))));
            begun += 1;
        }
        let mut waits_for = None;
        for _ in 0..under_way.len() {
            let Some(mut get) = under_way.pop_front() else { break };
            match get.step()? {
                IOResult::Done(value) => assert!(value.is_some()),
                IOResult::IO(IOCompletions::Single(io)) => {
                    waits_for.get_or_insert(io);
                    under_way.push_back(get);
                }
                IOResult::IO(_) => under_way.push_back(get),
            }
        }
        if under_way.is_empty() && begun == COLD {
            return Ok(());
        }
        if let Some(io) = waits_for.filter(|_| under_way.len() == depth || begun == COLD)
            && database.turn() == 0
        {
            database.wait_for(&io)?;
        }
    }
}
