//! Random reads of much more data than there is memory: 8,000,000 entries of 500 bytes, a cache of
//! 256 MiB, and 512 MiB of memory for the process, the kernel's cache of its files included.
//!
//! They are loaded once, sorted, and kept. Each round begins with nothing in memory, and first
//! reads so many entries that what is above the leaves is there. Each read is a transaction of its
//! own; where an engine can have many reads in flight on one thread, those are one.
//!
//! Beside them the device: a bare ring that reads random pages of yieldb's file, as many in flight
//! as the measure of that name has. It knows nothing of a get that finds its leaf in memory; what
//! it is beside are *pages read*, of which a get has one at most: who reads more gains nothing.

use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use super::{Place, Rounds, Workload, rate_on_threads};
use crate::engine::yieldb::{Wait, Yieldb};
use crate::engine::{DEVICE, Engine, Reader, Session, Settings};
use crate::entries::{self, Key, Random, key, mix};
use crate::measure::{Measure, Unit, disk_bytes};
use crate::resources::{self, Transfer};
use crate::{Failure, anew, blocks};

const VALUE_LEN: usize = 476;
/// Threads that read side by side, each with one read in flight.
const THREADS: u64 = 16;
/// Reads in flight on one thread.
const IN_FLIGHT: [usize; 3] = [8, 64, 256];

/// See the module.
#[derive(Debug)]
pub struct Cold;

impl Workload for Cold {
    const NAME: &'static str = "cold";
    const QUICK_ROUNDS: u64 = 1;
    const ALSO: &'static [&'static str] = &["yieldb-step", "yieldb-await", "yieldb-pread", DEVICE];
    /// It would take 75 GB of memory to load them.
    const WITHOUT: &'static [&'static str] = &["sled"];

    fn prepare<E: Engine>(place: Place) -> Result<Box<dyn Rounds>, Failure> {
        resources::take_one_arena()?;
        let size = Size::of(&place);
        let directory = size.load::<E>(&place)?;
        let limit = resources::limit_memory(size.memory);
        Ok(Box::new(Prepared { directory, size, limit, engine: PhantomData::<E> }))
    }

    fn prepare_device(place: Place) -> Result<Box<dyn Rounds>, Failure> {
        let size = Size::of(&place);
        let file = size.load::<Yieldb<Wait>>(&place)?.join("bench.db");
        Ok(Box::new(Device { file, size }))
    }
}

/// How much of everything there is.
#[derive(Clone, Copy, Debug)]
struct Size {
    entries: u64,
    cache: u64,
    /// What the process may take, and the kernel for it.
    memory: u64,
    /// How long entries are read one by one.
    span: Duration,
    /// How many are read at a time.
    many: u64,
    is_kept: bool,
}

impl Size {
    fn of(place: &Place) -> Size {
        Size {
            entries: place.pick(200_000, 8_000_000),
            cache: place.pick(16 << 20, 256 << 20),
            memory: place.pick(128 << 20, 512 << 20),
            span: Duration::from_millis(place.pick(50, 4_000)),
            many: place.pick(2_000, 100_000),
            is_kept: !place.quick,
        }
    }

    fn settings(self) -> Settings {
        let (cache_bytes, threads) = (self.cache, THREADS);
        Settings { cache_bytes, threads, cold: true, ..Settings::durable(VALUE_LEN) }
    }

    /// The directory of the database, which is filled if it is not there yet.
    fn load<E: Engine>(self, place: &Place) -> Result<PathBuf, Failure> {
        let value = |number| entries::value::<VALUE_LEN>(number, 0);
        anew::loaded::<E, _>(place, &self.settings(), self.is_kept, self.entries, value)
    }
}

fn verify(number: u64, found: &[u8]) {
    assert_eq!(entries::verify::<VALUE_LEN>(number, found), 0, "nothing was overwritten");
}

struct Prepared<E> {
    directory: PathBuf,
    size: Size,
    limit: Measure,
    engine: PhantomData<E>,
}

impl<E: Engine> Rounds for Prepared<E> {
    fn round(&mut self, round: u64) -> Result<Vec<Measure>, Failure> {
        resources::drop_cached(&self.directory)?;
        let engine = E::open(&self.directory, &self.size.settings())?;
        // Other entries than those that are read then.
        self.get(&engine, "get, before it counts", THREADS, mix(round))?;
        let mut measures = Vec::new();
        for threads in [1, THREADS] {
            let name = on_threads(threads);
            measures.extend(with_reads(|| self.get(&engine, &name, threads, round))?);
        }
        if E::HAS_MANY_READS {
            let mut session = engine.session()?;
            for depth in IN_FLIGHT {
                measures.extend(with_reads(|| self.get_many(&mut session, depth, round))?);
            }
        }
        engine.close()?;
        let files = disk_bytes(&self.directory)? as f64;
        measures.extend([Measure::of("files", files, Unit::Bytes), self.limit.clone()]);
        Ok(measures)
    }
}

impl<E: Engine> Prepared<E> {
    fn get(&self, engine: &E, name: &str, threads: u64, seed: u64) -> Result<Measure, Failure> {
        rate_on_threads(name, engine, (threads, self.size.span), seed, |session, random| {
            let number = random.below(self.size.entries);
            let found = session.get(&key(number), |found| verify(number, found))?;
            assert!(found.is_some(), "entry {number} is missing");
            Ok(())
        })
    }

    fn get_many(
        &self,
        session: &mut E::Session<'_>,
        depth: usize,
        seed: u64,
    ) -> Result<Measure, Failure> {
        let mut random = Random(mix(seed << 16 | depth as u64));
        let numbers: Vec<u64> =
            (0..self.size.many).map(|_| random.below(self.size.entries)).collect();
        let keys: Vec<Key> = numbers.iter().map(|number| key(*number)).collect();
        let mut seen = 0;
        let measure = Measure::time(in_flight(depth), self.size.many, || {
            session.read(|reader| {
                reader.get_many(&keys, depth, |index, found| {
                    verify(numbers[index], found);
                    seen += 1;
                })
            })
        })?;
        assert_eq!(seen, self.size.many, "entries are missing");
        Ok(measure)
    }
}

/// Measures gets, and besides how many bytes each read, and how many a second read a page.
fn with_reads(gets: impl FnOnce() -> Result<Measure, Failure>) -> Result<[Measure; 3], Failure> {
    let before = Transfer::now()?;
    let gets = gets()?;
    let count = gets.count.ok_or("gets are not counted")?;
    let bytes_each = Transfer::since(before)?.read as f64 / count as f64;
    let share = (bytes_each / blocks::PAGE as f64).min(1.0);
    let pages = Measure::of(pages_read(&gets.measure), gets.value * share, Unit::PerSecond);
    let bytes = Measure::of(format!("{}, bytes each", gets.measure), bytes_each, Unit::Bytes);
    Ok([gets, pages, bytes])
}

/// What the pages are called that gets read.
fn pages_read(gets: &str) -> String {
    format!("{gets}, pages read")
}

fn on_threads(threads: u64) -> String {
    match threads {
        1 => "get, 1 thread".to_owned(),
        _ => format!("get, {threads} threads"),
    }
}

fn in_flight(depth: usize) -> String {
    format!("get, {depth} in flight")
}

struct Device {
    file: PathBuf,
    size: Size,
}

impl Rounds for Device {
    fn round(&mut self, round: u64) -> Result<Vec<Measure>, Failure> {
        let mut depths = vec![(on_threads(1), 1), (on_threads(THREADS), THREADS as usize)];
        depths.extend(IN_FLIGHT.map(|depth| (in_flight(depth), depth)));
        let read = |(name, depth): (String, usize)| {
            // One at a time are slow.
            let count = if depth == 1 { self.size.many / 4 } else { self.size.many };
            blocks::random(pages_read(&name), &self.file, (depth, count), round)
        };
        depths.into_iter().map(read).collect()
    }
}
