//! The commands, each a function of its arguments.

mod check;
mod compact;
mod create;
mod entries;
mod generate;
mod info;
mod load;
mod log;
mod page;
mod scan;
mod shell;
mod stats;
mod trees;

use std::ffi::OsStr;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use yieldb::inspect::{LeftLog, RawFile};
use yieldb::ops::Open;
use yieldb::{Choice, Create, Database, ErrorKind, KeyRange, Op, Options};

use crate::args::{Cli, Command, Global, Io, RangeArgs, ReadArgs};
use crate::error::{CliError, CliResult, LOCKED, tell};
use crate::escape::write_json;
use crate::progress::watched;

/// Runs the command.
pub fn run(cli: &Cli) -> CliResult<()> {
    let global = &cli.global;
    if global.tree.is_some() && !cli.command.works_on_a_tree() {
        return Err(CliError::usage("--tree: this command is not about one tree"));
    }
    // Before anything is created.
    trees::chosen(global)?;
    execute(global, &cli.command).map_err(|error| match cli.command.file() {
        Some(file) => advised(error, file).on(file),
        None => error,
    })
}

fn execute(global: &Global, command: &Command) -> CliResult<()> {
    match command {
        Command::Create { file, page_size } => create::run(global, file, *page_size),
        Command::Put { file, key, value, create } => {
            entries::put(global, file, key, value, *create)
        }
        Command::Get { file, key, read } => entries::get(global, file, key, *read),
        Command::Delete { file, keys } => entries::delete(global, file, keys),
        Command::Scan { file, range, reverse, limit, keys, read } => {
            let what = scan::What { reverse: *reverse, limit: *limit, keys_only: *keys };
            scan::scan(global, file, range, what, *read)
        }
        Command::Count { file, range, read } => scan::count(global, file, range, *read),
        Command::Load { file, input, format, batch, max_line, page_size, database_id } => {
            let what = load::What {
                input: input.as_deref().filter(|input| *input != Path::new("-")),
                format: *format,
                batch: *batch,
                max_line: *max_line,
                page_size: *page_size,
                database_id: database_id.as_deref(),
            };
            load::run(global, file, &what)
        }
        Command::Dump { file, format, read } => scan::dump(global, file, *format, *read),
        Command::Trees { file, read } => trees::list(global, file, *read),
        Command::DropTree { file, name } => trees::drop_tree(global, file, name),
        Command::RenameTree { file, old, new } => trees::rename(global, file, old, new),
        Command::Info { file } => info::run(global, file),
        Command::Stats { file } => stats::run(global, file),
        Command::Check { file } => check::run(global, file),
        Command::Compact { file } => compact::run(global, file),
        Command::Page { file, number, page_size } => page::run(global, file, *number, *page_size),
        Command::Log { file, records } => log::run(global, file, *records),
        Command::Shell { file } => shell::run(global, file),
        Command::Completions { shell } => generate::completions(*shell),
        Command::Man { command } => generate::man(command.as_deref()),
    }
}

/// What is the same for every open.
fn options(global: &Global) -> Options {
    let options = Options::new().read_only(global.read_only).io(match global.io {
        Io::Auto => Choice::Auto,
        Io::Uring => Choice::Uring,
        Io::Pread => Choice::Pread,
    });
    match global.cache {
        Some(bytes) => options.cache_bytes(bytes),
        None => options,
    }
}

/// How long to wait for a lock, and how often to look.
///
/// A process that was killed holds its lock until the kernel is done with its last I/O, so that no
/// late write of its can meet those of the next process.
const LOCK_PATIENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_millis(5));

/// Opens something, and waits a moment for its lock.
fn patiently<T>(mut open: impl FnMut() -> yieldb::Result<T>) -> CliResult<T> {
    let (patience, pause) = LOCK_PATIENCE;
    let started = Instant::now();
    loop {
        match open() {
            Err(error) if error.kind() == ErrorKind::Locked && started.elapsed() < patience => {
                thread::sleep(pause);
            }
            result => return Ok(result?),
        }
    }
}

/// Waits until a database is open, and shows how far its recovery is if that takes long.
fn wait(global: &Global, opening: Op<'_, Open>) -> yieldb::Result<Database> {
    let recovery = opening.recovery();
    watched(&recovery, global.quiet, || opening.wait())
}

/// Opens a database.
fn open(global: &Global, options: Options, file: &Path) -> CliResult<Database> {
    let database = patiently(|| wait(global, options.clone().open(file)))?;
    if global.verbose {
        let info = database.info();
        tell(&format!("driver {} ({})", info.driver, info.driver_reason));
    }
    Ok(database)
}

/// Opens an existing database to read it, beside other readers. What only its log has is put into
/// the file first; where that cannot be done, in memory.
fn open_to_read(global: &Global, file: &Path) -> CliResult<Database> {
    let unrecovered = recover(global, file)?;
    let opened = open_as_it_is(global, file);
    match (opened, unrecovered) {
        (Err(error), Some(why)) if error.kind == Some(ErrorKind::NeedsRecovery) => {
            let message = format!("{}; to recover it failed: {}", error.message, why.message);
            Err(CliError { message, ..error })
        }
        (opened, _) => opened,
    }
}

/// Opens an existing database to read it, as the arguments say: [`open_to_read`], or as its last
/// checkpoint left it.
fn open_as_asked(global: &Global, file: &Path, read: ReadArgs) -> CliResult<Database> {
    match read.checkpoint_only {
        true => open(global, options(global).checkpoint_only(true), file),
        false => open_to_read(global, file),
    }
}

/// Opens an existing database to read it, and changes nothing: what only the log has is in memory.
fn open_as_it_is(global: &Global, file: &Path) -> CliResult<Database> {
    open(global, options(global).read_only(true), file)
}

/// Puts into the file what only its log has, and removes the log. Returns why that could not be
/// done, if others read the file or the operating system forbids it.
fn recover(global: &Global, file: &Path) -> CliResult<Option<CliError>> {
    if global.read_only {
        return Ok(None);
    }
    match patiently(|| RawFile::open(file, None)) {
        Ok(raw) if raw.has_log() => {}
        Err(error) if error.code == LOCKED => return Err(error),
        // If the file cannot be read, opening it says why.
        Ok(_) | Err(_) => return Ok(None),
    }
    let opened = wait(global, options(global).create(Create::Never).open(file));
    let unrecovered = match opened.and_then(|database| database.close().wait()) {
        Ok(()) => None,
        Err(error) => match error.kind() {
            ErrorKind::Usage | ErrorKind::Damaged | ErrorKind::Foreign => return Err(error.into()),
            _ => Some(CliError::from(error)),
        },
    };
    if global.verbose {
        match &unrecovered {
            None => tell("recovered from its log"),
            Some(why) => tell(&format!("not recovered, but read with its log: {}", why.message)),
        }
    }
    Ok(unrecovered)
}

/// Opens a database, does something that changes it, and closes it, whatever came of that: so that
/// it is one file again.
fn change<T>(
    global: &Global,
    options: Options,
    file: &Path,
    work: impl FnOnce(&Database) -> CliResult<T>,
) -> CliResult<T> {
    let database = open(global, options, file)?;
    let result = work(&database);
    close(database, result)
}

/// Closes a database. If what was done before failed, that is what is told.
fn close<T>(database: Database, result: CliResult<T>) -> CliResult<T> {
    let closed = database.close().wait();
    let value = result?;
    closed.map_err(|error| {
        let error = CliError::from(error);
        let message = format!("all is stored, but closing the file failed: {}", error.message);
        CliError { message, ..error }
    })?;
    Ok(value)
}

/// What is to be said of a file that has the log's name, and is not in use.
fn left_log(left: LeftLog) -> String {
    let (bytes, rest) = (left.file_bytes, "the next command that writes removes it");
    match left.is_ours {
        true => format!("a log of {bytes} bytes is left that is not in use; {rest}"),
        false => format!("a file of {bytes} bytes that is not ours is in the place of a log"),
    }
}

/// What can be done where a log is lost or damaged.
const WITHOUT_LOG: &str = "`get`, `scan`, `count`, `dump` and `trees` with --checkpoint-only read \
                           what the file has without it";

/// Says what helps, where the log is what is wrong.
fn advised(mut error: CliError, file: &Path) -> CliError {
    let is_damaged = error.kind == Some(ErrorKind::Damaged);
    if !is_damaged && error.kind != Some(ErrorKind::LogMissing) {
        return error;
    }
    // If it can be had again, the file can be read, and has a log.
    let Ok(raw) = RawFile::open(file, None) else { return error };
    if is_damaged {
        if raw.has_log() && has_damaged_log(&raw) {
            error.message.push_str("; ");
            error.message.push_str(WITHOUT_LOG);
        }
        return error;
    }
    let advice = match raw.log_path().symlink_metadata() {
        Ok(_) => "what is in its place is another file, or damaged: put a copy of the log there",
        Err(_) => "put it back beside the file",
    };
    error.message = format!("{}; {advice}; {WITHOUT_LOG}", error.message);
    error
}

fn has_damaged_log(raw: &RawFile) -> bool {
    match raw.log() {
        Ok(None) => false,
        Ok(Some(log)) => log.summary().is_ok_and(|summary| !summary.damages.is_empty()),
        Err(error) => error.kind() == ErrorKind::Damaged,
    }
}

/// The bytes of an argument.
fn bytes_of(global: &Global, argument: &OsStr) -> CliResult<Vec<u8>> {
    let decoded = global.text().decode(argument.as_bytes());
    decoded.map_err(|what| {
        let shown = argument.to_string_lossy().into_owned();
        CliError::usage(format!("{shown}: {what}"))
    })
}

/// The range that the arguments say.
fn range_of(global: &Global, arguments: &RangeArgs) -> CliResult<KeyRange> {
    let mut range = match &arguments.prefix {
        Some(prefix) => KeyRange::prefix(&bytes_of(global, prefix)?),
        None => KeyRange::all(),
    };
    if let Some(from) = &arguments.from {
        range = range.from(&bytes_of(global, from)?);
    }
    if let Some(to) = &arguments.to {
        range = range.to(&bytes_of(global, to)?);
    }
    Ok(range)
}

/// Standard output, in large pieces.
fn output() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(1 << 16, io::stdout().lock())
}

/// Prints a JSON document and a newline.
fn print_json(value: &Value) -> CliResult<()> {
    let mut out = output();
    write_json(&mut out, value)?;
    Ok(out.flush()?)
}

/// Prints a line.
fn print_line(line: impl std::fmt::Display) -> CliResult<()> {
    let mut out = output();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
