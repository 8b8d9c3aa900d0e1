//! One engine and one workload: a process that measures a round whenever it is told to.
//!
//! ```text
//!   started -> prepares -> "ready"
//!   "3"     -> round 3  -> {"measures": [..]} or {"failure": ".."}
//!   end of input -> ends
//! ```

use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::arguments::Task;
use crate::measure::{Measure, Unit};
use crate::workload::{self, Place};
use crate::{Failure, process};

/// The measure of the most memory that the work took; this process's, if a round has no other.
pub const PEAK: &str = "memory, at most";

/// What a worker says when it has prepared its data.
pub const READY: &str = "ready";

/// What a worker says of a round.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// What it measured.
    Measures(Vec<Measure>),
    /// Why it could not.
    Failure(String),
}

/// Prepares, and measures as long as somebody asks for it.
pub fn work(task: &Task) -> Result<(), Failure> {
    process::end_with_parent()?;
    let place = Place { directory: task.directory.clone(), quick: task.quick };
    std::fs::create_dir_all(&place.directory)?;
    let mut rounds = workload::find(&task.workload)?.prepare(&task.engine, place)?;
    say(READY)?;
    for line in std::io::stdin().lock().lines() {
        let round = line?.parse()?;
        let measured = rounds.round(round).and_then(|mut measures| {
            if measures.iter().all(|measure| measure.measure != PEAK) {
                let peak = process::peak_memory()? as f64;
                measures.push(Measure::of(PEAK, peak, Unit::Bytes));
            }
            Ok(measures)
        });
        let answer =
            measured.map_or_else(|failure| Answer::Failure(failure.to_string()), Answer::Measures);
        say(&serde_json::to_string(&answer)?)?;
    }
    Ok(())
}

fn say(line: &str) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}")?;
    Ok(output.flush()?)
}
