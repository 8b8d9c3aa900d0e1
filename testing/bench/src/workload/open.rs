//! Opening a database of 1,000,000 entries, up to its first lookup: after it was closed, and after
//! a kill. Nothing of its files is in memory.
//!
//! The kill: another process commits durable puts, one after the other and each to a random entry,
//! and tells how many are committed; it is killed between two of those numbers. What it told is
//! there then, which is verified.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Instant;

use super::{Place, Rounds, Workload, verify_all};
use crate::engine::{Engine, Session, Settings};
use crate::entries::{self, Random, key, mix};
use crate::measure::{Measure, Unit};
use crate::{Failure, anew, resources};

const VALUE_LEN: usize = 150;
/// Commits that a process makes before it tells of them.
const TOLD: u64 = 50;

/// See the module.
#[derive(Debug)]
pub struct Open;

impl Workload for Open {
    const NAME: &'static str = "open";
    const QUICK_ROUNDS: u64 = 1;

    fn prepare<E: Engine>(place: Place) -> Result<Box<dyn Rounds>, Failure> {
        let size =
            Size { entries: place.pick(50_000, 1_000_000), commits: place.pick(200, 20_000) };
        let directory = place.directory.join("open");
        if let Some(round) = anew::part() {
            commit::<E>(&directory, size, round)?;
        }
        let engine = E::open(&place.renew("open")?, &settings())?;
        engine
            .session()?
            .load(false, (0..size.entries).map(|number| (key(number), value(number, 0))))?;
        engine.close()?;
        Ok(Box::new(Prepared { directory, size, engine: PhantomData::<E> }))
    }
}

/// How much of everything there is.
#[derive(Clone, Copy, Debug)]
struct Size {
    entries: u64,
    /// At least so many commits are made before the kill, and less than twice as many.
    commits: u64,
}

impl Size {
    /// The entries that a round overwrites, with their editions.
    fn overwritten(self, round: u64) -> impl Iterator<Item = (u64, u64)> {
        let mut random = Random(mix(round));
        (round << 32..).map(move |edition| (random.below(self.entries), edition))
    }
}

fn settings() -> Settings {
    Settings::durable(VALUE_LEN)
}

fn value(number: u64, edition: u64) -> [u8; VALUE_LEN] {
    entries::value(number, edition)
}

/// Commits until it is killed.
fn commit<E: Engine>(directory: &Path, size: Size, round: u64) -> Result<(), Failure> {
    let engine = E::open(directory, &settings())?;
    let mut session = engine.session()?;
    let mut output = std::io::stdout().lock();
    for (count, (number, edition)) in (0_u64..).zip(size.overwritten(round)) {
        session.put(&key(number), &value(number, edition))?;
        if count % TOLD == TOLD - 1 {
            writeln!(output, "{}", count + 1)?;
        }
    }
    Ok(())
}

struct Prepared<E> {
    directory: PathBuf,
    size: Size,
    engine: PhantomData<E>,
}

impl<E: Engine> Rounds for Prepared<E> {
    fn round(&mut self, round: u64) -> Result<Vec<Measure>, Failure> {
        let (engine, clean) = self.open("open, after a close")?;
        engine.close()?;
        let mut process = anew::start_part(round)?;
        let told = self.watch(&mut process, round);
        process.kill()?;
        process.wait()?;
        let told = told?;
        let (engine, recovered) = self.open("open, after a kill")?;
        self.verify(&mut engine.session()?, round, told)?;
        engine.close()?;
        Ok(vec![clean, recovered])
    }
}

impl<E: Engine> Prepared<E> {
    /// Opens the database with nothing of it in memory, and looks up an entry.
    fn open(&self, measure: &str) -> Result<(E, Measure), Failure> {
        resources::drop_cached(&self.directory)?;
        let started = Instant::now();
        let engine = E::open(&self.directory, &settings())?;
        let verify = |found: &[u8]| entries::verify::<VALUE_LEN>(0, found);
        assert!(engine.session()?.get(&key(0), verify)?.is_some(), "entry 0 is missing");
        let took = started.elapsed().as_secs_f64() * 1e6;
        Ok((engine, Measure::of(measure, took, Unit::Microseconds)))
    }

    /// Waits until a process has committed enough, and returns how much that was at least.
    fn watch(&self, process: &mut Child, round: u64) -> Result<u64, Failure> {
        let enough = self.size.commits + mix(!round) % self.size.commits;
        let output = process.stdout.take().ok_or("it has no output")?;
        for line in BufReader::new(output).lines() {
            let told = line?.parse()?;
            if told >= enough {
                return Ok(told);
            }
        }
        Err("the process that commits has ended by itself".into())
    }

    /// Asserts that the first `told` commits of a round are there, and nothing else is missing.
    fn verify(&self, session: &mut E::Session<'_>, round: u64, told: u64) -> Result<(), Failure> {
        let commits = self.size.overwritten(round).take(told as usize);
        // Each entry's last one.
        for (number, edition) in commits.collect::<HashMap<_, _>>() {
            let verify = |found: &[u8]| entries::verify::<VALUE_LEN>(number, found);
            let found = session.get(&key(number), verify)?.unwrap_or_default();
            assert!(found >= edition, "a durable commit is lost: {number} has {found:#x}");
        }
        let seen = verify_all::<VALUE_LEN>(session)?;
        assert_eq!(seen, self.size.entries as usize, "entries are missing");
        Ok(())
    }
}
