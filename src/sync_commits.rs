//! Making relaxed commits durable on request.

use std::sync::Arc;

use yieldb_core::{StateMachine, StateTransition, Transition};
use yieldb_pager::Pager;
use yieldb_pager::ops::checkpoint::Ticket;

use crate::{Error, Result};

/// Makes every acknowledged commit durable: see [`Database::sync`](crate::Database::sync).
///
/// ```text
///   begin -> Begin --> Waiting --> done
///              '--- all are -------^
/// ```
///
/// An abandoned run leaves the commits on their way to the log, as long as somebody drives.
#[derive(Debug)]
pub struct SyncCommits;

/// How far it is.
#[derive(Debug)]
pub enum State {
    /// Nothing was asked for.
    Begin,
    /// The engine writes them.
    Waiting(Arc<Ticket>),
}

/// Begins to sync.
pub(crate) fn sync_commits() -> StateMachine<SyncCommits> {
    StateMachine::new(SyncCommits, State::Begin)
}

impl StateTransition for SyncCommits {
    type State = State;
    type Context = Pager;
    /// The newest version that is durable, of those that were acknowledged when it began.
    type Output = u64;
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Begin => {
                let (version, ticket) = pager.sync().map_err(yieldb_btree::Error::from)?;
                match ticket {
                    None => Transition::Done(version),
                    Some(ticket) => {
                        let over = ticket.completion();
                        let _submitted = pager.turn();
                        Transition::Wait(State::Waiting(ticket), over)
                    }
                }
            }
            State::Waiting(ticket) => {
                let result = ticket.result().expect("a finished ticket has its result");
                Transition::Done(result.map_err(yieldb_btree::Error::from)?)
            }
        })
    }
}
