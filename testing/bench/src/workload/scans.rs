//! Scans of everything, 1,000,000 entries: in memory, from the device, and from the device after as
//! many random overwrites as there are entries.
//!
//! Beside them the device: a bare ring that reads yieldb's file, from the first to the last byte in
//! blocks of 1 MiB, and at random in pages.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{Place, Rounds, Workload, verify_all};
use crate::engine::yieldb::{Wait, Yieldb};
use crate::engine::{DEVICE, Durability, Engine, Session, Settings};
use crate::entries::{self, Random, key};
use crate::measure::{Measure, Unit};
use crate::resources::{self, Transfer};
use crate::{Failure, blocks};

const VALUE_LEN: usize = 150;
/// Overwrites of a transaction.
const BATCH: u64 = 1_000;
/// Bytes of a read in order, and how many are in flight.
const BLOCK: (u64, usize) = (1 << 20, 4);
/// Random reads in flight.
const RANDOM_DEPTH: usize = 64;

/// See the module.
#[derive(Debug)]
pub struct Scans;

impl Workload for Scans {
    const NAME: &'static str = "scans";
    const QUICK_ROUNDS: u64 = 1;
    const ALSO: &'static [&'static str] = &[DEVICE];

    fn prepare<E: Engine>(place: Place) -> Result<Box<dyn Rounds>, Failure> {
        let entries = place.pick(50_000, 1_000_000);
        let (fresh, overwritten) = (place.renew("fresh")?, place.renew("overwritten")?);
        load::<E>(&fresh, entries)?;
        load::<E>(&overwritten, entries)?;
        overwrite::<E>(&overwritten, entries)?;
        for directory in [&fresh, &overwritten] {
            // Who keeps the last changes in a log only puts them where they belong when he opens.
            E::open(directory, &settings())?.close()?;
        }
        Ok(Box::new(Prepared { fresh, overwritten, entries, engine: PhantomData::<E> }))
    }

    fn prepare_device(place: Place) -> Result<Box<dyn Rounds>, Failure> {
        let directory = place.renew("fresh")?;
        load::<Yieldb<Wait>>(&directory, place.pick(50_000, 1_000_000))?;
        let reads = place.pick(1_000, 50_000);
        Ok(Box::new(Device { file: directory.join("bench.db"), reads }))
    }
}

/// What commits are worth is not what is measured.
fn settings() -> Settings {
    Settings { durability: Durability::Relaxed, ..Settings::durable(VALUE_LEN) }
}

fn value(number: u64, edition: u64) -> [u8; VALUE_LEN] {
    entries::value(number, edition)
}

fn load<E: Engine>(directory: &Path, entries: u64) -> Result<(), Failure> {
    let engine = E::open(directory, &settings())?;
    engine.session()?.load(false, (0..entries).map(|number| (key(number), value(number, 0))))?;
    engine.close()
}

/// As many random entries as there are, one batch after the other.
fn overwrite<E: Engine>(directory: &Path, entries: u64) -> Result<(), Failure> {
    let engine = E::open(directory, &settings())?;
    let mut session = engine.session()?;
    let mut random = Random(1);
    for edition in 1..=entries / BATCH {
        session.put_all((0..BATCH).map(|_| {
            let number = random.below(entries);
            (key(number), value(number, edition))
        }))?;
    }
    drop(session);
    engine.close()
}

struct Prepared<E> {
    fresh: PathBuf,
    overwritten: PathBuf,
    entries: u64,
    engine: PhantomData<E>,
}

impl<E: Engine> Rounds for Prepared<E> {
    fn round(&mut self, _round: u64) -> Result<Vec<Measure>, Failure> {
        let mut measures = self.scan_cold("cold", &self.fresh)?.to_vec();
        measures.extend(self.scan_cold("overwritten, cold", &self.overwritten)?);
        let engine = E::open(&self.fresh, &settings())?;
        let mut session = engine.session()?;
        // It is in memory then.
        self.scan(&mut session)?;
        measures.push(Measure::time("scan, hot", self.entries, || self.scan(&mut session))?);
        drop(session);
        engine.close()?;
        Ok(measures)
    }
}

impl<E: Engine> Prepared<E> {
    fn scan(&self, session: &mut E::Session<'_>) -> Result<(), Failure> {
        let seen = verify_all::<VALUE_LEN>(session)?;
        assert_eq!(seen, self.entries as usize, "entries are missing");
        Ok(())
    }

    /// With nothing of the database in memory; in entries, and in bytes that the device read.
    fn scan_cold(&self, how: &str, directory: &Path) -> Result<[Measure; 2], Failure> {
        resources::drop_cached(directory)?;
        let engine = E::open(directory, &settings())?;
        let mut session = engine.session()?;
        let (before, started) = (Transfer::now()?, Instant::now());
        self.scan(&mut session)?;
        let (took, read) = (started.elapsed(), Transfer::since(before)?.read);
        drop(session);
        engine.close()?;
        Ok([
            Measure::rate(format!("scan, {how}"), self.entries, took),
            Measure::bytes_rate(format!("scan, {how}, bytes read"), read, took),
        ])
    }
}

struct Device {
    file: PathBuf,
    reads: u64,
}

impl Rounds for Device {
    fn round(&mut self, round: u64) -> Result<Vec<Measure>, Failure> {
        let (block, depth) = BLOCK;
        let len = self.file.metadata()?.len() / block * block;
        let started = Instant::now();
        blocks::read(&self.file, block, depth, (0..len).step_by(block as usize))?;
        let in_order = Measure::bytes_rate("scan, cold, bytes read", len, started.elapsed());
        let pages = blocks::random("pages", &self.file, (RANDOM_DEPTH, self.reads), round)?;
        let rate = pages.value * blocks::PAGE as f64;
        let name = format!("random pages, {RANDOM_DEPTH} in flight, bytes read");
        Ok(vec![in_order, Measure::of(name, rate, Unit::BytesPerSecond)])
    }
}
