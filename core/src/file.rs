//! An open file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Completion, Request, Result};

/// A lock on a whole file, held until the last handle on the file is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Many may hold it, as long as nobody holds an exclusive one.
    Shared,
    /// One may hold it, as long as nobody holds any.
    Exclusive,
}

/// How a durable write is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMethod {
    /// As one request that is durable when it ends: `RWF_DSYNC`.
    DurableWrite,
    /// As a write, and then a sync of the file: `fdatasync`.
    WriteAndSync,
}

/// What is known of the durable writes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurableWrites {
    /// How they are made.
    pub method: SyncMethod,
    /// How long they took in the median, in the two ways in their order, once that was measured.
    pub medians: Option<(Duration, Duration)>,
}

/// An open file: a source and target of I/O that is submitted and finished later.
///
/// Requests are unordered: two that are in flight together may take effect in either order, and a
/// sync covers only the writes that had *finished before it was submitted*. Dropping the last
/// handle closes the file once nothing is in flight on it.
///
/// See [`crate::IO`] for how failures are reported.
pub trait File: Send + Sync {
    /// Fills the buffers of `completion` (a [`Completion::read`]) from `offset` on, in order.
    ///
    /// Short transfers are continued. At the end of the file the completion succeeds with fewer
    /// bytes than the buffers hold; the rest of the buffers is unspecified.
    fn read(&self, offset: u64, completion: Completion);

    /// Writes the buffers of `completion` (a [`Completion::write`]) at `offset`, in order.
    ///
    /// Short transfers are continued: success means every byte. With `durable`, success also means
    /// that these bytes, and the length that they gave the file, survive a power cut; other
    /// writes are not covered.
    fn write(&self, offset: u64, durable: bool, completion: Completion);

    /// Makes durable every write that had finished, and the file's length.
    fn sync_data(&self, completion: Completion);

    /// Reserves room on the medium for `len` bytes at `offset`, growing the file if they lie past
    /// its end. What was never written reads as zeros.
    fn allocate(&self, offset: u64, len: u64, completion: Completion);

    /// Sets the length of the file to `len` bytes.
    fn truncate(&self, len: u64, completion: Completion);

    /// Has the operating system find memory for the buffer of `completion` (a
    /// [`Completion::read`] with one), which was never used. Where a huge page has to be found and
    /// cleared, or the host of a virtual machine has to find it first, whoever uses it first waits
    /// for milliseconds otherwise.
    ///
    /// It is advice: what cannot be done beside other work is left to the first use, and the
    /// completion succeeds. The contents of the buffer are unspecified then.
    fn prepare(&self, completion: Completion) {
        let buffers = completion.take_buffers();
        completion.succeed_read(0, buffers);
    }

    /// The length of the file in bytes. Answers at once.
    ///
    /// # Errors
    ///
    /// The operating system's, as [`crate::Error::Io`].
    fn size(&self) -> Result<u64>;

    /// Tries to take a lock that other processes and other handles respect; answers at once.
    /// `false` if somebody holds a lock that excludes this one.
    ///
    /// # Errors
    ///
    /// The operating system's, as [`crate::Error::Io`].
    fn try_lock(&self, kind: LockKind) -> Result<bool>;

    /// Does this file go past the operating system's cache?
    fn is_direct(&self) -> bool;

    /// The path that the file was opened by.
    fn path(&self) -> &Path;

    /// Does `path` lead to this file? `false` also if that cannot be found out. Answers at once.
    fn is_at(&self, path: &Path) -> bool;

    /// The directory that has the file's entry, where symbolic links of its path lead: the one to
    /// be synced when the file was created. Answers at once.
    fn directory(&self) -> PathBuf;

    /// How durable writes are made; `None` where there is only one way.
    fn durable_writes(&self) -> Option<DurableWrites> {
        None
    }

    /// The path that the file was opened by, with symbolic links followed: what other files that
    /// belong to it are named after. Answers at once.
    fn resolved_path(&self) -> PathBuf {
        self.path().to_path_buf()
    }
}
