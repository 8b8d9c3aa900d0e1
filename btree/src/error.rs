//! What can go wrong with trees.

use std::path::PathBuf;

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
    /// The version or the transaction has no such tree: it was created later, or dropped.
    #[error("there is no tree with the number {tree}")]
    NoSuchTree {
        /// The tree's number.
        tree: u32,
    },
    /// There is a tree with this name.
    #[error("there is a tree named \"{name}\" already")]
    TreeExists {
        /// The name, escaped.
        name: String,
    },
    /// A tree's name is empty or too long.
    #[error("a tree's name of {len} bytes is impossible, it has 1 to {max}")]
    TreeName {
        /// The name's length in bytes.
        len: usize,
        /// The most for the file's page size, in bytes.
        max: usize,
    },
    /// The tree `main` keeps its name, and cannot be dropped.
    #[error("the tree \"main\" can be neither renamed nor dropped")]
    MainTree,
    /// A part of a value was read or written that the value does not have.
    #[error("byte {end} is behind the end of a value of {len}")]
    BehindValue {
        /// Where the part would end, in bytes.
        end: u64,
        /// The value's length in bytes.
        len: u64,
    },
    /// A value that is stored piece by piece is not complete.
    #[error("only {written} bytes of a value of {len} were written")]
    ValueIncomplete {
        /// How many bytes were written.
        written: u64,
        /// The value's length in bytes.
        len: u64,
    },
    /// A tree with entries cannot be loaded in bulk.
    #[error("the tree has {count} entries, only an empty one can be loaded in bulk")]
    TreeNotEmpty {
        /// How many entries it has.
        count: u64,
    },
    /// The file that entries are sorted in is not what was written to it.
    #[error("the sort file {} is damaged at offset {offset}: {what}", path.display())]
    SortFile {
        /// The file. It has no name any more.
        path: PathBuf,
        /// Where the damage is, in bytes.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The record of a transaction cannot be what a transaction did.
    #[error("the record of a transaction is damaged at byte {offset}: {what}")]
    Record {
        /// Where the change begins that is none, or cannot be made, in bytes.
        offset: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// The savepoint was released, or the transaction went back to an older one.
    #[error("the savepoint is over")]
    SavepointOver,
    /// All numbers of trees were used once.
    #[error("no more trees can be created in this database")]
    TooManyTrees,
    /// A value is longer than can be stored.
    #[error("a value of {len} bytes is too long, {max} is the most")]
    ValueTooLong {
        /// The value's length in bytes.
        len: u64,
        /// The most, in bytes.
        max: u64,
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
