//! Files in memory: nothing survives the process.
//!
//! In the *immediate* form a request is performed when it is submitted. In the *yielding* form it
//! is performed when the driver is turned, one at a time, in an order that a seed decides: what
//! the engine may rely on of the order of completions is nothing.
//!
//! There is no cache to go past. A file that is opened to go past it is said to do so, since the
//! engine does otherwise where one write may be told of another's error.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use yieldb_core::sync::atomic::{AtomicU64, Ordering};
use yieldb_core::sync::{Arc, Mutex, MutexGuard, PoisonError, thread};
use yieldb_core::{Clock, Completion, Create, Driver, IO, LockKind, MonotonicClock, OpenOptions};

use crate::Backend;
use crate::queued_file::{QueuedFile, Submit};
use crate::request::{Directory, Medium, Performer, Raw, Request, Work};
use crate::transfer::RawHook;

/// Files by name. Clones share them, so a database can be closed and opened again.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    files: Arc<Mutex<HashMap<PathBuf, Arc<Inode>>>>,
}

/// What all handles on a file share.
#[derive(Default)]
struct Inode {
    bytes: Mutex<Vec<u8>>,
    locks: Mutex<Locks>,
}

#[derive(Default)]
struct Locks {
    exclusive: bool,
    shared: usize,
}

impl MemoryDisk {
    /// A disk without files.
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// The bytes of a file.
    pub fn image(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let inode = self.files().get(path.as_ref())?.clone();
        let bytes = lock(&inode.bytes).clone();
        Some(bytes)
    }

    /// A disk with all files as they are at one moment: what a kill of the process would leave.
    pub fn copy(&self) -> MemoryDisk {
        let (files, copy) = (self.files(), MemoryDisk::new());
        // In the order of their names, for a checker; nobody who has one of these locks waits for
        // another one.
        let mut all: Vec<_> = files.iter().collect();
        all.sort_by_key(|(path, _)| *path);
        let all: Vec<_> = all.iter().map(|(path, inode)| (path, lock(&inode.bytes))).collect();
        for (path, bytes) in &all {
            copy.set_image(path, Vec::clone(bytes));
        }
        copy
    }

    /// Gives a file other bytes, or creates it with them.
    pub fn set_image(&self, path: impl AsRef<Path>, bytes: Vec<u8>) {
        let inode = self.files().entry(path.as_ref().to_path_buf()).or_default().clone();
        *lock(&inode.bytes) = bytes;
    }

    /// A back-end on this disk that performs each request when it is submitted.
    pub fn immediate(&self) -> Backend {
        self.backend(None, None, "asked for")
    }

    /// A back-end on this disk that performs requests when it is turned, in an order that `seed`
    /// decides.
    pub fn yielding(&self, seed: u64) -> Backend {
        self.backend(Some(seed), None, "asked for, yielding")
    }

    /// One of both, with a hook on the results of each request.
    pub fn with_hook(&self, seed: Option<u64>, hook: Arc<dyn RawHook>) -> Backend {
        self.backend(seed, Some(hook), "asked for, with a hook")
    }

    fn backend(&self, seed: Option<u64>, hook: Option<Arc<dyn RawHook>>, why: &str) -> Backend {
        let directory = Arc::new(self.clone());
        let memory = Arc::new(Memory {
            performer: Performer { directory, hook },
            yielding: seed.is_some(),
            queue: Mutex::default(),
            random: AtomicU64::new(seed.unwrap_or(0).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            clock: MonotonicClock::default(),
        });
        let handle = Arc::new(Handle(memory));
        let (engines, why) = (Arc::default(), why.to_owned());
        Backend { io: handle.clone(), driver: handle, engines, name: "memory", why }
    }

    fn files(&self) -> MutexGuard<'_, HashMap<PathBuf, Arc<Inode>>> {
        lock(&self.files)
    }
}

impl Directory for MemoryDisk {
    fn open(&self, path: &Path, options: OpenOptions) -> Raw<Arc<dyn Medium>> {
        let mut files = self.files();
        let inode = match (files.get(path), options.create) {
            (Some(_), Create::New) => return Err(libc::EEXIST),
            (None, Create::Never) => return Err(libc::ENOENT),
            (Some(inode), Create::Never | Create::IfMissing) => inode.clone(),
            (None, Create::New | Create::IfMissing) => {
                files.entry(path.to_path_buf()).or_default().clone()
            }
        };
        let (disk, path) = (self.clone(), path.into());
        Ok(Arc::new(Open { disk, path, inode, options, lock: Mutex::new(None) }))
    }

    fn remove(&self, path: &Path) -> Raw<()> {
        self.files().remove(path).map(|_| ()).ok_or(libc::ENOENT)
    }

    fn rename(&self, from: &Path, to: &Path) -> Raw<()> {
        let mut files = self.files();
        let inode = files.remove(from).ok_or(libc::ENOENT)?;
        files.insert(to.to_path_buf(), inode);
        Ok(())
    }

    fn sync_directory(&self, _path: &Path) -> Raw<()> {
        Ok(())
    }
}

/// A handle on a file.
struct Open {
    disk: MemoryDisk,
    path: Arc<Path>,
    inode: Arc<Inode>,
    options: OpenOptions,
    /// The lock that this handle holds.
    lock: Mutex<Option<LockKind>>,
}

impl Open {
    fn writable(&self) -> Raw<MutexGuard<'_, Vec<u8>>> {
        if self.options.write { Ok(lock(&self.inode.bytes)) } else { Err(libc::EBADF) }
    }
}

impl Medium for Open {
    fn path(&self) -> &Arc<Path> {
        &self.path
    }

    fn is_at(&self, path: &Path) -> bool {
        self.disk.files().get(path).is_some_and(|there| Arc::ptr_eq(there, &self.inode))
    }

    fn is_direct(&self) -> bool {
        self.options.direct
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Raw<usize> {
        let bytes = lock(&self.inode.bytes);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let len = out.len().min(bytes.len() - start);
        out[..len].copy_from_slice(&bytes[start..start + len]);
        Ok(len)
    }

    fn write_at(&self, offset: u64, new: &[u8]) -> Raw<usize> {
        let mut bytes = self.writable()?;
        let start = usize::try_from(offset).map_err(|_| libc::EFBIG)?;
        let end = start.checked_add(new.len()).ok_or(libc::EFBIG)?;
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(new);
        Ok(new.len())
    }

    fn sync(&self) -> Raw<()> {
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> Raw<()> {
        let mut bytes = self.writable()?;
        let end = offset.checked_add(len).and_then(|end| usize::try_from(end).ok());
        let end = end.ok_or(libc::EFBIG)?;
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> Raw<()> {
        let len = usize::try_from(len).map_err(|_| libc::EFBIG)?;
        self.writable()?.resize(len, 0);
        Ok(())
    }

    fn size(&self) -> Raw<u64> {
        Ok(lock(&self.inode.bytes).len() as u64)
    }

    fn try_lock(&self, kind: LockKind) -> Raw<bool> {
        let mut own = lock(&self.lock);
        let mut locks = lock(&self.inode.locks);
        let free = match kind {
            LockKind::Shared => !locks.exclusive,
            LockKind::Exclusive => !locks.exclusive && locks.shared == 0,
        };
        if own.is_some() || !free {
            return Ok(*own == Some(kind));
        }
        match kind {
            LockKind::Shared => locks.shared += 1,
            LockKind::Exclusive => locks.exclusive = true,
        }
        *own = Some(kind);
        Ok(true)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut locks = lock(&self.inode.locks);
        match *lock(&self.lock) {
            Some(LockKind::Shared) => locks.shared -= 1,
            Some(LockKind::Exclusive) => locks.exclusive = false,
            None => {}
        }
    }
}

struct Memory {
    performer: Performer,
    yielding: bool,
    queue: Mutex<Vec<Request>>,
    random: AtomicU64,
    clock: MonotonicClock,
}

impl Memory {
    fn perform(self: &Arc<Self>, request: Request) {
        self.performer
            .perform(request, |medium| Arc::new(QueuedFile { back_end: self.clone(), medium }));
    }

    /// Performs one of the queued requests; the seed says which.
    fn perform_one(self: &Arc<Self>) -> usize {
        let mut queue = lock(&self.queue);
        if queue.is_empty() {
            return 0;
        }
        let index = self.next_random() as usize % queue.len();
        let request = queue.swap_remove(index);
        drop(queue);
        self.perform(request);
        1
    }

    /// The next number of splitmix64.
    fn next_random(&self) -> u64 {
        let step = 0x9e37_79b9_7f4a_7c15;
        let mut bits = self.random.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

impl Submit for Memory {
    fn submit(self: &Arc<Self>, work: Work, completion: Completion) {
        let request = Request { work, completion };
        if self.yielding {
            lock(&self.queue).push(request);
        } else {
            self.perform(request);
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let queue = std::mem::take(&mut *lock(&self.queue));
        queue.into_iter().for_each(Request::abandon);
    }
}

/// Both sides of the back-end.
struct Handle(Arc<Memory>);

impl Clock for Handle {
    fn now(&self) -> Duration {
        self.0.clock.now()
    }
}

impl IO for Handle {
    fn open(&self, path: &Path, options: OpenOptions, completion: Completion) {
        self.0.submit(Work::Open { path: path.to_path_buf(), options }, completion);
    }

    fn remove(&self, path: &Path, completion: Completion) {
        self.0.submit(Work::Remove { path: path.to_path_buf() }, completion);
    }

    fn rename(&self, from: &Path, to: &Path, completion: Completion) {
        let work = Work::Rename { from: from.to_path_buf(), to: to.to_path_buf() };
        self.0.submit(work, completion);
    }

    fn sync_directory(&self, directory: &Path, completion: Completion) {
        self.0.submit(Work::SyncDirectory { path: directory.to_path_buf() }, completion);
    }

    fn random(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.0.next_random().to_le_bytes()[..chunk.len()]);
        }
    }
}

impl Driver for Handle {
    fn poll(&self) -> usize {
        self.0.perform_one()
    }

    fn submit(&self) {}

    fn wait(&self, until: &Completion) {
        // Another thread may be about to finish it.
        if !until.finished() && self.0.perform_one() == 0 {
            thread::yield_now();
        }
    }

    fn quiesce(&self) {
        while self.0.perform_one() > 0 {}
    }

    fn interrupt(&self) {}

    fn check_process(&self) -> yieldb_core::Result<()> {
        // A fork has files of its own.
        Ok(())
    }

    fn in_flight(&self) -> usize {
        lock(&self.0.queue).len()
    }

    fn event_fd(&self) -> Option<std::os::fd::RawFd> {
        None
    }

    fn useful_threads(&self) -> usize {
        1
    }

    fn name(&self) -> &'static str {
        "memory"
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
