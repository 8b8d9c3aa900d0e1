//! `log`: what is in the log of a database, group by group.

use std::io::{self, Write};
use std::ops::Bound;
use std::path::Path;

use serde_json::{Map, Value, json};
use yieldb::inspect::{Changes, RawFile, RawGroup, RawLog, TreeChange};

use super::{output, patiently};
use crate::args::Global;
use crate::error::{CliError, CliResult, DAMAGED};
use crate::escape::{Text, write_json_part};
use crate::format::insert_bytes;

/// Prints the groups, and with `records` what their commits changed.
pub fn run(global: &Global, file: &Path, records: bool) -> CliResult<()> {
    let raw = patiently(|| RawFile::open(file, None))?;
    let mut out = output();
    let Some(log) = raw.log()? else {
        if !global.json {
            writeln!(out, "no log")?;
        }
        return Ok(out.flush()?);
    };
    if !global.json {
        write_heading(&mut out, &log)?;
    }
    let text = global.text();
    let mut damage: Option<String> = None;
    let mut groups = log.groups()?;
    while let Some(group) = groups.next_group()? {
        if global.json {
            write_group_json(&mut out, text, &group, records)?;
        } else {
            write_group(&mut out, &group)?;
            if records {
                write_records(&mut out, text, &group)?;
            }
        }
        if damage.is_none() {
            damage = damage_of(&group);
        }
    }
    let end = groups.end()?;
    match &end {
        Ok(place) if !global.json => {
            writeln!(out, "{:10}  {:7}  the end", place.position, place.offset)?;
        }
        Ok(_) | Err(_) => {}
    }
    out.flush()?;
    match end.err().map(|error| error.to_string()).or(damage) {
        None => Ok(()),
        Some(what) => {
            let message = format!("{}: {what}", file.display());
            Err(CliError::new(DAMAGED, message))
        }
    }
}

/// What is wrong with the first record of a group that is none.
fn damage_of(group: &RawGroup) -> Option<String> {
    group.commits().find_map(|(version, mut changes)| {
        let error = changes.find_map(Result::err)?;
        Some(format!("the log's commit of version {version} is damaged: {error}"))
    })
}

// As text.

fn write_heading(out: &mut impl Write, log: &RawLog<'_>) -> io::Result<()> {
    let path = Text::Escaped.show(log.path().as_os_str().as_encoded_bytes());
    writeln!(out, "log          {path}, {} bytes", log.file_bytes())?;
    writeln!(out, "id           {}", Text::Hex.show(&log.id()))?;
    writeln!(out, "checkpoint   version {}", log.checkpoint_version())?;
    write!(out, "\n  position   offset     bytes     session  commits  versions")?;
    writeln!(out, "               known       names")
}

fn write_group(out: &mut impl Write, group: &RawGroup) -> io::Result<()> {
    let header = group.header();
    let versions = match header.transactions {
        _ if group.is_wrap() => "(leads to offset 0)".to_owned(),
        0 => "(names a checkpoint)".to_owned(),
        1 => header.first_version.to_string(),
        count => {
            let first = header.first_version;
            format!("{first} to {}", first + u64::from(count) - 1)
        }
    };
    let (position, offset, len) = (group.position(), group.offset(), group.file_bytes());
    let (session, count) = (header.session, header.transactions);
    write!(out, "{position:10}  {offset:7}  {len:8}  {session:10}  {count:7}  {versions:20}")?;
    writeln!(out, "  {:6}  {:10}", header.known, header.names)
}

fn write_records(out: &mut impl Write, text: Text, group: &RawGroup) -> io::Result<()> {
    for (version, changes) in group.commits() {
        for change in changes {
            write!(out, "    version {version}\t")?;
            match change {
                Ok(change) => write_change(out, text, &change)?,
                Err(error) => write!(out, "damaged\t{error}")?,
            }
            writeln!(out)?;
        }
    }
    Ok(())
}

/// What a change is called, and the number that it is about.
fn name_of(change: &TreeChange<'_>) -> (&'static str, u32) {
    match change {
        TreeChange::Put { tree, .. } => ("put", tree.as_u32()),
        TreeChange::Delete { tree, .. } => ("delete", tree.as_u32()),
        TreeChange::DeleteRange { tree, .. } => ("delete-range", tree.as_u32()),
        TreeChange::CreateTree { tree, .. } => ("create-tree", tree.as_u32()),
        TreeChange::RenameTree { tree, .. } => ("rename-tree", tree.as_u32()),
        TreeChange::DropTree { tree } => ("drop-tree", tree.as_u32()),
        TreeChange::PassOver { next } => ("pass-over", *next),
    }
}

fn write_change(out: &mut impl Write, text: Text, change: &TreeChange<'_>) -> io::Result<()> {
    let (name, tree) = name_of(change);
    write!(out, "{name}\ttree {tree}")?;
    let mut write = |before: &str, bytes: &[u8], behind: &str| {
        write!(out, "\t{before}")?;
        text.write(out, bytes)?;
        write!(out, "{behind}")
    };
    match *change {
        TreeChange::Put { key, value, .. } => write("", key, &format!("\t{} bytes", value.len())),
        TreeChange::Delete { key, .. } => write("", key, ""),
        TreeChange::CreateTree { name, .. } | TreeChange::RenameTree { name, .. } => {
            write("", name, "")
        }
        TreeChange::DeleteRange { start, end, .. } => {
            match start {
                Bound::Unbounded => {}
                Bound::Included(key) => write("from ", key, "")?,
                Bound::Excluded(key) => write("behind ", key, "")?,
            }
            match end {
                Bound::Unbounded => Ok(()),
                Bound::Included(key) => write("up to and with ", key, ""),
                Bound::Excluded(key) => write("up to ", key, ""),
            }
        }
        TreeChange::DropTree { .. } | TreeChange::PassOver { .. } => Ok(()),
    }
}

// As JSON.

/// Writes a group as one document, change by change: there may be millions of them.
fn write_group_json(
    out: &mut impl Write,
    text: Text,
    group: &RawGroup,
    records: bool,
) -> io::Result<()> {
    let header = group.header();
    let kind = if group.is_wrap() { "wrap" } else { "commits" };
    let document = json!({
        "kind": kind, "position": group.position(), "offset": group.offset(),
        "bytes": group.file_bytes(), "session": header.session,
        "transactions": header.transactions, "first_version": header.first_version,
        "known": header.known, "names": header.names,
    });
    let document = document.to_string();
    let open = document.strip_suffix('}').unwrap_or(&document);
    out.write_all(open.as_bytes())?;
    if records {
        out.write_all(b",\"records\":[")?;
        for (index, (version, changes)) in group.commits().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(out, "{comma}{{\"version\":{version},\"changes\":[")?;
            write_changes_json(out, text, changes)?;
            out.write_all(b"]}")?;
        }
        out.write_all(b"]")?;
    }
    out.write_all(b"}\n")
}

fn write_changes_json(out: &mut impl Write, text: Text, changes: Changes<'_>) -> io::Result<()> {
    for (index, change) in changes.enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        let change = match change {
            Ok(change) => change_as_json(text, &change),
            Err(error) => json!({"kind": "damaged", "what": error.to_string()}),
        };
        write_json_part(out, &change)?;
    }
    Ok(())
}

fn change_as_json(text: Text, change: &TreeChange<'_>) -> Value {
    let (name, tree) = name_of(change);
    let mut object = Map::new();
    object.insert("kind".to_owned(), Value::from(name));
    object.insert("tree".to_owned(), Value::from(tree));
    match *change {
        TreeChange::Put { key, value, .. } => {
            insert_bytes(&mut object, text, "key", key);
            object.insert("value_bytes".to_owned(), Value::from(value.len()));
        }
        TreeChange::Delete { key, .. } => insert_bytes(&mut object, text, "key", key),
        TreeChange::CreateTree { name, .. } | TreeChange::RenameTree { name, .. } => {
            insert_bytes(&mut object, text, "name", name);
        }
        TreeChange::DeleteRange { start, end, .. } => {
            match start {
                Bound::Unbounded => {}
                Bound::Included(key) => insert_bytes(&mut object, text, "from", key),
                Bound::Excluded(key) => insert_bytes(&mut object, text, "behind", key),
            }
            match end {
                Bound::Unbounded => {}
                Bound::Included(key) => insert_bytes(&mut object, text, "up_to_and_with", key),
                Bound::Excluded(key) => insert_bytes(&mut object, text, "up_to", key),
            }
        }
        TreeChange::DropTree { .. } | TreeChange::PassOver { .. } => {}
    }
    object.into()
}
