//! Storing one entry.

use smallvec::SmallVec;
use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::ops::fetch::{Fetch, fetch};
use yieldb_pager::{Pager, PinnedPage, Tree};

use crate::transaction::Transaction;
use crate::work::{PutStage, Step};
use crate::{Error, Result};

/// Stores one entry, in place of the one with the same key.
///
/// ```text
///   begin -> Put --- stored ---------------------------> done
///            ^ ^|'---- a step further, or short: waits in Put
///            | ''----- missing -> Fetching
///            '----------------------'
/// ```
///
/// A large value is on its way to pages of its own before the leaf names it: a piece of it at a
/// time, so that it may be larger than memory. An abandoned run has changed nothing, or everything
/// that it was to change.
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
    /// Go one step further over the pages in memory.
    Put(PutStage),
    /// A page that the change missed is being fetched.
    Fetching(StateMachine<Fetch>),
}

/// Begins to store an entry.
pub(crate) fn put<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    transaction: &mut Transaction,
    tree: Tree,
    key: K,
    value: V,
) -> StateMachine<Put<'_, K, V>> {
    let machine = Put { transaction, tree, key, value, pins: SmallVec::new() };
    StateMachine::new(machine, State::Put(PutStage::default()))
}

impl<K: AsRef<[u8]>, V: AsRef<[u8]>> StateTransition for Put<'_, K, V> {
    type State = State;
    type Context = Pager;
    /// Was there an entry with the key before?
    type Output = bool;
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Put(stage) => {
                let (key, value) = (self.key.as_ref(), self.value.as_ref());
                match self.transaction.step_put(stage, self.tree, key, value)? {
                    Step::Next(stage) => Transition::Next(State::Put(stage)),
                    Step::Wait(stage, io) => Transition::Wait(State::Put(stage), io),
                    Step::Missing(page) => Transition::Next(State::Fetching(fetch(page))),
                    Step::Done(existed) => Transition::Done(existed),
                }
            }
            State::Fetching(mut fetch) => match fetch.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Fetching(fetch), io.into()),
                IOResult::Done(page) => {
                    self.pins.push(page);
                    Transition::Next(State::Put(PutStage::Change))
                }
            },
        })
    }
}
