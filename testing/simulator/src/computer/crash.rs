//! The end of a computer: what is left on its disk.

use smallvec::SmallVec;
use yieldb_core::Create;

use super::request::{Request, Work, parts};
use super::{Computer, State, lock};
use crate::disk::{ALL_SECTORS, Choice, CrashEffects, Disk, MAX_FILE_LEN};
use crate::random::Random;

/// How much of what is in flight happens all the same.
enum Reach<'a> {
    Nothing,
    /// Every change, in the order of submission; no sync.
    Everything,
    /// Each in part, or not at all, in any order.
    Random(&'a mut Random),
}

impl Computer {
    /// The disk after the process was killed. What had finished is visible, and as pending as it
    /// was; each request in flight may have happened, in any order, a write also in part. The
    /// computer goes on undisturbed.
    pub fn crash_kill(&self, random: &mut Random) -> Disk {
        lock(&self.shared.state).killed(Reach::Random(random))
    }

    /// The disk after a power cut, and what was lost. The computer goes on undisturbed.
    ///
    /// With [`Choice::Random`] it is a [`Computer::crash_kill`] and then the power cut;
    /// with [`Choice::Nothing`] nothing in flight has happened; with [`Choice::Everything`] and
    /// [`Choice::Subset`] the changes in flight count as pending, in the order of their submission.
    pub fn crash_power(&self, choice: &mut Choice) -> (Disk, CrashEffects) {
        let state = lock(&self.shared.state);
        let disk = match choice {
            Choice::Nothing => state.killed(Reach::Nothing),
            Choice::Everything | Choice::Subset(_) => state.killed(Reach::Everything),
            Choice::Random(random) => state.killed(Reach::Random(random)),
        };
        drop(state);
        disk.power_cut(choice)
    }

    /// How many changes a power cut decides about now: those that are pending, and those in flight.
    pub fn pending_count(&self) -> usize {
        lock(&self.shared.state).killed(Reach::Everything).pending_count()
    }
}

impl State {
    fn killed(&self, reach: Reach<'_>) -> Disk {
        let mut disk = self.disk.clone();
        let mut order: SmallVec<[&Request; 64]> = self.queue.iter().collect();
        order.sort_unstable_by_key(|request| request.number);
        match reach {
            Reach::Nothing => {}
            Reach::Everything => {
                order.iter().for_each(|request| apply_whole(&mut disk, request));
            }
            Reach::Random(random) => {
                while !order.is_empty() {
                    let request = order.swap_remove(random.index(order.len()));
                    apply_in_part(&mut disk, request, random);
                }
            }
        }
        disk.forget_unnamed();
        disk
    }
}

/// Makes the change that a request in flight asks for.
fn apply_whole(disk: &mut Disk, request: &Request) {
    match &request.work {
        Work::Write { .. } => write(disk, request, &mut || ALL_SECTORS, false),
        Work::Allocate { handle, offset, len } => {
            let end = offset.saturating_add(*len);
            if handle.options.write && end <= MAX_FILE_LEN {
                disk.grow(handle.file, end);
            }
        }
        Work::Truncate { handle, len } => {
            if handle.options.write && *len <= MAX_FILE_LEN {
                disk.set_len(handle.file, *len);
            }
        }
        Work::Open { path, options, .. } => {
            if options.create != Create::Never && disk.find(path).is_none() {
                disk.create(path);
            }
        }
        Work::Remove { path } => {
            disk.remove(path);
        }
        Work::Rename { from, to } => {
            disk.rename(from, to);
        }
        Work::Read { .. } | Work::Sync { .. } | Work::SyncDirectory { .. } => {}
    }
}

/// Does what a request in flight asks for, in part or not at all.
fn apply_in_part(disk: &mut Disk, request: &Request, random: &mut Random) {
    match &request.work {
        Work::Write { durable, .. } => match random.below(4) {
            0 => {}
            1 => {
                let durable = *durable && random.one_in(2);
                write(disk, request, &mut || ALL_SECTORS, durable);
            }
            // The length alone.
            2 if random.one_in(2) => write(disk, request, &mut || 0, false),
            _ => write(disk, request, &mut || random.next() as u8, false),
        },
        Work::Sync { handle, before } if random.one_in(2) => {
            disk.file_mut(handle.file).sync(*before);
        }
        Work::SyncDirectory { path, before } if random.one_in(2) => {
            disk.sync_directory(path, *before);
        }
        Work::Allocate { .. }
        | Work::Truncate { .. }
        | Work::Open { .. }
        | Work::Remove { .. }
        | Work::Rename { .. }
            if random.one_in(2) =>
        {
            apply_whole(disk, request);
        }
        _ => {}
    }
}

fn write(disk: &mut Disk, request: &Request, filter: &mut dyn FnMut() -> u8, durable: bool) {
    let Work::Write { handle, offset, buffers, .. } = &request.work else { return };
    let (done, all) = (request.transfer.done(), request.transfer.len());
    let at = offset.saturating_add(done as u64);
    let end = offset.saturating_add(all as u64);
    if handle.options.write && end <= MAX_FILE_LEN && done < all {
        disk.write(handle.file, parts(buffers, at, done, all - done), filter, end, durable);
    }
}
