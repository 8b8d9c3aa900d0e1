//! Commits and checkpoints, as those who work for a transaction ask for them.

use yieldb_core::sync::atomic::{AtomicUsize, Ordering};
use yieldb_core::sync::{Arc, MutexGuard, PoisonError};
use yieldb_core::{Completion, Request, is_planted, reached};

use crate::ledger::{Ledger, Settling};
use crate::log::writer::{LogWriter, Room};
use crate::ops::checkpoint::{Changes, Job, LogPlan, Subject, Ticket};
use crate::ops::read_log::LogReader;
use crate::ops::turn::Machines;
use crate::version::RootSet;
use crate::write_set::WriteSet;
use crate::writer_queue::{Followers, WriterTurn};
use crate::{Durability, Error, Pager, Result};

impl Pager {
    /// Lets the engine's own machines go as far as they can. Cheap if there is nothing to do.
    ///
    /// Any number of threads may call it at any time; one of them does the work, and none of the
    /// others' news is lost. `true` if this one did: there may be I/O to be sent out.
    pub fn turn(&self) -> bool {
        self.machines.turn(self)
    }

    /// Commits a transaction by a checkpoint, on behalf of the one who has the writer's turn. From
    /// here on the engine owns it; see [`Ticket`] for the result.
    ///
    /// Behind the first commit since the database was opened, this begins a log.
    pub fn commit(
        &self,
        set: WriteSet,
        roots: RootSet,
        turn: WriterTurn,
        followers: Followers,
    ) -> Arc<Ticket> {
        let is_first = !self.has_committed.swap(true, Ordering::SeqCst);
        let log = if is_first { LogPlan::Keep } else { LogPlan::Begin };
        self.log.turn_away();
        let subject = Subject::Transaction(Box::new(Changes { set, roots, turn }));
        self.begin_job(subject, log, Ticket::with(followers))
    }

    /// The longest record of a transaction that the log can have, in bytes; `None` if there is no
    /// log that commits go into.
    pub fn record_limit(&self) -> Option<usize> {
        self.log.record_limit()
    }

    /// Should so many commits that wait be made now: would they be written at once, by a checkpoint
    /// if there is no log, or are they as many as those in flight? Otherwise they are better made
    /// together with what comes until some of those are durable.
    pub fn is_ready(&self, waiting: usize) -> bool {
        self.log.is_ready(waiting)
    }

    /// How many changes should be made together at most, so that they go into the log.
    pub fn most_together(&self) -> usize {
        self.cache.pool().share() / 64
    }

    /// Is there room in the log for a commit of these changes, with a record of so many bytes? For
    /// the one who has the writer's turn.
    ///
    /// # Errors
    ///
    /// The failure of an earlier write: the transaction is doomed.
    pub fn room_for(&self, set: &mut WriteSet, record_len: usize) -> Result<Room> {
        self.check_usable()?;
        if let Some(io) = set.settle()? {
            return Ok(Room::Wait(io));
        }
        if set.private_count() > self.cache.pool().share() / 16 {
            return Ok(Room::Never);
        }
        if self.is_checkpoint_late()
            && let Some(io) = self.log.wait_for_room()
        {
            self.machines.catch_up();
            return Ok(Room::Wait(io));
        }
        let room = self.log.room_for(record_len);
        if let Room::Wait(_) = room {
            self.machines.catch_up();
        }
        Ok(room)
    }

    /// Commits a transaction for which there [is room](Pager::room_for) in the log, and sends the
    /// group that it is in if enough are not in flight. From here on the engine owns it; see
    /// [`Ticket`] for the result.
    ///
    /// What can be done while the group is being written is left to [`Pager::turn`]: its pages are
    /// handed to the cache, and then the next writer's turn comes. A relaxed commit leaves nothing.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::Error::Corrupt) if the transaction replaced a page that the file's space
    /// map does not have: it is undone.
    pub fn append(
        &self,
        mut set: WriteSet,
        roots: RootSet,
        turn: WriterTurn,
        followers: Followers,
        record: &[u8],
        durability: Durability,
    ) -> Result<Arc<Ticket>> {
        let pages = set.close(self);
        if durability == Durability::Relaxed {
            // It may be acknowledged at once.
            set.hand_to_cache(self);
        }
        let ticket = Arc::new(Ticket::with(followers));
        let mut ledger = self.ledger();
        if let Err(error) = ledger.apply(&set, roots, &self.cache) {
            drop(ledger);
            set.hand_to_cache(self);
            set.give_up(self);
            return Err(error);
        }
        self.machines.begin_activity();
        self.enqueue(&mut ledger, record, durability, &ticket);
        let settling = Settling { set, pages, turn };
        match durability {
            Durability::Sync => {
                self.machines.begin_activity();
                ledger.begin_settling(settling);
                drop(ledger);
                self.cache.wake_waiters();
                let _sent = self.log.send(self);
            }
            Durability::Relaxed => {
                // There is no I/O whose time could be used.
                self.finish_settling(settling, ledger);
                self.end_waits();
                let _worked = self.turn();
            }
        }
        Ok(ticket)
    }

    /// Is there a commit whose pages the cache does not have yet? [`Pager::turn`] is to be called
    /// when what was submitted is sent out.
    pub fn is_settling(&self) -> bool {
        self.ledger().is_settling()
    }

    /// Hands the pages of the newest applied version to the cache, if it does not have them, and
    /// gives the turn to the next writer. For the engine's own machines, which do one thing at a
    /// time.
    pub(crate) fn settle(&self) {
        let settling = self.ledger().take_settling();
        let Some(mut settling) = settling else { return };
        settling.set.hand_to_cache(self);
        let mut ledger = self.ledger();
        if is_planted!(AppliedIsAcknowledged) {
            let version = ledger.applied().version;
            ledger.acknowledge(version, &self.cache);
        }
        self.finish_settling(settling, ledger);
        self.machines.end_activity();
    }

    /// The cache has the pages of an applied version: a checkpoint may be made of it, and the next
    /// writer's turn comes.
    fn finish_settling(&self, settling: Settling, mut ledger: MutexGuard<'_, Ledger>) {
        let Settling { set, pages, turn } = settling;
        pages.iter().for_each(|page| ledger.dirty().add(*page));
        drop(ledger);
        self.cache.wake_waiters();
        set.keep(self);
        drop(turn);
        if self.is_checkpoint_due() {
            reached!(CheckpointDue);
            self.machines.catch_up();
        }
    }

    /// The ledger, when the cache has the pages of all versions. For the engine's own machines.
    pub(crate) fn settled(&self) -> MutexGuard<'_, Ledger> {
        loop {
            self.settle();
            let ledger = self.ledger();
            if !ledger.is_settling() {
                return ledger;
            }
        }
    }

    /// For a transaction without changes: what to wait for before it may be said that `version`, on
    /// which it began, is as durable as it should be; `None` if that is so.
    ///
    /// # Errors
    ///
    /// [`Poisoned`](crate::Error::Poisoned).
    pub fn await_version(
        &self,
        version: u64,
        durability: Durability,
    ) -> Result<Option<Arc<Ticket>>> {
        if durability == Durability::Sync
            && let Some(ticket) = self.log.sync_up_to(version)
        {
            return Ok(Some(ticket));
        }
        let mut ledger = self.ledger();
        self.check_usable()?;
        Ok(ledger.await_version(version))
    }

    /// Tells those who wait for a version that it is acknowledged, or that nobody knows.
    pub(crate) fn end_waits(&self) {
        let failure = match self.check_usable() {
            Err(Error::Poisoned { cause }) => Some(Error::OutcomeUnknown { cause }),
            other => other.err(),
        };
        let over = self.ledger().take_awaiting(failure.is_some());
        for (version, ticket) in over {
            ticket.finish(failure.clone().map_or(Ok(version), Err));
        }
    }

    /// What the log has that the checkpoint does not, and the writer's turn to make it again with.
    /// For opening: `None` if there is nothing, or it was taken before.
    pub fn take_recovery(&self) -> Option<(LogReader, WriterTurn)> {
        let reader = self.recovery.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some((reader, self.queue.try_take().expect("nobody else has the database yet")))
    }

    /// Applies a transaction that has the changes of the log up to `version`. For opening. `None`
    /// if that is done; otherwise what to wait for before asking again.
    ///
    /// # Errors
    ///
    /// The failure of a write, or as [`Pager::append`].
    pub fn adopt(
        &self,
        set: &mut WriteSet,
        roots: RootSet,
        version: u64,
    ) -> Result<Option<Completion>> {
        if let Some(io) = set.settle()? {
            return Ok(Some(io));
        }
        let mut set = set.take();
        let pages = set.finish(self);
        let roots = RootSet { version: version - 1, ..roots };
        let applied = self.with_ledger(|ledger| {
            ledger.apply(&set, roots, &self.cache)?;
            pages.iter().for_each(|page| ledger.dirty().add(*page));
            ledger.acknowledge(version, &self.cache);
            Ok(())
        });
        if let Err(error) = applied {
            set.give_up(self);
            return Err(error);
        }
        reached!(LogReplayed);
        set.keep(self);
        if !self.read_only && self.is_checkpoint_due() {
            self.machines.catch_up();
        }
        Ok(None)
    }

    /// Makes a checkpoint of the newest version, if that is not one yet. Commits go on beside it.
    ///
    /// # Errors
    ///
    /// [`ReadOnly`](crate::Error::ReadOnly), [`Poisoned`](crate::Error::Poisoned).
    pub fn checkpoint(&self) -> Result<Arc<Ticket>> {
        let _queue = self.writers()?;
        let ledger = self.ledger();
        let (version, durable) = (ledger.applied().version, ledger.durable().version);
        drop(ledger);
        if version == durable && !self.is_busy() {
            let ticket = Arc::new(Ticket::default());
            ticket.finish(Ok(version));
            return Ok(ticket);
        }
        Ok(self.begin_job(Subject::Version(None), LogPlan::Keep, Ticket::default()))
    }

    /// Makes a checkpoint of the newest version, and ends the log: for closing, on behalf of the
    /// one who has the writer's turn. `None` if there is no log.
    pub fn end_log(&self, turn: WriterTurn) -> Option<Arc<Ticket>> {
        self.log.head()?;
        self.log.write_all();
        Some(self.begin_job(Subject::Version(Some(turn)), LogPlan::End, Ticket::default()))
    }

    /// Makes a checkpoint of the newest version, and cuts the file behind its last page in use: on
    /// behalf of the one who has the writer's turn, so that nobody takes a number meanwhile.
    pub fn cut(&self, turn: WriterTurn) -> Arc<Ticket> {
        self.begin_job(Subject::Version(Some(turn)), LogPlan::Keep, Ticket::default())
    }

    /// Somebody makes the file shorter, until the result is dropped: new pages go where that says.
    ///
    /// # Errors
    ///
    /// What to wait for before asking again: somebody else does.
    pub fn begin_compaction(self: &Arc<Self>) -> std::result::Result<Compaction, Completion> {
        self.ledger().begin_compaction()?;
        Ok(Compaction { pager: self.clone() })
    }

    fn begin_job(&self, subject: Subject, log: LogPlan, ticket: Ticket) -> Arc<Ticket> {
        let ticket = Arc::new(ticket);
        self.machines.push(Job { subject, log, ticket: ticket.clone() });
        ticket
    }

    /// The log, if there is one.
    pub(crate) fn log(&self) -> &LogWriter {
        &self.log
    }

    /// The engine's own machines.
    pub(crate) fn machines(&self) -> &Machines {
        &self.machines
    }

    /// Is there so much that only memory and the log have, or so much that only checkpoints have,
    /// that another one should be made?
    pub(crate) fn is_checkpoint_due(&self) -> bool {
        let [(dirty, most_dirty), (old, most_old), (spent, most_spent)] = self.backlog();
        self.log.is_checkpoint_due()
            || dirty >= most_dirty / 2
            || old >= most_old * 3 / 10
            || spent >= most_spent / 2
    }

    /// Is there so much of it, the log aside, that commits should wait for a checkpoint?
    fn is_checkpoint_late(&self) -> bool {
        self.backlog().iter().any(|(there, most)| there >= most)
    }

    /// How many pages only memory has, how many only checkpoints have, which make the file longer,
    /// and how many moments of the session are over; and how many each may be.
    fn backlog(&self) -> [(u64, u64); 3] {
        let most_dirty = self.cache.pool().share() as u64 / 4;
        let mut ledger = self.ledger();
        [(ledger.dirty().count(), most_dirty), ledger.old_and_most(), ledger.spent_and_most()]
    }

    /// How many commits and checkpoints are queued or under way: [`Pager::turn`] has nothing to do
    /// while this is 0.
    pub fn activity(&self) -> &Arc<AtomicUsize> {
        self.machines.active()
    }

    /// Is a commit or a checkpoint queued or under way?
    pub fn is_busy(&self) -> bool {
        self.activity().load(Ordering::SeqCst) > 0
    }
}

/// Somebody makes a file shorter: see [`Pager::begin_compaction`].
#[derive(Debug)]
pub struct Compaction {
    pager: Arc<Pager>,
}

impl Compaction {
    /// From now on new pages go behind the first `floor` pages, as far in front as there is room.
    pub fn fill_from(&self, floor: u64) {
        self.pager.ledger().set_floor(floor);
    }

    /// How many pages, from the first one on, are nearly all in use: at most one in 32 is free.
    pub fn dense_count(&self) -> u64 {
        self.pager.ledger().dense_count()
    }
}

impl Drop for Compaction {
    fn drop(&mut self) {
        let over = self.pager.ledger().end_compaction();
        if let Some(over) = over {
            over.succeed(0);
        }
    }
}
