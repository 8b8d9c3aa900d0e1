//! Opening a database.

use std::path::Path;
use std::sync::Arc;

use yieldb_core::{IO, IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::ops::fetch::{Fetch, fetch};
use yieldb_pager::ops::open as pager_open;
use yieldb_pager::ops::open::Settings;
use yieldb_pager::{Pager, PinnedPage, RootSet};

use crate::descend::leaf_of;
use crate::pages::{Pages, Walk};
use crate::{Error, Result, catalogue, error};

/// Opens a database file and finds its trees.
///
/// ```text
///   begin -> Opening --> FindMain --- found --> done
///                          ^ '------ missing -> Fetching
///                          '-----------------------'
/// ```
///
/// An abandoned run leaves a file that can be opened.
#[derive(Debug)]
pub struct Open {
    /// The page fetched last: it stays until the walk has seen it.
    pin: Option<PinnedPage>,
}

/// How far it is.
#[derive(Debug)]
pub enum State {
    /// The file is being opened.
    Opening(Box<StateMachine<pager_open::Open>>),
    /// Walk the catalogue to the tree `main`.
    FindMain(Arc<Pager>),
    /// A page of the catalogue is being fetched.
    Fetching(Arc<Pager>, StateMachine<Fetch>),
}

/// Begins to open the database in the file at `path`.
///
/// # Errors
///
/// If there is no memory for its superblock.
pub fn open(io: Arc<dyn IO>, path: &Path, settings: Settings) -> Result<StateMachine<Open>> {
    let opening = pager_open::open(io, path, settings)?;
    Ok(StateMachine::new(Open { pin: None }, State::Opening(Box::new(opening))))
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
                IOResult::Done(pager) => Transition::Next(State::FindMain(pager)),
            },
            State::FindMain(pager) => match find_main(&pager)? {
                Walk::Missing(page) => Transition::Next(State::Fetching(pager, fetch(page))),
                Walk::Found(roots) => {
                    pager.learn_roots(roots);
                    Transition::Done(pager)
                }
            },
            State::Fetching(pager, mut fetch) => match fetch.step(&pager)? {
                IOResult::IO(io) => Transition::Wait(State::Fetching(pager, fetch), io.into()),
                IOResult::Done(page) => {
                    self.pin = Some(page);
                    Transition::Next(State::FindMain(pager))
                }
            },
        })
    }
}

/// The newest version's roots, the one of `main` included.
fn find_main(pager: &Arc<Pager>) -> Result<Walk<RootSet>> {
    let roots = *pager.newest().roots();
    let pages = Pages { private: None, resident: pager.resident()? };
    let (page, leaf) = match leaf_of(&pages, roots.catalogue, catalogue::MAIN)? {
        Walk::Missing(page) => return Ok(Walk::Missing(page)),
        Walk::Found(None) => return Ok(Walk::Found(roots)),
        Walk::Found(Some(found)) => found,
    };
    let index = leaf
        .find(catalogue::MAIN)
        .map_err(|_| error::corrupt(page, "the catalogue does not have the tree `main`"))?;
    let main = catalogue::parse(leaf.value(index)).map_err(|what| error::corrupt(page, what))?;
    Ok(Walk::Found(RootSet { main, ..roots }))
}
