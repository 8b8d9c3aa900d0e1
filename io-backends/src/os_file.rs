//! Files of the operating system, one system call at a time.

use std::fs::{self, TryLockError};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, OFlags};
use yieldb_core::{Create, LockKind, OpenOptions, SyncMethod};

use crate::request::{Directory, Medium, Raw};
use crate::sync_method::MethodChoice;

/// A file of the operating system.
#[derive(Debug)]
pub(crate) struct OsFile {
    file: fs::File,
    path: Arc<Path>,
    direct: bool,
    methods: MethodChoice,
    /// The process that opened it.
    process: u32,
}

impl OsFile {
    /// A file that was opened, past the operating system's cache or not.
    ///
    /// Directories, pipes, sockets and devices are refused: they do not hold what was written.
    pub fn new(file: fs::File, path: &Path, direct: bool, usual: SyncMethod) -> Raw<OsFile> {
        let metadata = file.metadata().map_err(errno)?;
        if metadata.is_dir() {
            return Err(libc::EISDIR);
        }
        if !metadata.is_file() {
            return Err(libc::ENOTSUP);
        }
        // It was opened so that a pipe is not waited for. Of a regular file it would have older
        // kernels refuse what their block device cannot begin at once.
        let flags = rustix::fs::fcntl_getfl(&file).map_err(rustix::io::Errno::raw_os_error)?;
        let flags = flags.difference(OFlags::NONBLOCK);
        rustix::fs::fcntl_setfl(&file, flags).map_err(rustix::io::Errno::raw_os_error)?;
        let methods = MethodChoice::new(usual);
        let process = std::process::id();
        Ok(OsFile { file, path: Arc::from(path), direct, methods, process })
    }

    /// The file's descriptor.
    pub fn raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl Drop for OsFile {
    fn drop(&mut self) {
        // Closing would do, but for a kernel that still holds the file for a moment after it has
        // told that its last I/O is over. Nothing is in flight: a request keeps its file.
        // A fork has the same lock, not one of its own: it is not its to give back.
        if self.process == std::process::id() {
            let _unlocked = self.file.unlock().is_ok();
        }
    }
}

impl AsFd for OsFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Medium for OsFile {
    fn path(&self) -> &Arc<Path> {
        &self.path
    }

    fn is_at(&self, path: &Path) -> bool {
        let (Ok(own), Ok(there)) = (self.file.metadata(), fs::metadata(path)) else { return false };
        (own.dev(), own.ino()) == (there.dev(), there.ino())
    }

    fn is_direct(&self) -> bool {
        self.direct
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Raw<usize> {
        self.file.read_at(bytes, offset).map_err(errno)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Raw<usize> {
        self.file.write_at(bytes, offset).map_err(errno)
    }

    #[cfg(target_os = "linux")]
    fn write_durably_at(&self, offset: u64, bytes: &[u8]) -> Raw<usize> {
        let flags = rustix::io::ReadWriteFlags::DSYNC;
        let written = rustix::io::pwritev2(&self.file, &[io::IoSlice::new(bytes)], offset, flags);
        match written.map_err(rustix::io::Errno::raw_os_error) {
            // A file system, or a sandbox, that does not know it.
            Err(libc::ENOSYS | libc::EOPNOTSUPP | libc::EINVAL) => {
                let len = self.write_at(offset, bytes)?;
                self.sync()?;
                Ok(len)
            }
            other => other,
        }
    }

    fn methods(&self) -> Option<&MethodChoice> {
        cfg!(target_os = "linux").then_some(&self.methods)
    }

    fn sync(&self) -> Raw<()> {
        self.file.sync_data().map_err(errno)
    }

    fn allocate(&self, offset: u64, len: u64) -> Raw<()> {
        let result = rustix::fs::fallocate(&self.file, FallocateFlags::empty(), offset, len);
        result.map_err(rustix::io::Errno::raw_os_error)
    }

    fn truncate(&self, len: u64) -> Raw<()> {
        self.file.set_len(len).map_err(errno)
    }

    fn size(&self) -> Raw<u64> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(errno)
    }

    fn try_lock(&self, kind: LockKind) -> Raw<bool> {
        let result = match kind {
            LockKind::Shared => self.file.try_lock_shared(),
            LockKind::Exclusive => self.file.try_lock(),
        };
        match result {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(errno(error)),
        }
    }

    fn resolved_path(&self) -> PathBuf {
        // The names on the way were just looked up by the open.
        fs::canonicalize(&*self.path).unwrap_or_else(|_| self.path.to_path_buf())
    }
}

/// The operating system's directories.
#[derive(Debug)]
pub(crate) struct OsDirectory;

impl Directory for OsDirectory {
    fn open(&self, path: &Path, options: OpenOptions) -> Raw<Arc<dyn Medium>> {
        let (file, direct) = match open(path, options, options.direct) {
            // A file system that cannot go past the cache says so.
            Err(libc::EINVAL) if options.direct => (open(path, options, false)?, false),
            result => (result?, options.direct),
        };
        Ok(Arc::new(OsFile::new(file, path, direct, SyncMethod::WriteAndSync)?))
    }

    fn remove(&self, path: &Path) -> Raw<()> {
        fs::remove_file(path).map_err(errno)
    }

    fn rename(&self, from: &Path, to: &Path) -> Raw<()> {
        fs::rename(from, to).map_err(errno)
    }

    fn sync_directory(&self, path: &Path) -> Raw<()> {
        fs::File::open(path).and_then(|directory| directory.sync_all()).map_err(errno)
    }
}

fn open(path: &Path, options: OpenOptions, direct: bool) -> Raw<fs::File> {
    let mut how = fs::OpenOptions::new();
    how.read(true).write(options.write);
    match options.create {
        Create::Never => {}
        Create::IfMissing => {
            how.create(true);
        }
        Create::New => {
            how.create_new(true);
        }
    }
    // Not to wait for the other end of a named pipe.
    how.custom_flags(libc::O_NONBLOCK | if direct { libc::O_DIRECT } else { 0 });
    how.open(path).map_err(errno)
}

/// The error number of a failed call. What the standard library refuses by itself is `EINVAL`.
pub(crate) fn errno(error: io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EINVAL)
}

/// Fills `bytes` with random ones.
pub(crate) fn random(bytes: &mut [u8]) {
    let mut filled = 0;
    while filled < bytes.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        match rustix::rand::getrandom(&mut bytes[filled..], flags) {
            Ok(len) => filled += len,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("the operating system has no random numbers: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regular_file_is_not_left_as_one_that_answers_at_once_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let options = OpenOptions { write: true, create: Create::New, direct: false };
        let file = open(&path, options, false).unwrap();
        assert!(rustix::fs::fcntl_getfl(&file).unwrap().contains(OFlags::NONBLOCK));
        let file = OsFile::new(file, &path, false, SyncMethod::WriteAndSync).unwrap();
        assert!(!rustix::fs::fcntl_getfl(&file).unwrap().contains(OFlags::NONBLOCK));
    }
}
