//! Opening a database.

use std::path::Path;
use std::sync::Arc;

use yieldb_core::{IO, IOResult, StateMachine, StateTransition, Transition, reached};
use yieldb_pager::Settings;
use yieldb_pager::ops::fetch::{Fetch, fetch};
use yieldb_pager::ops::open as pager_open;
use yieldb_pager::{Pager, Tree, Trees};

use crate::cursor::{Cursor, Direction};
use crate::node::Stored;
use crate::ops::recover::{Recover, recover};
use crate::pages::{Reader, Walk};
use crate::{Error, KeyRange, Recovery, Result, catalogue};

/// Opens a database file, finds its trees, and makes the changes again that only its log has.
///
/// ```text
///   begin -> Opening --> Learn --- no more trees --> Recovering --> done
///                        ^ ^|'---- one more tree: Learn
///                        | '------ missing -> Fetching
///                        '----------------------'
/// ```
///
/// Cost: the whole catalogue is read, a few dozen bytes for each tree, and the log. An abandoned
/// run leaves a file that can be opened.
#[derive(Debug)]
pub struct Open {
    recovery: Recovery,
}

/// How far it is.
#[derive(Debug)]
pub enum State {
    /// The file is being opened.
    Opening(Box<StateMachine<pager_open::Open>>),
    /// Go to the next entry of the catalogue.
    Learn(Box<Learning>),
    /// A page of the catalogue is being fetched.
    Fetching(Box<Learning>, StateMachine<Fetch>),
    /// The changes of the log are made again.
    Recovering(Box<StateMachine<Recover>>),
}

/// A database whose trees are being found.
#[derive(Debug)]
pub struct Learning {
    pager: Arc<Pager>,
    /// In the catalogue.
    cursor: Cursor<'static>,
    trees: Trees,
    /// How many entries of the catalogue are still to come.
    left: u64,
}

/// Begins to open the database in the file at `path`.
///
/// # Errors
///
/// If there is no memory for its superblock.
pub fn open(io: Arc<dyn IO>, path: &Path, settings: Settings) -> Result<StateMachine<Open>> {
    let opening = pager_open::open(io, path, settings)?;
    let recovery = Recovery::default();
    Ok(StateMachine::new(Open { recovery }, State::Opening(Box::new(opening))))
}

impl Open {
    /// Tells how far it is with the log.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }
}

impl StateTransition for Open {
    type State = State;
    type Context = ();
    type Output = Arc<Pager>;
    type Error = Error;

    fn transition(&mut self, state: State, _context: &()) -> Result<Transition<Self>> {
        Ok(match state {
            State::Opening(mut opening) => match opening.step(&())? {
                IOResult::IO(io) => Transition::Wait(State::Opening(opening), io.into()),
                IOResult::Done(pager) => Transition::Next(State::Learn(begin_learning(pager))),
            },
            State::Learn(mut learning) => match learning.learn_one()? {
                Walk::Missing(page) => Transition::Next(State::Fetching(learning, fetch(page))),
                Walk::Found(true) => Transition::Next(State::Learn(learning)),
                Walk::Found(false) => {
                    let Learning { pager, trees, .. } = *learning;
                    pager.learn_trees(trees);
                    let recovering = recover(pager, self.recovery.clone());
                    Transition::Next(State::Recovering(Box::new(recovering)))
                }
            },
            State::Recovering(mut recovering) => match recovering.step(&())? {
                IOResult::IO(io) => Transition::Wait(State::Recovering(recovering), io.into()),
                IOResult::Done(pager) => Transition::Done(pager),
            },
            State::Fetching(mut learning, mut fetch) => match fetch.step(&learning.pager)? {
                IOResult::IO(io) => Transition::Wait(State::Fetching(learning, fetch), io.into()),
                IOResult::Done(page) => {
                    learning.cursor.hold(page);
                    Transition::Next(State::Learn(learning))
                }
            },
        })
    }
}

fn begin_learning(pager: Arc<Pager>) -> Box<Learning> {
    let pin = pager.newest();
    let (catalogue, trees) = (pin.roots().catalogue, pin.roots().trees.clone());
    if catalogue.level > 0 {
        reached!(CatalogueOfTwoLevels);
    }
    let reader = Reader { tree: Tree::MAIN, root: Some(catalogue), private: None };
    let cursor = Cursor::new(reader, KeyRange::all());
    Box::new(Learning { cursor, pager, trees, left: catalogue.count })
}

impl Learning {
    /// Takes the next entry of the catalogue; `false` if there is none left.
    fn learn_one(&mut self) -> Result<Walk<bool>> {
        match self.cursor.advance(&self.pager, Direction::Next)? {
            Walk::Missing(page) => return Ok(Walk::Missing(page)),
            Walk::Found(arrival) => self.cursor.arrive(arrival, None),
        }
        let entry = match (self.cursor.entry(), self.left) {
            (None, 0) => return Ok(Walk::Found(false)),
            (Some(entry), 1..) => entry,
            (None, _) | (Some(_), _) => {
                return Err(self.damage("the catalogue has not as many entries as it should"));
            }
        };
        let (tree, root) = catalogue::parse(entry.key(), Stored::Here(entry.value()))
            .map_err(|what| self.damage(what))?;
        if tree.as_u32() >= self.trees.next_number() {
            return Err(self.damage("the catalogue has a tree that was never created"));
        }
        if !self.trees.add(tree, entry.key(), root) {
            return Err(self.damage("the catalogue has a tree twice"));
        }
        self.left -= 1;
        Ok(Walk::Found(true))
    }

    /// Damage to the catalogue's leaf that the cursor is on.
    fn damage(&self, what: &'static str) -> Error {
        let number = self.cursor.leaf_number().unwrap_or_default();
        Error::Pager(yieldb_pager::Error::Corrupt { page: number, what })
    }
}
