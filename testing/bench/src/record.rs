//! What was measured, by date and machine, in a directory:
//!
//! ```text
//!   record.json  the machine, the versions, and whether everything was measured
//!   runs.jsonl   each measure of each round, in the order they came
//!   table.md     and *.svg: the report
//! ```

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::machine::{self, Machine};
use crate::measure::Measure;
use crate::{Failure, engine};

/// What stands in `record.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Description {
    /// Where it was measured.
    pub machine: Machine,
    /// The day it began.
    pub date: String,
    /// The commit of this project when it began; each line has its own.
    pub commit: String,
    /// The version of each package that is measured.
    pub versions: BTreeMap<String, String>,
    /// Few entries and few rounds: figures that say that it works, and not more.
    pub quick: bool,
    /// Everything was measured, with all engines of then.
    pub finished: bool,
}

/// A line of `runs.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// Which workload.
    pub workload: String,
    /// Which engine.
    pub engine: String,
    /// Which round, from 1.
    pub round: u64,
    /// When it was over.
    pub date: String,
    /// The short name of the machine.
    pub machine: String,
    /// The commit of this project.
    #[serde(default)]
    pub commit: String,
    /// How many threads of others ran when the round began.
    #[serde(default)]
    pub others: u64,
    /// What was measured.
    #[serde(flatten)]
    pub measure: Measure,
}

#[cfg(test)]
impl Line {
    /// A line that nobody measured.
    pub fn made_up(
        workload: &str,
        engine: &str,
        round: u64,
        measure: &str,
        value: f64,
        unit: crate::measure::Unit,
    ) -> Line {
        Line {
            workload: workload.to_owned(),
            engine: engine.to_owned(),
            round,
            date: String::new(),
            machine: String::new(),
            commit: String::new(),
            others: 0,
            measure: Measure::of(measure, value, unit),
        }
    }
}

/// A record that is made, or read.
#[derive(Debug)]
pub struct Record {
    /// Where it is.
    pub directory: PathBuf,
    /// What figures depend on.
    pub description: Description,
    /// What was measured.
    pub lines: Vec<Line>,
    /// The commit that is measured now, asked for when something is.
    commit: LazyCell<String>,
}

impl Record {
    fn new(directory: PathBuf, description: Description, lines: Vec<Line>) -> Record {
        Record { directory, description, lines, commit: LazyCell::new(machine::commit) }
    }

    /// Reads a record.
    pub fn read(directory: &Path) -> Result<Record, Failure> {
        let described = fs::read_to_string(directory.join("record.json"))
            .map_err(|error| format!("no record in {}: {error}", directory.display()))?;
        let mut lines = Vec::new();
        for line in read_if_any(&directory.join("runs.jsonl"))?.lines() {
            lines.push(serde_json::from_str(line)?);
        }
        let description = serde_json::from_str(&described)?;
        Ok(Record::new(directory.to_path_buf(), description, lines))
    }

    /// Reads the record in `directory`, or begins it. Without a directory it is the last one of
    /// this machine that is not finished, or one of today.
    pub fn open(
        directory: Option<&Path>,
        machine: Machine,
        quick: bool,
    ) -> Result<Record, Failure> {
        let directory = match directory {
            Some(directory) => directory.to_path_buf(),
            None => usual(&machine, quick)?,
        };
        if directory.join("record.json").exists() {
            let record = Record::read(&directory)?;
            if record.description.quick != quick {
                let place = directory.display();
                return Err(format!("{place} is a record of the other length (--quick)").into());
            }
            return Ok(record);
        }
        let versions = engine::packages().filter_map(|package| {
            Some((package.to_owned(), machine::version(package)?.to_owned()))
        });
        let description = Description {
            machine,
            date: machine::now()[..10].to_owned(),
            commit: machine::commit(),
            versions: versions.collect(),
            quick,
            finished: false,
        };
        fs::create_dir_all(&directory)?;
        let record = Record::new(directory, description, Vec::new());
        record.describe()?;
        Ok(record)
    }

    fn describe(&self) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(&self.description)? + "\n";
        Ok(fs::write(self.directory.join("record.json"), text)?)
    }

    /// Everything was measured: the next run begins another record.
    pub fn finish(&mut self) -> Result<(), Failure> {
        self.description.finished = true;
        self.describe()
    }

    /// The rounds of a workload that an engine has behind it.
    pub fn rounds(&self, workload: &str, engine: &str) -> BTreeSet<u64> {
        let of = |line: &&Line| line.workload == workload && line.engine == engine;
        self.lines.iter().filter(of).map(|line| line.round).collect()
    }

    /// Writes down what a round measured beside so many threads of others: all of it, or nothing.
    pub fn add(
        &mut self,
        workload: &str,
        engine: &str,
        round: u64,
        (others, measures): (u64, Vec<Measure>),
    ) -> Result<(), Failure> {
        let (date, machine) = (machine::now(), self.description.machine.name());
        let mut text = String::new();
        for measure in measures {
            let line = Line {
                workload: workload.to_owned(),
                engine: engine.to_owned(),
                round,
                date: date.clone(),
                machine: machine.clone(),
                commit: self.commit.clone(),
                others,
                measure,
            };
            text += &serde_json::to_string(&line)?;
            text.push('\n');
            self.lines.push(line);
        }
        let mut file = append_to(&self.directory.join("runs.jsonl"))?;
        Ok(file.write_all(text.as_bytes())?)
    }
}

fn append_to(path: &Path) -> Result<File, Failure> {
    Ok(OpenOptions::new().create(true).append(true).open(path)?)
}

fn read_if_any(path: &Path) -> Result<String, Failure> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        read => Ok(read?),
    }
}

/// The record to go on with, or a new one.
fn usual(machine: &Machine, quick: bool) -> Result<PathBuf, Failure> {
    let parent = Path::new(env!("CARGO_MANIFEST_DIR")).join("record");
    fs::create_dir_all(&parent)?;
    let end = format!("-{}{}", machine.name(), if quick { "-quick" } else { "" });
    let mut unfinished = Vec::new();
    for entry in fs::read_dir(&parent)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(&end)
            && Record::read(&path).is_ok_and(|record| !record.description.finished)
        {
            unfinished.push(path);
        }
    }
    Ok(unfinished.into_iter().max().unwrap_or_else(|| parent.join(new_name(&parent, &end))))
}

/// A name with today's date that is not taken.
fn new_name(parent: &Path, end: &str) -> String {
    let today = &machine::now()[..10];
    let names = (1..).map(|number| match number {
        1 => format!("{today}{end}"),
        _ => format!("{today}-{number}{end}"),
    });
    names.into_iter().find(|name| !parent.join(name).exists()).expect("there is no end of names")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Unit;

    #[test]
    fn a_record_goes_on() -> Result<(), Failure> {
        let place = tempfile::tempdir()?;
        let open = |quick| Record::open(Some(place.path()), Machine::here(place.path()), quick);
        let measures = vec![Measure::of("get", 0.1, Unit::Microseconds)];
        open(true)?.add("table", "redb", 2, (1, measures.clone()))?;
        let mut record = open(true)?;
        assert_eq!(record.rounds("table", "redb"), BTreeSet::from([2]));
        assert_eq!(record.rounds("table", "lmdb"), BTreeSet::new());
        assert_eq!(record.lines[0].measure, measures[0]);
        assert!(!record.description.finished);
        record.finish()?;
        assert!(open(true)?.description.finished);
        assert!(open(false).is_err(), "quick and long rounds do not mix");
        Ok(())
    }
}
