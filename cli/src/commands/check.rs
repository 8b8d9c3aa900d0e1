//! `check`: every page.

use std::io::Write;
use std::path::Path;

use serde_json::json;
use yieldb::inspect::RawFile;

use super::{open_to_read, output, patiently, print_json};
use crate::args::Global;
use crate::error::{CliError, CliResult, DAMAGED};
use crate::progress::{Unit, bar};

/// Reads every page and lists all damage.
pub fn run(global: &Global, file: &Path) -> CliResult<()> {
    let database = open_to_read(global, file)?;
    let progress = bar(Unit::Pages, Some(database.info().space.pages), global.quiet);
    let report = database.snapshot().check(|done| progress.set_position(done.pages))?.wait()?;
    progress.finish_and_clear();
    // One slot of the superblock is enough: that the other one is damaged loses nothing.
    let slots = patiently(|| RawFile::open(file, None))?.damaged_slots()?;
    if global.json {
        let damages: Vec<_> = report
            .damages
            .iter()
            .map(|damage| json!({"page": damage.page, "what": damage.what}))
            .collect();
        let notes: Vec<_> =
            slots.iter().map(|(page, what)| json!({"page": page, "what": what})).collect();
        print_json(&json!({
            "pages": report.pages, "entries": report.entries, "damages": damages,
            "unlisted": report.unlisted, "notes": notes
        }))?;
    } else {
        let mut out = output();
        for damage in &report.damages {
            writeln!(out, "{damage}")?;
        }
        if report.unlisted > 0 {
            writeln!(out, "and {} more", report.unlisted)?;
        }
        for (page, what) in &slots {
            writeln!(out, "page {page}: {what}; the other slot does, and nothing is lost")?;
        }
        if report.damages.is_empty() && !global.quiet {
            writeln!(out, "{} pages, {} entries, no damage", report.pages, report.entries)?;
        }
        out.flush()?;
    }
    match report.damages.len() as u64 + report.unlisted {
        0 => Ok(()),
        1 => Err(CliError::new(DAMAGED, damaged(file, "1 damage"))),
        count => Err(CliError::new(DAMAGED, damaged(file, &format!("{count} damages")))),
    }
}

fn damaged(file: &Path, what: &str) -> String {
    format!("{}: {what}", file.display())
}
