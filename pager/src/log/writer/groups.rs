//! What waits to be written into a log, the groups that are made of it, and those in flight.

use std::collections::VecDeque;
use std::time::Duration;

use smallvec::smallvec;
use yieldb_core::sync::Arc;
use yieldb_core::{BufferPool, Completion, Error as IoFailure, Request, SharedBuffers, reached};

use super::resting::Resting;
use super::{DEPTH, FEW, LogStats};
use crate::log::group::{self, Builder, Header, Kind};
use crate::log::ring::{Demand, Ring};
use crate::log::{BLOCK_LEN, Place, max_group_blocks};
use crate::ops::checkpoint::Ticket;
use crate::ops::make_log::LogFile;
use crate::superblock::Superblock;
use crate::{Error, Pager};

/// A log in use.
pub(super) struct Log {
    pub file: LogFile,
    pub id: [u8; 16],
    pub session: u32,
    pub ring: Ring,
    /// The newest checkpoint that a slot holds.
    pub names: u64,
    /// All groups before this position are durable.
    pub known: u64,
    /// All commits up to this version are durable.
    pub durable: u64,
    pub queue: VecDeque<Queued>,
    /// How many of the queue, from its front, are to be written; the others may wait.
    pub owed: usize,
    pub in_flight: VecDeque<InFlight>,
    /// How many commits were under way when a group was durable last, those of that group and those
    /// that nobody had begun yet among them.
    pub under_way: usize,
    /// The lengths of the payloads of the groups that are to be made of the queue.
    pub planned: VecDeque<usize>,
    /// How many blocks those have, and one more each. Where the first of the queue go without a
    /// group, the others are divided in another way: then there are no more groups and no more
    /// bytes, but each group, but for one, may have a block that is nearly empty.
    pub queued_blocks: u64,
    pub stats: LogStats,
    /// Who waits for room.
    pub room: Option<Completion>,
    /// Was a commit turned away, which a longer one would have taken perhaps?
    pub is_too_short: bool,
    /// Who waits until a version is durable, without a group of his own; the lowest first.
    pub syncs: VecDeque<(u64, Arc<Ticket>)>,
    pub resting: Arc<Resting>,
    /// A write of a group failed: nothing behind it would be found again.
    pub failed: Option<IoFailure>,
    /// A sync of the file beside the groups.
    pub sync: Option<Completion>,
    /// The version that the next commit makes.
    pub next_version: u64,
    /// The group that is being put together.
    pub builder: Builder,
    /// Its bytes.
    pub bytes: Vec<u8>,
    pub blocks: Arc<BufferPool>,
}

/// What waits for a group.
pub(super) enum Queued {
    /// A commit that is applied; a relaxed one has nobody to be told.
    Commit { version: u64, record: Vec<u8>, ticket: Option<Arc<Ticket>> },
    /// A checkpoint that is to be named.
    Name(Completion),
}

/// A group whose write is not finished, or not looked at.
pub(super) struct InFlight {
    pub write: Completion,
    /// The position behind it.
    pub end: u64,
    /// Those who wait for it.
    pub waiting: Vec<Queued>,
    /// How many commits they wait for.
    pub commits: usize,
}

/// A group that is to be written.
pub(super) struct Group {
    pub file: LogFile,
    /// The wrap group that has to be written before it.
    pub wrap: Option<(Place, Completion)>,
    pub group: (Place, Completion),
}

/// What a look at the groups in flight came to.
pub(super) enum Reaped {
    /// The oldest is durable; those who wait for it.
    Durable(Vec<Queued>),
    /// It failed, and with it everything that waited.
    Failed(IoFailure, Vec<Queued>),
}

impl Log {
    /// A log whose groups are all durable, and end with `version`.
    pub fn new(
        file: LogFile,
        id: [u8; 16],
        ring: Ring,
        superblock: &Superblock,
        version: u64,
        resting: Arc<Resting>,
        blocks: Arc<BufferPool>,
    ) -> Log {
        Log {
            file,
            id,
            session: superblock.session,
            names: superblock.checkpoint,
            known: ring.head().position,
            durable: version,
            queue: VecDeque::new(),
            owed: 0,
            in_flight: VecDeque::new(),
            under_way: 0,
            planned: VecDeque::new(),
            queued_blocks: 0,
            stats: LogStats::default(),
            room: None,
            is_too_short: false,
            syncs: VecDeque::new(),
            resting,
            failed: None,
            sync: None,
            next_version: version + 1,
            builder: Builder::new(max_group_blocks(ring.ring_blocks())),
            bytes: Vec::new(),
            blocks,
            ring,
        }
    }

    /// Is it so full that a checkpoint is due?
    pub fn is_half_full(&self) -> bool {
        self.ring.used_blocks() + self.queued_blocks > self.ring.ring_blocks() / 2
    }

    /// Notes that a write failed: it is over with everything that waits, and with what comes.
    pub fn fail(&mut self, cause: IoFailure, mut waiting: Vec<Queued>) -> Reaped {
        self.failed = Some(cause.clone());
        waiting.extend(self.take_all());
        Reaped::Failed(cause, waiting)
    }

    /// How many commits are in flight.
    pub fn commits_in_flight(&self) -> usize {
        self.in_flight.iter().map(|group| group.commits).sum()
    }

    /// May another group be in flight?
    pub fn may_send(&self) -> bool {
        let (groups, commits) = (self.in_flight.len(), self.commits_in_flight());
        groups == 0 || groups < DEPTH && commits < FEW
    }

    /// Should `waiting` commits that nobody has begun be made now? If another group is in flight,
    /// they should be half of what is under way, so that halves take turns.
    pub fn is_ready(&self, waiting: usize) -> bool {
        let half = self.commits_in_flight().max(self.under_way / 2);
        self.owed == 0 && (self.may_send() || waiting >= half)
    }

    /// Notes how many commits are under way as `durable` of them have just become so, and `waiting`
    /// are not begun. Those that are durable are about to come again, for all that is known.
    pub fn count_under_way(&mut self, durable: usize, waiting: usize) {
        let queued: usize = self.queue.iter().map(Queued::commits).sum();
        self.under_way = durable + self.commits_in_flight() + queued + waiting;
    }

    /// What to wait for until a checkpoint makes room. One that is over was cancelled by whoever
    /// waited for it.
    pub fn next_room(&mut self) -> Completion {
        let room = self.room.take().filter(|room| !room.finished());
        self.room.insert(room.unwrap_or_else(Completion::signal)).clone()
    }

    /// As [`LogWriter::next_group`].
    pub fn next_group(&mut self) -> Option<Group> {
        let is_held_up = self.failed.is_some() || !self.may_send();
        if self.owed == 0 || is_held_up {
            return None;
        }
        let mut waiting = Vec::new();
        self.builder.clear();
        while let Some(queued) = self.queue.front() {
            if let Queued::Commit { record, .. } = queued {
                if !self.builder.would_fit(record.len()) {
                    break;
                }
                self.builder.push(record);
            }
            waiting.extend(self.take_queued());
        }
        if self.builder.transactions() > 0 {
            let planned = self.planned.pop_front().expect("there is a group for what is queued");
            assert_eq!(planned, self.builder.payload().len(), "another group was planned");
            self.queued_blocks -= most_blocks(planned);
        }
        let first_version = waiting.iter().find_map(Queued::version);
        let last_version = waiting.iter().rev().find_map(Queued::version);
        let demand = match last_version {
            Some(_) => Demand::Promised(self.builder.block_count()),
            None => Demand::Name,
        };
        let placed = self.ring.place(demand).expect("room was kept for it");
        let header = Header {
            kind: Kind::Commits,
            position: placed.at.position,
            session: self.session,
            transactions: self.builder.transactions(),
            first_version: first_version.unwrap_or(self.next_version),
            known: self.known,
            names: self.names,
        };
        self.next_version = last_version.map_or(self.next_version, |version| version + 1);
        let wrap = placed.wrap.map(|place| {
            reached!(LogWrapped);
            let (kind, position) = (Kind::Wrap, place.position);
            let wrap = Header { kind, position, transactions: 0, ..header };
            (place, self.begin_write(&wrap, &[], Vec::new()))
        });
        let builder = std::mem::replace(&mut self.builder, Builder::new(1));
        let write = self.begin_write(&header, builder.payload(), waiting);
        self.builder = builder;
        Some(Group { file: self.file.clone(), wrap, group: (placed.at, write) })
    }

    /// The write of a group, which is in flight from now on.
    pub fn begin_write(
        &mut self,
        header: &Header,
        payload: &[u8],
        waiting: Vec<Queued>,
    ) -> Completion {
        let blocks = group::block_count(payload.len());
        let write = if blocks == 1
            && let Some(mut buffer) = self.blocks.take()
        {
            group::encode(header, payload, &mut buffer);
            Completion::write(smallvec![buffer.share()])
        } else {
            self.bytes.resize(blocks as usize * BLOCK_LEN, 0);
            group::encode(header, payload, &mut self.bytes);
            self.write_bytes()
        };
        let end = header.position + blocks;
        self.stats.groups += 1;
        self.stats.commits += u64::from(header.transactions);
        self.stats.bytes_written += blocks * BLOCK_LEN as u64;
        let commits = waiting.iter().map(Queued::commits).sum();
        self.in_flight.push_back(InFlight { write: write.clone(), end, waiting, commits });
        write
    }

    /// The write of the group whose bytes are together.
    fn write_bytes(&self) -> Completion {
        let buffers = self.bytes.chunks(BLOCK_LEN).map_while(|block| {
            let mut buffer = self.blocks.take()?;
            buffer.copy_from_slice(block);
            Some(buffer.share())
        });
        let buffers: SharedBuffers = buffers.collect();
        if buffers.len() == self.bytes.len() / BLOCK_LEN {
            return Completion::write(buffers);
        }
        drop(buffers);
        long_write(&self.bytes)
    }

    /// Is nothing waiting or in flight?
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.in_flight.is_empty()
    }

    /// Puts something behind all that waits. It may wait.
    pub fn push(&mut self, queued: Queued) {
        if let Queued::Commit { record, .. } = &queued {
            self.plan(record.len());
        }
        self.queue.push_back(queued);
    }

    /// Adds a record of `len` bytes to the last group that is planned, or plans one more.
    fn plan(&mut self, len: usize) {
        let mut payload_len = 0;
        if let Some(last) = self.planned.back().copied()
            && self.builder.would_fit_behind(last, len)
        {
            self.planned.pop_back();
            self.queued_blocks -= most_blocks(last);
            payload_len = last;
        }
        payload_len += group::LENGTH_LEN + len;
        self.planned.push_back(payload_len);
        self.queued_blocks += most_blocks(payload_len);
    }

    /// Plans the groups anew, when some of the queue is gone, or groups may be longer.
    pub fn plan_again(&mut self) {
        self.planned.clear();
        self.queued_blocks = 0;
        for index in 0..self.queue.len() {
            if let Queued::Commit { record, .. } = &self.queue[index] {
                self.plan(record.len());
            }
        }
    }

    /// All that waits is to be written.
    pub fn write_all(&mut self) {
        self.owed = self.queue.len();
        self.resting.set(0);
    }

    /// What may wait begins to do so now, or does so already.
    pub fn rest(&mut self, now: Duration) {
        self.resting.begin(self.queue.len() - self.owed, now);
    }

    /// All that waits, those in flight first.
    pub fn take_all(&mut self) -> Vec<Queued> {
        self.planned.clear();
        self.queued_blocks = 0;
        self.owed = 0;
        self.resting.set(0);
        let in_flight = self.in_flight.drain(..).flat_map(|group| group.waiting);
        in_flight.chain(self.queue.drain(..)).collect()
    }

    /// Takes the first of those that wait, which is about to be written or need not be.
    pub fn take_queued(&mut self) -> Option<Queued> {
        let queued = self.queue.pop_front()?;
        self.owed = self.owed.saturating_sub(1);
        self.resting.set(self.queue.len() - self.owed);
        Some(queued)
    }

    /// Takes those who wait for a version that is durable.
    pub fn take_synced(&mut self) -> Vec<(u64, Arc<Ticket>)> {
        let durable = self.durable;
        let next = || self.syncs.pop_front_if(|(version, _)| *version <= durable);
        std::iter::from_fn(next).collect()
    }
}

impl Queued {
    pub fn version(&self) -> Option<u64> {
        match self {
            Queued::Commit { version, .. } => Some(*version),
            Queued::Name(_) => None,
        }
    }

    /// How many commits it is.
    pub fn commits(&self) -> usize {
        match self {
            Queued::Commit { ticket, .. } => ticket.as_ref().map_or(1, |ticket| ticket.commits()),
            Queued::Name(_) => 0,
        }
    }

    pub fn fail(self, cause: &IoFailure, pager: &Pager) {
        match self {
            Queued::Commit { ticket, .. } => {
                pager.machines().end_activity();
                if let Some(ticket) = ticket {
                    ticket.finish(Err(Error::OutcomeUnknown { cause: cause.clone() }));
                }
            }
            Queued::Name(named) => {
                named.fail(cause.clone());
            }
        }
    }
}

/// How many blocks are kept for a group that is planned.
fn most_blocks(payload_len: usize) -> u64 {
    group::block_count(payload_len) + 1
}

/// The write of a group for which there are not enough blocks of memory ready.
fn long_write(bytes: &[u8]) -> Completion {
    let pool = BufferPool::new(1, bytes.len());
    let buffer = pool.map(|pool| pool.take().expect("it has one"));
    match buffer {
        Ok(mut buffer) => {
            buffer.copy_from_slice(bytes);
            Completion::write(smallvec![buffer.share()])
        }
        Err(error) => {
            let write = Completion::write(smallvec![]);
            write.fail(error);
            write
        }
    }
}

/// Tells those who waited that all is well.
pub(super) fn finish(waiting: Vec<Queued>, pager: &Pager) {
    for queued in waiting {
        match queued {
            Queued::Commit { version, ticket, .. } => {
                pager.machines().end_activity();
                if let Some(ticket) = ticket {
                    ticket.finish(Ok(version));
                }
            }
            Queued::Name(named) => {
                named.succeed(0);
            }
        }
    }
}
