//! Requests in flight, and how each is performed.

use std::path::Path;
use std::sync::Arc;

use yieldb_core::{
    Buffers, Completion, Create, Error, IoError, OpenOptions, Operation, Request as _,
    SharedBuffers,
};
use yieldb_io_backends::transfer::{After, Transfer};

use super::file::{Handle, LockTable, OpenFile};
use super::trace::hash_bytes;
use super::{FaultKind, Shared, State};
use crate::disk::{ALL_SECTORS, BLOCK_LEN, MAX_FILE_LEN, SECTOR_LEN};

/// What is to be done.
pub(crate) enum Work {
    Read { handle: Arc<Handle>, offset: u64, buffers: Buffers },
    Write { handle: Arc<Handle>, offset: u64, durable: bool, buffers: SharedBuffers, hash: u64 },
    Sync { handle: Arc<Handle>, before: u64 },
    Allocate { handle: Arc<Handle>, offset: u64, len: u64 },
    Truncate { handle: Arc<Handle>, len: u64 },
    Open { path: Arc<Path>, options: OpenOptions, opened: Option<Arc<Handle>> },
    Remove { path: Arc<Path> },
    Rename { from: Arc<Path>, to: Arc<Path> },
    SyncDirectory { path: Arc<Path>, before: u64 },
}

/// Something in flight.
pub(crate) struct Request {
    /// When the next attempt is over, in virtual nanoseconds.
    pub at: u64,
    /// Which of two at the same time is first.
    pub tie: u64,
    /// How many were submitted before.
    pub number: u64,
    pub work: Work,
    pub transfer: Transfer,
    pub completion: Completion,
}

/// A result of the operating system: an error is its number.
type Raw<T> = std::result::Result<T, i32>;

impl Work {
    pub fn operation(&self) -> Operation {
        match self {
            Work::Read { .. } => Operation::Read,
            Work::Write { .. } => Operation::Write,
            Work::Sync { .. } => Operation::Sync,
            Work::Allocate { .. } => Operation::Allocate,
            Work::Truncate { .. } => Operation::Truncate,
            Work::Open { .. } => Operation::Open,
            Work::Remove { .. } => Operation::Remove,
            Work::Rename { .. } => Operation::Rename,
            Work::SyncDirectory { .. } => Operation::SyncDirectory,
        }
    }

    pub fn path(&self) -> &Arc<Path> {
        match self {
            Work::Read { handle, .. }
            | Work::Write { handle, .. }
            | Work::Sync { handle, .. }
            | Work::Allocate { handle, .. }
            | Work::Truncate { handle, .. } => &handle.path,
            Work::Open { path, .. } | Work::Remove { path } | Work::SyncDirectory { path, .. } => {
                path
            }
            Work::Rename { from, .. } => from,
        }
    }

    /// Where in the file, in bytes: for a truncation, its new length.
    pub fn offset(&self) -> u64 {
        match self {
            Work::Read { offset, .. }
            | Work::Write { offset, .. }
            | Work::Allocate { offset, .. } => *offset,
            Work::Truncate { len, .. } => *len,
            Work::Sync { .. }
            | Work::Open { .. }
            | Work::Remove { .. }
            | Work::Rename { .. }
            | Work::SyncDirectory { .. } => 0,
        }
    }

    /// Numbers that tell it from others, for the trace.
    pub fn numbers(&self) -> [u64; 4] {
        let [file, more] = match self {
            Work::Read { handle, .. } => [handle.file as u64, 0],
            Work::Write { handle, durable, hash, .. } => {
                [(handle.file as u64) << 1 | u64::from(*durable), *hash]
            }
            Work::Sync { handle, before } => [handle.file as u64, *before],
            Work::Allocate { handle, len, .. } => [handle.file as u64, *len],
            Work::Truncate { handle, .. } => [handle.file as u64, 0],
            Work::Open { path, .. } | Work::Remove { path } => [hash_path(path), 0],
            Work::Rename { from, to } => [hash_path(from), hash_path(to)],
            Work::SyncDirectory { path, before } => [hash_path(path), *before],
        };
        [self.operation() as u64, self.offset(), file, more]
    }
}

fn hash_path(path: &Path) -> u64 {
    hash_bytes(path.as_os_str().as_encoded_bytes())
}

impl Request {
    fn error(&self, operation: Operation, errno: i32) -> IoError {
        let (len, done) = (self.transfer.len(), self.transfer.done());
        failure(operation, self.work.path(), self.work.offset(), len, done, errno)
    }

    /// Ends it unperformed: the computer is off.
    pub fn abandon(self) {
        match self.work {
            Work::Read { buffers, .. } => {
                self.completion.fail_read(Error::Abandoned, buffers);
            }
            work => {
                drop(work);
                self.completion.fail(Error::Abandoned);
            }
        }
    }

    /// Ends it, and tells whoever waits. Nothing may be locked: they may submit again.
    pub fn end(self, result: Result<usize, IoError>, shared: &Arc<Shared>) {
        let completion = self.completion;
        match (self.work, result) {
            (Work::Read { buffers, .. }, Ok(len)) => {
                completion.succeed_read(len, buffers);
            }
            (Work::Read { buffers, .. }, Err(error)) => {
                completion.fail_read(error.into(), buffers);
            }
            (Work::Open { opened: Some(handle), .. }, Ok(_)) => {
                completion.succeed_open(Arc::new(OpenFile { shared: shared.clone(), handle }));
            }
            (work, result) => {
                // The buffers of a write are free before anybody hears of its end.
                drop(work);
                match result {
                    Ok(len) => completion.succeed(len),
                    Err(error) => completion.fail(error),
                };
            }
        }
    }
}

impl State {
    /// Makes one attempt at a request. Returns how it ended, unless it goes on.
    pub fn attempt(
        &mut self,
        request: &mut Request,
        locks: &Arc<LockTable>,
    ) -> Option<Result<usize, IoError>> {
        self.faults.last = None;
        if self.faults.fires(FaultKind::ClockJump) {
            let hours = 1 + self.faults.random().below(10_000);
            self.now += hours * 3600 * 1_000_000_000;
        }
        let raw = if self.faults.fires(FaultKind::Interrupted) {
            let random = self.faults.random();
            Err([libc::EINTR, libc::EAGAIN, libc::ECANCELED][random.index(3)])
        } else {
            self.perform(request, locks)
        };
        let raw = match raw {
            // The sync that belongs to a write has an end of its own.
            Err(SYNC_FAILED) => {
                let len = request.transfer.len();
                let (path, offset) = (request.work.path(), request.work.offset());
                return Some(Err(failure(Operation::Sync, path, offset, len, len, libc::EIO)));
            }
            Ok(len) => i32::try_from(len).expect("a request is shorter than 2 GiB"),
            Err(errno) => -errno,
        };
        match request.transfer.after(raw, false) {
            After::Continue => None,
            After::Finished(len) => Some(Ok(len)),
            After::Failed(errno) => Some(Err(request.error(request.work.operation(), errno))),
        }
    }

    fn perform(&mut self, request: &mut Request, locks: &Arc<LockTable>) -> Raw<usize> {
        let transfer = request.transfer;
        match &mut request.work {
            Work::Read { handle, offset, buffers } => self.read(handle, *offset, buffers, transfer),
            Work::Write { handle, offset, durable, buffers, hash } => {
                let now = hash_buffers(buffers);
                assert_eq!(*hash, now, "a buffer was changed while it was being written");
                self.write(handle, *offset, *durable, buffers, transfer)
            }
            Work::Sync { handle, before } => self.sync(handle, *before).map(|()| 0),
            Work::Allocate { handle, offset, len } => {
                let end = offset.checked_add(*len).ok_or(libc::EFBIG)?;
                self.change_len(handle, end, true).map(|()| 0)
            }
            Work::Truncate { handle, len } => self.change_len(handle, *len, false).map(|()| 0),
            Work::Open { path, options, opened } => {
                let file = self.open(path, *options)?;
                *opened = Some(Arc::new(Handle::new(path.clone(), file, *options, locks.clone())));
                Ok(0)
            }
            Work::Remove { path } => self.change_entry(|disk| disk.remove(path)),
            Work::Rename { from, to } => self.change_entry(|disk| disk.rename(from, to)),
            Work::SyncDirectory { path, before } => {
                if self.faults.fires(FaultKind::DirectorySyncError) {
                    return Err(libc::EIO);
                }
                if !self.lies() {
                    self.disk.sync_directory(path, *before);
                }
                Ok(0)
            }
        }
    }

    fn read(
        &mut self,
        handle: &Handle,
        offset: u64,
        buffers: &mut Buffers,
        transfer: Transfer,
    ) -> Raw<usize> {
        let at = offset + transfer.done() as u64;
        let mut len = transfer.len() - transfer.done();
        if self.faults.fires(FaultKind::ReadErrorLasting) {
            self.faults.reads_fail = true;
        }
        if self.faults.reads_fail || self.faults.fires(FaultKind::ReadError) {
            return Err(libc::EIO);
        }
        let file_len = self.disk.file(handle.file).visible().len();
        let there = file_len.saturating_sub(at).min(len as u64) as usize;
        self.rot(handle, at, there);
        if there > 0 && self.faults.fires(FaultKind::UnreadableSector) {
            let place = at + self.faults.random().below(there as u64);
            self.disk.file_mut(handle.file).mark_unreadable(place / BLOCK_LEN as u64);
        }
        if let Some(bad) = self.disk.file(handle.file).first_unreadable(at, there) {
            if bad <= at {
                return Err(libc::EIO);
            }
            len = (bad - at) as usize;
        }
        let unit = if handle.options.direct { BLOCK_LEN } else { 1 };
        let fewer = (there.min(len).saturating_sub(1) / unit) as u64;
        if fewer > 0 && self.faults.fires(FaultKind::ShortRead) {
            len = unit * (1 + self.faults.random().below(fewer) as usize);
        }
        let blocks = self.disk.file(handle.file).visible();
        let mut moved = 0;
        for part in parts_mut(buffers, transfer.done(), len) {
            let count = blocks.read(at + moved as u64, part);
            moved += count;
        }
        self.misdirect_read(handle.file, at, buffers, transfer.done(), moved);
        Ok(moved)
    }

    /// Brings another block in the place of one, if that is what goes wrong.
    fn misdirect_read(
        &mut self,
        file: usize,
        at: u64,
        buffers: &mut Buffers,
        skip: usize,
        moved: usize,
    ) {
        let (whole, block_len) = (moved / BLOCK_LEN, BLOCK_LEN as u64);
        let all = self.disk.file(file).visible().len() / block_len;
        let can = whole > 0 && at.is_multiple_of(block_len) && all > 1;
        if !can || !self.faults.fires(FaultKind::MisdirectedRead) {
            return;
        }
        let random = self.faults.random();
        let wanted = random.index(whole);
        let other = other_block(random.below(all - 1), at / block_len + wanted as u64);
        let mut bytes = [0; BLOCK_LEN];
        self.disk.file(file).visible().read(other * block_len, &mut bytes);
        let mut done = 0;
        for part in parts_mut(buffers, skip + wanted * BLOCK_LEN, BLOCK_LEN) {
            part.copy_from_slice(&bytes[done..done + part.len()]);
            done += part.len();
        }
    }

    /// Makes an attempt at a write.
    fn write(
        &mut self,
        handle: &Handle,
        offset: u64,
        durable: bool,
        buffers: &SharedBuffers,
        transfer: Transfer,
    ) -> Raw<usize> {
        let (file, done) = (handle.file, transfer.done());
        let at = offset.checked_add(done as u64).ok_or(libc::EFBIG)?;
        let mut len = transfer.len() - done;
        let end = at.checked_add(len as u64).filter(|end| *end <= MAX_FILE_LEN);
        let end = end.ok_or(libc::EFBIG)?;
        if !handle.options.write {
            return Err(libc::EBADF);
        }
        self.rot(handle, at, len);
        if self.faults.fires(FaultKind::WriteErrorLasting) {
            self.faults.writes_fail = true;
        }
        if self.faults.writes_fail || self.faults.fires(FaultKind::WriteError) {
            self.write_in_part(handle, at, buffers, done, len);
            return Err(libc::EIO);
        }
        if len > 0 && self.faults.fires(FaultKind::ZeroWrite) {
            return Ok(0);
        }
        let file_len = self.disk.file(file).visible().len();
        if end > file_len
            && let Err(errno) = self.has_room()
        {
            // What lies before the end of the file has its room.
            let before = file_len.saturating_sub(at) as usize / BLOCK_LEN * BLOCK_LEN;
            if before == 0 {
                return Err(errno);
            }
            len = before;
        }
        let fewer = (len.saturating_sub(1) / SECTOR_LEN) as u64;
        if fewer > 0 && self.faults.fires(FaultKind::ShortWrite) {
            len = SECTOR_LEN * (1 + self.faults.random().below(fewer) as usize);
        }
        let forgets = durable && self.faults.fires(FaultKind::SlotSyncErrorDropped);
        let fails = forgets || durable && self.faults.fires(FaultKind::SlotSyncError);
        let durable = durable && !fails && !self.lies();
        let before = self.disk.sequence();
        let is_lost = self.faults.fires(FaultKind::LostWrite);
        let target = if is_lost { at } else { self.misdirected(file, at, len) };
        if is_lost || target != at {
            self.misplaced.push((handle.path.clone(), self.mark));
        }
        let mut filter = || if is_lost { 0 } else { ALL_SECTORS };
        let end = at + len as u64;
        self.disk.write(file, parts(buffers, target, done, len), &mut filter, end, durable);
        if forgets {
            let now = self.disk.sequence();
            self.disk.file_mut(file).drop_pending(before..now, self.faults.random());
        }
        if fails { Err(SYNC_FAILED) } else { Ok(len) }
    }

    /// Where a write lands: at its place, unless it goes wrong.
    fn misdirected(&mut self, file: usize, at: u64, len: usize) -> u64 {
        let block_len = BLOCK_LEN as u64;
        let all = self.disk.file(file).visible().len() / block_len;
        let count = (len as u64).div_ceil(block_len);
        // Other places that are wholly in the file.
        let places = (all + 1).saturating_sub(count);
        let can = len > 0 && at.is_multiple_of(block_len) && places > 1;
        if !can || !self.faults.fires(FaultKind::MisdirectedWrite) {
            return at;
        }
        other_block(self.faults.random().below(places - 1), at / block_len) * block_len
    }

    /// What a write that fails leaves: nothing, or some of its sectors.
    fn write_in_part(
        &mut self,
        handle: &Handle,
        at: u64,
        buffers: &SharedBuffers,
        skip: usize,
        len: usize,
    ) {
        let random = self.faults.random();
        let file_len = self.disk.file(handle.file).visible().len();
        if random.one_in(2) || at >= file_len {
            return;
        }
        let len = len.min((file_len - at) as usize);
        let mut filter = || random.next() as u8;
        let parts = parts(buffers, at, skip, len);
        self.disk.write(handle.file, parts, &mut filter, at + len as u64, false);
    }

    fn sync(&mut self, handle: &Handle, before: u64) -> Raw<()> {
        if self.faults.fires(FaultKind::SyncErrorKept) {
            return Err(libc::EIO);
        }
        if self.faults.fires(FaultKind::SyncErrorDropped) {
            let random = self.faults.random();
            self.disk.file_mut(handle.file).drop_pending(0..before, random);
            return Err(libc::EIO);
        }
        if self.disk.file(handle.file).pending_count() == 0 {
            return Ok(());
        }
        if self.faults.fires(FaultKind::NoSpace) {
            return Err(self.no_room());
        }
        if !self.lies() {
            self.disk.file_mut(handle.file).sync(before);
        }
        Ok(())
    }

    fn change_len(&mut self, handle: &Handle, len: u64, only_grow: bool) -> Raw<()> {
        if !handle.options.write {
            return Err(libc::EBADF);
        }
        if len > MAX_FILE_LEN {
            return Err(libc::EFBIG);
        }
        if only_grow || len > self.disk.file(handle.file).visible().len() {
            self.has_room()?;
        }
        if self.faults.fires(FaultKind::TruncateError) {
            return Err(libc::EIO);
        }
        if only_grow {
            self.disk.grow(handle.file, len);
        } else {
            self.disk.set_len(handle.file, len);
        }
        Ok(())
    }

    fn open(&mut self, path: &Arc<Path>, options: OpenOptions) -> Raw<usize> {
        if self.faults.fires(FaultKind::OpenError) {
            return Err([libc::EMFILE, libc::EIO][self.faults.random().index(2)]);
        }
        match (self.disk.find(path), options.create) {
            (Some(_), Create::New) => Err(libc::EEXIST),
            (None, Create::Never) => Err(libc::ENOENT),
            (Some(file), Create::Never | Create::IfMissing) => Ok(file),
            (None, Create::New | Create::IfMissing) => Ok(self.disk.create(path)),
        }
    }

    fn change_entry(&mut self, change: impl FnOnce(&mut crate::disk::Disk) -> bool) -> Raw<usize> {
        if self.faults.fires(FaultKind::TruncateError) {
            return Err(libc::EIO);
        }
        if change(&mut self.disk) { Ok(0) } else { Err(libc::ENOENT) }
    }

    /// Is there room to grow?
    fn has_room(&mut self) -> Raw<()> {
        if self.faults.fires(FaultKind::NoSpaceLasting) {
            self.faults.is_full = true;
        }
        if self.faults.is_full || self.faults.fires(FaultKind::NoSpace) {
            return Err(self.no_room());
        }
        Ok(())
    }

    fn no_room(&mut self) -> i32 {
        [libc::ENOSPC, libc::EDQUOT][self.faults.random().index(2)]
    }

    /// Does a sync make nothing durable, and say that it did?
    fn lies(&mut self) -> bool {
        if !self.faults.syncs_lie && self.faults.fires(FaultKind::LyingSync) {
            self.faults.syncs_lie = true;
        }
        self.faults.syncs_lie
    }

    /// Turns a bit over, if that is what goes wrong: often one that the request is about. In the
    /// tag of a sector of a log's newest group it would be a tear to whoever reads it.
    fn rot(&mut self, handle: &Handle, at: u64, len: usize) {
        let file = handle.file;
        let has_tags = handle.path.as_os_str().as_encoded_bytes().ends_with(b"-log");
        if self.faults.can_fire(FaultKind::BitRot) {
            let file_len = self.disk.file(file).visible().len();
            let random = self.faults.random();
            let (from, count) = match len {
                // Of a database most is at stake where its superblocks are.
                _ if random.one_in(3) => (random.below(2) * BLOCK_LEN as u64, 128),
                1.. if random.one_in(2) => (at, len as u64),
                _ => (0, file_len.max(1)),
            };
            let bit = from * 8 + random.below(count * 8);
            let is_in_tag = has_tags && bit / 8 % SECTOR_LEN as u64 >= SECTOR_LEN as u64 - 8;
            if !is_in_tag
                && self.disk.file(file).can_flip(bit)
                && self.faults.fires(FaultKind::BitRot)
            {
                self.disk.file_mut(file).flip_bit(bit);
            }
        }
    }
}

/// Not an error number: the write was made, and its sync failed.
const SYNC_FAILED: i32 = i32::MAX;

/// One of the blocks but `not`, of which there are one more than `index` may be.
fn other_block(index: u64, not: u64) -> u64 {
    if index < not { index } else { index + 1 }
}

/// An error with all that is known.
pub(crate) fn failure(
    operation: Operation,
    path: &Arc<Path>,
    offset: u64,
    len: usize,
    done: usize,
    errno: i32,
) -> IoError {
    IoError { operation, file: path.clone(), offset, len, done, errno }
}

/// A hash of all bytes of several buffers.
pub(crate) fn hash_buffers(buffers: &SharedBuffers) -> u64 {
    buffers.iter().fold(0, |hash, buffer| hash_bytes(buffer).wrapping_add(hash.rotate_left(7)))
}

/// `len` bytes of several buffers from the byte `skip` on, with the offsets that they have in a
/// file when the first of them is at `offset`.
pub(crate) fn parts(
    buffers: &SharedBuffers,
    offset: u64,
    skip: usize,
    len: usize,
) -> impl Iterator<Item = (u64, &[u8])> {
    let mut start = 0;
    buffers.iter().filter_map(move |buffer| {
        let (from, to) = (skip.max(start), (skip + len).min(start + buffer.len()));
        let own = start;
        start += buffer.len();
        (from < to).then(|| (offset + (from - skip) as u64, &buffer[from - own..to - own]))
    })
}

/// `len` bytes of several buffers from the byte `skip` on, to be filled.
fn parts_mut(buffers: &mut Buffers, skip: usize, len: usize) -> impl Iterator<Item = &mut [u8]> {
    let mut start = 0;
    buffers.iter_mut().filter_map(move |buffer| {
        let (from, to) = (skip.max(start), (skip + len).min(start + buffer.len()));
        let own = start;
        start += buffer.len();
        (from < to).then(|| &mut buffer[from - own..to - own])
    })
}
