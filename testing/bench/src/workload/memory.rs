//! How much memory an engine takes with a cache of 64 MiB and 400 MB of data: while it loads them,
//! unsorted, reads at random on two threads, and overwrites in durable batches of 100. What is read
//! and written is made up on the fly: the program itself takes next to nothing.
//!
//! Each round is a process of its own, which counts the kernel's cache of its files besides where
//! there are control groups. The allocator is as it is by default.

use std::io::Read;
use std::time::{Duration, Instant};

use super::{Place, Rounds, Workload, rate_on_threads, verify_all};
use crate::engine::{Engine, Session, Settings};
use crate::entries::{self, Random, key};
use crate::measure::{Measure, Unit};
use crate::resources::{self, MemoryGroup};
use crate::{Failure, anew, process, worker};

const VALUE_LEN: usize = 476;
/// Threads that read.
const READERS: u64 = 2;
/// Puts of a transaction.
const BATCH: u64 = 100;

/// See the module.
#[derive(Debug)]
pub struct Memory;

impl Workload for Memory {
    const NAME: &'static str = "memory";
    const ROUNDS: u64 = 3;
    const QUICK_ROUNDS: u64 = 1;
    /// It took 10 GB, most of them for one batch of all entries.
    const WITHOUT: &'static [&'static str] = &["sled"];

    fn prepare<E: Engine>(place: Place) -> Result<Box<dyn Rounds>, Failure> {
        if let Some(round) = anew::part() {
            let measures = measure::<E>(&place, round)?;
            print!("{}", serde_json::to_string(&measures)?);
            std::process::exit(0);
        }
        Ok(Box::new(Parts))
    }
}

struct Parts;

impl Rounds for Parts {
    fn round(&mut self, round: u64) -> Result<Vec<Measure>, Failure> {
        let mut part = anew::start_part(round)?;
        let mut said = String::new();
        part.stdout.take().ok_or("it has no output")?.read_to_string(&mut said)?;
        let status = part.wait()?;
        if !status.success() {
            return Err(format!("the process that measured ended: {status}").into());
        }
        Ok(serde_json::from_str(&said)?)
    }
}

fn value(number: u64, edition: u64) -> [u8; VALUE_LEN] {
    entries::value(number, edition)
}

fn measure<E: Engine>(place: &Place, round: u64) -> Result<Vec<Measure>, Failure> {
    let entries = place.pick(80_000, 800_000);
    let cache_bytes = place.pick(8 << 20, 64 << 20);
    let span = Duration::from_millis(place.pick(100, 5_000));
    let group = MemoryGroup::enter(None);
    let mut peaks = Peaks::default();
    peaks.add("the program alone")?;
    // Beside those that read there is the one that loaded.
    let threads = READERS + 1;
    let settings = Settings { cache_bytes, threads, ..Settings::durable(VALUE_LEN) };
    let engine = E::open(&place.renew("memory")?, &settings)?;
    let mut session = engine.session()?;
    session.load(false, (0..entries).map(|number| (key(number), value(number, 0))))?;
    peaks.add("load")?;
    rate_on_threads("get", &engine, (READERS, span), round, |session, random| {
        let number = random.below(entries);
        let verify = |found: &[u8]| entries::verify::<VALUE_LEN>(number, found);
        assert_eq!(session.get(&key(number), verify)?, Some(0), "entry {number}");
        Ok(())
    })?;
    peaks.add("reads")?;
    let (mut random, started) = (Random(round), Instant::now());
    while started.elapsed() < span {
        session.put_all((0..BATCH).map(|_| {
            let number = random.below(entries);
            (key(number), value(number, 1))
        }))?;
    }
    peaks.add("overwrites")?;
    assert_eq!(verify_all::<VALUE_LEN>(&mut session)?, entries as usize);
    drop(session);
    engine.close()?;
    peaks.add("a scan, and the end")?;
    let mut measures = peaks.all(cache_bytes);
    match group.and_then(|group| group.peak()) {
        Ok(peak) => {
            measures.push(Measure::of("memory, cached files included", peak as f64, Unit::Bytes));
        }
        Err(failure) => eprintln!("the kernel does not count memory: {failure}"),
    }
    Ok(measures)
}

/// The most memory at a time in each part of a round.
#[derive(Default)]
struct Peaks {
    measures: Vec<Measure>,
    highest: u64,
}

impl Peaks {
    /// Adds what was most since the last time.
    fn add(&mut self, what: &str) -> Result<(), Failure> {
        let peak = process::peak_memory()?;
        self.highest = self.highest.max(peak);
        self.measures.push(Measure::of(format!("memory, {what}"), peak as f64, Unit::Bytes));
        resources::forget_peak_memory()
    }

    /// All of them, and what the highest comes to.
    fn all(self, cache_bytes: u64) -> Vec<Measure> {
        let Peaks { mut measures, highest } = self;
        let beyond = highest as f64 - cache_bytes as f64;
        measures.push(Measure::of("memory, beyond the cache", beyond, Unit::Bytes));
        measures.push(Measure::of(worker::PEAK, highest as f64, Unit::Bytes));
        measures
    }
}
