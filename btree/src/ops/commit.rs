//! Making a transaction's changes durable.

use std::sync::Arc;

use smallvec::SmallVec;
use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::ops::checkpoint::Ticket;
use yieldb_pager::ops::fetch::{Fetch, fetch};
use yieldb_pager::{Pager, PinnedPage};

use crate::edit::Change;
use crate::node::Stored;
use crate::transaction::{Attempt, Subject, Transaction};
use crate::tree_set::Record;
use crate::{Error, Result};

/// Makes a transaction's changes durable, all or none of them.
///
/// ```text
///            nothing changed
///          ,----------------------------------------------------.
///          |                                                     v
///   begin -> Settle -> Record --- none left: handed over, Committing -> done
///                       ^ ^|'---- made, or short: waits in Record
///                       | ''----- missing -> Fetching
///                       '----------------------'
/// ```
///
/// A run abandoned before the hand-over undoes the transaction. From then on the engine owns it:
/// it is committed, or fails, whether or not anyone waits.
#[derive(Debug)]
pub struct Commit {
    transaction: Transaction,
    /// What the catalogue is to say, the last first.
    records: Vec<Record>,
    pins: SmallVec<[PinnedPage; 4]>,
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
    /// The engine makes the changes durable.
    Committing(Arc<Ticket>),
}

/// Begins to commit.
pub(crate) fn commit(transaction: Transaction) -> StateMachine<Commit> {
    let commit = Commit { transaction, records: Vec::new(), pins: SmallVec::new() };
    StateMachine::new(commit, State::Settle)
}

impl StateTransition for Commit {
    type State = State;
    type Context = Pager;
    /// The version that has the changes.
    type Output = u64;
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Settle if self.transaction.is_unchanged() => {
                Transition::Done(self.transaction.version())
            }
            State::Settle => {
                self.records = self.transaction.records();
                self.records.reverse();
                Transition::Next(State::Record)
            }
            State::Record => match self.attempt()? {
                None => {
                    let ticket = self.transaction.hand_over();
                    let over = ticket.completion();
                    let _submitted = pager.turn();
                    Transition::Wait(State::Committing(ticket), over)
                }
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
            State::Committing(ticket) => {
                let result = ticket.result().expect("a finished ticket has its result");
                Transition::Done(result?)
            }
        })
    }
}

impl Commit {
    /// Tries to write the next record; `None` if none is left.
    fn attempt(&mut self) -> Result<Option<Attempt>> {
        let Some((name, entry)) = self.records.last() else { return Ok(None) };
        let change = match entry {
            Some(entry) => Change::Put { key: name, value: Stored::Here(entry) },
            None => Change::Delete { key: name },
        };
        self.transaction.attempt(Subject::Catalogue, change).map(Some)
    }
}
