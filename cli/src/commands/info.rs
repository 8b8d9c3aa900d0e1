//! `info`: what is known of a database.

use std::path::Path;

use serde_json::{Value, json};
use yieldb::inspect::{LeftLog, LogSummary, Place, RawFile, RawLog};
use yieldb::{ErrorKind, Info};

use super::{
    WITHOUT_LOG, left_log, open, open_as_it_is, options, patiently, print_json, print_line,
};
use crate::args::Global;
use crate::error::{CliError, CliResult, DAMAGED};
use crate::escape::Text;

/// Tells what is known of a database, with what its log has.
pub fn run(global: &Global, file: &Path) -> CliResult<()> {
    let raw = patiently(|| RawFile::open(file, None))?;
    let log = match raw.has_log() {
        true => raw.log()?,
        // If its superblock is damaged, opening it says so.
        false => None,
    };
    let summary = log.as_ref().map(RawLog::summary).transpose()?;
    let damage = summary.as_ref().and_then(|summary| summary.damages.first());
    let (info, is_whole) = match (damage, open_as_it_is(global, file)) {
        (None, Ok(database)) => (database.info(), true),
        (None, Err(error)) if error.kind != Some(ErrorKind::NeedsRecovery) => return Err(error),
        (Some(_) | None, _) => {
            (open(global, options(global).checkpoint_only(true), file)?.info(), false)
        }
    };
    let log = log.as_ref().zip(summary.as_ref());
    let left = raw.left_log()?;
    if global.json {
        print_json(&as_json(&info, log, left, is_whole))?;
    } else {
        print_line(as_text(&info, log, left, is_whole))?;
    }
    match damage {
        None => Ok(()),
        Some(damage) => {
            let what = &damage.what;
            let message = format!("{}: its log is damaged: {what}; {WITHOUT_LOG}", file.display());
            Err(CliError::new(DAMAGED, message))
        }
    }
}

fn as_json(
    info: &Info,
    log: Option<(&RawLog<'_>, &LogSummary)>,
    left: Option<LeftLog>,
    is_whole: bool,
) -> Value {
    let place = |place: Place| json!({"position": place.position, "offset": place.offset});
    let log = log.map(|(log, summary)| {
        json!({
            "id": Text::Hex.show(&log.id()),
            "bytes": log.file_bytes(),
            "start": place(log.start()),
            "end": place(summary.end),
            "groups": summary.groups,
            "commits": summary.commits,
            "new_commits": summary.new_commits,
            "version": summary.version,
            "replayed": is_whole,
        })
    });
    json!({
        "format_version": info.format_version,
        "page_size": info.page_size,
        "file_bytes": info.file_bytes,
        "database_id": Text::Hex.show(&info.database_id),
        "entries": info.entries,
        "trees": info.trees,
        "version": info.version,
        "checkpoint": info.checkpoint,
        "session": info.session,
        "pages": info.space.pages,
        "used_pages": info.space.used,
        "driver": info.driver,
        "driver_reason": info.driver_reason,
        "direct": info.direct,
        "log": log.unwrap_or(Value::Null),
        "left_log": left.map(|left| json!({"bytes": left.file_bytes, "ours": left.is_ours})),
    })
}

fn as_text(
    info: &Info,
    log: Option<(&RawLog<'_>, &LogSummary)>,
    left: Option<LeftLog>,
    is_whole: bool,
) -> String {
    let none = || left.map_or("none".to_owned(), |left| format!("none; {}", left_log(left)));
    let direct = if info.direct { "direct I/O" } else { "through the system's cache" };
    let of = if is_whole { "" } else { ", without what only the log has" };
    format!(
        "format version  {}\n\
         page size       {} bytes\n\
         file size       {} bytes, {} pages, {} of them used\n\
         database id     {}\n\
         entries         {}{of}\n\
         trees           {}{of}\n\
         version         {}{of}\n\
         checkpoint      {}\n\
         session         {}\n\
         log             {}\n\
         driver          {} ({}), {direct}",
        info.format_version,
        info.page_size,
        info.file_bytes,
        info.space.pages,
        info.space.used,
        Text::Hex.show(&info.database_id),
        info.entries,
        info.trees,
        info.version,
        info.checkpoint,
        info.session,
        log.map_or_else(none, |(log, summary)| log_as_text(log, summary)),
        info.driver,
        info.driver_reason,
    )
}

fn log_as_text(log: &RawLog<'_>, summary: &LogSummary) -> String {
    let (start, end) = (log.start(), summary.end);
    format!(
        "in use, id {}, {} bytes\n                \
         from position {}, offset {}, to position {}, offset {}\n                \
         {} groups with {} commits, of which the checkpoint does not have {}",
        Text::Hex.show(&log.id()),
        log.file_bytes(),
        start.position,
        start.offset,
        end.position,
        end.offset,
        summary.groups,
        summary.commits,
        summary.new_commits,
    )
}
