//! Time, as the engine is told it.

use std::time::{Duration, Instant};

/// A monotonic clock. The engine never asks the operating system for the time itself, so that a
/// simulation can decide it.
pub trait Clock: Send + Sync {
    /// The time since an arbitrary fixed moment. Never goes back.
    fn now(&self) -> Duration;
}

/// The operating system's monotonic clock, counted from the moment this value was made.
#[derive(Clone, Copy, Debug)]
pub struct MonotonicClock {
    start: Instant,
}

impl Default for MonotonicClock {
    fn default() -> Self {
        MonotonicClock { start: Instant::now() }
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}
