//! Waiting for the writer's turn.

use std::sync::Arc;

use yieldb_core::{StateMachine, StateTransition, Transition};
use yieldb_pager::Pager;
use yieldb_pager::writer_queue::Place;

use crate::transaction::Transaction;
use crate::{Error, Result};

/// Waits for the writer's turn and begins a transaction.
///
/// ```text
///   begin -> Enter --> Queued --> done
///                       '--' another one had it
/// ```
///
/// An abandoned run leaves the queue, and passes the turn on if it had come.
#[derive(Debug)]
pub struct Begin {
    pager: Arc<Pager>,
}

/// How far it is.
#[derive(Debug)]
pub enum State {
    /// Not in the queue yet.
    Enter,
    /// In the queue.
    Queued(Place),
}

/// Begins to wait for the writer's turn.
pub fn begin(pager: Arc<Pager>) -> StateMachine<Begin> {
    StateMachine::new(Begin { pager }, State::Enter)
}

impl StateTransition for Begin {
    type State = State;
    type Context = Pager;
    type Output = Transaction;
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Enter => {
                let place = pager.writers()?.enter();
                let turn = place.completion();
                Transition::Wait(State::Queued(place), turn)
            }
            State::Queued(place) => match place.take() {
                Ok(turn) => {
                    // What poisoned the database may have ended the turn before this one.
                    pager.writers()?;
                    Transition::Done(Transaction::begin(self.pager.clone(), turn))
                }
                Err(place) => {
                    let turn = place.completion();
                    if turn.failed() {
                        return Err(yieldb_core::Error::Cancelled.into());
                    }
                    Transition::Wait(State::Queued(place), turn)
                }
            },
        })
    }
}
