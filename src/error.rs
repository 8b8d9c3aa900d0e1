//! What can go wrong.

use std::io;
use std::path::PathBuf;

use yieldb_btree as btree;
use yieldb_core as core;
use yieldb_pager as pager;
use yieldb_pager::superblock::OpenError;

/// The number of the error `there is no room`, and that of `no more than this user's part`.
const ENOSPC: i32 = 28;
const EDQUOT: i32 = if cfg!(target_os = "linux") { 122 } else { 69 };

/// A result of the database.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database could not be opened.
    #[error("{}: {cause}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: btree::Error,
    },
    /// The operation on an open database failed.
    #[error(transparent)]
    Operation(btree::Error),
    /// There is no driver for the I/O.
    #[error("no driver for the I/O: {}", io::Error::from_raw_os_error(*errno))]
    NoDriver {
        /// The operating system's error number.
        errno: i32,
    },
    /// The page size is not a power of two from 4,096 to 65,536 bytes.
    #[error("a page size of {bytes} bytes is impossible: 4096, 8192, 16384, 32768 or 65536")]
    PageSize {
        /// What was asked for.
        bytes: u32,
    },
}

/// What kind of thing went wrong, for callers that act by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller asked for something impossible: a key that is too long, a write on a database
    /// that was opened for reading.
    Usage,
    /// The file, or a page of it, is damaged.
    Damaged,
    /// Another process or handle has the file open in a way that excludes this one. A process that
    /// was killed keeps its lock for the moment that the kernel needs to end its last I/O.
    Locked,
    /// The operating system refused or failed: no such file, no permission, an I/O error.
    System,
    /// There is no room on the medium, or no quota: what was to be stored is not, and all else is
    /// as before. Reads go on, and so do commits once there is room.
    NoSpace,
    /// The file is not a yieldb file, or one of a format that this version does not read.
    Foreign,
    /// The file beside it is missing that has the newest commits, the log: the two belong together.
    LogMissing,
    /// The log has more changes than the cache has room for, and the file was opened for reading
    /// only: open it for writing, or with a larger cache.
    NeedsRecovery,
    /// The outcome of an earlier failure must be found out by opening the database again.
    Poisoned,
}

impl Error {
    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Open { cause, .. } | Error::Operation(cause) => kind_of(cause),
            Error::NoDriver { .. } => ErrorKind::System,
            Error::PageSize { .. } => ErrorKind::Usage,
        }
    }

    /// The operating system's error number, if it is one of its errors.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Open { cause: btree::Error::Pager(pager::Error::Io(cause)), .. }
            | Error::Operation(btree::Error::Pager(pager::Error::Io(cause))) => cause.errno(),
            Error::NoDriver { errno } => Some(*errno),
            Error::Open { .. } | Error::Operation(_) | Error::PageSize { .. } => None,
        }
    }

    /// The number of the damaged page, if it is known.
    pub fn damaged_page(&self) -> Option<u64> {
        match self {
            Error::Open {
                cause: btree::Error::Pager(pager::Error::Corrupt { page, .. }), ..
            }
            | Error::Operation(btree::Error::Pager(pager::Error::Corrupt { page, .. })) => {
                Some(*page)
            }
            Error::Open { .. }
            | Error::Operation(_)
            | Error::NoDriver { .. }
            | Error::PageSize { .. } => None,
        }
    }
}

fn kind_of(error: &btree::Error) -> ErrorKind {
    match error {
        btree::Error::KeyTooLong { .. }
        | btree::Error::ValueTooLong { .. }
        | btree::Error::NoSuchTree { .. }
        | btree::Error::TreeExists { .. }
        | btree::Error::TreeName { .. }
        | btree::Error::MainTree
        | btree::Error::BehindValue { .. }
        | btree::Error::ValueIncomplete { .. }
        | btree::Error::SavepointOver
        | btree::Error::TreeNotEmpty { .. }
        | btree::Error::TooManyTrees => ErrorKind::Usage,
        btree::Error::Record { .. } => ErrorKind::Damaged,
        btree::Error::Pager(error) => match error {
            pager::Error::Corrupt { .. } => ErrorKind::Damaged,
            pager::Error::Open(
                OpenError::Damaged { .. } | OpenError::Cut { .. } | OpenError::DamagedLog(_),
            ) => ErrorKind::Damaged,
            pager::Error::Open(OpenError::LogMissing { .. }) => ErrorKind::LogMissing,
            pager::Error::NeedsRecovery => ErrorKind::NeedsRecovery,
            pager::Error::Open(_) => ErrorKind::Foreign,
            pager::Error::Locked { .. } => ErrorKind::Locked,
            pager::Error::ReadOnly
            | pager::Error::OwnTurn
            | pager::Error::CacheTooSmall { .. }
            | pager::Error::CachePageSize { .. } => ErrorKind::Usage,
            pager::Error::Poisoned { .. } | pager::Error::OutcomeUnknown { .. } => {
                ErrorKind::Poisoned
            }
            pager::Error::Io(core::Error::Rejected { .. }) => ErrorKind::Damaged,
            pager::Error::Io(core::Error::Forked) => ErrorKind::Usage,
            pager::Error::Io(cause) | pager::Error::Doomed { cause } if is_no_space(cause) => {
                ErrorKind::NoSpace
            }
            _ => ErrorKind::System,
        },
        _ => ErrorKind::System,
    }
}

fn is_no_space(cause: &core::Error) -> bool {
    matches!(cause.errno(), Some(ENOSPC | EDQUOT))
}

impl From<btree::Error> for Error {
    fn from(error: btree::Error) -> Self {
        Error::Operation(error)
    }
}
