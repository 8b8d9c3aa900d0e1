//! Making commits durable on request: in the log, or in the file itself.

use std::sync::Arc;

use yieldb_core::{StateMachine, StateTransition, Transition};
use yieldb_pager::Pager;
use yieldb_pager::ops::checkpoint::Ticket;

use crate::{Error, Result};

/// Makes every acknowledged commit durable, or the newest version durable in the file itself: see
/// [`Database::sync`](crate::Database::sync) and
/// [`Database::checkpoint`](crate::Database::checkpoint).
///
/// ```text
///   begin -> Ask --> Waiting --> done
///             '--- all are -------^
/// ```
///
/// An abandoned run leaves what it asked for on its way, as long as somebody drives.
#[derive(Debug)]
pub struct MakeDurable {
    place: Place,
}

/// Where commits become durable.
#[derive(Debug)]
pub(crate) enum Place {
    /// In the log; what a checkpoint commits, in the file.
    Log,
    /// In the file itself.
    File,
}

/// How far it is.
#[derive(Debug)]
pub enum State {
    /// Ask the engine for it.
    Ask,
    /// The engine writes them.
    Waiting(Arc<Ticket>),
}

/// Begins to make commits durable.
pub(crate) fn make_durable(place: Place) -> StateMachine<MakeDurable> {
    StateMachine::new(MakeDurable { place }, State::Ask)
}

impl StateTransition for MakeDurable {
    type State = State;
    type Context = Pager;
    /// The version that is durable: the newest of those that were acknowledged when it began, or
    /// for a checkpoint the one that it has.
    type Output = u64;
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Ask => {
                let ticket = match self.place {
                    Place::File => pager.checkpoint().map_err(yieldb_btree::Error::from)?,
                    Place::Log => match pager.sync().map_err(yieldb_btree::Error::from)? {
                        (version, None) => return Ok(Transition::Done(version)),
                        (_, Some(ticket)) => ticket,
                    },
                };
                let over = ticket.completion();
                let _submitted = pager.turn();
                Transition::Wait(State::Waiting(ticket), over)
            }
            State::Waiting(ticket) => {
                Transition::Done(ticket.outcome().map_err(yieldb_btree::Error::from)?)
            }
        })
    }
}
