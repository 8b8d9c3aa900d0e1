//! What was measured, made readable: `table.md`, and a plot for each workload.

mod figures;
mod judgement;
mod markdown;
mod plot;

use std::fs;
use std::path::Path;

use crate::Failure;
use crate::record::Record;
use figures::Figures;

/// Writes the report of a record into its directory, and prints what of the targets is reached.
pub fn report(directory: &Path) -> Result<(), Failure> {
    let record = Record::read(directory)?;
    let figures = Figures::new(&record.lines);
    let path = directory.join("table.md");
    fs::write(&path, markdown::document(&record, &figures))?;
    println!("{}", path.display());
    for workload in figures.workloads() {
        let path = directory.join(format!("{workload}.svg"));
        plot::draw(&path, workload, &figures)?;
        println!("{}", path.display());
    }
    println!("{}", judgement::section(&figures));
    Ok(())
}
