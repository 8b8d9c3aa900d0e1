//! Overwriting at random what is ten times as large as the cache: 2,560,000 entries of 500 bytes, a
//! cache of 128 MiB, and 384 MiB of memory for the process, the kernel's cache of its files
//! included; durable transactions of 100, one after the other.
//!
//! The database stays open from round to round, so that what an engine puts off has to be done in
//! some round; and what one has put off before the first round is what the loading left.

use std::time::{Duration, Instant};

use super::{Place, Rounds, Workload, verify_all};
use crate::engine::{Engine, Session, Settings};
use crate::entries::{self, KEY_LEN, Random, key, mix};
use crate::measure::{Measure, Unit, median, percentile};
use crate::resources::{self, Transfer};
use crate::{Failure, anew};

const VALUE_LEN: usize = 476;
/// Puts of a transaction.
const BATCH: u64 = 100;

/// See the module.
#[derive(Debug)]
pub struct Heavy;

impl Workload for Heavy {
    const NAME: &'static str = "heavy";
    const ROUNDS: u64 = 4;
    const QUICK_ROUNDS: u64 = 1;
    /// It would take 24 GB of memory to load them.
    const WITHOUT: &'static [&'static str] = &["sled"];

    fn prepare<E: Engine>(place: Place) -> Result<Box<dyn Rounds>, Failure> {
        resources::take_one_arena()?;
        let entries = place.pick(80_000, 2_560_000);
        let cache_bytes = place.pick(8 << 20, 128 << 20);
        let settings = Settings { cache_bytes, cold: true, ..Settings::durable(VALUE_LEN) };
        let value = |number| value(number, 0);
        let directory = anew::loaded::<E, _>(&place, &settings, false, entries, value)?;
        resources::drop_cached(&directory)?;
        let limit = resources::limit_memory(place.pick(128 << 20, 384 << 20));
        let engine = E::open(&directory, &settings)?;
        let span = Duration::from_millis(place.pick(200, 20_000));
        Ok(Box::new(Prepared { engine, entries, span, limit }))
    }
}

fn value(number: u64, edition: u64) -> [u8; VALUE_LEN] {
    entries::value(number, edition)
}

struct Prepared<E> {
    engine: E,
    entries: u64,
    /// How long a round is.
    span: Duration,
    limit: Measure,
}

impl<E: Engine> Rounds for Prepared<E> {
    fn round(&mut self, round: u64) -> Result<Vec<Measure>, Failure> {
        let mut session = self.engine.session()?;
        let mut random = Random(mix(round));
        let (mut batches, before) = (Vec::new(), Transfer::now()?);
        let started = Instant::now();
        while started.elapsed() < self.span {
            let begun = Instant::now();
            session.put_all((0..BATCH).map(|_| {
                let number = random.below(self.entries);
                (key(number), value(number, round))
            }))?;
            batches.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        let took = started.elapsed();
        let written = Transfer::since(before)?.written;
        let puts = batches.len() as u64 * BATCH;
        let data = puts * (KEY_LEN + VALUE_LEN) as u64;
        let seen = verify_all::<VALUE_LEN>(&mut session)?;
        assert_eq!(seen, self.entries as usize, "nothing was added");
        let middle = median(&mut batches).ok_or("no batches")?;
        let late = percentile(&mut batches, 0.999).ok_or("no batches")?;
        Ok(vec![
            Measure::rate("overwrites, 100 in one", puts, took),
            Measure::of("a batch, median", middle, Unit::Microseconds),
            Measure::of("a batch, 99.9 %", late, Unit::Microseconds),
            Measure::of("bytes written for a byte", written as f64 / data as f64, Unit::Times),
            self.limit.clone(),
        ])
    }
}
