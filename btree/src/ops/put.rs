//! Storing one entry.

use smallvec::SmallVec;
use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::ops::fetch::{Fetch, fetch};
use yieldb_pager::{Pager, PinnedPage, Tree};

use crate::edit::Change;
use crate::transaction::{Attempt, Subject, Transaction};
use crate::{Error, Result};

/// Stores one entry, in place of the one with the same key.
///
/// ```text
///   begin -> Change --- made ------------> done
///             ^ ^|'---- short: waits in Change
///             | ''----- missing -> Fetching
///             '----------------------'
/// ```
///
/// An abandoned run has changed nothing, or everything that it was to change.
#[derive(Debug)]
pub struct Put<'t, K, V> {
    transaction: &'t mut Transaction,
    tree: Tree,
    key: K,
    value: V,
    /// The pages fetched so far: they stay until the change has seen them.
    pins: SmallVec<[PinnedPage; 4]>,
}

/// How far it is.
#[derive(Debug)]
pub enum State {
    /// Try the change over the pages in memory.
    Change,
    /// A page that it missed is being fetched.
    Fetching(StateMachine<Fetch>),
}

/// Begins to store an entry.
pub(crate) fn put<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    transaction: &mut Transaction,
    tree: Tree,
    key: K,
    value: V,
) -> StateMachine<Put<'_, K, V>> {
    StateMachine::new(Put { transaction, tree, key, value, pins: SmallVec::new() }, State::Change)
}

impl<K: AsRef<[u8]>, V: AsRef<[u8]>> StateTransition for Put<'_, K, V> {
    type State = State;
    type Context = Pager;
    /// Was there an entry with the key before?
    type Output = bool;
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Change => {
                let change = Change::Put { key: self.key.as_ref(), value: self.value.as_ref() };
                match self.transaction.attempt(Subject::Tree(self.tree), change)? {
                    Attempt::Done { existed } => Transition::Done(existed),
                    Attempt::Wait(io) => Transition::Wait(State::Change, io),
                    Attempt::Missing(page) => Transition::Next(State::Fetching(fetch(page))),
                }
            }
            State::Fetching(mut fetch) => match fetch.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Fetching(fetch), io.into()),
                IOResult::Done(page) => {
                    self.pins.push(page);
                    Transition::Next(State::Change)
                }
            },
        })
    }
}
