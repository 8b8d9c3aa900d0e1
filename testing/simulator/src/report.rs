//! What runs have reached, and what failed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::computer::Counts;
use crate::disk::CrashEffects;

/// What runs have reached. Those of many runs add up.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many runs there were.
    pub runs: u64,
    /// How often something crashed, and what was left was opened and compared.
    pub crash_recoveries: u64,
    /// How many I/Os there were.
    pub ios: u64,
    /// How many operations were done.
    pub operations: u64,
    /// Faults, by name, and how often each fired.
    pub faults: BTreeMap<&'static str, u64>,
    /// What happened that should happen in some run, by name.
    pub paths: BTreeMap<&'static str, u64>,
    /// Machines, and the states that they were in.
    pub states: BTreeSet<(&'static str, String)>,
    /// What went wrong.
    pub failures: Vec<Failure>,
}

/// A run that did not end as it should.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The run.
    pub seed: u64,
    /// What was wrong, and where in the code that was noticed.
    pub what: String,
    /// What had happened, in words.
    pub story: Vec<String>,
}

impl Report {
    /// A fault fired.
    pub fn fault(&mut self, name: &'static str, count: u64) {
        if count > 0 {
            *self.faults.entry(name).or_default() += count;
        }
    }

    /// Something happened.
    pub fn path(&mut self, name: &'static str) {
        *self.paths.entry(name).or_default() += 1;
    }

    /// The faults of a computer that is not used any more.
    pub fn computer(&mut self, faults: &Counts, ios: u64) {
        self.ios += ios;
        for (kind, count) in faults.iter() {
            self.fault(kind.name(), count);
        }
    }

    /// What a power cut did.
    pub fn crash(&mut self, effects: &CrashEffects, in_flight: usize) {
        self.fault("power-cut", 1);
        let effects = [
            ("cut-loses-writes", effects.lost_writes),
            ("cut-tears-writes", effects.torn_writes),
            ("cut-loses-length", effects.lost_lengths),
            ("cut-loses-entry", effects.lost_entries),
            ("cut-loses-file", effects.lost_files),
            ("cut-leaves-hole", effects.holes),
        ];
        for (name, count) in effects {
            self.fault(name, u64::from(count > 0));
        }
        self.in_flight(in_flight);
    }

    /// Something crashed with so many requests in flight.
    pub fn in_flight(&mut self, count: usize) {
        match count {
            0 => {}
            1 => self.fault("crash-with-1-in-flight", 1),
            2..8 => self.fault("crash-with-2-to-7-in-flight", 1),
            8..32 => self.fault("crash-with-8-to-31-in-flight", 1),
            _ => self.fault("crash-with-32-and-more-in-flight", 1),
        }
    }

    /// Adds what other runs have reached.
    pub fn add(&mut self, other: Report) {
        self.runs += other.runs;
        self.crash_recoveries += other.crash_recoveries;
        self.ios += other.ios;
        self.operations += other.operations;
        for (name, count) in other.faults {
            *self.faults.entry(name).or_default() += count;
        }
        for (name, count) in other.paths {
            *self.paths.entry(name).or_default() += count;
        }
        self.states.extend(other.states);
        self.failures.extend(other.failures);
    }

    /// One line that a program can read.
    pub fn json(&self) -> String {
        let faults: Vec<String> =
            self.faults.iter().map(|(name, count)| format!("\"{name}\":{count}")).collect();
        format!(
            "{{\"runs\":{},\"crash_recoveries\":{},\"failures\":{},\"faults\":{{{}}}}}",
            self.runs,
            self.crash_recoveries,
            self.failures.len(),
            faults.join(",")
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} runs, {} crash-recoveries, {} I/Os, {} operations, {} failures",
            self.runs,
            self.crash_recoveries,
            self.ios,
            self.operations,
            self.failures.len()
        )?;
        table(f, "faults", &self.faults)?;
        table(f, "paths", &self.paths)?;
        let machines: BTreeSet<&str> = self.states.iter().map(|(machine, _)| *machine).collect();
        writeln!(f, "\n{} states of {} machines", self.states.len(), machines.len())
    }
}

fn table(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    counts: &BTreeMap<&'static str, u64>,
) -> fmt::Result {
    writeln!(f, "\n{title}")?;
    counts.iter().try_for_each(|(name, count)| writeln!(f, "  {count:>10}  {name}"))
}
