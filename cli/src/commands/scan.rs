//! `scan`, `count`, `dump`: entries in order.

use std::io::Write;
use std::path::Path;

use serde_json::{Map, json};
use yieldb::{Cursor, Entry, KeyRange, MAIN, Snapshot, Tree};

use super::{open_as_asked, output, print_json, print_line, range_of, trees};
use crate::args::{Format, Global, RangeArgs, ReadArgs};
use crate::error::{CliError, CliResult, tell};
use crate::escape::{Text, write_json};
use crate::format::{comes_back, insert_bytes, write_entry};

/// How to scan.
pub struct What {
    /// From the last to the first.
    pub reverse: bool,
    /// At most this many.
    pub limit: Option<u64>,
    /// Keys only.
    pub keys_only: bool,
}

/// Prints entries in order.
pub fn scan(
    global: &Global,
    file: &Path,
    range: &RangeArgs,
    what: What,
    read: ReadArgs,
) -> CliResult<()> {
    let range = range_of(global, range)?;
    let database = open_as_asked(global, file, read)?;
    let snapshot = database.snapshot();
    let tree = trees::to_read(global, &snapshot)?;
    let mut cursor = snapshot.cursor(tree, range);
    let mut out = output();
    let mut left = what.limit.unwrap_or(u64::MAX);
    while left > 0 {
        left -= 1;
        if what.keys_only {
            let Some(key) = step_key(&mut cursor, what.reverse)? else { break };
            write_key(&mut out, global, key)?;
        } else {
            let Some(entry) = step(&mut cursor, what.reverse)? else { break };
            let format = if global.json { Format::Ndjson } else { Format::Tsv };
            write_entry(&mut out, format, global.text(), entry.key(), entry.value())?;
        }
    }
    Ok(out.flush()?)
}

fn step<'c>(cursor: &'c mut Cursor<'_>, reverse: bool) -> CliResult<Option<Entry<'c>>> {
    Ok(if reverse { cursor.previous().wait()? } else { cursor.next().wait()? })
}

/// Moves on without reading a large value.
fn step_key<'c>(cursor: &'c mut Cursor<'_>, reverse: bool) -> CliResult<Option<&'c [u8]>> {
    Ok(if reverse { cursor.previous_key().wait()? } else { cursor.next_key().wait()? })
}

fn write_key(out: &mut impl Write, global: &Global, key: &[u8]) -> CliResult<()> {
    if global.json {
        let mut object = Map::new();
        insert_bytes(&mut object, global.text(), "key", key);
        return Ok(write_json(out, &object.into())?);
    }
    global.text().write(out, key)?;
    Ok(out.write_all(b"\n")?)
}

/// Prints the number of entries.
pub fn count(global: &Global, file: &Path, range: &RangeArgs, read: ReadArgs) -> CliResult<()> {
    let range = range_of(global, range)?;
    let database = open_as_asked(global, file, read)?;
    let snapshot = database.snapshot();
    let tree = trees::to_read(global, &snapshot)?;
    let count = if range == KeyRange::all() {
        snapshot.count(tree)?
    } else {
        snapshot.count_range(tree, range).wait()?
    };
    if global.json { print_json(&json!({"count": count})) } else { print_line(count) }
}

/// Prints everything in a tree. If there are others, that is told.
pub fn dump(global: &Global, file: &Path, format: Option<Format>, read: ReadArgs) -> CliResult<()> {
    let format = match (global.json, format) {
        (true, Some(Format::Tsv | Format::Csv)) => {
            return Err(CliError::usage("--json: the format is ndjson then"));
        }
        (true, None | Some(Format::Ndjson)) => Format::Ndjson,
        (false, format) => format.unwrap_or_default(),
    };
    let database = open_as_asked(global, file, read)?;
    let snapshot = database.snapshot();
    let tree = trees::to_read(global, &snapshot)?;
    let mut cursor = snapshot.cursor(tree, KeyRange::all());
    let mut out = output();
    let text = global.text();
    while let Some(entry) = cursor.next().wait()? {
        if !comes_back(format, text, entry.key(), entry.value()) {
            out.flush()?;
            return Err(ambiguous(entry.key()));
        }
        write_entry(&mut out, format, text, entry.key(), entry.value())?;
    }
    out.flush()?;
    if !global.quiet {
        tell_of_others(file, &snapshot, tree);
    }
    Ok(())
}

/// A raw entry that tab-separated lines cannot have.
fn ambiguous(key: &[u8]) -> CliError {
    let message = format!(
        "key {}: a tab in a raw key, or a newline in a raw key or value, would be read as the end \
         of it; use --format csv or --hex",
        Text::Escaped.show(key)
    );
    CliError { lacks_file: true, ..CliError::usage(message) }
}

/// Says how many trees are not dumped. `main` is there always: where it is empty, nothing is lost.
fn tell_of_others(file: &Path, snapshot: &Snapshot, dumped: Tree) {
    let counts = |(tree, count)| tree != dumped && (tree != MAIN || count > 0);
    let trees = snapshot.trees().map(|(tree, _, count)| (tree, count));
    let others = match trees.filter(|tree| counts(*tree)).count() {
        0 => return,
        1 => "1 other tree is".to_owned(),
        count => format!("{count} other trees are"),
    };
    let advice = "`yieldb trees` lists all, and --tree NAME chooses one";
    tell(&format!("{}: {others} not dumped; {advice}", file.display()));
}
