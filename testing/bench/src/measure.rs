//! What is measured.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Failure;

/// One thing that was measured, once.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Measure {
    /// What: the same words in each round, and for each engine.
    pub measure: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: Unit,
    /// How often the thing was done, where `value` comes from that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// How long that took, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// What a value counts.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Things a second: more is better.
    PerSecond,
    /// Bytes a second: more is better.
    BytesPerSecond,
    /// Bytes: fewer are better.
    Bytes,
    /// Microseconds: fewer are better.
    Microseconds,
    /// Times something, a ratio: less is better.
    Times,
}

impl Unit {
    /// Is more of it better?
    pub fn is_better_if_more(self) -> bool {
        matches!(self, Unit::PerSecond | Unit::BytesPerSecond)
    }
}

impl Measure {
    /// `count` things were done, and took so long.
    pub fn rate(measure: impl Into<String>, count: u64, took: Duration) -> Measure {
        let seconds = took.as_secs_f64();
        let value = count as f64 / seconds;
        let (count, seconds) = (Some(count), Some(seconds));
        Measure { measure: measure.into(), value, unit: Unit::PerSecond, count, seconds }
    }

    /// So many bytes were moved, and took so long.
    pub fn bytes_rate(measure: impl Into<String>, bytes: u64, took: Duration) -> Measure {
        Measure { unit: Unit::BytesPerSecond, ..Measure::rate(measure, bytes, took) }
    }

    /// Something of one value.
    pub fn of(measure: impl Into<String>, value: f64, unit: Unit) -> Measure {
        Measure { measure: measure.into(), value, unit, count: None, seconds: None }
    }

    /// Does something that is `count` things, and measures how many a second those are.
    pub fn time(
        measure: impl Into<String>,
        count: u64,
        work: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<Measure, Failure> {
        let started = Instant::now();
        work()?;
        Ok(Measure::rate(measure, count, started.elapsed()))
    }
}

/// The value that `part` of the values are below; `None` if there are none.
pub fn percentile(values: &mut [f64], part: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get((values.len().saturating_sub(1) as f64 * part) as usize).copied()
}

/// The value in the middle; `None` if there are none.
pub fn median(values: &mut [f64]) -> Option<f64> {
    percentile(values, 0.5)
}

/// How much of the disk the files below a directory take, in bytes.
pub fn disk_bytes(directory: &Path) -> Result<u64, Failure> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += match metadata.is_dir() {
            true => disk_bytes(&entry.path())?,
            false => metadata.blocks() * 512,
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_values() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut []), None);
        assert_eq!(percentile(&mut [1.0, 2.0, 3.0, 4.0, 5.0], 1.0), Some(5.0));
    }
}
