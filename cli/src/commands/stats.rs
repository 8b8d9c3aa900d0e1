//! `stats`: what a database consists of.

use std::io::Write;
use std::path::Path;

use indicatif::ProgressBar;
use serde_json::{Map, Value, json};
use yieldb::inspect::{LogSummary, RawFile, RawLog};
use yieldb::{Database, LargeStats, LenStats, LevelStats, LogStats, Snapshot, Tree, TreeStats};

use super::{open_to_read, output, patiently, print_json, trees};
use crate::args::Global;
use crate::error::CliResult;
use crate::escape::Text;
use crate::format::insert_bytes;
use crate::progress::{Unit, bar};

/// The longest bar of a histogram, in columns.
const BAR_LEN: u64 = 40;

/// A tree's name, and what it consists of.
type Named = (Vec<u8>, TreeStats);

/// Reads every page of all trees, or of the one that is chosen, and tells what is there.
pub fn run(global: &Global, file: &Path) -> CliResult<()> {
    let database = open_to_read(global, file)?;
    let log = find_log(file, &database)?;
    let snapshot = database.snapshot();
    let chosen: Vec<(Tree, Vec<u8>)> = match &global.tree {
        Some(_) => vec![(trees::to_read(global, &snapshot)?, trees::chosen(global)?)],
        None => snapshot.trees().map(|(tree, name, _)| (tree, name.to_vec())).collect(),
    };
    let counts = chosen.iter().map(|(tree, _)| snapshot.count(*tree));
    let total = counts.sum::<yieldb::Result<u64>>()?;
    let progress = bar(Unit::Entries, Some(total), global.quiet);
    let mut named = Vec::new();
    for (tree, name) in chosen {
        named.push((name, gather(&snapshot, tree, &progress)?));
    }
    progress.finish_and_clear();
    if global.json {
        return print_json(&as_json(global.text(), &database, log.as_ref(), &named));
    }
    let mut out = output();
    for (name, stats) in &named {
        out.write_all(b"tree ")?;
        global.text().write(&mut out, name)?;
        out.write_all(b"\n")?;
        write_tree(&mut out, stats)?;
        out.write_all(b"\n")?;
    }
    write_database(&mut out, &database, log.as_ref())?;
    Ok(out.flush()?)
}

/// The log that the database was read with: how long it is, and what is in it. None if the file has
/// all, which it has when a reading command could put it there.
fn find_log(file: &Path, database: &Database) -> CliResult<Option<(LogStats, LogSummary)>> {
    let Some(stats) = database.metrics().log else { return Ok(None) };
    let raw = patiently(|| RawFile::open(file, None))?;
    let summary = raw.log()?.as_ref().map(RawLog::summary).transpose()?;
    Ok(summary.map(|summary| (stats, summary)))
}

fn gather(snapshot: &Snapshot, tree: Tree, progress: &ProgressBar) -> CliResult<TreeStats> {
    let before = progress.position();
    let stats = snapshot.stats(tree, |done| progress.set_position(before + done.entries))?;
    Ok(stats.wait()?)
}

fn write_tree(out: &mut impl Write, stats: &TreeStats) -> CliResult<()> {
    writeln!(out, "  entries  {}", stats.entries())?;
    writeln!(out, "  depth    {}", stats.levels.len())?;
    writeln!(out, "  pages    {}", stats.pages())?;
    let LargeStats { count, pages, total, .. } = stats.large;
    if count > 0 {
        writeln!(out, "  large    {count} values in {pages} pages, {total} bytes")?;
    }
    if !stats.levels.is_empty() {
        writeln!(
            out,
            "  level  kind           pages   used  by tenths of a page, from empty to full"
        )?;
    }
    for (level, nodes) in stats.levels.iter().enumerate().rev() {
        let kind = if level == 0 { "leaf" } else { "interior" };
        let (pages, fill) = (nodes.pages, 100.0 * nodes.mean_fill(stats.page_len));
        write!(out, "  {level:5}  {kind:8}  {pages:10}  {fill:4.0}%  ")?;
        let counts: Vec<String> = nodes.fill.iter().map(ToString::to_string).collect();
        writeln!(out, "{}", counts.join(" "))?;
    }
    write_lens(out, "keys", &stats.keys)?;
    write_lens(out, "values", &stats.values)
}

fn write_lens(out: &mut impl Write, what: &str, lens: &LenStats) -> CliResult<()> {
    if lens.count == 0 {
        return Ok(());
    }
    let LenStats { total, min, max, .. } = lens;
    writeln!(out, "  {what}: {total} bytes, from {min} to {max}, {:.1} on average", lens.mean())?;
    let most = lens.buckets.iter().copied().max().unwrap_or(0).max(1);
    let last = lens.buckets.iter().rposition(|count| *count > 0).unwrap_or(0);
    let first = lens.buckets.iter().position(|count| *count > 0).unwrap_or(0);
    for index in first..=last {
        let ((least, greatest), count) = (LenStats::bounds(index), lens.buckets[index]);
        // What is there is seen.
        let len = (u128::from(count) * u128::from(BAR_LEN)).div_ceil(u128::from(most)) as usize;
        let line = format!("  {least:10} to {greatest:10}  {count:12}  {}", "#".repeat(len));
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn write_database(
    out: &mut impl Write,
    database: &Database,
    log: Option<&(LogStats, LogSummary)>,
) -> CliResult<()> {
    let (info, cache) = (database.info(), database.cache_stats());
    let space = info.space;
    let free = space.free;
    writeln!(out, "space")?;
    writeln!(out, "  pages    {} of {} bytes", space.pages, info.page_size)?;
    writeln!(out, "  used     {}, {} of them by older versions only", space.used, space.held)?;
    writeln!(out, "  free     {free}, {} bytes", free * u64::from(info.page_size))?;
    writeln!(out, "cache")?;
    writeln!(out, "  pages    {} of {}, {} dirty", cache.resident, cache.frames, cache.dirty)?;
    writeln!(out, "  memory   {} of {} bytes", cache.memory_bytes, cache.limit_bytes)?;
    writeln!(out, "  lookups  {} found, {} missed", cache.hits, cache.misses)?;
    writeln!(out, "  evicted  {}", cache.evictions)?;
    writeln!(out, "I/O")?;
    writeln!(out, "  read     {} bytes in {} reads", cache.bytes_read, cache.reads)?;
    writeln!(out, "  written  {} pages", cache.pages_written)?;
    let Some((stats, summary)) = log else { return Ok(writeln!(out, "log\n  none")?) };
    let (groups, commits, new) = (summary.groups, summary.commits, summary.new_commits);
    writeln!(out, "log")?;
    writeln!(out, "  length   {} bytes, {} of them used", stats.len, stats.used)?;
    writeln!(out, "  groups   {groups}")?;
    writeln!(out, "  commits  {commits}, {new} of them not in the file yet")?;
    Ok(())
}

fn as_json(
    text: Text,
    database: &Database,
    log: Option<&(LogStats, LogSummary)>,
    named: &[Named],
) -> Value {
    let trees: Vec<Value> = named.iter().map(|named| tree_as_json(text, named)).collect();
    let mut object = Map::new();
    object.insert("trees".to_owned(), Value::from(trees));
    object.extend(database_as_json(database));
    let log = log.map(|(stats, summary)| {
        json!({
            "bytes": stats.len, "used_bytes": stats.used, "groups": summary.groups,
            "commits": summary.commits, "new_commits": summary.new_commits,
        })
    });
    object.insert("log".to_owned(), Value::from(log));
    object.into()
}

fn tree_as_json(text: Text, (name, stats): &Named) -> Value {
    let mut object = Map::new();
    insert_bytes(&mut object, text, "name", name);
    let level = |(level, nodes): (usize, &LevelStats)| {
        json!({
            "level": level, "kind": if level == 0 { "leaf" } else { "interior" },
            "pages": nodes.pages, "used_bytes": nodes.used_len, "fill_tenths": nodes.fill,
        })
    };
    let levels: Vec<Value> = stats.levels.iter().enumerate().map(level).collect();
    let fields = json!({
        "entries": stats.entries(), "depth": stats.levels.len(), "pages": stats.pages(),
        "levels": levels,
        "large": {
            "values": stats.large.count, "pages": stats.large.pages, "bytes": stats.large.total,
        },
        "keys": lens_as_json(&stats.keys), "values": lens_as_json(&stats.values),
    });
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
    object.into()
}

fn lens_as_json(lens: &LenStats) -> Value {
    let counted = lens.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
    let histogram: Vec<Value> = counted
        .map(|(index, count)| {
            let (from, to) = LenStats::bounds(index);
            json!({"from": from, "to": to, "count": count})
        })
        .collect();
    json!({"bytes": lens.total, "min": lens.min, "max": lens.max, "histogram": histogram})
}

fn database_as_json(database: &Database) -> Map<String, Value> {
    let (info, cache) = (database.info(), database.cache_stats());
    let fields = json!({
        "entries": info.entries,
        "page_size": info.page_size,
        "space": {
            "pages": info.space.pages, "used": info.space.used, "held": info.space.held,
            "free": info.space.free,
        },
        "cache": {
            "pages": cache.frames, "resident": cache.resident, "dirty": cache.dirty,
            "memory_bytes": cache.memory_bytes, "limit_bytes": cache.limit_bytes,
            "hits": cache.hits, "misses": cache.misses, "evictions": cache.evictions,
        },
        "io": {
            "reads": cache.reads, "bytes_read": cache.bytes_read,
            "pages_written": cache.pages_written,
        },
    });
    if let Value::Object(fields) = fields { fields } else { Map::new() }
}
