//! `create`: an empty database.

use std::path::Path;

use serde_json::json;
use yieldb::Create;

use super::{change, options, print_json};
use crate::args::Global;
use crate::error::{CliError, CliResult};

/// Makes an empty database; refuses to overwrite.
pub fn run(global: &Global, file: &Path, page_size: u32) -> CliResult<()> {
    if global.read_only {
        return Err(CliError::usage("create makes a file, --read-only forbids it"));
    }
    let options = options(global).create(Create::New).page_size(page_size);
    let info = change(global, options, file, |database| Ok(database.info()))?;
    if global.json {
        let file = file.to_string_lossy();
        return print_json(&json!({"file": file, "page_size": info.page_size}));
    }
    Ok(())
}
