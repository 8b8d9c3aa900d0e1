//! Looking up one key.

use std::ops::{Deref, Range};

use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::ops::fetch::{Fetch, fetch};
use yieldb_pager::{Pager, PinnedPage};

use crate::descend::leaf_of;
use crate::pages::{Pages, Reader, Walk};
use crate::{Error, Result};

/// Looks up one key.
///
/// ```text
///   begin -> Walk --- found ---------> done
///             ^ '---- missing -> Fetching
///             '---------------------'
/// ```
///
/// An abandoned run leaves nothing behind but pages in the cache.
#[derive(Debug)]
pub struct Get<'a, K> {
    reader: Reader<'a>,
    key: K,
    /// The page fetched last: it stays until the walk has seen it.
    pin: Option<PinnedPage>,
}

/// How far a lookup is.
#[derive(Debug)]
pub enum State {
    /// Walk from the root over the pages in memory.
    Walk,
    /// The page that the walk missed is being fetched.
    Fetching(StateMachine<Fetch>),
}

/// A value, in place: in a page that is pinned as long as this exists, or in a page of the
/// transaction that asked.
#[derive(Debug)]
pub struct Value<'a> {
    place: Place<'a>,
}

#[derive(Debug)]
enum Place<'a> {
    Pinned(PinnedPage, Range<usize>),
    Private(&'a [u8]),
}

impl Deref for Value<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.place {
            Place::Pinned(page, range) => &page[range.clone()],
            Place::Private(bytes) => bytes,
        }
    }
}

/// Begins to look up `key`.
pub(crate) fn get<K: AsRef<[u8]>>(reader: Reader<'_>, key: K) -> StateMachine<Get<'_, K>> {
    StateMachine::new(Get { reader, key, pin: None }, State::Walk)
}

impl<'a, K: AsRef<[u8]>> StateTransition for Get<'a, K> {
    type State = State;
    type Context = Pager;
    type Output = Option<Value<'a>>;
    type Error = Error;

    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Walk => match self.find(pager)? {
                Walk::Found(value) => Transition::Done(value),
                Walk::Missing(page) => Transition::Next(State::Fetching(fetch(page))),
            },
            State::Fetching(mut fetch) => match fetch.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Fetching(fetch), io.into()),
                IOResult::Done(page) => {
                    self.pin = Some(page);
                    Transition::Next(State::Walk)
                }
            },
        })
    }
}

impl<'a, K: AsRef<[u8]>> Get<'a, K> {
    fn find(&self, pager: &Pager) -> Result<Walk<Option<Value<'a>>>> {
        let pages = Pages { private: self.reader.private, resident: pager.resident()? };
        let (page, leaf) = match leaf_of(&pages, self.reader.root()?, self.key.as_ref())? {
            Walk::Missing(page) => return Ok(Walk::Missing(page)),
            Walk::Found(None) => return Ok(Walk::Found(None)),
            Walk::Found(Some(found)) => found,
        };
        let Ok(index) = leaf.find(self.key.as_ref()) else { return Ok(Walk::Found(None)) };
        let range = leaf.value_range(index);
        let place = match self.reader.private.and_then(|private| private.page(page)) {
            Some(bytes) => Place::Private(&bytes[range]),
            None => match pages.pin(page) {
                Some(page) => Place::Pinned(page, range),
                None => return Ok(Walk::Missing(page)),
            },
        };
        Ok(Walk::Found(Some(Value { place })))
    }
}
