//! The command line.

use std::path::PathBuf;

use crate::{Failure, engine, workload};

/// What can be said on the command line.
pub const USAGE: &str = "\
bench run [--quick] [--only WORKLOAD,..] [--engines ENGINE,..] [--directory D] [--record R]
    measures what the record R does not have yet; files of databases are below D
bench report R
    makes the table and the plots of a record";

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Command {
    /// Measure.
    Run(Wanted),
    /// Report what a record has.
    Report(PathBuf),
    /// Be one of the processes that measure.
    Worker(Task),
}

/// What is to be measured, and where.
#[derive(Debug, Default, PartialEq)]
pub struct Wanted {
    /// Few entries and few rounds.
    pub quick: bool,
    /// The names of the workloads; none: all.
    pub workloads: Vec<String>,
    /// The names of the engines; none: all.
    pub engines: Vec<String>,
    /// Where the databases are.
    pub directory: Option<PathBuf>,
    /// Where the record is.
    pub record: Option<PathBuf>,
}

/// What one process measures.
#[derive(Debug, PartialEq)]
pub struct Task {
    /// The engine's name.
    pub engine: String,
    /// The workload's name.
    pub workload: String,
    /// Where the database is.
    pub directory: PathBuf,
    /// Few entries and few rounds.
    pub quick: bool,
}

/// Reads the arguments behind the program's name.
pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Command, Failure> {
    let mut arguments = arguments;
    let mut next = || arguments.next();
    let mut need = |what: &str| next().ok_or_else(|| format!("{what} is missing"));
    match need("a command")?.as_str() {
        "run" => Ok(Command::Run(parse_run(next)?)),
        "report" => Ok(Command::Report(need("a record")?.into())),
        "worker" => {
            let (engine, workload) = (need("an engine")?, need("a workload")?);
            let directory = need("a directory")?.into();
            let quick = next().is_some_and(|argument| argument == "--quick");
            Ok(Command::Worker(Task { engine, workload, directory, quick }))
        }
        other => Err(format!("no such command: {other}").into()),
    }
}

fn parse_run(mut next: impl FnMut() -> Option<String>) -> Result<Wanted, Failure> {
    let mut wanted = Wanted::default();
    while let Some(option) = next() {
        if option == "--quick" {
            wanted.quick = true;
            continue;
        }
        let value = next().ok_or_else(|| format!("{option} takes a value"))?;
        match option.as_str() {
            "--only" => wanted.workloads = names(&value, &workload::names())?,
            "--engines" => wanted.engines = names(&value, &engine::names())?,
            "--directory" => wanted.directory = Some(value.into()),
            "--record" => wanted.record = Some(value.into()),
            _ => return Err(format!("no such option: {option}").into()),
        }
    }
    Ok(wanted)
}

/// The names in a list, all of which have to be `known`.
fn names(list: &str, known: &[&str]) -> Result<Vec<String>, Failure> {
    let names: Vec<String> = list.split(',').map(str::to_owned).collect();
    match names.iter().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(format!("{name} is none of: {}", known.join(", ")).into()),
        None => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, Failure> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_run_takes_options() {
        let Ok(Command::Run(wanted)) = parsed("run --quick --only table --record r") else {
            panic!("not a run");
        };
        assert!(wanted.quick);
        assert_eq!(wanted.workloads, ["table"]);
        assert_eq!(wanted.record, Some("r".into()));
        assert_eq!(wanted.engines, [""; 0]);
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for line in ["", "fly", "run --only flying", "run --engines", "run --fly high"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
