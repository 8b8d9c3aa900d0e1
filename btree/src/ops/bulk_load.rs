//! Filling an empty tree from entries in any order.

use std::fmt;
use std::marker::PhantomData;

use yieldb_core::{StateMachine, StateTransition, Transition};
use yieldb_pager::{Pager, Root, Tree};

use crate::bulk::Loader;
use crate::node::Stored;
use crate::savepoint::Tentative;
use crate::transaction::Transaction;
use crate::work::Step;
use crate::{Error, Result};

/// A tree that is filled from entries in any order: see [`Transaction::bulk_load`]. Nothing of it
/// is seen before it is [finished](BulkLoad::finish); dropping this forgets it, and gives back
/// whatever it has taken.
pub struct BulkLoad<'t> {
    /// Undone when it is dropped.
    work: Tentative<'t>,
    tree: Tree,
    loader: Loader,
}

impl fmt::Debug for BulkLoad<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "load of {:?}: {:?}", self.tree, self.loader)
    }
}

impl<'t> BulkLoad<'t> {
    pub(crate) fn new(transaction: &'t mut Transaction, tree: Tree) -> Result<BulkLoad<'t>> {
        let count = transaction.count(tree)?;
        if count > 0 {
            return Err(Error::TreeNotEmpty { count });
        }
        let loader = Loader::new(transaction.write_set(), transaction.pager());
        Ok(BulkLoad { work: Tentative::begin(transaction), tree, loader })
    }

    /// Takes an entry if that needs no waiting: most of them. `false`, and nothing has changed, if
    /// it does: then [`BulkLoad::push`] it. Of equal keys the last one stays.
    ///
    /// # Errors
    ///
    /// [`Error::KeyTooLong`].
    #[inline]
    pub fn try_push(&mut self, key: &[u8], value: &[u8]) -> Result<bool> {
        let transaction = &*self.work.transaction;
        transaction.check_key_len(key.len())?;
        if transaction.is_large(key.len(), value.len() as u64) {
            return Ok(false);
        }
        Ok(self.loader.try_push(transaction.pager(), key, Stored::Here(value)))
    }

    /// Takes an entry. Of equal keys the last one stays.
    ///
    /// # Errors
    ///
    /// When driven: [`Error::KeyTooLong`], [`Error::ValueTooLong`], and the load can go on; a
    /// failure of I/O or damage, and it can only be dropped.
    pub fn push<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        key: K,
        value: V,
    ) -> StateMachine<Push<'_, 't, K, V>> {
        StateMachine::new(Push { load: self, key, value }, State::Begin)
    }

    /// Makes a tree of all entries.
    pub fn finish(self) -> StateMachine<Finish<'t>> {
        StateMachine::new(Finish { load: PhantomData }, FinishState::Build(Box::new(self)))
    }

    /// Goes a step further in making room.
    fn make_room(&mut self) -> Result<Step<(), ()>> {
        let transaction = &mut *self.work.transaction;
        transaction.used_here();
        let (set, pager) = transaction.write_set_mut();
        self.loader.make_room(set, pager)
    }

    /// Goes a step further in making a tree.
    fn build(&mut self) -> Result<Step<(), Root>> {
        let transaction = &mut *self.work.transaction;
        transaction.used_here();
        let (set, pager) = transaction.write_set_mut();
        self.loader.finish(set, pager)
    }
}

/// Takes one entry into a load.
///
/// ```text
///   begin -> Begin --- it fits a leaf ----------------------> Take --- there is room --> done
///              '------ it is large --> Write, piece by piece --' ^ '--- there is none --.
///                                                                '--- MakeRoom <--------'
///                                                                      '-- waits in MakeRoom
/// ```
///
/// An abandoned run has taken nothing; what it did to make room stays, and whoever comes next goes
/// on with it.
#[derive(Debug)]
pub struct Push<'l, 't, K, V> {
    load: &'l mut BulkLoad<'t>,
    key: K,
    value: V,
}

/// How far it is.
#[derive(Debug)]
pub enum State {
    /// Take pages for the value if it is large.
    Begin,
    /// Write some of the pages of the large value.
    Write,
    /// Take the entry, if there is room.
    Take,
    /// Go a step further in making room.
    MakeRoom,
}

impl<K: AsRef<[u8]>, V: AsRef<[u8]>> StateTransition for Push<'_, '_, K, V> {
    type State = State;
    type Context = Pager;
    type Output = ();
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        let (key, value) = (self.key.as_ref(), self.value.as_ref());
        let load = &mut *self.load;
        let transaction = &mut *load.work.transaction;
        let is_large = transaction.is_large(key.len(), value.len() as u64);
        Ok(match state {
            State::Begin if is_large => {
                transaction.begin_value(load.tree, key.len(), value.len() as u64)?;
                Transition::Next(State::Write)
            }
            State::Begin => {
                transaction.check_key_len(key.len())?;
                Transition::Next(State::Take)
            }
            State::Write => {
                let rest = &value[transaction.value_written() as usize..];
                match transaction.prepare_value(rest.len())? {
                    Some(io) => Transition::Wait(State::Write, io),
                    None if transaction.write_value(rest) => Transition::Next(State::Take),
                    None => Transition::Next(State::Write),
                }
            }
            State::Take if is_large => {
                let large = Stored::Large(transaction.unfinished_value(value.len() as u64));
                if load.loader.try_push(pager, key, large) {
                    transaction.finish_value();
                    Transition::Done(())
                } else {
                    Transition::Next(State::MakeRoom)
                }
            }
            State::Take if load.loader.try_push(pager, key, Stored::Here(value)) => {
                Transition::Done(())
            }
            State::Take => Transition::Next(State::MakeRoom),
            State::MakeRoom => match load.make_room()? {
                Step::Wait((), io) => Transition::Wait(State::MakeRoom, io),
                Step::Next(()) | Step::Missing(_) => Transition::Next(State::MakeRoom),
                Step::Done(()) => Transition::Next(State::Take),
            },
        })
    }
}

/// Makes a tree of what a load has taken.
///
/// ```text
///   begin -> Build --- all of it is built --> done
///             ^ '--- some is, or short: waits in Build
///             '--------'
/// ```
///
/// An abandoned run, and one that fails, leaves the tree empty.
#[derive(Debug)]
pub struct Finish<'t> {
    /// The load itself is in the state.
    load: PhantomData<BulkLoad<'t>>,
}

/// How far it is.
#[derive(Debug)]
pub enum FinishState<'t> {
    /// Go a step further in building.
    Build(Box<BulkLoad<'t>>),
}

impl<'t> StateTransition for Finish<'t> {
    type State = FinishState<'t>;
    type Context = Pager;
    /// How many entries the tree has.
    type Output = u64;
    type Error = Error;

    fn transition(&mut self, state: FinishState<'t>, _pager: &Pager) -> Result<Transition<Self>> {
        let FinishState::Build(mut load) = state;
        Ok(match load.build()? {
            Step::Wait((), io) => Transition::Wait(FinishState::Build(load), io),
            Step::Next(()) | Step::Missing(_) => Transition::Next(FinishState::Build(load)),
            Step::Done(root) => {
                let BulkLoad { work, tree, loader: _ } = *load;
                work.transaction.plant(tree, root);
                work.transaction.recorder.end();
                work.keep();
                Transition::Done(root.count)
            }
        })
    }
}
