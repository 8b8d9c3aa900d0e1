//! What the kernel works on: requests from their submission until their last completion.
//!
//! ```text
//!   submit --> waiting for room --> in the kernel --> result -- all moved, or failed --> finished
//!                    ^                                  '-- a part, an interruption --.
//!                    '-----------------------------------------------------------------'
//! ```
//!
//! A durable write is one request that the kernel makes durable, or goes on as a sync when all is
//! moved: which is quicker is [found out](crate::sync_method).
//!
//! A request owns everything that the kernel reads or writes on its behalf (buffers, paths, the
//! file) until the kernel is done with it, whoever has stopped waiting.

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use io_uring::{opcode, squeue, types};
use yieldb_core::{
    Buffers, Completion, Create, Error, File, OpenOptions, Operation, Request, SharedBuffers,
    SyncMethod,
};

use crate::os_file::OsFile;
use crate::request::{Medium, failure, finish_read, operation_of, place};
use crate::sync_method::{Attempt, MethodChoice};
use crate::transfer::{After, MAX_RETRIES, Transfer, TransferKind};

/// The most buffers that one system call takes.
const MAX_IOVECS: usize = 1024;

/// One request.
pub(super) struct InFlight {
    pub completion: Completion,
    work: Work,
    /// Somebody asked for an early end.
    pub cancelled: bool,
    /// How often it came to nothing. A [`Move`] counts for itself.
    retries: u32,
}

/// What is to be done. A move is by far the most frequent, so it is not boxed.
#[allow(clippy::large_enum_variant)]
pub(super) enum Work {
    Move(Move),
    /// Advice: however it ends, it ends well.
    Prepare {
        buffers: Buffers,
    },
    Sync {
        file: Arc<OsFile>,
    },
    Allocate {
        file: Arc<OsFile>,
        offset: u64,
        len: u64,
    },
    /// Where the ring cannot do it, whoever reaps does.
    Truncate {
        file: Arc<OsFile>,
        len: u64,
        by_ring: bool,
    },
    Open {
        path: Name,
        options: OpenOptions,
        direct: bool,
    },
    Remove {
        path: Name,
    },
    Rename {
        from: Name,
        to: Name,
    },
    OpenDirectory {
        path: Name,
    },
    SyncDirectory {
        path: Name,
        directory: OwnedFd,
    },
}

/// A read or a write.
pub(super) struct Move {
    file: Arc<OsFile>,
    offset: u64,
    /// How it is made durable, if it is.
    durable: Option<Attempt>,
    /// Are all bytes written, and is the file being synced?
    is_syncing: bool,
    transfer: Transfer,
    buffers: Memory,
}

/// The memory of a read or a write.
enum Memory {
    Read(Buffers),
    Write(SharedBuffers),
}

/// A read into one piece of memory, which a request owns.
pub(super) struct Read {
    fd: RawFd,
    start: *mut u8,
    len: usize,
    offset: u64,
}

impl Read {
    /// Performs it on this thread. Returns the kernel's result: a count, or an error below zero.
    ///
    /// The request is where it was until the result is taken.
    pub fn perform(self) -> i32 {
        let Read { fd, start, len, offset } = self;
        // SAFETY: 1. the request owns the memory and the file, and stays in its place until it has
        // the result. 2. It was taken out of the queue, so that the kernel has it only once.
        let count = unsafe { libc::pread(fd, start.cast(), len, offset as libc::off_t) };
        match count {
            0.. => count as i32,
            _ => -std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO),
        }
    }
}

/// A path as the kernel and as an error want it.
pub(super) struct Name {
    path: PathBuf,
    bytes: CString,
}

/// A piece of memory, as the kernel is told of it.
#[repr(transparent)]
pub(super) struct Iovec(#[allow(dead_code)] libc::iovec);

// SAFETY: the pointer is to memory of a request's buffers, which may be sent.
unsafe impl Send for Iovec {}

/// How a request goes on after a result.
pub(super) enum Next {
    /// It is submitted again.
    Again(InFlight),
    /// It is over. To be finished where no lock is held.
    Over(Over),
    /// To be [truncated](InFlight::truncate) where no lock is held.
    Truncate(InFlight),
}

/// A request that is over, with what it had: giving that back, too, may wake somebody, or take
/// long.
pub(super) struct Over {
    completion: Completion,
    end: End,
    file: Option<Arc<OsFile>>,
    directory: Option<OwnedFd>,
}

enum End {
    Read(Buffers, std::result::Result<usize, yieldb_core::IoError>),
    Written(SharedBuffers, std::result::Result<usize, Error>),
    Opened(Arc<OsFile>),
    Done(usize),
    Failed(Error),
}

impl Name {
    /// A name; `Err` with the error number for one that no file can have.
    pub fn new(path: &Path) -> std::result::Result<Name, i32> {
        let bytes = CString::new(path.as_os_str().as_bytes()).map_err(|_| libc::EINVAL)?;
        Ok(Name { path: path.to_path_buf(), bytes })
    }
}

impl InFlight {
    pub fn new(work: Work, completion: Completion) -> InFlight {
        InFlight { completion, work, cancelled: false, retries: 0 }
    }

    /// A read or a write of all buffers of `completion`.
    pub fn transfer(
        file: Arc<OsFile>,
        offset: u64,
        kind: TransferKind,
        durable: bool,
        completion: Completion,
    ) -> InFlight {
        let (buffers, len) = match kind {
            TransferKind::Read => {
                let buffers = completion.take_buffers();
                let len = buffers.iter().map(|buffer| buffer.len()).sum();
                (Memory::Read(buffers), len)
            }
            TransferKind::Write => {
                let buffers = completion.take_shared_buffers();
                let len = buffers.iter().map(|buffer| buffer.len()).sum();
                (Memory::Write(buffers), len)
            }
        };
        let transfer = Transfer::new(kind, len, file.is_direct());
        let durable = file.methods().filter(|_| durable).map(MethodChoice::begin);
        let work = Move { file, offset, durable, is_syncing: false, transfer, buffers };
        InFlight::new(Work::Move(work), completion)
    }

    /// Ends it unsubmitted: this is a fork of the process that the ring belongs to.
    pub fn refuse(self) {
        let InFlight { completion, work, .. } = self;
        match work {
            Work::Move(Move { buffers: Memory::Read(buffers), .. }) | Work::Prepare { buffers } => {
                completion.fail_read(Error::Forked, buffers);
            }
            _ => {
                completion.fail(Error::Forked);
            }
        }
    }

    /// What the kernel is asked. Everything it points to is owned by this request, or in `iovecs`,
    /// which the kernel may look at until the request is over.
    pub fn entry(&mut self, iovecs: &mut Vec<Iovec>) -> squeue::Entry {
        let cwd = types::Fd(libc::AT_FDCWD);
        match &mut self.work {
            Work::Move(work) if work.is_for_workers() => {
                work.entry(iovecs).flags(squeue::Flags::ASYNC)
            }
            Work::Move(work) => work.entry(iovecs),
            Work::Prepare { buffers } => match buffers.first_mut() {
                Some(buffer) => {
                    let len = buffer.len() as libc::off_t;
                    let start = buffer.as_mut_ptr().cast();
                    opcode::Madvise::new(start, len, libc::MADV_POPULATE_WRITE).build()
                }
                None => opcode::Nop::new().build(),
            },
            Work::Sync { file } => data_sync(file.raw_fd()),
            Work::Allocate { file, offset, len } => {
                opcode::Fallocate::new(types::Fd(file.raw_fd()), *len).offset(*offset).build()
            }
            Work::Truncate { file, len, by_ring: true } => {
                opcode::Ftruncate::new(types::Fd(file.raw_fd()), *len).build()
            }
            Work::Truncate { by_ring: false, .. } => opcode::Nop::new().build(),
            Work::Open { path, options, direct } => {
                let flags = open_flags(*options, *direct);
                opcode::OpenAt::new(cwd, path.bytes.as_ptr()).flags(flags).mode(0o666).build()
            }
            Work::Remove { path } => opcode::UnlinkAt::new(cwd, path.bytes.as_ptr()).build(),
            Work::Rename { from, to } => {
                opcode::RenameAt::new(cwd, from.bytes.as_ptr(), cwd, to.bytes.as_ptr()).build()
            }
            Work::OpenDirectory { path } => {
                let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
                opcode::OpenAt::new(cwd, path.bytes.as_ptr()).flags(flags).build()
            }
            Work::SyncDirectory { directory, .. } => {
                opcode::Fsync::new(types::Fd(directory.as_raw_fd())).build()
            }
        }
    }

    /// The request as one that any thread can perform, if it is a read into one buffer.
    pub fn as_read(&mut self) -> Option<Read> {
        let Work::Move(Move { file, offset, transfer, buffers: Memory::Read(buffers), .. }) =
            &mut self.work
        else {
            return None;
        };
        let done = transfer.done();
        let [buffer] = &mut buffers[..] else { return None };
        let (start, len) = tail_mut(buffer, done);
        let offset = *offset + done as u64;
        Some(Read { fd: file.raw_fd(), start, len: len as usize, offset })
    }

    /// What the request is called, and where it stands, for the hook.
    pub fn describe(&self) -> (Operation, u64, usize) {
        match &self.work {
            Work::Move(work) if work.is_syncing => (Operation::Sync, 0, 0),
            Work::Move(work) => {
                let done = work.transfer.done();
                let operation = operation_of(work.transfer.kind());
                (operation, work.offset + done as u64, work.transfer.len() - done)
            }
            Work::Prepare { .. } => (Operation::Prepare, 0, 0),
            Work::Sync { .. } => (Operation::Sync, 0, 0),
            Work::Allocate { offset, .. } => (Operation::Allocate, *offset, 0),
            Work::Truncate { len, .. } => (Operation::Truncate, *len, 0),
            Work::Open { .. } => (Operation::Open, 0, 0),
            Work::Remove { .. } => (Operation::Remove, 0, 0),
            Work::Rename { .. } => (Operation::Rename, 0, 0),
            Work::OpenDirectory { .. } | Work::SyncDirectory { .. } => {
                (Operation::SyncDirectory, 0, 0)
            }
        }
    }

    /// Takes the kernel's result.
    pub fn after(mut self, result: i32) -> Next {
        if let Work::Move(work) = &mut self.work
            && !work.is_syncing
        {
            return match work.transfer.after(result, self.cancelled) {
                After::Continue => Next::Again(self),
                After::Finished(_) if work.begin_sync() => Next::Again(self),
                After::Finished(len) => self.over(Ok(len)),
                After::Failed(errno) => self.over(Err(errno)),
            };
        }
        let interrupted = matches!(-result, libc::EINTR | libc::EAGAIN)
            || -result == libc::ECANCELED && !self.cancelled;
        if interrupted && self.retries < MAX_RETRIES {
            self.retries += 1;
            return Next::Again(self);
        }
        if let Work::Prepare { .. } = &self.work {
            return self.over(Ok(0));
        }
        if result < 0 {
            return self.failed(-result);
        }
        if let Work::Truncate { by_ring: false, .. } = &self.work {
            return Next::Truncate(self);
        }
        if let Work::Move(work) = &self.work {
            let len = work.transfer.len();
            return self.over(Ok(len));
        }
        let InFlight { completion, work, cancelled, retries } = self;
        match work {
            Work::Open { path, direct, .. } => {
                // SAFETY: the descriptor was just opened for this request and is nobody else's.
                let descriptor = unsafe { OwnedFd::from_raw_fd(result) };
                Next::Over(Over::new(completion, opened(descriptor, &path.path, direct)))
            }
            Work::OpenDirectory { path } => {
                // SAFETY: the descriptor was just opened for this request and is nobody else's.
                let directory = unsafe { OwnedFd::from_raw_fd(result) };
                let work = Work::SyncDirectory { path, directory };
                Next::Again(InFlight { completion, work, cancelled, retries })
            }
            work @ (Work::Move(_)
            | Work::Prepare { .. }
            | Work::Sync { .. }
            | Work::Allocate { .. }
            | Work::Truncate { .. }
            | Work::Remove { .. }
            | Work::Rename { .. }
            | Work::SyncDirectory { .. }) => {
                InFlight { completion, work, cancelled, retries }.over(Ok(0))
            }
        }
    }

    /// Sets the length of a file on this thread, where the kernel does not do it when asked through
    /// the ring.
    pub fn truncate(self) -> Over {
        let result = match &self.work {
            Work::Truncate { file, len, .. } => file.truncate(*len).map(|()| 0),
            _ => unreachable!("only what is to be truncated is"),
        };
        self.end(result)
    }

    /// What failed with `errno`, unless there is another way.
    fn failed(mut self, errno: i32) -> Next {
        if let Work::Open { direct, .. } = &mut self.work
            && *direct
            && errno == libc::EINVAL
        {
            // A file system that cannot go past the cache says so.
            *direct = false;
            return Next::Again(self);
        }
        self.over(Err(errno))
    }

    fn over(self, result: std::result::Result<usize, i32>) -> Next {
        Next::Over(self.end(result))
    }

    fn end(self, result: std::result::Result<usize, i32>) -> Over {
        let (operation, ..) = self.describe();
        let InFlight { completion, work, cancelled, retries: _ } = self;
        let cancelled = cancelled && result == Err(libc::ECANCELED);
        let (mut file, mut directory, mut memory) = (None, None, None);
        let (path, offset, len, done): (Arc<Path>, _, _, _) = match work {
            Work::Move(work) => {
                let Move { file: own, offset, durable, transfer, buffers, .. } = work;
                if let (Some(attempt), Some(methods), Ok(_)) = (durable, own.methods(), &result) {
                    methods.end(attempt);
                }
                memory = Some(buffers);
                let path = file.insert(own).path().clone();
                (path, offset, transfer.len(), transfer.done())
            }
            Work::Prepare { buffers } => {
                memory = Some(Memory::Read(buffers));
                (PathBuf::new().into(), 0, 0, 0)
            }
            Work::Sync { file: own } => (file.insert(own).path().clone(), 0, 0, 0),
            Work::Allocate { file: own, offset, .. } => {
                (file.insert(own).path().clone(), offset, 0, 0)
            }
            Work::Truncate { file: own, len, .. } => (file.insert(own).path().clone(), len, 0, 0),
            Work::SyncDirectory { path, directory: own } => {
                directory = Some(own);
                (path.path.into(), 0, 0, 0)
            }
            Work::Open { path, .. }
            | Work::Remove { path }
            | Work::Rename { from: path, .. }
            | Work::OpenDirectory { path } => (path.path.into(), 0, 0, 0),
        };
        let result = result.map_err(|errno| failure(operation, &path, offset, len, done, errno));
        let end = match (result, memory) {
            (Err(_), Some(Memory::Write(buffers))) if cancelled => {
                End::Written(buffers, Err(Error::Cancelled))
            }
            (Err(_), _) if cancelled => End::Failed(Error::Cancelled),
            (result, Some(Memory::Read(buffers))) => End::Read(buffers, result),
            (result, Some(Memory::Write(buffers))) => {
                End::Written(buffers, result.map_err(Error::from))
            }
            (Ok(len), None) => End::Done(len),
            (Err(error), None) => End::Failed(error.into()),
        };
        Over { file, directory, ..Over::new(completion, end) }
    }
}

impl Over {
    fn new(completion: Completion, end: End) -> Over {
        Over { completion, end, file: None, directory: None }
    }

    /// Tells everybody. Sinks, callbacks and wakers run inside. `file` makes a handle of what was
    /// opened, if the ring is still there.
    pub fn finish(self, file: impl FnOnce(Arc<OsFile>) -> Option<Arc<dyn File>>) {
        let Over { completion, end, file: own, directory } = self;
        drop((own, directory));
        match end {
            End::Read(buffers, result) => finish_read(&completion, buffers, result),
            End::Written(buffers, result) => {
                drop(buffers);
                match result {
                    Ok(len) => completion.succeed(len),
                    Err(error) => completion.fail(error),
                };
            }
            End::Opened(opened) => match file(opened) {
                Some(file) => {
                    completion.succeed_open(file);
                }
                None => {
                    completion.fail(Error::Abandoned);
                }
            },
            End::Done(len) => {
                completion.succeed(len);
            }
            End::Failed(error) => {
                completion.fail(error);
            }
        }
    }
}

impl Move {
    /// Should a thread of the kernel's begin it, and not the one that submits? Those are on their
    /// way at once that somebody waits for. Pages that are written beside commits cost their thread
    /// a seventh of its time otherwise: each write that is handed to a virtual disk may be a way
    /// out to the host and back. What goes through the kernel's cache is but a copy.
    fn is_for_workers(&self) -> bool {
        let is_write = matches!(self.buffers, Memory::Write(_));
        is_write && self.durable.is_none() && self.file.is_direct()
    }

    /// All bytes are written: is the file to be synced then?
    fn begin_sync(&mut self) -> bool {
        let is_wanted = |attempt: Attempt| attempt.method == SyncMethod::WriteAndSync;
        self.is_syncing = self.durable.is_some_and(is_wanted);
        self.is_syncing
    }

    fn entry(&mut self, iovecs: &mut Vec<Iovec>) -> squeue::Entry {
        if self.is_syncing {
            return data_sync(self.file.raw_fd());
        }
        let file = types::Fd(self.file.raw_fd());
        let done = self.transfer.done();
        let offset = self.offset + done as u64;
        let flags = match self.durable {
            Some(Attempt { method: SyncMethod::DurableWrite, .. }) => libc::RWF_DSYNC,
            Some(_) | None => 0,
        };
        iovecs.clear();
        match &mut self.buffers {
            Memory::Read(buffers) if buffers.len() == 1 => {
                let (start, len) = tail_mut(&mut buffers[0], done);
                opcode::Read::new(file, start, len).offset(offset).build()
            }
            Memory::Write(buffers) if buffers.len() == 1 => {
                let (start, len) = tail(&buffers[0], done);
                opcode::Write::new(file, start, len).offset(offset).rw_flags(flags).build()
            }
            Memory::Read(buffers) => {
                let lens = buffers.iter().map(|buffer| buffer.len());
                let (first, mut skip) = if buffers.is_empty() { (0, 0) } else { place(lens, done) };
                for buffer in buffers.iter_mut().skip(first).take(MAX_IOVECS) {
                    let (start, len) = tail_mut(buffer, std::mem::take(&mut skip));
                    iovecs.push(iovec(start, len));
                }
                let (start, count) = (iovecs.as_ptr().cast(), iovecs.len() as u32);
                opcode::Readv::new(file, start, count).offset(offset).build()
            }
            Memory::Write(buffers) => {
                let lens = buffers.iter().map(|buffer| buffer.len());
                let (first, mut skip) = if buffers.is_empty() { (0, 0) } else { place(lens, done) };
                for buffer in buffers.iter().skip(first).take(MAX_IOVECS) {
                    let (start, len) = tail(buffer, std::mem::take(&mut skip));
                    iovecs.push(iovec(start.cast_mut(), len));
                }
                let (start, count) = (iovecs.as_ptr().cast(), iovecs.len() as u32);
                opcode::Writev::new(file, start, count).offset(offset).rw_flags(flags).build()
            }
        }
    }
}

fn tail_mut(buffer: &mut [u8], from: usize) -> (*mut u8, u32) {
    let tail = &mut buffer[from..];
    (tail.as_mut_ptr(), u32::try_from(tail.len()).unwrap_or(!4095))
}

fn tail(buffer: &[u8], from: usize) -> (*const u8, u32) {
    let tail = &buffer[from..];
    (tail.as_ptr(), u32::try_from(tail.len()).unwrap_or(!4095))
}

fn iovec(start: *mut u8, len: u32) -> Iovec {
    Iovec(libc::iovec { iov_base: start.cast(), iov_len: len as usize })
}

fn data_sync(fd: RawFd) -> squeue::Entry {
    opcode::Fsync::new(types::Fd(fd)).flags(types::FsyncFlags::DATASYNC).build()
}

fn open_flags(options: OpenOptions, direct: bool) -> i32 {
    let access = if options.write { libc::O_RDWR } else { libc::O_RDONLY };
    let create = match options.create {
        Create::Never => 0,
        Create::IfMissing => libc::O_CREAT,
        Create::New => libc::O_CREAT | libc::O_EXCL,
    };
    // Not to wait for the other end of a named pipe.
    let rest = libc::O_CLOEXEC | libc::O_NONBLOCK;
    access | create | rest | if direct { libc::O_DIRECT } else { 0 }
}

/// What an open comes to, once there is a descriptor.
fn opened(descriptor: OwnedFd, path: &Path, direct: bool) -> End {
    let file = std::fs::File::from(descriptor);
    match OsFile::new(file, path, direct, SyncMethod::DurableWrite) {
        Ok(file) => End::Opened(Arc::new(file)),
        Err(errno) => End::Failed(failure(Operation::Open, path, 0, 0, 0, errno).into()),
    }
}
