//! Looking up one key.

use std::ops::{Deref, Range};

use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::ops::fetch::{Fetch, fetch};
use yieldb_pager::{PageRef, Pager, PinnedPage};

use crate::descend::leaf_of;
use crate::node::{LargeValue, LeafView, Stored};
use crate::ops::read_value::{ReadValue, read_whole};
use crate::pages::{Pages, Reader, Walk};
use crate::{Error, Result};

/// Looks up one key.
///
/// ```text
///   begin -> Walk --- found ---------> done
///             ^ |'--- found, large --> Loading --> done
///             | '---- missing -> Fetching
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
    /// The value is large, and is being read.
    Loading(StateMachine<ReadValue<Vec<u8>>>),
}

/// A value, in place: in a page that is pinned as long as this exists, or in a page of the
/// transaction that asked. A large one is a copy in memory of its own.
#[derive(Debug)]
pub struct Value<'a> {
    place: Place<'a>,
}

#[derive(Debug)]
enum Place<'a> {
    Pinned(PinnedPage, Range<usize>),
    Private(&'a [u8]),
    Loaded(Vec<u8>),
}

impl Value<'_> {
    /// A value that was read into memory of its own.
    pub(crate) fn loaded(bytes: Vec<u8>) -> Self {
        Value { place: Place::Loaded(bytes) }
    }

    /// The bytes in memory of their own. Copies, but for a large value.
    pub fn into_vec(self) -> Vec<u8> {
        match self.place {
            Place::Loaded(bytes) => bytes,
            Place::Pinned(..) | Place::Private(_) => self.to_vec(),
        }
    }
}

impl Deref for Value<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.place {
            Place::Pinned(page, range) => &page[range.clone()],
            Place::Private(bytes) => bytes,
            Place::Loaded(bytes) => bytes,
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
                Walk::Found(None) => Transition::Done(None),
                Walk::Found(Some(Found::Here(value))) => Transition::Done(Some(value)),
                Walk::Found(Some(Found::Large(value))) => {
                    Transition::Next(State::Loading(read_whole(pager, value)?))
                }
                Walk::Missing(page) => Transition::Next(State::Fetching(fetch(page))),
            },
            State::Fetching(mut fetch) => match fetch.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Fetching(fetch), io.into()),
                IOResult::Done(page) => {
                    self.pin = Some(page);
                    Transition::Next(State::Walk)
                }
            },
            State::Loading(mut load) => match load.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Loading(load), io.into()),
                IOResult::Done(bytes) => Transition::Done(Some(Value::loaded(bytes))),
            },
        })
    }
}

impl<'a, K: AsRef<[u8]>> Get<'a, K> {
    fn find(&self, pager: &Pager) -> Result<Walk<Option<Found<'a>>>> {
        find(self.reader, self.key.as_ref(), pager)
    }
}

/// What a lookup finds in a leaf.
pub(crate) enum Found<'a> {
    /// The value.
    Here(Value<'a>),
    /// Where the value is.
    Large(LargeValue),
}

/// Looks up a key over the pages in memory.
pub(crate) fn find<'a>(
    reader: Reader<'a>,
    key: &[u8],
    pager: &Pager,
) -> Result<Walk<Option<Found<'a>>>> {
    let pages = Pages { private: reader.private, resident: pager.resident()? };
    let (page, leaf) = match leaf_of(&pages, reader.root()?, key)? {
        Walk::Missing(page) => return Ok(Walk::Missing(page)),
        Walk::Found(None) => return Ok(Walk::Found(None)),
        Walk::Found(Some(found)) => found,
    };
    let Ok(index) = leaf.find(key) else { return Ok(Walk::Found(None)) };
    Ok(match found_in(&pages, reader, page, &leaf, index) {
        Some(found) => Walk::Found(Some(found)),
        None => Walk::Missing(page),
    })
}

/// The value at an index of a leaf that was found in memory; `None` if that was evicted since.
pub(crate) fn found_in<'a>(
    pages: &Pages<'_>,
    reader: Reader<'a>,
    page: PageRef,
    leaf: &LeafView<'_>,
    index: usize,
) -> Option<Found<'a>> {
    if let Stored::Large(value) = leaf.value(index) {
        return Some(Found::Large(value));
    }
    let range = leaf.value_range(index);
    let place = match reader.private.and_then(|private| private.page(page)) {
        Some(bytes) => Place::Private(&bytes[range]),
        None => Place::Pinned(pages.pin(page)?, range),
    };
    Some(Found::Here(Value { place }))
}
