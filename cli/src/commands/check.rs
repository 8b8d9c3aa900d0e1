//! `check`: every page.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::{open_to_read, output, print_json};
use crate::args::Global;
use crate::error::{CliError, CliResult, DAMAGED};
use crate::progress::{Unit, bar};

/// Reads every page and lists all damage.
pub fn run(global: &Global, file: &Path) -> CliResult<()> {
    let database = open_to_read(global, file)?;
    let progress = bar(Unit::Pages, Some(database.info().space.pages), global.quiet);
    let report = database.snapshot().check(|done| progress.set_position(done.pages))?.wait()?;
    progress.finish_and_clear();
    if global.json {
        let damages: Vec<_> = report
            .damages
            .iter()
            .map(|damage| json!({"page": damage.page, "what": damage.what}))
            .collect();
        print_json(&json!({
            "pages": report.pages, "entries": report.entries, "damages": damages
        }))?;
    } else {
        let mut out = output();
        for damage in &report.damages {
            writeln!(out, "{damage}")?;
        }
        if report.damages.is_empty() && !global.quiet {
            writeln!(out, "{} pages, {} entries, no damage", report.pages, report.entries)?;
        }
        out.flush()?;
    }
    match report.damages.len() {
        0 => Ok(()),
        1 => Err(CliError::new(DAMAGED, damaged(file, "1 damage"))),
        count => Err(CliError::new(DAMAGED, damaged(file, &format!("{count} damages")))),
    }
}

fn damaged(file: &Path, what: &str) -> String {
    format!("{}: {what}", file.display())
}
