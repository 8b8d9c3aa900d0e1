//! Making the changes of a batch, in a transaction of their own.

use std::ops::Bound;

use smallvec::SmallVec;
use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::ops::fetch::{Fetch, fetch};
use yieldb_pager::{PageRef, Pager, PinnedPage};

use crate::batch::{Batch, BatchChange};
use crate::descend::leaf_of;
use crate::ops::begin::Begin;
use crate::ops::commit::{Commit, commit};
use crate::pages::{Pages, Walk};
use crate::transaction::Transaction;
use crate::work::{PutStage, Step};
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

/// How many of the changes are made.
#[derive(Debug)]
pub struct Applying {
    transaction: Transaction,
    /// The change that is made next.
    index: usize,
    /// How far it is, if it stores something.
    stage: PutStage,
    /// Where the rest of its range begins, if it removes one.
    rest: Option<Vec<u8>>,
    /// The pages fetched for this change: they stay until it has seen them.
    pins: SmallVec<[PinnedPage; 4]>,
}

/// How many changes are looked at ahead when a page is missing.
const AHEAD: usize = 64;

/// Begins to write a batch; `begin` waits for the writer's turn.
pub fn write(batch: &Batch, begin: StateMachine<Begin>) -> StateMachine<Write<'_>> {
    StateMachine::new(Write { batch }, State::Queued(Box::new(begin)))
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
            State::Apply(mut applying) => match applying.step(self.batch)? {
                Step::Next(()) => Transition::Next(State::Apply(applying)),
                Step::Wait((), io) => Transition::Wait(State::Apply(applying), io),
                Step::Missing(page) => {
                    applying.read_ahead(self.batch, pager)?;
                    Transition::Next(State::Fetching(applying, fetch(page)))
                }
                Step::Done(()) => {
                    let commit = commit(applying.transaction);
                    Transition::Next(State::Committing(Box::new(commit)))
                }
            },
            State::Fetching(mut applying, mut fetch) => match fetch.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Fetching(applying, fetch), io.into()),
                IOResult::Done(page) => {
                    applying.pins.push(page);
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

impl Applying {
    fn new(transaction: Transaction) -> Applying {
        let (stage, pins) = (PutStage::default(), SmallVec::new());
        Applying { transaction, index: 0, stage, rest: None, pins }
    }

    /// Goes a step further. Done: all changes are made.
    fn step(&mut self, batch: &Batch) -> Result<Step<(), ()>> {
        let Some((tree, change)) = batch.change(self.index) else { return Ok(Step::Done(())) };
        match change {
            BatchChange::Put { key, value } => {
                match self.transaction.step_put(self.stage, tree, key, value)? {
                    Step::Next(stage) => self.stage = stage,
                    Step::Wait(stage, io) => {
                        self.stage = stage;
                        return Ok(Step::Wait((), io));
                    }
                    Step::Missing(page) => {
                        self.stage = PutStage::Change;
                        return Ok(Step::Missing(page));
                    }
                    Step::Done(_) => self.next_change(),
                }
            }
            BatchChange::Delete { key } => match self.transaction.step_delete(tree, key)? {
                Step::Next(()) => {}
                Step::Wait((), io) => return Ok(Step::Wait((), io)),
                Step::Missing(page) => return Ok(Step::Missing(page)),
                Step::Done(_) => self.next_change(),
            },
            BatchChange::DeleteRange(range) => {
                let start = self.rest.as_deref().map_or(range.start(), Bound::Included);
                match self.transaction.step_delete_range(tree, start, range.end())? {
                    Step::Next(()) => {}
                    Step::Wait((), io) => return Ok(Step::Wait((), io)),
                    Step::Missing(page) => return Ok(Step::Missing(page)),
                    Step::Done(edited) => {
                        self.pins.clear();
                        self.rest = edited.rest;
                        if self.rest.is_none() {
                            self.next_change();
                        }
                    }
                }
            }
        }
        Ok(Step::Next(()))
    }

    fn next_change(&mut self) {
        self.index += 1;
        self.stage = PutStage::default();
        self.pins.clear();
    }

    /// Asks for the pages that this change and the next ones are missing.
    fn read_ahead(&self, batch: &Batch, pager: &Pager) -> Result<()> {
        let private = Some(self.transaction.write_set());
        let pages = Pages { private, resident: pager.resident()? };
        let mut missing: SmallVec<[PageRef; AHEAD]> = SmallVec::new();
        for (tree, change) in (self.index..).map_while(|index| batch.change(index)).take(AHEAD) {
            let (BatchChange::Put { key, .. } | BatchChange::Delete { key }) = change else {
                break;
            };
            let Ok(root) = self.transaction.reader(tree).root() else { break };
            // What is damaged is for the change itself to find.
            if let Ok(Walk::Missing(page)) = leaf_of(&pages, root, key)
                && !missing.contains(&page)
            {
                missing.push(page);
            }
        }
        if missing.len() > 1 {
            pager.prefetch(&missing);
        }
        Ok(())
    }
}
