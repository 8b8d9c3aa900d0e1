//! Where a database's log is.

use std::ffi::OsString;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use yieldb_core::File;

/// The path of a database's log: beside its file, with a name made of the file's.
#[derive(Clone, Debug)]
pub struct LogPath {
    data: PathBuf,
    log: PathBuf,
}

impl LogPath {
    /// That of the database at `data`, a path without symbolic links.
    pub fn new(data: PathBuf) -> LogPath {
        let mut log = OsString::from(&data);
        log.push("-log");
        LogPath { data, log: PathBuf::from(log) }
    }

    /// That of the database in `file`.
    pub(crate) fn of(file: &dyn File) -> LogPath {
        Self::new(file.resolved_path())
    }

    /// Is `file`, the database's, still where it was when it was opened? Where it was renamed, what
    /// is here may be the log of the one that has its name now, of a copy even.
    pub(crate) fn is_beside(&self, file: &dyn File) -> bool {
        file.is_at(&self.data)
    }
}

impl Deref for LogPath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.log
    }
}
