//! What a lookup costs that finds everything in memory: 1,000,000 entries, one thread, one version.
//!
//! yieldb is driven in each of the ways there are: `wait`, `step`, `await`, and `wait` over
//! `pread`. They take turns of a thousand lookups in one process, so that they share its luck; each
//! looks up all keys of a round, and none that another one has just looked up.

use std::any::TypeId;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use yieldb::{Choice, Database, IOResult, MAIN, Options, Snapshot};

use super::{Place, Rounds, Workload, verify_all};
use crate::Failure;
use crate::engine::yieldb::{Wait, Yieldb};
use crate::engine::{Engine, Reader, Session, Settings};
use crate::entries::{self, Key, Random, key};
use crate::measure::Measure;

const VALUE_LEN: usize = 150;
/// Lookups of a turn.
const TURN: usize = 1_000;

/// See the module.
#[derive(Debug)]
pub struct Cached;

impl Workload for Cached {
    const NAME: &'static str = "cached";
    const QUICK_ROUNDS: u64 = 1;

    fn prepare<E: Engine>(place: Place) -> Result<Box<dyn Rounds>, Failure> {
        let size = Size { entries: place.pick(50_000, 1_000_000), turns: place.pick(40, 1_000) };
        let directory = place.renew("cached")?;
        let engine = load::<E>(&directory, size)?;
        if TypeId::of::<E>() != TypeId::of::<Yieldb<Wait>>() {
            return Ok(Box::new(Plain { engine, size }));
        }
        engine.close()?;
        let other = place.renew("cached-pread")?;
        load::<E>(&other, size)?.close()?;
        let (usual, pread) = (open(&directory, Choice::Auto)?, open(&other, Choice::Pread)?);
        Ok(Box::new(Ways { usual, pread, size }))
    }
}

/// How much of everything there is.
#[derive(Clone, Copy, Debug)]
struct Size {
    entries: u64,
    turns: usize,
}

impl Size {
    /// What is looked up in a round, turn by turn.
    fn lookups(self, round: u64) -> Vec<Lookup> {
        let mut random = Random(round);
        let numbers = std::iter::repeat_with(|| random.below(self.entries));
        numbers.take(self.turns * TURN).map(|number| (key(number), number)).collect()
    }
}

/// A key, and the number that it is made from.
type Lookup = (Key, u64);

fn load<E: Engine>(directory: &Path, size: Size) -> Result<E, Failure> {
    let engine = E::open(directory, &Settings::durable(VALUE_LEN))?;
    let mut session = engine.session()?;
    let value = |number| entries::value::<VALUE_LEN>(number, 0);
    session.load(false, (0..size.entries).map(|number| (key(number), value(number))))?;
    assert_eq!(verify_all::<VALUE_LEN>(&mut session)?, size.entries as usize);
    drop(session);
    Ok(engine)
}

/// Asserts that there is something, and what.
fn verify<V: AsRef<[u8]>>(number: u64, found: Option<V>) {
    let found = found.unwrap_or_else(|| panic!("entry {number} is missing"));
    assert_eq!(entries::verify::<VALUE_LEN>(number, found.as_ref()), 0, "nothing was overwritten");
}

/// An engine with one way.
struct Plain<E> {
    engine: E,
    size: Size,
}

impl<E: Engine> Rounds for Plain<E> {
    fn round(&mut self, round: u64) -> Result<Vec<Measure>, Failure> {
        let lookups = self.size.lookups(round);
        let measure = Measure::time("get", lookups.len() as u64, || {
            self.engine.session()?.read(|reader| {
                for (key, number) in &lookups {
                    let found = reader.get(key, |found| verify(*number, Some(found)))?;
                    assert!(found.is_some(), "entry {number} is missing");
                }
                Ok(())
            })
        })?;
        Ok(vec![measure])
    }
}

fn open(directory: &Path, io: Choice) -> Result<Database, Failure> {
    let options = Options::new().io(io).cache_bytes(Settings::durable(VALUE_LEN).cache_bytes);
    let database = options.open(directory.join("bench.db")).wait()?;
    // Everything is in memory then.
    let snapshot = database.snapshot();
    let mut cursor = snapshot.cursor(MAIN, yieldb::KeyRange::all());
    while cursor.next().wait()?.is_some() {}
    drop(cursor);
    Ok(database)
}

/// yieldb, with two databases of the same entries.
struct Ways {
    usual: Database,
    pread: Database,
    size: Size,
}

/// Looks up a turn's keys, in one way.
type Way = fn(&Snapshot, &[Lookup]) -> yieldb::Result<()>;

impl Rounds for Ways {
    fn round(&mut self, round: u64) -> Result<Vec<Measure>, Failure> {
        let lookups = self.size.lookups(round);
        let (usual, pread) = (self.usual.snapshot(), self.pread.snapshot());
        let ways: [(&str, &Snapshot, Way); 4] = [
            ("get", &usual, by_wait),
            ("get, step", &usual, by_step),
            ("get, await", &usual, by_await),
            ("get, pread", &pread, by_wait),
        ];
        let (turns, apart) = (self.size.turns, self.size.turns / ways.len());
        let mut took = ways.map(|_| Duration::ZERO);
        for turn in 0..turns {
            for place in 0..ways.len() {
                // Nobody is always behind the same one.
                let index = (turn + place) % ways.len();
                let (_, snapshot, way) = ways[index];
                let first = (turn + index * apart) % turns * TURN;
                let started = Instant::now();
                way(snapshot, &lookups[first..first + TURN])?;
                took[index] += started.elapsed();
            }
        }
        let count = lookups.len() as u64;
        let measures = ways.iter().zip(took);
        Ok(measures.map(|((name, ..), took)| Measure::rate(*name, count, took)).collect())
    }
}

fn by_wait(snapshot: &Snapshot, lookups: &[Lookup]) -> yieldb::Result<()> {
    for (key, number) in lookups {
        verify(*number, snapshot.get(MAIN, key).wait()?.as_deref());
    }
    Ok(())
}

fn by_step(snapshot: &Snapshot, lookups: &[Lookup]) -> yieldb::Result<()> {
    for (key, number) in lookups {
        match snapshot.get(MAIN, key).step()? {
            IOResult::Done(found) => verify(*number, found.as_deref()),
            IOResult::IO(_) => panic!("entry {number} is not in memory"),
        }
    }
    Ok(())
}

fn by_await(snapshot: &Snapshot, lookups: &[Lookup]) -> yieldb::Result<()> {
    block_on(async {
        for (key, number) in lookups {
            verify(*number, snapshot.get(MAIN, key).await?.as_deref());
        }
        Ok(())
    })
}
