//! YCSB's workloads over 1,000,000 entries with values of 1 KiB, which are in memory. Keys are
//! chosen by their frequency (Zipf, 0.99), the frequent ones all over the table; each operation is
//! a transaction of its own.
//!
//! | | |
//! |---|---|
//! | A | half reads, half updates |
//! | B | 95 % reads, 5 % updates |
//! | C | reads |
//! | E | 95 % scans of 1 to 100 entries, 5 % inserts |
//! | F | half reads, half reads with an update of what was read, in one transaction |
//!
//! Commits are relaxed, and then durable, which is each engine's own affair: its file says what it
//! does. Before each of the two everything is read and verified once.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::zipf::Zipf;
use super::{Place, Rounds, Workload, rate_on_threads, verify_all};
use crate::Failure;
use crate::engine::{Durability, Engine, Reader, Session, Settings, Writer};
use crate::entries::{self, Random, key};
use crate::measure::Measure;

const VALUE_LEN: usize = 1024;
/// The longest scan.
const SCAN: u64 = 100;

/// See the module.
#[derive(Debug)]
pub struct Ycsb;

impl Workload for Ycsb {
    const NAME: &'static str = "ycsb";
    const QUICK_ROUNDS: u64 = 1;

    fn prepare<E: Engine>(place: Place) -> Result<Box<dyn Rounds>, Failure> {
        let count = place.pick(20_000, 1_000_000);
        let directory = place.renew("ycsb")?;
        let engine = E::open(&directory, &settings(Durability::Durable))?;
        engine.session()?.load(false, (0..count).map(|number| (key(number), value(number, 0))))?;
        engine.close()?;
        let span = Duration::from_millis(place.pick(50, 2_000));
        let table = Table { zipf: Zipf::new(count), count: AtomicU64::new(count) };
        Ok(Box::new(Prepared { directory, span, table, engine: std::marker::PhantomData::<E> }))
    }
}

fn settings(durability: Durability) -> Settings {
    Settings { durability, ..Settings::durable(VALUE_LEN) }
}

fn value(number: u64, edition: u64) -> [u8; VALUE_LEN] {
    entries::value(number, edition)
}

fn verify(number: u64, found: &[u8]) -> u64 {
    entries::verify::<VALUE_LEN>(number, found)
}

struct Prepared<E> {
    directory: PathBuf,
    span: Duration,
    table: Table,
    engine: std::marker::PhantomData<E>,
}

impl<E: Engine> Rounds for Prepared<E> {
    fn round(&mut self, round: u64) -> Result<Vec<Measure>, Failure> {
        let mut measures = Vec::new();
        for (durability, word) in
            [(Durability::Relaxed, "relaxed"), (Durability::Durable, "durable")]
        {
            let engine = E::open(&self.directory, &settings(durability))?;
            let count = verify_all::<VALUE_LEN>(&mut engine.session()?)?;
            assert_eq!(count as u64, self.table.count.load(Ordering::Relaxed));
            for (threads, seed) in [(1, round << 1), (2, round << 1 | 1)] {
                for mix in MIXES.iter().filter(|mix| mix.writes || word == "relaxed") {
                    let commits = if mix.writes { format!(", {word}") } else { String::new() };
                    let name = format!("{}{commits}, threads: {threads}", mix.name);
                    let times = (threads, self.span);
                    let operation = |session: &mut E::Session<'_>, random: &mut Random| {
                        self.table.operate(mix, session, random)
                    };
                    measures.push(rate_on_threads(name, &engine, times, seed, operation)?);
                }
            }
            engine.close()?;
        }
        Ok(measures)
    }
}

/// What one of the workloads does.
struct Mix {
    name: &'static str,
    /// Has it anything but reads?
    writes: bool,
    /// How many of a hundred operations are reads.
    reads: u64,
    /// What the others are, and, for E, the reads.
    others: Others,
}

#[derive(Clone, Copy)]
enum Others {
    Updates,
    ReadsWithUpdate,
    /// Beside scans in the place of reads.
    Inserts,
}

const MIXES: [Mix; 5] = [
    Mix { name: "A", writes: true, reads: 50, others: Others::Updates },
    Mix { name: "B", writes: true, reads: 95, others: Others::Updates },
    Mix { name: "C", writes: false, reads: 100, others: Others::Updates },
    Mix { name: "E", writes: true, reads: 95, others: Others::Inserts },
    Mix { name: "F", writes: true, reads: 50, others: Others::ReadsWithUpdate },
];

/// What there is to be read and written.
struct Table {
    /// Of the entries that were loaded.
    zipf: Zipf,
    /// How many entries there are, with those that were inserted.
    count: AtomicU64,
}

impl Table {
    fn operate<S: Session>(
        &self,
        mix: &Mix,
        session: &mut S,
        random: &mut Random,
    ) -> Result<(), Failure> {
        let number = self.zipf.scrambled(random);
        let is_read = random.below(100) < mix.reads;
        let edition = random.bits();
        match mix.others {
            Others::Inserts if is_read => scan(session, number, 1 + random.below(SCAN)),
            _ if is_read => {
                let found = session.get(&key(number), |found| verify(number, found))?;
                found.map(|_| ()).ok_or_else(|| missing(number))
            }
            Others::Updates => session.put(&key(number), &value(number, edition)),
            Others::ReadsWithUpdate => session.write(|writer| {
                let found = writer.get(&key(number), |found| verify(number, found))?;
                let before = found.ok_or_else(|| missing(number))?;
                writer.put(&key(number), &value(number, before.wrapping_add(1)))
            }),
            Others::Inserts => {
                let number = self.count.fetch_add(1, Ordering::Relaxed);
                session.put(&key(number), &value(number, edition))
            }
        }
    }
}

fn missing(number: u64) -> Failure {
    format!("entry {number} is missing").into()
}

fn scan(session: &mut impl Session, first: u64, count: u64) -> Result<(), Failure> {
    session.read(|reader| {
        reader.range(&key(first), count as usize, |key, value| {
            verify(entries::number(key), value);
        })
    })?;
    Ok(())
}
