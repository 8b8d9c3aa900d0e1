//! The log of an open database: what waits to be written into it, and what is on its way.
//!
//! ```text
//!            push                   flush                       reaped, oldest first
//!   commit -------> queue: applied ------> groups in flight -------------------------> durable:
//!                      |                                                            acknowledged
//!                      '---- a checkpoint has them: acknowledged without a group
//! ```
//!
//! Groups are written as soon as there is anything to be written: while few commits are in them, up
//! to four at a time, else one. What comes while so many are in flight goes out with the next one.
//! So a commit on its own waits for nothing but its write, and many share one.

use std::collections::VecDeque;
use std::time::Duration;

use yieldb_core::sync::{Arc, Mutex, MutexGuard, PoisonError};
use yieldb_core::{
    BufferPool, Completion, DurableWrites, Error as IoFailure, Request, StateMachine, is_planted,
    reached,
};

pub use super::limits::LogLimits;

use super::group::{self, Builder};
use super::path::LogPath;
use super::ring::{LEFT_FOR_NAMES, Ring};
use super::{BLOCK_LEN, Place, file_offset, max_group_blocks};
use crate::ops::checkpoint::{LogPlan, Ticket};
use crate::ops::find_log::FoundLog;
use crate::ops::grow_log::{GrowLog, grow_log};
use crate::ops::left_log::remove_log;
use crate::ops::make_log::{LogFile, MakeLog, make_log};
use crate::pacing::Course;
use crate::superblock::{LogUse, Superblock};
use crate::{Error, Pager, Result};
use groups::{Group, InFlight, Log, Queued, Reaped, finish};
use resting::Resting;

mod groups;
mod resting;
#[cfg(test)]
mod tests;

/// How many groups may be in flight, while few commits are in them.
const DEPTH: usize = 4;

/// How many commits are not few. Where many wait, one group in flight and one that is made
/// meanwhile are best, since they are long: their commits share copies of pages, and a flush of the
/// device. With 64 commits under way on one thread, that made 89,000 a second of 63,000; with 8 and
/// fewer it would make less.
const FEW: usize = 8;

/// How many blocks of memory are kept for groups; longer ones take their own.
pub(crate) const POOL_BLOCKS: u32 = 256;

/// The log of an open database, if it has one.
pub(crate) struct LogWriter {
    /// `None` where commits are to be checkpoints.
    limits: Option<LogLimits>,
    path: LogPath,
    resting: Arc<Resting>,
    state: Mutex<Option<Log>>,
}

/// What a log has done and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogStats {
    /// The length of the ring in bytes.
    pub len: u64,
    /// How much of it no checkpoint has yet, in bytes.
    pub used: u64,
    /// The position that the next group has, in blocks of 4,096 bytes.
    pub position: u64,
    /// How many groups were written since the log began or was found.
    pub groups: u64,
    /// How many commits they had.
    pub commits: u64,
    /// How many bytes they had.
    pub bytes_written: u64,
    /// How groups are made durable: found out from those that were; `None` where there is only one
    /// way.
    pub durable_writes: Option<DurableWrites>,
}

/// A file that was made for a log.
pub struct NewLog {
    pub(crate) file: LogFile,
    pub(crate) id: [u8; 16],
    pub(crate) ring_blocks: u64,
    /// Memory for groups.
    pub(crate) blocks: Arc<BufferPool>,
}

impl std::fmt::Debug for NewLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}, {} blocks", self.file, self.ring_blocks)
    }
}

impl NewLog {
    /// What a superblock is to say of it.
    pub(crate) fn log_use(&self, pager: &Pager) -> LogUse {
        LogUse { id: self.id, start: FIRST_PLACE, session: pager.superblock().session }
    }
}

/// Where the first group of a new log is.
const FIRST_PLACE: Place = Place { position: 0, offset: 0 };

/// Is there room for a commit?
#[derive(Debug)]
pub enum Room {
    /// There is, as long as nobody else takes it: the caller has the writer's turn.
    Enough,
    /// There will be, perhaps, behind this.
    Wait(Completion),
    /// There is no log, or it never has so much room: the commit is to be a checkpoint.
    Never,
}

impl LogWriter {
    /// The log that was found at opening; without one, there is none for the time being.
    ///
    /// # Errors
    ///
    /// [`yieldb_core::Error::OutOfMemory`].
    pub fn new(
        limits: Option<LogLimits>,
        path: LogPath,
        found: Option<&FoundLog>,
        superblock: &Superblock,
    ) -> Result<LogWriter> {
        let resting = Arc::<Resting>::default();
        let mut log = None;
        if let Some(found) = found {
            let blocks = BufferPool::new(POOL_BLOCKS, BLOCK_LEN)?;
            let ring = Ring::new(found.ring_blocks, found.start.place, found.end.place);
            let id = superblock.log.expect("a superblock speaks of it").id;
            let (file, version) = (found.file.clone(), found.end.version);
            log = Some(Log::new(file, id, ring, superblock, version, resting.clone(), blocks));
        }
        Ok(LogWriter { limits, path, state: Mutex::new(log), resting })
    }

    // Beginning and end.

    /// Begins to make the log's file, if it is planned that one begins, and there is none.
    pub fn make(&self, plan: LogPlan, pager: &Pager) -> Option<StateMachine<MakeLog>> {
        let limits = self.limits.filter(|_| plan == LogPlan::Begin)?;
        if self.state().is_some() {
            return None;
        }
        Some(make_log(pager, self.path.clone(), limits.begin_len() as usize))
    }

    /// Uses a log that both slots of the superblock speak of from now on.
    pub fn begin(&self, new_log: NewLog, pager: &Pager) {
        reached!(LogBegun);
        let NewLog { file, id, ring_blocks, blocks } = new_log;
        let superblock = pager.superblock();
        let ring = Ring::new(ring_blocks, FIRST_PLACE, FIRST_PLACE);
        let resting = self.resting.clone();
        let version = superblock.version;
        let log = Log::new(file, id, ring, &superblock, version, resting, blocks);
        let before = self.state().replace(log);
        assert!(before.is_none(), "a log begins where there is none");
    }

    /// Begins to make the log's file longer, if the log goes on, was too short since the last time,
    /// and is not as long as it may be.
    pub fn begin_growth(&self, plan: LogPlan, pager: &Pager) -> Option<StateMachine<GrowLog>> {
        let limits = self.limits.filter(|_| plan != LogPlan::End)?;
        let data_len = pager.superblock().file_len();
        let state = self.state();
        let log = state.as_ref().filter(|log| log.is_too_short || log.is_half_full())?;
        let len = file_offset(log.ring.ring_blocks());
        let next = limits.next_len(len, data_len);
        (next > len).then(|| grow_log(log.file.clone(), len, next))
    }

    /// Begins to sync the log's file. The operating system may tell the error of a group's write to
    /// this sync instead: while it is in flight, no group is known to be durable.
    pub fn sync(&self) -> Completion {
        let sync = Completion::sync();
        let mut state = self.state();
        let log = state.as_mut().expect("the log goes on");
        log.sync = Some(sync.clone());
        let file = log.file.clone();
        drop(state);
        file.0.sync_data(sync.clone());
        sync
    }

    /// Takes note of blocks that the file has more, zero-filled and durable.
    pub fn grow(&self, blocks: u64) {
        reached!(LogGrown);
        let mut state = self.state();
        let log = state.as_mut().expect("the log goes on");
        log.ring.grow(blocks);
        log.is_too_short = false;
        log.builder = Builder::new(max_group_blocks(log.ring.ring_blocks()));
        log.plan_again();
        drop(state);
        self.retry_room();
    }

    /// Where the log goes on; `None` if there is none. A checkpoint of the newest applied version
    /// has everything that stands before it.
    pub fn head(&self) -> Option<LogUse> {
        let state = self.state();
        let log = state.as_ref()?;
        Some(LogUse { id: log.id, start: log.ring.head(), session: log.session })
    }

    /// What the log has done and holds; `None` if there is none.
    pub fn stats(&self) -> Option<LogStats> {
        let state = self.state();
        let log = state.as_ref()?;
        Some(LogStats {
            len: log.ring.ring_blocks() * BLOCK_LEN as u64,
            used: log.ring.used_blocks() * BLOCK_LEN as u64,
            position: log.ring.head().position,
            durable_writes: log.file.0.durable_writes(),
            ..log.stats
        })
    }

    /// Is nothing waiting or in flight?
    pub fn is_idle(&self) -> bool {
        self.state().as_ref().is_none_or(Log::is_idle)
    }

    /// Where the commits are; `None` if there is no log, or one of them waits for the room that a
    /// checkpoint makes.
    pub fn course(&self) -> Option<Course> {
        let state = self.state();
        let log = state.as_ref().filter(|log| log.room.is_none())?;
        Some(Course {
            position: log.ring.head().position,
            free_blocks: log.ring.free_blocks(),
            group: log.in_flight.iter().map(|group| &group.write).find(|w| !w.finished()).cloned(),
        })
    }

    /// Begins to remove the log's file, if it is planned that the log ends. No slot speaks of it.
    /// One that is somewhere else by now stays.
    pub fn remove(&self, plan: LogPlan, pager: &Pager) -> Option<Completion> {
        if plan != LogPlan::End {
            return None;
        }
        let log = self.state().take()?;
        assert!(log.is_idle(), "a log ends when it is idle");
        reached!(LogEnded);
        if !log.file.0.is_at(&self.path) {
            tracing::warn!(file = %self.path.display(), "the log was renamed, and stays");
            return None;
        }
        Some(remove_log(&**pager.io(), &self.path, pager.file().clone()))
    }

    // Commits.

    /// The longest record that a group can have, in bytes; `None` if commits do not go into a log.
    pub fn record_limit(&self) -> Option<usize> {
        let state = self.state();
        let log = state.as_ref().filter(|_| self.limits.is_some())?;
        Some(Builder::max_transaction_len(max_group_blocks(log.ring.ring_blocks())))
    }

    /// Is there room for a commit with a record of so many bytes?
    pub fn room_for(&self, record_len: usize) -> Room {
        let mut state = self.state();
        let Some(log) = state.as_mut().filter(|_| self.limits.is_some()) else {
            return Room::Never;
        };
        let longest = max_group_blocks(log.ring.ring_blocks());
        let blocks = group::blocks_of_one(record_len);
        if blocks > longest {
            return Room::Never;
        }
        // A wrap may waste as much as the longest group has. One group more has its block more,
        // which the first of those that are planned needs not.
        let needed = blocks + longest + LEFT_FOR_NAMES;
        if log.ring.free_blocks() >= log.queued_blocks + needed {
            return Room::Enough;
        }
        if log.ring.ring_blocks() < needed + 1 {
            // A checkpoint leaves its name in it at least.
            return Room::Never;
        }
        reached!(LogFull);
        Room::Wait(log.next_room())
    }

    /// Notes that a commit became a checkpoint: perhaps a longer log would have taken it.
    pub fn turn_away(&self) {
        if let Some(log) = self.state().as_mut() {
            log.is_too_short = true;
        }
    }

    /// Waits until a checkpoint has made room; `None` if there is no log.
    pub fn wait_for_room(&self) -> Option<Completion> {
        let mut state = self.state();
        Some(state.as_mut()?.next_room())
    }

    /// Should so many commits that wait be made now? Also if there is no log.
    pub fn is_ready(&self, waiting: usize) -> bool {
        let state = self.state();
        state.as_ref().is_none_or(|log| log.is_ready(waiting))
    }

    /// Adds a commit that is applied, behind those before it.
    pub fn push(&self, version: u64, record: Vec<u8>, ticket: Arc<Ticket>) {
        let mut state = self.state();
        let log = state.as_mut().expect("there was room in the log");
        log.push(Queued::Commit { version, record, ticket: Some(ticket) });
        log.write_all();
    }

    /// Adds a relaxed commit that is applied, behind those before it. `now` is the clock's time.
    pub fn push_relaxed(&self, version: u64, record: Vec<u8>, now: Duration) {
        let mut state = self.state();
        let log = state.as_mut().expect("there was room in the log");
        log.push(Queued::Commit { version, record, ticket: None });
        let is_long = log.queued_blocks > max_group_blocks(log.ring.ring_blocks());
        if is_long {
            reached!(RelaxedFillGroup);
        }
        let is_awaited = log.syncs.back().is_some_and(|(wanted, _)| *wanted >= version);
        if is_long || is_awaited {
            log.write_all();
        }
        log.rest(now);
    }

    /// Sees to it that all that waits is written.
    pub fn write_all(&self) {
        if let Some(log) = self.state().as_mut() {
            log.write_all();
        }
    }

    /// Sees to it that all commits up to `version` become durable: a ticket that ends then, `None`
    /// if they are.
    pub fn sync_up_to(&self, version: u64) -> Option<Arc<Ticket>> {
        let mut state = self.state();
        let log = state.as_mut().filter(|log| version > log.durable)?;
        let ticket = Arc::new(Ticket::default());
        if let Some(cause) = log.failed.clone() {
            ticket.finish(Err(Error::OutcomeUnknown { cause }));
            return Some(ticket);
        }
        if log.owed < log.queue.len() {
            reached!(RelaxedSynced);
        }
        log.write_all();
        log.syncs.push_back((version, ticket.clone()));
        Some(ticket)
    }

    /// Is nothing active, of so many, but relaxed commits that may wait?
    pub fn is_resting(&self, active: usize, pager: &Pager) -> bool {
        self.resting.count() == active && !self.resting.is_late(pager.io().now())
    }

    /// Sees to it that relaxed commits are written that have waited for long enough, whatever else
    /// is active.
    fn write_late(&self, pager: &Pager) {
        if self.resting.count() > 0 && self.resting.is_late(pager.io().now()) {
            reached!(RelaxedInTime);
            self.write_all();
        }
    }

    /// Adds a group that names a checkpoint, which a slot holds. Finished when it is durable, and
    /// all before it.
    pub fn name(&self, checkpoint: u64) -> Completion {
        let named = Completion::signal();
        let mut state = self.state();
        let log = state.as_mut().expect("a checkpoint is named in a log");
        log.names = checkpoint;
        log.push(Queued::Name(named.clone()));
        log.write_all();
        named
    }

    /// Takes note of a checkpoint of `version` that was named: what is before `log.start` is not
    /// needed any more, and commits up to it need no group.
    pub fn pass(&self, version: u64, start: Option<LogUse>, pager: &Pager) {
        let mut state = self.state();
        let Some(log) = state.as_mut() else { return };
        let start = start.expect("a checkpoint beside a log says where it goes on").start;
        log.ring.advance_tail(start);
        let mut passed = Vec::new();
        while let Some(Queued::Commit { version: queued, .. }) = log.queue.front()
            && *queued <= version
        {
            passed.extend(log.take_queued());
        }
        if !passed.is_empty() {
            log.plan_again();
        }
        log.durable = log.durable.max(version);
        drop(state);
        self.retry_room();
        finish(passed, pager);
        self.end_syncs();
    }

    /// Gives up what is before `start`, and nothing else. For a mistake that is made on purpose: no
    /// group names the checkpoint yet.
    pub fn advance_tail(&self, start: Option<LogUse>) {
        if let (Some(log), Some(start)) = (self.state().as_mut(), start) {
            log.ring.advance_tail(start.start);
        }
        self.retry_room();
    }

    /// Tells who waits for room to ask again.
    pub fn retry_room(&self) {
        let room = self.state().as_mut().and_then(|log| log.room.take());
        if let Some(room) = room {
            room.succeed(0);
        }
    }

    /// Tells who waits for room that there will be none.
    pub fn refuse_room(&self, error: &IoFailure) {
        let room = self.state().as_mut().and_then(|log| log.room.take());
        if let Some(room) = room {
            room.fail(error.clone());
        }
    }

    /// Is the log so full that a checkpoint is due?
    pub fn is_checkpoint_due(&self) -> bool {
        self.state().as_ref().is_some_and(Log::is_half_full)
    }

    // Groups.

    /// Takes note of groups that are durable, and writes what waits. `true` if anything was done.
    pub fn turn(&self, pager: &Pager) -> bool {
        self.write_late(pager);
        let mut worked = false;
        // The queue's lock comes before that of the log.
        while let Some(reaped) = self.reap(pager.queue.deposit_count()) {
            worked = true;
            match reaped {
                Reaped::Durable(waiting) => {
                    let version = waiting.iter().filter_map(Queued::version).max();
                    if let Some(version) = version {
                        let cache = pager.cache();
                        pager.settled().acknowledge(version, cache);
                        cache.wake_waiters();
                    }
                    finish(waiting, pager);
                    self.end_syncs();
                }
                Reaped::Failed(cause, waiting) => {
                    let _poisoned = pager.poison(cause.clone());
                    self.refuse_room(&cause);
                    worked |= self.give_up(&cause, waiting, pager);
                }
            }
        }
        if let Err(Error::Poisoned { cause }) = pager.check_usable() {
            // Behind a group that failed none would be found again.
            worked |= self.give_up(&cause, Vec::new(), pager);
        }
        let is_sent = self.send(pager);
        if worked {
            // There may be room for another group, or never again.
            pager.queue.offer();
        }
        worked | is_sent
    }

    /// Writes what waits, if not enough is in flight. `true` if anything was.
    pub fn send(&self, pager: &Pager) -> bool {
        let mut is_sent = false;
        while pager.check_usable().is_ok()
            && let Some(group) = self.next_group()
        {
            is_sent = true;
            let Group { file, wrap, group } = group;
            for (place, write) in wrap.into_iter().chain([group]) {
                if !write.finished() {
                    file.0.write(file_offset(place.offset), true, write);
                }
            }
        }
        is_sent
    }

    /// Tells all who wait, these among them, that nobody knows. `true` if anybody did.
    fn give_up(&self, cause: &IoFailure, mut waiting: Vec<Queued>, pager: &Pager) -> bool {
        let mut syncs = VecDeque::new();
        if let Some(log) = self.state().as_mut() {
            log.failed.get_or_insert_with(|| cause.clone());
            waiting.extend(log.take_all());
            syncs = std::mem::take(&mut log.syncs);
        }
        let did = !waiting.is_empty() || !syncs.is_empty();
        waiting.into_iter().for_each(|queued| queued.fail(cause, pager));
        for (_, ticket) in syncs {
            ticket.finish(Err(Error::OutcomeUnknown { cause: cause.clone() }));
        }
        did
    }

    /// Tells those whose commits are durable and who wait for that.
    fn end_syncs(&self) {
        let over = self.state().as_mut().map(Log::take_synced).unwrap_or_default();
        for (version, ticket) in over {
            ticket.finish(Ok(version));
        }
    }

    /// The oldest group in flight, if it is finished. `waiting` more commits wait that nobody has
    /// begun.
    fn reap(&self, waiting: usize) -> Option<Reaped> {
        let mut state = self.state();
        let log = state.as_mut()?;
        if let Some(cause) = log.failed.clone().filter(|_| !log.queue.is_empty()) {
            return Some(Reaped::Failed(cause, log.take_all()));
        }
        if let Some(sync) = &log.sync {
            if !sync.finished() {
                return None;
            }
            let failed = sync.get_error();
            log.sync = None;
            if let Some(cause) = failed {
                return Some(log.fail(cause, Vec::new()));
            }
        }
        let is_over = |group: &InFlight| group.write.finished();
        if !log.file.0.is_direct() {
            // Through the operating system's cache, the error of one group's write may be told to
            // another one in flight beside it: they are known together.
            if !log.in_flight.iter().all(is_over) {
                return None;
            }
            if let Some(cause) = log.in_flight.iter().find_map(|group| group.write.get_error()) {
                return Some(log.fail(cause, Vec::new()));
            }
        }
        let group = match is_planted!(GroupAheadNotAwaited) {
            true => log.in_flight.remove(log.in_flight.iter().position(is_over)?)?,
            false => log.in_flight.pop_front_if(|group| is_over(group))?,
        };
        if let Some(cause) = group.write.get_error() {
            return Some(log.fail(cause, group.waiting));
        }
        log.known = group.end;
        log.count_under_way(group.commits, waiting);
        let version = group.waiting.iter().filter_map(Queued::version).max();
        log.durable = log.durable.max(version.unwrap_or_default());
        Some(Reaped::Durable(group.waiting))
    }

    /// Makes a group of what waits, to be written at its place; `None` if nothing does, enough is
    /// in flight, or there is no room.
    fn next_group(&self) -> Option<Group> {
        self.state().as_mut()?.next_group()
    }

    fn state(&self) -> MutexGuard<'_, Option<Log>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
