//! The two sides of the back-end, and its files, as the engine has them.

use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use yieldb_core::sync::Arc;
use yieldb_core::sync::atomic::Ordering;
use yieldb_core::{
    Clock, Completion, Driver, DurableWrites, File, IO, LockKind, OpenOptions, Operation, Request,
    Result,
};

use super::in_flight::{InFlight, Name, Work};
use super::lead::{self, Kernel};
use super::{Extent, Reaped, Ring};
use crate::os_file::{OsFile, random};
use crate::request::{Medium, failure};
use crate::sync_method::MethodChoice;
use crate::transfer::TransferKind;

/// Both sides of the back-end.
pub(super) struct Handle(pub Arc<Ring>);

impl Handle {
    /// Submits what has names in it.
    fn submit_named(
        &self,
        operation: Operation,
        path: &Path,
        work: std::result::Result<Work, i32>,
        completion: Completion,
    ) {
        match work {
            Ok(work) => self.0.submit_request(InFlight::new(work, completion)),
            Err(errno) => {
                completion.fail(failure(operation, path, 0, 0, 0, errno));
            }
        }
    }
}

impl Clock for Handle {
    fn now(&self) -> Duration {
        self.0.clock.now()
    }
}

impl IO for Handle {
    fn open(&self, path: &Path, options: OpenOptions, completion: Completion) {
        let direct = options.direct;
        let work = Name::new(path).map(|path| Work::Open { path, options, direct });
        self.submit_named(Operation::Open, path, work, completion);
    }

    fn remove(&self, path: &Path, completion: Completion) {
        let work = Name::new(path).map(|path| Work::Remove { path });
        self.submit_named(Operation::Remove, path, work, completion);
    }

    fn rename(&self, from: &Path, to: &Path, completion: Completion) {
        let names = Name::new(from).and_then(|from| Ok((from, Name::new(to)?)));
        let work = names.map(|(from, to)| Work::Rename { from, to });
        self.submit_named(Operation::Rename, from, work, completion);
    }

    fn sync_directory(&self, directory: &Path, completion: Completion) {
        let work = Name::new(directory).map(|path| Work::OpenDirectory { path });
        self.submit_named(Operation::SyncDirectory, directory, work, completion);
    }

    fn random(&self, bytes: &mut [u8]) {
        random(bytes);
    }
}

impl Driver for Handle {
    fn poll(&self) -> usize {
        if self.0.home.is_here() && self.0.event_wanted.load(Ordering::Relaxed) {
            let mut counter = [0; 8];
            let _read = rustix::io::read(&self.0.event, &mut counter).is_ok();
        }
        self.0.submit();
        let Reaped { finished, is_contended } = self.0.take_completed(Extent::All);
        if is_contended {
            // The other one may have looked before the event was readable.
            self.0.ring_event();
        }
        finished
    }

    fn poll_beside(&self) -> usize {
        self.0.submit();
        self.0.reap()
    }

    fn submit(&self) {
        self.0.submit();
    }

    fn wait(&self, until: &Completion) {
        if self.0.home.is_here() && self.0.read_own(until) {
            return;
        }
        self.0.submit();
        if self.0.home.is_here() {
            lead::drive(&self.0, &self.0.lead, until);
        }
    }

    fn quiesce(&self) {
        self.0.quiesce();
    }

    fn interrupt(&self) {
        if self.0.home.is_here() {
            self.0.lead.interrupt();
        }
    }

    fn check_process(&self) -> Result<()> {
        if self.0.home.is_here() { Ok(()) } else { Err(yieldb_core::Error::Forked) }
    }

    fn in_flight(&self) -> usize {
        self.0.in_flight.load(Ordering::SeqCst)
    }

    fn event_fd(&self) -> Option<RawFd> {
        if self.0.home.is_here() && !self.0.event_wanted.swap(true, Ordering::SeqCst) {
            self.0.uring.submitter().register_eventfd(self.0.event.as_raw_fd()).ok()?;
            // What was submitted before is news.
            self.0.ring_event();
        }
        Some(self.0.event.as_raw_fd())
    }

    fn useful_threads(&self) -> usize {
        1
    }

    fn works_by_itself(&self) -> bool {
        true
    }

    fn name(&self) -> &'static str {
        "uring"
    }
}

/// An open file.
pub(super) struct UringFile {
    pub ring: Arc<Ring>,
    pub file: Arc<OsFile>,
}

impl UringFile {
    fn submit(&self, work: Work, completion: Completion) {
        self.ring.submit_request(InFlight::new(work, completion));
    }

    fn error(&self, operation: Operation, errno: i32) -> yieldb_core::Error {
        failure(operation, self.file.path(), 0, 0, 0, errno).into()
    }
}

impl File for UringFile {
    fn read(&self, offset: u64, completion: Completion) {
        let file = self.file.clone();
        let request = InFlight::transfer(file, offset, TransferKind::Read, false, completion);
        self.ring.submit_request(request);
    }

    fn write(&self, offset: u64, durable: bool, completion: Completion) {
        let file = self.file.clone();
        let request = InFlight::transfer(file, offset, TransferKind::Write, durable, completion);
        self.ring.submit_request(request);
    }

    fn sync_data(&self, completion: Completion) {
        self.submit(Work::Sync { file: self.file.clone() }, completion);
    }

    fn allocate(&self, offset: u64, len: u64, completion: Completion) {
        self.submit(Work::Allocate { file: self.file.clone(), offset, len }, completion);
    }

    fn truncate(&self, len: u64, completion: Completion) {
        let by_ring = self.ring.truncates;
        self.submit(Work::Truncate { file: self.file.clone(), len, by_ring }, completion);
    }

    fn prepare(&self, completion: Completion) {
        self.submit(Work::Prepare { buffers: completion.take_buffers() }, completion);
    }

    fn size(&self) -> Result<u64> {
        self.file.size().map_err(|errno| self.error(Operation::Size, errno))
    }

    fn try_lock(&self, kind: LockKind) -> Result<bool> {
        self.file.try_lock(kind).map_err(|errno| self.error(Operation::Lock, errno))
    }

    fn is_direct(&self) -> bool {
        self.file.is_direct()
    }

    fn durable_writes(&self) -> Option<DurableWrites> {
        self.file.methods().map(MethodChoice::known)
    }

    fn path(&self) -> &Path {
        self.file.path()
    }

    fn is_at(&self, path: &Path) -> bool {
        self.file.is_at(path)
    }

    fn directory(&self) -> PathBuf {
        self.file.directory()
    }

    fn resolved_path(&self) -> PathBuf {
        self.file.resolved_path()
    }
}
