//! Making a version durable, and the file's newest.

use smallvec::smallvec;
use yieldb_core::sync::{Arc, Mutex, OnceLock, PoisonError};
use yieldb_core::{
    Completion, CompletionGroup, Error as IoFailure, IOResult, Request, StateMachine,
    StateTransition, Transition, is_planted, reached,
};

use crate::ledger::Plan;
use crate::log::writer::NewLog;
use crate::ops::grow_log::GrowLog;
use crate::ops::make_log::MakeLog;
use crate::ops::slots::SlotReads;
use crate::pacing::Pacing;
use crate::superblock::{LogUse, SLOT_LEN, SLOT_OFFSETS, Superblock};
use crate::version::RootSet;
use crate::write_set::WriteSet;
use crate::writer_queue::{Followers, WriterTurn};
use crate::{Error, Pager, Result};

/// What a checkpoint is to make durable.
#[derive(Debug)]
pub(crate) struct Job {
    pub subject: Subject,
    /// What becomes of the log.
    pub log: LogPlan,
    /// Where the result goes.
    pub ticket: Arc<Ticket>,
}

/// Whose pages a checkpoint writes.
#[derive(Debug)]
pub(crate) enum Subject {
    /// Those of the newest version that was applied; with the right to write, if nothing is to be
    /// applied meanwhile. Then the file is cut behind its last page in use, too.
    Version(Option<WriterTurn>),
    /// Those of a transaction that is not in the log, and applied when it is durable.
    Transaction(Box<Changes>),
}

/// A transaction that was handed over.
#[derive(Debug)]
pub(crate) struct Changes {
    /// Its pages.
    pub set: WriteSet,
    /// The trees of the new version. Its number and moment are the engine's to give.
    pub roots: RootSet,
    /// The right to write ends with the checkpoint.
    pub turn: WriterTurn,
}

/// What becomes of the log when a checkpoint is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogPlan {
    /// It goes on, or there is none.
    Keep,
    /// It begins if there is none: commits are going to need it.
    Begin,
    /// It is over: the checkpoint has all of it.
    End,
}

/// The result of a checkpoint, for whoever waits for it.
#[derive(Debug)]
pub struct Ticket {
    result: OnceLock<Result<u64>>,
    finished: Completion,
    /// How many commits end with it.
    commits: usize,
    /// Whose changes were made together with those of the one who waits for it.
    followers: Mutex<Followers>,
}

impl Default for Ticket {
    fn default() -> Self {
        Ticket::with(Followers::default())
    }
}

impl Ticket {
    /// A ticket for a transaction that has the changes of `followers`.
    pub(crate) fn with(followers: Followers) -> Ticket {
        let (result, finished) = (OnceLock::new(), Completion::signal());
        let commits = 1 + followers.deposits().len();
        Ticket { result, finished, commits, followers: Mutex::new(followers) }
    }

    /// How many commits end with it: that of the one who waits for it, and those made with it.
    pub(crate) fn commits(&self) -> usize {
        self.commits
    }

    /// Finished when the checkpoint is over, well or badly.
    pub fn completion(&self) -> Completion {
        self.finished.clone()
    }

    /// The version that is durable now, or why it is not; `None` before the end.
    pub fn result(&self) -> Option<Result<u64>> {
        self.result.get().cloned()
    }

    /// What became of it, for one who has waited.
    ///
    /// # Errors
    ///
    /// Why the version is not durable. [`IoFailure::Cancelled`] says nothing of it: whoever waits
    /// has cancelled the ticket's completion, and the engine goes on.
    pub fn outcome(&self) -> Result<u64> {
        self.result().unwrap_or(Err(IoFailure::Cancelled.into()))
    }

    pub(crate) fn finish(&self, result: Result<u64>) {
        let mut followers = {
            let mut followers = self.followers.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *followers)
        };
        followers.finish(&result);
        let first = self.result.set(result).is_ok();
        debug_assert!(first, "a checkpoint ends once");
        self.finished.succeed(0);
    }
}

/// Makes a version durable, and the file's newest. The engine owns it: it goes on when whoever
/// asked for it has gone away.
///
/// ```text
///            a log begins, or is to be longer                                     no log, or it
///   begin -> MakingLog ---> Publish -> Writing -> Syncing -> ReadingSlots        begins or ends
///      | '-> GrowingLog ------^^ |         |         |             |               ,---------.
///      '-----------------------' v         v         v             v               v         |
///                             given up  given up  poisoned    WritingSlot --> WritingSlot    |
///                                                             (first) |        (second) -> A |
///                                                the log goes on      v              |       |
///                                                                   Naming -> A <- RemovingLog
///
///   A, or Publish of a version that is durable:
///     nobody can take a number, and the file's end is not used: Cutting --> done
///     '----------------------------------------------------------------------^
/// ```
///
/// Given up: nothing durable has changed, and the transaction is undone. Poisoned: the new version
/// may or may not be what the next open finds. So is a failed write of a slot or of the name, and a
/// failed sync of the log that is made longer; a failed cut is told, and the version is durable.
///
/// The checkpoint before is named by both slots, or by one and the log. A disk may have lost a
/// write of one of two, or let it rot: so they are read while the pages become durable, and the
/// bad one is written first. With a log one slot is written, and then a group that names the
/// checkpoint: if that slot is damaged later, the log says that there was something newer than the
/// other one. Without a log both are written.
///
/// An abandoned run (the process ends) leaves the version before, or from the first slot's write
/// on perhaps the new one; nothing is acknowledged, and no number of a replaced page is used again,
/// before both slots, or the log, name it.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    /// The transaction; `None` for a version, and when it is over.
    changes: Option<Box<Changes>>,
    /// The right to write that a checkpoint of a version came with.
    turn: Option<WriterTurn>,
    log: LogPlan,
    pacing: Pacing,
    ticket: Arc<Ticket>,
}

/// How far a checkpoint is.
#[derive(Debug)]
pub(crate) enum State {
    /// The file of the log is made.
    MakingLog(StateMachine<MakeLog>),
    /// The file of the log is made longer.
    GrowingLog(StateMachine<GrowLog>),
    /// The transaction's pages are private.
    Publish(Option<NewLog>),
    /// What only memory has, and the new space map, are on their way to places that nothing durable
    /// refers to. The completion is that of the map, and of what the transaction has written.
    Writing(Flip, Completion),
    /// All of it is written, and becomes durable, while both slots are read.
    Syncing(Flip, (SlotReads, Completion), Completion),
    /// It is durable; what the slots say is still to be known.
    ReadingSlots(Flip, SlotReads),
    /// A slot that names it is written.
    WritingSlot(Flip, Slot, Completion),
    /// The group of the log becomes durable that names the checkpoint.
    Naming(Flip, Completion),
    /// No slot says any more that there is a log; its file goes.
    RemovingLog(Flip, Completion),
    /// The version is durable, and the file's end, which nothing refers to, is cut off.
    Cutting(u64, Completion),
}

/// What both slots are to say, and the log that begins with that.
#[derive(Debug)]
pub(crate) struct Flip {
    plan: Plan,
    new_log: Option<NewLog>,
}

/// Which of the superblock's slots is written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slot {
    /// The one that does not hold the checkpoint before.
    First,
    /// The other one, so that damage to one slot loses nothing.
    Second,
}

/// The machine of a job.
pub(crate) fn begin(job: Job, pager: &Pager) -> StateMachine<Checkpoint> {
    let Job { subject, log, ticket } = job;
    let (changes, turn) = match subject {
        Subject::Version(turn) => (None, turn),
        Subject::Transaction(changes) => (Some(changes), None),
    };
    let state = if pager.check_usable().is_err() {
        State::Publish(None)
    } else if let Some(making) = pager.log().make(log, pager) {
        State::MakingLog(making)
    } else if let Some(growing) = pager.log().begin_growth(log, pager) {
        State::GrowingLog(growing)
    } else {
        State::Publish(None)
    };
    let pacing = Pacing::default();
    StateMachine::new(Checkpoint { changes, turn, log, pacing, ticket }, state)
}

impl Checkpoint {
    /// Where the result goes.
    pub fn ticket(&self) -> &Arc<Ticket> {
        &self.ticket
    }

    /// Is it one of a version, beside which others may commit?
    pub fn is_of_version(&self) -> bool {
        self.changes.is_none() && self.turn.is_none()
    }
}

impl StateTransition for Checkpoint {
    type State = State;
    type Context = Pager;
    type Output = u64;
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::MakingLog(mut making) => match making.step(pager) {
                Ok(IOResult::IO(io)) => Transition::Wait(State::MakingLog(making), io.into()),
                Ok(IOResult::Done(log)) => Transition::Next(State::Publish(Some(log))),
                Err(error) => {
                    // The commit does not need it: it is a checkpoint.
                    tracing::warn!(file = %pager.file().path().display(), %error, "no log");
                    Transition::Next(State::Publish(None))
                }
            },
            State::GrowingLog(mut growing) => match growing.step(pager) {
                Ok(IOResult::IO(io)) => Transition::Wait(State::GrowingLog(growing), io.into()),
                Ok(IOResult::Done(blocks)) => {
                    pager.log().grow(blocks);
                    Transition::Next(State::Publish(None))
                }
                Err(error @ Error::Poisoned { .. }) => return Err(error),
                Err(error) => {
                    // The log does as it is.
                    tracing::warn!(file = %pager.file().path().display(), %error, "a short log");
                    Transition::Next(State::Publish(None))
                }
            },
            State::Publish(new_log) => self.publish(pager, new_log)?,
            State::Writing(flip, others) => self.write(pager, flip, others)?,
            State::Syncing(flip, slots, sync) if sync.failed() && is_planted!(SyncRetried) => {
                let again = Completion::sync();
                pager.file().sync_data(again.clone());
                Transition::Wait(State::Syncing(flip, slots, again.clone()), again)
            }
            State::Syncing(flip, slots, sync) => {
                check(pager, &sync)?;
                let (slots, both) = slots;
                Transition::Wait(State::ReadingSlots(flip, slots), both)
            }
            State::ReadingSlots(mut flip, slots) => {
                flip.plan.first_slot = first_slot(pager, flip.plan.first_slot, slots);
                write_slot(pager, flip, Slot::First)
            }
            State::WritingSlot(flip, slot, write) => {
                check(pager, &write)?;
                self.slot_is_written(pager, flip, slot)?
            }
            State::Naming(flip, named) => {
                check(pager, &named)?;
                self.conclude(pager, flip)?
            }
            State::RemovingLog(flip, removed) => {
                if let Some(error) = removed.get_error() {
                    // No slot speaks of it: the next log empties it.
                    tracing::warn!(file = %pager.file().path().display(), %error, "a log is left");
                }
                self.conclude(pager, flip)?
            }
            State::Cutting(version, cut) => match cut.get_error() {
                None => {
                    pager.ledger().end_cut();
                    Transition::Done(version)
                }
                // The version is durable all the same, and the next open cuts the file.
                Some(error) => return Err(error.into()),
            },
        })
    }
}

impl Checkpoint {
    /// Publishes the transaction's pages, plans the space map, and starts writing it.
    ///
    /// Behind a sync that failed nothing of that is done: the operating system may have forgotten
    /// pages that were written before, and say nothing of them when it is asked again.
    fn publish(
        &mut self,
        pager: &Pager,
        new_log: Option<NewLog>,
    ) -> Result<Transition<Checkpoint>> {
        if let Err(error) = pager.check_usable()
            && !is_planted!(CheckpointBehindFailure)
        {
            return Err(self.give_up(pager, None, error));
        }
        if new_log.is_none() && self.is_durable(pager) {
            return Ok(self.cut(pager));
        }
        let log = match (self.log, &new_log) {
            (LogPlan::End, _) => None,
            (LogPlan::Keep | LogPlan::Begin, Some(new_log)) => Some(new_log.log_use(pager)),
            (LogPlan::Keep | LogPlan::Begin, None) => pager.log().head(),
        };
        let plan = match self.plan(pager, log) {
            Ok(plan) => plan,
            Err(error) => return Err(self.give_up(pager, None, error)),
        };
        let map = match plan.encode_map() {
            Ok(map) => map,
            Err(error) => return Err(self.give_up(pager, Some((plan, None)), error)),
        };
        let pages = pager.ledger().dirty().to_be_written();
        self.pacing = Pacing::begin(pages, pager.log().course().as_ref());
        let mut group = CompletionGroup::silent();
        if let Some(changes) = &self.changes
            && !is_planted!(RunsNotAwaited)
        {
            changes.set.add_writes_to(&mut group);
        }
        for (id, buffer) in map {
            let write = Completion::write(smallvec![buffer.share()]);
            group.add(&write);
            pager.file().write(pager.offset_of(id), false, write);
        }
        Ok(Transition::Next(State::Writing(Flip { plan, new_log }, group.build())))
    }

    /// Decides what both slots will say.
    fn plan(&mut self, pager: &Pager, log: Option<LogUse>) -> Result<Plan> {
        let Some(changes) = &mut self.changes else {
            let mut ledger = pager.settled();
            ledger.dirty().begin();
            return Ok(ledger.plan_applied(log));
        };
        changes.set.settle()?;
        let pages = changes.set.finish(pager);
        let mut ledger = pager.ledger();
        pages.iter().for_each(|page| ledger.dirty().add(*page));
        ledger.dirty().begin();
        ledger.plan(&changes.set, &changes.roots, log)
    }

    /// Keeps writes of pages in flight; when all of it is in the file, syncs it.
    fn write(
        &mut self,
        pager: &Pager,
        flip: Flip,
        others: Completion,
    ) -> Result<Transition<Checkpoint>> {
        let is_careless = is_planted!(WriteErrorIgnored);
        let news = pager.ledger().dirty().waiting();
        match pager.write_dirty(&self.pacing.next(news, pager.log().course())) {
            Err(error) if !is_careless => {
                return Err(self.give_up(pager, Some((flip.plan, Some(others))), error));
            }
            Ok(Some(io)) => return Ok(Transition::Wait(State::Writing(flip, others), io)),
            Ok(None) | Err(_) => {}
        }
        if !others.finished() {
            return Ok(Transition::Wait(State::Writing(flip, others.clone()), others));
        }
        if let Some(error) = others.get_error()
            && !is_careless
        {
            return Err(self.give_up(pager, Some((flip.plan, None)), error.into()));
        }
        if is_planted!(PagesNotSynced) {
            return Ok(write_slot(pager, flip, Slot::First));
        }
        let sync = Completion::sync();
        pager.file().sync_data(sync.clone());
        let slots = SlotReads::begin(&**pager.file(), pager.superblocks());
        Ok(Transition::Wait(State::Syncing(flip, slots, sync.clone()), sync))
    }

    /// Goes on when a slot names the checkpoint.
    fn slot_is_written(
        &mut self,
        pager: &Pager,
        flip: Flip,
        slot: Slot,
    ) -> Result<Transition<Checkpoint>> {
        let goes_on = flip.plan.superblock.log.is_some() && flip.new_log.is_none();
        Ok(match slot {
            Slot::First if goes_on => {
                let named = pager.log().name(flip.plan.superblock.checkpoint);
                if is_planted!(TailBeforeNamed) {
                    pager.log().advance_tail(flip.plan.superblock.log);
                }
                Transition::Wait(State::Naming(flip, named.clone()), named)
            }
            Slot::First if flip.new_log.is_some() && is_planted!(LogBeforeSecondSlot) => {
                self.conclude(pager, flip)?
            }
            Slot::First if !is_planted!(SecondSlotNotWritten) => {
                write_slot(pager, flip, Slot::Second)
            }
            Slot::First | Slot::Second => match pager.log().remove(self.log, pager) {
                Some(removed) => {
                    Transition::Wait(State::RemovingLog(flip, removed.clone()), removed)
                }
                None => self.conclude(pager, flip)?,
            },
        })
    }

    /// Undoes the transaction: nothing durable refers to its pages. A plan comes with the writes of
    /// its map, unless they are over.
    fn give_up(
        &mut self,
        pager: &Pager,
        plan: Option<(Plan, Option<Completion>)>,
        error: Error,
    ) -> Error {
        reached!(CheckpointGivenUp);
        pager.with_ledger(|ledger| ledger.dirty().end());
        if let Some(mut changes) = self.changes.take() {
            changes.set.give_up(pager);
        }
        if let Some((plan, writes)) = plan
            && !is_planted!(NumbersOfAbandonedPlan)
        {
            pager.with_ledger(|ledger| ledger.abandon(plan, writes, pager.cache()));
        }
        error
    }

    /// Makes the new version the newest that is durable.
    fn conclude(&mut self, pager: &Pager, flip: Flip) -> Result<Transition<Checkpoint>> {
        let Flip { plan, new_log } = flip;
        let (version, log) = (plan.superblock.version, plan.superblock.log);
        let changes = self.changes.take();
        pager.with_ledger(|ledger| {
            let cache = pager.cache();
            if let Some(changes) = &changes {
                let applied = ledger.apply(&changes.set, changes.roots.clone(), cache);
                applied.expect("what was planned can be applied");
            }
            ledger.conclude(plan, cache);
            ledger.acknowledge(version, cache);
        });
        match new_log {
            Some(new_log) => pager.log().begin(new_log, pager),
            None => pager.log().pass(version, log, pager),
        }
        if let Some(changes) = changes {
            let Changes { set, roots: _, turn } = *changes;
            set.keep(pager);
            drop(turn);
        }
        Ok(match self.turn {
            Some(_) => self.cut(pager),
            None => Transition::Done(version),
        })
    }

    /// Is there nothing to be done but to cut the file?
    fn is_durable(&self, pager: &Pager) -> bool {
        let ledger = pager.settled();
        let is_newest = ledger.applied().version == ledger.durable().version;
        self.turn.is_some() && self.log == LogPlan::Keep && is_newest
    }

    /// Cuts off the file's end that nothing uses. Nobody else takes a number meanwhile: the turn is
    /// over with this machine.
    fn cut(&self, pager: &Pager) -> Transition<Checkpoint> {
        let (version, cut) = pager.with_ledger(|ledger| {
            let version = ledger.durable().version;
            (version, ledger.begin_cut(pager.cache()))
        });
        let Some(count) = cut else { return Transition::Done(version) };
        reached!(FileCutWhileOpen);
        let io = Completion::truncate();
        let len = count * pager.page_size().bytes() as u64;
        pager.file().truncate(len, io.clone());
        if is_planted!(CutNotAwaited) {
            return Transition::Done(version);
        }
        Transition::Wait(State::Cutting(version, io.clone()), io)
    }
}

/// The slot that is written first: `usual`, unless it says what is durable, and the other one,
/// which is the newest, cannot be read or says something else. A power cut may tear what is being
/// written, and then the other one has to be good. Where `usual` is older, it is of no use without
/// the newest one, of which a read may have failed once only.
fn first_slot(pager: &Pager, usual: usize, slots: SlotReads) -> usize {
    let (newest, durable, slots) = (1 - usual, pager.superblock(), slots.take());
    let says_it = |slot: usize| {
        let said = slots[slot].as_deref().ok().map(Superblock::parse);
        said.is_some_and(|said| said.as_ref() == Ok(&durable))
    };
    if says_it(newest) || !says_it(usual) || is_planted!(SlotsNotRead) {
        return usual;
    }
    reached!(SlotDamaged);
    newest
}

/// Starts writing one slot of the superblock, durably.
fn write_slot(pager: &Pager, flip: Flip, slot: Slot) -> Transition<Checkpoint> {
    let index = match slot {
        Slot::First => flip.plan.first_slot,
        Slot::Second => 1 - flip.plan.first_slot,
    };
    let mut block = pager.superblocks().take().expect("one checkpoint writes one slot at a time");
    flip.plan.superblock.encode(&mut block);
    debug_assert_eq!(block.len(), SLOT_LEN);
    let write = Completion::write(smallvec![block.share()]);
    let durable = !is_planted!(SlotNotDurable);
    pager.file().write(SLOT_OFFSETS[index], durable, write.clone());
    if is_planted!(SlotNotAwaited) {
        return Transition::Next(State::WritingSlot(flip, Slot::Second, write));
    }
    if matches!(slot, Slot::First) && is_planted!(SlotsTogether) {
        return Transition::Next(State::WritingSlot(flip, slot, write));
    }
    Transition::Wait(State::WritingSlot(flip, slot, write.clone()), write)
}

/// A failed sync or slot leaves it open which version is durable.
fn check(pager: &Pager, io: &Completion) -> Result<()> {
    match io.get_error() {
        None => Ok(()),
        Some(_) if is_planted!(SyncErrorIgnored) => Ok(()),
        Some(error) => Err(pager.poison(error)),
    }
}
