//! Making the changes of a batch, alone or together with those of others.

use std::sync::Arc;

use yieldb_core::{IOResult, StateMachine, StateTransition, Transition, reached};
use yieldb_pager::ops::fetch::{Fetch, fetch};
use yieldb_pager::writer_queue::{Deposited, Outcome, Place, WriterTurn};
use yieldb_pager::{Durability, Pager};

use crate::applying::Applying;
use crate::batch::{Batch, Order};
use crate::ops::commit::{Commit, commit};
use crate::record::{Changes, TreeChange};
use crate::transaction::Transaction;
use crate::work::Step;
use crate::{Error, Result};

/// Makes the changes of a batch durable, all or none of them.
///
/// ```text
///            nobody writes, and it would be written at once
///          ,------------------------------------------------.
///   begin -> Enter -- short: Deposited --- the turn --> Apply -- all are made: Committing -> done
///              |              | '--- made by another    ^ ^ ^|'---- one is made, or short: Apply
///              |              '---------> done          | | ''----- missing -> Fetching
///              '---- long, relaxed: Queued -------------' '----------------------'
/// ```
///
/// Where many batches are written at a time, the one that has the turn makes the changes of those
/// that wait, too, in one transaction: they share a version, and the copies of pages. If that fails
/// it makes its own alone, and the others are for others to make, the one that failed for whoever
/// has left it: no batch fails with another one's error, but for a failure of the commit itself,
/// which they share.
///
/// When a page is missing, those that the next changes will miss are asked for with it. A run
/// abandoned before the changes are begun has changed nothing, and neither has one abandoned while
/// it makes them; from then on the engine owns it, as any commit. One whose changes another one
/// makes is committed, or fails, whether or not anyone waits.
#[derive(Debug)]
pub struct Write<'b> {
    batch: &'b Batch,
    durability: Durability,
    pager: Arc<Pager>,
    /// The order in which its own changes are made, once it makes them.
    order: Order,
    /// Whose changes are made: 0 for its own, behind them those of the others.
    source: usize,
}

/// How far it is.
#[derive(Debug)]
pub enum State {
    /// Not in the queue yet.
    Enter,
    /// Anybody may make its changes.
    Deposited(Deposited),
    /// It waits for the turn, to make them itself.
    Queued(Place),
    /// Make the next change, over the pages in memory.
    Apply(Box<Applying>),
    /// A page that it missed is being fetched.
    Fetching(Box<Applying>, StateMachine<Fetch>),
    /// The changes become durable.
    Committing(Box<StateMachine<Commit>>),
}

/// How many changes are looked at ahead when a page is missing.
const AHEAD: usize = 64;

/// The most bytes of keys and values that others are asked to make changes with, as a record.
const MAX_DEPOSIT_LEN: usize = 16 * 1024;

/// Somebody has cancelled the signal that it waits for.
const CANCELLED: Error = Error::Pager(yieldb_pager::Error::Io(yieldb_core::Error::Cancelled));

/// Begins to write a batch.
pub fn write(batch: &Batch, durability: Durability, pager: Arc<Pager>) -> StateMachine<Write<'_>> {
    StateMachine::new(
        Write { batch, durability, pager, order: Order::new(), source: 0 },
        State::Enter,
    )
}

impl StateTransition for Write<'_> {
    type State = State;
    type Context = Pager;
    /// The version that has the changes.
    type Output = u64;
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Enter => {
                let queue = pager.writers()?;
                let is_relaxed = self.durability == Durability::Relaxed;
                if (is_relaxed || pager.is_ready(1))
                    && let Some(turn) = queue.try_take()
                {
                    return Ok(self.lead(turn));
                }
                match self.batch.record(MAX_DEPOSIT_LEN).filter(|_| !is_relaxed) {
                    Some(record) => Transition::Next(State::Deposited(queue.deposit(record))),
                    None => {
                        let place = queue.enter();
                        let turn = place.completion();
                        Transition::Wait(State::Queued(place), turn)
                    }
                }
            }
            State::Deposited(deposited) => {
                let is_usable = pager.writers().map(|_| ());
                match deposited.look(|waiting| is_usable.is_err() || pager.is_ready(waiting)) {
                    Outcome::Made(result) => Transition::Done(result?),
                    Outcome::Waiting(_, io) if io.failed() => return Err(CANCELLED),
                    Outcome::Waiting(deposited, io) => {
                        Transition::Wait(State::Deposited(deposited), io)
                    }
                    Outcome::Turn(turn) => {
                        is_usable?;
                        self.lead(turn)
                    }
                }
            }
            State::Queued(place) => match place.take() {
                Ok(turn) => {
                    pager.writers()?;
                    self.lead(turn)
                }
                Err(place) => {
                    let turn = place.completion();
                    if turn.failed() {
                        return Err(CANCELLED);
                    }
                    Transition::Wait(State::Queued(place), turn)
                }
            },
            State::Apply(applying) => self.apply(applying, pager)?,
            State::Fetching(mut applying, mut fetch) => match fetch.step(pager) {
                Ok(IOResult::IO(io)) => {
                    Transition::Wait(State::Fetching(applying, fetch), io.into())
                }
                Ok(IOResult::Done(page)) => {
                    applying.keep_in_memory(page);
                    Transition::Next(State::Apply(applying))
                }
                Err(error) => self.make_alone(applying.transaction, error.into())?,
            },
            State::Committing(mut commit) => match commit.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Committing(commit), io.into()),
                IOResult::Done(version) => Transition::Done(version),
            },
        })
    }
}

impl Write<'_> {
    /// Begins a transaction for its own changes and those of others.
    fn lead(&mut self, turn: WriterTurn) -> Transition<Self> {
        self.order = self.batch.order();
        let mut transaction = Transaction::begin(self.pager.clone(), turn);
        if self.durability == Durability::Sync {
            transaction.take_followers(self.batch.content_len());
        }
        Transition::Next(State::Apply(Box::new(Applying::new(transaction))))
    }

    /// Goes a step further in making the changes.
    fn apply(&mut self, mut applying: Box<Applying>, pager: &Pager) -> Result<Transition<Self>> {
        let deposits = applying.transaction.followers().deposits();
        let deposit = self.source.checked_sub(1).map(|index| deposits.get(index).cloned());
        let changes = match &deposit {
            None => Source::Own(self.batch, &self.order),
            Some(Some(deposit)) => Source::Left(deposit.record()),
            Some(None) => {
                let commit = commit(applying.transaction, self.durability);
                return Ok(Transition::Next(State::Committing(Box::new(commit))));
            }
        };
        let (change, next) = match changes.at(applying.position) {
            Some(Ok(found)) => found,
            Some(Err(error)) => return self.make_alone(applying.transaction, error),
            None => {
                applying.position = 0;
                self.source += 1;
                return Ok(Transition::Next(State::Apply(applying)));
            }
        };
        let behind = |ahead| changes.behind(next, ahead);
        let step = match applying.step_several(change, &behind, pager) {
            Ok(step) => step,
            Err(error) => return self.make_alone(applying.transaction, error),
        };
        Ok(match step {
            Step::Next(()) => Transition::Next(State::Apply(applying)),
            Step::Wait((), io) => Transition::Wait(State::Apply(applying), io),
            Step::Missing(page) => {
                let others = applying.transaction.followers().deposits().to_vec();
                let others = others.iter().skip(self.source).map(|deposit| deposit.record());
                let behind = others.flat_map(|record| Source::Left(record).from(0));
                let next = changes.from(applying.position).chain(behind);
                applying.read_ahead(page, next, AHEAD, pager)?;
                Transition::Next(State::Fetching(applying, fetch(page)))
            }
            Step::Done(made) => {
                applying.position = next + (made - 1);
                Transition::Next(State::Apply(applying))
            }
        })
    }

    /// Begins again with its own changes only, if there were others; one of them may have failed.
    fn make_alone(&mut self, transaction: Transaction, error: Error) -> Result<Transition<Self>> {
        let deposits = transaction.followers().deposits();
        if deposits.is_empty() {
            return Err(error);
        }
        if let Some(failed) = self.source.checked_sub(1).and_then(|index| deposits.get(index)) {
            failed.leave_alone();
        }
        reached!(MadeAlone);
        self.source = 0;
        let applying = Applying::new(transaction.begin_again());
        Ok(Transition::Next(State::Apply(Box::new(applying))))
    }
}

/// Changes to be made.
#[derive(Clone, Copy)]
enum Source<'c> {
    /// Those of the batch, in this order.
    Own(&'c Batch, &'c [usize]),
    /// Those that another one has left.
    Left(&'c [u8]),
}

impl<'c> Source<'c> {
    /// The change at a position, and the next position; the first one is 0.
    fn at(self, position: usize) -> Option<Result<(TreeChange<'c>, usize)>> {
        match self {
            Source::Own(batch, order) => {
                Some(Ok((batch.change_in(order, position)?, position + 1)))
            }
            Source::Left(record) => {
                let mut changes = Changes::from_offset(record, position);
                Some(changes.next()?.map(|change| (change, changes.offset())))
            }
        }
    }

    /// A change behind a position, if it may be made together with the one there: one of the batch.
    fn behind(self, position: usize, ahead: usize) -> Option<TreeChange<'c>> {
        match self {
            Source::Own(batch, order) => batch.change_in(order, position + ahead),
            Source::Left(_) => None,
        }
    }

    /// The changes from a position on.
    fn from(self, mut position: usize) -> impl Iterator<Item = TreeChange<'c>> {
        std::iter::from_fn(move || {
            let (change, next) = self.at(position)?.ok()?;
            position = next;
            Some(change)
        })
    }
}
