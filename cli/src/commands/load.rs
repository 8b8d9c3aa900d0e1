//! `load`: entries from a file or standard input.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, IsTerminal, Seek};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;

use serde_json::json;
use yieldb::Create;

use super::{open, options, print_json, print_line, trees};
use crate::args::{Format, Global};
use crate::error::{CliError, CliResult, tell};
use crate::escape::decode_hex;
use crate::format::Entries;
use crate::progress::{Unit, bar};

/// How many entries a commit has where the database is not empty.
const DEFAULT_BATCH: u64 = 10_000;

/// How often the progress bar is told, in entries.
const TELL_EVERY: u64 = 256;

/// What to load, and how.
pub struct What<'a> {
    /// The input; `None` for standard input.
    pub input: Option<&'a Path>,
    /// How it is written.
    pub format: Format,
    /// Entries a commit.
    pub batch: Option<u64>,
    /// The longest line that is read, in bytes.
    pub max_line: u64,
    /// The page size of a database that is created.
    pub page_size: u32,
    /// The id of a database that is created.
    pub database_id: Option<&'a str>,
}

/// Stores entries from a file or standard input. Of several with the same key the last one stays.
pub fn run(global: &Global, file: &Path, what: &What<'_>) -> CliResult<()> {
    let (input, input_len) = open_input(what.input)?;
    let mut options = options(global).create(Create::IfMissing).page_size(what.page_size);
    if let Some(id) = what.database_id {
        let id = decode_hex(id.as_bytes()).ok().and_then(|id| <[u8; 16]>::try_from(id).ok());
        let id = id.ok_or_else(|| CliError::usage("--database-id wants 32 hexadecimal digits"))?;
        options = options.database_id(id);
    }
    let database = open(global, options, file)?;
    let empty = database.info().entries == 0;
    let batch = what.batch.unwrap_or(if empty { u64::MAX } else { DEFAULT_BATCH });

    let started = Instant::now();
    let progress = bar(Unit::Bytes, input_len, global.quiet);
    let mut entries = Entries::new(input, what.format, global.text(), what.max_line);
    let (mut count, mut len) = (0_u64, 0_u64);
    let mut transaction = database.begin().wait()?;
    let tree = trees::to_write(global, &mut transaction)?;
    let mut in_batch = 0;
    while let Some((key, value)) = entries.next().map_err(|error| named(error, what.input))? {
        transaction.put(tree, &key, &value).wait()?;
        count += 1;
        in_batch += 1;
        len += (key.len() + value.len()) as u64;
        if count.is_multiple_of(TELL_EVERY) {
            progress.set_position(entries.read_len());
            progress.set_message(said(count, started));
        }
        if in_batch == batch {
            transaction.commit().wait()?;
            transaction = database.begin().wait()?;
            in_batch = 0;
        }
    }
    progress.set_position(entries.read_len());
    progress.set_message(format!("{count} entries, making them durable"));
    transaction.commit().wait()?;
    progress.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    report(global, count, len, seconds)
}

/// What the progress bar says of the entries.
fn said(count: u64, started: Instant) -> String {
    format!("{count} entries, {:.0}/s", rate(count, started.elapsed().as_secs_f64()))
}

fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { (count as f64 / seconds).round() } else { 0.0 }
}

fn report(global: &Global, count: u64, len: u64, seconds: f64) -> CliResult<()> {
    let rate = rate(count, seconds);
    if global.json {
        let seconds = (seconds * 1e6).round() / 1e6;
        return print_json(&json!({
            "entries": count, "bytes": len, "seconds": seconds, "entries_per_second": rate
        }));
    }
    print_line(format_args!("{count} entries, {len} bytes, {seconds:.3} s, {rate:.0} entries/s"))
}

/// Says which input an error is about.
fn named(error: CliError, path: Option<&Path>) -> CliError {
    let name = path.map_or("standard input".into(), Path::to_string_lossy);
    CliError { message: format!("{name}: {}", error.message), ..error }
}

/// The input, and how long it is where that is known.
fn open_input(path: Option<&Path>) -> CliResult<(Box<dyn BufRead>, Option<u64>)> {
    let Some(path) = path else {
        if io::stdin().is_terminal() {
            tell("reading entries from the terminal, end with Ctrl-D");
        }
        // Somebody may have put a file there, and even read a part of it.
        let file = io::stdin().as_fd().try_clone_to_owned().ok().map(File::from);
        let len = file.as_ref().and_then(left_in);
        return Ok((Box::new(BufReader::with_capacity(1 << 16, io::stdin())), len));
    };
    let file = File::open(path).map_err(|error| named(CliError::input(&error), Some(path)))?;
    let len = left_in(&file);
    Ok((Box::new(BufReader::with_capacity(1 << 16, file)), len))
}

/// How many bytes are left to be read, if it is a file and not a pipe.
fn left_in(mut file: &File) -> Option<u64> {
    let metadata = file.metadata().ok().filter(fs::Metadata::is_file)?;
    Some(metadata.len().saturating_sub(file.stream_position().ok()?))
}
