//! Errors of the I/O model.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A result of the I/O model.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a completion failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused or failed an I/O.
    #[error(transparent)]
    Io(Arc<IoError>),
    /// The operation was cancelled on request before it took place.
    #[error("the operation was cancelled")]
    Cancelled,
    /// Whoever was to finish the completion gave it up: its last handle was dropped unfinished.
    #[error("the operation was abandoned before it was submitted")]
    Abandoned,
    /// The operating system has no memory for this many bytes.
    #[error("no memory for {len} bytes")]
    OutOfMemory {
        /// How many bytes were asked for.
        len: usize,
    },
    /// This process is a fork of the one that opened the file. It has copies of the engine's
    /// memory, and shares the file, its lock and the ring with it.
    #[error("this process is a fork of the one that opened the database: open it here")]
    Forked,
    /// The bytes arrived, but their reader refused them (a failed checksum, for example).
    #[error("what was read as number {number} is damaged: {what}")]
    Rejected {
        /// The reader's own number of what was read.
        number: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl Error {
    /// The `errno` of a failed I/O, if that is what this is.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Io(error) => Some(error.errno),
            Error::Cancelled
            | Error::Abandoned
            | Error::OutOfMemory { .. }
            | Error::Forked
            | Error::Rejected { .. } => None,
        }
    }
}

impl From<IoError> for Error {
    fn from(error: IoError) -> Self {
        Error::Io(Arc::new(error))
    }
}

/// A failed I/O: what was asked, how far it got, and the operating system's reason.
#[derive(Clone, Debug)]
pub struct IoError {
    /// What was asked for.
    pub operation: Operation,
    /// The file it was asked of.
    pub file: Arc<Path>,
    /// Where in the file, in bytes; 0 for operations without an offset.
    pub offset: u64,
    /// How many bytes were asked for; 0 for operations without a length.
    pub len: usize,
    /// How many bytes had been transferred before the failure.
    pub done: usize,
    /// The operating system's error number, positive.
    pub errno: i32,
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.operation, self.file.display())?;
        if self.len > 0 {
            write!(f, " at offset {}, {} of {} bytes", self.offset, self.done, self.len)?;
        }
        write!(f, ": {}", std::io::Error::from_raw_os_error(self.errno))
    }
}

impl std::error::Error for IoError {}

/// What an I/O was to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Open or create a file.
    Open,
    /// Remove a directory entry.
    Remove,
    /// Rename a directory entry.
    Rename,
    /// Make a directory's entries durable.
    SyncDirectory,
    /// Read bytes at an offset.
    Read,
    /// Write bytes at an offset.
    Write,
    /// Make a file's contents durable.
    Sync,
    /// Reserve room for a range of a file.
    Allocate,
    /// Set a file's length.
    Truncate,
    /// Have memory ready for what is read.
    Prepare,
    /// Ask for a file's length.
    Size,
    /// Lock a file.
    Lock,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Open => "open",
            Operation::Remove => "remove",
            Operation::Rename => "rename",
            Operation::SyncDirectory => "sync of directory",
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::Sync => "sync",
            Operation::Allocate => "allocation",
            Operation::Truncate => "truncation",
            Operation::Prepare => "preparation of memory",
            Operation::Size => "size",
            Operation::Lock => "lock",
        })
    }
}
