//! Requests that this process performs itself, one system call after the other: what the pread
//! back-end does to files and the memory back-end to vectors.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use yieldb_core::{
    Buffers, Completion, Error, File, IoError, LockKind, OpenOptions, Operation, Request as _,
    SharedBuffers, SyncMethod,
};

use crate::sync_method::MethodChoice;
use crate::transfer::{After, MAX_RETRIES, RawHook, Transfer, TransferKind};

/// A result of the operating system: an error is its number.
pub(crate) type Raw<T> = std::result::Result<T, i32>;

/// Something with bytes at offsets. Each function is one attempt.
pub(crate) trait Medium: Send + Sync {
    fn path(&self) -> &Arc<Path>;
    fn is_at(&self, path: &Path) -> bool;
    fn is_direct(&self) -> bool;
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Raw<usize>;
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Raw<usize>;
    fn sync(&self) -> Raw<()>;

    /// The same as [`Medium::write_at`], and the bytes are durable; only where there are
    /// [`Medium::methods`].
    fn write_durably_at(&self, _offset: u64, _bytes: &[u8]) -> Raw<usize> {
        Err(libc::ENOTSUP)
    }

    /// How durable writes are made, if there is more than a write and a sync.
    fn methods(&self) -> Option<&MethodChoice> {
        None
    }

    fn allocate(&self, offset: u64, len: u64) -> Raw<()>;
    fn truncate(&self, len: u64) -> Raw<()>;
    fn size(&self) -> Raw<u64>;
    fn try_lock(&self, kind: LockKind) -> Raw<bool>;

    /// The directory that has the entry.
    fn directory(&self) -> PathBuf {
        directory_of(&self.resolved_path())
    }

    /// The file's path, with symbolic links followed.
    fn resolved_path(&self) -> PathBuf {
        self.path().to_path_buf()
    }
}

/// The directory that a path names an entry of.
pub(crate) fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        Some(_) | None => PathBuf::from("."),
    }
}

/// Something with files by name.
pub(crate) trait Directory: Send + Sync {
    fn open(&self, path: &Path, options: OpenOptions) -> Raw<Arc<dyn Medium>>;
    fn remove(&self, path: &Path) -> Raw<()>;
    fn rename(&self, from: &Path, to: &Path) -> Raw<()>;
    fn sync_directory(&self, path: &Path) -> Raw<()>;
}

/// What is to be done.
pub(crate) enum Work {
    Read { medium: Arc<dyn Medium>, offset: u64 },
    Write { medium: Arc<dyn Medium>, offset: u64, durable: bool },
    Sync { medium: Arc<dyn Medium> },
    Allocate { medium: Arc<dyn Medium>, offset: u64, len: u64 },
    Truncate { medium: Arc<dyn Medium>, len: u64 },
    Open { path: PathBuf, options: OpenOptions },
    Remove { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf },
    SyncDirectory { path: PathBuf },
}

/// Something to be done, and whom to tell.
pub(crate) struct Request {
    pub work: Work,
    pub completion: Completion,
}

impl Request {
    /// Ends it unperformed: this is a fork of the process that it would be performed for.
    pub fn refuse(self) {
        self.completion.fail(Error::Forked);
    }

    /// Ends it unperformed: the back-end is gone.
    pub fn abandon(self) {
        self.completion.fail(Error::Abandoned);
    }
}

/// What requests are performed with.
pub(crate) struct Performer {
    pub directory: Arc<dyn Directory>,
    pub hook: Option<Arc<dyn RawHook>>,
}

impl Performer {
    /// Performs a request and finishes its completion. `file` makes a handle of what was opened.
    pub fn perform(&self, request: Request, file: impl FnOnce(Arc<dyn Medium>) -> Arc<dyn File>) {
        let Request { work, completion } = request;
        match work {
            Work::Read { medium, offset } => self.read(&*medium, offset, &completion),
            Work::Write { medium, offset, durable } => {
                self.write(&*medium, offset, durable, &completion);
            }
            Work::Sync { medium } => {
                let result = self.hooked(Operation::Sync, || medium.sync());
                end(&completion, Operation::Sync, medium.path(), 0, result);
            }
            Work::Allocate { medium, offset, len } => {
                let result = self.hooked(Operation::Allocate, || medium.allocate(offset, len));
                end(&completion, Operation::Allocate, medium.path(), offset, result);
            }
            Work::Truncate { medium, len } => {
                let result = self.hooked(Operation::Truncate, || medium.truncate(len));
                end(&completion, Operation::Truncate, medium.path(), len, result);
            }
            Work::Open { path, options } => match self.directory.open(&path, options) {
                Ok(medium) => {
                    completion.succeed_open(file(medium));
                }
                Err(errno) => end(&completion, Operation::Open, &path, 0, Err(errno)),
            },
            Work::Remove { path } => {
                let result = self.directory.remove(&path);
                end(&completion, Operation::Remove, &path, 0, result);
            }
            Work::Rename { from, to } => {
                let result = self.directory.rename(&from, &to);
                end(&completion, Operation::Rename, &from, 0, result);
            }
            Work::SyncDirectory { path } => {
                let result = self.directory.sync_directory(&path);
                end(&completion, Operation::SyncDirectory, &path, 0, result);
            }
        }
    }

    fn read(&self, medium: &dyn Medium, offset: u64, completion: &Completion) {
        let mut buffers = completion.take_buffers();
        let len = buffers.iter().map(|buffer| buffer.len()).sum();
        let transfer = Transfer::new(TransferKind::Read, len, medium.is_direct());
        let moved = self.transfer(medium, offset, transfer, |at| {
            let (index, start) = place(buffers.iter().map(|buffer| buffer.len()), at);
            medium.read_at(offset + at as u64, &mut buffers[index][start..])
        });
        finish_read(completion, buffers, moved);
    }

    fn write(&self, medium: &dyn Medium, offset: u64, durable: bool, completion: &Completion) {
        let buffers: SharedBuffers = completion.take_shared_buffers();
        let len = buffers.iter().map(|buffer| buffer.len()).sum();
        let transfer = Transfer::new(TransferKind::Write, len, medium.is_direct());
        let methods = medium.methods().filter(|_| durable);
        let attempt = methods.map(MethodChoice::begin);
        let is_durable = attempt.is_some_and(|attempt| attempt.method == SyncMethod::DurableWrite);
        let moved = self.transfer(medium, offset, transfer, |at| {
            let (index, start) = place(buffers.iter().map(|buffer| buffer.len()), at);
            let (offset, bytes) = (offset + at as u64, &buffers[index][start..]);
            match is_durable {
                true => medium.write_durably_at(offset, bytes),
                false => medium.write_at(offset, bytes),
            }
        });
        drop(buffers);
        let moved = match moved {
            Ok(len) if durable && !is_durable => match self
                .hooked(Operation::Sync, || medium.sync())
            {
                Ok(()) => Ok(len),
                Err(errno) => Err(failure(Operation::Sync, medium.path(), offset, len, len, errno)),
            },
            other => other,
        };
        if let (Some(methods), Some(attempt), Ok(_)) = (methods, attempt, &moved) {
            methods.end(attempt);
        }
        match moved {
            Ok(len) => completion.succeed(len),
            Err(error) => completion.fail(error),
        };
    }

    /// Moves bytes piece by piece. `step` moves some, from a place among the request's bytes on.
    fn transfer(
        &self,
        medium: &dyn Medium,
        offset: u64,
        mut transfer: Transfer,
        mut step: impl FnMut(usize) -> Raw<usize>,
    ) -> Result<usize, IoError> {
        let operation = operation_of(transfer.kind());
        if transfer.len() == 0 {
            return Ok(0);
        }
        loop {
            let result = match step(transfer.done()) {
                Ok(len) => i32::try_from(len).expect("a buffer is shorter than 2 GiB"),
                Err(errno) => -errno,
            };
            let at = offset + transfer.done() as u64;
            let result = self.raw(operation, at, transfer.len() - transfer.done(), result);
            match transfer.after(result, false) {
                After::Continue => {}
                After::Finished(len) => return Ok(len),
                After::Failed(errno) => {
                    let (len, done) = (transfer.len(), transfer.done());
                    return Err(failure(operation, medium.path(), offset, len, done, errno));
                }
            }
        }
    }

    fn raw(&self, operation: Operation, offset: u64, len: usize, result: i32) -> i32 {
        self.hook.as_ref().map_or(result, |hook| hook.raw(operation, offset, len, result))
    }

    /// What the hook makes of an attempt without a count. An interrupted one is made again, but
    /// not for ever.
    fn hooked(&self, operation: Operation, mut attempt: impl FnMut() -> Raw<()>) -> Raw<()> {
        for retries in 0.. {
            let raw = attempt().map_or_else(|errno| -errno, |()| 0);
            let raw = self.raw(operation, 0, 0, raw);
            let again = matches!(-raw, libc::EINTR | libc::EAGAIN | libc::ECANCELED);
            if raw >= 0 || !again || retries == MAX_RETRIES {
                return if raw < 0 { Err(-raw) } else { Ok(()) };
            }
        }
        unreachable!("the last attempt is the end")
    }
}

/// What a transfer is called.
pub(crate) fn operation_of(kind: TransferKind) -> Operation {
    match kind {
        TransferKind::Read => Operation::Read,
        TransferKind::Write => Operation::Write,
    }
}

/// Which of several buffers has the byte at `at`, and where in it.
pub(crate) fn place(lens: impl Iterator<Item = usize>, at: usize) -> (usize, usize) {
    let mut start = 0;
    for (index, len) in lens.enumerate() {
        if at < start + len {
            return (index, at - start);
        }
        start += len;
    }
    panic!("a transfer goes on at byte {at} of {start}")
}

/// Finishes a read.
pub(crate) fn finish_read(
    completion: &Completion,
    buffers: Buffers,
    result: Result<usize, IoError>,
) {
    match result {
        Ok(len) => completion.succeed_read(len, buffers),
        Err(error) => completion.fail_read(Error::from(error), buffers),
    };
}

/// Finishes what has no bytes to move.
pub(crate) fn end(
    completion: &Completion,
    operation: Operation,
    path: &Path,
    offset: u64,
    result: Raw<()>,
) {
    match result {
        Ok(()) => completion.succeed(0),
        Err(errno) => completion.fail(failure(operation, path, offset, 0, 0, errno)),
    };
}

/// An error with all that is known.
pub(crate) fn failure(
    operation: Operation,
    path: &Path,
    offset: u64,
    len: usize,
    done: usize,
    errno: i32,
) -> IoError {
    IoError { operation, file: Arc::from(path), offset, len, done, errno }
}
