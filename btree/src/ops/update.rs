//! Changing an entry depending on what it is.

use std::fmt;
use std::marker::PhantomData;

use smallvec::SmallVec;
use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::ops::fetch::{Fetch, fetch};
use yieldb_pager::{Pager, PinnedPage, Tree};

use crate::ops::get::{Found, find};
use crate::ops::read_value::{ReadValue, read_whole};
use crate::pages::Walk;
use crate::transaction::Transaction;
use crate::work::{PutStage, Step};
use crate::{Error, Result};

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<V> {
    /// It stays as it is, or missing.
    Keep,
    /// It gets this value.
    Put(V),
    /// It goes.
    Delete,
}

/// What decides on an entry, given its value now; `None` if there is none.
pub trait Decide<V> {
    /// Does it look at the value? If not, a large one is not read, and an empty one stands in its
    /// place.
    const NEEDS_VALUE: bool = true;

    /// Decides. Called once.
    fn decide(self, value: Option<&[u8]>) -> Decision<V>;
}

impl<V, F: FnOnce(Option<&[u8]>) -> Decision<V>> Decide<V> for F {
    fn decide(self, value: Option<&[u8]>) -> Decision<V> {
        self(value)
    }
}

/// Stores a value if there is none.
#[derive(Clone, Copy, Debug)]
pub struct IfAbsent<V>(pub V);

impl<V> Decide<V> for IfAbsent<V> {
    const NEEDS_VALUE: bool = false;

    fn decide(self, value: Option<&[u8]>) -> Decision<V> {
        if value.is_some() { Decision::Keep } else { Decision::Put(self.0) }
    }
}

/// Stores or removes a value if the one that is there is as expected.
#[derive(Clone, Copy, Debug)]
pub struct IfEqual<E, V> {
    /// What must be there; `None`: nothing.
    pub expected: Option<E>,
    /// What is to be there; `None`: nothing.
    pub new: Option<V>,
}

impl<E: AsRef<[u8]>, V> Decide<V> for IfEqual<E, V> {
    fn decide(self, value: Option<&[u8]>) -> Decision<V> {
        if self.expected.as_ref().map(E::as_ref) != value {
            return Decision::Keep;
        }
        self.new.map_or(Decision::Delete, Decision::Put)
    }
}

/// Reads an entry, decides what becomes of it, and does that.
///
/// ```text
///             .---- found, large --> Loading --.
///             |                                v
///   begin -> Look --- found here, or no entry ----> decided: it stays --> done
///             ^ '---- page missing -> Finding        |  |
///             '-------------------------'            |  '---> Delete --- made --> done
///                                                    '------> Put ------ made --> done
/// ```
///
/// `Delete` and `Put` wait in themselves when room is short, and in `Fetching` for a page that they
/// miss. An abandoned run has changed nothing, or everything that it was to change.
#[derive(Debug)]
pub struct Update<'t, K, V, D> {
    transaction: &'t mut Transaction,
    tree: Tree,
    key: K,
    /// The pages fetched so far: they stay until the change has seen them.
    pins: SmallVec<[PinnedPage; 4]>,
    /// What decides, and then the value, is in the state.
    decision: PhantomData<(D, V)>,
}

/// How far it is.
pub enum State<V, D> {
    /// Look for the entry over the pages in memory.
    Look(D),
    /// A page that the look missed is being fetched.
    Finding(D, StateMachine<Fetch>),
    /// The value is large, and is being read.
    Loading(D, StateMachine<ReadValue<Vec<u8>>>),
    /// Go one step further in storing the new value.
    Put(V, PutStage),
    /// Try to remove the entry.
    Delete,
    /// A page that the change missed is being fetched; with the value that is to be stored, or
    /// none to remove the entry.
    Fetching(Option<V>, StateMachine<Fetch>),
}

impl<V, D> fmt::Debug for State<V, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Look(_) => f.write_str("Look"),
            State::Finding(_, fetch) => write!(f, "Finding({fetch:?})"),
            State::Loading(_, load) => write!(f, "Loading({load:?})"),
            State::Put(_, stage) => write!(f, "Put({stage:?})"),
            State::Delete => f.write_str("Delete"),
            State::Fetching(_, fetch) => write!(f, "Fetching({fetch:?})"),
        }
    }
}

/// Begins to change an entry depending on what it is.
pub(crate) fn update<K: AsRef<[u8]>, V: AsRef<[u8]>, D: Decide<V>>(
    transaction: &mut Transaction,
    tree: Tree,
    key: K,
    decide: D,
) -> StateMachine<Update<'_, K, V, D>> {
    let (pins, decision) = (SmallVec::new(), PhantomData);
    let machine = Update { transaction, tree, key, pins, decision };
    StateMachine::new(machine, State::Look(decide))
}

impl<K: AsRef<[u8]>, V: AsRef<[u8]>, D: Decide<V>> StateTransition for Update<'_, K, V, D> {
    type State = State<V, D>;
    type Context = Pager;
    /// Was the entry changed?
    type Output = bool;
    type Error = Error;

    fn transition(&mut self, state: State<V, D>, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Look(decide) => self.look(decide, pager)?,
            State::Finding(decide, mut fetch) => match fetch.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Finding(decide, fetch), io.into()),
                IOResult::Done(page) => {
                    self.pins.push(page);
                    Transition::Next(State::Look(decide))
                }
            },
            State::Loading(decide, mut load) => match load.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Loading(decide, load), io.into()),
                IOResult::Done(value) => decided(decide.decide(Some(&value))),
            },
            State::Put(value, stage) => {
                let (key, bytes) = (self.key.as_ref(), value.as_ref());
                match self.transaction.step_put(stage, self.tree, key, bytes)? {
                    Step::Next(stage) => Transition::Next(State::Put(value, stage)),
                    Step::Wait(stage, io) => Transition::Wait(State::Put(value, stage), io),
                    Step::Missing(page) => {
                        Transition::Next(State::Fetching(Some(value), fetch(page)))
                    }
                    Step::Done(_) => Transition::Done(true),
                }
            }
            State::Delete => match self.transaction.step_delete(self.tree, self.key.as_ref())? {
                Step::Next(()) => Transition::Next(State::Delete),
                Step::Wait((), io) => Transition::Wait(State::Delete, io),
                Step::Missing(page) => Transition::Next(State::Fetching(None, fetch(page))),
                Step::Done(existed) => Transition::Done(existed),
            },
            State::Fetching(value, mut fetch) => match fetch.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Fetching(value, fetch), io.into()),
                IOResult::Done(page) => {
                    self.pins.push(page);
                    Transition::Next(match value {
                        Some(value) => State::Put(value, PutStage::Change),
                        None => State::Delete,
                    })
                }
            },
        })
    }
}

impl<K: AsRef<[u8]>, V: AsRef<[u8]>, D: Decide<V>> Update<'_, K, V, D> {
    /// Looks for the entry, and decides if its value is there.
    fn look(&mut self, decide: D, pager: &Pager) -> Result<Transition<Self>> {
        let reader = self.transaction.reader(self.tree);
        Ok(match find(reader, pager, self.key.as_ref())? {
            Walk::Missing(page) => Transition::Next(State::Finding(decide, fetch(page))),
            Walk::Found(None) => decided(decide.decide(None)),
            Walk::Found(Some(Found::Here(value))) => decided(decide.decide(Some(&value))),
            Walk::Found(Some(Found::Large(_))) if !D::NEEDS_VALUE => {
                decided(decide.decide(Some(&[])))
            }
            Walk::Found(Some(Found::Large(value))) => {
                Transition::Next(State::Loading(decide, read_whole(pager, value)?))
            }
        })
    }
}

/// How to go on.
fn decided<'t, K, V, D>(decision: Decision<V>) -> Transition<Update<'t, K, V, D>>
where
    K: AsRef<[u8]>,
    V: AsRef<[u8]>,
    D: Decide<V>,
{
    match decision {
        Decision::Keep => Transition::Done(false),
        Decision::Put(value) => Transition::Next(State::Put(value, PutStage::default())),
        Decision::Delete => Transition::Next(State::Delete),
    }
}
