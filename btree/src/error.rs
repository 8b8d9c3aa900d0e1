//! What can go wrong with trees.

use yieldb_pager as pager;

/// A result of the tree layer.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation on a tree failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The pages could not be had.
    #[error(transparent)]
    Pager(pager::Error),
    /// A key is longer than a node can hold.
    #[error("a key of {len} bytes is too long, {max} is the most for this page size")]
    KeyTooLong {
        /// The key's length in bytes.
        len: usize,
        /// The most for the file's page size, in bytes.
        max: usize,
    },
    /// A value is longer than can be stored with its key.
    #[error("a value of {len} bytes is too long, {max} is the most for its key and page size")]
    ValueTooLong {
        /// The value's length in bytes.
        len: usize,
        /// The most for this key and the file's page size, in bytes.
        max: usize,
    },
}

impl<E: Into<pager::Error>> From<E> for Error {
    fn from(error: E) -> Self {
        Error::Pager(error.into())
    }
}

/// The error for a page that contradicts what its parent said of it.
pub(crate) fn corrupt(page: pager::PageRef, what: &'static str) -> Error {
    Error::Pager(pager::Error::Corrupt { page: page.page().as_u64(), what })
}
