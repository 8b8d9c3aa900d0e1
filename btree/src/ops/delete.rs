//! Removing one entry.

use smallvec::SmallVec;
use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::ops::fetch::{Fetch, fetch};
use yieldb_pager::{Pager, PinnedPage, Tree};

use crate::transaction::Transaction;
use crate::work::Step;
use crate::{Error, Result};

/// Removes the entry with one key, if there is one.
///
/// ```text
///   begin -> Delete --- made ------------> done
///             ^ ^|'---- short: waits in Delete
///             | ''----- missing -> Fetching
///             '----------------------'
/// ```
///
/// An abandoned run has changed nothing, or everything that it was to change.
#[derive(Debug)]
pub struct Delete<'t, K> {
    transaction: &'t mut Transaction,
    tree: Tree,
    key: K,
    /// The pages fetched so far: they stay until the change has seen them.
    pins: SmallVec<[PinnedPage; 4]>,
}

/// How far it is.
#[derive(Debug)]
pub enum State {
    /// Try the change over the pages in memory.
    Delete,
    /// A page that it missed is being fetched.
    Fetching(StateMachine<Fetch>),
}

/// Begins to remove an entry.
pub(crate) fn delete<K: AsRef<[u8]>>(
    transaction: &mut Transaction,
    tree: Tree,
    key: K,
) -> StateMachine<Delete<'_, K>> {
    StateMachine::new(Delete { transaction, tree, key, pins: SmallVec::new() }, State::Delete)
}

impl<K: AsRef<[u8]>> StateTransition for Delete<'_, K> {
    type State = State;
    type Context = Pager;
    /// Was there an entry?
    type Output = bool;
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Delete => match self.transaction.step_delete(self.tree, self.key.as_ref())? {
                Step::Done(existed) => Transition::Done(existed),
                Step::Next(()) => Transition::Next(State::Delete),
                Step::Wait((), io) => Transition::Wait(State::Delete, io),
                Step::Missing(page) => Transition::Next(State::Fetching(fetch(page))),
            },
            State::Fetching(mut fetch) => match fetch.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Fetching(fetch), io.into()),
                IOResult::Done(page) => {
                    self.pins.push(page);
                    Transition::Next(State::Delete)
                }
            },
        })
    }
}
