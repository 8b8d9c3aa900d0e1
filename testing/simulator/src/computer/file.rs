//! An open file of the computer.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use yieldb_core::buffer::ALIGNMENT;
use yieldb_core::{Completion, File, LockKind, OpenOptions, Operation, Request, Result};
use yieldb_io_backends::transfer::{Transfer, TransferKind};

use super::request::{Work, failure, hash_buffers};
use super::{Shared, lock};
use crate::computer::FaultKind;
use crate::disk::directory_of;

/// Who holds locks on files, by their numbers.
#[derive(Default)]
pub(crate) struct LockTable(Mutex<Vec<Locks>>);

#[derive(Clone, Copy, Default)]
struct Locks {
    is_exclusive: bool,
    shared: usize,
}

/// What a request knows of its file. A lock is held until the last of them is gone.
pub(crate) struct Handle {
    pub path: Arc<Path>,
    /// The file's number on the disk.
    pub file: usize,
    pub options: OpenOptions,
    lock: Mutex<Option<LockKind>>,
    locks: Arc<LockTable>,
}

impl Handle {
    pub fn new(
        path: Arc<Path>,
        file: usize,
        options: OpenOptions,
        locks: Arc<LockTable>,
    ) -> Handle {
        Handle { path, file, options, lock: Mutex::default(), locks }
    }

    fn try_lock(&self, kind: LockKind) -> bool {
        let (mut own, mut table) = (lock(&self.lock), lock(&self.locks.0));
        if table.len() <= self.file {
            table.resize(self.file + 1, Locks::default());
        }
        let locks = &mut table[self.file];
        let is_free = match kind {
            LockKind::Shared => !locks.is_exclusive,
            LockKind::Exclusive => !locks.is_exclusive && locks.shared == 0,
        };
        if own.is_some() || !is_free {
            return *own == Some(kind);
        }
        match kind {
            LockKind::Shared => locks.shared += 1,
            LockKind::Exclusive => locks.is_exclusive = true,
        }
        *own = Some(kind);
        true
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let Some(kind) = *lock(&self.lock) else { return };
        let locks = &mut lock(&self.locks.0)[self.file];
        match kind {
            LockKind::Shared => locks.shared -= 1,
            LockKind::Exclusive => locks.is_exclusive = false,
        }
    }
}

/// An open file.
pub(crate) struct OpenFile {
    pub shared: Arc<Shared>,
    pub handle: Arc<Handle>,
}

impl OpenFile {
    /// Asserts what going past the cache asks for.
    fn assert_aligned<'a>(&self, offset: u64, buffers: impl Iterator<Item = &'a [u8]>) {
        if !self.is_direct() {
            return;
        }
        assert!(offset.is_multiple_of(ALIGNMENT as u64), "a direct request at byte {offset}");
        for buffer in buffers {
            let (address, len) = (buffer.as_ptr() as usize, buffer.len());
            assert!(len.is_multiple_of(ALIGNMENT), "a direct request of {len} bytes");
            assert!(address.is_multiple_of(ALIGNMENT), "a direct request of memory at {address}");
        }
    }

    fn submit(&self, work: Work, transfer: Transfer, completion: Completion) {
        self.shared.submit(work, transfer, completion);
    }
}

/// A request that moves no bytes: as a transfer of none it is made again when it is interrupted.
pub(crate) fn no_bytes() -> Transfer {
    Transfer::new(TransferKind::Write, 0, false)
}

impl File for OpenFile {
    fn read(&self, offset: u64, completion: Completion) {
        let mut buffers = completion.take_buffers();
        self.assert_aligned(offset, buffers.iter().map(|buffer| &**buffer));
        // Whoever looks too early finds this.
        buffers.iter_mut().for_each(|buffer| buffer.fill(0xdb));
        let len = buffers.iter().map(|buffer| buffer.len()).sum();
        let transfer = Transfer::new(TransferKind::Read, len, self.is_direct());
        let work = Work::Read { handle: self.handle.clone(), offset, buffers };
        self.submit(work, transfer, completion);
    }

    fn write(&self, offset: u64, durable: bool, completion: Completion) {
        let buffers = completion.take_shared_buffers();
        self.assert_aligned(offset, buffers.iter().map(|buffer| &**buffer));
        let len = buffers.iter().map(|buffer| buffer.len()).sum();
        let hash = hash_buffers(&buffers);
        let transfer = Transfer::new(TransferKind::Write, len, self.is_direct());
        let work = Work::Write { handle: self.handle.clone(), offset, durable, buffers, hash };
        self.submit(work, transfer, completion);
    }

    fn sync_data(&self, completion: Completion) {
        let before = self.shared.sequence();
        let work = Work::Sync { handle: self.handle.clone(), before };
        self.submit(work, no_bytes(), completion);
    }

    fn allocate(&self, offset: u64, len: u64, completion: Completion) {
        let work = Work::Allocate { handle: self.handle.clone(), offset, len };
        self.submit(work, no_bytes(), completion);
    }

    fn truncate(&self, len: u64, completion: Completion) {
        let work = Work::Truncate { handle: self.handle.clone(), len };
        self.submit(work, no_bytes(), completion);
    }

    fn size(&self) -> Result<u64> {
        let mut state = lock(&self.shared.state);
        if state.faults.fires(FaultKind::SizeError) {
            let path = &self.handle.path;
            return Err(failure(Operation::Size, path, 0, 0, 0, libc::EIO).into());
        }
        Ok(state.disk.file(self.handle.file).visible().len())
    }

    fn try_lock(&self, kind: LockKind) -> Result<bool> {
        Ok(self.handle.try_lock(kind))
    }

    fn is_direct(&self) -> bool {
        self.handle.options.direct
    }

    fn path(&self) -> &Path {
        &self.handle.path
    }

    fn is_at(&self, path: &Path) -> bool {
        lock(&self.shared.state).disk.find(path) == Some(self.handle.file)
    }

    fn directory(&self) -> PathBuf {
        directory_of(&self.handle.path)
    }
}
