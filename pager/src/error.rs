//! What can go wrong with pages and their file.

use yieldb_core as core;

use crate::superblock::OpenError;

/// A result of the pager.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation on pages failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The I/O failed.
    #[error(transparent)]
    Io(core::Error),
    /// A page is not what its reader may rely on.
    #[error("page {page} is damaged: {what}")]
    Corrupt {
        /// The page's number.
        page: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The file as a whole cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Another process, or another handle of this one, has the file open in a way that excludes
    /// this one.
    #[error("the database is in use: {holder}")]
    Locked {
        /// What the other one is doing.
        holder: &'static str,
    },
    /// A write was asked of a database that was opened for reading only.
    #[error("the database was opened for reading only")]
    ReadOnly,
    /// A sync or a superblock write failed earlier, so what is durable is unknown. Opening the
    /// database again finds out.
    #[error("the database is poisoned by an earlier failure: {cause}; open it again to recover")]
    Poisoned {
        /// The failure.
        cause: core::Error,
    },
    /// A write of the log failed while the commit was under way: whether it is durable is found out
    /// by opening the database again.
    #[error("whether the commit is durable is unknown: {cause}; open the database again to see")]
    OutcomeUnknown {
        /// The failure.
        cause: core::Error,
    },
    /// The log has changes that do not fit the cache, and the file was opened for reading only.
    #[error("the file has to be recovered, and was opened for reading only: open it for writing")]
    NeedsRecovery,
    /// The thread that is to wait for the writer's turn has it itself.
    #[error("this thread has the writer's turn, and would wait for itself")]
    OwnTurn,
    /// The cache is too small to work in.
    #[error("a cache of {bytes} bytes is too small, {min} is the least for this page size")]
    CacheTooSmall {
        /// What was asked for, in bytes.
        bytes: u64,
        /// The least for the file's page size, in bytes.
        min: u64,
    },
    /// The cache that is to be shared is for pages of another size.
    #[error("the cache is for pages of {cache} bytes, the file has pages of {file}")]
    CachePageSize {
        /// The cache's page size, in bytes.
        cache: u32,
        /// The file's, in bytes.
        file: u32,
    },
    /// An earlier failure of a write in the same transaction; it can only be given up.
    #[error("the transaction is doomed by an earlier failure: {cause}")]
    Doomed {
        /// The failure.
        cause: core::Error,
    },
}

impl From<core::Error> for Error {
    fn from(error: core::Error) -> Self {
        if let core::Error::Rejected { number, what } = error {
            return Error::Corrupt { page: number, what };
        }
        Error::Io(error)
    }
}
