//! Durable commits of one put each, to entries that are there and in memory: on 1 to 64 threads,
//! and, where an engine can do that, with up to 256 under way on one thread. Beside them the
//! device: a bare ring that overwrites blocks of a file, each with a sync (`RWF_DSYNC`), one at a
//! time.

use std::time::{Duration, Instant};

use super::{Place, Rounds, Workload, rate_on_threads, verify_all};
use crate::Failure;
use crate::device::Overwrites;
use crate::engine::{DEVICE, Engine, Session, Settings};
use crate::entries::{self, Random, key, mix};
use crate::measure::Measure;

const VALUE_LEN: usize = 150;
/// How many threads commit.
const THREADS: [u64; 4] = [1, 2, 8, 64];
/// How many commits are under way on one thread.
const UNDER_WAY: [usize; 5] = [1, 4, 16, 64, 256];

/// See the module.
#[derive(Debug)]
pub struct Commits;

impl Workload for Commits {
    const NAME: &'static str = "commits";
    const ROUNDS: u64 = 9;
    const ALSO: &'static [&'static str] = &["yieldb-step", "yieldb-await", "yieldb-pread", DEVICE];

    fn prepare<E: Engine>(place: Place) -> Result<Box<dyn Rounds>, Failure> {
        let entries = place.pick(100_000, 1_000_000);
        let engine = E::open(&place.renew("commits")?, &Settings::durable(VALUE_LEN))?;
        let mut session = engine.session()?;
        session.load(false, (0..entries).map(|number| (key(number), value(number, 0))))?;
        assert_eq!(verify_all::<VALUE_LEN>(&mut session)?, entries as usize);
        drop(session);
        Ok(Box::new(Prepared { engine, entries, span: span(&place) }))
    }

    fn prepare_device(place: Place) -> Result<Box<dyn Rounds>, Failure> {
        let overwrites = Overwrites::new(&place.directory.join("blocks"))?;
        Ok(Box::new(Device { overwrites, span: span(&place) }))
    }
}

/// How long each thing is done.
fn span(place: &Place) -> Duration {
    Duration::from_millis(place.pick(100, 1_000))
}

fn value(number: u64, edition: u64) -> [u8; VALUE_LEN] {
    entries::value(number, edition)
}

struct Prepared<E> {
    engine: E,
    entries: u64,
    span: Duration,
}

impl<E: Engine> Rounds for Prepared<E> {
    fn round(&mut self, round: u64) -> Result<Vec<Measure>, Failure> {
        let mut measures = self.put_under_way(round)?;
        if measures.is_empty() {
            measures = self.put_on_threads(round)?;
        }
        let count = verify_all::<VALUE_LEN>(&mut self.engine.session()?)?;
        assert_eq!(count, self.entries as usize, "nothing was added");
        Ok(measures)
    }
}

impl<E: Engine> Prepared<E> {
    fn put_on_threads(&self, round: u64) -> Result<Vec<Measure>, Failure> {
        let put = |session: &mut E::Session<'_>, random: &mut Random| {
            let number = random.below(self.entries);
            session.put(&key(number), &value(number, round))
        };
        let measure = |threads| {
            let name = format!("threads: {threads}");
            rate_on_threads(name, &self.engine, (threads, self.span), round, put)
        };
        THREADS.into_iter().map(measure).collect()
    }

    /// Nothing, where the engine cannot do that.
    fn put_under_way(&self, round: u64) -> Result<Vec<Measure>, Failure> {
        let mut session = self.engine.session()?;
        let mut random = Random(mix(round));
        let mut measures = Vec::new();
        for depth in UNDER_WAY {
            // So many that the last ones, with fewer and fewer under way, do not count much.
            let some = 512 + 64 * depth;
            let (mut count, started) = (0, Instant::now());
            while started.elapsed() < self.span {
                let numbers = std::iter::repeat_with(|| random.below(self.entries)).take(some);
                let entries = numbers.map(|number| (key(number), value(number, round)));
                if !session.put_many(entries, depth)? {
                    return Ok(Vec::new());
                }
                count += some as u64;
            }
            measures.push(Measure::rate(
                format!("under way on one thread: {depth}"),
                count,
                started.elapsed(),
            ));
        }
        Ok(measures)
    }
}

struct Device {
    overwrites: Overwrites,
    span: Duration,
}

impl Rounds for Device {
    fn round(&mut self, _round: u64) -> Result<Vec<Measure>, Failure> {
        let measure = |(name, sleeps)| {
            let (mut count, started) = (0, Instant::now());
            while started.elapsed() < self.span {
                self.overwrites.write(sleeps)?;
                count += 1;
            }
            Ok(Measure::rate(name, count, started.elapsed()))
        };
        [("one write, asleep", true), ("one write, looking", false)]
            .map(measure)
            .into_iter()
            .collect()
    }
}
