//! `compact`: a file as short as its contents allow.

use std::path::Path;
use std::time::Instant;

use serde_json::json;
use yieldb::Create;

use super::{change, options, print_json, print_line};
use crate::args::Global;
use crate::error::{CliError, CliResult};

/// Makes the file as short as its contents allow.
pub fn run(global: &Global, file: &Path) -> CliResult<()> {
    if global.read_only {
        return Err(CliError::usage("compact changes the file, --read-only forbids it"));
    }
    let started = Instant::now();
    let options = options(global).create(Create::Never);
    let (compacted, page_size) = change(global, options, file, |database| {
        Ok((database.compact().wait()?, u64::from(database.info().page_size)))
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let (before, after) = (compacted.pages_before * page_size, compacted.pages * page_size);
    if global.json {
        return print_json(&json!({
            "bytes_before": before, "bytes": after, "replaced": compacted.replaced,
            "passes": compacted.passes, "seconds": seconds,
        }));
    }
    if !global.quiet {
        print_line(format!("{before} bytes before, {after} now, {seconds:.2} s"))?;
    }
    Ok(())
}
