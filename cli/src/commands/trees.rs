//! Named trees: which one a command works on, `trees`, `drop-tree`, `rename-tree`.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value, json};
use yieldb::{Create, Snapshot, Tree, WriteTransaction};

use super::{bytes_of, change, open_as_asked, options, output, print_json, print_line};
use crate::args::{Global, ReadArgs};
use crate::error::{CliError, CliResult, NOT_FOUND};
use crate::escape::Text;
use crate::format::insert_bytes;

/// The name of the tree that a command works on if nothing else is said.
pub const MAIN_NAME: &[u8] = b"main";

/// The name of the tree to work on.
pub fn chosen(global: &Global) -> CliResult<Vec<u8>> {
    let Some(name) = &global.tree else { return Ok(MAIN_NAME.to_vec()) };
    let name = bytes_of(global, name)?;
    if name.is_empty() { Err(CliError::usage("--tree: a name is not empty")) } else { Ok(name) }
}

/// The tree to read.
pub fn to_read(global: &Global, snapshot: &Snapshot) -> CliResult<Tree> {
    let name = chosen(global)?;
    snapshot.tree(&name).ok_or_else(|| missing(&name))
}

/// The tree to write; it is created if it is missing.
pub fn to_write(global: &Global, transaction: &mut WriteTransaction) -> CliResult<Tree> {
    Ok(transaction.open_tree(chosen(global)?)?)
}

/// There is no tree with this name.
pub fn missing(name: &[u8]) -> CliError {
    let shown = Text::Escaped.show(name);
    let message =
        format!("there is no tree named \"{shown}\"; `yieldb trees` lists those there are");
    CliError { lacks_file: true, ..CliError::new(NOT_FOUND, message) }
}

/// Trees in JSON, and as lines of name and count.
pub fn show<'t>(
    text: Text,
    trees: impl Iterator<Item = (Tree, &'t [u8], u64)>,
) -> (Value, Vec<u8>) {
    let (mut objects, mut lines) = (Vec::new(), Vec::new());
    for (_, name, count) in trees {
        let mut object = Map::new();
        insert_bytes(&mut object, text, "name", name);
        object.insert("entries".to_owned(), Value::from(count));
        objects.push(Value::from(object));
        lines.extend_from_slice(&text.encode(name));
        lines.extend_from_slice(format!("\t{count}\n").as_bytes());
    }
    (Value::from(objects), lines)
}

/// Prints the trees and how many entries each has, in the order of their names.
pub fn list(global: &Global, file: &Path, read: ReadArgs) -> CliResult<()> {
    let database = open_as_asked(global, file, read)?;
    let snapshot = database.snapshot();
    let (objects, lines) = show(global.text(), snapshot.trees());
    if global.json {
        return print_json(&json!({"trees": objects}));
    }
    let mut out = output();
    out.write_all(&lines)?;
    Ok(out.flush()?)
}

/// Drops a tree, durably, and prints how many entries it had.
pub fn drop_tree(global: &Global, file: &Path, name: &OsStr) -> CliResult<()> {
    let name = bytes_of(global, name)?;
    let (dropped, version) = change(global, options(global).create(Create::Never), file, |db| {
        let mut transaction = db.begin().wait()?;
        let tree = transaction.tree(&name).ok_or_else(|| missing(&name))?;
        let dropped = transaction.count(tree)?;
        transaction.drop_tree(tree)?.wait()?;
        Ok((dropped, transaction.commit_with(global.durability.into()).wait()?))
    })?;
    if global.json {
        return print_json(&json!({"dropped": dropped, "version": version}));
    }
    print_line(dropped)
}

/// Gives a tree another name, durably.
pub fn rename(global: &Global, file: &Path, old: &OsStr, new: &OsStr) -> CliResult<()> {
    let (old, new) = (bytes_of(global, old)?, bytes_of(global, new)?);
    let version = change(global, options(global).create(Create::Never), file, |db| {
        let mut transaction = db.begin().wait()?;
        let tree = transaction.tree(&old).ok_or_else(|| missing(&old))?;
        transaction.rename_tree(tree, &new)?;
        Ok(transaction.commit_with(global.durability.into()).wait()?)
    })?;
    if global.json { print_json(&json!({"version": version})) } else { Ok(()) }
}
