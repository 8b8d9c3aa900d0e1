//! `load`: entries from a file or standard input.

use std::fs::{self, File};
use std::io::{self, BufReader, IsTerminal, Seek};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use indicatif::ProgressBar;
use serde_json::json;
use yieldb::{Create, Database, Durability, ErrorKind, Tree, WriteTransaction};

use super::{change, options, print_json, print_line, trees};
use crate::args::{self, Format, Global};
use crate::error::{CliError, CliResult, tell};
use crate::escape::decode_hex;
use crate::format::Entries;
use crate::interrupt::{self, Interrupt};
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
///
/// Ctrl-C ends it behind the last commit, and leaves one file. Whatever ends it behind a commit,
/// what is stored is said.
pub fn run(global: &Global, file: &Path, what: &What<'_>) -> CliResult<()> {
    let interrupt = Interrupt::catch().map_err(|error| CliError::input(&error))?;
    let (input, input_len) = open_input(what.input, &interrupt)?;
    let mut options = options(global).create(Create::IfMissing).page_size(what.page_size);
    if let Some(id) = what.database_id {
        let id = decode_hex(id.as_bytes()).ok().and_then(|id| <[u8; 16]>::try_from(id).ok());
        let id = id.ok_or_else(|| CliError::usage("--database-id wants 32 hexadecimal digits"))?;
        options = options.database_id(id);
    }
    let started = Instant::now();
    let mut input = Input {
        entries: Entries::new(input, what.format, global.text(), what.max_line),
        path: what.input,
        progress: bar(Unit::Bytes, input_len, global.quiet),
        interrupt,
        started,
        count: 0,
        len: 0,
        stored: Some((0, 0)),
    };
    let loaded = change(global, options, file, |database| {
        let filled = fill(global, database, what.batch, &mut input);
        // What is acknowledged from memory may be lost yet.
        let is_relaxed = global.durability == args::Durability::Relaxed;
        if filled.is_err() && is_relaxed && database.sync().wait().is_err() {
            input.stored = None;
        }
        filled
    });
    input.progress.finish_and_clear();
    if loaded.is_err() && input.interrupt.came() {
        tell(&format!("{}: interrupted, {}", file.display(), input.said_of_stored()));
        input.interrupt.end().map_err(|error| CliError::input(&error))?;
    }
    loaded.map_err(|error| match input.stored {
        Some((0, _)) => error,
        Some(_) | None => {
            let message = format!("{}; {}", error.message, input.said_of_stored());
            CliError { message, ..error }
        }
    })?;
    report(global, input.count, input.len, started.elapsed().as_secs_f64())
}

/// Stores all entries of an input.
fn fill(
    global: &Global,
    database: &Database,
    batch: Option<u64>,
    input: &mut Input<'_>,
) -> CliResult<()> {
    let mut transaction = database.begin().wait()?;
    let tree = trees::to_write(global, &mut transaction)?;
    let transaction = if batch.is_none() && transaction.count(tree)? == 0 {
        in_bulk(input, transaction, tree)?
    } else {
        let batch = batch.unwrap_or(DEFAULT_BATCH);
        in_batches(input, database, transaction, tree, (batch, global.durability.into()))?
    };
    input.say("making them durable");
    transaction.commit_with(global.durability.into()).wait()?;
    input.stored = Some((input.count, input.entries.line_number()));
    input.say("closing");
    Ok(())
}

/// Fills an empty tree in one go.
fn in_bulk(
    input: &mut Input<'_>,
    mut transaction: WriteTransaction,
    tree: Tree,
) -> CliResult<WriteTransaction> {
    let mut load = transaction.bulk_load(tree)?;
    while let Some((key, value)) = input.next()? {
        let pushed = load.try_push(&key, &value).and_then(|is_pushed| match is_pushed {
            true => Ok(()),
            false => load.push(&key, &value).wait(),
        });
        pushed.map_err(|error| input.refused(error))?;
    }
    input.say("building the tree");
    load.finish().wait()?;
    Ok(transaction)
}

/// Stores entry by entry, and commits after each `batch` of them. The last ones are left to be
/// committed.
fn in_batches(
    input: &mut Input<'_>,
    database: &Database,
    mut transaction: WriteTransaction,
    tree: Tree,
    (batch, durability): (u64, Durability),
) -> CliResult<WriteTransaction> {
    let mut in_batch = 0;
    while let Some((key, value)) = input.next()? {
        let put = transaction.put(tree, &key, &value).wait();
        put.map_err(|error| input.refused(error))?;
        in_batch += 1;
        if in_batch == batch {
            transaction.commit_with(durability).wait()?;
            input.stored = Some((input.count, input.entries.line_number()));
            transaction = database.begin().wait()?;
            in_batch = 0;
        }
    }
    Ok(transaction)
}

/// The entries, and how far they are read.
struct Input<'a> {
    entries: Entries<BufReader<interrupt::Input>>,
    path: Option<&'a Path>,
    progress: ProgressBar,
    interrupt: Arc<Interrupt>,
    started: Instant,
    /// How many there were so far.
    count: u64,
    /// How many bytes their keys and values had.
    len: u64,
    /// How many of them are committed, and up to which line; `None` if that is not known.
    stored: Option<(u64, u64)>,
}

impl Input<'_> {
    /// The next entry. Tells the progress bar.
    fn next(&mut self) -> CliResult<Option<(Vec<u8>, Vec<u8>)>> {
        if self.interrupt.came() {
            return Err(CliError::input(&io::Error::other("interrupted")));
        }
        let entry = self.entries.next().map_err(|error| named(error, self.path))?;
        if let Some((key, value)) = &entry {
            self.count += 1;
            self.len += (key.len() + value.len()) as u64;
            if self.count.is_multiple_of(TELL_EVERY) {
                self.progress.set_position(self.entries.read_len());
                self.progress.set_message(said(self.count, self.started));
            }
        }
        Ok(entry)
    }

    /// The last one is not stored. Where it cannot be, that is said of its line.
    fn refused(&self, error: yieldb::Error) -> CliError {
        match error.kind() {
            ErrorKind::Usage => named(self.entries.wrong(&error.to_string()), self.path),
            _ => error.into(),
        }
    }

    fn said_of_stored(&self) -> String {
        match self.stored {
            Some((count, line)) => format!("{count} entries are stored, up to line {line}"),
            None => "it is not known how many entries are stored".to_owned(),
        }
    }

    /// All of them are read; what happens now.
    fn say(&self, what: &str) {
        self.progress.set_position(self.entries.read_len());
        self.progress.set_message(format!("{} entries, {what}", self.count));
    }
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
fn open_input(
    path: Option<&Path>,
    interrupt: &Arc<Interrupt>,
) -> CliResult<(BufReader<interrupt::Input>, Option<u64>)> {
    let opened = match path {
        Some(path) => File::open(path),
        // Somebody may have put a file there, and even read a part of it.
        None => io::stdin().as_fd().try_clone_to_owned().map(File::from),
    };
    if path.is_none() && io::stdin().is_terminal() {
        tell("reading entries from the terminal, end with Ctrl-D");
    }
    let file = opened.map_err(|error| named(CliError::input(&error), path))?;
    let len = left_in(&file);
    let input = interrupt::Input::new(file, interrupt.clone());
    Ok((BufReader::with_capacity(1 << 16, input), len))
}

/// How many bytes are left to be read, if it is a file and not a pipe.
fn left_in(mut file: &File) -> Option<u64> {
    let metadata = file.metadata().ok().filter(fs::Metadata::is_file)?;
    Some(metadata.len().saturating_sub(file.stream_position().ok()?))
}
