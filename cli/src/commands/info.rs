//! `info`: what is known of a database.

use std::path::Path;

use serde_json::json;

use super::{open_to_read, print_json, print_line};
use crate::args::Global;
use crate::error::CliResult;
use crate::escape::Text;

/// Tells what is known of a database.
pub fn run(global: &Global, file: &Path) -> CliResult<()> {
    let info = open_to_read(global, file)?.info();
    let id = String::from_utf8_lossy(&Text::Hex.encode(&info.database_id)).into_owned();
    if global.json {
        return print_json(&json!({
            "format_version": info.format_version,
            "page_size": info.page_size,
            "file_bytes": info.file_bytes,
            "database_id": id,
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
            "log": null,
        }));
    }
    let direct = if info.direct { "direct I/O" } else { "through the system's cache" };
    print_line(format_args!(
        "format version  {}\n\
         page size       {} bytes\n\
         file size       {} bytes, {} pages, {} of them used\n\
         database id     {id}\n\
         entries         {}\n\
         trees           {}\n\
         version         {}\n\
         checkpoint      {}\n\
         session         {}\n\
         log             none\n\
         driver          {} ({}), {direct}",
        info.format_version,
        info.page_size,
        info.file_bytes,
        info.space.pages,
        info.space.used,
        info.entries,
        info.trees,
        info.version,
        info.checkpoint,
        info.session,
        info.driver,
        info.driver_reason,
    ))
}
