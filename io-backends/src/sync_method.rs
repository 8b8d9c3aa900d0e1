//! How durable writes are made: which of two ways is quicker is found out from those of the engine
//! itself, for each open file.
//!
//! ```text
//!   0        WARM_UP                                    both have SAMPLES
//!   | usual  | usual x RUN, other x RUN, usual x RUN, ... | the one that is quicker
//! ```
//!
//! Devices differ in either direction: one that has a write cache and can write past it makes a
//! write durable by itself with one command, where a flush of the cache would write all of it; one
//! that cannot gets the same two commands either way. The other way has to be clearly quicker to be
//! chosen. What is measured is from the first attempt up to the end, so a file with several durable
//! writes in flight is judged by what it does with several.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use yieldb_core::sync::atomic::{AtomicU32, Ordering};
use yieldb_core::sync::{Mutex, PoisonError};
use yieldb_core::{DurableWrites, SyncMethod};

/// How many durable writes of a file come before those that are measured.
const WARM_UP: u32 = 16;

/// How many are made in one way before it is the other one's turn.
const RUN: u32 = 4;

/// How many of each way are measured.
const SAMPLES: usize = 16;

/// Which way durable writes of a file are made.
#[derive(Debug)]
pub(crate) struct MethodChoice {
    usual: SyncMethod,
    /// How many were begun, while that counts.
    begun: AtomicU32,
    samples: Mutex<Samples>,
    chosen: OnceLock<DurableWrites>,
}

/// How long the measured ones took: those of the usual way, and of the other one.
#[derive(Debug, Default)]
struct Samples {
    usual: Vec<Duration>,
    other: Vec<Duration>,
}

/// A durable write under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// How it is made.
    pub method: SyncMethod,
    /// When it began, if it is measured.
    began: Option<Instant>,
}

impl MethodChoice {
    /// Nothing is known yet: the `usual` way.
    pub fn new(usual: SyncMethod) -> MethodChoice {
        MethodChoice {
            usual,
            begun: AtomicU32::new(0),
            samples: Mutex::default(),
            chosen: OnceLock::new(),
        }
    }

    /// A durable write begins.
    pub fn begin(&self) -> Attempt {
        if let Some(chosen) = self.chosen.get() {
            return Attempt { method: chosen.method, began: None };
        }
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        match number.checked_sub(WARM_UP) {
            None => Attempt { method: self.usual, began: None },
            Some(measured) => {
                let is_other = measured / RUN % 2 == 1;
                let method = if is_other { other_than(self.usual) } else { self.usual };
                Attempt { method, began: Some(Instant::now()) }
            }
        }
    }

    /// It ended well.
    pub fn end(&self, attempt: Attempt) {
        if let Some(began) = attempt.began {
            self.note(attempt.method, began.elapsed());
        }
    }

    fn note(&self, method: SyncMethod, elapsed: Duration) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let own = if method == self.usual { &mut samples.usual } else { &mut samples.other };
        if own.len() < SAMPLES {
            own.push(elapsed);
        }
        if samples.usual.len() < SAMPLES || samples.other.len() < SAMPLES {
            return;
        }
        let (usual, other) = (median(&mut samples.usual), median(&mut samples.other));
        let is_other = other < usual - usual / 8;
        let method = if is_other { other_than(self.usual) } else { self.usual };
        let (write, write_and_sync) = match self.usual {
            SyncMethod::DurableWrite => (usual, other),
            SyncMethod::WriteAndSync => (other, usual),
        };
        let medians = Some((write, write_and_sync));
        if self.chosen.set(DurableWrites { method, medians }).is_ok() {
            tracing::debug!(?method, ?write, ?write_and_sync, "how durable writes are made");
        }
    }

    /// What is known.
    pub fn known(&self) -> DurableWrites {
        let unknown = DurableWrites { method: self.usual, medians: None };
        self.chosen.get().copied().unwrap_or(unknown)
    }
}

fn other_than(method: SyncMethod) -> SyncMethod {
    match method {
        SyncMethod::DurableWrite => SyncMethod::WriteAndSync,
        SyncMethod::WriteAndSync => SyncMethod::DurableWrite,
    }
}

fn median(samples: &mut [Duration]) -> Duration {
    samples.sort_unstable();
    samples[samples.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes so many durable writes, which take as long as `cost` says, and returns their ways.
    fn write(
        choice: &MethodChoice,
        count: u32,
        cost: impl Fn(SyncMethod) -> u64,
    ) -> Vec<SyncMethod> {
        let write = |_| {
            let attempt = choice.begin();
            if attempt.began.is_some() {
                choice.note(attempt.method, Duration::from_micros(cost(attempt.method)));
            }
            attempt.method
        };
        (0..count).map(write).collect()
    }

    const USUAL: SyncMethod = SyncMethod::DurableWrite;
    const OTHER: SyncMethod = SyncMethod::WriteAndSync;

    #[test]
    fn both_ways_are_tried_and_the_quicker_one_is_kept() {
        for (costs, expected) in
            [((200, 100), OTHER), ((100, 200), USUAL), ((100, 95), USUAL), ((100, 100), USUAL)]
        {
            let cost = |method| if method == USUAL { costs.0 } else { costs.1 };
            let choice = MethodChoice::new(USUAL);
            assert_eq!(write(&choice, WARM_UP, cost), vec![USUAL; WARM_UP as usize]);
            assert_eq!(choice.known(), DurableWrites { method: USUAL, medians: None });
            let tried = write(&choice, 2 * SAMPLES as u32, cost);
            assert_eq!(tried.iter().filter(|method| **method == OTHER).count(), SAMPLES);
            assert_eq!(tried[..8], [[USUAL; 4], [OTHER; 4]].concat());
            let micros = Duration::from_micros;
            let medians = Some((micros(costs.0), micros(costs.1)));
            assert_eq!(choice.known(), DurableWrites { method: expected, medians });
            assert_eq!(write(&choice, 50, |_| 1), vec![expected; 50]);
        }
    }

    #[test]
    fn what_took_long_once_decides_nothing() {
        let choice = MethodChoice::new(OTHER);
        let began = std::cell::Cell::new(0);
        let cost = |method| {
            began.set(began.get() + 1);
            if method == USUAL && began.get() % 3 == 0 { 100_000 } else { 100 }
        };
        write(&choice, WARM_UP + 2 * SAMPLES as u32, cost);
        assert_eq!(choice.known().method, OTHER);
        assert!(choice.known().medians.is_some_and(|(write, _)| write < Duration::from_millis(1)));
    }
}
