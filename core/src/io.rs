//! Where files come from.

use std::path::Path;

use crate::{Clock, Completion};

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// May the file be written through this handle?
    pub write: bool,
    /// What if there is no such file, or there is one?
    pub create: Create,
    /// Go past the operating system's cache (`O_DIRECT`) where the file system can. Offsets,
    /// lengths and memory of every read and write must then be multiples of 4,096 bytes. Where
    /// it cannot, the file is opened without, and [`crate::File::is_direct`] says so.
    pub direct: bool,
}

/// Whether opening makes a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// The file must exist.
    Never,
    /// An existing file is opened, a missing one is created empty.
    IfMissing,
    /// The file must not exist.
    New,
}

/// The engine's side of an I/O driver: it submits, and never waits.
///
/// Every function takes the [`Completion`] that it will finish. A failure, even one at submission,
/// is a failed completion: there is no second error path. A completion may be finished before the
/// function returns, and its sink and wakers then run inside the call, so no lock that they
/// need may be held here.
pub trait IO: Clock {
    /// Opens a file; [`crate::Request::take_file`] has it once the completion succeeded.
    fn open(&self, path: &Path, options: OpenOptions, completion: Completion);

    /// Removes a file's directory entry. Durable only after [`IO::sync_directory`].
    fn remove(&self, path: &Path, completion: Completion);

    /// Renames a file, replacing what has the new name. Durable only after
    /// [`IO::sync_directory`].
    fn rename(&self, from: &Path, to: &Path, completion: Completion);

    /// Makes the entries of a directory durable.
    fn sync_directory(&self, directory: &Path, completion: Completion);

    /// Fills `bytes` with random ones, from the operating system or from a simulation's seed.
    fn random(&self, bytes: &mut [u8]);
}
