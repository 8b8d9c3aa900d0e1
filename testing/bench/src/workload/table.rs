//! The table of redb's own benchmark: 1,000,000 entries with random keys of 24 and values of 150
//! bytes, loaded, changed, read, and half of them removed. Every round begins with nothing.
//!
//! Before the reads everything is read and verified once, so that they find it in memory.
//!
//! Beside the sorted load the device: a bare ring that overwrites a file from the first to the last
//! byte in blocks of 1 MiB, and syncs it, with as many bytes as there are of keys and values.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{Place, Rounds, Workload, on_threads};
use crate::engine::{DEVICE, Engine, Reader, Session, Settings};
use crate::entries::{self, KEY_LEN, Key, Random, key};
use crate::measure::{Measure, Unit, disk_bytes};
use crate::resources::Transfer;
use crate::{Failure, blocks, process};

const VALUE_LEN: usize = 150;
/// Puts of a durable batch.
const BATCH: u64 = 1_000;
/// Keys of a `get_many`, all of them under way.
const MANY: usize = 64;
/// Entries of a range.
const RANGE: usize = 10;
/// Bytes of the device's writes, and how many are in flight.
const BLOCK: (u64, usize) = (1 << 20, 4);

/// See the module.
#[derive(Debug)]
pub struct Table;

impl Workload for Table {
    const NAME: &'static str = "table";
    const ALSO: &'static [&'static str] = &[DEVICE];

    fn prepare<E: Engine>(place: Place) -> Result<Box<dyn Rounds>, Failure> {
        let counts = Counts::of(&place);
        let (loaded, all) = (sorted(counts.loaded), sorted(counts.entries()));
        Ok(Box::new(Prepared { place, counts, loaded, all, engine: PhantomData::<E> }))
    }

    fn prepare_device(place: Place) -> Result<Box<dyn Rounds>, Failure> {
        let bytes = Counts::of(&place).loaded * (KEY_LEN + VALUE_LEN) as u64;
        let (file, len) = (place.directory.join("blocks"), bytes.next_multiple_of(BLOCK.0));
        std::fs::write(&file, vec![0; len as usize])?;
        // What the kernel still had of it would be in the way of each write.
        process::write_out(&file)?;
        Ok(Box::new(Device { file, len }))
    }
}

/// How much of everything there is.
#[derive(Clone, Copy, Debug)]
struct Counts {
    /// Entries that are loaded at once.
    loaded: u64,
    /// Entries that are put one by one.
    singles: u64,
    /// Batches that are put.
    batches: u64,
    gets: u64,
    ranges: u64,
}

impl Counts {
    fn of(place: &Place) -> Counts {
        Counts {
            loaded: place.pick(100_000, 1_000_000),
            singles: place.pick(200, 1_000),
            batches: place.pick(10, 100),
            gets: place.pick(200_000, 1_000_000),
            ranges: place.pick(20_000, 200_000),
        }
    }

    /// Entries that were put; they have the numbers up to here.
    fn entries(self) -> u64 {
        self.loaded + self.singles + self.batches * BATCH
    }
}

/// A key, and the number that it is made from.
type Numbered = (Key, u64);

/// The first `count` keys, in their order.
fn sorted(count: u64) -> Vec<Numbered> {
    let mut keys: Vec<Numbered> = (0..count).map(|number| (key(number), number)).collect();
    keys.sort_unstable();
    keys
}

fn value(number: u64) -> [u8; VALUE_LEN] {
    entries::value(number, 0)
}

fn verify(number: u64, found: &[u8]) {
    assert_eq!(entries::verify::<VALUE_LEN>(number, found), 0, "nothing was overwritten");
}

struct Prepared<E> {
    place: Place,
    counts: Counts,
    /// What is loaded.
    loaded: Vec<Numbered>,
    /// What there is before the removals.
    all: Vec<Numbered>,
    engine: PhantomData<E>,
}

impl<E: Engine> Rounds for Prepared<E> {
    fn round(&mut self, round: u64) -> Result<Vec<Measure>, Failure> {
        let Counts { loaded, .. } = self.counts;
        let mut measures = self.load_sorted()?.to_vec();
        let directory = self.place.renew("table")?;
        let engine = E::open(&directory, &Settings::durable(VALUE_LEN))?;
        let mut session = engine.session()?;
        measures.push(Measure::time("bulk load, unsorted", loaded, || {
            session.load(false, (0..loaded).map(|number| (key(number), value(number))))
        })?);
        measures.extend(self.put(&mut session)?);
        verify_all(&mut session, &self.all)?;
        measures.extend(self.read(&mut session, round)?);
        measures.push(self.read_on_two_threads(&engine, round)?);
        measures.push(self.remove_half(&mut session)?);
        drop(session);
        engine.close()?;
        measures.extend(self.measure_files(&directory)?);
        std::fs::remove_dir_all(&directory)?;
        Ok(measures)
    }
}

impl<E: Engine> Prepared<E> {
    /// In entries, in bytes that were written, and in how much of a core the thread had.
    fn load_sorted(&self) -> Result<[Measure; 3], Failure> {
        let directory = self.place.renew("sorted")?;
        let engine = E::open(&directory, &Settings::durable(VALUE_LEN))?;
        let mut session = engine.session()?;
        let entries = self.loaded.iter().map(|(key, number)| (*key, value(*number)));
        let (before, busy, started) = (Transfer::now()?, process::thread_time()?, Instant::now());
        session.load(true, entries)?;
        let took = started.elapsed();
        let busy = (process::thread_time()? - busy).as_secs_f64() / took.as_secs_f64();
        let written = Transfer::since(before)?.written;
        verify_all(&mut session, &self.loaded)?;
        drop(session);
        engine.close()?;
        std::fs::remove_dir_all(&directory)?;
        Ok([
            Measure::rate("bulk load, sorted", self.counts.loaded, took),
            Measure::bytes_rate("bulk load, sorted, bytes written", written, took),
            Measure::of("bulk load, sorted, of a core", busy, Unit::Times),
        ])
    }

    /// One by one, and in batches.
    fn put(&self, session: &mut E::Session<'_>) -> Result<[Measure; 2], Failure> {
        let Counts { loaded, singles, batches, .. } = self.counts;
        let mut numbers = loaded..;
        let one_by_one = Measure::time("durable puts, one by one", singles, || {
            numbers
                .by_ref()
                .take(singles as usize)
                .try_for_each(|number| session.put(&key(number), &value(number)))
        })?;
        let in_batches = Measure::time("durable puts, 1,000 in one", batches * BATCH, || {
            for _ in 0..batches {
                let batch = numbers.by_ref().take(BATCH as usize);
                session.put_all(batch.map(|number| (key(number), value(number))))?;
            }
            Ok(())
        })?;
        Ok([one_by_one, in_batches])
    }

    /// In one version: one by one, many at a time, and short ranges.
    fn read(&self, session: &mut E::Session<'_>, seed: u64) -> Result<[Measure; 3], Failure> {
        let Counts { gets, ranges, .. } = self.counts;
        let get =
            Measure::time("get", gets, || session.read(|reader| self.get(reader, seed, gets)))?;
        let many = Measure::time("get, 64 at a time", gets, || {
            session.read(|reader| self.get_many(reader, seed, gets))
        })?;
        let range = Measure::time("range of 10", ranges, || {
            session.read(|reader| self.ranges(reader, seed, ranges))
        })?;
        Ok([get, many, range])
    }

    fn get(&self, reader: &mut impl Reader, seed: u64, count: u64) -> Result<(), Failure> {
        let mut random = Random(seed);
        for _ in 0..count {
            let number = random.below(self.counts.entries());
            let found = reader.get(&key(number), |value| verify(number, value))?;
            assert!(found.is_some(), "entry {number} is missing");
        }
        Ok(())
    }

    fn get_many(&self, reader: &mut impl Reader, seed: u64, count: u64) -> Result<(), Failure> {
        let mut random = Random(seed);
        let mut left = count as usize;
        while left > 0 {
            let some = left.min(MANY);
            left -= some;
            let mut numbers = [0; MANY];
            numbers[..some].fill_with(|| random.below(self.counts.entries()));
            let keys = numbers.map(key);
            let mut seen = 0;
            reader.get_many(&keys[..some], MANY, |index, value| {
                verify(numbers[index], value);
                seen += 1;
            })?;
            assert_eq!(seen, some, "entries are missing");
        }
        Ok(())
    }

    fn ranges(&self, reader: &mut impl Reader, seed: u64, count: u64) -> Result<(), Failure> {
        let mut random = Random(seed);
        for _ in 0..count {
            let behind = &self.all[random.below(self.all.len() as u64) as usize..];
            let expected = &behind[..behind.len().min(RANGE)];
            verify_range(reader, &expected[0].0, RANGE, expected)?;
        }
        Ok(())
    }

    fn read_on_two_threads(&self, engine: &E, seed: u64) -> Result<Measure, Failure> {
        let Counts { gets, .. } = self.counts;
        Measure::time("get, two threads", gets, || {
            on_threads(engine, 2, |thread, session| {
                session.read(|reader| self.get(reader, seed << 1 | thread, gets / 2))
            })?;
            Ok(())
        })
    }

    /// Every other one, in one transaction, in no order of their keys.
    fn remove_half(&self, session: &mut E::Session<'_>) -> Result<Measure, Failure> {
        let entries = self.counts.entries();
        let measure = Measure::time("removals, half in one", entries / 2, || {
            session.delete_all((0..entries).step_by(2).map(key))
        })?;
        let is_left = |(_, number): &&Numbered| number % 2 == 1;
        let left: Vec<Numbered> = self.all.iter().filter(is_left).copied().collect();
        verify_all(session, &left)?;
        Ok(measure)
    }

    /// What the database takes of the disk when it is closed.
    fn measure_files(&self, directory: &Path) -> Result<Vec<Measure>, Failure> {
        let live = self.counts.entries() / 2 * (KEY_LEN + VALUE_LEN) as u64;
        let measure = |when: &str| {
            let bytes = disk_bytes(directory)? as f64;
            let times = Measure::of(
                format!("files {when}, times what lives"),
                bytes / live as f64,
                Unit::Times,
            );
            let bytes = Measure::of(format!("files {when}"), bytes, Unit::Bytes);
            Result::<_, Failure>::Ok([bytes, times])
        };
        let mut measures = measure("after removals")?.to_vec();
        let mut engine = E::open(directory, &Settings::durable(VALUE_LEN))?;
        let is_compacted = engine.compact()?;
        engine.close()?;
        if is_compacted {
            measures.extend(measure("compacted")?);
        }
        Ok(measures)
    }
}

struct Device {
    file: PathBuf,
    len: u64,
}

impl Rounds for Device {
    fn round(&mut self, _round: u64) -> Result<Vec<Measure>, Failure> {
        let ((block, depth), started) = (BLOCK, Instant::now());
        blocks::overwrite(&self.file, block, depth, (0..self.len).step_by(block as usize))?;
        let took = started.elapsed();
        Ok(vec![Measure::bytes_rate("bulk load, sorted, bytes written", self.len, took)])
    }
}

/// Reads all entries, and asserts that they are these.
fn verify_all(session: &mut impl Session, expected: &[Numbered]) -> Result<(), Failure> {
    session.read(|reader| verify_range(reader, &[], usize::MAX, expected))
}

/// Reads a range, and asserts that it has these entries and no others.
fn verify_range(
    reader: &mut impl Reader,
    from: &[u8],
    count: usize,
    expected: &[Numbered],
) -> Result<(), Failure> {
    let mut left = expected.iter();
    let seen = reader.range(from, count, |key, value| {
        let (expected, number) = left.next().expect("no entry behind the last one");
        assert_eq!(key, expected, "another entry than {number}");
        verify(*number, value);
    })?;
    assert_eq!(seen, expected.len(), "entries are missing");
    Ok(())
}
