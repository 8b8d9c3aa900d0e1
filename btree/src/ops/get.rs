//! Looking up one key.

use std::ops::{Deref, Range};

use yieldb_core::{IOResult, StateMachine, StateTransition, Transition};
use yieldb_pager::cache::{Joined, PendingRead};
use yieldb_pager::{PageRef, Pager, PinnedPage};

use crate::descend::leaf_of;
use crate::node::{LargeValue, LeafView};
use crate::ops::read_value::{ReadValue, read_whole};
use crate::pages::{Kept, Located, Pages, Reader, Walk};
use crate::{Error, Result};

/// Looks up one key.
///
/// ```text
///   begin -> Walk --- found ---------> done
///            ^  |---- found, large --> Loading --> done
///            |  |---- missing -------> Reading --.
///            |  '---- no frame ------> Queued ---|
///            '-----------------------------------'
/// ```
///
/// An abandoned run leaves nothing behind but pages in the cache.
#[derive(Debug)]
pub struct Get<'a, K> {
    reader: Reader<'a>,
    /// What the operation works on, for as long as its value may be looked at.
    pager: &'a Pager,
    key: K,
    /// The page that was read last: it stays until the walk has seen it.
    pin: Option<PinnedPage>,
}

/// How far a lookup is.
#[derive(Debug)]
pub enum State {
    /// Walk from the root over the pages in memory.
    Walk,
    /// The page that the walk missed is being read.
    Reading(PendingRead),
    /// There was no frame for it. There may be one now.
    Queued,
    /// The value is large, and is being read.
    Loading(Box<StateMachine<ReadValue<Vec<u8>>>>),
}

/// A value, in place: in a page that is pinned as long as this exists, or in a page of the
/// transaction that asked. A large one is a copy in memory of its own.
#[derive(Debug)]
pub struct Value<'a> {
    place: Place<'a>,
}

#[derive(Debug)]
enum Place<'a> {
    InPage(Kept<'a>, Range<usize>),
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
            Place::InPage(..) => self.to_vec(),
        }
    }
}

impl Deref for Value<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.place {
            Place::InPage(page, range) => &page[range.clone()],
            Place::Loaded(bytes) => bytes,
        }
    }
}

/// Begins to look up `key`.
#[inline]
pub(crate) fn get<'a, K: AsRef<[u8]>>(
    reader: Reader<'a>,
    pager: &'a Pager,
    key: K,
) -> StateMachine<Get<'a, K>> {
    StateMachine::new(Get { reader, pager, key, pin: None }, State::Walk)
}

impl<'a, K: AsRef<[u8]>> StateTransition for Get<'a, K> {
    type State = State;
    type Context = Pager;
    type Output = Option<Value<'a>>;
    type Error = Error;

    #[inline(always)]
    fn transition(&mut self, state: State, pager: &Pager) -> Result<Transition<Self>> {
        Ok(match state {
            State::Walk | State::Queued => {
                match find(self.reader, self.pager, self.key.as_ref())? {
                    Walk::Found(None) => Transition::Done(None),
                    Walk::Found(Some(Found::Here(value))) => Transition::Done(Some(value)),
                    Walk::Found(Some(Found::Large(value))) => {
                        Transition::Next(State::Loading(Box::new(read_whole(pager, value)?)))
                    }
                    Walk::Missing(page) => self.read(page)?,
                }
            }
            State::Reading(read) => self.walk_with(read.take()?),
            State::Loading(mut load) => match load.step(pager)? {
                IOResult::IO(io) => Transition::Wait(State::Loading(load), io.into()),
                IOResult::Done(bytes) => Transition::Done(Some(Value::loaded(bytes))),
            },
        })
    }
}

impl<K: AsRef<[u8]>> Get<'_, K> {
    /// Joins the read of a page, or begins it.
    #[cold]
    fn read(&mut self, page: PageRef) -> Result<Transition<Self>> {
        Ok(match self.pager.join_read(page)? {
            Joined::Reading(read) => {
                let io = read.completion();
                Transition::Wait(State::Reading(read), io)
            }
            Joined::Hit(page) => self.walk_with(page),
            Joined::Later(signal) => Transition::Wait(State::Queued, signal),
        })
    }

    /// Walks again, with the page that was missing.
    fn walk_with(&mut self, page: PinnedPage) -> Transition<Self> {
        self.pin = Some(page);
        Transition::Next(State::Walk)
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
#[inline(always)]
pub(crate) fn find<'a>(
    reader: Reader<'a>,
    pager: &'a Pager,
    key: &[u8],
) -> Result<Walk<Option<Found<'a>>>> {
    let pages = Pages { private: reader.private, resident: pager.resident()? };
    match leaf_of(&pages, reader.root()?, key)? {
        Walk::Missing(page) => Ok(Walk::Missing(page)),
        Walk::Found(None) => Ok(Walk::Found(None)),
        Walk::Found(Some((at, leaf))) => Ok(find_among(at, &leaf, leaf.candidates(key), key)),
    }
}

/// Looks up a key among some entries of a leaf, which may be evicted by now.
#[inline(always)]
pub(crate) fn find_among<'a>(
    at: Located<'_, 'a>,
    leaf: &LeafView<'_>,
    candidates: Range<usize>,
    key: &[u8],
) -> Walk<Option<Found<'a>>> {
    let Ok(index) = leaf.find_among(candidates, key) else { return Walk::Found(None) };
    let (range, is_large) = leaf.value_place(index);
    if is_large {
        return Walk::Found(leaf.value(index).large().map(Found::Large));
    }
    match at.keep() {
        Walk::Missing(page) => Walk::Missing(page),
        Walk::Found(page) => {
            Walk::Found(Some(Found::Here(Value { place: Place::InPage(page, range) })))
        }
    }
}
