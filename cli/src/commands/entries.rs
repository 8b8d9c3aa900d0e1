//! `put`, `get`, `delete`: single entries.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;

use serde_json::{Map, json};
use yieldb::Create;

use super::{bytes_of, change, open_as_asked, options, output, print_json, print_line, trees};
use crate::args::{Global, ReadArgs};
use crate::error::{CliError, CliResult, NOT_FOUND};
use crate::format::insert_bytes;

/// Stores one entry, durably.
pub fn put(
    global: &Global,
    file: &Path,
    key: &OsStr,
    value: &OsStr,
    create: bool,
) -> CliResult<()> {
    let (key, value) = (bytes_of(global, key)?, bytes_of(global, value)?);
    let create = if create { Create::IfMissing } else { Create::Never };
    let (replaced, version) = change(global, options(global).create(create), file, |database| {
        let mut transaction = database.begin().wait()?;
        let tree = trees::to_write(global, &mut transaction)?;
        let replaced = transaction.put(tree, &key, &value).wait()?;
        Ok((replaced, transaction.commit_with(global.durability.into()).wait()?))
    })?;
    if global.json {
        return print_json(&json!({"replaced": replaced, "version": version}));
    }
    Ok(())
}

/// Prints the value of a key.
pub fn get(global: &Global, file: &Path, key: &OsStr, read: ReadArgs) -> CliResult<()> {
    let key = bytes_of(global, key)?;
    let database = open_as_asked(global, file, read)?;
    let snapshot = database.snapshot();
    let tree = trees::to_read(global, &snapshot)?;
    let value = snapshot.get(tree, &key).wait()?;
    if global.json {
        let mut object = Map::new();
        match &value {
            Some(value) => insert_bytes(&mut object, global.text(), "value", value),
            None => {
                object.insert("value".to_owned(), serde_json::Value::Null);
            }
        }
        print_json(&object.into())?;
    } else if let Some(value) = &value {
        let mut out = output();
        global.text().write(&mut out, value)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    if value.is_some() { Ok(()) } else { Err(CliError::silent(NOT_FOUND)) }
}

/// Removes keys, in one commit.
pub fn delete(global: &Global, file: &Path, keys: &[OsString]) -> CliResult<()> {
    let keys = keys.iter().map(|key| bytes_of(global, key)).collect::<CliResult<Vec<_>>>()?;
    let options = options(global).create(Create::Never);
    let (deleted, version) = change(global, options, file, |database| {
        let tree = trees::to_read(global, &database.snapshot())?;
        let mut transaction = database.begin().wait()?;
        let mut deleted: u64 = 0;
        for key in &keys {
            deleted += u64::from(transaction.delete(tree, key).wait()?);
        }
        Ok((deleted, transaction.commit_with(global.durability.into()).wait()?))
    })?;
    if global.json {
        print_json(&json!({"deleted": deleted, "version": version}))?;
    } else {
        print_line(deleted)?;
    }
    if deleted > 0 { Ok(()) } else { Err(CliError::silent(NOT_FOUND)) }
}
