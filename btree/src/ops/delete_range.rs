//! Removing a range of entries.

use std::marker::PhantomData;

use smallvec::SmallVec;
use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::ops::fetch::{Fetch, fetch};
use yieldb_pager::{Pager, PinnedPage, Tree};

use crate::savepoint::Tentative;
use crate::transaction::Transaction;
use crate::work::{RangeProgress, Step};
use crate::{Error, KeyRange, Result};

/// Removes the entries of a range, leaf by leaf.
///
/// ```text
///   begin -> Delete --- the range's last leaf: kept -----> done
///             ^ ^|'---- another leaf, or short: waits in Delete
///             | ''----- missing -> Fetching
///             '----------------------'
/// ```
///
/// An abandoned run, and one that fails, has removed nothing: the work is undone. Cost: every leaf
/// of the range is read.
#[derive(Debug)]
pub struct DeleteRange<'t> {
    tree: Tree,
    range: KeyRange,
    /// The transaction itself is in the state.
    transaction: PhantomData<&'t mut Transaction>,
}

/// How far it is. Each state has the transaction, and undoes the work if it is dropped.
#[derive(Debug)]
pub enum State<'t> {
    /// Remove what is in the next leaf, over the pages in memory.
    Delete(Box<Work<'t>>),
    /// A page that it missed is being fetched.
    Fetching(Box<Work<'t>>, StateMachine<Fetch>),
}

/// The work so far.
#[derive(Debug)]
pub struct Work<'t> {
    work: Tentative<'t>,
    progress: RangeProgress,
    /// The pages fetched for this leaf: they stay until the change has seen them.
    pins: SmallVec<[PinnedPage; 4]>,
}

/// Begins to remove the entries in `range`.
pub(crate) fn delete_range(
    transaction: &mut Transaction,
    tree: Tree,
    range: KeyRange,
) -> StateMachine<DeleteRange<'_>> {
    let (work, progress) = (Tentative::begin(transaction), RangeProgress::default());
    let work = Work { work, progress, pins: SmallVec::new() };
    let machine = DeleteRange { tree, range, transaction: PhantomData };
    StateMachine::new(machine, State::Delete(Box::new(work)))
}

impl<'t> StateTransition for DeleteRange<'t> {
    type State = State<'t>;
    type Context = Pager;
    /// How many entries were removed.
    type Output = u64;
    type Error = Error;

    fn transition(&mut self, state: State<'t>, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Delete(mut work) => {
                let Work { work: Tentative { transaction, .. }, progress, .. } = &mut *work;
                let (start, end) = (self.range.start(), self.range.end());
                match transaction.step_delete_range(progress, self.tree, start, end)? {
                    Step::Next(()) => {
                        work.pins.clear();
                        Transition::Next(State::Delete(work))
                    }
                    Step::Wait((), io) => Transition::Wait(State::Delete(work), io),
                    Step::Missing(page) => Transition::Next(State::Fetching(work, fetch(page))),
                    Step::Done(deleted) => {
                        work.work.keep();
                        Transition::Done(deleted)
                    }
                }
            }
            State::Fetching(mut work, mut fetch) => match fetch.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Fetching(work, fetch), io.into()),
                IOResult::Done(page) => {
                    work.pins.push(page);
                    Transition::Next(State::Delete(work))
                }
            },
        })
    }
}
