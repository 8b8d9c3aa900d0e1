//! An open file of a back-end that performs requests itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use yieldb_core::{Completion, DurableWrites, File, LockKind, Operation, Result};

use crate::request::{Medium, Work, failure};
use crate::sync_method::MethodChoice;

/// Takes requests, to perform them at once or later.
pub(crate) trait Submit: Send + Sync {
    /// Takes a request.
    fn submit(self: &Arc<Self>, work: Work, completion: Completion);
}

/// An open file whose requests go to `back_end`.
pub(crate) struct QueuedFile<B> {
    pub back_end: Arc<B>,
    pub medium: Arc<dyn Medium>,
}

impl<B: Submit> QueuedFile<B> {
    fn error(&self, operation: Operation, errno: i32) -> yieldb_core::Error {
        failure(operation, self.medium.path(), 0, 0, 0, errno).into()
    }
}

impl<B: Submit> File for QueuedFile<B> {
    fn read(&self, offset: u64, completion: Completion) {
        self.back_end.submit(Work::Read { medium: self.medium.clone(), offset }, completion);
    }

    fn write(&self, offset: u64, durable: bool, completion: Completion) {
        let work = Work::Write { medium: self.medium.clone(), offset, durable };
        self.back_end.submit(work, completion);
    }

    fn sync_data(&self, completion: Completion) {
        self.back_end.submit(Work::Sync { medium: self.medium.clone() }, completion);
    }

    fn allocate(&self, offset: u64, len: u64, completion: Completion) {
        let work = Work::Allocate { medium: self.medium.clone(), offset, len };
        self.back_end.submit(work, completion);
    }

    fn truncate(&self, len: u64, completion: Completion) {
        self.back_end.submit(Work::Truncate { medium: self.medium.clone(), len }, completion);
    }

    fn size(&self) -> Result<u64> {
        self.medium.size().map_err(|errno| self.error(Operation::Size, errno))
    }

    fn try_lock(&self, kind: LockKind) -> Result<bool> {
        self.medium.try_lock(kind).map_err(|errno| self.error(Operation::Lock, errno))
    }

    fn is_direct(&self) -> bool {
        self.medium.is_direct()
    }

    fn path(&self) -> &Path {
        self.medium.path()
    }

    fn is_at(&self, path: &Path) -> bool {
        self.medium.is_at(path)
    }

    fn directory(&self) -> PathBuf {
        self.medium.directory()
    }

    fn durable_writes(&self) -> Option<DurableWrites> {
        self.medium.methods().map(MethodChoice::known)
    }

    fn resolved_path(&self) -> PathBuf {
        self.medium.resolved_path()
    }
}
