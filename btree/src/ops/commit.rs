//! Making a transaction's changes durable.

use std::sync::Arc;

use smallvec::SmallVec;
use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::ops::checkpoint::Ticket;
use yieldb_pager::ops::fetch::{Fetch, fetch};
use yieldb_pager::{Pager, PinnedPage};

use crate::transaction::{Attempt, Transaction};
use crate::{Error, Result};

/// Makes a transaction's changes durable, all or none of them.
///
/// ```text
///            nothing changed
///          ,-----------------------------------------------.
///          |                                                v
///   begin -> Record --- made --> handed over: Committing -> done
///             ^ ^|'---- short: waits in Record
///             | ''----- missing -> Fetching
///             '----------------------'
/// ```
///
/// A run abandoned before the hand-over undoes the transaction. From then on the engine owns it:
/// it is committed, or fails, whether or not anyone waits.
#[derive(Debug)]
pub struct Commit {
    transaction: Transaction,
    pins: SmallVec<[PinnedPage; 4]>,
}

/// How far a commit is.
#[derive(Debug)]
pub enum State {
    /// Write the changed roots into the catalogue.
    Record,
    /// A page of the catalogue is being fetched.
    Fetching(StateMachine<Fetch>),
    /// The engine makes the changes durable.
    Committing(Arc<Ticket>),
}

/// Begins to commit.
pub(crate) fn commit(transaction: Transaction) -> StateMachine<Commit> {
    StateMachine::new(Commit { transaction, pins: SmallVec::new() }, State::Record)
}

impl StateTransition for Commit {
    type State = State;
    type Context = Pager;
    /// The version that has the changes.
    type Output = u64;
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Record if self.transaction.is_unchanged() => {
                Transition::Done(self.transaction.version())
            }
            State::Record => match self.transaction.attempt_record()? {
                Attempt::Done { existed: _ } => {
                    self.pins.clear();
                    let ticket = self.transaction.hand_over();
                    let over = ticket.completion();
                    let _submitted = pager.turn();
                    Transition::Wait(State::Committing(ticket), over)
                }
                Attempt::Wait(io) => Transition::Wait(State::Record, io),
                Attempt::Missing(page) => Transition::Next(State::Fetching(fetch(page))),
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
