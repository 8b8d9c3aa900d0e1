//! Making a transaction's changes durable.

use std::sync::Arc;

use smallvec::SmallVec;
use yieldb_core::{Completion, IOResult, StateMachine, StateTransition, Transition, is_planted};
use yieldb_pager::ops::checkpoint::Ticket;
use yieldb_pager::ops::fetch::{Fetch, fetch};
use yieldb_pager::{Durability, Pager, PinnedPage};

use crate::edit::Change;
use crate::node::Stored;
use crate::transaction::{Attempt, HandOver, Subject, Transaction};
use crate::tree_set::Record;
use crate::{Error, Result};

/// Makes a transaction's changes durable, all or none of them; or, if it is relaxed, only the
/// newest version.
///
/// ```text
///            nothing changed
///          ,--------------------------------------------------------------------.
///          |                                                                     v
///   begin -> Settle -> Record --- none left: HandOver --- handed over, Committing -> done
///                       ^ ^|'---- made, or short: waits in Record |  ^  |
///                       | ''----- missing -> Fetching             v  |  '--- adopted --> done
///                       '----------------------'             AwaitingRoom
/// ```
///
/// What is small goes into the log if there is one; what is not is committed by a checkpoint. A run
/// abandoned before the hand-over undoes the transaction. From then on the engine owns it: it is
/// committed, or fails, whether or not anyone waits.
#[derive(Debug)]
pub struct Commit {
    /// Until it is handed over, or is over in another way: it has the writer's turn.
    transaction: Option<Transaction>,
    destination: Destination,
    durability: Durability,
    /// What the catalogue is to say, the last first.
    records: Vec<Record>,
    pins: SmallVec<[PinnedPage; 4]>,
}

/// Where a transaction's changes become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Destination {
    /// Wherever is best.
    Disk,
    /// They are in the log already, up to this version.
    Memory(u64),
}

/// How far a commit is.
#[derive(Debug)]
pub enum State {
    /// Find out what the catalogue is to say.
    Settle,
    /// Write it into the catalogue.
    Record,
    /// A page of the catalogue is being fetched.
    Fetching(StateMachine<Fetch>),
    /// Give everything to the engine, when there is room.
    HandOver,
    /// There is no room in the log, or pages of large values are on their way.
    AwaitingRoom(Completion),
    /// The engine makes the changes durable.
    Committing(Arc<Ticket>),
}

/// Begins to commit.
pub(crate) fn commit(transaction: Transaction, durability: Durability) -> StateMachine<Commit> {
    begin(transaction, Destination::Disk, durability)
}

/// Begins to make a transaction's changes the newest version, which the log has already.
pub(crate) fn adopt(transaction: Transaction, version: u64) -> StateMachine<Commit> {
    begin(transaction, Destination::Memory(version), Durability::Sync)
}

fn begin(
    transaction: Transaction,
    destination: Destination,
    durability: Durability,
) -> StateMachine<Commit> {
    let (records, pins) = (Vec::new(), SmallVec::new());
    let transaction = Some(transaction);
    let commit = Commit { transaction, destination, durability, records, pins };
    StateMachine::new(commit, State::Settle)
}

impl StateTransition for Commit {
    type State = State;
    type Context = Pager;
    /// The version that has the changes.
    type Output = u64;
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        let decided = self.advance(state, pager);
        if matches!(decided, Err(_) | Ok(Transition::Done(_))) {
            // Whoever has the operation may keep it, and others wait for the turn.
            self.transaction = None;
        }
        decided
    }
}

impl Commit {
    fn advance(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Settle
                if self.transaction().is_unchanged() && self.destination == Destination::Disk =>
            {
                let version = self.transaction().version();
                self.transaction = None;
                match pager.await_version(version, self.durability)? {
                    Some(_) if is_planted!(UnchangedNotAwaited) => Transition::Done(version),
                    None => Transition::Done(version),
                    Some(ticket) => {
                        let over = ticket.completion();
                        let _submitted = pager.turn();
                        Transition::Wait(State::Committing(ticket), over)
                    }
                }
            }
            State::Settle => {
                self.records = self.transaction().catalogue_records();
                self.records.reverse();
                Transition::Next(State::Record)
            }
            State::Record => match self.attempt()? {
                None => Transition::Next(State::HandOver),
                Some(Attempt::Done(_)) => {
                    self.pins.clear();
                    self.records.pop();
                    Transition::Next(State::Record)
                }
                Some(Attempt::Wait(io)) => Transition::Wait(State::Record, io),
                Some(Attempt::Missing(page)) => Transition::Next(State::Fetching(fetch(page))),
            },
            State::Fetching(mut fetch) => match fetch.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Fetching(fetch), io.into()),
                IOResult::Done(page) => {
                    self.pins.push(page);
                    Transition::Next(State::Record)
                }
            },
            State::HandOver => match self.destination {
                Destination::Disk => match self.hand_over()? {
                    HandOver::Wait(io) => {
                        let _submitted = pager.turn();
                        Transition::Wait(State::AwaitingRoom(io.clone()), io)
                    }
                    HandOver::Done(ticket) => {
                        let over = ticket.completion();
                        Transition::Wait(State::Committing(ticket), over)
                    }
                },
                Destination::Memory(version) => match self.transaction().adopt(version)? {
                    Some(io) => Transition::Wait(State::AwaitingRoom(io.clone()), io),
                    None => Transition::Done(version),
                },
            },
            State::AwaitingRoom(io) => match io.get_error() {
                Some(error) => return Err(error.into()),
                None => Transition::Next(State::HandOver),
            },
            State::Committing(ticket) => Transition::Done(ticket.outcome()?),
        })
    }

    fn hand_over(&mut self) -> Result<HandOver> {
        let durability = self.durability;
        self.transaction().hand_over(durability)
    }

    fn transaction(&mut self) -> &mut Transaction {
        self.transaction.as_mut().expect("it is neither handed over nor given up")
    }

    /// Tries to write the next record; `None` if none is left.
    fn attempt(&mut self) -> Result<Option<Attempt>> {
        let Some((name, entry)) = self.records.last() else { return Ok(None) };
        let transaction = self.transaction.as_mut().expect("it is not handed over yet");
        let change = match entry {
            Some(entry) => Change::Put { key: name, value: Stored::Here(entry) },
            None => Change::Delete { key: name },
        };
        transaction.attempt(Subject::Catalogue, change).map(Some)
    }
}
