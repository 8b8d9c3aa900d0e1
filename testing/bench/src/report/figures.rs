//! Medians over rounds, and ratios.

use std::collections::BTreeMap;

use crate::engine;
use crate::measure::{Unit, median};
use crate::record::Line;
use crate::workload;

/// All that was measured, a row for each thing.
pub struct Figures {
    rows: Vec<Row>,
}

/// One thing, for all engines that were measured at it.
pub struct Row {
    /// Of which workload.
    pub workload: String,
    /// What it is.
    pub measure: String,
    /// What its values count.
    pub unit: Unit,
    /// For each engine, the value of each round.
    values: BTreeMap<String, BTreeMap<u64, f64>>,
}

impl Figures {
    /// Of these lines; of equal ones the last counts.
    pub fn new(lines: &[Line]) -> Figures {
        let mut rows: Vec<Row> = Vec::new();
        for line in lines {
            let (workload, measure) = (&line.workload, &line.measure.measure);
            let known = rows.iter().position(|row| row.is_of(workload, measure));
            let index = known.unwrap_or_else(|| {
                let unit = line.measure.unit;
                let (workload, measure) = (workload.clone(), measure.clone());
                rows.push(Row { workload, measure, unit, values: BTreeMap::new() });
                rows.len() - 1
            });
            let rounds = rows[index].values.entry(line.engine.clone()).or_default();
            rounds.insert(line.round, line.measure.value);
        }
        Figures { rows }
    }

    /// The workloads that there are figures of, in the order they run.
    pub fn workloads(&self) -> impl Iterator<Item = &'static str> {
        let has = |name: &&str| self.rows.iter().any(|row| row.workload == *name);
        workload::names().into_iter().filter(has)
    }

    /// What was measured in a workload.
    pub fn of<'f>(&'f self, workload: &'f str) -> impl Iterator<Item = &'f Row> {
        self.rows.iter().filter(move |row| row.workload == workload)
    }

    /// One thing of a workload.
    pub fn find(&self, workload: &str, measure: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.is_of(workload, measure))
    }

    /// Who was measured in a workload: the engines in their order, and the device.
    pub fn engines(&self, workload: &str) -> Vec<&'static str> {
        let has = |name: &&str| self.of(workload).any(|row| row.values.contains_key(*name));
        engine::names().into_iter().filter(has).collect()
    }
}

impl Row {
    fn is_of(&self, workload: &str, measure: &str) -> bool {
        self.workload == workload && self.measure == measure
    }

    /// An engine's value.
    pub fn median(&self, engine: &str) -> Option<f64> {
        median(&mut self.values.get(engine)?.values().copied().collect::<Vec<f64>>())
    }

    /// How many times as good `ours` is here as `theirs` is in another row: the median of the
    /// ratios of the rounds that both have, since what disturbs one round disturbs both. `None` if
    /// there is no such round, or the rows count different things.
    pub fn ratio(&self, ours: &str, other: &Row, theirs: &str) -> Option<f64> {
        if self.unit != other.unit {
            return None;
        }
        let (ours, theirs) = (self.values.get(ours)?, other.values.get(theirs)?);
        let ratio = |(round, ours): (&u64, &f64)| {
            let more = ours / theirs.get(round)?;
            Some(if self.unit.is_better_if_more() { more } else { 1.0 / more })
        };
        median(&mut ours.iter().filter_map(ratio).collect::<Vec<f64>>())
    }

    /// The best of those that are wanted.
    pub fn best(&self, is_wanted: impl Fn(&str) -> bool) -> Option<&str> {
        let wanted = self.engines().filter(|engine| is_wanted(engine));
        let values = wanted.filter_map(|engine| Some((engine, self.goodness(engine)?)));
        let best = values.max_by(|(_, one), (_, other)| one.total_cmp(other));
        best.map(|(engine, _)| engine)
    }

    /// Who was measured.
    pub fn engines(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// A number that is larger the better an engine's value is.
    pub fn goodness(&self, engine: &str) -> Option<f64> {
        let median = self.median(engine)?;
        Some(if self.unit.is_better_if_more() { median } else { -median })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(engine: &str, round: u64, measure: &str, value: f64, unit: Unit) -> Line {
        Line::made_up("table", engine, round, measure, value, unit)
    }

    #[test]
    fn ratios_are_those_of_the_same_rounds() {
        let rates = [("yieldb", [100.0, 10.0, 60.0]), ("redb", [50.0, 5.0, 60.0])];
        let mut lines = Vec::new();
        for (engine, values) in rates {
            for (round, value) in (1..).zip(values) {
                lines.push(line(engine, round, "get", value, Unit::PerSecond));
                lines.push(line(engine, round, "files", value, Unit::Bytes));
            }
        }
        lines.push(line("yieldb", 4, "get", 1.0, Unit::PerSecond));
        let figures = Figures::new(&lines);
        let ratio = |measure| {
            let row = figures.find("table", measure).expect("it was measured");
            row.ratio("yieldb", row, row.best(engine::is_peer).expect("there is one"))
        };
        assert_eq!(ratio("get"), Some(2.0));
        assert_eq!(ratio("files"), Some(0.5), "fewer are better");
        let get = figures.find("table", "get").expect("it was measured");
        assert_eq!(get.median("redb"), Some(50.0));
        assert_eq!(get.median("lmdb"), None);
        assert_eq!(figures.workloads().collect::<Vec<_>>(), ["table"]);
    }
}
