//! Lets the workers take turns, and writes down what they measure.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::arguments::Wanted;
use crate::machine::Machine;
use crate::measure::Measure;
use crate::record::Record;
use crate::worker::{Answer, READY};
use crate::workload::{self, Plan};
use crate::{Failure, process, report, resources};

/// Measures what is wanted and not yet in the record.
pub fn run(wanted: &Wanted) -> Result<(), Failure> {
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/data");
    let directory = wanted.directory.clone().unwrap_or_else(usual);
    fs::create_dir_all(&directory)?;
    let here = Machine::here(&directory);
    let mut record = Record::open(wanted.record.as_deref(), here, wanted.quick)?;
    println!("the record is {}", record.directory.display());
    let mut failures = 0;
    for plan in workload::ALL {
        if wanted.workloads.is_empty() || wanted.workloads.iter().any(|name| name == plan.name) {
            failures += take_turns(plan, wanted, &directory, &mut record)?;
            resources::remove_groups();
        }
    }
    report::report(&record.directory)?;
    if failures > 0 {
        return Err(format!("{failures} engines failed; run it again to go on").into());
    }
    if wanted.workloads.is_empty() && wanted.engines.is_empty() {
        record.finish()?;
    }
    Ok(())
}

/// Runs the rounds of a workload that are missing; returns how many engines failed.
fn take_turns(
    plan: &Plan,
    wanted: &Wanted,
    directory: &Path,
    record: &mut Record,
) -> Result<usize, Failure> {
    let rounds = if wanted.quick { plan.quick_rounds } else { plan.rounds };
    let mut failures = 0;
    let mut workers = Vec::new();
    let is_wanted = |name: &str| {
        wanted.engines.is_empty() || wanted.engines.iter().any(|engine| engine == name)
    };
    for engine in plan.engines().filter(|name| is_wanted(name)) {
        let done = record.rounds(plan.name, engine);
        let missing: BTreeSet<u64> = (1..=rounds).filter(|round| !done.contains(round)).collect();
        if missing.is_empty() {
            continue;
        }
        println!("{}: {engine} prepares", plan.name);
        match Worker::start(plan.name, engine, directory, wanted.quick) {
            Ok(worker) => workers.push((worker, missing)),
            Err(failure) => failures += complain(plan.name, engine, &failure),
        }
    }
    for round in 1..=rounds {
        // Nobody is always the first one, or always behind the same one's work.
        let first = 1.min(workers.len());
        workers.rotate_left(first);
        let mut others = Vec::new();
        for (mut worker, missing) in workers {
            if missing.contains(&round) {
                match worker.round(round) {
                    Ok(measured) => {
                        tell(plan.name, worker.engine, round, &measured.1);
                        record.add(plan.name, worker.engine, round, measured)?;
                    }
                    Err(failure) => {
                        failures += complain(plan.name, worker.engine, &failure);
                        continue;
                    }
                }
            }
            others.push((worker, missing));
        }
        workers = others;
    }
    Ok(failures)
}

fn complain(workload: &str, engine: &str, failure: &Failure) -> usize {
    eprintln!("{workload}: {engine} failed: {failure}");
    1
}

fn tell(workload: &str, engine: &str, round: u64, measures: &[Measure]) {
    println!("{workload}: {engine}, round {round}");
    for Measure { measure, value, unit, .. } in measures {
        println!("    {measure}: {value:.1} {unit:?}");
    }
}

/// A process that measures one engine, and is stopped while it is not its turn.
struct Worker {
    engine: &'static str,
    directory: PathBuf,
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts it, and waits until it has prepared its data.
    fn start(
        workload: &str,
        engine: &'static str,
        parent: &Path,
        quick: bool,
    ) -> Result<Worker, Failure> {
        let directory = parent.join(format!("{workload}-{engine}"));
        remove(&directory)?;
        let mut process = Command::new(std::env::current_exe()?)
            .args(["worker", engine, workload])
            .arg(&directory)
            .args(quick.then_some("--quick"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(commands), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            unreachable!("both are pipes");
        };
        let answers = BufReader::new(answers);
        let mut worker = Worker { engine, directory, process, commands, answers };
        let first = worker.listen()?;
        if first != READY {
            return Err(format!("it said {first:?} instead of {READY:?}").into());
        }
        process::stop(&worker.process)?;
        Ok(worker)
    }

    /// Lets it measure a round; tells how many threads of others ran before, too.
    fn round(&mut self, round: u64) -> Result<(u64, Vec<Measure>), Failure> {
        process::write_everything_out();
        let others = process::others_running()?;
        process::resume(&self.process)?;
        writeln!(self.commands, "{round}")?;
        let answer = serde_json::from_str(&self.listen()?)?;
        process::stop(&self.process)?;
        match answer {
            Answer::Measures(measures) => Ok((others, measures)),
            Answer::Failure(failure) => Err(failure.into()),
        }
    }

    fn listen(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(format!("it ended: {}", self.process.wait()?).into());
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Worker {
    /// Ends it in whatever state it is, and removes its files.
    fn drop(&mut self) {
        let ended = self.process.kill().and_then(|()| self.process.wait());
        if let Err(error) = ended.map_err(Failure::from).and_then(|_| remove(&self.directory)) {
            eprintln!("{}: {error}", self.directory.display());
        }
    }
}

fn remove(directory: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => Ok(removed?),
    }
}
