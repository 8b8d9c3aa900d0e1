//! The report as text.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::figures::{Figures, Row};
use super::judgement;
use crate::engine::{self, DEVICE};
use crate::measure::Unit;
use crate::record::{Description, Line, Record};

/// What `yieldb` is called in records.
const OURS: &str = "yieldb";

/// The whole document.
pub fn document(record: &Record, figures: &Figures) -> String {
    let mut text = String::new();
    for part in [
        head(record),
        judgement::section(figures),
        figures.workloads().map(|workload| section(workload, figures)).collect(),
        promises(),
    ] {
        text += &part;
    }
    text
}

fn head(record: &Record) -> String {
    let Description { machine, date, commit, versions, quick, .. } = &record.description;
    let versions = versions.iter().map(|(package, version)| format!("{package} {version}"));
    let versions = versions.collect::<Vec<String>>().join(", ");
    let mut text = format!(
        "# yieldb beside its peers, {date}\n\n\
         {}, {} cores, {} of memory, {}, {}. Commit {commit}; {versions}.\n\n",
        machine.processor,
        machine.cores,
        amount(machine.memory as f64, Unit::Bytes),
        machine.kernel,
        machine.file_system,
    );
    if *quick {
        text += "**A quick run: it shows that everything works, and its figures mean little.**\n\n";
    }
    let turn = |line: &Line| (line.workload.clone(), line.engine.clone(), line.round);
    let turns: BTreeSet<_> = record.lines.iter().map(turn).collect();
    let disturbed = record.lines.iter().filter(|line| line.others > 0).map(turn);
    let disturbed: BTreeSet<_> = disturbed.collect();
    if !disturbed.is_empty() {
        writeln!(
            text,
            "**Something else ran on the machine when {} of {} rounds began.** Whoever sleeps \
             until a write is durable is slowed down by that more than others.\n",
            disturbed.len(),
            turns.len()
        )
        .expect("a string takes everything");
    }
    text + "Medians over rounds. In brackets: how many times as good yieldb is, the median of the \
            ratios of the same rounds; above 1, yieldb is better. The best engine is bold.\n"
}

/// A line of a table.
pub fn line(cells: impl IntoIterator<Item = String>) -> String {
    cells.into_iter().fold("|".to_owned(), |line, cell| line + " " + &cell + " |") + "\n"
}

/// The first lines of a table: the names of the columns.
pub fn columns(names: &[&str]) -> String {
    let rule = names.iter().map(|_| "---".to_owned());
    line(names.iter().map(|name| (*name).to_owned())) + &line(rule)
}

fn section(workload: &str, figures: &Figures) -> String {
    let engines = figures.engines(workload);
    let mut names = vec![""];
    names.extend(&engines);
    let mut text = format!("\n## {workload}\n\n![{workload}]({workload}.svg)\n\n");
    text += &columns(&names);
    for row in figures.of(workload) {
        let best = row.best(|engine| engine != DEVICE);
        let cells = engines.iter().map(|engine| cell(row, engine, best == Some(*engine)));
        text += &line(std::iter::once(title(row)).chain(cells));
    }
    text
}

fn title(row: &Row) -> String {
    match row.unit {
        Unit::PerSecond => format!("{}, per second", row.measure),
        Unit::BytesPerSecond | Unit::Bytes | Unit::Microseconds | Unit::Times => {
            row.measure.clone()
        }
    }
}

fn cell(row: &Row, engine: &str, is_best: bool) -> String {
    let Some(median) = row.median(engine) else { return String::new() };
    let mut text = amount(median, row.unit);
    if is_best {
        text = format!("**{text}**");
    }
    if engine != OURS
        && let Some(ratio) = row.ratio(OURS, row, engine)
    {
        write!(text, " ({ratio:.2})").expect("a string takes everything");
    }
    text
}

fn promises() -> String {
    let mut text = "\n## What a commit is worth\n\n\
                    No engine loses a durable commit, neither when its process is killed nor by a \
                    power cut. Of relaxed ones:\n\n"
        .to_owned();
    let names = ["", "durable", "relaxed", "lost by a kill", "lost by a power cut"];
    text += &columns(&names);
    for kind in engine::ALL.iter().filter(|kind| engine::is_in_every_workload(kind.name)) {
        let promise = &kind.promise;
        let words =
            [promise.durable, promise.relaxed, promise.lost_by_kill, promise.lost_by_power_cut];
        text += &line(std::iter::once(kind.name).chain(words).map(str::to_owned));
    }
    text
}

/// A value, as it is read best.
pub fn amount(value: f64, unit: Unit) -> String {
    match unit {
        Unit::PerSecond => grouped(value),
        Unit::BytesPerSecond => format!("{:.1} MB/s", value / 1e6),
        Unit::Bytes if value.abs() < f64::from(1 << 20) => format!("{:.1} KiB", value / 1024.0),
        Unit::Bytes => format!("{:.1} MiB", value / f64::from(1 << 20)),
        Unit::Microseconds => format!("{value:.1} us"),
        Unit::Times => format!("{value:.2}"),
    }
}

/// A whole number, its digits in threes.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_readable() {
        assert_eq!(amount(1_234_567.8, Unit::PerSecond), "1,234,568");
        assert_eq!(amount(123.0, Unit::PerSecond), "123");
        assert_eq!(amount(1.5 * 1_048_576.0, Unit::Bytes), "1.5 MiB");
        assert_eq!(amount(123_400_000.0, Unit::BytesPerSecond), "123.4 MB/s");
        assert_eq!(amount(3_584.0, Unit::Bytes), "3.5 KiB");
        assert_eq!(amount(12.34, Unit::Microseconds), "12.3 us");
    }
}
