//! Making a version durable, and the file's newest.

use smallvec::smallvec;
use yieldb_core::sync::{Arc, OnceLock};
use yieldb_core::{
    Completion, CompletionGroup, StateMachine, StateTransition, Transition, is_planted, reached,
};

use crate::ledger::Plan;
use crate::superblock::{SLOT_LEN, SLOT_OFFSETS, Superblock};
use crate::version::RootSet;
use crate::write_set::WriteSet;
use crate::writer_queue::WriterTurn;
use crate::{Error, Pager, Result};

/// What a checkpoint is to make durable.
#[derive(Debug)]
pub(crate) struct Job {
    /// The pages of the transaction.
    pub set: WriteSet,
    /// The trees of the new version. Its number and moment are the checkpoint's to give.
    pub roots: RootSet,
    /// The right to write ends with the checkpoint.
    pub turn: WriterTurn,
    /// Where the result goes.
    pub ticket: Arc<Ticket>,
}

/// The result of a checkpoint, for whoever waits for it.
#[derive(Debug)]
pub struct Ticket {
    result: OnceLock<Result<u64>>,
    finished: Completion,
}

impl Default for Ticket {
    fn default() -> Self {
        Ticket { result: OnceLock::new(), finished: Completion::signal() }
    }
}

impl Ticket {
    /// Finished when the checkpoint is over, well or badly.
    pub fn completion(&self) -> Completion {
        self.finished.clone()
    }

    /// The version that is durable now, or why it is not; `None` before the end.
    pub fn result(&self) -> Option<Result<u64>> {
        self.result.get().cloned()
    }

    pub(crate) fn finish(&self, result: Result<u64>) {
        let first = self.result.set(result).is_ok();
        debug_assert!(first, "a checkpoint ends once");
        self.finished.succeed(0);
    }
}

/// Makes a version durable, and the file's newest. The engine owns it: it goes on when whoever
/// asked for it has gone away.
///
/// ```text
///   begin -> Publish --> Writing --> Syncing --> ReadingSlots --> WritingSlot, twice --> done
///               |           |           |                             |
///               v           v           v                             v
///            given up    given up    poisoned                      poisoned
/// ```
///
/// Given up: nothing durable has changed, and the transaction is undone. Poisoned: the new version
/// may or may not be what the next open finds.
///
/// Both slots name the checkpoint before. A disk may have lost a write of one of them, or let it
/// rot: so they are read while the pages become durable, and the bad one is written first.
///
/// An abandoned run (the process ends) leaves the version before, or from the first slot's write
/// on perhaps the new one; nothing is acknowledged before both slots name it.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    job: Option<Job>,
    ticket: Arc<Ticket>,
}

/// How far a checkpoint is.
#[derive(Debug)]
pub(crate) enum State {
    /// The transaction's pages are private.
    Publish,
    /// They and the new space map are on their way to places that nothing durable refers to.
    Writing(Plan, Completion),
    /// All of them are written, and become durable, while both slots are read.
    Syncing(Plan, Completion, Completion),
    /// They are durable; what the slots say is still to be known.
    ReadingSlots(Plan, Completion),
    /// A slot that names them is written.
    WritingSlot(Plan, Slot, Completion),
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
pub(crate) fn begin(job: Job) -> StateMachine<Checkpoint> {
    let ticket = job.ticket.clone();
    StateMachine::new(Checkpoint { job: Some(job), ticket }, State::Publish)
}

impl Checkpoint {
    /// Where the result goes.
    pub fn ticket(&self) -> &Arc<Ticket> {
        &self.ticket
    }
}

impl StateTransition for Checkpoint {
    type State = State;
    type Context = Pager;
    type Output = u64;
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Publish => {
                let (plan, writes) = self.publish(pager)?;
                Transition::Wait(State::Writing(plan, writes.clone()), writes)
            }
            State::Writing(plan, writes) => {
                if let Some(error) = writes.get_error()
                    && !is_planted!(WriteErrorIgnored)
                {
                    return Err(self.give_up(pager, Some(plan), error.into()));
                }
                let sync = Completion::sync();
                if is_planted!(PagesNotSynced) {
                    return Ok(write_slot(pager, plan, Slot::First));
                }
                pager.file().sync_data(sync.clone());
                let slots = read_slots(pager);
                Transition::Wait(State::Syncing(plan, slots, sync.clone()), sync)
            }
            State::Syncing(plan, slots, sync) if sync.failed() && is_planted!(SyncRetried) => {
                let again = Completion::sync();
                pager.file().sync_data(again.clone());
                Transition::Wait(State::Syncing(plan, slots, again.clone()), again)
            }
            State::Syncing(plan, slots, sync) => {
                check(pager, &sync)?;
                Transition::Wait(State::ReadingSlots(plan, slots.clone()), slots)
            }
            State::ReadingSlots(mut plan, slots) => {
                plan.first_slot = first_slot(pager, plan.first_slot, &slots);
                write_slot(pager, plan, Slot::First)
            }
            State::WritingSlot(plan, Slot::First, write) if !is_planted!(SecondSlotNotWritten) => {
                check(pager, &write)?;
                write_slot(pager, plan, Slot::Second)
            }
            State::WritingSlot(plan, Slot::First | Slot::Second, write) => {
                check(pager, &write)?;
                let version = plan.superblock.version;
                self.conclude(pager, plan);
                Transition::Done(version)
            }
        })
    }
}

impl Checkpoint {
    /// Publishes the transaction's pages, plans the space map, and starts writing both.
    fn publish(&mut self, pager: &Pager) -> Result<(Plan, Completion)> {
        let job = self.job.as_mut().expect("a job that is published is not over");
        if let Err(error) = job.set.settle() {
            return Err(self.give_up(pager, None, error));
        }
        let pages = job.set.finish(pager);
        let planned = pager.ledger().plan(&job.set, &job.roots);
        let (plan, image) = match planned {
            Ok(planned) => planned,
            Err(error) => return Err(self.give_up(pager, None, error)),
        };
        let map = match plan.encode_map(&image) {
            Ok(map) => map,
            Err(error) => return Err(self.give_up(pager, Some(plan), error)),
        };
        let mut group = CompletionGroup::silent();
        if !is_planted!(RunsNotAwaited) {
            self.job.as_ref().expect("it is not over").set.add_writes_to(&mut group);
        }
        group.add(&pager.write_out(&pages));
        for (id, buffer) in map {
            let write = Completion::write(smallvec![buffer.share()]);
            group.add(&write);
            pager.file().write(pager.offset_of(id), false, write);
        }
        Ok((plan, group.build()))
    }

    /// Undoes the transaction: nothing durable refers to its pages.
    fn give_up(&mut self, pager: &Pager, plan: Option<Plan>, error: Error) -> Error {
        reached!(CheckpointGivenUp);
        let mut job = self.job.take().expect("a job that is given up is not over");
        job.set.give_up(pager);
        if let Some(plan) = plan
            && !is_planted!(NumbersOfAbandonedPlan)
        {
            pager.with_ledger(|ledger| ledger.abandon(plan, pager.cache()));
        }
        error
    }

    /// Makes the new version the newest.
    fn conclude(&mut self, pager: &Pager, plan: Plan) {
        let Job { set, roots, turn, ticket: _ } =
            self.job.take().expect("a job that is concluded is not over");
        pager.with_ledger(|ledger| ledger.conclude(plan, roots, set.dead(), pager.cache()));
        set.keep(pager);
        drop(turn);
    }
}

/// Starts reading both slots of the superblock.
fn read_slots(pager: &Pager) -> Completion {
    let blocks = SLOT_OFFSETS.map(|_| pager.superblocks().take());
    let blocks = blocks.into_iter().map(|block| block.expect("no slot is written meanwhile"));
    let read = Completion::read(blocks.collect());
    pager.file().read(SLOT_OFFSETS[0], read.clone());
    read
}

/// The slot that is written first: `usual`, unless the other one does not say what it was told. A
/// power cut may tear what is being written, and then the other one has to be good.
fn first_slot(pager: &Pager, usual: usize, slots: &Completion) -> usize {
    let (durable, blocks) = (pager.superblock(), slots.take_buffers());
    if slots.failed() || is_planted!(SlotsNotRead) {
        return usual;
    }
    let is_good = |slot: usize| Superblock::parse(&blocks[slot]).is_ok_and(|said| said == durable);
    if is_good(usual) && !is_good(1 - usual) {
        reached!(SlotDamaged);
        return 1 - usual;
    }
    usual
}

/// Starts writing one slot of the superblock, durably.
fn write_slot(pager: &Pager, plan: Plan, slot: Slot) -> Transition<Checkpoint> {
    let index = match slot {
        Slot::First => plan.first_slot,
        Slot::Second => 1 - plan.first_slot,
    };
    let mut block = pager.superblocks().take().expect("one checkpoint writes one slot at a time");
    plan.superblock.encode(&mut block);
    debug_assert_eq!(block.len(), SLOT_LEN);
    let write = Completion::write(smallvec![block.share()]);
    let durable = !is_planted!(SlotNotDurable);
    pager.file().write(SLOT_OFFSETS[index], durable, write.clone());
    if is_planted!(SlotNotAwaited) {
        return Transition::Next(State::WritingSlot(plan, Slot::Second, write));
    }
    if matches!(slot, Slot::First) && is_planted!(SlotsTogether) {
        return Transition::Next(State::WritingSlot(plan, slot, write));
    }
    Transition::Wait(State::WritingSlot(plan, slot, write.clone()), write)
}

/// A failed sync or slot leaves it open which version is durable.
fn check(pager: &Pager, io: &Completion) -> Result<()> {
    match io.get_error() {
        None => Ok(()),
        Some(_) if is_planted!(SyncErrorIgnored) => Ok(()),
        Some(error) => Err(pager.poison(error)),
    }
}
