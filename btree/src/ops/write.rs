//! Making the changes of a batch, in a transaction of their own.

use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::ops::fetch::{Fetch, fetch};
use yieldb_pager::{Durability, Pager};

use crate::applying::Applying;
use crate::batch::Batch;
use crate::ops::begin::Begin;
use crate::ops::commit::{Commit, commit};
use crate::work::Step;
use crate::{Error, Result};

/// Makes the changes of a batch durable, all or none of them.
///
/// ```text
///   begin -> Queued -> Apply --- all are made --> Committing -> done
///                       ^ ^|'---- one is made, or short: waits in Apply
///                       | ''----- missing -> Fetching
///                       '----------------------'
/// ```
///
/// When a page is missing, those that the next changes will miss are asked for with it. A run
/// abandoned before the commit has changed nothing; from then on the engine owns it, as any commit.
#[derive(Debug)]
pub struct Write<'b> {
    batch: &'b Batch,
    durability: Durability,
}

/// How far it is.
#[derive(Debug)]
pub enum State {
    /// Waiting for the writer's turn.
    Queued(Box<StateMachine<Begin>>),
    /// Make the next change, over the pages in memory.
    Apply(Box<Applying>),
    /// A page that it missed is being fetched.
    Fetching(Box<Applying>, StateMachine<Fetch>),
    /// The changes become durable.
    Committing(Box<StateMachine<Commit>>),
}

/// How many changes are looked at ahead when a page is missing.
const AHEAD: usize = 64;

/// Begins to write a batch; `begin` waits for the writer's turn.
pub fn write(
    batch: &Batch,
    durability: Durability,
    begin: StateMachine<Begin>,
) -> StateMachine<Write<'_>> {
    StateMachine::new(Write { batch, durability }, State::Queued(Box::new(begin)))
}

impl StateTransition for Write<'_> {
    type State = State;
    type Context = Pager;
    /// The version that has the changes.
    type Output = u64;
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Queued(mut begin) => match begin.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Queued(begin), io.into()),
                IOResult::Done(transaction) => {
                    Transition::Next(State::Apply(Box::new(Applying::new(transaction))))
                }
            },
            State::Apply(mut applying) => {
                let Some(change) = self.batch.change(applying.position) else {
                    let commit = commit(applying.transaction, self.durability);
                    return Ok(Transition::Next(State::Committing(Box::new(commit))));
                };
                match applying.step(change, pager)? {
                    Step::Next(()) => Transition::Next(State::Apply(applying)),
                    Step::Wait((), io) => Transition::Wait(State::Apply(applying), io),
                    Step::Missing(page) => {
                        let next = applying.position..;
                        let next = next.map_while(|index| self.batch.change(index));
                        applying.read_ahead(page, next, AHEAD, pager)?;
                        Transition::Next(State::Fetching(applying, fetch(page)))
                    }
                    Step::Done(()) => {
                        applying.position += 1;
                        Transition::Next(State::Apply(applying))
                    }
                }
            }
            State::Fetching(mut applying, mut fetch) => match fetch.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Fetching(applying, fetch), io.into()),
                IOResult::Done(page) => {
                    applying.keep_in_memory(page);
                    Transition::Next(State::Apply(applying))
                }
            },
            State::Committing(mut commit) => match commit.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Committing(commit), io.into()),
                IOResult::Done(version) => Transition::Done(version),
            },
        })
    }
}
