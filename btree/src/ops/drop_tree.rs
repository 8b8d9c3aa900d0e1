//! Dropping a tree.

use smallvec::SmallVec;
use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::ops::fetch::{Fetch, fetch};
use yieldb_pager::page_format::stamp_of;
use yieldb_pager::{PageRef, PageRun, Pager, PinnedPage, Root, Stamp, Tree};

use crate::error::corrupt;
use crate::pages::{Node, node, resident_or_return};
use crate::pages::{Pages, Walk};
use crate::transaction::Transaction;
use crate::{Error, Result};

/// Drops a tree with all its entries.
///
/// ```text
///   begin -> Gather --- all pages known: applied --> done
///            ^ ^ |'---- a few more known: Gather
///            | |  '---- missing -> Fetching
///            | '--------------------'
/// ```
///
/// Every page of the tree is read, those below one node together, to know its birth and its large
/// values; the tree goes when all of them are known. An abandoned run has dropped nothing, or all.
/// Memory: 24 bytes a page.
#[derive(Debug)]
pub struct DropTree<'t> {
    transaction: &'t mut Transaction,
    dropping: Dropping,
    /// The page fetched last: it stays until it has been looked at.
    pin: Option<PinnedPage>,
}

/// How far it is.
#[derive(Debug)]
pub enum State {
    /// Look at pages in memory.
    Gather,
    /// The next page is being fetched.
    Fetching(StateMachine<Fetch>),
}

/// A tree that is about to go.
#[derive(Debug)]
pub(crate) struct Dropping {
    tree: Tree,
    /// Pages to be read, the next one last, with their levels.
    todo: Vec<(PageRef, u8)>,
    /// The pages that were read.
    found: Vec<(PageRun, Stamp)>,
}

/// How many pages one transition looks at.
const BATCH: usize = 64;

/// How many pages are asked for together.
const AHEAD: usize = 64;

/// Begins to drop a tree.
///
/// # Errors
///
/// [`Error::NoSuchTree`], [`Error::MainTree`].
pub(crate) fn drop_tree(
    transaction: &mut Transaction,
    tree: Tree,
) -> Result<StateMachine<DropTree<'_>>> {
    let dropping = Dropping::begin(transaction, tree)?;
    let machine = DropTree { transaction, dropping, pin: None };
    Ok(StateMachine::new(machine, State::Gather))
}

impl StateTransition for DropTree<'_> {
    type State = State;
    type Context = Pager;
    type Output = ();
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Gather => match self.dropping.step(self.transaction, pager)? {
                Walk::Missing(page) => Transition::Next(State::Fetching(fetch(page))),
                Walk::Found(false) => Transition::Next(State::Gather),
                Walk::Found(true) => Transition::Done(()),
            },
            State::Fetching(mut fetch) => match fetch.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Fetching(fetch), io.into()),
                IOResult::Done(page) => {
                    self.pin = Some(page);
                    Transition::Next(State::Gather)
                }
            },
        })
    }
}

impl Dropping {
    /// Begins with the root.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchTree`], [`Error::MainTree`].
    pub fn begin(transaction: &Transaction, tree: Tree) -> Result<Dropping> {
        let Root { page, level, .. } = transaction.droppable(tree)?;
        let todo = page.map(|page| (page, level)).into_iter().collect();
        Ok(Dropping { tree, todo, found: Vec::new() })
    }

    /// Looks at some of the pages to be read; when none is left, the tree goes: `true`.
    pub fn step(&mut self, transaction: &mut Transaction, pager: &Pager) -> Result<Walk<bool>> {
        let walk = self.gather(transaction, pager)?;
        if let Walk::Found(true) = walk {
            transaction.drop_pages(self.tree, std::mem::take(&mut self.found))?;
        }
        Ok(walk)
    }

    /// Looks at some of the pages to be read; `true` if none is left.
    fn gather(&mut self, transaction: &Transaction, pager: &Pager) -> Result<Walk<bool>> {
        let private = Some(transaction.write_set());
        let pages = Pages { private, resident: pager.resident()? };
        for _ in 0..BATCH {
            let Some((page, level)) = self.todo.last().copied() else { break };
            if !pages.is_resident(page) {
                ask_for(pager, &pages, &self.todo);
            }
            let bytes = resident_or_return!(pages, page);
            if self.found.len() as u64 >= pager.space_use().pages {
                return Err(corrupt(page, "the tree that it belongs to has a page twice"));
            }
            let node = node(bytes, page, level)?;
            self.todo.pop();
            self.found.push((page.page().into(), stamp_of(bytes)));
            match node {
                Node::Interior(view) => {
                    let children = (0..=view.count()).rev().map(|index| view.child(index));
                    self.todo.extend(children.map(|child| (PageRef::from_u64(child), level - 1)));
                }
                Node::Leaf(leaf) => {
                    self.found.extend(leaf.large_values().map(|value| (value.run, value.birth)));
                }
            }
        }
        Ok(Walk::Found(self.todo.is_empty()))
    }
}

/// Asks for pages that will be read soon, the first ones last in the list.
fn ask_for(pager: &Pager, pages: &Pages<'_>, todo: &[(PageRef, u8)]) {
    let missing = todo.iter().rev().map(|(page, _)| *page);
    let missing: SmallVec<[PageRef; 64]> =
        missing.filter(|page| !pages.is_resident(*page)).take(AHEAD).collect();
    if missing.len() > 1 {
        pager.prefetch(&missing);
    }
}
