//! The workloads, one file each.

mod cached;
mod cold;
mod commits;
mod heavy;
mod memory;
mod open;
mod scans;
mod table;
mod ycsb;
mod zipf;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::engine::{self, Engine, Reader, Session};
use crate::entries::{self, Random, mix};
use crate::measure::Measure;

/// What is done with an engine, and measured.
pub trait Workload {
    /// What it is called.
    const NAME: &'static str;
    /// How many rounds there are.
    const ROUNDS: u64 = 5;
    /// How many a quick run has.
    const QUICK_ROUNDS: u64 = 2;
    /// Who takes part besides the [usual](engine::is_in_every_workload) engines.
    const ALSO: &'static [&'static str] = &[];
    /// Which of the usual engines do not.
    const WITHOUT: &'static [&'static str] = &[];

    /// Makes the data that every round uses, in an engine.
    fn prepare<E: Engine>(place: Place) -> Result<Box<dyn Rounds>, Failure>;

    /// Prepares what the device does beside the engines.
    fn prepare_device(_place: Place) -> Result<Box<dyn Rounds>, Failure> {
        Err(format!("the device has no part in {}", Self::NAME).into())
    }
}

/// A workload that is prepared.
pub trait Rounds {
    /// Measures everything once.
    fn round(&mut self, round: u64) -> Result<Vec<Measure>, Failure>;
}

/// Where a workload is, and how large.
#[derive(Clone, Debug)]
pub struct Place {
    /// A directory of its own.
    pub directory: PathBuf,
    /// Is it about whether everything works, and not about figures?
    pub quick: bool,
}

impl Place {
    /// How much of something there is in a quick run, and in another.
    pub fn pick<T>(&self, quick: T, usual: T) -> T {
        if self.quick { quick } else { usual }
    }

    /// A new, empty directory in the place of one that may have been there.
    pub fn renew(&self, name: &str) -> Result<PathBuf, Failure> {
        let directory = self.directory.join(name);
        if directory.exists() {
            std::fs::remove_dir_all(&directory)?;
        }
        std::fs::create_dir_all(&directory)?;
        Ok(directory)
    }
}

/// Prepares a workload for the engine with a name.
type Prepare = fn(&str, Place) -> Result<Box<dyn Rounds>, Failure>;

/// A workload that is not prepared yet.
#[derive(Debug)]
pub struct Plan {
    /// What it is called.
    pub name: &'static str,
    /// How many rounds there are.
    pub rounds: u64,
    /// How many a quick run has.
    pub quick_rounds: u64,
    also: &'static [&'static str],
    without: &'static [&'static str],
    prepare: Prepare,
}

impl Plan {
    const fn of<W: Workload>() -> Plan {
        Plan {
            name: W::NAME,
            rounds: W::ROUNDS,
            quick_rounds: W::QUICK_ROUNDS,
            also: W::ALSO,
            without: W::WITHOUT,
            prepare: engine::prepare::<W>,
        }
    }

    /// Who takes part.
    pub fn engines(&self) -> impl Iterator<Item = &'static str> {
        let takes_part = |name: &&str| {
            let is_usual = engine::is_in_every_workload(name) && !self.without.contains(name);
            is_usual || self.also.contains(name)
        };
        engine::names().into_iter().filter(takes_part)
    }

    /// Prepares its data for an engine.
    pub fn prepare(&self, engine: &str, place: Place) -> Result<Box<dyn Rounds>, Failure> {
        (self.prepare)(engine, place)
    }
}

/// All workloads, in the order they run.
pub const ALL: &[Plan] = &[
    Plan::of::<table::Table>(),
    Plan::of::<commits::Commits>(),
    Plan::of::<ycsb::Ycsb>(),
    Plan::of::<cached::Cached>(),
    Plan::of::<cold::Cold>(),
    Plan::of::<scans::Scans>(),
    Plan::of::<heavy::Heavy>(),
    Plan::of::<open::Open>(),
    Plan::of::<memory::Memory>(),
];

/// Their names.
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|plan| plan.name).collect()
}

/// The workload with a name.
pub fn find(name: &str) -> Result<&'static Plan, Failure> {
    let plan = ALL.iter().find(|plan| plan.name == name);
    plan.ok_or_else(|| format!("no such workload: {name}").into())
}

/// Does something on several threads, each with a session of its own and a number from 0; returns
/// what they returned.
pub fn on_threads<E: Engine, T: Send>(
    engine: &E,
    threads: u64,
    work: impl Fn(u64, &mut E::Session<'_>) -> Result<T, Failure> + Sync,
) -> Result<Vec<T>, Failure> {
    let work = &work;
    std::thread::scope(|scope| {
        let run = |thread| move || work(thread, &mut engine.session()?);
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(run(thread))).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked")?).collect()
    })
}

/// Measures how many operations there are in a second: on several threads, for `span`. Each has a
/// session of its own, and random numbers that nobody else has in any round.
pub fn rate_on_threads<E: Engine>(
    measure: impl Into<String>,
    engine: &E,
    (threads, span): (u64, Duration),
    seed: u64,
    operation: impl Fn(&mut E::Session<'_>, &mut Random) -> Result<(), Failure> + Sync,
) -> Result<Measure, Failure> {
    let started = Instant::now();
    let counts = on_threads(engine, threads, |thread, session| {
        let mut random = Random(mix(seed << 16 | thread));
        let mut count = 0;
        while started.elapsed() < span {
            // Looking at the clock takes a part of a short operation.
            for _ in 0..OPERATIONS {
                operation(session, &mut random)?;
            }
            count += OPERATIONS;
        }
        Ok(count)
    })?;
    Ok(Measure::rate(measure, counts.iter().sum(), started.elapsed()))
}

/// Operations between two looks at the clock.
const OPERATIONS: u64 = 8;

/// Reads every entry, and verifies it; returns how many there are.
pub fn verify_all<const LEN: usize>(session: &mut impl Session) -> Result<usize, Failure> {
    session.read(|reader| {
        reader.range(&[], usize::MAX, |key, value| {
            entries::verify::<LEN>(entries::number(key), value);
        })
    })
}
