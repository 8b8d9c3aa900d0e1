//! Making a checkpoint on request.

use std::sync::Arc;

use yieldb_core::{Completion, StateMachine, StateTransition, Transition};
use yieldb_pager::Pager;
use yieldb_pager::ops::checkpoint::Ticket;

use crate::{Error, Result};

/// Makes the newest version durable in the file itself: see
/// [`Database::checkpoint`](crate::Database::checkpoint).
///
/// ```text
///   begin -> Begin --> Waiting --> done
/// ```
///
/// An abandoned run leaves the checkpoint under way, which goes on as long as somebody drives.
#[derive(Debug)]
pub struct Checkpoint;

/// How far it is.
#[derive(Debug)]
pub enum State {
    /// Nothing was asked for.
    Begin,
    /// The engine makes it.
    Waiting(Arc<Ticket>),
}

/// Begins to make a checkpoint.
pub(crate) fn checkpoint() -> StateMachine<Checkpoint> {
    StateMachine::new(Checkpoint, State::Begin)
}

impl StateTransition for Checkpoint {
    type State = State;
    type Context = Pager;
    /// The version that is durable in the file.
    type Output = u64;
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Begin => {
                let ticket = pager.checkpoint().map_err(yieldb_btree::Error::from)?;
                let over: Completion = ticket.completion();
                let _submitted = pager.turn();
                Transition::Wait(State::Waiting(ticket), over)
            }
            State::Waiting(ticket) => {
                let result = ticket.result().expect("a finished ticket has its result");
                Transition::Done(result.map_err(yieldb_btree::Error::from)?)
            }
        })
    }
}
